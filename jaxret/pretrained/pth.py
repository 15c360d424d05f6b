"""PyTorch's `.pth` files without PyTorch. Since PyTorch 1.6: a zip archive of one pickle, `data.pkl`, and the raw bytes
of each storage. Before: five pickles one after the other (a number that marks the format, its version, facts of the
machine, the value, the keys of the storages), then each storage as the number of its values and their bytes.

Sizes are checked against those of the file before anything is read or made.
"""

import os
import zipfile
import zlib
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from jaxret.errors import refused
from jaxret.pretrained.plain_pickle import load_plain
from jaxret.pretrained.torch_pickle import allowed_globals, storage_fields

_ANEW = 'get the file anew from its authors'
_LEGACY_MARK, _LEGACY_VERSION = 0x1950A86A20F9469CFC6C, 1001
_LEGACY_PICKLES = 64 << 20  # bytes


def read_zipped(path: Path) -> Any:
    """The value in a file of PyTorch 1.6 or newer, its tensors as read-only arrays in their own types.

    Args:
      path: a zip archive.

    Raises:
      DataError: damaged, or with something else than plain tensors and containers.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            return _read_archive(archive, path)
    except (
        zipfile.BadZipFile,
        NotImplementedError,
        RuntimeError,
        EOFError,
        ValueError,
        OverflowError,
        zlib.error,
    ) as error:
        raise refused(str(path), f'damaged or unusual zip archive ({error})', _ANEW) from error


def read_legacy(path: Path) -> Any:
    """The value in a file from before PyTorch 1.6; as `read_zipped`.

    Args:
      path: begins with a pickle.

    Raises:
      DataError: as `read_zipped`.
    """
    where = str(path)
    with path.open('rb') as file:
        head = BytesIO(file.read(_LEGACY_PICKLES))
        mark = load_plain(head, path=where, more=True)
        if mark != _LEGACY_MARK or load_plain(head, path=where, more=True) != _LEGACY_VERSION:
            raise refused(where, 'a pickle that is not one of torch.save', 'name a file of weights')
        load_plain(head, path=where, more=True)  # the values are little-endian whatever the machine was
        storages = _LegacyStorages(os.fstat(file.fileno()).st_size)
        value = load_plain(head, path=where, allowed=allowed_globals('<'), persistent=storages.storage, more=True)
        keys = load_plain(head, path=where, more=True)
        file.seek(head.tell())
        try:
            storages.fill(keys, file)
        except ValueError as error:
            raise refused(where, f'damaged ({error})', _ANEW) from error
        return value


class _LegacyStorages:
    """Storages, which are named first and filled afterwards."""

    def __init__(self, file_size: int):
        self._left = file_size
        self._arrays: dict[str, np.ndarray] = {}

    def storage(self, identity: Any) -> np.ndarray:
        dtype, key, count, window = storage_fields(identity)
        if key not in self._arrays:
            self._left -= count * dtype.itemsize
            if self._left < 0:
                raise ValueError(f'storage {ascii(key[:50])} has {count} values, more than the file can hold')
            self._arrays[key] = np.zeros(count, dtype)
        values = self._arrays[key]
        if values.dtype != dtype or values.size != count:
            raise ValueError(f'storage {ascii(key[:50])} is there with two types or sizes')
        return values if window is None else values[window[0] : sum(window)]

    def fill(self, keys: Any, file: BinaryIO) -> None:
        if not isinstance(keys, list) or not all(isinstance(key, str) for key in keys):
            raise ValueError('no list of storages')
        if sorted(keys) != sorted(self._arrays):
            raise ValueError(f'a list of {len(keys)} storages, where tensors have {len(self._arrays)}')
        for key in keys:
            values = self._arrays[key]
            count = int.from_bytes(file.read(8), 'little')
            if count != values.size:
                raise ValueError(f'storage {ascii(key[:50])} has {count} values instead of {values.size}')
            if file.readinto(values.view(np.uint8)) != values.nbytes:
                raise ValueError(f'storage {ascii(key[:50])} is cut off')


def _read_archive(archive: zipfile.ZipFile, path: Path) -> Any:
    """The value of `data.pkl`."""
    names = set(archive.namelist())
    folders = [name.removesuffix('data.pkl') for name in names if name.count('/') == 1 and name.endswith('/data.pkl')]
    if len(folders) != 1:
        found = 'a zip archive without a data.pkl, so not one of torch.save'
        raise refused(str(path), found, 'name a file of weights')
    folder = folders[0]
    if f'{folder}constants.pkl' in names:
        action = 'use the weights alone: torch.save(torch.jit.load(FILE).state_dict(), NEW)'
        raise refused(str(path), 'a TorchScript program', action)
    order = b'little'
    if f'{folder}byteorder' in names:
        with archive.open(f'{folder}byteorder') as stream:
            order = stream.read(20)
    if order not in (b'little', b'big'):
        raise refused(str(path), f'byte order {ascii(order)}', _ANEW)
    with archive.open(f'{folder}data.pkl') as stream:
        return load_plain(
            stream,
            path=str(path),
            allowed=allowed_globals('<' if order == b'little' else '>'),
            persistent=_storage_reader(archive, folder, path.stat().st_size),
        )


def _storage_reader(archive: zipfile.ZipFile, folder: str, file_size: int) -> Callable[[Any], np.ndarray]:
    """Makes the function from a persistent id to the flat array of a storage; each is read once."""
    arrays: dict[tuple[str, np.dtype], np.ndarray] = {}
    left = file_size

    def read(identity: Any) -> np.ndarray:
        nonlocal left
        dtype, key, count, window = storage_fields(identity)
        if window is not None:
            raise ValueError('a storage that is a window on another one')
        if (key, dtype) not in arrays:
            try:
                member = archive.getinfo(f'{folder}data/{key}')
            except KeyError:
                raise ValueError(f'storage {ascii(key[:50])} is missing') from None
            if member.compress_type != zipfile.ZIP_STORED:  # PyTorch never does; such a file could grow without bound
                raise ValueError(f'storage {ascii(key[:50])} is compressed')
            _check_count(key, member.file_size, count, dtype)
            left -= member.file_size
            if left < 0:
                raise ValueError('storages that share their bytes')
            data = archive.read(member)
            _check_count(key, len(data), count, dtype)
            arrays[key, dtype] = np.frombuffer(data, dtype).astype(dtype.newbyteorder('='), copy=False)
        values = arrays[key, dtype]
        _check_count(key, values.nbytes, count, dtype)
        return values

    return read


def _check_count(key: str, size: int, count: int, dtype: np.dtype) -> None:
    if size != count * dtype.itemsize:
        raise ValueError(f'storage {ascii(key[:50])} has {size} bytes instead of {count} x {dtype.itemsize}')
