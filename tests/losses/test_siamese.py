"""Cross-modal SimSiam, pairwise MSE and the cosine against loop-written oracles, forward and backward."""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import references
import references_center as oracles

from jaxret.errors import ConfigError
from jaxret.losses.siamese import cosine_similarity, cross_modal_simsiam, pairwise_mse

KEPT = np.array([True, False, True, True, False])
ALL = np.ones(5, bool)
MASKS = (ALL, KEPT, ~ALL)


def _normal(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def _assert_equals_oracle(actual, oracle, x):
    """Same value and same gradient to x as the oracle."""
    expected = (np.float32(oracle(x)), references.numeric_gradient(oracle, x).astype(np.float32))
    chex.assert_trees_all_equal_shapes_and_dtypes(actual, expected)
    chex.assert_trees_all_close(actual, expected, rtol=1e-4, atol=1e-5)


def test_simsiam():
    predictions, targets = _normal(3, 5, 7), _normal(3, 5, 7, seed=1)
    run = jax.jit(jax.value_and_grad(lambda p, valid: cross_modal_simsiam(p, targets, valid=valid)))
    for valid in MASKS:
        value, gradient = run(predictions, valid)
        _assert_equals_oracle((value, gradient), lambda p, v=valid: oracles.simsiam(p, targets, valid=v), predictions)
        assert not gradient[:, ~valid].any()
        assert valid.any() or value == 0
    np.testing.assert_allclose(cross_modal_simsiam(predictions, targets), run(predictions, ALL)[0], rtol=1e-5)


def test_no_gradient_reaches_the_targets():
    run = jax.jit(jax.grad(cross_modal_simsiam, argnums=(0, 1)))
    to_predictions, to_targets = run(_normal(3, 5, 7), _normal(3, 5, 7, seed=1))
    chex.assert_trees_all_equal(to_targets, jnp.zeros((3, 5, 7)))
    assert np.all(np.abs(to_predictions).sum(axis=-1) > 0)


def test_encoders_learn_through_the_predictions_alone():
    """With p = z W the gradient to z is that of the p side, the z side held."""
    weights = _normal(7, 7, seed=2)

    def loss(z):
        return cross_modal_simsiam(jnp.einsum('mbd,de->mbe', z, weights), z)

    z = _normal(3, 5, 7)
    actual = jax.jit(jax.value_and_grad(loss))(z)
    _assert_equals_oracle(actual, lambda x: oracles.simsiam(x @ weights.astype(np.float64), z), z)


def test_sign_and_bounds():
    x = _normal(3, 5, 7)
    same = np.stack([x[0]] * 3)
    np.testing.assert_allclose(cross_modal_simsiam(same, same), -1.0, rtol=1e-6)  # alike is lowest
    np.testing.assert_allclose(cross_modal_simsiam(-same, same), 1.0, rtol=1e-6)
    np.testing.assert_allclose(cross_modal_simsiam(9 * same, 0.1 * same), -1.0, rtol=1e-6)  # length does not count


def test_a_modality_is_not_compared_with_itself():
    p, z = _normal(3, 5, 7), _normal(3, 5, 7, seed=1)
    only = np.zeros_like(p)  # of predictions but the second, so that the second target has no reader
    only[1] = p[1]
    moved = z.copy()
    moved[1] = _normal(5, 7, seed=3)
    run = jax.jit(cross_modal_simsiam)
    chex.assert_trees_all_equal(run(only, z), run(only, moved))
    assert run(p, z) != run(p, moved)


def test_two_modalities_are_simsiam():
    p, z = _normal(2, 1, 7), _normal(2, 1, 7, seed=1)
    expected = -(oracles.cosine(p[0, 0], z[1, 0]) + oracles.cosine(p[1, 0], z[0, 0])) / 2
    np.testing.assert_allclose(cross_modal_simsiam(list(p), list(z)), expected, rtol=1e-5)


def test_zero_vectors_have_cosine_zero():
    """A ReLU encoder may give a zero vector; the gradient is 0 there and right elsewhere."""
    p, z = _normal(3, 5, 7), _normal(3, 5, 7, seed=1)
    p[1, 2], z[0, 3] = 0.0, 0.0
    value, gradient = jax.jit(jax.value_and_grad(cross_modal_simsiam))(p, z)
    np.testing.assert_allclose(value, oracles.simsiam(p, z), rtol=1e-5)
    chex.assert_tree_all_finite(gradient)
    chex.assert_trees_all_equal(gradient[1, 2], jnp.zeros(7))
    zeros = jax.jit(jax.value_and_grad(cross_modal_simsiam))(0 * p, z)
    chex.assert_trees_all_equal(zeros, (jnp.float32(0.0), jnp.zeros(p.shape)))


def test_cosine():
    x, y = _normal(4, 3, 7), _normal(4, 3, 7, seed=1)
    x[0, 0], y[0, 1] = 1e25, 1e-25  # lengths whose squares leave float32; the second counts as zero
    y[1, 1], y[1, 2] = x[1, 1], -3 * x[1, 2]
    expected = np.zeros((4, 3))
    for index in np.ndindex(4, 3):
        expected[index] = 0.0 if index == (0, 1) else oracles.cosine(x[index], y[index])

    def total(x, y):
        cosines = cosine_similarity(x, y)
        return jnp.sum(cosines), cosines

    (_, actual), gradients = jax.jit(jax.value_and_grad(total, argnums=(0, 1), has_aux=True))(x, y)
    np.testing.assert_allclose(actual, expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(actual[1, 1:], [1.0, -1.0], rtol=1e-6)
    chex.assert_tree_all_finite(gradients)


def test_pairwise_mse():
    features = _normal(4, 5, 7)
    features[0, 2] = features[1, 2]
    run = jax.jit(jax.value_and_grad(lambda f, valid: pairwise_mse(f, valid=valid)))
    for valid in MASKS:
        value, gradient = run(features, valid)
        oracle = functools.partial(oracles.pairwise_mse, valid=valid)
        _assert_equals_oracle((value, gradient), oracle, features)
        np.testing.assert_allclose(gradient.sum(axis=0), np.zeros((5, 7)), atol=1e-6)  # the modalities' middle stays
        assert not gradient[:, ~valid].any()
        assert valid.any() or value == 0
    np.testing.assert_allclose(pairwise_mse(features), run(features, ALL)[0], rtol=1e-6)


def test_pairwise_mse_of_equal_modalities_is_zero():
    features = np.stack([_normal(1, 7)] * 3)
    value, gradient = jax.value_and_grad(pairwise_mse)(jnp.asarray(features))
    chex.assert_trees_all_equal((value, gradient), (jnp.float32(0.0), jnp.zeros((3, 1, 7))))


def test_what_an_invalid_object_holds_does_not_matter():
    p, z = _normal(3, 5, 7), _normal(3, 5, 7, seed=1)
    padded_p, padded_z = p.copy(), z.copy()
    padded_p[:, 1], padded_p[:, 4], padded_z[:, 1], padded_z[:, 4] = np.nan, np.inf, np.inf, np.nan
    for loss in (cross_modal_simsiam, lambda p, z, valid: pairwise_mse(p, valid=valid)):
        run = jax.jit(jax.value_and_grad(functools.partial(loss, valid=KEPT)))
        clean = run(p, z)
        chex.assert_tree_all_finite(clean)
        chex.assert_trees_all_equal(run(padded_p, padded_z), clean)
        assert np.isnan(loss(padded_p, padded_z, valid=np.ones(5, bool)))  # but NaN of a valid one is not hidden


def test_reduced_precision_features_are_summed_in_float32():
    p, z = jnp.asarray(_normal(3, 5, 7), jnp.bfloat16), jnp.asarray(_normal(3, 5, 7, seed=1), jnp.bfloat16)
    wide = p.astype(jnp.float32), z.astype(jnp.float32)
    chex.assert_trees_all_equal(cross_modal_simsiam(p, z), cross_modal_simsiam(*wide))
    chex.assert_trees_all_equal(pairwise_mse(p), pairwise_mse(wide[0]))


def test_wrong_arguments_are_refused():
    features = _normal(3, 5, 7)
    for call, pattern in (
        (lambda: pairwise_mse(features[:1]), 'at least 2'),
        (lambda: cross_modal_simsiam(features[:1], features[:1]), 'at least 2'),
    ):
        with pytest.raises(ConfigError, match=pattern):
            call()
    with pytest.raises(AssertionError):
        cross_modal_simsiam(features, features[:, :, :6])
    with pytest.raises(AssertionError):
        cross_modal_simsiam(features, features[:2])
    with pytest.raises(AssertionError):
        pairwise_mse(features[0])
    with pytest.raises(AssertionError):
        pairwise_mse(features, valid=np.ones(4, bool))
