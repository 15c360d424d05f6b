"""Frozen hourglasses: where their weights are, what they complete, and that the embedding alone is trained on it."""

from functools import cache

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import references_scan_cad as oracle
from small_scan_cad import STILL, flat_system, flat_variables, random_batch

from jaxret.errors import ConfigError
from jaxret.systems.scan_completion import with_frozen, without_frozen

PAIRS = 6
FROZEN = {'model__train': 'embedding', 'start_from': 'another run'}
KEY = jax.random.key(3)


@cache
def frozen_system(**changes):
    return flat_system(**FROZEN, **changes)


@cache
def frozen_variables():
    return with_frozen(flat_variables())


def without_scans(batch, completed):
    return {name: array for name, array in batch.items() if name not in ('scan', 'mask')} | {'completed': completed}


def loss_of(system, batch, *, train=True):
    def of_params(params):
        variables = {**frozen_variables(), 'params': params}
        total, (collections, report) = system.loss(variables, batch, rng=KEY, step=jnp.int32(0), train=train)
        return total, (collections, report)

    return jax.jit(jax.value_and_grad(of_params, has_aux=True))(frozen_variables()['params'])


def test_weights_of_the_hourglasses_are_frozen_and_come_back():
    variables = frozen_variables()
    assert {name: set(tree) for name, tree in variables.items()} == {
        'params': {'embedding'},
        'batch_stats': {'embedding'},
        'frozen': {'params', 'batch_stats'},
    }
    assert set(variables['frozen']['params']) == {'separation', 'completion'}
    chex.assert_trees_all_equal(without_frozen(variables), flat_variables())
    found = jax.eval_shape(frozen_system().init, jax.random.key(0), random_batch(1))
    chex.assert_trees_all_equal_shapes_and_dtypes(found, variables)


@pytest.mark.parametrize('sigmoid', [False, True])
def test_scans_are_completed_as_the_whole_network_completes_them(sigmoid):
    batch, changes = random_batch(PAIRS, seed=1), {'model__input_sigmoid': sigmoid}
    system = frozen_system(**changes)
    completed = np.asarray(jax.jit(system.features, static_argnums=2)(frozen_variables(), batch, 'scan'))
    (foreground, _, completion), _ = oracle.forward(flat_system(**changes), flat_variables(), batch['scan'])
    expected = 255 / (1 + np.exp(-np.float64(completion)))
    assert completed.dtype == np.uint8 and completed.shape == batch['scan'].shape
    assert np.abs(completed - expected).max() <= 0.501 and completed.std() > 1
    shown = jax.jit(system.segment_and_complete)(frozen_variables(), batch['scan'])
    for logits, likelihoods in zip((foreground, completion), shown, strict=True):
        np.testing.assert_allclose(likelihoods, 1 / (1 + np.exp(-logits)), atol=1e-5)


def test_completed_scans_stand_for_scans():
    system, variables, batch = frozen_system(**STILL), frozen_variables(), random_batch(PAIRS, seed=2)
    completed = np.asarray(jax.jit(system.features, static_argnums=2)(variables, batch, 'scan'))
    embed = jax.jit(system.embed, static_argnums=2)
    embedded = embed(variables, {'completed': completed}, 'scan')
    np.testing.assert_allclose(embedded, embed(variables, {'scan': batch['scan']}, 'scan'), atol=1e-5)
    _, whole = oracle.forward(flat_system(), flat_variables(), batch['scan'])
    np.testing.assert_allclose(embedded, whole, atol=0.02)  # but for steps of 1 / 255
    (total, (collections, report)), gradient = loss_of(system, without_scans(batch, completed))
    (of_scans, _), gradient_of_scans = loss_of(system, batch)
    np.testing.assert_allclose(total, of_scans, rtol=1e-5)
    chex.assert_trees_all_close(gradient, gradient_of_scans, rtol=1e-4, atol=1e-6)
    assert set(report) == {'metric_loss', 'active_share'} and total == pytest.approx(2.0 * report['metric_loss'])
    assert set(gradient) == set(collections['batch_stats']) == {'embedding'}
    assert max(float(jnp.abs(leaf).max()) for leaf in jax.tree.leaves(gradient)) > 0


def test_completed_scans_are_turned_mirrored_and_shifted_with_their_models():
    batch = random_batch(PAIRS, seed=4)
    system = frozen_system(loss__margin_negative=0.0)  # what is left pulls pairs together
    (total, _), _ = loss_of(system, without_scans(batch, 255 * batch['cad']))
    assert float(total) < 1e-3  # a scan that is completed to its model lies on it, however both are changed
    (apart, _), _ = loss_of(system, without_scans(batch, 255 * batch['cad'][::-1].copy()))
    assert float(apart) > 0.1


@pytest.mark.parametrize(
    'changes,message',
    [
        ({'model__train': 'embedding'}, 'config.start_from names none'),
        ({**FROZEN, 'model__variant': 'cnn3d'}, "config.model.variant='cnn3d'"),
        ({**FROZEN, 'loss__metric': 'none'}, "config.loss.metric='none'"),
        ({'model__train': 'heads'}, 'all, embedding'),
    ],
)
def test_what_cannot_be_frozen_is_refused(changes, message):
    with pytest.raises(ConfigError, match=message):
        flat_system(**changes)
