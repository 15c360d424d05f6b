"""Order of a gallery by score: the rank of the true shape and the Top-k list.

Letters: Q queries, G gallery shapes, K top-k.

Conventions, here and in `photo_to_shape`:
  * A higher score is a better match. NaN ranks behind every number, -inf included.
  * Ties count against the system: among equal scores the wrong shapes come first, so constant scores never look good.
  * `positive[q] = -1` says that the query's true shape is not in the gallery: its rank is G + 1 and it is a miss.
  * A gallery holds shapes and queries are of another kind (photos, scans), so a query cannot find itself.
"""

from collections.abc import Iterator

import numpy as np

from jaxret.errors import refused

ABSENT = -1
_BLOCK_ELEMENTS = 1_000_000  # pairs at a time: bounds the temporary memory


def positive_ranks(scores: np.ndarray, positive: np.ndarray) -> np.ndarray:
    """Rank of the true shape of every query, 1 is best, ties against the system.

    rank_q = #{g : s_qg >= s_q,true}, which counts the true shape itself; a NaN true score has rank G.

    Args:
      scores: [Q, G], higher is better.
      positive: [Q] gallery index of the true shape, -1 where it is not in the gallery.

    Returns:
      [Q] int64 in 1..G, and G + 1 for an absent true shape.

    Raises:
      DataError: no queries, an empty gallery, or indices outside it.
    """
    scores, positive = checked_scores(scores, positive)
    gallery = scores.shape[1]
    true_score = np.take_along_axis(scores, np.maximum(positive, 0)[:, None], axis=1)
    ranks = np.count_nonzero(scores >= true_score, axis=1)
    ranks = np.where(np.isnan(true_score[:, 0]), gallery, ranks)
    return np.where(positive == ABSENT, gallery + 1, ranks).astype(np.int64)


def top_k_indices(
    scores: np.ndarray,
    k: int,
    positive: np.ndarray | None = None,
    *,
    query_category: np.ndarray | None = None,
    gallery_category: np.ndarray | None = None,
) -> np.ndarray:
    """Gallery indices of the k best shapes of every query, best first.

    Order: descending score; among equal scores, shapes of another category than the query's (if both category arrays
    are given), then the true shape last (if `positive` is given), then ascending index.

    Args:
      scores: [Q, G], higher is better.
      k: how many; min(k, G) are returned.
      positive: [Q] gallery index of the true shape, or -1.
      query_category, gallery_category: [Q], [G] category ids.

    Returns:
      [Q, min(k, G)] int64.

    Raises:
      DataError: as `positive_ranks`; k < 1.
    """
    if k < 1:
        raise refused('k', f'{k}', 'ask for at least one result')
    scores, positive = checked_scores(scores, np.full(len(scores), ABSENT) if positive is None else positive)
    top = np.empty((len(scores), min(k, scores.shape[1])), np.int64)
    index = np.arange(scores.shape[1])
    for rows in row_blocks(*scores.shape):
        block = np.asarray(scores[rows], np.float64)
        keys = [index[None, :] == positive[rows, None]]
        if query_category is not None and gallery_category is not None:
            keys.append(np.asarray(gallery_category)[None, :] == np.asarray(query_category)[rows, None])
        # lexsort is stable (so equal keys stay by index), sorts by its last key first, and puts NaN last.
        top[rows] = np.lexsort([*keys, -block], axis=-1)[:, : top.shape[1]]
    return top


def row_blocks(queries: int, gallery: int) -> Iterator[slice]:
    """Slices of the queries so that a block of pairs stays small."""
    step = max(1, _BLOCK_ELEMENTS // max(gallery, 1))
    for start in range(0, queries, step):
        yield slice(start, min(start + step, queries))


def checked_scores(scores: np.ndarray, positive: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The score matrix [Q, G] and the positive indices [Q] as arrays, or a DataError if they cannot be ranked."""
    scores, positive = np.asarray(scores), np.asarray(positive)
    if scores.ndim != 2 or positive.shape != scores.shape[:1]:
        raise refused('scores', f'shapes {scores.shape} and {positive.shape}', 'give scores [Q, G] and positive [Q]')
    if scores.shape[0] == 0:
        raise refused('queries', 'none to evaluate', 'choose a split that has queries')
    if scores.shape[1] == 0:
        raise refused('gallery', 'no shapes', 'give a gallery with at least one shape')
    if positive.min() < ABSENT or positive.max() >= scores.shape[1]:
        raise refused('positive', f'indices {positive.min()}..{positive.max()}', f'use -1..{scores.shape[1] - 1}')
    return scores, positive.astype(np.int64)
