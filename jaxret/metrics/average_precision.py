"""Average precision over a full gallery, its chance level, its interval and the precision-recall curve.

Letters: Q queries, G gallery items, D embedding, T recall levels. An item is relevant if its label is the query's.

Conventions:
  * AP of a query = mean, over its relevant items, of the precision at the rank of that item, over the full gallery. mAP
    = mean over the queries.
  * Ties count against the system, as in `ranking`: among equal scores the irrelevant items come first. Cosines are
    equal if they round to the same multiple of 2^-36, so that what rounding does to two copies of one embedding decides
    nothing; a zero embedding has cosine 0 with everything.
  * With `exclude_self` queries and gallery are the same items, and item q is removed from the gallery of query q.
    Without it such a query finds itself first (cosine 1), as in the published tables.
  * A query without any relevant item has no AP (NaN). It is left out of the mean and counted.
"""

from dataclasses import dataclass

import numpy as np

from jaxret.errors import refused
from jaxret.metrics.ranking import row_blocks

_COSINE_STEPS = 2.0**36  # steps of 1.5e-11: above rounding in float64, below what float32 embeddings resolve


@dataclass(frozen=True)
class AveragePrecision:
    """Average precision of Q queries.

    Attributes:
      values: [Q] float64, NaN for a query without relevant items.
      relevant: [Q] int64, relevant items in the gallery of each query.
      gallery: size of the gallery of a query, without itself if it is excluded.
      recall: [T] levels from 0 to 1.
      precision: [T] mean over the queries of the interpolated precision, max_{recall' >= recall} precision(recall');
        NaN if no query has relevant items.
    """

    values: np.ndarray
    relevant: np.ndarray
    gallery: int
    recall: np.ndarray
    precision: np.ndarray

    @property
    def mean(self) -> float | None:
        """mAP; None if no query has relevant items."""
        return float(self.values[self.defined].mean()) if self.defined.any() else None

    @property
    def known_precision(self) -> list[float | None]:
        """`precision` as Python numbers, None for NaN."""
        return [None if np.isnan(p) else float(p) for p in self.precision]

    @property
    def defined(self) -> np.ndarray:
        """[Q] bool: queries that count."""
        return self.relevant > 0


def average_precision(
    queries: np.ndarray,
    gallery: np.ndarray,
    query_labels: np.ndarray,
    gallery_labels: np.ndarray,
    *,
    exclude_self: bool = False,
    recall_levels: int = 11,
) -> AveragePrecision:
    """Average precision of every query by the cosine of embeddings.

    AP_q = 1/R_q sum_{relevant g} #{relevant at least as high as g} / rank(g).

    Args:
      queries: [Q, D] embeddings, of any length; a zero embedding has cosine 0 with all.
      gallery: [G, D] embeddings.
      query_labels, gallery_labels: [Q], [G] class ids.
      exclude_self: gallery and queries are the same items; remove each from its own gallery.
      recall_levels: T, equally spaced levels of the precision-recall curve; 11 is the usual form.

    Returns:
      AveragePrecision.

    Raises:
      DataError: no queries, an empty gallery, arrays that do not fit together, embeddings that are not finite.

    Source: Manning, Raghavan, Schuetze, Introduction to Information Retrieval (2008), section 8.4.
    """
    left, right = normalized_rows('queries', queries), normalized_rows('gallery', gallery)
    if left.shape[1] != right.shape[1]:
        raise refused('embeddings', f'lengths {left.shape[1]} and {right.shape[1]}', 'give embeddings of one length')
    labels = _checked_labels(query_labels, gallery_labels, len(left), len(right), exclude_self)
    return _evaluate(left, right, *labels, exclude_self, recall_levels)


def expected_average_precision(relevant: np.ndarray, gallery: int, *, self_first: bool = False) -> np.ndarray:
    """Exact expected AP of a uniformly random order: the chance level.

    1/G sum_k (1 + (k-1)(R-1)/(G-1)) / k = 1/G (H_G + (R-1)/(G-1) (G - H_G)), H_G = sum_{k=1}^G 1/k: rank k holds a
    relevant item with probability R/G, and the k-1 places before it each hold one of the others with (R-1)/(G-1).

    Args:
      relevant: [Q] relevant items R of each query.
      gallery: G.
      self_first: one relevant item, the query itself, is at rank 1 whatever the order of the others, which is what
        embeddings that know nothing get in a gallery that holds the query.

    Returns:
      [Q] float64, NaN where R = 0.

    Source: Y. Bestgen, "Exact expected average precision of the random baseline", Prague Bull. Math. Ling. 103 (2015).
    """
    count = np.asarray(relevant, np.float64)
    if count.size and not 0 <= count.min() <= count.max() <= gallery:
        raise refused('relevant', f'{count.min():g}..{count.max():g} of {gallery}', 'give 0 <= relevant <= gallery')
    inverse = 1.0 / np.arange(1, gallery + 1)
    ranks = np.arange(1, gallery + 1)
    if self_first:
        # Rank k >= 2: relevant with (R-1)/(G-1); before it the query and k-2 places with (R-2)/(G-2) each.
        sure, spread = np.sum(2 * inverse[1:]), np.sum((ranks[1:] - 2) * inverse[1:]) / max(gallery - 2, 1)
        total = 1 + (count - 1) / max(gallery - 1, 1) * (sure + (count - 2) * spread)
    else:
        spread = np.sum((ranks - 1) * inverse) / max(gallery - 1, 1)
        total = (np.sum(inverse) + (count - 1) * spread) * count / max(gallery, 1)
    return np.divide(total, count, out=np.full(count.shape, np.nan), where=count > 0)


