"""Contrastive losses and their masks against loop-written oracles, forward and backward."""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import references

from jaxret.errors import ConfigError
from jaxret.losses import contrastive

LOSSES = {
    'info_nce': (contrastive.info_nce, references.info_nce),
    'supervised_contrastive': (contrastive.supervised_contrastive, references.supervised_contrastive),
}
losses = pytest.mark.parametrize('name', LOSSES)


def _scores(q, g, seed=0):
    return np.random.default_rng(seed).uniform(-1, 1, size=(q, g)).astype(np.float32)


def _check(name, scores, positives, *, temperature=0.1, **masks):
    """Same values and same gradient of a weighted sum as the oracle."""
    function, oracle = LOSSES[name]
    expected = oracle(scores, positives, temperature=temperature, **masks)
    weights = np.arange(1, len(scores) + 1) / 3.0

    def total(scores):
        values = function(scores, jnp.asarray(positives), temperature=temperature, **masks)
        return jnp.sum(values * weights.astype(np.float32)), values

    (_, actual), gradient = jax.jit(jax.value_and_grad(total, has_aux=True))(jnp.asarray(scores))
    wanted = references.numeric_gradient(
        lambda s: float(np.sum(oracle(s, positives, temperature=temperature, **masks) * weights)), scores
    )
    chex.assert_shape(actual, (len(scores),))
    chex.assert_type([actual, gradient], jnp.float32)
    chex.assert_trees_all_close(actual, expected.astype(np.float32), rtol=1e-5, atol=1e-5)
    chex.assert_trees_all_close(gradient, wanted.astype(np.float32), rtol=1e-4, atol=1e-4)
    return np.asarray(actual), np.asarray(gradient)


@losses
def test_one_positive_a_row(name):
    scores = _scores(5, 7)
    positives = references.instance_positives([3, 0, 6, 3, 3], 7)  # three queries of the same shape
    scores[4] = scores[0]  # a duplicate query
    values, _ = _check(name, scores, positives)
    assert values[0] == values[4]


@losses
def test_several_and_no_positives(name):
    scores = _scores(5, 7, seed=1)
    positives = np.random.default_rng(2).random((5, 7)) < 0.5
    positives[1] = False
    positives[2] = True
    values, gradient = _check(name, scores, positives, temperature=0.3)
    assert values[1] == 0
    assert not gradient[1].any()


@losses
def test_masks_take_pairs_out(name):
    scores = _scores(5, 7, seed=3)
    positives = np.random.default_rng(4).random((5, 7)) < 0.6
    positives[:, 0] = True
    valid = np.array([True, True, False, True, False, True, True])
    candidates = np.ones((5, 7), bool)
    candidates[0, 0] = False
    candidates[3] = False  # an anchor without any column
    scores[:, 2] = [np.inf, np.nan, 1e30, -np.inf, -1e30]  # what a padded column holds must not matter
    clean = np.where(valid, scores, 0.0)
    function, oracle = LOSSES[name]
    values, gradient = _check(name, clean.astype(np.float32), positives, valid=valid, candidates=candidates)
    assert values[3] == 0
    assert not gradient[:, ~valid].any()

    def total(scores):
        values = function(
            scores, jnp.asarray(positives), temperature=0.1, valid=jnp.asarray(valid), candidates=candidates
        )
        return jnp.sum(values), values

    (_, dirty), dirty_gradient = jax.jit(jax.value_and_grad(total, has_aux=True))(jnp.asarray(scores))
    expected = oracle(clean, positives, temperature=0.1, valid=valid, candidates=candidates)
    chex.assert_trees_all_close(dirty, expected.astype(np.float32), rtol=1e-5, atol=1e-5)
    chex.assert_tree_all_finite(dirty_gradient)


@losses
def test_one_shape_ties_and_nothing_valid(name):
    one = _check(name, _scores(3, 1), np.ones((3, 1), bool))
    chex.assert_trees_all_equal(one, (np.zeros(3, np.float32), np.zeros((3, 1), np.float32)))

    positives = references.instance_positives([0, 6, 6, 3, 2], 7)
    tied, _ = _check(name, np.full((5, 7), 0.25, np.float32), positives)
    chex.assert_trees_all_close(tied, np.full(5, np.log(7), np.float32), rtol=1e-6)

    nothing = _check(name, _scores(5, 7), np.ones((5, 7), bool), valid=np.zeros(7, bool))
    chex.assert_trees_all_equal(nothing, (np.zeros(5, np.float32), np.zeros((5, 7), np.float32)))


@losses
def test_huge_scores_stay_finite(name):
    function, oracle = LOSSES[name]
    scores = np.array([[1e4, -1e4, 0.0], [-1e4, 1e4, 1e4], [1e4, 1e4, 1e4]], np.float32)
    positives = np.array([[True, False, False], [True, False, False], [True, True, False]])

    def total(scores):
        values = function(scores, jnp.asarray(positives), temperature=0.1)
        return jnp.sum(values), values

    (_, values), gradient = jax.jit(jax.value_and_grad(total, has_aux=True))(scores)
    chex.assert_tree_all_finite((values, gradient))
    expected = oracle(scores, positives, temperature=0.1)
    chex.assert_trees_all_close(values, expected.astype(np.float32), rtol=1e-6)
    chex.assert_trees_all_close(gradient[1], jnp.array([-10.0, 5.0, 5.0]), rtol=1e-5)


