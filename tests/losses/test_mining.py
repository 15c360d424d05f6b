"""Mining rules against loop-written oracles."""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import references
from intermediate_shapes import intermediate_shapes

from jaxret.errors import ConfigError
from jaxret.losses import mining

MARGIN = 0.25


def _grid(q, g, seed=0):
    """Distances on a grid of 1/8, so that ties and exact margins occur and sums are exact in float32."""
    return np.random.default_rng(seed).integers(0, 9, size=(q, g)).astype(np.float32) / 8


def test_hardest_negative():
    distances = np.array([[0.5, 0.2, 0.2, 0.9], [0.3, 0.3, 0.3, 0.3], [0.1, 0.2, 0.3, 0.4]], np.float32)
    mask = np.array([[True, True, True, False], [False, True, True, True], [False] * 4])
    nearest = np.zeros((3, 4), bool)
    nearest[0, 1] = nearest[1, 1] = True  # the first of equals; none in the empty row
    chex.assert_trees_all_equal(np.asarray(jax.jit(mining.hardest_negatives)(distances, mask)), nearest)


@pytest.mark.parametrize('few', [-1, mining.FEW_POSITIVES])  # by sorting, by passes
@pytest.mark.parametrize('margin', [0.0, MARGIN])
@pytest.mark.parametrize('rule', mining.COUNTED_RULES)
def test_triplet_counts(monkeypatch, rule, margin, few):
    monkeypatch.setattr(mining, 'FEW_POSITIVES', few)
    rng = np.random.default_rng(5)
    distances = _grid(7, 8, seed=6)
    kind = rng.integers(0, 3, size=(7, 8))  # neither, positive, negative
    kind[0], kind[1] = 1, 2  # a row without negatives, one without positives
    distances[2] = 0.5
    kind[2, :2] = 1, 2
    positives, negatives = kind == 1, kind == 2
    kept, looked_at = references.mined_triplets(distances, positives, negatives, rule=rule, margin=margin)
    expected = np.zeros((2, 7, 8), np.int32)
    for a, p, n in kept:
        expected[0, a, p] += 1
        expected[1, a, n] += 1
    assert kept or (margin == 0 and rule == 'semi_hard')
    find = jax.jit(functools.partial(mining.triplet_counts, rule=rule, margin=margin))
    uses, triplets = find(distances, positives, negatives)
    chex.assert_type([uses, triplets], jnp.int32)
    chex.assert_trees_all_equal(np.asarray(uses), expected)
    assert int(jnp.sum(triplets)) == looked_at


@pytest.mark.parametrize('few', [-1, mining.FEW_POSITIVES])
def test_infinite_distances_are_counted(monkeypatch, few):
    monkeypatch.setattr(mining, 'FEW_POSITIVES', few)
    distances = np.array([[np.inf, np.inf, 1, 2], [0.1, 0.2, 0.15, 0.3], [np.inf, 0.5, np.inf, 0.7]], np.float32)
    positives = np.array([[1, 1, 0, 0], [1, 1, 0, 0], [1, 1, 0, 0]], bool)
    kept, _ = references.mined_triplets(distances, positives, ~positives, rule='all', margin=MARGIN)
    expected = np.zeros((2, 3, 4), np.int32)
    for a, p, n in kept:
        expected[0, a, p] += 1
        expected[1, a, n] += 1
    find = jax.jit(functools.partial(mining.triplet_counts, rule='all', margin=MARGIN))
    chex.assert_trees_all_equal(np.asarray(find(distances, positives, ~positives)[0]), expected)


@pytest.mark.parametrize('shape', [(0, 3), (3, 0), (0, 0)])
def test_no_triplets_of_nothing(shape):
    mask = np.ones(shape, bool)
    uses, triplets = jax.jit(functools.partial(mining.triplet_counts, rule='all', margin=MARGIN))(
        np.zeros(shape, np.float32), mask, ~mask
    )
    chex.assert_shape(uses, (2, *shape))
    chex.assert_trees_all_equal(np.asarray(triplets), np.zeros(shape[0], np.int32))


@pytest.mark.parametrize('rule', mining.COUNTED_RULES)
def test_counting_builds_no_triplet_array(rule):
    q, g = 5, 11
    function = functools.partial(mining.triplet_counts, rule=rule, margin=MARGIN)
    found = intermediate_shapes(function, jnp.ones((q, g)), jnp.ones((q, g), bool), jnp.ones((q, g), bool))
    assert (q, g) in found
    assert all(shape.count(g) <= 1 for shape in found)


def test_no_gradient_through_the_selection():
    distances = jnp.asarray(_grid(3, 4))
    positives = jnp.eye(3, 4, dtype=bool)

    def selected(d):
        kept = mining.hardest_negatives(d, ~positives)
        uses, triplets = mining.triplet_counts(d, positives, ~positives, rule='hard', margin=MARGIN)
        return jnp.sum(kept * 1.0) + jnp.sum(uses * 1.0) + jnp.sum(triplets * 1.0)

    chex.assert_trees_all_equal(jax.grad(selected)(distances), jnp.zeros((3, 4)))


def test_unknown_rules_and_margins_are_refused():
    distances, mask = jnp.zeros((2, 3)), jnp.ones((2, 3), bool)
    with pytest.raises(ConfigError, match='hardest'):
        mining.triplet_counts(distances, mask, mask, rule='hardest', margin=0.1)
    with pytest.raises(ConfigError, match='margin'):
        mining.triplet_counts(distances, mask, mask, rule='all', margin=-0.1)
