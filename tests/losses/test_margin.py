"""Triplet loss against a loop over all triplets, forward and backward."""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import references

from jaxret.errors import ConfigError
from jaxret.losses import margin, mining, scores

MARGIN = 0.2
REDUCTIONS = ('mean_nonzero', 'mean_all', 'sum')
rules = pytest.mark.parametrize('rule', mining.TRIPLET_RULES)


def _distances(q, g, seed=0):
    return np.random.default_rng(seed).uniform(0, 1, size=(q, g)).astype(np.float32)


def _triplet(distances, positives, *, reduction='mean_nonzero', **options):
    """The sums of the anchors, reduced as `references.triplet` reduces."""
    losses, nonzero, triplets = margin.triplet_per_anchor(distances, positives, **options)
    count = {'mean_nonzero': jnp.sum(nonzero), 'mean_all': jnp.sum(triplets), 'sum': 1.0}[reduction]
    return jnp.sum(losses) / jnp.maximum(count, 1.0)


def _every_reduction(distances, positives, *, step, rule, **masks):
    return jnp.stack(
        [
            _triplet(distances, positives, margin=step, mining=rule, reduction=reduction, **masks)
            for reduction in REDUCTIONS
        ]
    )


@functools.cache  # compiled once for all tests of a rule
def _value_and_gradient(rule, step):
    function = functools.partial(_every_reduction, step=step, rule=rule)
    return jax.jit(lambda *x, **masks: (function(*x, **masks), jax.jacrev(function)(*x, **masks)))


def _check(distances, positives, rule, *, negatives=None, valid=None, step=MARGIN):
    """Same value and gradient as the oracle, for every reduction."""
    near = ~positives if negatives is None else negatives
    columns = np.ones(distances.shape[1], bool) if valid is None else valid
    masks = {'negatives': negatives, 'valid': columns}
    expected, wanted = [], []
    for reduction in REDUCTIONS:
        arguments = distances, positives & columns, near & columns
        options = {'rule': rule, 'margin': step, 'reduction': reduction}
        expected.append(references.triplet(*arguments, **options))
        wanted.append(references.triplet_gradient(*arguments, **options))
    value, gradient = _value_and_gradient(rule, step)(distances, positives, **masks)
    chex.assert_shape(value, (len(REDUCTIONS),))
    chex.assert_type([value, gradient], jnp.float32)
    chex.assert_trees_all_close(value, np.array(expected, np.float32), rtol=1e-5, atol=1e-6)
    chex.assert_trees_all_close(gradient, np.array(wanted, np.float32), rtol=1e-5, atol=1e-6)
    return expected[0]


@rules
def test_one_positive_a_row(rule):
    distances = _distances(5, 7)
    distances[3] = distances[1]  # a duplicate query
    positives = references.instance_positives([2, 6, 0, 6, 2], 7)
    assert _check(distances, positives, rule) > 0


@rules
def test_several_positives_and_own_negatives(rule):
    rng = np.random.default_rng(1)
    distances = _distances(5, 7, seed=2)
    kind = rng.integers(0, 3, size=(5, 7))
    kind[0], kind[1] = 1, 2
    valid = rng.random(7) < 0.8
    assert not valid.all()
    assert _check(distances, kind == 1, rule, negatives=kind == 2, valid=valid) > 0


@rules
def test_gradient_is_that_of_finite_differences(rule):
    distances = _distances(5, 7, seed=3)
    positives = np.random.default_rng(4).random((5, 7)) < 0.4
    wanted = references.numeric_gradient(
        lambda d: references.triplet(d, positives, ~positives, rule=rule, margin=MARGIN, reduction='mean_all'),
        distances,
    )
    actual = jax.grad(functools.partial(_triplet, margin=MARGIN, mining=rule, reduction='mean_all'))(
        jnp.asarray(distances), jnp.asarray(positives)
    )
    chex.assert_trees_all_close(actual, wanted.astype(np.float32), rtol=1e-4, atol=1e-5)


@rules
def test_ties(rule):
    """All distances equal: each triplet is hard and costs the margin."""
    positives = references.instance_positives([0, 3, 3, 6, 1], 7)
    distances = np.full((5, 7), 0.5, np.float32)
    value = _check(distances, positives, rule)
    assert value == pytest.approx(0.0 if rule == 'semi_hard' else MARGIN)


@rules
def test_nothing_to_compare(rule):
    distances, every = _distances(5, 7), np.ones(7, bool)
    for positives, valid in (
        (np.zeros((5, 7), bool), every),
        (np.ones((5, 7), bool), every),
        (np.eye(5, 7, dtype=bool), ~every),
        (np.arange(35).reshape(5, 7) % 7 == 1, np.arange(7) == 1),  # one shape in the batch, and padding
    ):
        assert _check(distances, positives, rule, valid=valid) == 0


def test_a_single_column():
    assert _check(_distances(3, 1), np.ones((3, 1), bool), 'all') == 0


def test_no_margin():
    distances = np.tile(np.array([0.5, 0.5, 0.25, 0.75, 0.5, 1.0, 0.0], np.float32), (5, 1))
    for rule in mining.TRIPLET_RULES:
        _check(distances, references.instance_positives([0, 1, 2, 3, 6], 7), rule, step=0.0)


