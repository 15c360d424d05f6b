"""The one train step of the repository."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax

from jaxret.systems.base import Batch, System
from jaxret.training.state import TrainState, moving

TrainStep = Callable[[TrainState, Batch], tuple[TrainState, dict[str, jax.Array]]]


def make_train_step(
    system: System,
    optimizer: optax.GradientTransformation,
    *,
    learning_rate: optax.Schedule,
    average_decay: float = 0.0,
    axis_name: str | None = None,
) -> TrainStep:
    """One update as a pure function; `jaxret.training.parallel` compiles it.

    Randomness is fold_in(key(state.seed), step), so a resumed run draws what an uninterrupted one does.

    Args:
      system: gives the loss.
      optimizer: turns gradients into updates.
      learning_rate: schedule, only to report its value.
      average_decay: decay of the moving average of the variables; 0 keeps none. The first steps use the smaller
        (1 + step) / (10 + step), so that the random start is forgotten.
      axis_name: name of the device axis under `pmap`; None under `jit`, where arrays are global.

    Returns:
      train_step(state, batch) -> (state, metrics); metrics are float32 scalars: loss, gradient_norm, learning_rate
      and what the system reports.
    """

    def train_step(state: TrainState, batch: Batch) -> tuple[TrainState, dict[str, jax.Array]]:
        key = jax.random.fold_in(jax.random.key(state.seed), state.step)

        def loss_of(params: Any) -> tuple[jax.Array, tuple[dict[str, Any], dict[str, jax.Array]]]:
            variables = {'params': params, **state.collections}
            return system.loss(variables, batch, rng=key, step=state.step, train=True, axis_name=axis_name)

        (loss, (collections, report)), gradients = jax.value_and_grad(loss_of, has_aux=True)(state.params)
        collections = {**state.collections, **collections}
        if axis_name is not None:
            gradients = jax.lax.pmean(gradients, axis_name)
        updates, opt_state = optimizer.update(gradients, state.opt_state, state.params)
        params = optax.apply_updates(state.params, updates)
        average = state.average
        if average is not None:
            decay = jnp.minimum(average_decay, (1.0 + state.step) / (10.0 + state.step))
            average = optax.incremental_update((params, moving(collections)), average, 1.0 - decay)
        metrics = {
            'loss': loss,
            'gradient_norm': optax.tree.norm(gradients),
            'learning_rate': jnp.asarray(learning_rate(state.step), jnp.float32),
            **report,
        }
        state = state.replace(
            step=state.step + 1, params=params, collections=collections, opt_state=opt_state, average=average
        )
        return state, metrics

    return train_step
