"""Files of network weights, `.safetensors`, PyTorch's `.pth` and `.npz`, as numpy arrays by name; nothing in them is
run.
"""

import hashlib
import re
import stat
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open

from jaxret.errors import DataError, Problem, refused
from jaxret.pretrained.npz import read_npz
from jaxret.pretrained.pth import read_legacy, read_zipped
from jaxret.pretrained.torch_pickle import named_tensors

# Bytes. All of a pickle is read, of the others the arrays that are wanted: a network may have a large text part, too.
_LARGEST = {'.safetensors': 16 << 30, '.npz': 16 << 30}
_LARGEST_PICKLE = 2 << 30
_ZIP, _PICKLE = b'PK\x03\x04', b'\x80'
_DTYPES = ('F64', 'F32', 'F16', 'BF16', 'I64', 'I32', 'I16', 'I8', 'U8', 'BOOL')
_ANEW = 'get the file anew from its authors'


@dataclass(frozen=True)
class WeightFile:
    """What a file holds.

    Attributes:
      path: of the file.
      sha256: of its bytes, hexadecimal.
      arrays: by name, in their own types, read-only.
      wrapper: the key of the file's dictionary that holds them ('state_dict', ...), or ''.
    """

    path: Path
    sha256: str
    arrays: dict[str, np.ndarray]
    wrapper: str = ''


def read_weights(path: Path, *, left_out: re.Pattern | None = None) -> WeightFile:
    """Reads a file of weights.

    Args:
      path: a `.safetensors` file, or one that `torch.save` of any PyTorch since 0.1.10 wrote: a dictionary of tensors,
        or one with it under a key, such as 'state_dict' or 'model'; or an `.npz` file.
      left_out: names in which it is found are not read, where the file allows it.

    Raises:
      DataError: no such file, another kind of file, damaged, or one that holds something else than plain tensors.
    """
    where = str(path)
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode) and not stat.S_ISDIR(status.st_mode):  # a pipe or device may never end
            raise refused(where, 'not a regular file', 'name a file of weights')
        if status.st_size > (largest := _LARGEST.get(path.suffix, _LARGEST_PICKLE)):
            action = f'weights of these networks have less than {largest:,}; name another file'
            raise refused(where, f'{status.st_size:,} bytes', action)
        with path.open('rb') as file:
            start = file.read(len(_ZIP))
            file.seek(0)
            sha256 = hashlib.file_digest(file, 'sha256').hexdigest()
        wrapper = ''
        if start == _ZIP and path.suffix == '.npz':
            arrays = read_npz(path, left_out=left_out)
        elif start == _ZIP:
            arrays, wrapper = named_tensors(read_zipped(path), path)
        elif path.suffix == '.safetensors':
            arrays = _read_safetensors(path, left_out)
        elif start.startswith(_PICKLE):
            arrays, wrapper = named_tensors(read_legacy(path), path)
        else:
            found = 'neither a .safetensors nor a .pth file (a zip archive, or pickles of an older PyTorch)'
            raise refused(where, found, 'name a file of weights; if it is one, it is damaged: ' + _ANEW)
    except OSError as error:
        raise refused(where, f'cannot be read ({error.strerror or error})', 'name a file of weights') from error
    if not arrays and left_out is None:  # else what is wanted may be in another file
        raise refused(where, 'holds no tensor', 'name a file of weights')
    return WeightFile(path, sha256, arrays, wrapper)


def _read_safetensors(path: Path, left_out: re.Pattern | None) -> dict[str, np.ndarray]:
    try:
        with safe_open(path, 'numpy') as file:
            names = [name for name in file.keys() if not left_out or not left_out.search(name)]  # noqa: SIM118
            types = {name: file.get_slice(name).get_dtype() for name in names}
            unknown = [
                Problem(f'{path}: {name}', f'values of type {dtype}', f'use {", ".join(_DTYPES)}')
                for name, dtype in types.items()
                if dtype not in _DTYPES
            ]
            if unknown:
                raise DataError(unknown)
            arrays = {name: file.get_tensor(name) for name in names}
    except SafetensorError as error:
        raise DataError(Problem(str(path), f'damaged .safetensors file ({error})', _ANEW)) from error
    for array in arrays.values():
        array.flags.writeable = False
    return arrays
