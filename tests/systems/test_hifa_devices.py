"""HIFA trained by jit, on one device or four, and by pmap on four: the same numbers."""

import chex
import jax
import numpy as np
import pytest
from hifa_runs import norm, system_of, variables_of
from small_cmic import optimizer_config
from small_hifa import EVERYTHING, random_batch, small_hifa

from jaxret.training.optimizers import make_optimizer, make_schedule
from jaxret.training.parallel import make_parallel
from jaxret.training.state import create_state
from jaxret.training.step import make_train_step


def train(mode, devices, variables, *, steps=2, **changes):
    """State after some steps, and the metrics of every step."""
    parallel = make_parallel(mode, devices=devices, divided={'batch_size': 8})
    schedule = make_schedule(optimizer_config(learning_rate=0.02), steps)
    optimizer = make_optimizer(optimizer_config(), schedule)
    system = small_hifa(axis_name=parallel.axis_name, **changes)
    step = parallel.compile(make_train_step(system, optimizer, learning_rate=schedule, axis_name=parallel.axis_name))
    state, history = parallel.place_state(create_state(variables, optimizer, seed=3, average=False)), []
    for i in range(steps):
        batch = random_batch(16, 8, seed=i)
        if 'backbone' not in changes:  # padding in two devices' shares
            batch['valid'][-3:], batch['shape_valid'][:3] = i > 0, i > 0
        state, metrics = step(state, parallel.place_batch(batch))
        history.append(jax.device_get(parallel.single(metrics)))
    return jax.device_get(parallel.single(state)), history


@pytest.mark.parametrize(
    'changes,devices',
    [
        (EVERYTHING | {'dropout': 0.5, 'mmd': 'none', 'coral_weight': 0.0}, 1),
        ({'backbone': 'resnet', 'view_pooling': 'conv', 'centroid': 'running_mstn'}, 4),
    ],
    ids=['state', 'batch norm'],
)
def test_devices_do_not_change_the_numbers(changes, devices):
    start = jax.device_get(variables_of(system_of(**changes)))
    state, history = train('jit', devices, start, **changes)
    other, other_history = train('pmap', 4, start, **changes)
    assert not np.allclose(history[0]['loss'], history[1]['loss'])
    chex.assert_trees_all_close(history, other_history, rtol=1e-4, atol=1e-5)
    # Plain SGD: the way travelled is the sum of the gradients.
    way, other_way = (jax.tree.map(np.subtract, moved.params, start['params']) for moved in (state, other))
    assert norm(jax.tree.map(np.subtract, way, other_way)) < 1e-4 * norm(way)
    chex.assert_trees_all_close(state.collections, other.collections, rtol=1e-4, atol=1e-5)
