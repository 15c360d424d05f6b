"""Exact neighbour search against sorting, and convolutions over pairs against loops that write every pair out."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding, PartitionSpec
from references_points import Network, leaky, nearest, variables_for

from jaxret.encoders.dgcnn import leaky_relu
from jaxret.encoders.neighbors import PairConvolution, gather_neighbors, nearest_neighbors
from jaxret.encoders.pointwise import scaled
from jaxret.errors import ConfigError


def lattice(channels, points=64, batch=2):
    """Few different integers: many equal distances and equal points, all exact in float32."""
    return np.random.default_rng(channels).integers(-1, 2, (batch, points, channels)).astype(np.float32)


@pytest.mark.parametrize('channels', [1, 3, 12])
def test_search_equals_sorting_where_many_distances_tie(channels):
    x = lattice(channels)
    for count in (1, 5, 64):
        found = nearest_neighbors(jnp.asarray(x), count)
        chex.assert_type(found, jnp.int32)
        np.testing.assert_array_equal(found, nearest(x, count))


@pytest.mark.parametrize('channels', [3, 12])
@pytest.mark.parametrize('block', [1, 7, 32, 63])
def test_blocks_do_not_matter(channels, block):
    x = jnp.asarray(lattice(channels))
    np.testing.assert_array_equal(nearest_neighbors(x, 9, block=block), nearest_neighbors(x, 9, block=1000))


@pytest.mark.parametrize('channels', [3, 20])
def test_points_find_themselves_first_also_far_from_the_origin(channels):
    rng = np.random.default_rng(0)
    x = (rng.normal(size=(2, 50, channels)) + 30).astype(np.float32)
    found = nearest_neighbors(jnp.asarray(x), 6)
    np.testing.assert_array_equal(found[:, :, 0], np.tile(np.arange(50), (2, 1)))
    np.testing.assert_array_equal(found, nearest(x, 6))


def test_bfloat16_points_are_searched_in_float32():
    x = jnp.asarray(np.random.default_rng(1).normal(size=(1, 40, 16)), jnp.bfloat16)
    np.testing.assert_array_equal(nearest_neighbors(x, 5), nearest(x.astype(jnp.float32), 5))


def test_search_in_blocks_needs_a_fraction_of_the_matrix():
    x = jax.ShapeDtypeStruct((2, 4096, 3), jnp.float32)

    def temporary_bytes(block):
        compiled = jax.jit(lambda x: nearest_neighbors(x, 20, block=block)).lower(x).compile()
        return compiled.memory_analysis().temp_size_in_bytes

    matrix = 2 * 4096 * 4096 * 4
    assert temporary_bytes(4096) >= matrix
    assert temporary_bytes(256) < matrix / 6


def test_no_gradient_flows_through_the_search():
    x = jax.random.normal(jax.random.key(0), (1, 12, 3))
    indices = nearest_neighbors(x, 4)

    def loss(x, indices):
        return jnp.sum(jnp.sin(gather_neighbors(x, indices)))

    through = jax.grad(lambda x: loss(x, nearest_neighbors(x, 4)))(x)
    chex.assert_trees_all_equal(through, jax.grad(loss)(x, indices))


def test_batch_sharded_under_jit():
    mesh = jax.make_mesh((4,), ('data',), axis_types=(AxisType.Auto,))
    x = jax.random.normal(jax.random.key(0), (4, 24, 3))
    shards = jax.device_put(x, NamedSharding(mesh, PartitionSpec('data')))
    search = jax.jit(lambda x: nearest_neighbors(x, 4, block=10))
    np.testing.assert_array_equal(search(shards), search(x))


@pytest.mark.parametrize(('count', 'block'), [(0, 8), (11, 8), (3, 0)])
def test_impossible_searches_are_refused(count, block):
    with pytest.raises(ConfigError, match='neighbour'):
        nearest_neighbors(jnp.zeros((1, 10, 3)), count, block=block)


def test_gathered_rows_and_an_index_out_of_range():
    x = jnp.arange(12.0).reshape(2, 3, 2)
    rows = gather_neighbors(x, jnp.array([[[0, 2]], [[1, 7]]]))
    np.testing.assert_array_equal(rows[:, 0], [[[0, 1], [4, 5]], [[8, 9], [np.nan, np.nan]]])


@pytest.mark.parametrize('train', [False, True])
@pytest.mark.parametrize(('form', 'bias'), [('difference', False), ('pair', True)])
def test_pair_convolution_equals_the_plain_form(form, bias, train):
    rng = np.random.default_rng(2)
    x = rng.normal(size=(2, 9, 4)).astype(np.float32)
    neighbors = rng.integers(0, 9, (2, 9, 3)).astype(np.int32)
    model = PairConvolution(5, form, leaky_relu, use_bias=bias)
    variables = variables_for(model, x, neighbors)
    assert variables['params']['kernel'].shape == (8, 5)
    out, state = jax.jit(lambda v: model.apply(v, x, neighbors, train=train, mutable=['batch_stats']))(variables)
    oracle = Network(variables, train)
    np.testing.assert_allclose(out, oracle.pair_convolution(x, neighbors, form, leaky), rtol=1e-4, atol=1e-5)
    chex.assert_trees_all_close(state['batch_stats'], oracle.new, rtol=1e-5, atol=1e-6)


def test_unknown_form_is_refused_and_initial_values_are_bounded():
    x, neighbors = jnp.zeros((1, 4, 8)), jnp.zeros((1, 4, 2), jnp.int32)
    with pytest.raises(ConfigError, match='sum.*difference, pair'):
        PairConvolution(5, 'sum', jax.nn.relu).init(jax.random.key(0), x, neighbors)
    model = PairConvolution(64, 'pair', jax.nn.relu, use_bias=True)
    params = jax.jit(model.init)(jax.random.key(0), x, neighbors)['params']
    for leaf in (params['kernel'], params['bias']):
        assert 0.2 < float(jnp.abs(leaf).max()) <= 0.25  # 1 / sqrt(16)
    assert [scaled(channels, 0.25) for channels in (64, 131, 1)] == [16, 33, 1]
