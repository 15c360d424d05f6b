"""Scan-CAD's losses against loop-written oracles of its own embeddings and logits, their gradients, empty grids."""

from functools import cache, partial

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import references_scan_cad as oracle
from small_scan_cad import POOL, STILL, flat_system, flat_variables, random_batch

PAIRS = 8
KEY = jax.random.key(5)
PARTS = ('foreground', 'background', 'completion', 'metric')
WEIGHTS = np.array([1.0, 0.5, 0.25, 2.0], np.float32)  # those of `small_config`
PULLED = {'loss__margin_negative': 5.0, 'loss__margin_positive': 0.5, **STILL}

system_of = cache(flat_system)  # the same object every time, so that it is compiled once


@partial(jax.jit, static_argnums=0, static_argnames='train')
def run(system, params, batch, weights, *, train=False):
    """((weighted parts, (total, report, statistics)), gradient of the weighted parts)."""

    def of_params(params):
        variables = {**flat_variables(), 'params': params}
        total, (collections, report) = system.loss(variables, batch, rng=KEY, step=jnp.int32(0), train=train)
        parts = jnp.stack([report[f'{name}_loss'] for name in PARTS])
        return jnp.dot(parts, weights), (total, report, collections)

    return jax.value_and_grad(of_params, has_aux=True)(params)


def evaluate(system, batch, weights=WEIGHTS, *, params=None, train=False):
    return run(system, flat_variables()['params'] if params is None else params, batch, weights, train=train)


@pytest.mark.parametrize(
    'changes',
    [
        PULLED,
        {
            'loss__metric': 'triplet',
            'loss__negatives': 'all',
            'loss__occupied_weight': 3.0,
            'model__input_sigmoid': True,
            'model__normalize': True,
        },
        {
            'loss__finetune': 'push_pull',
            'loss__margin_negative': 15.0,
            'loss__squared': True,
            'loss__easy_positive': True,
        },
    ],
)
def test_loss_is_the_weighted_sum_of_the_oracles(changes):
    system = system_of(**changes)
    for padded in (False, True):
        batch = random_batch(PAIRS, seed=1, pool='loss__finetune' in changes)
        if padded:  # what padding holds does not matter
            batch['valid'][5:], batch['category'][5:], batch['scan'][5:] = False, -7, 1
        logits, scans = oracle.forward(system, flat_variables(), batch['scan'])
        if 'pool' in batch:
            pools = oracle.embedded(system, flat_variables(), batch['pool'].reshape(-1, *batch['cad'].shape[1:]))
            metric = oracle.pool_loss(system.metric, scans, pools.reshape(PAIRS, POOL, -1), batch, batch['valid'])
        else:
            cads, keys = oracle.embedded(system, flat_variables(), batch['cad']), jax.random.split(KEY, 3)[1:]
            metric = oracle.pair_loss(system.metric, scans, cads, batch, batch['valid'], *keys)
        expected = [*oracle.grid_losses(system, logits, batch), *metric]
        assert expected[3] > 0 and expected[4] > 0
        (_, (total, report, statistics)), _ = evaluate(system, batch)
        found = [report[f'{name}_loss'] for name in PARTS] + [report['active_share']]
        np.testing.assert_allclose(found, expected, rtol=2e-4, atol=1e-5)
        np.testing.assert_allclose(total, np.dot(WEIGHTS, expected[:4]), rtol=2e-4)
        chex.assert_trees_all_equal(statistics['batch_stats'], flat_variables()['batch_stats'])


@pytest.mark.parametrize('train', [False, True])
def test_empty_grids_one_model_and_nothing_are_finite(train):
    plain = random_batch(PAIRS)
    found = {
        name: evaluate(system_of(**PULLED), batch, train=train)
        for name, batch in {
            'nothing': plain | {'valid': np.zeros(PAIRS, bool)},
            'one model': {name: np.repeat(value[:1], PAIRS, axis=0) for name, value in plain.items()},
            'empty': plain | {'scan': np.zeros_like(plain['scan']), 'mask': np.zeros_like(plain['mask'])},
        }.items()
    }
    chex.assert_tree_all_finite(found)
    (value, (total, _, statistics)), gradient = found['nothing']
    assert value == total == 0 and not any(np.any(leaf) for leaf in jax.tree.leaves(gradient))
    chex.assert_trees_all_equal(statistics['batch_stats'], flat_variables()['batch_stats'])


def test_all_networks_are_trained_together():
    for weights, part in zip(np.eye(4, dtype=np.float32), PARTS, strict=True):
        _, gradient = evaluate(system_of(**PULLED), random_batch(PAIRS, seed=2), weights)
        reached = {name for name, leaves in gradient.items() if optax.tree.norm(leaves) > 0}
        assert reached == {
            'metric': {'separation', 'completion', 'embedding'},
            'completion': {'separation', 'completion'},
        }.get(part, {'separation'})


def test_gradient_is_that_of_finite_differences():
    system, batch, params = system_of(**PULLED), random_batch(PAIRS, seed=3), flat_variables()['params']
    _, found = evaluate(system, batch)
    rng = np.random.default_rng(0)
    for name in params:
        way = jax.tree.map(lambda leaf: rng.normal(size=leaf.shape).astype(np.float32) * 1e-3, params[name])
        ends = []
        for sign in (1, -1):
            moved = jax.tree.map(lambda leaf, step, sign=sign: leaf + sign * step, params[name], way)
            ends.append(float(evaluate(system, batch, params={**params, name: moved})[0][0]))
        np.testing.assert_allclose((ends[0] - ends[1]) / 2, optax.tree.vdot(way, found[name]), rtol=0.02, atol=2e-6)
