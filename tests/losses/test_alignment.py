"""Losses that align two domains against loop-written oracles, forward and backward; what has no gradient has none."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import references_adaptation as oracles
from references import numeric_gradient

from jaxret.errors import ConfigError
from jaxret.losses import alignment

ALL, KEPT, NONE = np.ones(5, bool), np.array([1, 0, 1, 1, 0], bool), np.zeros(5, bool)
LABELS = np.array([4, 0, 2, 4, 2], np.int32)  # of six classes


def _normal(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def test_ramp():
    for p in (0.0, 0.01, 0.3, 1.0):
        np.testing.assert_allclose(alignment.ramp(p), 2 / (1 + np.exp(-10 * p)) - 1, rtol=1e-5, atol=1e-7)


def test_reversal_has_the_sign_and_the_scale():
    x, direction = _normal(3, 4), _normal(3, 4, seed=1)
    for scale in (1.0, 0.25, 0.0):

        def through(x, scale):
            return jnp.sum(alignment.reverse_gradient(x, scale=scale) * direction)

        value, gradient = jax.jit(jax.value_and_grad(through))(x, scale)
        np.testing.assert_allclose(value, np.sum(x * direction), rtol=1e-5)
        np.testing.assert_allclose(gradient, -scale * direction, rtol=1e-6)
    assert jax.grad(through, argnums=1)(x, 0.5) == 0
    half = jax.grad(lambda x: alignment.reverse_gradient(x, scale=0.5).sum())(jnp.ones(2, jnp.bfloat16))
    chex.assert_trees_all_equal(half, jnp.full(2, -0.5, jnp.bfloat16))


def test_adversarial_loss():
    source, target = 2 * _normal(5), 2 * _normal(3, seed=1)
    some = np.array([0, 1, 1], bool)
    run = jax.jit(
        jax.value_and_grad(
            lambda s, t, v, w: alignment.adversarial_loss(s, t, source_valid=v, target_valid=w), argnums=(0, 1)
        )
    )
    for valid, other in ((ALL, np.ones(3, bool)), (KEPT, some)):
        value, gradients = run(source, target, valid, other)
        np.testing.assert_allclose(value, oracles.adversarial(source, target, valid, other), rtol=1e-5)
        expected = (
            numeric_gradient(lambda s, v=valid, w=other: oracles.adversarial(s, target, v, w), source),
            numeric_gradient(lambda t, v=valid, w=other: oracles.adversarial(source, t, v, w), target),
        )
        chex.assert_trees_all_close(gradients, jax.tree.map(np.float32, expected), rtol=1e-4, atol=1e-6)
    for valid, other in ((NONE, some), (ALL, np.zeros(3, bool))):
        value, gradients = run(source, target, valid, other)
        assert value == 0 and not any(np.any(gradient) for gradient in gradients)
    extreme = jax.value_and_grad(alignment.adversarial_loss)(jnp.array([1e6, -1e6]), jnp.array([1e6]))
    chex.assert_tree_all_finite(extreme)
    np.testing.assert_allclose(extreme[0], 0.5 * (5e5 + 1e6), rtol=1e-6)


def test_fixed_norm():
    features = 3 * _normal(5, 4)
    run = jax.jit(jax.value_and_grad(lambda f, v: alignment.fixed_norm_loss(f, radius=2.5, valid=v)))
    for valid in (ALL, KEPT, NONE):
        value, gradient = run(features, valid)
        np.testing.assert_allclose(value, oracles.fixed_norm(features, valid, 2.5), rtol=1e-5)
        expected = numeric_gradient(lambda f, v=valid: oracles.fixed_norm(f, v, 2.5), features)
        np.testing.assert_allclose(gradient, expected, rtol=1e-4, atol=1e-5)
    value, gradient = run(np.zeros((5, 4), np.float32), ALL)  # the norm has a kink there
    np.testing.assert_allclose(value, 2.5**2)
    assert not np.any(gradient)
    assert alignment.fixed_norm_loss(jnp.ones((3, 4)), radius=2.0) == 0


def test_stepwise_norm_is_constant_but_lengthens():
    features = 3 * _normal(5, 4)
    run = jax.jit(jax.value_and_grad(lambda f, v: alignment.stepwise_norm_loss(f, step=0.5, valid=v)))
    for valid in (ALL, KEPT):
        value, gradient = run(features, valid)
        np.testing.assert_allclose(value, 0.25, rtol=1e-4)
        unit = features / np.linalg.norm(features, axis=1, keepdims=True)
        expected = np.where(valid[:, None], -2 * 0.5 * unit / valid.sum(), 0)
        np.testing.assert_allclose(gradient, expected, rtol=1e-3, atol=1e-6)
    value, gradient = run(features, NONE)
    assert value == 0 and not np.any(gradient)


def test_centroids_of_classes():
    features = _normal(5, 3)
    padded = np.where(KEPT[:, None], features, np.float32(np.nan))
    run = jax.jit(lambda f, y, v: alignment.class_centroids(f, y, 6, valid=v))
    for given, valid in ((features, ALL), (padded, KEPT), (features, NONE)):
        found, present = run(given, LABELS, valid)
        expected, expected_present = oracles.centroids(features, LABELS, 6, valid)
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)
        np.testing.assert_array_equal(present, expected_present)
    _, present = run(features, np.array([-1, 6, 2, 2, 2], np.int32), ALL)  # labels of no class count nowhere
    np.testing.assert_array_equal(present, np.arange(6) == 2)


@pytest.mark.parametrize('reduction', alignment.CENTROID_REDUCTIONS)
def test_centroid_loss_counts_classes_of_both_domains(reduction):
    source, target, pseudo = _normal(5, 3), _normal(4, 3, seed=1), np.array([4, 4, 1, 2], np.int32)

    def centroids(function, source, target):
        return [function(x, y) for x, y in ((source, LABELS), (target, pseudo))]

    def of(source, target):
        (s, here), (t, there) = centroids(lambda x, y: alignment.class_centroids(x, y, 6), source, target)
        return alignment.centroid_loss(s, t, counted=here & there, reduction=reduction)

    def oracle(source, target):
        (s, here), (t, there) = centroids(lambda x, y: oracles.centroids(x, y, 6, [True] * len(y)), source, target)
        counted = [a and b for a, b in zip(here, there, strict=True)]
        return oracles.centroid_distance(s, t, counted, reduction=reduction)

    value, gradients = jax.jit(jax.value_and_grad(of, argnums=(0, 1)))(source, target)
    np.testing.assert_allclose(value, oracle(source, target), rtol=1e-5)
    expected = (
        numeric_gradient(lambda s: oracle(s, target), source),
        numeric_gradient(lambda t: oracle(source, t), target),
    )
    chex.assert_trees_all_close(gradients, jax.tree.map(np.float32, expected), rtol=1e-4, atol=1e-6)
    assert not np.any(gradients[0][1]) and not np.any(gradients[1][2])  # classes of one domain only
    nothing = alignment.centroid_loss(jnp.ones((6, 3)), jnp.zeros((6, 3)), counted=np.zeros(6, bool))
    assert nothing == 0


@pytest.mark.parametrize('masked', [True, False])
def test_running_centroids(masked):
    now, seen, history = jnp.zeros((6, 3)), jnp.zeros(6), []
    step = jax.jit(
        lambda old, seen, batch, present: alignment.running_centroids(
            old, seen, batch, present, momentum=0.7, masked=masked
        )
    )
    for seed, labels in enumerate(([4, 4, 1], [1, 2, 2], [4, 4, 4], [0, 1, 1])):
        batch, present = alignment.class_centroids(_normal(3, 3, seed=seed), np.array(labels), 6)
        history.append((np.asarray(batch, np.float64), np.asarray(present)))
        now, seen = step(now, seen, batch, present)
        expected, met = oracles.running_centroids(history, 6, 3, momentum=0.7, masked=masked)
        np.testing.assert_allclose(now, expected, rtol=1e-5, atol=1e-6)
        np.testing.assert_array_equal(seen > 0, met)
    np.testing.assert_array_equal(seen, [1, 1, 1, 0, 1, 0])
    assert not np.any(now[3]) and np.any(now[2])


def test_gradient_reaches_the_batch_alone():
    old, batch = _normal(3, 2), _normal(3, 2, seed=1)
    present, seen = np.array([1, 0, 1], bool), np.array([1, 1, 0], np.float32)
    for masked, factors in ((True, [0.3, 0.0, 1.0]), (False, [0.3, 0.3, 0.3])):
        found = jax.grad(
            lambda o, b, m=masked: alignment.running_centroids(o, seen, b, present, momentum=0.7, masked=m)[0].sum(),
            argnums=(0, 1),
        )(old, batch)
        assert not np.any(found[0])
        np.testing.assert_allclose(found[1], np.repeat(np.array(factors)[:, None], 2, axis=1), rtol=1e-6)


def test_wrong_arguments_are_refused():
    means, seen, present = _normal(3, 2), np.zeros(3, np.float32), np.ones(3, bool)
    with pytest.raises(ConfigError, match='sum, mean'):
        alignment.centroid_loss(means, means, reduction='half')
    with pytest.raises(ConfigError, match='momentum is 1.0'):
        alignment.running_centroids(means, seen, means, present, momentum=1.0, masked=True)
    for call in (
        lambda: alignment.centroid_loss(means, means[:2]),
        lambda: alignment.class_centroids(means, LABELS, 3),
        lambda: alignment.class_centroids(means, seen, 3),
        lambda: alignment.fixed_norm_loss(means, radius=1.0, valid=np.ones(3, np.float32)),
        lambda: alignment.adversarial_loss(means, seen),
    ):
        with pytest.raises(AssertionError):
            call()
