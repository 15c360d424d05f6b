"""Learnt maps of photos against loops: principal axes by singular values, then covariance within owners."""

import numpy as np
import pytest

from jaxret.search import whitening
from jaxret.search.whitening import learn_whitening


def slow_products(vectors, owner, new, axes, shrinkage, of=1):
    """Products of all pairs of mapped vectors `new`, which do not depend on signs and order of axes."""
    mean = vectors.mean(axis=0)
    _, lengths, basis = np.linalg.svd((vectors - mean)[::of], full_matrices=False)
    basis = basis[[number for number, length in enumerate(lengths) if length > 1e-6 * lengths[0]]][:axes]
    low = [basis @ (vector - mean) for vector in vectors]
    within, free = np.zeros((len(basis), len(basis))), 0
    for one in set(owner):
        own = [x for x, other in zip(low, owner, strict=True) if other == one]
        for x in own:
            within += np.outer(x - np.mean(own, axis=0), x - np.mean(own, axis=0))
        free += len(own) - 1
    within /= free
    metric = np.linalg.inv(within + shrinkage * np.trace(within) / len(basis) * np.eye(len(basis)))
    low = [basis @ (x - mean) for x in new]
    products = np.array([[a @ metric @ b for b in low] for a in low])
    lengths = np.sqrt(np.diag(products))
    return products / lengths[:, None] / lengths


@pytest.mark.parametrize(
    ('count', 'width', 'axes', 'shrinkage'), [(9, 20, 256, 0.3), (40, 6, 256, 0.3), (40, 6, 3, 0.01), (12, 7, 1, 2.0)]
)
def test_map_against_loops(count, width, axes, shrinkage):
    rng = np.random.default_rng(count)
    vectors, owner = rng.normal(size=(count, width)), rng.integers(0, count // 3, count) * 5
    vectors[:, 0] *= 4
    learnt = learn_whitening(vectors.astype(np.float32), owner, axes=axes, shrinkage=shrinkage)
    assert learnt.projection.shape == (width, min(axes, width, count - 1)) and learnt.projection.dtype == np.float32
    new = rng.normal(size=(5, width)) + 1
    mapped = learnt(new.astype(np.float32))
    np.testing.assert_allclose(np.linalg.norm(mapped, axis=1), 1, rtol=1e-5)
    np.testing.assert_allclose(mapped @ mapped.T, slow_products(vectors, owner, new, axes, shrinkage), atol=2e-4)
    np.testing.assert_allclose(learnt(new[None, 2].astype(np.float32))[0], mapped[2], atol=1e-5)


def test_axes_of_a_sample(monkeypatch):
    monkeypatch.setattr(whitening, '_MOST_VECTORS', 6)
    rng = np.random.default_rng(0)
    vectors, owner = rng.normal(size=(16, 30)).astype(np.float32), np.arange(16) // 2
    learnt = learn_whitening(vectors, owner)
    assert learnt.projection.shape == (30, 5)  # each third of 16 are 6, less their mean
    new = rng.normal(size=(4, 30)).astype(np.float32)
    mapped = learnt(new)
    np.testing.assert_allclose(mapped @ mapped.T, slow_products(vectors, owner, new, 5, 0.3, of=3), atol=2e-4)


@pytest.mark.parametrize('owner', [[0, 1, 2, 3], [0, 0, 1, 2]])
def test_nothing_to_learn_of(owner):
    vectors = np.float32([[1, 0, 2], [1, 0, 2], [0, 1, 0], [3, 1, 1]])  # the first two are equal
    with pytest.raises(ValueError, match='no owner has two vectors that differ'):
        learn_whitening(vectors, np.array(owner))
    with pytest.raises(ValueError, match='no owner has two'):
        learn_whitening(np.tile(vectors[:1], (3, 1)) / 3, np.zeros(3, int))


def test_one_owner_is_enough():
    vectors = np.random.default_rng(0).normal(size=(5, 3)).astype(np.float32)
    learnt = learn_whitening(vectors, np.zeros(5, int))
    mapped = learnt(vectors)
    np.testing.assert_allclose(mapped @ mapped.T, slow_products(vectors, [0] * 5, vectors, 3, 0.3), atol=2e-4)
