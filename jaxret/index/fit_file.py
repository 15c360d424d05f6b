"""What `jaxret fit` learnt, in one file of an index, which is replaced at once and cannot run code."""

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from jaxret.files import check_regular, write_atomically
from jaxret.index.files import FIT
from jaxret.index.fitting import LEAST_AREA, Fit
from jaxret.index.shards import unreadable
from jaxret.search.certainty import Certainty
from jaxret.search.references import Fusion
from jaxret.search.whitening import Whitening

_AGAIN = 'run `jaxret fit` again, or remove it'


@dataclass(frozen=True, eq=False)
class StoredFit:
    """What search takes of a `Fit`; attributes as there, and the fingerprint of the model that it is for.

    `present` is None where it tells too little (`LEAST_AREA`).
    """

    key: str
    fusion: Fusion
    whitening: Whitening | None
    right: Certainty | None
    present: Certainty | None
    references: int


def write_fit(folder: Path, fit: Fit, *, key: str) -> None:
    """Writes what was learnt for a model's fingerprint. Raises StorageError: the folder cannot be written."""
    about = {
        'key': key,
        'fusion': asdict(fit.fusion),
        'references': fit.references,
        **{name: value and asdict(value) for name, value in (('right', fit.right), ('present', fit.present))},
    }
    arrays = {'none': np.zeros(0, np.float32)}
    if fit.whitening is not None:
        arrays = {'mean': fit.whitening.mean, 'projection': fit.whitening.projection}
    write_atomically(folder / FIT, save(arrays, metadata={'fit': json.dumps(about)}))


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


def read_fit(folder: Path, *, key: str) -> StoredFit | None:
    """What was learnt; None where nothing was, or for another model.

    Raises:
      DataError: the file is damaged.
    """
    if fit_state(folder) is None:
        return None
    try:
        with safe_open(folder / FIT, 'numpy') as file:
            about = json.loads(file.metadata()['fit'])
            if about['key'] != key:
                return None
            whitening = None
            if 'projection' in file.keys():  # noqa: SIM118 - no dictionary
                whitening = Whitening(file.get_tensor('mean'), file.get_tensor('projection'))
        certainties = {
            name: about[name] and Certainty(tuple(map(float, about[name]['weights'])), float(about[name]['area']))
            for name in ('right', 'present')
        }
        present = certainties['present']
        if present and present.area < LEAST_AREA:
            certainties['present'] = None
        return StoredFit(key, Fusion(**about['fusion']), whitening, references=int(about['references']), **certainties)
    except FileNotFoundError:  # removed since
        return None
    except (SafetensorError, OSError, ValueError, KeyError, TypeError) as error:
        raise unreadable(folder / FIT, error, _AGAIN) from error
