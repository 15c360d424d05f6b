"""Means, spreads and paired differences against scipy's own tests."""

import math

import numpy as np
import pytest
from scipy import stats

from jaxret.metrics.intervals import MOST_SEEDS, VERDICTS, Spread, paired_difference, seeds_to_decide, spread


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
    expected = 'undecided' if test.pvalue > 0.05 else 'holds' if better else 'opposite'
    assert verdict == expected and verdict in VERDICTS
    assert (expected == 'undecided') == (shift == 0.1)


def test_only_seeds_of_both_rows_count():
    result, verdict = paired_difference({0: 5.0, 1: 6.0, 2: 7.0, 5: 100.0}, {2: 1.0, 1: 1.0, 0: 1.0, 4: -100.0})
    assert result.n == 3 and result.mean == 5.0 and result.sd == 1.0 and verdict == 'holds'
    assert paired_difference({0: 5.0}, {0: 1.0}) == (Spread(1, 4.0, None, None, None), 'unknown')
    assert paired_difference({0: 5.0, 1: 4.0}, {2: 1.0, 3: 1.0}) == (spread({}), 'unknown')


@pytest.mark.parametrize('claims', [1, 3, 21])
def test_claims_judged_together_have_wider_intervals(claims):
    """Bonferroni: each of C claims is tested at 5 % / C."""
    differences = [1.0, 2.0, 3.0, 1.2, 2.5]
    mean = sum(differences) / 5
    sd = math.sqrt(sum((x - mean) ** 2 for x in differences) / 4)
    p = 2 * stats.t.sf(mean / (sd / math.sqrt(5)), 4)
    result, verdict = paired_difference(dict(enumerate(differences)), dict.fromkeys(range(5), 0.0), claims=claims)
    assert (verdict == 'holds') == (p < 0.05 / claims) == (claims < 21) and verdict != 'opposite'
    assert result.mean - result.low == pytest.approx(result.high - result.mean)
    assert 2 * stats.t.sf((result.high - mean) / (sd / math.sqrt(5)), 4) == pytest.approx(0.05 / claims)


def power_of(n, effect, level, *, pieces=4000):
    """Chance that the two-sided t test of n differences with mean / sd `effect` finds it: summed over the values that
    the estimated standard deviation can take."""
    bound, total = stats.t.ppf(1 - level / 2, n - 1), 0.0
    for piece in range(pieces):
        ratio = math.sqrt(stats.chi2.ppf((piece + 0.5) / pieces, n - 1) / (n - 1))
        total += 0.5 * math.erfc((bound * ratio - effect * math.sqrt(n)) / math.sqrt(2))
    return total / pieces


@pytest.mark.parametrize(('effect', 'claims'), [(2.0, 1), (-0.9, 1), (0.7, 21)])
def test_seeds_to_decide_is_the_least_number_with_a_power_of_80_percent(effect, claims):
    found = seeds_to_decide(3 * effect, 3.0, claims=claims)
    assert power_of(found, abs(effect), 0.05 / claims, pieces=400) >= 0.799
    assert power_of(found - 1, abs(effect), 0.05 / claims, pieces=400) < 0.801


def test_no_number_of_seeds_decides_what_is_no_difference():
    assert seeds_to_decide(0.0, 1.0) is None and seeds_to_decide(0.01, 1.0) is None
    assert seeds_to_decide(100.0, 0.001) == 2 and seeds_to_decide(0.09, 1.0) <= MOST_SEEDS
