"""Trains, evaluates and reports one experiment.

  python experiments/run.py --config=NAME[:PRESET] [--config.KEY=VALUE ...] [--workdir=DIR] [--mode=train|eval]

--config     a file of experiments/configs, or a path; PRESET is one of the file's presets (first one by default)
--config.KEY=VALUE
             overrides a key of the config, such as --config.data_dir=DIR or --config.loss.temperature=0.2; the config
             file, and config_groups.py, list all keys with their defaults and meaning
--workdir    where checkpoints, metrics and the report go (default: runs/NAME-PRESET-DATA); the same command again
             resumes there
--mode       train: train (or resume), then evaluate the best checkpoint on the test split and write the report
             eval: only evaluate and report; the config is the workdir's (--config is not needed), and only what is
             evaluated can be overridden (see below)

Without --config.data_dir a synthetic sample is made in the cache folder and used.

While it trains, a first Ctrl-C (or SIGTERM) saves at the next multiple of log_every steps and ends with status 0; the
same command goes on from there. Interrupted at another time, it ends with 130 (Ctrl-C) or 143 (SIGTERM). Errors: 1.
"""

import argparse
import importlib
import sys
from pathlib import Path
from types import ModuleType

from config_files import (
    apply_overrides,
    cache_folder,
    check_keys,
    config_names,
    covers,
    flatten,
    load_config,
    presets,
    split_overrides,
)
from interruption import Terminated, exit_status, terminated_as_interrupted
from ml_collections import ConfigDict
from workdir import EVALUATION, check_folders, locked, store_config, stored_config

from jaxret.compiled_programs import keep_programs
from jaxret.errors import ConfigError, JaxretError
from jaxret.run_config import unflatten

# Modules beside this file that `config.experiment` may name.
EXPERIMENTS = ('photo_to_shape', 'cross_modal', 'domain_adaptation', 'scan_to_cad')


def main(arguments: list[str]) -> int:
    """Runs the command line; returns the exit status."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    parser.add_argument('--config', default='')
    parser.add_argument('--workdir', default='')
    parser.add_argument('--mode', default='train')
    parser.add_argument('-h', '--help', action='store_true')
    try:
        known, rest = parser.parse_known_args(arguments)
        if known.help:
            print(_help())
            return 0
        overrides = split_overrides(rest)
        if known.mode not in ('train', 'eval'):
            raise ConfigError(f'--mode={known.mode}: use train or eval')
        with terminated_as_interrupted():
            return (_train if known.mode == 'train' else _evaluate)(known.config, known.workdir, overrides)
    except (JaxretError, argparse.ArgumentError) as error:
        print(f'error: {error}', file=sys.stderr)
        return 1
    except KeyboardInterrupt as stop:  # outside the train loop, which saves and ends by itself
        what = 'terminated' if isinstance(stop, Terminated) else 'interrupted'
        print(f'{what}; the same command starts again', file=sys.stderr)
        return exit_status(stop)


def _help() -> str:
    configs = '\n'.join(f'  {name:<14} {", ".join(presets(name))}' for name in config_names())
    keys, groups = [], []
    for key in EVALUATION:
        grouped = any(other.startswith(f'{key}.') for name in config_names() for other in flatten(load_config(name)[0]))
        (groups if grouped else keys).append(key)
    return (f'{__doc__}\nConfigs and their presets:\n{configs}\n\nWhat --mode=eval can override: {", ".join(keys)}, '
            f'and the keys of {", ".join(groups)}.')


def _train(name: str, workdir: str, overrides: dict[str, str]) -> int:
    """Trains or resumes; refuses a work directory of another config, or in which another process trains."""
    if not name:
        raise ConfigError(f'--config is missing; use --config=NAME with one of {", ".join(config_names())}')
    config, short = load_config(name)
    check_keys(flatten(config), f'--config={name}')
    apply_overrides(config, overrides)
    data = Path(config.data_dir).name if config.data_dir else 'sample'
    folder = Path(workdir) if workdir else Path('runs') / f'{short}-{data}'
    with locked(folder):
        store_config(config, folder)
        check_folders(folder)
        return _experiment(config).run(config, folder, train=True)


def _evaluate(name: str, workdir: str, overrides: dict[str, str]) -> int:
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
            raise ConfigError(f'--config={name}: {workdir} holds a {stored["experiment"]} experiment; leave --config '
                              f'out')
    for key in overrides:
        if key in stored and not covers(EVALUATION, key):
            raise ConfigError(f'--config.{key}: cannot change in --mode=eval; these, and the keys of these groups, '
                              f'can: {", ".join(EVALUATION)}')
    config = unflatten(stored)
    apply_overrides(config, overrides)
    check_folders(path.parent)
    return _experiment(config).run(config, path.parent, train=False)


def _experiment(config: ConfigDict) -> ModuleType:
    """The module that runs a config; only those of this folder, whatever a config file says."""
    if config.experiment not in EXPERIMENTS:
        raise ConfigError(f'config.experiment: {config.experiment!r} is not one of {", ".join(EXPERIMENTS)}')
    keep_programs(cache_folder(config).absolute())
    return importlib.import_module(config.experiment)


if __name__ == '__main__':
    sys.exit(main(sys.argv[1:]))
