"""Trains, evaluates and reports one experiment.

  python experiments/run.py --config=NAME[:PRESET] [--config.KEY=VALUE ...] [--workdir=DIR] [--mode=train|eval]
                            [--report=yes|no]
                            [--coordinator=auto|HOST:PORT --num_processes=N --process_id=I]

--config     a file of experiments/configs, or a path; PRESET is one of the file's presets (first one by default)
--config.KEY=VALUE
             overrides a key of the config, such as --config.data_dir=DIR or --config.loss.temperature=0.2; the config
             file, and configs/_groups.py, list all keys with their defaults and meaning
--workdir    where checkpoints, metrics and the report go (default: runs/NAME-PRESET-DATA); the same command again
             resumes there
--mode       train: train (or resume), then evaluate the best checkpoint on the test split and write the report
             eval: only evaluate and report, in WORKDIR/evaluations; the config is the workdir's (--config is not
             needed), and only what is evaluated can be overridden (see below)
--report     no: without report/, for many runs of which the numbers alone are looked at; --mode=eval draws it later
--coordinator, --num_processes, --process_id
             the same command runs in N processes, on one host or more, which train one model together; I is 0 .. N - 1,
             HOST:PORT a free port of process 0. With auto, SLURM, Open MPI or Kubernetes tell all three. Work directory
             and cache must be the same folders for all

Without --config.data_dir a synthetic sample is made in the cache folder and used.

While it trains, a first Ctrl-C (or SIGTERM) saves at the next multiple of log_every steps, says which that is, and ends
with status 0; the same command goes on from there. Interrupted at another time, it ends with 130 (Ctrl-C) or 143
(SIGTERM). Errors: 1.
"""

import argparse
import contextlib
import os
import shutil
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from interruption import run_command, says_errors
from ml_collections import ConfigDict
from overrides import (
    apply_overrides,
    cache_folder,
    check_changes,
    check_keys,
    config_names,
    load_config,
    presets,
    split_overrides,
)
from training_packages import check_training_packages

from data_pipelines.folders import open_folder
from jaxret.compilation_cache import keep_programs
from jaxret.errors import ConfigError, DataError, StorageError
from jaxret.files import escape_missing_letters, unwritable
from jaxret.platforms import check_platforms, quiet_libraries
from jaxret.runs.config import covers, flatten, unflatten
from jaxret.runs.workdir import EVALUATION, check_folders, has_checkpoints, locked, store_config, stored_config


@says_errors
def main(arguments: list[str]) -> int:
    """Runs the command line; returns the exit status."""
    escape_missing_letters()
    quiet_libraries()
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    parser.add_argument('--config', default='')
    parser.add_argument('--workdir', default='')
    parser.add_argument('--mode', default='train')
    parser.add_argument('--report', default='yes')
    parser.add_argument('--coordinator', default='')
    parser.add_argument('--num_processes', type=int)
    parser.add_argument('--process_id', type=int)
    parser.add_argument('-h', '--help', action='store_true')
    known, rest = parser.parse_known_args(arguments)
    if known.help:
        print(_help())
        return 0
    overrides = split_overrides(rest)
    if known.mode not in ('train', 'eval'):
        raise ConfigError(f'--mode={known.mode}: use train or eval')
    if known.report not in ('yes', 'no'):
        raise ConfigError(f'--report={known.report}: use yes or no')
    together, report = _checked_processes(known), known.report == 'yes'
    check_training_packages()
    if known.mode == 'train':
        return _train(known.config, known.workdir, overrides, together, report=report)
    return _evaluate(known.config, known.workdir, overrides, report=report)


def _help() -> str:
    configs = '\n'.join(f'  {name:<14} {", ".join(presets(name))}' for name in config_names())
    keys, groups = [], []
    for key in EVALUATION:
        grouped = any(other.startswith(f'{key}.') for name in config_names() for other in flatten(load_config(name)[0]))
        (groups if grouped else keys).append(key)
    return (
        f'{__doc__}\nConfigs and their presets:\n{configs}\n\nWhat --mode=eval can override: {", ".join(keys)}, '
        f'and the keys of {", ".join(groups)}.'
    )


def _checked_processes(known: argparse.Namespace) -> tuple[str, int | None, int | None] | None:
    """Arguments of `several_processes`; None for one process alone."""
    coordinator, count, index = known.coordinator, known.num_processes, known.process_id
    if not coordinator:
        if count is not None or index is not None:
            raise ConfigError('--num_processes and --process_id need --coordinator=HOST:PORT, the address of process 0')
        return None
    if known.mode == 'eval':
        raise ConfigError('--mode=eval runs in one process; leave --coordinator out')
    if coordinator == 'auto':
        if count is not None or index is not None:
            raise ConfigError(
                '--coordinator=auto finds number and id of the process itself; leave --num_processes and '
                '--process_id out, or give HOST:PORT'
            )
    elif ':' not in coordinator or count is None or index is None or not 0 <= index < count:
        raise ConfigError(
            f'--coordinator={coordinator}: give HOST:PORT of process 0, --num_processes=N and --process_id=0 .. N - 1'
        )
    return coordinator, count, index