def normalized_rows(name: str, embeddings: np.ndarray) -> np.ndarray:
    """Embeddings [N, D] in float64 at length 1, zero ones left zero; a DataError if they are none or not finite."""
    x = np.asarray(embeddings, np.float64)
    if x.ndim != 2 or 0 in x.shape:
        raise refused(name, f'shape {x.shape}', 'give embeddings [N, D] of at least one item')
    bad = np.flatnonzero(~np.isfinite(x).all(axis=1))
    if len(bad):
        raise refused(name, f'{len(bad)} of {len(x)} embeddings are not finite, first {bad[0]}', 'check the training')
    largest = np.abs(x).max(axis=1, keepdims=True)
    x = x / np.where(largest > 0, largest, 1.0)  # so that squares neither overflow nor vanish
    return x / np.where(largest > 0, np.linalg.norm(x, axis=1, keepdims=True), 1.0)


def cosine_steps(queries: np.ndarray, gallery: np.ndarray) -> np.ndarray:
    """Cosines [Q, G] of rows of length 1 or 0 as int64 multiples of 2^-36; 0 for a zero row."""
    return np.rint((queries @ gallery.T) * _COSINE_STEPS).astype(np.int64)


def without_self(block: np.ndarray, first: int) -> np.ndarray:
    """Rows `first`, `first` + 1, ... of a square matrix [G, G], [b, G], without the diagonal: [b, G - 1]."""
    rows, columns = block.shape
    keep = np.arange(columns)[None, :] != np.arange(first, first + rows)[:, None]
    return block[keep].reshape(rows, columns - 1)


def _evaluate(
    left: np.ndarray,
    right: np.ndarray,
    query_labels: np.ndarray,
    gallery_labels: np.ndarray,
    exclude_self: bool,
    levels: int,
) -> AveragePrecision:
    if levels < 2:
        raise refused('recall_levels', f'{levels}', 'ask for at least two')
    queries, gallery = len(query_labels), len(gallery_labels)
    values, relevant = np.full(queries, np.nan), np.zeros(queries, np.int64)
    curve = np.zeros(levels)
    for rows in row_blocks(queries, gallery):
        scores, same = cosine_steps(left[rows], right), query_labels[rows, None] == gallery_labels[None, :]
        if exclude_self:
            scores, same = without_self(scores, rows.start), without_self(same, rows.start)
        count = np.count_nonzero(same, axis=1)
        relevant[rows] = count
        if not count.any():
            continue
        precision = _precisions(_relevance_in_order(scores, same), count)
        counted = count > 0
        values[rows] = np.divide(precision.sum(axis=1), count, out=np.full(len(count), np.nan), where=counted)
        curve += _interpolated(precision[counted], count[counted], levels).sum(axis=0)
    known = np.count_nonzero(relevant)
    return AveragePrecision(
        values=values,
        relevant=relevant,
        gallery=gallery - exclude_self,
        recall=np.linspace(0, 1, levels),
        precision=curve / known if known else np.full(levels, np.nan),
    )


def _relevance_in_order(scores: np.ndarray, relevant: np.ndarray) -> np.ndarray:
    """`relevant` [b, G], each row in descending order of int64 scores, the irrelevant first among equal ones."""
    # Relevance rides along as the lowest bit: much faster than sorting indices.
    return (np.sort((-scores << 1) | relevant, axis=1) & 1).astype(bool)


def _precisions(ordered: np.ndarray, count: np.ndarray) -> np.ndarray:
    """Precision at the rank of the j-th relevant item, [b, max R]; 0 behind the last one of a row."""
    row, place = np.nonzero(ordered)
    nth = np.arange(len(row)) - np.repeat(np.cumsum(count) - count, count)
    precision = np.zeros((len(ordered), count.max()))
    precision[row, nth] = (nth + 1) / (place + 1)
    return precision


def _interpolated(precision: np.ndarray, count: np.ndarray, levels: int) -> np.ndarray:
    """Highest precision at a recall of at least t / (levels - 1), t = 0, 1, ...: [b, levels]."""
    highest = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
    # The j-th of R items has recall j/R; the first j that reaches a level is its ceiling, in whole numbers.
    first = -(-count[:, None] * np.arange(levels)[None, :] // (levels - 1))
    return np.take_along_axis(highest, np.maximum(first, 1) - 1, axis=1)


def _checked_labels(
    query_labels: np.ndarray, gallery_labels: np.ndarray, queries: int, gallery: int, exclude_self: bool
) -> tuple[np.ndarray, np.ndarray]:
    query_labels, gallery_labels = np.asarray(query_labels), np.asarray(gallery_labels)
    for name, labels, count in (('queries', query_labels, queries), ('gallery', gallery_labels, gallery)):
        if labels.shape != (count,):
            raise refused(name, f'labels of shape {labels.shape}', f'give one label for each of the {count} items')
        if count == 0:
            raise refused(name, 'no items', 'choose a split that has some')
    if exclude_self and queries != gallery:
        raise refused('exclude_self', f'{queries} queries and {gallery} gallery items', 'give the same items twice')
    return query_labels, gallery_labels
