"""What references, photos known to show shapes of a gallery, say of further photos. Nothing is trained. No JAX.

Letters: Q queries, R references, G shapes, V views, F features, D embedding, N photos of one object.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
from scipy.special import log_softmax

from jaxret.errors import ConfigError

BEST_VIEWS = 2
TEMPERATURE = 0.05
SMOOTHING = 0.01
WEIGHT = 0.5


@dataclass(frozen=True)
class Fusion:
    """How references and views are pooled.

    Attributes:
      weight: w, of the references, in [0, 1): 0 is views alone.
      temperature: T, of the references' cosines, above 0.
      view_temperature: T_v, above 0.
      background: b, the cosine from which a reference speaks for its shape.
      standardized_from: number of references from which photos and references lose mean and spread of the references
        before they are compared; of fewer these say too little. None: never.

    Raises:
      ConfigError: values outside of these ranges.
    """

    weight: float = WEIGHT
    temperature: float = TEMPERATURE
    view_temperature: float = TEMPERATURE
    background: float = 0.3
    standardized_from: int | None = 20

    def __post_init__(self):
        # At 1 all shapes without references would tie, whatever their views say.
        if not (0 <= self.weight < 1 and 0 < self.temperature < np.inf and 0 < self.view_temperature < np.inf):
            raise ConfigError(f'{self}: weight must be in [0, 1), temperatures above 0')
        if not np.isfinite(self.background):
            raise ConfigError(f'{self}: background must be finite')


def reference_space(references: np.ndarray, *, standardize: bool) -> Callable[[np.ndarray], np.ndarray]:
    """The map [..., D] -> unit vectors [..., D] into the space in which photos are compared with references [R, D].

    Args:
      references: embeddings.
      standardize: whether both lose the references' mean and spread.
    """
    if not standardize:
        return partial(_centred, mean=np.float32(0), spread=np.float32(1))
    return partial(_centred, mean=references.mean(axis=0), spread=references.std(axis=0) + np.float32(1e-3))


def _centred(features: np.ndarray, mean: np.ndarray, spread: np.ndarray) -> np.ndarray:
    centred = (features - mean) / spread
    return centred / np.maximum(np.linalg.norm(centred, axis=-1, keepdims=True), 1e-12)


def view_scores(queries: np.ndarray, views: np.ndarray) -> np.ndarray:
    """Mean cosine of each shape's best views, [Q, G], of unit vectors [Q, F] and [G, V, F]."""
    cosines = np.einsum('qf,gvf->qgv', queries, views, optimize=True)
    return mean_of_best(cosines)


def mean_of_best(products: np.ndarray, dtype: type | None = None) -> np.ndarray:
    """Mean of the largest products [..., V] with a shape's views, [...]; `dtype` is what is added up in."""
    best = min(BEST_VIEWS, products.shape[-1])
    return np.partition(products, -best, axis=-1)[..., -best:].mean(axis=-1, dtype=dtype)


def reference_probabilities(
    queries: np.ndarray, references: np.ndarray, owner: np.ndarray, shapes: int, *, temperature: float = TEMPERATURE
) -> np.ndarray:
    """Chance of each shape by soft nearest neighbours among references, [Q, G], rows of sum 1.

    p(g | q) is proportional to the sum over the references r of g of exp(q . r / temperature).

    Args:
      queries: unit vectors [Q, D].
      references: unit vectors [R, D], at least one.
      owner: int [R], the shape of each.
      shapes: G.
      temperature: above 0.

    Source: Goldberger et al., NIPS 2004, Eq. 1 (there of squared distances).
    """
    logits = queries @ references.T / temperature
    weights = np.exp(logits - logits.max(axis=1, keepdims=True))
    sums = np.zeros((shapes, len(queries)))
    np.add.at(sums, owner, weights.T)
    return (sums / sums.sum(axis=0)).T


def reference_evidence(cosines: np.ndarray, owner: np.ndarray, shapes: int, fusion: Fusion) -> np.ndarray:
    """What references say for each shape: e_g = log(1 + sum over the r of g of exp((q . r - b) / T)), [Q, G].

    The log of the odds of g among all shapes, of which those without references are as likely as by a reference at the
    background b: these, e_g = 0, stay possible however few others have references.

    Args:
      cosines: [Q, R] of photos and references.
      owner: int [R], the shape of each.
      shapes: G.
      fusion: b and T.
    """
    logits = (cosines.T - fusion.background) / fusion.temperature
    sums = np.zeros((shapes, cosines.shape[0]))
    np.logaddexp.at(sums, owner, logits.astype(np.float64))
    return sums.T


def pooled_scores(scores: np.ndarray, probabilities: np.ndarray, *, weight: float, temperature: float) -> np.ndarray:
    """(1 - weight) log softmax(scores / temperature) + weight log p, [Q, G]: what both the views and references say.

    p is `probabilities`, of which a share of `SMOOTHING` is spread over all shapes: those without references stay
    possible.

    Args:
      scores: [Q, G] of the views.
      probabilities: [Q, G] of the references.
      weight: of the references, in [0, 1].
      temperature: of the scores, above 0.

    Source: logarithmic opinion pool, Genest and Zidek, Statistical Science 1986.
    """
    of_references = np.log((1 - SMOOTHING) * probabilities + SMOOTHING / probabilities.shape[1])
    return (1 - weight) * log_softmax(scores / temperature, axis=1) + weight * of_references


class Evidence:
    """References of a gallery's shapes, ready to be compared with photos.

    Args:
      references: float32 [R, D].
      owner: int [R], the shape of each.
      shapes: G.
      fusion: how they are pooled with the views.
      space: from embeddings [..., D] to the unit vectors that are compared; None for that of `reference_space`.
      centre: [D], what photos have in common, where queries lose it before they are compared with views.

    Attributes:
      counts: int [G], references of each shape.
      fusion, centre: as given.
    """

    def __init__(
        self,
        references: np.ndarray,
        owner: np.ndarray,
        shapes: int,
        fusion: Fusion,
        *,
        space: Callable[[np.ndarray], np.ndarray] | None = None,
        centre: np.ndarray | None = None,
    ):
        self.counts, self.fusion, self.centre = np.bincount(owner, minlength=shapes), fusion, centre
        self._owner = owner
        least = fusion.standardized_from
        standardize = least is not None and len(references) >= least
        self._space = space or reference_space(references, standardize=standardize)
        self._vectors = self._space(references)

    def scores(self, photos: np.ndarray, allowed: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """What the references of the allowed shapes say of photos of one object.

        Args:
          photos: embeddings [N, D].
          allowed: bool [G].

        Returns:
          the allowed shapes with references, ascending [S]; the mean over the photos of `reference_evidence` of each
          [S]. That of all other shapes is 0.
        """
        used = allowed[self._owner]
        owned, owner = np.unique(self._owner[used], return_inverse=True)
        vectors = self._vectors if used.all() else self._vectors[used]
        said = np.zeros(len(owned))
        for photo in self._space(photos):  # one at a time: a product of other sizes is rounded differently
            said += reference_evidence((vectors @ photo)[None], owner, len(owned), self.fusion)[0]
        return owned, said / len(photos)
