"""Chunks: order, parameters' gradients, memory."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxret.errors import ConfigError
from jaxret.losses.gradient_caching import map_chunks


def test_results_are_in_order_and_chunks_interleaved():
    seen = []

    def function(chunk):
        jax.debug.callback(lambda x: seen.append(x.tolist()), chunk['x'][:, 0])
        return {'y': chunk['x'] * 2 + chunk['z'][:, None]}, jnp.sum(chunk['z'])

    examples = {'x': jnp.arange(12).reshape(6, 2), 'z': jnp.arange(6)}
    results, of_chunks = map_chunks(function, examples, chunks=3)
    jax.effects_barrier()
    np.testing.assert_array_equal(results['y'], np.arange(12).reshape(6, 2) * 2 + np.arange(6)[:, None])
    np.testing.assert_array_equal(of_chunks, [0 + 3, 1 + 4, 2 + 5])
    assert seen == [[0, 6], [2, 8], [4, 10]]
    with pytest.raises(ConfigError, match='6 examples do not divide into 4 chunks'):
        map_chunks(function, examples, chunks=4)


def test_gradients_and_memory_of_a_wide_layer():
    """A loss over all pairs of results, of examples whose intermediate results are 512 times as long."""

    def loss(params, x, chunks):
        def encode(x):
            return jnp.tanh(x @ params['up']) @ params['down'], ()

        y = encode(x)[0] if chunks == 1 else map_chunks(encode, x, chunks=chunks)[0]
        return jnp.sum(jnp.sin(y @ y.T))

    def compiled(count, chunks):
        shapes = ({'up': (2, 1024), 'down': (1024, 2)}, (count, 2))
        shapes = jax.tree.map(
            lambda shape: jax.ShapeDtypeStruct(shape, jnp.float32),
            shapes,
            is_leaf=lambda node: isinstance(node, tuple) and isinstance(node[0], int),
        )
        return jax.jit(jax.grad(loss, argnums=(0, 1)), static_argnums=2).lower(*shapes, chunks).compile()

    rng = np.random.default_rng(0)
    params = {
        'up': rng.normal(size=(2, 1024)).astype(np.float32),
        'down': rng.normal(size=(1024, 2)).astype(np.float32) / 32,
    }
    x = rng.normal(size=(96, 2)).astype(np.float32)
    direct, chunked, longer = compiled(96, 1), compiled(96, 12), compiled(192, 24)
    for found, expected in zip(jax.tree.leaves(chunked(params, x)), jax.tree.leaves(direct(params, x)), strict=True):
        assert np.linalg.norm(found - expected) < 1e-5 * np.linalg.norm(expected)
    wide = 1024 * 4  # bytes of one example's intermediate result
    sizes = [function.memory_analysis().temp_size_in_bytes for function in (direct, chunked, longer)]
    assert sizes[0] > 96 * wide and sizes[1] < 4 * 8 * wide
    assert sizes[2] - sizes[1] < 192 * 192 * 4 * 3  # the pairs, not the examples
