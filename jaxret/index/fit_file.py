"""What `jaxret fit` learnt, in one file of an index, which is replaced at once and cannot run code."""

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from jaxret.errors import ConfigError
from jaxret.files import check_regular, write_atomically
from jaxret.index.files import FIT, Manifest
from jaxret.index.fitting import LEAST_AREA, Fit, Learnt
from jaxret.index.shards import unreadable
from jaxret.search.certainty import Certainty
from jaxret.search.references import Fusion
from jaxret.search.whitening import Whitening

_AGAIN = 'run `jaxret fit` again, or remove it'
_GROWN = 1.2  # times as many references or models, or as few, from which learning again is worth it


@dataclass(frozen=True, eq=False)
class StoredFit(Learnt):
    """What search takes of a `Fit`, and `fit_key` of the index that it is for.

    `present` is None where it tells too little (`LEAST_AREA`), too.
    """

    key: str


def fit_key(manifest: Manifest) -> str:
    """Of what embeds and compares: what is learnt of one index says nothing of another."""
    compared = [manifest.fingerprint, manifest.inputs, manifest.parts, manifest.fusion]
    return hashlib.sha256(json.dumps(compared, sort_keys=True).encode()).hexdigest()


def write_fit(folder: Path, fit: Fit, *, key: str) -> None:
    """Writes what was learnt for a `fit_key`. Raises StorageError: the folder cannot be written."""
    about = {
        'key': key,
        'fusion': asdict(fit.fusion),
        'outlined': fit.outlined,
        'references': fit.references,
        'shapes': fit.shapes,
        **{name: value and asdict(value) for name, value in (('right', fit.right), ('present', fit.present))},
    }
    arrays = {'none': np.zeros(0, np.float32)}
    if fit.whitening is not None:
        arrays = {'mean': fit.whitening.mean, 'projection': fit.whitening.projection}
    metadata = {'fit': json.dumps(about), 'sha256': fit_checksum(json.dumps(about), arrays)}
    write_atomically(folder / FIT, save(arrays, metadata=metadata))


def fit_checksum(about: str, arrays: Mapping[str, np.ndarray]) -> str:
    """SHA-256 of all that the file holds."""
    digest = hashlib.sha256(about.encode())
    for name in sorted(arrays):
        digest.update(f'{name} {arrays[name].shape}'.encode() + arrays[name].tobytes())
    return digest.hexdigest()


def fit_state(folder: Path) -> tuple | None:
    """A value that changes when the file does; None without one. Raises DataError: it cannot be looked at."""
    try:
        check_regular(folder / FIT)
        state = os.stat(folder / FIT)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise unreadable(folder / FIT, error, _AGAIN) from error
    return state.st_ino, state.st_mtime_ns, state.st_size


def read_fit(folder: Path) -> StoredFit | None:
    """What was learnt, for this index or for what it was before (`StoredFit.key`); None where nothing was.

    Raises:
      DataError: the file is damaged.
    """
    if fit_state(folder) is None:
        return None
    try:
        with safe_open(folder / FIT, 'numpy') as file:
            metadata, arrays = file.metadata(), {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        if metadata['sha256'] != fit_checksum(metadata['fit'], arrays):
            raise ValueError('another checksum')
        about = json.loads(metadata['fit'])
        whitening = Whitening(arrays['mean'], arrays['projection']) if 'projection' in arrays else None
        certainties = {
            name: about[name] and Certainty(tuple(map(float, about[name]['weights'])), float(about[name]['area']))
            for name in ('right', 'present')
        }
        present = certainties['present']
        if present and present.area < LEAST_AREA:
            certainties['present'] = None
        return StoredFit(
            key=str(about['key']),
            fusion=Fusion(**about['fusion']),
            whitening=whitening,
            **certainties,
            outlined=bool(about['outlined']),
            references=int(about['references']),
            shapes=int(about['shapes']),
        )
    except FileNotFoundError:  # removed since
        return None
    except (SafetensorError, OSError, ValueError, KeyError, TypeError, ConfigError) as error:
        raise unreadable(folder / FIT, error, _AGAIN) from error


def outdated(folder: Path, manifest: Manifest, references: int) -> str:
    """What to say where `jaxret fit` should be run again; '' otherwise.

    Args:
      folder, manifest: of the index.
      references: how many count now.

    Raises:
      DataError: as `read_fit`.
    """
    fit = read_fit(folder)
    if fit is None:
        return ''
    if fit.key != fit_key(manifest):
        return 'what `jaxret fit` learnt was for another model or other settings and does not count: run it again'
    for what, before, now in (('known photos', fit.references, references), ('models', fit.shapes, manifest.shapes)):
        if not before / _GROWN <= now <= _GROWN * before:
            return f'`jaxret fit` has learnt of {before} {what}, and there are {now}: run it again'
    return ''
