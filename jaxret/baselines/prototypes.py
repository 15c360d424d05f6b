"""Class prototypes of two domains, those of the unlabelled one re-estimated by soft assignment. Nothing is trained.

Letters: N source items with labels, M target items without, D features, C classes.
"""

from collections.abc import Callable

import numpy as np
from scipy.special import softmax

from jaxret.baselines.domain_alignment import MAX_ITEMS, Alignment, checked_domains, unit_rows


def prototypes(
    source: np.ndarray,
    source_labels: np.ndarray,
    target: np.ndarray,
    *,
    target_weight: float = 0.3,
    temperature: float = 0.1,
    iterations: int = 10,
    max_items: int = MAX_ITEMS,
    seed: int = 0,
) -> Alignment:
    """Class probabilities [., C] of both domains, by cosine with the prototypes of both.

    Items lose the mean of their own domain and are scaled to length 1: z. With the unit prototypes s_c of the source's
    classes and t_c of the target's,
      p(c | z)  proportional to  exp((w z . t_c + (1 - w) z . s_c) / T),   t_c = unit(sum over targets of p(c | z) z),
    from t = s on, `iterations` times. Every target item counts in every class by its probability, so that a class is
    never drawn whole to another one by a hard label; s keeps the classes apart and named.

    Args:
      source: [N, D].
      source_labels: [N] class ids; C is the largest and one. Those of no item have probability 0.
      target: [M, D].
      target_weight: w, in [0, 1].
      temperature: T, above 0.
      iterations: 0 leaves t = s.
      max_items, seed: more items of a domain than that are sampled.

    Raises:
      DataError: as `checked_domains`.

    Source: k-means from labelled seeds (Basu et al., "Semi-supervised clustering by seeding", ICML 2002), here soft, by
      cosine, and with prototypes of two domains.
    """
    source, labels, target = checked_domains(source, source_labels, target, max_items=max_items, seed=seed)
    names, place = np.unique(labels, return_inverse=True)
    z, y = unit_rows(source - source.mean(axis=0)), unit_rows(target - target.mean(axis=0))
    known = unit_rows(np.eye(len(names))[place].T @ z)

    def probabilities(items: np.ndarray, found: np.ndarray) -> np.ndarray:
        both = target_weight * found + (1 - target_weight) * known
        return softmax(items @ both.T / temperature, axis=1)

    found = known
    for _ in range(iterations):
        found = unit_rows(probabilities(y, found).T @ y)

    def of_domain(mean: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
        def scores(x: np.ndarray) -> np.ndarray:
            columns = np.zeros((len(x), int(names.max()) + 1))
            columns[:, names] = probabilities(unit_rows(np.asarray(x, np.float64) - mean), found)
            return columns

        return scores

    return Alignment(of_domain(source.mean(axis=0)), of_domain(target.mean(axis=0)))
