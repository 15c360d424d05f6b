"""Arrays of `.npz` files, as big_vision stores weights; nothing in them is run."""

import re
import zipfile
import zlib
from pathlib import Path

import jax.numpy as jnp
import numpy as np

from jaxret.errors import refused

_BFLOAT16 = np.dtype('V2')  # what numpy, which does not know bfloat16, writes for it


def read_npz(path: Path, *, left_out: re.Pattern | None = None) -> dict[str, np.ndarray]:
    """Arrays by name, in their own types; bfloat16 as such.

    Args:
      path: of the file.
      left_out: names in which it is found are not read.

    Raises:
      DataError: damaged, or arrays of Python objects.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            members = {member.filename.removesuffix('.npy'): member for member in archive.infolist()}
            return {
                name: _array(archive, member)
                for name, member in members.items()
                if not left_out or not left_out.search(name)
            }
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError, ValueError, zlib.error) as error:
        raise refused(str(path), f'damaged .npz file ({error})', 'get the file anew from its authors') from error


def _array(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> np.ndarray:
    with archive.open(member) as stream:
        version = np.lib.format.read_magic(stream)
        read_header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, _, dtype = read_header(stream)
        if dtype.hasobject:
            raise ValueError(f'{member.filename}: Python objects')
        if stream.tell() + np.prod(shape, dtype=object) * dtype.itemsize != member.file_size:
            raise ValueError(f'{member.filename}: {member.file_size:,} bytes for an array {list(shape)} of {dtype}')
    with archive.open(member) as stream:
        array = np.lib.format.read_array(stream, allow_pickle=False)
    return array.view(jnp.bfloat16) if dtype == _BFLOAT16 else array
