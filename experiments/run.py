"""Trains, evaluates and reports one experiment.

  python experiments/run.py --config=NAME[:PRESET] [--config.KEY=VALUE ...] [--workdir=DIR] [--mode=train|eval]

--config     a file of experiments/configs, or a path; PRESET is one of the file's presets (first one by default)
--config.KEY=VALUE
             overrides a key of the config, such as --config.data_dir=DIR or --config.loss.temperature=0.2; the config
             file lists all keys with their defaults and meaning
--workdir    where checkpoints, metrics and the report go (default: runs/NAME-PRESET-DATA); the same command again
             resumes there
--mode       train: train (or resume), then evaluate the best checkpoint on the test split and write the report
             eval: only evaluate and report; the config is the workdir's (--config is not needed), of which `data_dir`
             and the keys of `data`, `render` and `evaluation` may be overridden

Without --config.data_dir a synthetic sample is made in the cache folder and used. A first Ctrl-C (or SIGTERM) saves
and stops; the same command goes on from there.
"""

import argparse
import importlib
import json
import os
import sys
from pathlib import Path
from types import ModuleType

from config_files import (
    apply_overrides,
    cache_folder,
    changed_keys,
    config_names,
    flatten,
    load_config,
    split_overrides,
    unflatten,
)
from ml_collections import ConfigDict

from jaxret.errors import ConfigError, JaxretError
from jaxret.files import storage_errors, write_atomically

EXPERIMENTS = ('photo_to_shape',)  # modules beside this file that `config.experiment` may name
# Keys that may differ between a work directory and a run that resumes it: where things are, and what is looked at.
FREE = ('cache_dir', 'processes', 'parallel.devices', 'parallel.mode', 'evaluation.batch_size',
        'evaluation.shape_metrics')
EVALUATION_GROUPS = ('data', 'render', 'evaluation', 'sample')
EVALUATION_KEYS = ('data_dir', 'cache_dir', 'on_bad_file', 'processes')


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
            print(f'{__doc__}\nConfigs: {", ".join(config_names())}')
            return 0
        overrides = split_overrides(rest)
        if known.mode == 'train':
            config, workdir = _training_config(known.config, known.workdir, overrides)
        elif known.mode == 'eval':
            config, workdir = _evaluation_config(known.config, known.workdir, overrides)
        else:
            raise ConfigError(f'--mode={known.mode}: use train or eval')
        return _experiment(config).run(config, workdir, train=known.mode == 'train')
    except (JaxretError, argparse.ArgumentError) as error:
        print(f'error: {error}', file=sys.stderr)
        return 1
    except KeyboardInterrupt:  # outside the train loop, which saves and ends by itself
        print('interrupted; the same command starts again', file=sys.stderr)
        return 130


def _training_config(name: str, workdir: str, overrides: dict[str, str]) -> tuple[ConfigDict, Path]:
    """The config of a run, stored in its work directory; refuses a work directory of another config."""
    if not name:
        raise ConfigError(f'--config is missing; use --config=NAME with one of {", ".join(config_names())}')
    config, short = load_config(name)
    apply_overrides(config, overrides)
    data = Path(config.data_dir).name if config.data_dir else 'sample'
    folder = Path(workdir) if workdir else Path('runs') / f'{short}-{data}'
    path = folder / 'config.json'
    with storage_errors(folder):
        exists = path.exists()
    differing = changed_keys(_stored_config(path), flatten(config), free=FREE) if exists else []
    if differing and any(entry.name.isdigit() for entry in (folder / 'checkpoints').glob('*')):
        raise ConfigError(f'{folder} was made with another config:\n  ' + '\n  '.join(differing)
                          + '\nuse the same values to resume, or name another --workdir')
    if differing or not exists:  # a run that failed before its first checkpoint leaves nothing to resume
        with storage_errors(folder):
            (folder / 'split.json').unlink(missing_ok=True)
        write_atomically(path, json.dumps(flatten(config), indent=2) + '\n')
    return config, folder


def _experiment(config: ConfigDict) -> ModuleType:
    """The module that runs a config; only those of this folder, whatever a config file says."""
    if config.experiment not in EXPERIMENTS:
        raise ConfigError(f'config.experiment: {config.experiment!r} is not one of {", ".join(EXPERIMENTS)}')
    # TensorFlow and matplotlib would leave files in the home folder; both look at these when they are imported.
    for name in ('KERAS_HOME', 'MPLCONFIGDIR'):
        os.environ.setdefault(name, str(cache_folder(config).absolute() / 'libraries'))
    return importlib.import_module(config.experiment)


def _evaluation_config(name: str, workdir: str, overrides: dict[str, str]) -> tuple[ConfigDict, Path]:
    """The config that a work directory was trained with, changed only in what is evaluated."""
    if not workdir:
        raise ConfigError('--mode=eval needs --workdir=DIR, the work directory of a training run')
    path = Path(workdir) / 'config.json'
    if not path.exists():
        raise ConfigError(f'{path}: no such file; --workdir must be the work directory of a training run')
    stored = _stored_config(path)
    if name and load_config(name)[0].experiment != stored['experiment']:
        raise ConfigError(f'--config={name}: {workdir} holds a {stored["experiment"]} experiment; leave --config out')
    for key in overrides:
        if key.split('.')[0] not in EVALUATION_GROUPS and key not in EVALUATION_KEYS and key in stored:
            raise ConfigError(f'--config.{key}: cannot change in --mode=eval; these can: '
                              f'{", ".join(EVALUATION_KEYS)} and the keys of {", ".join(EVALUATION_GROUPS)}')
    config = unflatten(stored)
    apply_overrides(config, overrides)
    return config, Path(workdir)


def _stored_config(path: Path) -> dict:
    try:
        stored = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise ConfigError(f'{path}: cannot be read ({error}); delete the work directory or name another') from error
    if not isinstance(stored, dict) or 'experiment' not in stored:
        raise ConfigError(f'{path}: not the config of a run; delete the work directory or name another')
    return stored


if __name__ == '__main__':
    sys.exit(main(sys.argv[1:]))
