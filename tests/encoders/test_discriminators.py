"""Discriminators against the plain form: concatenate every pair, then the layers one by one."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from references_encoders import random_variables

from jaxret.encoders.discriminators import DomainDiscriminator, PairDiscriminator
from jaxret.encoders.layers import drop_units

MAPS = np.random.default_rng(0).normal(size=(3, 2, 3, 4)).astype(np.float32)
EMBEDDINGS = np.random.default_rng(1).normal(size=(5, 6)).astype(np.float32)


def concatenated(params, vector, embedding):
    """Score of one pair: a three-layer network of the concatenation, in float64."""
    params = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), params)
    kernel = np.concatenate([params['map']['kernel'], params['embedding']['kernel']])
    x = np.maximum(np.concatenate([vector, embedding]) @ kernel + params['embedding']['bias'], 0)
    x = np.maximum(x @ params['hidden']['kernel'] + params['hidden']['bias'], 0)
    return (x @ params['output']['kernel'] + params['output']['bias']).item()


@pytest.mark.parametrize('local', [False, True])
def test_every_pair_is_scored(local):
    model = PairDiscriminator(7, local=local)
    variables = random_variables(model, MAPS, EMBEDDINGS)
    found = jax.jit(model.apply)(variables, MAPS, EMBEDDINGS)
    cells = MAPS.reshape(3, 6 if local else 1, -1)
    expected = [
        [[concatenated(variables['params'], cells[n, cell], k) for k in EMBEDDINGS] for n in range(3)]
        for cell in range(cells.shape[1])
    ]
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def test_gradients_are_those_of_the_concatenation():
    model = PairDiscriminator(7, local=True)
    variables = random_variables(model, MAPS, EMBEDDINGS)
    weight = np.random.default_rng(2).normal(size=(6, 3, 5)).astype(np.float32)

    def loss(variables, maps, embeddings):
        return jnp.sum(weight * model.apply(variables, maps, embeddings))

    def plain(variables, maps, embeddings):
        params = variables['params']
        cells = jnp.broadcast_to(maps.reshape(3, 6, 4).transpose(1, 0, 2)[:, :, None], (6, 3, 5, 4))
        x = jnp.concatenate([cells, jnp.broadcast_to(embeddings, (6, 3, 5, 6))], axis=-1)
        first = jnp.concatenate([params['map']['kernel'], params['embedding']['kernel']])
        layers = [(first, params['embedding']['bias']), (params['hidden']['kernel'], params['hidden']['bias'])]
        for kernel, bias in layers:
            x = x @ kernel
            x = jax.nn.relu(x + jnp.broadcast_to(bias, x.shape))
        return jnp.sum(weight * (x @ params['output']['kernel'])[..., 0]) + weight.sum() * params['output']['bias'][0]

    found = jax.jit(jax.grad(loss, argnums=(0, 1, 2)))(variables, MAPS, EMBEDDINGS)
    expected = jax.jit(jax.grad(plain, argnums=(0, 1, 2)))(variables, MAPS, EMBEDDINGS)
    chex.assert_trees_all_close(found, expected, rtol=1e-4, atol=1e-5)


def test_the_local_form_needs_no_memory_by_cell():
    """Forward and backward, the compiled function holds far less than all pairs of all cells would take."""
    maps, embeddings = np.ones((40, 6, 6, 8), np.float32), np.ones((40, 8), np.float32)
    model = PairDiscriminator(64, local=True)
    variables = jax.eval_shape(model.init, jax.random.key(0), maps, embeddings)
    compiled = jax.jit(jax.grad(lambda v: model.apply(v, maps, embeddings).sum())).lower(variables).compile()
    assert compiled.memory_analysis().temp_size_in_bytes < 36 * 40 * 40 * 64 * 4 / 2


def test_initial_layer_is_that_of_one_concatenation():
    model = PairDiscriminator(256)
    params = jax.jit(model.init)(jax.random.key(0), jnp.ones((1, 2, 2, 12)), jnp.ones((1, 16)))['params']
    assert params['map']['kernel'].shape == (48, 256) and 'bias' not in params['map']
    for name in ('map', 'embedding'):
        np.testing.assert_allclose(abs(params[name]['kernel']).max(), 1 / np.sqrt(64), rtol=0.02)


def test_domain_discriminator():
    model = DomainDiscriminator(9, dropout=0.4)
    variables, run = random_variables(model, EMBEDDINGS), jax.jit(lambda *x, keys=None: model.apply(*x, keys=keys))
    keys = jax.random.split(jax.random.key(1), 5)
    for given in (None, keys):
        x = EMBEDDINGS
        for layer in range(2):
            dense = variables['params'][f'hidden{layer + 1}']
            x = np.maximum(x @ dense['kernel'] + dense['bias'][None], 0)
            x = np.asarray(drop_units(jnp.asarray(x), given, rate=0.4, layer=layer))
        expected = x @ variables['params']['output']['kernel'] + variables['params']['output']['bias'][None]
        np.testing.assert_allclose(run(variables, EMBEDDINGS, keys=given), expected[:, 0], rtol=1e-4, atol=1e-5)
    chex.assert_trees_all_equal_shapes(
        variables['params'],
        {
            'hidden1': {'kernel': jnp.zeros((6, 9)), 'bias': jnp.zeros(9)},
            'hidden2': {'kernel': jnp.zeros((9, 9)), 'bias': jnp.zeros(9)},
            'output': {'kernel': jnp.zeros((9, 1)), 'bias': jnp.zeros(1)},
        },
    )
