"""The scores of the image-to-shape benchmarks (NN, FT, ST, F, DCG, ANMRR, AUC) of ranked galleries.

Letters: Q queries, G gallery shapes, N_q shapes of a query's class in the gallery, S cut of ANMRR.

Two named modes. `standard` is the textbook, `official` what the benchmark's own evaluation code computes:

  |       | official                                        | standard                                              |
  |-------|-------------------------------------------------|-------------------------------------------------------|
  | order | Euclidean distance of features with negative    | cosine of the features as they are                    |
  |       | entries set to 0, then scaled to length 1       |                                                       |
  | NN    | share of queries whose first shape is relevant  | the same                                              |
  | FT    | relevant among the first N / N                  | the same                                              |
  | ST    | relevant among the first 2N - 1 / N             | relevant among the first 2N / N                       |
  | F     | harmonic mean of precision and recall at 20,    | mean over queries of the harmonic mean at 20          |
  |       | each pooled over all queries                    |                                                       |
  | DCG   | gains (1, 1/log2 k) cut at N, over ideal        | gains of the whole gallery, over ideal                |
  | ANMRR | ranks 1..N count k if relevant, else S + 1;     | the rank of each relevant shape, 1.25 S beyond S;     |
  |       | S = min(4N, 2 N of the largest gallery class)   | S = min(4N, 2 N of the queries' largest class)        |
  | AUC   | trapezoids under the pooled precision-recall    | mean average precision                                |

Conventions: ties count against the system (irrelevant shapes first among equals; distances and cosines are equal if
they round to the same multiple of 2^-36). A query whose class the gallery does not have has no score in any metric: it
is left out and counted. With fewer than 20 shapes, F is taken at G.

Sources: the public evaluation code of MI3DOR; Shilane et al., "The Princeton Shape Benchmark", SMI 2004 (NN, FT, ST,
DCG); Manjunath et al., "Color and texture descriptors", IEEE TCSVT 11 (2001) (ANMRR).
"""

from typing import Literal

import numpy as np

from jaxret.errors import refused
from jaxret.metrics.average_precision import cosine_steps, normalized_rows
from jaxret.metrics.ranking import row_blocks

Mode = Literal['official', 'standard']
MODES = ('official', 'standard')
SCORES = ('nn', 'ft', 'st', 'f', 'dcg', 'anmrr', 'auc')
DEPTH = 20  # rank at which F is taken
_STEPS = 2.0**36  # of squared distances, as of cosines in `average_precision`


def ordered_relevance(
    queries: np.ndarray, gallery: np.ndarray, query_labels: np.ndarray, gallery_labels: np.ndarray, *, mode: Mode
) -> np.ndarray:
    """Whether the shape at each rank has the query's class, in the order of a mode.

    Args:
      queries: [Q, D] features.
      gallery: [G, D] features.
      query_labels, gallery_labels: [Q], [G] class ids.
      mode: 'official' or 'standard', see the module's table.

    Returns:
      [Q, G] bool, best rank first.

    Raises:
      DataError: no queries or shapes, arrays that do not fit together, features that are not finite.
    """
    x, y, *labels = _checked(queries, gallery, query_labels, gallery_labels, mode)
    ordered = np.empty((len(x), len(y)), bool)
    for rows in row_blocks(len(x), len(y)):
        relevant = labels[0][rows, None] == labels[1][None, :]
        # Relevance rides along as the lowest bit, so that irrelevant shapes come first among equals.
        ordered[rows] = np.sort((_distance_steps(x[rows], y, mode) << 1) | relevant, axis=1) & 1
    return ordered


def ranked_shapes(
    queries: np.ndarray,
    gallery: np.ndarray,
    query_labels: np.ndarray,
    gallery_labels: np.ndarray,
    *,
    mode: Mode,
    count: int,
) -> np.ndarray:
    """Gallery indices of the first shapes of every query, best first: [Q, min(count, G)].

    Args and order as `ordered_relevance`; of equal distance and relevance the lower index comes first.
    """
    x, y, *labels = _checked(queries, gallery, query_labels, gallery_labels, mode)
    ranked = np.empty((len(x), min(count, len(y))), np.int64)
    for rows in row_blocks(len(x), len(y)):
        relevant = labels[0][rows, None] == labels[1][None, :]
        order = np.argsort((_distance_steps(x[rows], y, mode) << 1) | relevant, axis=1, kind='stable')
        ranked[rows] = order[:, : ranked.shape[1]]
    return ranked


