"""Means, spreads and paired differences against scipy's own tests."""

import numpy as np
import pytest
from scipy import stats

from jaxret.metrics.intervals import VERDICTS, Spread, paired_difference, spread


@pytest.mark.parametrize('n', [2, 3, 5, 17])
def test_spread_is_that_of_the_one_sample_t_test(n):
    x = np.random.default_rng(n).normal(86.0, 2.0, n)
    interval = stats.ttest_1samp(x, 0.0).confidence_interval(0.95)
    result = spread(dict(enumerate(x)))
    assert result.n == n and result.mean == pytest.approx(np.mean(x)) and result.sd == pytest.approx(stats.tstd(x))
    assert (result.low, result.high) == pytest.approx(tuple(interval))
    wider = spread(dict(enumerate(x)), confidence=0.99)
    assert (wider.low, wider.high) == pytest.approx(tuple(stats.ttest_1samp(x, 0.0).confidence_interval(0.99)))


def test_few_values_have_no_spread():
    assert spread({}) == Spread(0, None, None, None, None)
    assert spread({4: 2.5}) == Spread(1, 2.5, None, None, None)
    assert spread({0: 2.5, 1: 2.5}) == Spread(2, 2.5, 0.0, 2.5, 2.5)


@pytest.mark.parametrize('higher_is_better', [True, False])
@pytest.mark.parametrize('shift', [-1.5, 0.1, 1.5])
def test_paired_difference_is_that_of_the_related_t_test(shift, higher_is_better):
    rng = np.random.default_rng(3)
    common = rng.normal(0.0, 10.0, 4)  # a seed makes both rows good or bad: unpaired, this would hide everything
    a, b = common + rng.normal(shift, 0.2, 4), common
    test = stats.ttest_rel(a, b)
    interval = sorted(
        sign * edge for edge in test.confidence_interval(0.95) for sign in (1 if higher_is_better else -1,)
    )
    result, verdict = paired_difference(dict(enumerate(a)), dict(enumerate(b)), higher_is_better=higher_is_better)
    assert (result.low, result.high) == pytest.approx(tuple(interval))
    assert result.mean == pytest.approx((a - b).mean() * (1 if higher_is_better else -1))
    assert result.sd == pytest.approx(stats.tstd(a - b))
    better = shift > 0 if higher_is_better else shift < 0
    expected = 'unclear' if test.pvalue > 0.05 else 'holds' if better else 'opposite'
    assert verdict == expected and verdict in VERDICTS
    assert (expected == 'unclear') == (shift == 0.1)


def test_only_seeds_of_both_rows_count():
    result, verdict = paired_difference({0: 5.0, 1: 6.0, 2: 7.0, 5: 100.0}, {2: 1.0, 1: 1.0, 0: 1.0, 4: -100.0})
    assert result.n == 3 and result.mean == 5.0 and result.sd == 1.0 and verdict == 'holds'
    assert paired_difference({0: 5.0}, {0: 1.0}) == (Spread(1, 4.0, None, None, None), 'unknown')
    assert paired_difference({0: 5.0, 1: 4.0}, {2: 1.0, 3: 1.0}) == (spread({}), 'unknown')
