"""PointNet with and without transform networks: published sizes, loops, reordered points."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from references_points import Network, check_gradients, variables_for

from jaxret.encoders.pointnet import PointNet, orthogonality_penalty

POINTS = np.random.default_rng(0).normal(size=(4, 12, 3)).astype(np.float32)


def small_net(**overrides):
    return PointNet(**{'dim': 6, 'width': 0.0625, 'widths': ((64, 64), (64, 128, 256)), **overrides})


def layer_sizes(layers):
    return sum(inputs * outputs + 2 * outputs for inputs, outputs in layers)


def transform_sizes(channels):
    layers = layer_sizes([(channels, 64), (64, 128), (128, 1024), (1024, 512), (512, 256)])
    return layers + 256 * channels**2 + channels**2


@pytest.mark.parametrize(('transforms', 'published'), [(False, 0.8e6), (True, 3.5e6)])
def test_parameter_count_by_layers_and_the_papers_rounded_one(transforms, published):
    points = jax.ShapeDtypeStruct((2, 1024, 3), jnp.float32)
    model = PointNet(transforms=transforms)
    variables = jax.eval_shape(model.init, jax.random.key(0), points)
    count = sum(int(np.prod(leaf.shape)) for leaf in jax.tree.leaves(variables['params']))
    trunk = layer_sizes([(3, 64), (64, 64), (64, 64), (64, 128), (128, 1024)])
    trunk += transform_sizes(3) + transform_sizes(64) if transforms else 0
    assert count == trunk + layer_sizes([(1024, 512)])
    classifier = layer_sizes([(1024, 512), (512, 256)]) + 256 * 40 + 40
    assert round((trunk + classifier) / 1e6, 1) == published / 1e6  # table 6 of the paper
    chex.assert_shape(jax.eval_shape(model.apply, variables, points), (2, 512))
    assert set(variables) == {'params', 'batch_stats'}


@pytest.mark.parametrize('train', [False, True])
@pytest.mark.parametrize('transforms', [False, True])
def test_forward_equals_loops_and_reordered_points_change_nothing(transforms, train):
    model = small_net(transforms=transforms)
    variables = variables_for(model, POINTS)
    run = jax.jit(lambda v, x: model.apply(v, x, train=train, mutable=['batch_stats']))
    out, state = run(variables, POINTS)
    chex.assert_type(out, jnp.float32)

    oracle = Network(variables, train)
    np.testing.assert_allclose(out, oracle.pointnet(POINTS, transforms), rtol=2e-4, atol=2e-5)
    chex.assert_trees_all_close(state['batch_stats'], oracle.new, rtol=2e-4, atol=2e-5)

    order = np.random.default_rng(1).permuted(np.tile(np.arange(12), (4, 1)), axis=1)
    shuffled = np.take_along_axis(POINTS, order[:, :, None], axis=1)
    chex.assert_trees_all_close(run(variables, shuffled), (out, state), rtol=1e-5, atol=1e-5)


def test_transforms_start_as_the_identity_and_are_reported():
    model = small_net(transforms=True)
    variables = jax.jit(model.init)(jax.random.key(0), POINTS)
    out, state = jax.jit(lambda v: model.apply(v, POINTS, mutable=['intermediates']))(variables)
    chex.assert_trees_all_close(out, jax.jit(small_net().apply)(variables, POINTS), rtol=1e-5)
    (matrices,) = state['intermediates']['feature_matrix']
    np.testing.assert_array_equal(matrices, np.tile(np.eye(4), (4, 1, 1)))
    assert float(orthogonality_penalty(matrices)) == 0


def test_orthogonality_penalty_by_hand():
    rotation = np.array([[0.6, -0.8], [0.8, 0.6]], np.float32)
    np.testing.assert_allclose(orthogonality_penalty(jnp.asarray(rotation)[None]), 0, atol=1e-12)
    shear = jnp.array([[[1.0, 1.0], [0.0, 1.0]], [[1.0, 0.0], [0.0, 2.0]]])
    # A A^T - I = [[1, 1], [1, 0]] and [[0, 0], [0, 3]]
    np.testing.assert_allclose(orthogonality_penalty(shear), (3 + 9) / 2, rtol=1e-6)


def test_gradients_are_slopes_and_reach_all_parameters():
    gradients = check_gradients(small_net(transforms=True), POINTS)
    assert all(float(jnp.abs(leaf).max()) > 0 for leaf in jax.tree.leaves(gradients))


def test_batch_norm_is_synchronised_and_bfloat16_is_close():
    variables = variables_for(small_net(), POINTS)

    def run(model, points):
        return model.apply(variables, points, train=True, mutable=['batch_stats'])

    expected = jax.jit(lambda x: run(small_net(), x))(POINTS)
    spread = jax.jit(jax.vmap(lambda x: run(small_net(axis_name='data'), x), axis_name='data'))
    out, state = spread(POINTS.reshape(2, 2, 12, 3))
    first = jax.tree.map(lambda leaf: leaf[0], state)
    chex.assert_trees_all_close((out.reshape(4, -1), first), expected, rtol=1e-4, atol=1e-5)

    half = jax.jit(lambda x: run(small_net(dtype=jnp.bfloat16), x))(POINTS)
    chex.assert_type(jax.tree.leaves(half), jnp.float32)
    chex.assert_trees_all_close(half, expected, rtol=0.1, atol=0.1)
    assert not np.allclose(half[0], expected[0], rtol=1e-5)