def per_query_scores(ordered: np.ndarray, *, mode: Mode, largest: int, depth: int = DEPTH) -> dict[str, np.ndarray]:
    """Every score of every query.

    The mean over the queries that have a score is the score of the set. Pooled scores (F and AUC of the official mode)
    are no means: their column is the usual linearisation of a ratio, whose mean is the pooled score and whose spread is
    that of the result.

    Args:
      ordered: [Q, G] of `ordered_relevance`.
      mode: 'official' or 'standard'.
      largest: shapes of the largest class, of which S is made: see `largest_class`.
      depth: rank at which F is taken.

    Returns:
      {score: [Q] float64}, NaN for queries without relevant shapes.
    """
    shapes = ordered.shape[1]
    scores = {name: np.full(len(ordered), np.nan) for name in SCORES}
    relevant = np.count_nonzero(ordered, axis=1)
    counted = np.flatnonzero(relevant)
    if not len(counted):
        return scores
    pooled = np.zeros(shapes)
    for rows in row_blocks(len(counted), shapes):
        mine = counted[rows]
        hits = np.cumsum(ordered[mine], axis=1, dtype=np.int32)
        pooled += hits.sum(axis=0)
        for name, values in _block_scores(ordered[mine], hits, relevant[mine], mode, largest, depth).items():
            scores[name][mine] = values
    if mode == 'official':
        found, wanted = scores['f'][counted], relevant[counted] + min(depth, shapes)
        scores['f'][counted] = _ratio(2 * found, wanted)
        slope = _area_slope(pooled / len(counted))
        for rows in row_blocks(len(counted), shapes):
            mine = counted[rows]
            scores['auc'][mine] = np.cumsum(ordered[mine], axis=1, dtype=np.int32) @ slope
        # The area is a quadratic form of the mean hits over the mean of N: slope . hits is twice that form.
        twice, form = scores['auc'][counted], _area_form(pooled / len(counted))
        mean, own = relevant[counted].mean(), relevant[counted]
        scores['auc'][counted] = (twice - form) / mean - form / mean * (own - mean) / mean
    return scores


