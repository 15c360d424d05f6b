"""Batch norm of valid rows against loops, on one device and on several."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import references_voxels as ref

from jaxret.encoders.batch_norm import MaskedBatchNorm

X = np.random.default_rng(0).normal(2.0, 3.0, size=(6, 3, 2, 4)).astype(np.float32)
VALID = np.array([True, False, True, True, False, True])
VARIABLES = {
    'params': {'scale': jnp.array([1.0, 2.0, -1.0, 0.5]), 'bias': jnp.array([0.0, 1.0, 2.0, -3.0])},
    'batch_stats': {'mean': jnp.array([1.0, 0.0, 2.0, 3.0]), 'var': jnp.array([4.0, 1.0, 0.25, 2.0])},
}


def run(x, valid, *, train=True, variables=VARIABLES, **attributes):
    return MaskedBatchNorm(**attributes).apply(variables, x, train=train, valid=valid, mutable=['batch_stats'])


@pytest.mark.parametrize('valid', [VALID, None])
def test_statistics_are_those_of_valid_rows(valid):
    rows = np.ones(6, bool) if valid is None else valid
    x = np.where(rows[:, None, None, None], X, np.nan).astype(np.float32)  # what padding holds does not matter
    out, state = jax.jit(run)(x, valid)
    expected = ref.batch_norm(X, VARIABLES['params'], VARIABLES['batch_stats'], rows)
    np.testing.assert_allclose(np.asarray(out)[rows], expected[rows], rtol=1e-5, atol=1e-5)
    values = X[rows].reshape(-1, 4).astype(np.float64)
    old = VARIABLES['batch_stats']
    np.testing.assert_allclose(state['batch_stats']['mean'], 0.9 * old['mean'] + 0.1 * values.mean(axis=0), rtol=1e-5)
    np.testing.assert_allclose(state['batch_stats']['var'], 0.9 * old['var'] + 0.1 * values.var(axis=0), rtol=1e-5)


def test_evaluation_uses_the_running_statistics():
    out, state = run(X, VALID, train=False)
    np.testing.assert_allclose(
        out, ref.batch_norm(X, VARIABLES['params'], VARIABLES['batch_stats']), rtol=1e-5, atol=1e-5
    )
    chex.assert_trees_all_equal(state['batch_stats'], VARIABLES['batch_stats'])


def test_uneven_devices_change_nothing():
    """Two devices, one with a single valid row; the gradient too."""
    valid = np.array([True, False, False, True, True, True])

    def loss(x, out):
        return jnp.sum(jnp.sin(out) * jnp.where(valid, 1.0, 0.0).reshape(x.shape[0], 1, 1, 1))

    def whole(x):
        out, state = run(x, valid)
        return loss(x, out), state

    def spread(x):
        apply = jax.vmap(lambda x, valid: run(x, valid, axis_name='data'), axis_name='data')
        out, state = apply(x.reshape(2, 3, *x.shape[1:]), valid.reshape(2, 3))
        return loss(x, out.reshape(x.shape)), jax.tree.map(lambda leaf: leaf[1], state)

    expected = jax.jit(jax.value_and_grad(whole, has_aux=True))(X)
    found = jax.jit(jax.value_and_grad(spread, has_aux=True))(X)
    chex.assert_trees_all_close(found, expected, rtol=1e-4, atol=1e-5)


def test_no_valid_row_leaves_everything_finite_and_the_statistics_alone():
    def loss(x):
        out, state = run(x, np.zeros(6, bool))
        return jnp.sum(out), state

    (_, state), gradient = jax.jit(jax.value_and_grad(loss, has_aux=True))(X)
    chex.assert_tree_all_finite(gradient)
    chex.assert_trees_all_equal(state['batch_stats'], VARIABLES['batch_stats'])


def test_initial_variables_and_type():
    model = MaskedBatchNorm(dtype=jnp.bfloat16)
    variables = model.init(jax.random.key(0), X)
    chex.assert_trees_all_equal(
        variables,
        {
            'params': {'scale': jnp.ones(4), 'bias': jnp.zeros(4)},
            'batch_stats': {'mean': jnp.zeros(4), 'var': jnp.ones(4)},
        },
    )
    chex.assert_type(model.apply(variables, X), jnp.bfloat16)
