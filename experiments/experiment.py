"""What every experiment does between its data and its evaluation: initialise, train or resume, restore the best."""

import os
import platform
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, nullcontext
from importlib.metadata import version
from pathlib import Path

import jax
import numpy as np
from console import console, print_banner
from ml_collections import ConfigDict

from data_pipelines.batching import Share
from data_pipelines.tensorboard import ScalarWriter
from jaxret.errors import CheckpointError, ConfigError
from jaxret.geometry.render import ViewRing
from jaxret.runs.config import flatten
from jaxret.runs.workdir import has_checkpoints
from jaxret.systems.base import System, Variables
from jaxret.training.checkpoints import Checkpoints
from jaxret.training.logging import read_history
from jaxret.training.loop import fit
from jaxret.training.optimizers import check_optimizer, make_grouped_optimizer
from jaxret.training.parallel import Parallel
from jaxret.training.processes import is_first
from jaxret.training.state import TrainState, count_parameters, create_state
from jaxret.training.step import make_train_step
from jaxret.workers import default_processes

Batch = Mapping[str, np.ndarray]


def check_training_values(
    config: ConfigDict,
    *,
    positive: Sequence[str] = (),
    not_negative: Sequence[str] = (),
    fractions: Sequence[str] = (),
    choices: Mapping[str, Sequence[str]] | None = None,
) -> None:
    """Refuses values that would fail only after long work.

    Args:
      config: with the keys that every experiment has.
      positive: further keys that must be above 0; of a tuple, every element.
      not_negative: further keys that must be 0 or above.
      fractions: further keys that must be in [0, 1).
      choices: further keys with their valid values.

    Raises:
      ConfigError: such a value.
    """
    flat = flatten(config)
    rules = {
        'above 0': (
            lambda x: x > 0,
            ('batch_size', 'epochs', 'log_every', 'checkpoint_every', 'optimizer.learning_rate', *positive),
        ),
        '0 or above': (
            lambda x: x >= 0,
            ('processes', 'parallel.devices', 'optimizer.weight_decay', 'optimizer.clip_norm', *not_negative),
        ),
        'at least 0 and below 1': (
            lambda x: 0 <= x < 1,
            ('optimizer.b1', 'optimizer.b2', 'optimizer.momentum', 'optimizer.average_decay', *fractions),
        ),
        'a number of 32 bits': (lambda x: -(2**31) <= x < 2**31, ('seed',)),
    }
    for rule, (valid, keys) in rules.items():
        for key in keys:
            if not all(valid(value) for value in (flat[key] if isinstance(flat[key], tuple) else (flat[key],))):
                raise ConfigError(f'config.{key}: {flat[key]!r} must be {rule}')
    meshes = {'data.up_axis': ('y', 'z')} if 'data.up_axis' in flat else {}
    for key, names in {'on_bad_file': ('error', 'skip'), **meshes, **(choices or {})}.items():
        if flat[key] not in names:
            raise ConfigError(f'config.{key}: {flat[key]!r} is not one of {", ".join(names)}')
    check_optimizer(config.optimizer, group='optimizer')


def view_ring(config: ConfigDict, size_key: str) -> ViewRing:
    """The cameras and light of the config's group `render`.

    Args:
      config: with that group.
      size_key: the key that gives the side of the pictures.

    Raises:
      ConfigError: a value out of range, with its key.
    """
    try:
        return ViewRing(size=flatten(config)[size_key], **config.render.to_dict())
    except ConfigError as error:
        key = size_key if error.name == 'size' else f'render.{error.name}'
        raise ConfigError(f'config.{key}: {error.message}') from None


def check_workdir_has_checkpoints(workdir: Path) -> None:
    """Raises CheckpointError where there is nothing to evaluate."""
    if not has_checkpoints(workdir):
        raise CheckpointError(f'{workdir / "checkpoints"}: no checkpoints; train with this --workdir first')


