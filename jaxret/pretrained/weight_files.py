"""Files of network weights, `.safetensors` and PyTorch's `.pth`, as numpy arrays by name; nothing in them is run."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

import jax.numpy as jnp
import numpy as np
from safetensors import SafetensorError, deserialize

from jaxret.errors import DataError, Problem
from jaxret.pretrained.pth import read_pth

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
    """

    path: Path
    sha256: str
    arrays: dict[str, np.ndarray]


def read_weights(path: Path) -> WeightFile:
    """Reads a file of weights.

    Args:
      path: a `.safetensors` file, or one that `torch.save` of PyTorch 1.6 or newer wrote: a dictionary of tensors, or
        one with it under 'state_dict' or 'model'.

    Raises:
      DataError: no such file, another kind of file, damaged, or one that holds something else than plain tensors.
    """
    where = str(path)
    try:
        with path.open('rb') as file:
            if (size := path.stat().st_size) > _LARGEST:
                raise DataError(
                    Problem(
                        where,
                        f'{size:,} bytes',
                        f'weights of these networks have less than {_LARGEST:,}; name another file',
                    )
                )
            start = file.read(len(_ZIP))
            file.seek(0)
            sha256 = hashlib.file_digest(file, 'sha256').hexdigest()
        if start == _ZIP:
            arrays = read_pth(path)
        elif path.suffix == '.safetensors':
            arrays = _read_safetensors(path)
        elif start.startswith(_PICKLE):
            raise DataError(
                Problem(
                    where,
                    "PyTorch's format from before version 1.6, which is not read",
                    'convert it with a newer PyTorch: '
                    'torch.save(torch.load(OLD, map_location="cpu", weights_only=True), NEW)',
                )
            )
        else:
            raise DataError(
                Problem(
                    where,
                    'neither a .safetensors nor a .pth file (a zip archive)',
                    'name a file of weights; if it is one, it is damaged: ' + _ANEW,
                )
            )
    except OSError as error:
        raise DataError(
            Problem(where, f'cannot be read ({error.strerror or error})', 'name a file of weights')
        ) from error
    if not arrays:
        raise DataError(Problem(where, 'holds no tensor', 'name a file of weights'))
    return WeightFile(path, sha256, arrays)


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
