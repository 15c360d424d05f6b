"""DGCNN against its published sizes, loops, reordered points and one batch spread over mapped axes."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from references_points import Network, check_gradients, variables_for

from jaxret.encoders.dgcnn import DGCNN

POINTS = np.random.default_rng(0).normal(size=(4, 24, 3)).astype(np.float32)


def small_net(**overrides):
    return DGCNN(**{'dim': 6, 'neighbors': 5, 'width': 0.0625, 'bottleneck': 128, **overrides})


def parameter_count(variables):
    return sum(int(np.prod(leaf.shape)) for leaf in jax.tree.leaves(variables['params']))


def test_parameter_count_is_the_published_one_without_its_classifier():
    points = jax.ShapeDtypeStruct((2, 1024, 3), jnp.float32)
    model = DGCNN()
    variables = jax.eval_shape(model.init, jax.random.key(0), points)
    layers = [(6, 64), (128, 64), (128, 128), (256, 256), (512, 1024), (2048, 512)]  # no bias; batch norm 2 a channel
    expected = sum(inputs * outputs + 2 * outputs for inputs, outputs in layers)
    assert parameter_count(variables) == expected == 1_667_456
    classifier = (512 * 256 + 256) + 2 * 256 + (256 * 40 + 40)
    assert expected + classifier == 1_809_576  # the public code, 1024 features, 40 classes
    chex.assert_shape(jax.eval_shape(model.apply, variables, points), (2, 512))
    assert [variables['params'][f'edge{i}']['kernel'].shape for i in (1, 2, 3, 4)] == layers[:4]


def test_narrow_networks_and_other_inputs():
    points = jax.ShapeDtypeStruct((3, 9, 6), jnp.float32)
    model = DGCNN(dim=128, width=0.25)  # fewer points than neighbours too
    variables = jax.eval_shape(model.init, jax.random.key(0), points)
    layers = [(12, 16), (32, 16), (32, 32), (64, 64), (128, 256), (512, 128)]
    assert parameter_count(variables) == sum(inputs * outputs + 2 * outputs for inputs, outputs in layers)
    chex.assert_shape(jax.eval_shape(model.apply, variables, points), (3, 128))


@pytest.mark.parametrize('train', [False, True])
def test_forward_equals_loops_and_reordered_points_change_nothing(train):
    model = small_net()
    variables = variables_for(model, POINTS)
    run = jax.jit(lambda v, x: model.apply(v, x, train=train, mutable=['batch_stats']))
    out, state = run(variables, POINTS)
    chex.assert_type(out, jnp.float32)

    oracle = Network(variables, train)
    np.testing.assert_allclose(out, oracle.dgcnn(POINTS, 5), rtol=1e-4, atol=1e-5)
    chex.assert_trees_all_close(state['batch_stats'], oracle.new, rtol=1e-4, atol=1e-5)

    order = np.random.default_rng(1).permuted(np.tile(np.arange(24), (4, 1)), axis=1)
    shuffled = np.take_along_axis(POINTS, order[:, :, None], axis=1)
    chex.assert_trees_all_close(run(variables, shuffled), (out, state), rtol=1e-5, atol=1e-5)


def test_gradients_are_slopes_and_reach_all_parameters():
    gradients = check_gradients(small_net(), POINTS)
    assert all(np.abs(leaf).max() > 0 for leaf in jax.tree.leaves(gradients))


def test_batch_norm_is_synchronised_over_a_mapped_axis():
    variables = variables_for(small_net(), POINTS)
    expected = jax.jit(lambda x: small_net().apply(variables, x, train=True, mutable=['batch_stats']))(POINTS)
    model = small_net(axis_name='data', block=10)
    spread = jax.vmap(lambda x: model.apply(variables, x, train=True, mutable=['batch_stats']), axis_name='data')
    out, state = jax.jit(spread)(POINTS.reshape(2, 2, 24, 3))
    first = jax.tree.map(lambda leaf: leaf[0], state)
    chex.assert_trees_all_close((out.reshape(4, -1), first), expected, rtol=1e-4, atol=1e-5)


def test_bfloat16_keeps_float32_parameters_statistics_and_embeddings():
    half, full = small_net(dtype=jnp.bfloat16, widths=(64,)), small_net(widths=(64,))
    variables = variables_for(half, POINTS)
    chex.assert_trees_all_equal_shapes_and_dtypes(variables, variables_for(full, POINTS))
    result, expected = (
        jax.jit(lambda v, m=model: m.apply(v, POINTS, train=True, mutable=['batch_stats']))(variables)
        for model in (half, full)
    )
    chex.assert_type(jax.tree.leaves(result), jnp.float32)
    # batch norm over four objects enlarges the roundings of 0.4 %
    chex.assert_trees_all_close(result, expected, rtol=0.1, atol=0.1)
    assert not np.allclose(result[0], expected[0], rtol=1e-5)  # it did compute in bfloat16


def test_points_of_other_rank_or_type_are_refused():
    for points in (jnp.zeros((8, 3)), jnp.zeros((1, 8, 3), jnp.int32)):
        with pytest.raises(AssertionError):
            small_net().init(jax.random.key(0), points)
