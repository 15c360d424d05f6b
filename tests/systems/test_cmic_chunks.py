"""Chunked encoding of CMIC: the same loss, gradients and statistics as chunk by chunk without tricks; less memory."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from small_cmic import DIM, VIEWS, optimizer_config, random_batch, small_cmic

from jaxret.errors import ConfigError
from jaxret.systems import cmic, encoding
from jaxret.training.optimizers import make_optimizer, make_schedule
from jaxret.training.parallel import divided_batch, make_parallel
from jaxret.training.state import create_state
from jaxret.training.step import make_train_step

BATCH, CHUNK = 16, 8
PADDED = {'query_valid': np.arange(BATCH) < 13, 'shape_valid': np.arange(BATCH) < 15}
KEY = jax.random.key(5)
VARIABLES = jax.jit(small_cmic().init)(jax.random.key(0), random_batch(BATCH))
MARGIN = {'rtol': 2e-4, 'atol': 2e-6}  # of gradients in float32 through batch norm


def gradients(system, batch, *, train, chunks=None):
    """Loss, gradients, statistics and report; `chunks`: a function that stands in for `map_chunks`."""

    @jax.jit
    def run(params, batch):
        def loss(params):
            return system.loss({**VARIABLES, 'params': params}, batch, rng=KEY, step=jnp.int32(0), train=train)

        return jax.value_and_grad(loss, has_aux=True)(params)

    with pytest.MonkeyPatch.context() as patch:
        if chunks:
            patch.setattr(encoding, 'map_chunks', chunks)
        (total, (collections, report)), found = run(VARIABLES['params'], batch)
    return total, found, collections, report


def kept_chunks(function, examples, *, chunks):
    """The plain meaning of `map_chunks`: a Python loop that keeps everything."""
    count = len(examples[0])
    order = [np.arange(k, count, chunks) for k in range(chunks)]
    found = [function(tuple(x[own] for x in examples)) for own in order]
    back = np.argsort(np.concatenate(order))
    return jnp.concatenate([x for x, _ in found])[back], jax.tree.map(lambda *x: jnp.stack(x), *[s for _, s in found])


def test_training_is_that_of_a_loop_that_keeps_everything():
    batch = random_batch(BATCH) | PADDED
    found = gradients(small_cmic(chunk=CHUNK), batch, train=True)
    expected = gradients(small_cmic(chunk=CHUNK), batch, train=True, chunks=kept_chunks)
    chex.assert_trees_all_close(found, expected, **MARGIN)
    # A chunk's own statistics: not those of the direct step, but near in what they leave behind.
    total, (collections, _) = jax.jit(
        lambda batch: small_cmic().loss(VARIABLES, batch, rng=KEY, step=jnp.int32(0), train=True)
    )(batch)
    assert abs(found[0] - total) > 1e-4
    pairs = zip(jax.tree.leaves(found[2]), jax.tree.leaves(collections), strict=True)
    assert any(np.abs(x - y).max() > 1e-5 for x, y in pairs)
    chex.assert_trees_all_close(found[2], collections, rtol=0.1, atol=0.02)


def test_frozen_statistics_give_the_direct_loss_and_gradients():
    batch = random_batch(BATCH, seed=1) | PADDED
    direct, found = (gradients(small_cmic(chunk=chunk), batch, train=False) for chunk in (0, 4))
    chex.assert_trees_all_close(found, direct, rtol=1e-4, atol=2e-6)
    chex.assert_trees_all_equal(found[2]['batch_stats'], VARIABLES['batch_stats'])


def test_a_chunk_of_the_whole_batch_is_the_direct_step():
    direct, *others = (
        str(
            jax.make_jaxpr(
                lambda v, size=size: small_cmic(chunk=size).loss(
                    v, random_batch(BATCH), rng=KEY, step=jnp.int32(0), train=True
                )
            )(VARIABLES)
        )
        for size in (0, BATCH, 40, CHUNK)
    )
    assert [other == direct for other in others] == [True, True, False]


def test_colours_do_not_depend_on_the_chunks(monkeypatch):
    batch, seen = random_batch(BATCH), []

    def recorded(network, variables, name, images, **options):
        seen.append(images[0])
        views = (VIEWS,) if name == 'view' else ()
        return jnp.ones((BATCH, *views, DIM)), variables['batch_stats'][name]

    monkeypatch.setattr(cmic, 'apply_in_chunks', recorded)

    @jax.jit
    def photos(batch):
        for chunk in (0, 4, 8):
            small_cmic(chunk=chunk).loss(VARIABLES, batch, rng=KEY, step=jnp.int32(0), train=True)
        return seen[::2]

    direct, *others = photos(batch)
    assert np.abs(direct - batch['image'] / 255).max() > 0.1
    for other in others:
        np.testing.assert_allclose(other, direct, atol=1e-6)


def train(mode, devices, *, chunk, steps=2):
    """State and metrics after some steps of `make_train_step` on 16 photos and shapes."""
    parallel = make_parallel(mode, devices=devices, divided=divided_batch(16, chunk))
    config = optimizer_config()
    schedule = make_schedule(config, steps)
    optimizer = make_optimizer(config, schedule)
    system = small_cmic(axis_name=parallel.axis_name, chunk=chunk)
    compiled = parallel.compile(
        make_train_step(system, optimizer, learning_rate=schedule, axis_name=parallel.axis_name)
    )
    variables = jax.tree.map(jnp.copy, VARIABLES)  # the step's state is donated
    state = parallel.place_state(create_state(variables, optimizer, seed=3, average=False))
    history = []
    for i in range(steps):
        state, metrics = compiled(state, parallel.place_batch(random_batch(16, seed=i)))
        history.append(jax.device_get(parallel.single(metrics)))
    return jax.device_get(parallel.single(state)), history


def test_devices_do_not_change_the_numbers():
    state, history = train('jit', 1, chunk=8)
    start = jax.device_get(VARIABLES)
    for mode in ('jit', 'pmap'):
        other, other_history = train(mode, 8, chunk=8)
        chex.assert_trees_all_close(history, other_history, rtol=1e-5, atol=1e-6)
        for moved, other_moved, origin in (
            (state.params, other.params, start['params']),
            (state.collections['batch_stats'], other.collections['batch_stats'], start['batch_stats']),
        ):
            gap, way = (optax.tree.norm(jax.tree.map(jnp.subtract, moved, x)) for x in (other_moved, origin))
            assert gap < 1e-5 * way


def test_bad_chunks_are_refused():
    for chunk, message in ((5, 'chunk: 5 does not divide config.batch_size, 12'), (-4, 'chunk: -4 does not divide')):
        with pytest.raises(ConfigError, match=message):
            divided_batch(12, chunk)
    with pytest.raises(ConfigError, match='chunk: 4 does not divide over 3 devices'):
        make_parallel('jit', devices=3, divided=divided_batch(12, 4))
    assert len(make_parallel('jit', devices=0, divided=divided_batch(12, 4)).devices) == 4
    with pytest.raises(ConfigError, match='chunk: 5 does not divide a batch of 12'):
        jax.eval_shape(
            lambda v: small_cmic(chunk=5).loss(v, random_batch(12), rng=KEY, step=jnp.int32(0), train=True), VARIABLES
        )
