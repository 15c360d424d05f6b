"""A gradient that is not finite although the loss is; numbers of steps without meaning."""

import jax
import jax.numpy as jnp
import pytest
from small_cmic import optimizer_config, random_batch

from jaxret.errors import ConfigError, NonFiniteError
from jaxret.training.checkpoints import Checkpoints
from jaxret.training.loop import fit
from jaxret.training.optimizers import make_optimizer, make_schedule
from jaxret.training.parallel import make_parallel
from jaxret.training.state import create_state
from jaxret.training.step import make_train_step


class Cliff:
    """sqrt(w - w) at one step: the loss is 0, its gradient is not a number."""

    def __init__(self, at):
        self._at = at

    def loss(self, variables, batch, *, rng, step, train, axis_name=None):
        w = variables['params']['w']
        return jax.lax.cond(step == self._at, lambda w: jnp.sqrt(w - w), jnp.square, w), ({}, {})


def run(workdir, *, at=-1, **changes):
    schedule = make_schedule(optimizer_config(), 8)
    optimizer = make_optimizer(optimizer_config(), schedule)
    with Checkpoints(workdir / 'checkpoints', metric='top1') as checkpoints:
        options = {
            'batches': lambda start, stop: (random_batch(2) for _ in range(start, stop)),
            'evaluate': lambda state: {'top1': 0.5},
            'parallel': make_parallel('jit', devices=1, divided={'batch_size': 2}),
            'checkpoints': checkpoints,
            'workdir': workdir,
            'steps': 8,
            'log_every': 2,
            'checkpoint_every': 4,
            'batch_size': 2,
        }
        state = create_state({'params': {'w': jnp.float32(1.0)}}, optimizer, seed=0, average=False)
        fit(state, make_train_step(Cliff(at), optimizer, learning_rate=schedule), **(options | changes))
        return jax.device_get(checkpoints.restore(state, step=checkpoints.latest_step))


def test_gradient_that_is_not_finite_is_never_saved(tmp_path):
    with pytest.raises(NonFiniteError, match=r'the gradient norm became nan at step 8; .*checkpoints/4;'):
        run(tmp_path, at=7)  # the last step before the checkpoint of step 8
    assert sorted(path.name for path in (tmp_path / 'checkpoints').iterdir()) == ['4']
    assert jnp.isfinite(run(tmp_path).params['w'])  # goes on from there


@pytest.mark.parametrize('name', ['log_every', 'checkpoint_every'])
@pytest.mark.parametrize('value', [0, -3])
def test_intervals_below_one_step_are_refused(tmp_path, name, value):
    with pytest.raises(ConfigError, match=f'config.{name}: {value}'):
        run(tmp_path, **{name: value})
