"""What the image-to-shape benchmark scores are expected to be where galleries are in random order, exactly.

Letters: Q queries, G gallery shapes, N shapes of a query's class. Scores and modes: see `shrec_scores`.
"""

import numpy as np

from jaxret.metrics.average_precision import expected_average_precision
from jaxret.metrics.shrec_scores import DEPTH, SCORES, Mode, discounts


def chance_scores(
    relevant: np.ndarray, shapes: int, *, mode: Mode, largest: int, depth: int = DEPTH
) -> dict[str, float | None]:
    """Exact expectation of every score where each query has the gallery in an independent, uniformly random order.

    Args:
      relevant: [Q] shapes of each query's class, N.
      shapes: G.
      mode, largest, depth: as `per_query_scores`.

    Returns:
      {score: expectation}, None without a query that counts.
    """
    count = np.asarray(relevant, np.float64)
    count = count[count > 0]
    if not len(count):
        return dict.fromkeys(SCORES)
    share, ranks, cut = count / shapes, np.arange(1, shapes + 1), min(depth, shapes)
    limit = np.minimum(4 * count, 2 * largest)
    expected = {'nn': share, 'ft': share}
    if mode == 'official':
        expected['st'] = np.minimum(2 * count - 1, shapes) / shapes
        expected['dcg'] = share
        mean_rank = share * (count + 1) / 2 + (1 - share) * (limit + 1)
        expected['anmrr'] = (mean_rank - count / 2 - 0.5) / (limit - count / 2 + 0.5)
        f = 2 * cut * share.sum() / (cut * len(count) + count.sum())
        return {name: float(value.mean()) for name, value in expected.items()} | {
            'f': float(f),
            'auc': _expected_area(count, shapes),
        }
    gains = np.cumsum(discounts(shapes))
    expected['st'] = np.minimum(2 * count, shapes) / shapes
    expected['dcg'] = share * gains[-1] / gains[count.astype(int) - 1]
    expected['f'] = 2 * cut * share / (cut + count)
    ranked = np.cumsum(ranks)[np.minimum(limit, shapes).astype(int) - 1]
    mean_rank = (ranked + 1.25 * limit * np.maximum(shapes - limit, 0)) / shapes
    expected['anmrr'] = (mean_rank - 0.5 - count / 2) / (1.25 * limit - 0.5 - count / 2)
    expected['auc'] = expected_average_precision(count, shapes)
    return {name: float(value.mean()) for name, value in expected.items()}


def _expected_area(count: np.ndarray, shapes: int) -> float:
    """Expected area under the pooled curve, exact.

    With p = N/G of a query, b = (sum p)^2 - sum p^2 over pairs of queries and r_{k+1} the relevant shapes at rank k + 1
    of all queries: E[r_{k+1} h_k] = k (b + sum p (N-1)/(G-1)) and E[r_{k+1} r_{k+1}] = b + sum p.
    """
    if shapes == 1:
        return 0.0
    share, ranks = count / shapes, np.arange(1, shapes)
    pairs = share.sum() ** 2 - np.sum(share**2)
    before = pairs + np.sum(share * (count - 1)) / (shapes - 1)
    total = np.sum(before + (ranks * before + pairs + share.sum()) / (ranks + 1)) / 2
    return float(total / (count.sum() * len(count)))