@contextlib.contextmanager
def _joined(together: tuple[str, int | None, int | None] | None) -> Iterator[bool]:
    """Joins the other processes of the run, if there are any; gives whether this one is the first, which writes."""
    if together is None:
        yield True
        return
    from console import console

    from jaxret.training.processes import is_first, several_processes

    with several_processes(*together):
        console.quiet = not is_first()
        yield is_first()


def _train(
    name: str,
    workdir: str,
    overrides: dict[str, str],
    together: tuple[str, int | None, int | None] | None,
    *,
    report: bool,
) -> int:
    """Trains or resumes; refuses a work directory of another config, or in which another process trains."""
    if not name:
        raise ConfigError(f'--config is missing; use --config=NAME with one of {", ".join(config_names())}')
    config, short = load_config(name)
    preset = flatten(config)
    check_keys(preset, f'--config={name}')
    apply_overrides(config, overrides)
    if flatten(config).get('evaluation.photos') == 'all':
        raise ConfigError('config.evaluation.photos: all is for --mode=eval; a run ends with its test photos')
    data = Path(config.data_dir).name if config.data_dir else 'sample'
    folder = Path(workdir) if workdir else Path('runs') / f'{short}-{data}'
    _check_folders(config, folder)
    if not has_checkpoints(folder):  # what a run was begun with stays
        _check_changes(preset, config)
    new, above = together is None and not folder.exists(), not folder.parent.exists()
    try:
        with _joined(together) as first, locked(folder) if first else contextlib.nullcontext():
            if first:
                store_config(config, folder)
                check_folders(folder)
            return _run(config, folder, train=True, report=report)
    except (ConfigError, DataError):  # nothing was trained
        if new and not has_checkpoints(folder):
            shutil.rmtree(folder, ignore_errors=True)
            if above:
                with contextlib.suppress(OSError):  # others are there
                    folder.parent.rmdir()
        raise


def _evaluate(name: str, workdir: str, overrides: dict[str, str], *, report: bool) -> int:
    """Evaluates with the config that a work directory was trained with, changed only in what is evaluated."""
    if not workdir:
        raise ConfigError('--mode=eval needs --workdir=DIR, the work directory of a training run')
    path = Path(workdir) / 'config.json'
    if not path.exists():
        raise ConfigError(f'{path}: no such file; --workdir must be the work directory of a training run')
    stored = stored_config(path)
    check_keys(stored, str(path))
    if name:
        flat = flatten(load_config(name)[0])
        check_keys(flat, f'--config={name}')
        if flat['experiment'] != stored['experiment']:
            raise ConfigError(
                f'--config={name}: {workdir} holds a {stored["experiment"]} experiment; leave --config out'
            )
    for key in overrides:
        if key in stored and not covers(EVALUATION, key):
            raise ConfigError(
                f'--config.{key}: cannot change in --mode=eval; these, and the keys of these groups, '
                f'can: {", ".join(EVALUATION)}'
            )
    config = unflatten(stored)
    before = flatten(config)
    apply_overrides(config, overrides)
    _check_folders(config, path.parent)
    _check_changes(before, config)
    check_folders(path.parent)
    return _run(config, path.parent, train=False, report=report)


def _check_folders(config: ConfigDict, workdir: Path) -> None:
    """Refuses folders that are not there or cannot be written, before anything slow is imported or anything is made."""
    for option, folder in (('--workdir', workdir), ('--config.cache_dir', cache_folder(config))):
        if reason := unwritable(folder):
            raise StorageError(f'{folder}: cannot be written ({reason}); name another {option}')
    if config.data_dir:
        open_folder(config.data_dir, layout='the layout that the first lines of the config file describe')
    keep_programs(cache_folder(config).absolute())


def _check_changes(before: Mapping[str, Any], config: ConfigDict) -> None:
    """Refuses changed keys that the config's task would not read; loads the task only where something changed."""
    now = flatten(config)
    if now == before:
        return
    from experiment import task_class

    task = task_class(config.experiment)
    check_changes(before, now, of_data_dir=task.OF_DATA_DIR, of_layout=task.OF_LAYOUT)


def _run(config: ConfigDict, workdir: Path, *, train: bool, report: bool) -> int:
    """Runs the experiment, whose imports take seconds: errors of the command come before."""
    check_platforms()
    from experiment import run

    return run(config, workdir, train=train, report=report)


def _leave(status: int) -> None:
    """Ends this process. One that leaves others behind does so at once: an ordinary end would wait for them."""
    jax = sys.modules.get('jax')
    if jax and jax.distributed.is_initialized():
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)
    sys.exit(status)


if __name__ == '__main__':
    _leave(run_command(main))
