"""Optimizers and learning-rate schedules by name."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import optax
from ml_collections import ConfigDict

from jaxret.errors import ConfigError

OPTIMIZERS = ('adam', 'sgd')
Scope = tuple[str, ...]  # modules from the top of the parameters
SCHEDULES = ('constant', 'cosine', 'steps', 'inverse')


def make_schedule(config: ConfigDict, steps: int, *, group: str = 'optimizer') -> optax.Schedule:
    """Learning rate by step.

    Args:
      config: learning_rate, schedule ('constant' | 'cosine' | 'steps' | 'inverse'), warmup (share of all steps, linear
        from 0). 'steps' also has decay_every (steps after the warm-up) and decay_factor, by which every drop
        multiplies. 'inverse' is learning_rate (1 + 10 p)^-0.75, p the share of the steps after the warm-up (Ganin and
        Lempitsky, ICML 2015).
      steps: length of the run.
      group: name of the config group, for errors.

    Raises:
      ConfigError: unknown schedule, warm-up outside 0..1, drops that are none.
    """
    if config.schedule not in SCHEDULES:
        raise ConfigError(f'config.{group}.schedule: {config.schedule!r} is not one of {", ".join(SCHEDULES)}')
    if not 0 <= config.warmup < 1:
        raise ConfigError(f'config.{group}.warmup: {config.warmup} is not a share of the steps in [0, 1)')
    warmup = round(config.warmup * steps)
    if config.schedule == 'constant':
        main = optax.constant_schedule(config.learning_rate)
    elif config.schedule == 'steps':
        if config.decay_every < 1 or not 0 < config.decay_factor < 1:
            raise ConfigError(
                f'config.{group}.decay_every, decay_factor: {config.decay_every}, '
                f'{config.decay_factor}; give 1 step or more, and a factor between 0 and 1'
            )
        main = optax.exponential_decay(config.learning_rate, config.decay_every, config.decay_factor, staircase=True)
    elif config.schedule == 'inverse':
        main = _inverse(config.learning_rate, max(1, steps - warmup))
    else:
        main = optax.cosine_decay_schedule(config.learning_rate, max(1, steps - warmup))
    if warmup == 0:
        return main
    # From lr / warmup, not 0: a first step of length 0 would be lost.
    rise = optax.linear_schedule(config.learning_rate / warmup, config.learning_rate, warmup - 1)
    return optax.join_schedules([rise, main], [warmup])


def _inverse(learning_rate: float, steps: int) -> optax.Schedule:
    return lambda step: learning_rate * (1 + 10 * jnp.minimum(step / steps, 1.0)) ** -0.75


def make_optimizer(
    config: ConfigDict, schedule: optax.Schedule, *, group: str = 'optimizer'
) -> optax.GradientTransformation:
    """Adam (decoupled weight decay) or SGD with momentum, after optional clipping by global norm.

    Weight decay leaves biases and normalisation parameters (rank below 2) alone.

    Args:
      config: name, b1, b2 (Adam), momentum, nesterov (SGD), weight_decay, clip_norm (0: none).
      schedule: learning rate by step.
      group: name of the config group, for errors.

    Raises:
      ConfigError: unknown optimizer.
    """
    if config.name not in OPTIMIZERS:
        raise ConfigError(f'config.{group}.name: {config.name!r} is not one of {", ".join(OPTIMIZERS)}')
    chain = [optax.clip_by_global_norm(config.clip_norm)] if config.clip_norm > 0 else []
    decay = []
    if config.weight_decay > 0:
        decay = [
            optax.add_decayed_weights(
                config.weight_decay, mask=lambda params: jax.tree.map(lambda x: x.ndim > 1, params)
            )
        ]
    if config.name == 'adam':
        chain += [optax.scale_by_adam(config.b1, config.b2), *decay]
    else:
        chain += [*decay, optax.trace(config.momentum, nesterov=config.nesterov)] if config.momentum > 0 else decay
    return optax.chain(*chain, optax.scale_by_learning_rate(schedule))


def check_optimizer(config: ConfigDict, *, group: str) -> None:
    """Raises ConfigError, which names the config group, where a run would for `make_schedule` and `make_optimizer`."""
    make_optimizer(config, make_schedule(config, 1, group=group), group=group)


def make_grouped_optimizer(
    config: ConfigDict,
    steps: int,
    groups: Mapping[str, ConfigDict],
    *,
    slower: Mapping[tuple[str, ...], float] | None = None,
) -> tuple[optax.GradientTransformation, optax.Schedule]:
    """The optimizer of a run, where some top-level parameters may have one of their own (the centers of center losses).

    Args:
      config: of the optimizer of all other parameters.
      steps: length of the run.
      groups: optimizer config by top-level name in the parameters.
      slower: factors of the updates below some modules (of networks that start from published weights).

    Returns:
      The optimizer, and the schedule of the main one.

    Raises:
      ConfigError: as `make_schedule` and `make_optimizer`.
    """
    schedule = make_schedule(config, steps)
    optimizer = make_optimizer(config, schedule)
    if groups:
        own = {name: make_optimizer(group, make_schedule(group, steps)) for name, group in groups.items()}

        def labels(params: optax.Params) -> dict[str, str]:
            return {name: name if name in own else '' for name in params}

        optimizer = optax.multi_transform({'': optimizer, **own}, labels)
    factors = {scope: factor for scope, factor in (slower or {}).items() if factor != 1}
    if factors:
        optimizer = optax.chain(optimizer, _scaled(factors))
    return optimizer, schedule


def _scaled(factors: Mapping[Scope, float]) -> optax.GradientTransformation:
    """Updates below some modules, times the factors of these."""

    def scale(updates: optax.Updates, params: optax.Params | None = None) -> optax.Updates:
        del params

        def one(path: tuple[Any, ...], update: jax.Array) -> jax.Array:
            names = tuple(entry.key for entry in path)
            for scope, factor in factors.items():
                if names[: len(scope)] == scope:
                    return update * factor
            return update

        return jax.tree_util.tree_map_with_path(one, updates)

    return optax.stateless(scale)