@losses
def test_low_precision_scores_are_raised_to_float32(name):
    function, oracle = LOSSES[name]
    half = jnp.asarray(_scores(5, 7), jnp.bfloat16)
    positives = references.instance_positives([0, 2, 3, 6, 6], 7)
    call = jax.jit(lambda s: function(s, jnp.asarray(positives), temperature=0.05))
    chex.assert_type(call(half), jnp.float32)
    expected = oracle(np.asarray(half.astype(jnp.float32)), positives, temperature=0.05)
    chex.assert_trees_all_close(call(half), expected.astype(np.float32), rtol=1e-5, atol=1e-5)


def test_temperature_may_be_learned():
    scores, positives = _scores(5, 7), references.instance_positives([1, 2, 3, 5, 5], 7)

    def mean(temperature):
        return jnp.mean(contrastive.info_nce(scores, jnp.asarray(positives), temperature=temperature))

    wanted = references.numeric_gradient(
        lambda t: float(np.mean(references.info_nce(scores, positives, temperature=float(t)))), 0.2
    )
    chex.assert_trees_all_close(jax.jit(jax.grad(mean))(0.2), wanted.astype(np.float32), rtol=1e-4)


def test_instance_and_category_masks():
    index = np.array([2, 0, -1, 9, 2], np.int32)
    build = jax.jit(functools.partial(contrastive.instance_positives, gallery=4))
    chex.assert_trees_all_equal(np.asarray(build(index)), references.instance_positives(index, 4))

    query_category, shape_category = np.array([0, 1, 1, 3]), np.array([1, 0, 1, 1, 2, 0])
    index = np.array([1, 0, 3, 4])  # the last query's own shape carries another label
    for include_true in (True, False):
        build = jax.jit(functools.partial(contrastive.category_positives, include_true=include_true))
        expected = references.category_positives(query_category, shape_category, index, include_true=include_true)
        chex.assert_trees_all_equal(np.asarray(build(query_category, shape_category, index)), expected)
        assert expected.sum() == (9 if include_true else 5)


def test_true_shape_removed_from_numerator_and_denominator():
    """The reading of CMIC's table 4: as if the own shape were not in the row."""
    scores, index = _scores(2, 4), np.array([1, 3])
    own = contrastive.instance_positives(index, 4)
    mask = contrastive.category_positives(np.array([0, 0]), np.array([0, 0, 1, 0]), index, include_true=False)
    actual = jax.jit(functools.partial(contrastive.supervised_contrastive, temperature=0.2))(
        scores, mask, candidates=~own
    )
    rest = np.array([[scores[0, 0], scores[0, 2], scores[0, 3]], [scores[1, 0], scores[1, 1], scores[1, 2]]])
    kept = np.array([[True, False, True], [True, True, False]])
    expected = references.supervised_contrastive(rest, kept, temperature=0.2)
    chex.assert_trees_all_close(actual, expected.astype(np.float32), rtol=1e-5)


def test_anchors_with_positives():
    positives = jnp.array([[True, False, True], [False, False, True], [False, False, False], [True, True, True]])
    valid, find = jnp.array([True, True, False]), contrastive.has_positive
    chex.assert_trees_all_equal(jax.jit(find)(positives), jnp.array([True, True, False, True]))
    on_valid = jax.jit(functools.partial(find, valid=valid))(positives)
    chex.assert_trees_all_equal(on_valid, jnp.array([True, False, False, True]))


def test_masked_mean_and_sum():
    values, mask = np.array([1.0, np.nan, 3.0, 7.0], np.float32), np.array([True, False, True, False])
    value, gradient = jax.jit(jax.value_and_grad(contrastive.masked_mean))(values, mask)
    chex.assert_trees_all_equal(value, jnp.float32(references.masked_mean(values, mask)))
    chex.assert_trees_all_equal(gradient, jnp.array([0.5, 0.0, 0.5, 0.0]))
    chex.assert_trees_all_equal(jax.jit(contrastive.masked_sum)(values, mask), jnp.float32(4.0))
    empty = jax.jit(jax.value_and_grad(contrastive.masked_mean))(values, np.zeros(4, bool))
    chex.assert_trees_all_equal(empty, (jnp.float32(0.0), jnp.zeros(4)))


def test_nan_of_a_used_pair_is_not_hidden():
    scores = jnp.zeros((2, 3)).at[0, 1].set(jnp.nan)
    positives = jnp.zeros((2, 3), bool).at[:, 0].set(True)
    for function, _ in LOSSES.values():
        assert np.isnan(function(scores, positives, temperature=0.1)[0])


def test_wrong_arguments_are_refused():
    scores, positives = jnp.zeros((2, 3)), jnp.zeros((2, 3), bool)
    with pytest.raises(ConfigError, match='temperature'):
        contrastive.info_nce(scores, positives, temperature=0.0)
    with pytest.raises(AssertionError):
        contrastive.info_nce(scores, positives[:, :2], temperature=0.1)
    with pytest.raises(AssertionError):
        contrastive.supervised_contrastive(scores, positives.astype(jnp.float32), temperature=0.1)
    with pytest.raises(AssertionError):
        contrastive.supervised_contrastive(scores, positives, temperature=0.1, valid=jnp.ones(2, bool))
