"""The config that a run stored in its work directory."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from jaxret.errors import CheckpointError
from jaxret.files import read_json


def check_run(workdir: Path) -> None:
    """Raises CheckpointError where a folder has no stored config."""
    if not (path := workdir / 'config.json').exists():
        raise _missing(path)


def read_run_config(path: Path) -> ConfigDict:
    """The config that a run stored.

    Raises:
      CheckpointError: missing, damaged, or not the config of a run.
    """
    try:
        flat = read_json(path)
    except FileNotFoundError:
        raise _missing(path) from None
    except (OSError, ValueError) as error:
        raise CheckpointError(f'{path}: cannot be read ({error}); give the work directory of a training run') from error
    if not isinstance(flat, dict) or 'experiment' not in flat or 'select' not in flat:
        raise CheckpointError(f'{path}: not the config of a run; give the work directory of a training run')
    return unflatten(with_later_keys(flat))


def _missing(path: Path) -> CheckpointError:
    return CheckpointError(f'{path}: no such file; give the work directory of a training run')


def with_later_keys(stored: dict[str, Any]) -> dict[str, Any]:
    """A stored, flattened config with the keys that came after it, as its system says (`System.LATER`)."""
    from jaxret.systems.by_task import system_classes  # JAX and Flax: only where a stored config is read

    system = system_classes().get(str(stored['experiment']))
    return {**(system.LATER if system else {}), **stored}


def unflatten(flat: dict[str, Any]) -> ConfigDict:
    """The config of {'model.pooling': 'attention', ...}; lists (JSON has no tuples) become tuples again."""
    config = ConfigDict()
    for key, value in flat.items():
        *groups, last = key.split('.')
        target = config
        for group in groups:
            if group not in target:
                target[group] = ConfigDict()
            target = target[group]
        target[last] = tuple(value) if isinstance(value, list) else value
    return config


def selection_metric(config: ConfigDict) -> str:
    """The metric that picks the best checkpoint of a run: 'progress' (the last one), 'val_<select>', or 'test_...'."""
    if config.select == 'last':
        return 'progress'
    return config.select if chosen_on_test(config) else f'val_{config.select}'


def chosen_on_test(config: ConfigDict) -> bool:
    """Whether a run picks its checkpoint on the test split, which uses the answer."""
    return config.select.startswith('test_')


def flatten(config: ConfigDict, prefix: str = '') -> dict[str, Any]:
    """{'model.pooling': 'attention', ...}."""
    flat = {}
    for key, value in config.items():
        flat |= flatten(value, f'{prefix}{key}.') if isinstance(value, ConfigDict) else {prefix + key: value}
    return flat


def covers(names: Sequence[str], key: str) -> bool:
    """Whether a key, or its group, is among the names."""
    return key in names or key.split('.')[0] in names


def changed_keys(stored: dict[str, Any], config: dict[str, Any], *, free: Sequence[str]) -> list[str]:
    """One line a key whose value differs between two flattened configs; keys and groups in `free` are excepted."""
    lines = []
    for key in sorted(stored.keys() | config.keys()):
        before, now = (_plain(flat.get(key, '(absent)')) for flat in (stored, config))
        if before != now and not covers(free, key):
            lines.append(f'config.{key}: {before!r} there, {now!r} now')
    return lines


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value
