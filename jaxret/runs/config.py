"""The config that a run stored in its work directory. Needs no JAX."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from jaxret.errors import CheckpointError

# Keys that runs of earlier versions did not store, by their experiment, with the value that does what those runs did.
# A key that is added to experiments/configs is added here too.
LATER: dict[str, dict[str, Any]] = {
    'photo_to_shape': {},
    'cross_modal': {'model.mesh_noise': 'relative'},
    'domain_adaptation': {
        'backbone_optimizer.embedding': False,
        'loss.adversarial_ramp': 0,
        'loss.pseudo_confidence': 0.0,
    },
    'scan_to_cad': {'data.placement': 'centered', 'data.finetune_on': 'train'},
}


def read_run_config(path: Path) -> ConfigDict:
    """The config that a run stored.

    Raises:
      CheckpointError: missing, damaged, or not the config of a run.
    """
    try:
        flat = json.loads(path.read_text())
    except FileNotFoundError:
        raise CheckpointError(f'{path}: no such file; give the work directory of a training run') from None
    except (OSError, ValueError) as error:
        raise CheckpointError(f'{path}: cannot be read ({error}); give the work directory of a training run') from error
    if not isinstance(flat, dict) or 'experiment' not in flat or 'select' not in flat:
        raise CheckpointError(f'{path}: not the config of a run; give the work directory of a training run')
    return unflatten(with_later_keys(flat))


def with_later_keys(stored: dict[str, Any]) -> dict[str, Any]:
    """A stored, flattened config with the keys that came after it (`LATER`)."""
    return {**LATER.get(str(stored['experiment']), {}), **stored}


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
    """The held-out metric that picks the best checkpoint of a run: 'progress' (the last one) or 'val_<select>'."""
    return 'progress' if config.select == 'last' else f'val_{config.select}'


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
