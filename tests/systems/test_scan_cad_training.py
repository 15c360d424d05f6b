"""Scan-CAD in training: augmentation, several devices, padding, and a batch that is learned."""

import dataclasses

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from small_cmic import optimizer_config
from small_scan_cad import CELLS, POOL, STILL, FlatEncoder, flat_system, flat_variables, random_batch

from jaxret.augmentation.grids import augment_grids
from jaxret.encoders.batch_norm import part_batches
from jaxret.training.optimizers import make_grouped_optimizer
from jaxret.training.parallel import make_parallel
from jaxret.training.state import create_state
from jaxret.training.step import make_train_step


def test_grids_of_an_object_are_augmented_alike_each_object_with_its_own_key():
    class Recorder(FlatEncoder):
        """Hands out what it is given as its batch statistics."""

        def apply(self, variables, grids, *, train=False, valid=None, mutable=()):
            return jnp.ones((grids.shape[0], 1)) + variables['params'], {'batch_stats': grids[..., 0]}

    system = flat_system(model__variant='cnn3d', loss__finetune='push_pull')
    system = dataclasses.replace(system, networks={'embedding': Recorder()})
    middle, key = slice(CELLS // 2 - 5, CELLS // 2 + 5), jax.random.key(5)
    batch = random_batch(4, pool=True)
    grids = {name: batch[name][..., middle, middle, middle] for name in ('scan', 'mask', 'cad', 'pool')}
    variables = {'params': {'embedding': 0.0}, 'batch_stats': {'embedding': 0.0}}

    @jax.jit
    def seen(batch):
        _, (collections, _) = system.loss(variables, batch, rng=key, step=jnp.int32(0), train=True)
        return collections['batch_stats']['embedding']

    found = seen(batch | grids)
    change = jax.jit(augment_grids)
    expected = [
        change(own, {name: value[i : i + 1] for name, value in grids.items()})
        for i, own in enumerate(jax.random.split(jax.random.split(key, 3)[0], 4))
    ]
    scans, pools = (np.concatenate([one[name] for one in expected]) for name in ('scan', 'pool'))
    found_scans, found_pools = part_batches(found, (4, 4 * POOL))
    np.testing.assert_array_equal(found_scans, scans)
    np.testing.assert_array_equal(found_pools.reshape(4, POOL, *scans.shape[1:]), pools)
    assert (scans != grids['scan']).any(axis=(1, 2, 3)).all()


def train(mode, devices, *, spoil=False, **changes):
    """State after two steps, and the metrics of both; `spoil` changes what padded rows hold."""
    parallel = make_parallel(mode, devices=devices, divided={'batch_size': 8})
    optimizer, schedule = make_grouped_optimizer(optimizer_config(learning_rate=0.02), 2, {})
    system = flat_system(axis_name=parallel.axis_name, loss__negatives='adaptive', **changes)
    step = parallel.compile(make_train_step(system, optimizer, learning_rate=schedule, axis_name=parallel.axis_name))
    variables = {kind: {name: flat_variables()[kind][name] for name in system.networks} for kind in flat_variables()}
    state, history = parallel.place_state(create_state(variables, optimizer, seed=3, average=False)), []
    for i in range(2):
        batch = random_batch(8, seed=i, pool='loss__finetune' in changes)
        batch['valid'][-3:] = i > 0
        if spoil and i == 0:
            batch['scan'][-3:], batch['category'][-3:], batch['instance'][-3:] = 1, 0, 7
        state, metrics = step(state, parallel.place_batch(batch))
        history.append(jax.device_get(parallel.single(metrics)))
    return jax.device_get(parallel.single(state)), history


@pytest.mark.parametrize('changes', [STILL, {'loss__finetune': 'push_pull', 'model__variant': 'cnn3d'}])
def test_devices_and_padding_do_not_change_the_numbers(changes):
    state, history = train('jit', 1, **changes)
    assert not np.allclose(history[0]['loss'], history[1]['loss'])
    for mode in ('pmap',) if changes is STILL else ('jit', 'pmap'):  # the hourglasses compile slowly
        other, other_history = train(mode, 8, spoil=mode == 'pmap', **changes)
        chex.assert_trees_all_close(history, other_history, rtol=1e-5, atol=1e-6)
        # Plain SGD: the way travelled is the sum of the gradients.
        start = {name: flat_variables()['params'][name] for name in state.params}
        way, other_way = (jax.tree.map(np.subtract, moved.params, start) for moved in (state, other))
        assert optax.tree.norm(jax.tree.map(np.subtract, way, other_way)) < 1e-5 * optax.tree.norm(way)
        chex.assert_trees_all_close(state.collections, other.collections, rtol=1e-5, atol=1e-6)


def test_a_tiny_batch_is_learned():
    system = flat_system(
        model__variant='cnn3d', loss__negatives='all', loss__margin_negative=2.0, loss__margin_same_class=2.0, **STILL
    )
    batch, optimizer = random_batch(4, seed=14), optax.adam(2e-2)
    assert len(set(batch['instance'])) == 4
    variables = {kind: {'embedding': own['embedding']} for kind, own in flat_variables().items()}
    state = create_state(variables, optimizer, seed=0, average=False)
    step = jax.jit(make_train_step(system, optimizer, learning_rate=lambda step: 0.0))
    losses = []
    for _ in range(60):
        state, metrics = step(state, batch)
        losses.append(float(metrics['metric_loss']))
    assert losses[-1] < 0.2 * losses[0]
    embed = jax.jit(system.embed, static_argnums=2)
    scans, cads = (embed(state.variables, batch, name) for name in ('scan', 'cad'))
    assert list(np.argmax(system.score(state.variables, scans, cads), axis=1)) == [0, 1, 2, 3]
