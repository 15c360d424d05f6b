"""Prototypes of two domains against a loop-written oracle, and what must not change them."""

import numpy as np
import pytest

from jaxret.baselines.prototypes import prototypes
from jaxret.errors import DataError


def unit(vector):
    return vector / np.linalg.norm(vector)


def oracle(x, labels, y, asked, classes, *, weight, temperature, iterations):
    """Probabilities of target items `asked`, class by class and item by item."""
    z = [unit(row - x.mean(axis=0)) for row in x]
    own = [unit(sum(row for row, label in zip(z, labels, strict=True) if label == c)) for c in classes]
    found = list(own)

    def probability(row):
        scores = [
            np.exp((weight * row @ t + (1 - weight) * row @ s) / temperature) for s, t in zip(own, found, strict=True)
        ]
        return [score / sum(scores) for score in scores]

    targets = [unit(row - y.mean(axis=0)) for row in y]
    for _ in range(iterations):
        parts = [probability(row) for row in targets]
        found = [unit(sum(p[c] * row for p, row in zip(parts, targets, strict=True))) for c in range(len(classes))]
    return np.array([probability(unit(row - y.mean(axis=0))) for row in asked])


def domains(seed, *, items=24, noise=0.6):
    """Four classes, and the same ones turned a little and moved, in unequal numbers."""
    rng = np.random.default_rng(seed)
    centres, change = rng.standard_normal((4, 9)), np.eye(9) + 0.15 * rng.standard_normal((9, 9))
    labels, hidden = np.arange(items) % 4, np.sort(rng.integers(0, 4, 31))
    x = centres[labels] + noise * rng.standard_normal((items, 9))
    y = (centres[hidden] + noise * rng.standard_normal((31, 9))) @ change + 3 * rng.standard_normal(9)
    return x, labels, y, hidden


@pytest.mark.parametrize('iterations', [0, 1, 4])
def test_probabilities_equal_the_oracle(iterations):
    x, labels, y, _ = domains(0)
    named, asked = np.array([1, 3, 4, 6])[labels], y[:5] + 0.1
    fitted = prototypes(x, named, y, target_weight=0.4, temperature=0.2, iterations=iterations)
    scores = fitted.target(asked)
    assert scores.shape == (5, 7) and not scores[:, [0, 2, 5]].any()
    expected = oracle(x, named, y, asked, [1, 3, 4, 6], weight=0.4, temperature=0.2, iterations=iterations)
    np.testing.assert_allclose(scores[:, [1, 3, 4, 6]], expected, rtol=1e-9)
    assert np.mean(np.argmax(fitted.source(x), axis=1) == named) > 0.9


def test_new_estimates_find_more_classes_than_the_source_alone():
    right = {0: [], 10: []}
    for seed in range(10):
        x, labels, y, hidden = domains(seed, items=4, noise=1.0)
        for iterations, shares in right.items():
            found = prototypes(x, labels, y, target_weight=0.5, temperature=0.3, iterations=iterations).target(y)
            shares.append(np.mean(np.argmax(found, axis=1) == hidden))
    assert np.mean(right[10]) > np.mean(right[0]) + 0.03, right


def test_offsets_of_a_domain_and_order_do_not_matter():
    x, labels, y, _ = domains(3)
    before = prototypes(x, labels, y)
    order = np.random.default_rng(4).permutation(len(y))
    after = prototypes(x[::-1] + 5.0, labels[::-1], y[order] - 2.0)
    np.testing.assert_allclose(after.target(y - 2.0), before.target(y), rtol=1e-7)
    np.testing.assert_allclose(after.source(x + 5.0), before.source(x), rtol=1e-7)


def test_collapsed_and_wrong_input():
    x, labels, y, _ = domains(5)
    for target in (y[:2], np.ones_like(y)):
        fitted = prototypes(x, labels, target)
        assert np.isfinite(fitted.target(target)).all() and np.isfinite(fitted.source(x)).all()
    assert (prototypes(x, np.zeros(len(x), int), y).target(y) == 1).all()
    with pytest.raises(DataError, match='one length'):
        prototypes(x, labels, y[:, :4])
