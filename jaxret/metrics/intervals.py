"""Confidence intervals: of a share, of a mean, of a row over seeds, of the difference of two rows."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from scipy import stats

from jaxret.errors import refused

VERDICTS = {'holds': 'holds', 'undecided': 'undecided', 'opposite': 'the opposite holds', 'unknown': 'cannot be said'}
MOST_SEEDS = 1000  # beyond which no number of seeds is sought
_POWER = 0.8


def wilson_interval(hits: float, n: int, confidence: float = 0.95) -> tuple[float, float]:
    """Wilson score interval of a proportion, which stays in [0, 1] and is meaningful at 0 and n hits.

    (p + z^2/2n -+ z sqrt(p(1-p)/n + z^2/4n^2)) / (1 + z^2/n), p = hits/n. Queries are taken as independent; many photos
    of few shapes carry less information than that.

    Args:
      hits: number of hits, 0..n; not always whole, which `scipy.stats.binomtest` refuses.
      n: number of queries; 0 gives (0, 1).
      confidence: two-sided level.

    Returns:
      (low, high).

    Source: E. B. Wilson, J. Am. Stat. Assoc. 22 (1927) 209.
    """
    if not 0 <= hits <= n or not 0 < confidence < 1:
        raise refused('wilson_interval', f'{hits} hits of {n}, confidence {confidence}', 'give 0 <= hits <= n')
    if n == 0:
        return 0.0, 1.0
    z = NormalDist().inv_cdf(0.5 + confidence / 2)
    p, z2 = hits / n, z * z
    centre = p + z2 / (2 * n)
    half = z * np.sqrt(p * (1 - p) / n + z2 / (4 * n * n))
    low, high = (centre - half) / (1 + z2 / n), (centre + half) / (1 + z2 / n)
    # The exact bounds at the ends are 0 and 1; rounding must not move them.
    return (0.0 if hits == 0 else float(max(low, 0.0))), (1.0 if hits == n else float(min(high, 1.0)))


def mover_interval(rows: Sequence[tuple[float, float, float]]) -> tuple[float, float, float]:
    """Mean of proportions (value, low, high) and its interval: mean -+ sqrt(sum_c (distance to the bound)^2) / C.

    Source: Zou and Donner, Stat. Med. 27 (2008) 1693 (MOVER).
    """
    value, low, high = np.asarray(rows, np.float64).T
    mean = float(np.mean(value))
    below, above = (float(np.sqrt(np.sum((value - bound) ** 2))) / len(value) for bound in (low, high))
    return mean, max(mean - below, 0.0), min(mean + above, 1.0)


def mean_interval(values: np.ndarray, confidence: float = 0.95) -> tuple[float, float]:
    """Student-t interval of the mean of values in [0, 1], cut to that range: mean -+ t_{n-1} s / sqrt(n).

    Values are taken as independent; queries share one gallery, so it says nothing about other test sets of few shapes.
    Equal values give an interval without width; fewer than two give (0, 1).

    Args:
      values: [n]; NaN is left out.
      confidence: two-sided level.

    Returns:
      (low, high).
    """
    values = np.asarray(values, np.float64)
    values = values[~np.isnan(values)]
    if not 0 < confidence < 1:
        raise refused('mean_interval', f'confidence {confidence}', 'give a level between 0 and 1')
    if len(values) < 2:
        return 0.0, 1.0
    half = _half_width(values, confidence)
    return float(max(values.mean() - half, 0.0)), float(min(values.mean() + half, 1.0))


def mean_metrics(name: str, values: np.ndarray, confidence: float) -> dict[str, float | None]:
    """{A, A_low, A_high} of a mean named A: the mean of the values [n] in [0, 1] that are not NaN, and its interval.

    The mean is None where no value counts.
    """
    values = np.asarray(values, np.float64)
    known = values[~np.isnan(values)]
    low, high = mean_interval(known, confidence)
    return {name: float(known.mean()) if len(known) else None, f'{name}_low': low, f'{name}_high': high}


@dataclass(frozen=True)
class Spread:
    """Of n values: mean, standard deviation (n - 1), and Student-t interval of the mean; None where n is too small."""

    n: int
    mean: float | None
    sd: float | None
    low: float | None
    high: float | None


def spread(values: Mapping[int, float], *, confidence: float = 0.95) -> Spread:
    """Mean, standard deviation and t interval (mean -+ t_{n-1} sd / sqrt(n)) of one value a seed.

    Args:
      values: {seed: value}, finite.
      confidence: two-sided level of the interval.

    Returns:
      The spread; sd and interval are None with fewer than two values, the mean without any.
    """
    x = np.array(list(values.values()), np.float64)
    if len(x) < 2:
        return Spread(len(x), float(x[0]) if len(x) else None, None, None, None)
    mean, half = float(x.mean()), float(_half_width(x, confidence))
    return Spread(len(x), mean, float(x.std(ddof=1)), mean - half, mean + half)


def _half_width(values: np.ndarray, confidence: float) -> float:
    """t_{n-1} s / sqrt(n) of two values or more."""
    return stats.t.ppf(0.5 + confidence / 2, len(values) - 1) * values.std(ddof=1) / np.sqrt(len(values))


def paired_difference(
    better: Mapping[int, float],
    worse: Mapping[int, float],
    *,
    higher_is_better: bool = True,
    claims: int = 1,
    confidence: float = 0.95,
) -> tuple[Spread, str]:
    """By how much one row is better than another, over the seeds that both have.

    Args:
      better: {seed: value} of the row that is said to be better.
      worse: {seed: value} of the other.
      higher_is_better: False turns the sign, so that above 0 always supports what is said.
      claims: that are judged together: all their intervals hold at once with the confidence (Bonferroni: each has
        1 - (1 - confidence) / claims).
      confidence: two-sided, of all claims together.

    Returns:
      (spread of the differences, key of VERDICTS): 'holds' or 'opposite' where the interval leaves out 0, 'undecided'
      where it does not, 'unknown' with fewer than two seeds, or two whose differences are equal and not 0.
    """
    sign = 1 if higher_is_better else -1
    plain = spread({seed: sign * (better[seed] - worse[seed]) for seed in better if seed in worse})
    return judge(plain.n, plain.mean, plain.sd, claims=claims, confidence=confidence)


def judge(
    n: int, mean: float | None, sd: float | None, *, claims: int = 1, confidence: float = 0.95
) -> tuple[Spread, str]:
    """What mean and standard deviation of n paired differences say; arguments and result as of `paired_difference`."""
    if n < 2:
        return Spread(n, mean, sd, None, None), 'unknown'
    half = float(stats.t.ppf(1 - (1 - confidence) / claims / 2, n - 1) * sd / np.sqrt(n))
    result = Spread(n, mean, sd, mean - half, mean + half)
    if n == 2 and sd < 1e-9 * abs(mean):
        return result, 'unknown'
    return result, 'holds' if result.low > 0 else 'opposite' if result.high < 0 else 'undecided'


def seeds_to_decide(mean: float, sd: float, *, claims: int = 1, confidence: float = 0.95) -> int | None:
    """The least number of seeds with which `paired_difference` would decide in 80 of 100 repetitions, if mean and
    standard deviation of the differences are as measured: the power of the t test, by the noncentral t distribution.

    Args:
      mean: of the differences.
      sd: their standard deviation, above 0.
      claims: as for `paired_difference`.
      confidence: likewise.

    Returns:
      2 to MOST_SEEDS; None for more.
    """
    level = 1 - (1 - confidence) / claims / 2
    n = np.arange(2, MOST_SEEDS + 1)
    shift, bound = np.abs(mean) / sd * np.sqrt(n), stats.t.ppf(level, n - 1)
    enough = np.flatnonzero(stats.nct.sf(bound, n - 1, shift) >= _POWER)  # the other end of the test adds nothing here
    return int(n[enough[0]]) if len(enough) else None
