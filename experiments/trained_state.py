"""Initialise, train or resume, restore the best checkpoint: what every experiment does between data and evaluation."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, nullcontext
from functools import partial
from pathlib import Path

import jax
from console import console, print_banner
from ml_collections import ConfigDict
from scalar_writer import ScalarWriter

from jaxret.errors import CheckpointError
from jaxret.runs.config import flatten, selection_metric
from jaxret.runs.workdir import has_checkpoints
from jaxret.systems.base import Batch, System, Variables
from jaxret.training.checkpoints import Checkpoints
from jaxret.training.loop import fit
from jaxret.training.optimizers import make_grouped_optimizer
from jaxret.training.parallel import Parallel
from jaxret.training.processes import is_first
from jaxret.training.state import TrainState, count_parameters, create_state
from jaxret.training.step import make_train_step


def trained_state(
    config: ConfigDict,
    workdir: Path,
    *,
    train: bool,
    parallel: Parallel,
    make_system: Callable[..., System],
    example: Batch,
    batches: Callable[[int, int], Iterator[Batch]],
    evaluate: Callable[[TrainState], Mapping[str, float]],
    steps: int,
    watched: int,
    title: str,
    facts: Mapping[str, str],
    parameter_groups: Mapping[str, ConfigDict],
    start: Callable[[Variables], Variables] | None,
    freeze: Callable[[Variables], None],
) -> TrainState | None:
    """Prints the banner, trains (or resumes) and restores the best checkpoint.

    Args:
      config: with the keys that every experiment has.
      workdir: holds checkpoints, metrics.jsonl and TensorBoard events.
      train: False only restores.
      parallel: devices and mode.
      make_system: the system for a device `axis_name` (None: global arrays).
      example: a batch of the shapes to come; one item of each is enough.
      batches: (start, stop) -> the batches of those steps, of each `process_share`.
      evaluate: held-out metrics of a state.
      steps: length of the run.
      watched: a step after which `evaluate` is called too, without a checkpoint; 0 for none.
      title: of the banner.
      facts: rows of the banner about the data.
      parameter_groups: optimizer config of top-level parameters that have one of their own.
      start: from the initial variables to those that a new run starts with; None for the same.
      freeze: called with variables, of which a part is frozen, before batches are read and anything is embedded.

    Returns:
      The state of the best checkpoint; None where a signal stopped the training, and in all processes but the first:
      what remains to be done, to measure and to write, it does alone.

    Raises:
      CheckpointError: nothing to restore.
    """
    system = make_system(axis_name=None)
    slower = {
        backbone.scope: config.optimizer.pretrained_factor
        for name, backbone in system.BACKBONES.items()
        if config.pretrained[name]
    }
    optimizer, schedule = make_grouped_optimizer(config.optimizer, max(1, steps), parameter_groups, slower=slower)
    initial = partial(jax.jit(system.init), jax.random.key(config.seed), example)
    variables = initial() if train else jax.eval_shape(initial)
    if start is not None and train and not has_checkpoints(workdir):
        variables = start(variables)
    decay = config.optimizer.average_decay
    create = partial(create_state, optimizer=optimizer, seed=config.seed, average=decay > 0)
    state = create(variables) if train else jax.eval_shape(create, variables)
    print_banner(
        title,
        {
            **facts,
            'parameters': f'{count_parameters(state.params):,}, {config.model.dtype}',
            'devices': device_text(parallel),
            'steps': f'{steps:,} of batch size {config.batch_size}' if train else 'evaluation only',
            'workdir': str(workdir),
        },
    )

    def held_out(state: TrainState) -> dict[str, float]:
        return {'progress': int(state.step) / steps, **evaluate(state)}  # by which select='last' goes

    metric = selection_metric(config)
    with Checkpoints(workdir / 'checkpoints', metric=metric, read_only=not train) as checkpoints:
        newest = checkpoints.latest_step
        if 'frozen' in variables and (train or newest):
            freeze((checkpoints.restore(state, step=newest) if newest else state).variables)
        if train and newest:
            console.print(f'resumes after step {newest:,} of {steps:,}' if newest < steps else 'trained already')
        if train:
            step = make_train_step(
                make_system(axis_name=parallel.axis_name),
                optimizer,
                learning_rate=schedule,
                average_decay=decay,
                axis_name=parallel.axis_name,
            )
            events = workdir / 'tensorboard'
            with closing(ScalarWriter(events, flatten(config))) if is_first() else nullcontext() as writer:
                finished = fit(
                    state,
                    step,
                    batches=batches,
                    evaluate=held_out,
                    parallel=parallel,
                    checkpoints=checkpoints,
                    workdir=workdir,
                    steps=steps,
                    log_every=config.log_every,
                    checkpoint_every=config.checkpoint_every,
                    watched=watched,
                    batch_size=config.batch_size,
                    on_log=lambda step, line: writer.write_scalars(step, line),
                )
            if not finished:
                console.print(f'stopped at step {checkpoints.latest_step}; the same command goes on from there')
                return None
        best = checkpoints.best_step
        if best is None:
            raise CheckpointError(f'{workdir / "checkpoints"}: no checkpoint; train with this --workdir first')
        state = checkpoints.restore(state, step=best)
        return state if is_first() else None


def device_text(parallel: Parallel) -> str:
    """'8 x cpu (jit)'."""
    several = f', {jax.process_count()} processes' if jax.process_count() > 1 else ''
    return f'{len(parallel.devices)} x {parallel.devices[0].device_kind} ({parallel.mode}{several})'