def pooled_precision_recall(ordered: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Recall and precision at ranks 1..G, pooled over the queries that have relevant shapes: two [G] float64.

    hits_k / sum of N, and hits_k / (k Q), with hits_k the relevant shapes within the first k ranks of all queries.
    """
    counted = ordered[ordered.any(axis=1)]
    hits = np.cumsum(np.count_nonzero(counted, axis=0))
    return hits / max(hits[-1], 1), hits / (np.arange(1, ordered.shape[1] + 1) * max(len(counted), 1))


def largest_class(query_labels: np.ndarray, gallery_labels: np.ndarray, *, mode: Mode) -> int:
    """Shapes of the largest gallery class, which bounds ANMRR's S: of all (official), of the queries' (standard)."""
    _, classes, count = np.unique(np.asarray(gallery_labels), return_inverse=True, return_counts=True)
    kept = np.ones(len(classes), bool) if mode == 'official' else np.isin(gallery_labels, query_labels)
    return int(count[classes[kept]].max(initial=0))


def discounts(ranks: int) -> np.ndarray:
    """1, then 1 / log2 k: what a relevant shape at rank k = 1, 2, ... adds to DCG."""
    return 1.0 / np.log2(np.maximum(np.arange(1, ranks + 1), 2))


def _checked(queries, gallery, query_labels, gallery_labels, mode: Mode) -> tuple[np.ndarray, ...]:
    """Prepared features [Q, D], [G, D] and labels [Q], [G]."""
    if mode not in MODES:
        raise ValueError(f'mode {mode!r} is not one of {", ".join(MODES)}')
    x, y = (_prepared(name, features, mode) for name, features in (('queries', queries), ('gallery', gallery)))
    if x.shape[1] != y.shape[1]:
        raise refused('features', f'lengths {x.shape[1]} and {y.shape[1]}', 'give features of one length')
    labels = [np.asarray(query_labels), np.asarray(gallery_labels)]
    for name, own, count in (('queries', labels[0], len(x)), ('gallery', labels[1], len(y))):
        if own.shape != (count,):
            raise refused(name, f'labels of shape {own.shape}', f'give one class id for each of the {count}')
    return x, y, *labels


def _prepared(name: str, features: np.ndarray, mode: Mode) -> np.ndarray:
    if mode == 'standard':
        return normalized_rows(name, features)
    features = np.asarray(features, np.float64)
    normalized_rows(name, features)  # refuses what is not finite, before negative infinity becomes 0
    return normalized_rows(name, np.maximum(features, 0))


def _distance_steps(x: np.ndarray, y: np.ndarray, mode: Mode) -> np.ndarray:
    """Something that grows with the distance [b, G], int64: -cosine, or the squared distance of rows of length 1 or 0.

    Features without any positive entry stay zero in the official mode, at distance 1 from all others.
    """
    if mode == 'standard':
        return -cosine_steps(x, y)
    square = (x * x).sum(axis=1)[:, None] + (y * y).sum(axis=1)[None, :] - 2 * (x @ y.T)
    return np.rint(square * _STEPS).astype(np.int64)


def _block_scores(
    ordered: np.ndarray, hits: np.ndarray, relevant: np.ndarray, mode: Mode, largest: int, depth: int
) -> dict[str, np.ndarray]:
    """Scores [b] of queries that have relevant shapes; of the official F the hits, of its AUC nothing."""
    shapes, official = ordered.shape[1], mode == 'official'
    ranks = np.arange(1, shapes + 1)
    gains = discounts(shapes)
    limit, cut = np.minimum(4 * relevant, 2 * largest), min(depth, shapes)

    def within(rank: np.ndarray) -> np.ndarray:
        """Relevant among the first `rank` ranks."""
        return np.take_along_axis(hits, np.minimum(rank, shapes)[:, None] - 1, axis=1)[:, 0]

    first = within(relevant)
    scores = {
        'nn': ordered[:, 0].astype(np.float64),
        'ft': first / relevant,
        'st': within(2 * relevant - official) / relevant,
    }
    ideal = np.cumsum(gains)[relevant - 1]
    if official:
        kept = ordered & (ranks[None, :] <= relevant[:, None])
        mean_rank = (kept @ ranks.astype(np.float64) + (relevant - first) * (limit + 1)) / relevant
        return scores | {
            'f': within(np.full(len(ordered), cut)).astype(np.float64),
            'dcg': kept @ gains / ideal,
            'anmrr': (mean_rank - relevant / 2 - 0.5) / (limit - relevant / 2 + 0.5),
        }
    kept = ordered & (ranks[None, :] <= limit[:, None])
    beyond = relevant - np.count_nonzero(kept, axis=1)
    mean_rank = (kept @ ranks.astype(np.float64) + beyond * 1.25 * limit) / relevant
    precision = np.where(ordered, hits, 0) @ (1.0 / ranks)
    return scores | {
        'f': 2 * within(np.full(len(ordered), cut)) / (cut + relevant),
        'dcg': ordered @ gains / ideal,
        'anmrr': (mean_rank - 0.5 - relevant / 2) / (1.25 * limit - 0.5 - relevant / 2),
        'auc': precision / relevant,
    }


def _ratio(above: np.ndarray, below: np.ndarray) -> np.ndarray:
    """Values whose mean is the ratio of the means, and whose spread is that of the ratio to first order."""
    ratio = above.mean() / below.mean()
    return ratio + (above - ratio * below) / below.mean()


def _area_form(hits: np.ndarray) -> float:
    """sum_k (h_{k+1} - h_k) (h_k / k + h_{k+1} / (k+1)) / 2 of mean hits [G]: the pooled area times the mean of N."""
    precision = hits / np.arange(1, len(hits) + 1)
    return float(np.sum(np.diff(hits) * (precision[1:] + precision[:-1])) / 2)


def _area_slope(hits: np.ndarray) -> np.ndarray:
    """Gradient [G] of `_area_form`."""
    ranks = np.arange(1, len(hits) + 1)
    steps = np.diff(hits)
    sums = (hits / ranks)[1:] + (hits / ranks)[:-1]
    slope = np.zeros(len(hits))
    slope[1:] += sums + steps / ranks[1:]
    slope[:-1] += steps / ranks[:-1] - sums
    return slope / 2
