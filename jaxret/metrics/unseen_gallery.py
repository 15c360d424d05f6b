"""Answers from a gallery that holds no query's own shape: what each query may find, and how far that is from the truth.

Letters: Q queries, G gallery shapes, K top-k.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from jaxret.errors import refused
from jaxret.metrics.ranking import top_k_indices
from jaxret.metrics.rates import known_mean

MEASURES = ('hausdorff', 'iou')


def allowed_shapes(query_category: np.ndarray, gallery_category: np.ndarray, *, own: bool) -> np.ndarray:
    """What each query may find: bool [Q, G]; with `own` the shapes of its category (CMIC's evaluation), else all.

    Args:
      query_category: [Q] category ids.
      gallery_category: [G].
      own: whether categories count.
    """
    same = np.asarray(query_category)[:, None] == np.asarray(gallery_category)[None, :]
    return same if own else np.ones_like(same)


def best_allowed(scores: np.ndarray, allowed: np.ndarray, k: int) -> np.ndarray:
    """Gallery indices of the k best allowed shapes of every query, best first; ties by lower index.

    Args:
      scores: [Q, G], higher is better.
      allowed: bool [Q, G], at least one a query.
      k: how many.

    Returns:
      int64 [Q, min(k, G)], -1 where fewer are allowed.

    Raises:
      DataError: a query that may find nothing.
    """
    if not allowed.any(axis=1).all():
        raise refused(
            'allowed', f'{np.count_nonzero(~allowed.any(axis=1))} queries without a shape to find', 'leave them out'
        )
    # NaN ranks behind every number, so that a shape that is not allowed never comes before one that is.
    order = top_k_indices(np.where(allowed, np.nan_to_num(scores, nan=-np.inf), np.nan), k)
    return np.where(np.take_along_axis(allowed, order, axis=1), order, -1)


def random_allowed(allowed: np.ndarray, *, seed: int = 0) -> np.ndarray:
    """One allowed shape of every query at random, for the chance level: int64 [Q]."""
    draws = np.random.default_rng(seed).random(allowed.shape)
    return np.where(allowed, draws, -1.0).argmax(axis=1)


def unseen_metrics(
    measured: Mapping[str, np.ndarray],
    chance: Mapping[str, np.ndarray],
    *,
    query_category: np.ndarray,
    gallery_category: np.ndarray,
    category_names: Sequence[str],
) -> dict:
    """Means of the distances between best answers and true shapes.

    Args:
      measured: {'hausdorff': [Q], 'iou': [Q]}; NaN (a mesh could not be used) is left out.
      chance: the same of random answers.
      query_category: [Q] category ids.
      gallery_category: [G].
      category_names: of the ids.

    Returns:
      {unseen_hausdorff, unseen_iou: mean over queries; .._macro: mean over categories; .._chance: of random answers;
      unseen_queries, unseen_gallery; unseen_per_category: {name: {queries, gallery, hausdorff, hausdorff_chance, iou,
      iou_chance}}}; None where nothing is known.
    """
    query_category, gallery_category = np.asarray(query_category), np.asarray(gallery_category)
    rows = {}
    for c in np.unique(query_category):
        mine = query_category == c
        rows[category_names[c]] = {
            'queries': int(mine.sum()),
            'gallery': int(np.count_nonzero(gallery_category == c)),
            **{name: known_mean(measured[name][mine]) for name in MEASURES},
            **{f'{name}_chance': known_mean(chance[name][mine]) for name in MEASURES},
        }
    result = {'unseen_queries': len(query_category), 'unseen_gallery': len(gallery_category)}
    for name in MEASURES:
        result |= {
            f'unseen_{name}': known_mean(measured[name]),
            f'unseen_{name}_macro': known_mean(row[name] for row in rows.values()),
            f'unseen_{name}_chance': known_mean(chance[name]),
        }
    return result | {'unseen_per_category': rows}
