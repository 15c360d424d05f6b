"""PointNet: published sizes, loops, reordered points."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from references_points import Network, check_gradients, variables_for

from jaxret.encoders.pointnet import PointNet

POINTS = np.random.default_rng(0).normal(size=(4, 12, 3)).astype(np.float32)


def small_net(**overrides):
    return PointNet(**{'dim': 6, 'width': 0.0625, 'widths': (64, 64, 64, 128, 256), **overrides})


def layer_sizes(layers):
    return sum(inputs * outputs + 2 * outputs for inputs, outputs in layers)


def test_parameter_count_by_layers_and_the_papers_rounded_one():
    points = jax.ShapeDtypeStruct((2, 1024, 3), jnp.float32)
    model = PointNet()
    variables = jax.eval_shape(model.init, jax.random.key(0), points)
    count = sum(int(np.prod(leaf.shape)) for leaf in jax.tree.leaves(variables['params']))
    trunk = layer_sizes([(3, 64), (64, 64), (64, 64), (64, 128), (128, 1024)])
    assert count == trunk + layer_sizes([(1024, 512)])
    classifier = layer_sizes([(1024, 512), (512, 256)]) + 256 * 40 + 40
    assert round((trunk + classifier) / 1e6, 1) == 0.8  # table 6 of the paper
    chex.assert_shape(jax.eval_shape(model.apply, variables, points), (2, 512))
    assert set(variables) == {'params', 'batch_stats'}


@pytest.mark.parametrize('train', [False, True])
def test_forward_equals_loops_and_reordered_points_change_nothing(train):
    model = small_net()
    variables = variables_for(model, POINTS)
    run = jax.jit(lambda v, x: model.apply(v, x, train=train, mutable=['batch_stats']))
    out, state = run(variables, POINTS)
    chex.assert_type(out, jnp.float32)

    oracle = Network(variables, train)
    np.testing.assert_allclose(out, oracle.pointnet(POINTS), rtol=2e-4, atol=2e-5)
    chex.assert_trees_all_close(state['batch_stats'], oracle.new, rtol=2e-4, atol=2e-5)

    order = np.random.default_rng(1).permuted(np.tile(np.arange(12), (4, 1)), axis=1)
    shuffled = np.take_along_axis(POINTS, order[:, :, None], axis=1)
    chex.assert_trees_all_close(run(variables, shuffled), (out, state), rtol=1e-5, atol=1e-5)


def test_gradients_are_slopes_and_reach_all_parameters():
    gradients = check_gradients(small_net(), POINTS)
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
