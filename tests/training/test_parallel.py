"""One device, eight devices under `jit`, eight under `pmap`: the same numbers."""

import chex
import jax
import numpy as np
import optax
import pytest
from small_cmic import optimizer_config, random_batch, small_cmic

from jaxret.errors import ConfigError
from jaxret.training.optimizers import make_optimizer, make_schedule
from jaxret.training.parallel import make_parallel
from jaxret.training.state import create_state
from jaxret.training.step import make_train_step

BATCH = 16


def train(mode, devices, *, steps, color_mode):
    """Parameters after every step, metrics of every step, and the last state."""
    parallel = make_parallel(mode, devices=devices, divided={'batch_size': BATCH})
    config = optimizer_config()
    schedule = make_schedule(config, steps)
    optimizer = make_optimizer(config, schedule)
    variables = jax.jit(small_cmic().init)(jax.random.key(1), random_batch(BATCH))
    system = small_cmic(axis_name=parallel.axis_name, color_mode=color_mode)
    step = parallel.compile(
        make_train_step(system, optimizer, learning_rate=schedule, average_decay=0.9, axis_name=parallel.axis_name)
    )
    state = parallel.place_state(create_state(variables, optimizer, seed=3, average=True))
    history = []
    for i in range(steps):
        state, metrics = step(state, parallel.place_batch(random_batch(BATCH, seed=i)))
        history.append(jax.device_get(parallel.single(metrics)))
    return jax.device_get(parallel.single(state)), history


def relative_error(x, y, origin):
    """|x - y| / |x - origin| of whole trees, in the L2 norm."""
    minus = jax.numpy.subtract
    return optax.tree.norm(jax.tree.map(minus, x, y)) / optax.tree.norm(jax.tree.map(minus, x, origin))


@pytest.mark.parametrize('color_mode,modes', [('lab', ('jit', 'pmap')), ('hsv', ('pmap',))])
def test_devices_do_not_change_the_numbers(color_mode, modes):
    state, history = train('jit', 1, steps=4, color_mode=color_mode)
    assert not np.allclose(history[0]['loss'], history[-1]['loss'])
    for mode in modes:
        other, other_history = train(mode, 8, steps=4, color_mode=color_mode)
        chex.assert_trees_all_close(history, other_history, rtol=1e-5, atol=1e-6)
        # Plain SGD: the way travelled is the sum of the gradients.
        start = jax.device_get(jax.jit(small_cmic().init)(jax.random.key(1), random_batch(BATCH)))
        statistics = {'batch_stats': start['batch_stats']}
        for moved, other_moved, origin in (
            (state.params, other.params, start['params']),
            (state.collections, other.collections, statistics),
            (state.average, other.average, (start['params'], statistics)),
        ):
            assert relative_error(moved, other_moved, origin) < 2e-5


def test_bad_choices_are_refused():
    with pytest.raises(ConfigError, match='jit, pmap'):
        make_parallel('threads', devices=1, divided={'batch_size': 8})
    with pytest.raises(ConfigError, match='there are 8 devices here; set --config.parallel.devices to at most that'):
        make_parallel('jit', devices=9, divided={'batch_size': 9})
    with pytest.raises(ConfigError, match='does not divide over 8'):
        make_parallel('jit', devices=8, divided={'batch_size': 12})
    assert len(make_parallel('jit', devices=0, divided={'batch_size': 12}).devices) == 6
    assert len(make_parallel('jit', devices=0, divided={'batch_size': 12, 'shapes_per_step': 8}).devices) == 4
    assert len(make_parallel('jit', devices=0, divided={}).devices) == 8
    with pytest.raises(ConfigError, match='shapes_per_step: 6 does not divide over 4'):
        make_parallel('jit', devices=4, divided={'batch_size': 12, 'shapes_per_step': 6})
