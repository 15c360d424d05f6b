"""PyTorch's `.pth` files without PyTorch: a zip archive of one pickle, `data.pkl`, and the raw bytes of each storage.

A storage is a flat array; a tensor is a window on it by offset, sizes and strides, in elements.
"""

import math
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np

from jaxret.errors import DataError, Problem
from jaxret.pretrained.plain_pickle import load_plain

_STORAGES = {
    'DoubleStorage': np.float64,
    'FloatStorage': np.float32,
    'HalfStorage': np.float16,
    'BFloat16Storage': jnp.bfloat16,
    'LongStorage': np.int64,
    'IntStorage': np.int32,
    'ShortStorage': np.int16,
    'CharStorage': np.int8,
    'ByteStorage': np.uint8,
    'BoolStorage': np.bool_,
}
_MOST_DIMENSIONS = 8
_WRAPPERS = ('state_dict', 'model')  # keys of training checkpoints that hold the weights
_ANEW = 'get the file anew from its authors'


def read_pth(path: Path) -> dict[str, np.ndarray]:
    """Tensors by name; see `read_weights`.

    Args:
      path: a zip archive.

    Returns:
      Read-only arrays, in their own types and this machine's order of bytes.

    Raises:
      DataError: damaged, or with something else than plain tensors and containers.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            return _named_tensors(_read_archive(archive, path), path)
    except (
        zipfile.BadZipFile,
        NotImplementedError,
        RuntimeError,
        EOFError,
        ValueError,
        OverflowError,
        zlib.error,
    ) as error:
        raise DataError(Problem(str(path), f'damaged or unusual zip archive ({error})', _ANEW)) from error


def _read_archive(archive: zipfile.ZipFile, path: Path) -> Any:
    """The value of `data.pkl`."""
    names = set(archive.namelist())
    folders = [name.removesuffix('data.pkl') for name in names if name.count('/') == 1 and name.endswith('/data.pkl')]
    if len(folders) != 1:
        raise DataError(
            Problem(str(path), 'a zip archive without a data.pkl, so not one of torch.save', 'name a file of weights')
        )
    folder = folders[0]
    if f'{folder}constants.pkl' in names:
        raise DataError(
            Problem(
                str(path),
                'a TorchScript program',
                'use the weights alone: torch.save(torch.jit.load(FILE).state_dict(), NEW)',
            )
        )
    order = archive.read(f'{folder}byteorder') if f'{folder}byteorder' in names else b'little'
    if order not in (b'little', b'big'):
        raise DataError(Problem(str(path), f'byte order {ascii(order[:20])}', _ANEW))
    allowed = {
        ('torch', name): np.dtype(kind).newbyteorder('<' if order == b'little' else '>')
        for name, kind in _STORAGES.items()
    }
    allowed |= {
        ('torch._utils', '_rebuild_tensor_v2'): _rebuild_tensor,
        ('torch._utils', '_rebuild_parameter'): _rebuild_parameter,
        ('collections', 'OrderedDict'): _new_dict,
    }
    with archive.open(f'{folder}data.pkl') as stream:
        return load_plain(stream, path=str(path), allowed=allowed, persistent=_storage_reader(archive, folder))


def _storage_reader(archive: zipfile.ZipFile, folder: str) -> Callable[[Any], np.ndarray]:
    """Makes the function from a persistent id to the flat array of a storage; each is read once."""
    data: dict[str, bytes] = {}

    def read(identity: Any) -> np.ndarray:
        match identity:
            case ('storage', np.dtype() as dtype, str() as key, str(), int() as count):
                pass
            case _:
                raise ValueError('a persistent id that is no storage')
        if key not in data:
            try:
                member = archive.getinfo(f'{folder}data/{key}')
            except KeyError:
                raise ValueError(f'storage {ascii(key[:50])} is missing') from None
            if member.compress_type != zipfile.ZIP_STORED:  # PyTorch never does; such a file could grow without bound
                raise ValueError(f'storage {ascii(key[:50])} is compressed')
            data[key] = archive.read(member)
        if len(data[key]) != count * dtype.itemsize:
            raise ValueError(
                f'storage {ascii(key[:50])} has {len(data[key])} bytes instead of {count} x {dtype.itemsize}'
            )
        values = np.frombuffer(data[key], dtype)
        return values.astype(dtype.newbyteorder('='), copy=False)

    return read


def _rebuild_tensor(
    storage: Any,
    offset: Any,
    size: Any,
    stride: Any,
    requires_grad: Any = None,
    hooks: Any = None,
    metadata: Any = None,
) -> np.ndarray:
    del requires_grad, hooks
    numbers = (offset, *size, *stride)
    if (
        not isinstance(storage, np.ndarray)
        or len(size) != len(stride)
        or len(size) > _MOST_DIMENSIONS
        or metadata
        or not all(type(number) is int and number >= 0 for number in numbers)
    ):
        raise ValueError('a tensor of an unknown form')
    count = math.prod(size)
    last = offset + sum((n - 1) * step for n, step in zip(size, stride, strict=True)) if count else 0
    if count > storage.size or last >= max(1, storage.size):
        raise ValueError(f'a tensor of size {ascii(size)[:100]} in a storage of {storage.size} values')
    if not count:
        return np.zeros(size, storage.dtype)
    return np.lib.stride_tricks.as_strided(
        storage[offset:], size, [step * storage.itemsize for step in stride], writeable=False
    )


def _rebuild_parameter(tensor: Any, requires_grad: Any, hooks: Any) -> Any:
    del requires_grad, hooks
    return tensor


def _new_dict() -> dict:
    """Stands in for OrderedDict; entries are set one by one, with the checks of `load_plain`."""
    return {}


def _named_tensors(value: Any, path: Path) -> dict[str, np.ndarray]:
    for key in _WRAPPERS:
        if isinstance(value, dict) and isinstance(value.get(key), dict):
            value = value[key]
            break
    action = 'store the weights alone: torch.save(model.state_dict(), FILE)'
    if not isinstance(value, dict):
        raise DataError(Problem(str(path), f'a {type(value).__name__} instead of a dictionary of tensors', action))
    others = [
        Problem(f'{path}: {ascii(name)[:200]}', f'a {type(entry).__name__} instead of a named tensor', action)
        for name, entry in value.items()
        if not isinstance(name, str) or not isinstance(entry, np.ndarray)
    ]
    if others:
        raise DataError(others)
    return value
