"""What a few seeds say: mean, spread and interval of a row, and of the difference of two rows, seed by seed."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from scipy import stats

VERDICTS = {'holds': 'holds beyond the spread', 'unclear': 'does not exceed the spread',
            'opposite': 'the opposite holds', 'unknown': 'cannot be said'}


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
    mean, sd = float(x.mean()), float(x.std(ddof=1))
    half = float(stats.t.ppf(0.5 + confidence / 2, len(x) - 1)) * sd / len(x) ** 0.5
    return Spread(len(x), mean, sd, mean - half, mean + half)


def paired_difference(better: Mapping[int, float], worse: Mapping[int, float], *, higher_is_better: bool = True
                      ) -> tuple[Spread, str]:
    """By how much one row is better than another, over the seeds that both have.

    Args:
      better: {seed: value} of the row that is said to be better.
      worse: {seed: value} of the other.
      higher_is_better: False turns the sign, so that above 0 always supports what is said.

    Returns:
      (spread of the differences, key of VERDICTS): 'holds' or 'opposite' where the 95 % interval leaves out 0,
      'unclear' where it does not, 'unknown' with fewer than two seeds.
    """
    sign = 1 if higher_is_better else -1
    result = spread({seed: sign * (better[seed] - worse[seed]) for seed in better if seed in worse})
    if result.low is None:
        return result, 'unknown'
    return result, 'holds' if result.low > 0 else 'opposite' if result.high < 0 else 'unclear'