def test_padding_is_ignored_and_nan_in_use_is_not():
    distances, valid = _distances(5, 7), np.arange(7) != 3
    positives = references.instance_positives([0, 1, 2, 3, 6], 7)
    expected = references.triplet(
        distances, positives & valid, ~positives & valid, rule='all', margin=MARGIN, reduction='mean_nonzero'
    )
    distances[:, 3] = np.nan
    function = functools.partial(_triplet, margin=MARGIN, valid=jnp.asarray(valid))
    value, gradient = jax.jit(jax.value_and_grad(function))(distances, positives)
    chex.assert_trees_all_close(value, np.float32(expected), rtol=1e-5)
    chex.assert_tree_all_finite(gradient)
    distances[0, 2] = np.nan
    assert np.isnan(jax.jit(function)(distances, positives))


@pytest.mark.parametrize('kind', ['positive', 'negative'])
def test_batch_hard_ignores_padding_and_shows_a_nan_in_use(kind):
    distances, valid = _distances(4, 7), np.arange(7) != 3
    positives = references.instance_positives([0, 1, 2, 6], 7)
    positives[3] = False  # and a row without positives
    expected = references.triplet(
        distances, positives & valid, ~positives & valid, rule='batch_hard', margin=MARGIN, reduction='sum'
    )
    distances[:, 3] = np.nan
    function = functools.partial(
        _triplet, margin=MARGIN, valid=jnp.asarray(valid), mining='batch_hard', reduction='sum'
    )
    value, gradient = jax.jit(jax.value_and_grad(function))(distances, positives)
    chex.assert_trees_all_close(value, np.float32(expected), rtol=1e-5)
    chex.assert_tree_all_finite(gradient)
    distances[1, 1 if kind == 'positive' else 2] = np.nan
    assert np.isnan(jax.jit(function)(distances, positives))


def test_batch_hard_of_nothing_is_nothing():
    function = jax.jit(functools.partial(margin.triplet_per_anchor, margin=MARGIN, mining='batch_hard'))
    for shape in ((0, 3), (3, 0), (0, 0)):
        found = function(np.zeros(shape, np.float32), np.ones(shape, bool))
        chex.assert_trees_all_equal(found, (jnp.zeros(shape[0]),) * 3)


def test_per_anchor_sums_add_up():
    distances = _distances(5, 7, seed=7)
    positives = np.random.default_rng(8).random((5, 7)) < 0.4
    function = jax.jit(functools.partial(margin.triplet_per_anchor, margin=MARGIN, mining='semi_hard'))
    losses, nonzero, triplets = function(distances, positives)
    chex.assert_shape([losses, nonzero, triplets], (5,))
    for row in range(5):
        mask = positives[row : row + 1]
        options = {'rule': 'semi_hard', 'margin': MARGIN}
        kept, looked_at = references.mined_triplets(distances[row : row + 1], mask, ~mask, **options)
        total = references.triplet(distances[row : row + 1], mask, ~mask, **options, reduction='sum')
        assert (float(nonzero[row]), float(triplets[row])) == (len(kept), looked_at)
        chex.assert_trees_all_close(losses[row], np.float32(total), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize('squared', [False, True])
def test_through_embeddings_with_duplicates_and_zero_vectors(squared):
    rng = np.random.default_rng(9)
    x, y = rng.normal(size=(4, 3)).astype(np.float32), rng.normal(size=(5, 3)).astype(np.float32)
    x[1] = x[0]  # a duplicate query
    x[2] = 0.0
    y[4] = y[2] = 0.0  # gallery shapes that coincide with a query and with each other
    positives = references.instance_positives([0, 3, 1, 2], 5)

    def loss(x, y):
        return _triplet(scores.euclidean_distances(x, y, squared=squared), jnp.asarray(positives), margin=1.0)

    def oracle(x, y):
        distances = references.euclidean_distances(x, y, squared=squared)
        return references.triplet(distances, positives, ~positives, rule='all', margin=1.0, reduction='mean_nonzero')

    value, gradients = jax.jit(jax.value_and_grad(loss, argnums=(0, 1)))(x, y)
    chex.assert_trees_all_close(value, np.float32(oracle(x, y)), rtol=1e-5)
    chex.assert_tree_all_finite(gradients)
    # Central differences are right also at coinciding points, where both one-sided slopes cancel.
    chex.assert_trees_all_close(
        gradients,
        (
            references.numeric_gradient(lambda x: oracle(x, y), x).astype(np.float32),
            references.numeric_gradient(lambda y: oracle(x, y), y).astype(np.float32),
        ),
        atol=1e-4,
    )


def test_wrong_arguments_are_refused():
    distances, positives = jnp.zeros((2, 3)), jnp.zeros((2, 3), bool)
    with pytest.raises(ConfigError, match='easy'):
        margin.triplet_per_anchor(distances, positives, margin=0.1, mining='easy')
    with pytest.raises(ConfigError, match='margin'):
        margin.triplet_per_anchor(distances, positives, margin=-1.0)
    with pytest.raises(AssertionError):
        margin.triplet_per_anchor(distances, positives[:, :2], margin=0.1)
    with pytest.raises(AssertionError):
        margin.triplet_per_anchor(distances, positives, margin=0.1, valid=jnp.ones(2, bool))


def test_an_unknown_mining_is_told_every_rule():
    with pytest.raises(ConfigError, match='all, semi_hard, hard, batch_hard'):
        margin.triplet_per_anchor(jnp.zeros((2, 3)), jnp.zeros((2, 3), bool), margin=MARGIN, mining='hardest')
