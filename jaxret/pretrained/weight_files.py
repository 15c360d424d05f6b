"""Files of network weights, `.safetensors` and PyTorch's `.pth`, as numpy arrays by name; nothing in them is run."""

import hashlib
import stat
from dataclasses import dataclass
from pathlib import Path

import jax.numpy as jnp
import numpy as np
from safetensors import SafetensorError, deserialize

from jaxret.errors import DataError, Problem, refused
from jaxret.pretrained.pth import read_legacy, read_zipped
from jaxret.pretrained.torch_pickle import named_tensors

_LARGEST = 2 << 30  # bytes; AlexNet in float64 has half a GB
_ZIP, _PICKLE = b'PK\x03\x04', b'\x80'
_DTYPES = {
    'F64': np.float64,
    'F32': np.float32,
    'F16': np.float16,
    'BF16': jnp.bfloat16,
    'I64': np.int64,
    'I32': np.int32,
    'I16': np.int16,
    'I8': np.int8,
    'U8': np.uint8,
    'BOOL': np.bool_,
}
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


def read_weights(path: Path) -> WeightFile:
    """Reads a file of weights.

    Args:
      path: a `.safetensors` file, or one that `torch.save` of any PyTorch since 0.1.10 wrote: a dictionary of tensors,
        or one with it under a key, such as 'state_dict' or 'model'.

    Raises:
      DataError: no such file, another kind of file, damaged, or one that holds something else than plain tensors.
    """
    where = str(path)
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode) and not stat.S_ISDIR(status.st_mode):  # a pipe or device may never end
            raise refused(where, 'not a regular file', 'name a file of weights')
        if status.st_size > _LARGEST:
            action = f'weights of these networks have less than {_LARGEST:,}; name another file'
            raise refused(where, f'{status.st_size:,} bytes', action)
        with path.open('rb') as file:
            start = file.read(len(_ZIP))
            file.seek(0)
            sha256 = hashlib.file_digest(file, 'sha256').hexdigest()
        wrapper = ''
        if start == _ZIP:
            arrays, wrapper = named_tensors(read_zipped(path), path)
        elif path.suffix == '.safetensors':
            arrays = _read_safetensors(path)
        elif start.startswith(_PICKLE):
            arrays, wrapper = named_tensors(read_legacy(path), path)
        else:
            found = 'neither a .safetensors nor a .pth file (a zip archive, or pickles of an older PyTorch)'
            raise refused(where, found, 'name a file of weights; if it is one, it is damaged: ' + _ANEW)
    except OSError as error:
        raise refused(where, f'cannot be read ({error.strerror or error})', 'name a file of weights') from error
    if not arrays:
        raise refused(where, 'holds no tensor', 'name a file of weights')
    return WeightFile(path, sha256, arrays, wrapper)


def _read_safetensors(path: Path) -> dict[str, np.ndarray]:
    try:
        tensors = deserialize(path.read_bytes())
    except SafetensorError as error:
        raise DataError(Problem(str(path), f'damaged .safetensors file ({error})', _ANEW)) from error
    unknown = [
        Problem(f'{path}: {name}', f'values of type {tensor["dtype"]}', f'use {", ".join(_DTYPES)}')
        for name, tensor in tensors
        if tensor['dtype'] not in _DTYPES
    ]
    if unknown:
        raise DataError(unknown)
    arrays = {}
    for name, tensor in tensors:  # little-endian by its definition
        array = np.frombuffer(tensor['data'], np.dtype(_DTYPES[tensor['dtype']]).newbyteorder('<'))
        array.flags.writeable = False
        arrays[name] = array.reshape(tensor['shape'])
    return arrays
