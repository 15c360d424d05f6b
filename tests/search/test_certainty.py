"""How sure the best score is: against scikit-learn directly, and where nothing can be said."""

import math

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from jaxret.search.certainty import Certainty, lead, learn_certainty


def test_lead():
    scores = np.array([[0.5, 2.0, 1.25], [-1.0, -3.0, -1.0]])  # in the second two are equal
    assert lead(scores).tolist() == [[2.0, 0.75], [-1.0, 0.0]]
    assert lead(scores[:, :1]).tolist() == [[0.5, 0.0], [-1.0, 0.0]]


def test_chance_by_hand():
    certainty = Certainty((2.0, 3.0, -1.0), 0.9)
    assert certainty([0.5, 0.25, 0.0]) == pytest.approx(1 / (1 + math.exp(-(2 * 0.5 + 3 * 0.25 - 1))))
    assert certainty([0.5]) == pytest.approx(0.5)
    assert certainty([-1e4, -1e5]) == 1.0 and certainty([-1e5, -1e5]) == 0.0


def slow_area(right, chances):
    pairs = [(a, b) for a, one in zip(chances, right, strict=True) if one
             for b, other in zip(chances, right, strict=True) if not other]  # fmt: skip
    return sum(1.0 if a > b else 0.5 if a == b else 0.0 for a, b in pairs) / len(pairs)


def test_learnt_against_sklearn():
    rng = np.random.default_rng(0)
    leads, groups = rng.normal(size=(40, 2)) * [5, 1], np.repeat(np.arange(5), 8)
    right = leads[:, 1] + 0.5 * rng.normal(size=40) > 0
    found = learn_certainty(leads, right, groups)
    plain = LogisticRegression().fit(leads, right)
    assert found.weights == pytest.approx([*plain.coef_[0], plain.intercept_[0]], rel=1e-3)
    scores = [3.0, 2.5, -1.0]
    assert found(scores) == pytest.approx(plain.predict_proba([[3.0, 0.5]])[0, 1], rel=1e-3)
    held_out = np.zeros(40)
    for group in range(5):  # as many folds as groups: each is left out once
        known = groups != group
        held_out[~known] = LogisticRegression().fit(leads[known], right[known]).predict_proba(leads[~known])[:, 1]
    assert found.area == pytest.approx(slow_area(right, held_out)) and found.area > 0.7


@pytest.mark.parametrize(
    ('right', 'groups'),
    [
        (np.ones(20, bool), np.arange(20) // 4),
        (np.zeros(20, bool), np.arange(20) // 4),
        (np.arange(20) < 4, np.arange(20) // 4),  # those of one group, so that a fold has none
        (np.arange(20) % 2 == 0, np.arange(20) // 5),  # four groups for five folds
    ],
)
def test_too_little_to_learn(right, groups):
    assert learn_certainty(np.random.default_rng(0).normal(size=(20, 2)), right, groups) is None
