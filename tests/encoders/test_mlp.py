"""The projection and prediction perceptron against numpy loops."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from references_encoders import random_variables

from jaxret.encoders.heads import MLP


def _linear(row, layer):
    weights, bias = layer['kernel'], layer['bias']
    return [
        float(bias[k]) + sum(float(row[i]) * float(weights[i, k]) for i in range(len(row))) for k in range(len(bias))
    ]


@pytest.mark.parametrize('jit', [False, True])
def test_equals_loops(jit):
    x = np.random.default_rng(0).normal(size=(3, 4, 6)).astype(np.float32)  # modalities share one perceptron
    mlp = MLP(hidden=5, features=7)
    variables = random_variables(mlp, x)
    out = (jax.jit(mlp.apply) if jit else mlp.apply)(variables, x)
    layers = variables['params']
    expected = [
        [_linear([max(0.0, value) for value in _linear(row, layers['hidden'])], layers['output']) for row in rows]
        for rows in x
    ]
    np.testing.assert_allclose(out, expected, rtol=1e-5, atol=1e-5)
    assert np.any(out < 0)  # no activation at the end


def test_rows_stand_alone():
    """No batch norm: no statistics, and a row's output is the same in any batch."""
    x = jax.random.normal(jax.random.key(0), (4, 6))
    mlp = MLP(hidden=5, features=7)
    variables = mlp.init(jax.random.key(1), x)
    assert set(variables) == {'params'}
    out = mlp.apply(variables, x)
    moved = mlp.apply(variables, x.at[2].add(100.0))
    chex.assert_trees_all_equal(np.any(out != moved, axis=1), np.array([False, False, True, False]))


def test_size_and_start():
    params = MLP(hidden=256, features=40).init(jax.random.key(0), jnp.zeros((1, 512)))['params']
    assert sum(leaf.size for leaf in jax.tree.leaves(params)) == 512 * 256 + 256 + 256 * 40 + 40
    for name, fan_in in (('hidden', 512), ('output', 256)):
        for leaf in jax.tree.leaves(params[name]):
            assert float(jnp.abs(leaf).max()) <= 1 / np.sqrt(fan_in)
            np.testing.assert_allclose(leaf.std(), 1 / np.sqrt(3 * fan_in), rtol=0.3)


def test_float32_for_bfloat16_features():
    x = jax.random.normal(jax.random.key(0), (4, 6), jnp.bfloat16)
    mlp = MLP(hidden=5, features=7)
    variables = mlp.init(jax.random.key(1), x)
    out = mlp.apply(variables, x)
    chex.assert_type([out, *jax.tree.leaves(variables)], jnp.float32)
    chex.assert_trees_all_equal(out, mlp.apply(variables, x.astype(jnp.float32)))
