"""A work directory: locked while a run trains there; its stored config, photo split and folders, checked early."""

import contextlib
import json
from pathlib import Path

from ml_collections import ConfigDict

from jaxret.errors import CheckpointError, ConfigError, StorageError
from jaxret.files import exclusive, read_json, write_atomically
from jaxret.runs.config import changed_keys, flatten, with_later_keys

# Keys, and groups of keys, that change no weight: they may differ between a work directory and a run that resumes it.
FREE = ('cache_dir', 'processes', 'parallel', 'evaluation')
# What --mode=eval may change: the data, and how it is looked at.
EVALUATION = ('data_dir', 'on_bad_file', 'data', 'render', 'simulate', 'sample', *FREE)


def locked(folder: Path, *, option: str = '--workdir') -> contextlib.AbstractContextManager[None]:
    """Only one process trains in a work directory; makes the folder (see `jaxret.files.exclusive`).

    Args:
      folder: the work directory.
      option: of the command, which names it.

    Raises:
      CheckpointError: another process holds the lock.
      StorageError: the folder cannot be written.
    """

    def refuse(process: str) -> CheckpointError:
        return CheckpointError(
            f'{folder}: process {process} is training there; wait until it ends, or name another {option}'
        )

    return exclusive(folder / '.lock', refuse=refuse)


def has_checkpoints(folder: Path) -> bool:
    """Whether there is a complete checkpoint."""
    return any(entry.name.isdigit() for entry in (folder / 'checkpoints').glob('*'))


def check_folders(folder: Path) -> None:
    """Raises StorageError where something that is no folder has the name of one that a run writes at its end."""
    for name in ('checkpoints', 'tensorboard', 'report'):
        path = folder / name
        if path.exists() and not path.is_dir():
            raise StorageError(f'{path}: not a folder; remove it, or name another --workdir')


def store_config(config: ConfigDict, folder: Path) -> None:
    """Stores the config of a run.

    Raises:
      ConfigError: the work directory has checkpoints of another config.
    """
    path = folder / 'config.json'
    differing = changed_keys(stored_config(path), flatten(config), free=FREE) if path.exists() else []
    if differing and has_checkpoints(folder):
        raise ConfigError(
            f'{folder} was made with another config:\n  '
            + '\n  '.join(differing)
            + '\nuse the same values to resume, or name another --workdir'
        )
    if differing or not path.exists():  # a run that failed before its first checkpoint leaves nothing to resume
        write_atomically(path, json.dumps(flatten(config), indent=2) + '\n')


def stored_config(path: Path) -> dict:
    """The flattened config of a work directory, with the keys that came after it."""
    try:
        stored = read_json(path)
    except (OSError, ValueError) as error:
        raise ConfigError(f'{path}: cannot be read ({error}); delete the work directory or name another') from error
    if not isinstance(stored, dict) or 'experiment' not in stored:
        raise ConfigError(f'{path}: not the config of a run; delete the work directory or name another')
    return with_later_keys(stored)
