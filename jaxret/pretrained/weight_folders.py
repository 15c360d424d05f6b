"""Folders of weights as libraries store them: which file holds the weights, sharded ones, and the JSON files beside."""

import hashlib
import re
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from jaxret.errors import refused
from jaxret.files import read_json
from jaxret.pretrained.network_configs import Reader
from jaxret.pretrained.weight_files import read_weights

_WEIGHTS = (
    'model.safetensors',
    'model.safetensors.index.json',
    'open_clip_model.safetensors',
    'pytorch_model.bin',
    'pytorch_model.bin.index.json',
    'open_clip_pytorch_model.bin',
)
_SUFFIXES = ('.safetensors', '.pth', '.pt', '.bin', '.npz')


def weights_file(path: Path) -> Path:
    """The file of weights, or its index, that a path names: the file itself, or the one of a folder.

    Raises:
      DataError: a folder with none, or with several that could be meant.
    """
    if not path.is_dir():
        return path
    known = [path / name for name in _WEIGHTS if (path / name).exists()]
    if known:
        return known[0]
    others = sorted(file for file in path.iterdir() if file.suffix in _SUFFIXES)
    if len(others) != 1:
        found = f'{len(others)} files of weights' if others else 'no file of weights'
        raise refused(str(path), found, f'name the file itself ({", ".join(_SUFFIXES)})')
    return others[0]


def read_config(path: Path) -> Reader | None:
    """The object of a JSON file; None where there is no such file.

    Raises:
      DataError: it cannot be read, or holds something else.
    """
    try:
        values = read_json(path)
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise refused(str(path), f'cannot be read ({error})', 'get the file anew') from error
    if not isinstance(values, dict):
        raise refused(str(path), f'a {type(values).__name__}, not an object', 'get the file anew')
    return Reader(values, str(path))


def read_folder_weights(path: Path, *, left_out: re.Pattern) -> tuple[dict[str, np.ndarray], str]:
    """Arrays of a file, or of all files of an index.

    Args:
      path: of the file of weights, or of the index of sharded ones.
      left_out: names in which it is found are not read, where the file allows it.

    Returns:
      arrays by name, with '.' for '/', and the SHA-256 of their file (of several: of those of all), hexadecimal.

    Raises:
      DataError: as `read_weights`; files of the index that are missing or lack arrays.
    """
    if path.suffix != '.json':
        file = read_weights(path, left_out=left_out)
        return _by_block({name.replace('/', '.'): array for name, array in file.arrays.items()}), file.sha256
    index = read_config(path)
    if index is None:
        raise refused(str(path), 'cannot be read (No such file or directory)', 'name a file of weights')
    shards = index.part('weight_map').values
    names = sorted({str(name) for name in shards.values()})
    if not names:
        raise index.refuse('weight_map', 'no files')
    arrays, digests = {}, ''
    for name in names:
        if Path(name).name != name or not name.endswith(('.safetensors', '.bin')):
            raise index.refuse('weight_map', f'{name!r:.100}, not a file of weights in this folder')
        if not (path.parent / name).exists():
            raise refused(str(path), f'{name} of its {len(names)} files is missing', 'get it and put it there')
        file = read_weights(path.parent / name, left_out=left_out)
        arrays, digests = arrays | file.arrays, digests + file.sha256
    absent = [name for name in shards if name not in arrays and not left_out.search(name)]
    if absent:
        found = f'{ascii(absent[0])[1:-1]} is not in {shards[absent[0]]}'
        raise refused(str(path), found, 'get the files anew from their authors')
    return arrays, hashlib.sha256(digests.encode()).hexdigest()


def _by_block(arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Arrays of blocks that are stacked on each other, as big_vision can store them, one by one."""
    result = {}
    for name, array in arrays.items():
        before, stacked, after = name.partition('.encoderblock.')
        if stacked and array.ndim:
            result |= {f'{before}.encoderblock_{i}.{after}': part for i, part in enumerate(array)}
        else:
            result[name] = array
    return result