def trained_state(
    config: ConfigDict,
    workdir: Path,
    *,
    train: bool,
    parallel: Parallel,
    make_system: Callable[[str | None], System],
    example: Batch,
    batches: Callable[[int, int], Iterator[Batch]],
    evaluate: Callable[[TrainState], dict[str, float]],
    metric: str,
    steps: int,
    title: str,
    facts: Mapping[str, str],
    parameter_groups: Mapping[str, ConfigDict] | None = None,
    start: Callable[[Variables], Variables] | None = None,
) -> TrainState | None:
    """Prints the banner, trains (or resumes) and restores the best checkpoint.

    Args:
      config: with the keys of `check_training_values` and a seed.
      workdir: holds checkpoints, metrics.jsonl and TensorBoard events.
      train: False only restores.
      parallel: devices and mode.
      make_system: the system for a device axis name (None: global arrays).
      example: a batch of the shapes to come; one item of each is enough.
      batches: (start, stop) -> the batches of those steps, of each `process_share`.
      evaluate: held-out metrics of a state.
      metric: the one of them that picks the checkpoint; higher is better.
      steps: length of the run.
      title: of the banner.
      facts: rows of the banner about the data.
      parameter_groups: optimizer config of top-level parameters that have one of their own.
      start: from the initial variables to those that a new run starts with; None for the same.

    Returns:
      The state of the best checkpoint; None where a signal stopped the training, and in all processes but the first:
      what remains to be done, to measure and to write, it does alone.

    Raises:
      CheckpointError: nothing to restore.
    """
    optimizer, schedule = make_grouped_optimizer(config.optimizer, max(1, steps), parameter_groups or {})
    variables = jax.jit(make_system(None).init)(jax.random.key(config.seed), example)
    if start is not None and train and not has_checkpoints(workdir):
        variables = start(variables)
    state = create_state(variables, optimizer, seed=config.seed, average=config.optimizer.average_decay > 0)
    print_banner(
        title,
        {
            **facts,
            'parameters': f'{count_parameters(state.params):,}, {config.model.dtype}',
            'devices': _devices(parallel),
            'steps': f'{steps:,} of batch size {config.batch_size}' if train else 'evaluation only',
            'workdir': str(workdir),
        },
    )
    with Checkpoints(workdir / 'checkpoints', metric=metric, read_only=not train) as checkpoints:
        if train:
            step = make_train_step(
                make_system(parallel.axis_name),
                optimizer,
                learning_rate=schedule,
                average_decay=config.optimizer.average_decay,
                axis_name=parallel.axis_name,
            )
            with closing(ScalarWriter(workdir / 'tensorboard')) if is_first() else nullcontext() as writer:
                finished = fit(
                    state,
                    step,
                    batches=batches,
                    evaluate=evaluate,
                    parallel=parallel,
                    checkpoints=checkpoints,
                    workdir=workdir,
                    steps=steps,
                    log_every=config.log_every,
                    checkpoint_every=config.checkpoint_every,
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


def checkpoint_note(workdir: Path, step: int, *, metric: str, held_out: str) -> str:
    """How the evaluated checkpoint was chosen, for the report.

    Args:
      workdir: of the run.
      step: of the checkpoint.
      metric: held-out metric that picks the checkpoint.
      held_out: on what it was measured ('12 held-out training photos').
    """
    if any(line['step'] == step and metric in line for line in read_history(workdir / 'metrics.jsonl')):
        return f'Checkpoint of step {step}, best {metric.removeprefix("val_")} on {held_out}.'
    return f'Checkpoint of step {step}: the newest checkpoint, not evaluated on {held_out}.'


def process_share() -> Share:
    """What this process reads of every training batch."""
    return Share(jax.process_index(), jax.process_count())


def processes(config: ConfigDict) -> int:
    """Worker processes of a config: its own number, or one a core."""
    return config.processes or default_processes()


def provenance(
    config: ConfigDict, data_dir: Path, parallel: Parallel, *, synthetic: bool, started: float
) -> dict[str, str | bool]:
    """What ran on what, for the report; `started` is `time.monotonic()` at the start."""
    packages = ' '.join(f'{name} {version(name)}' for name in ('jaxret', 'jax', 'flax', 'optax'))
    return {
        'synthetic': synthetic,
        'Data': str(data_dir),
        'Seed': str(config.seed),
        'Software': f'Python {platform.python_version()}, {packages}',
        'Devices': f'{_devices(parallel)}, {os.cpu_count()} CPU cores',
        'Time': f'{time.monotonic() - started:.0f} s for this command',
    }


def _devices(parallel: Parallel) -> str:
    several = f', {jax.process_count()} processes' if jax.process_count() > 1 else ''
    return f'{len(parallel.devices)} x {parallel.devices[0].device_kind} ({parallel.mode}{several})'
