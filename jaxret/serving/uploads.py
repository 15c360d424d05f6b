"""What a client sends: into files that the server names, and checked. A name from the client opens nothing."""

import io
import resource
import shutil
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import Image

from jaxret.errors import DataError, Problem
from jaxret.geometry.formats import CONVERTED_SUFFIXES, model_suffix
from jaxret.geometry.mesh import load_mesh
from jaxret.geometry.places import MAX_BYTES
from jaxret.inference.query_files import SUFFIXES, query_arrays
from jaxret.preprocessing.inputs import ShapeInputs
from jaxret.preprocessing.photo_files import FORMATS
from jaxret.preprocessing.photos import Box
from jaxret.preprocessing.png_chunks import sound_chunks
from jaxret.serving.limits import Limits
from jaxret.workers import map_parallel

_KNOWN = frozenset(suffix for suffixes in SUFFIXES.values() for suffix in suffixes)

Arrays = Mapping[str, np.ndarray]


def shown_name(name: str) -> str:
    """A client's name for a file, fit to be shown: its last part, printable, of at most 80 characters."""
    last = name.replace('\\', '/').rsplit('/', 1)[-1]
    return ''.join(letter for letter in last if letter.isprintable())[-80:] or 'the upload'


def store(content: BinaryIO, name: str, folder: Path) -> Path:
    """Writes an upload into a folder of its own; only a known suffix is taken from the client's name.

    Args:
      content: what was sent.
      name: the client's name of it.
      folder: to be made. Alone in it, a file that names others finds none.
    """
    suffix, end = model_suffix(name[-20:]), Path(name[-20:]).suffix.lower()
    suffix = {'.gz': f'{suffix}.gz', '.stpz': end}.get(end, suffix) if suffix in _KNOWN else ''
    path = folder / f'upload{suffix}'
    folder.mkdir(mode=0o700)
    with path.open('wb') as file:
        shutil.copyfileobj(content, file)
    return path


def parse_box(text: str) -> Box:
    """'left,top,right,bottom' in pixels of the photo as displayed.

    Raises:
      DataError: not four finite numbers in order.
    """
    try:
        left, top, right, bottom = (float(part) for part in text.split(','))
        if not (left < right and top < bottom and np.isfinite([left, top, right, bottom]).all()):
            raise ValueError
    except ValueError:
        raise DataError(Problem('box', repr(text[:80]), 'give left,top,right,bottom in pixels')) from None
    return left, top, right, bottom


def check_picture(path: Path, *, limits: Limits) -> None:
    """Refuses a picture of too many pixels before anything decodes it.

    Raises:
      DataError: it has more than `limits.photo_pixels`.
    """
    try:
        data = sound_chunks(path.read_bytes(), where=str(path), action='')  # as its reader sees it
        with Image.open(io.BytesIO(data), formats=FORMATS) as image:
            width, height = image.size
    except Exception:  # its reader says what is wrong with it
        return
    if width * height > limits.photo_pixels:
        found = f'{width} x {height}, over {limits.photo_pixels:,} pixels'
        raise DataError(Problem(str(path), found, 'send a smaller picture'))


def arrays_apart(make: Callable[[Path], Arrays], path: Path, *, limits: Limits) -> Arrays:
    """What a function makes of a file, in a process of its own: it is ended when it takes too long, and it has so much
    memory and no more.

    Args:
      make: importable by name, or a `functools.partial` of such a function.
      path: of a mesh, a point cloud or a grid.
      limits: of the process.

    Raises:
      DataError: of a file that cannot be used, or takes more.
    """
    ((_, result),) = map_parallel(
        partial(_without_writing, make),
        [path],
        processes=2,
        serial_below=1,
        timeout=limits.mesh_seconds,
        memory=limits.mesh_memory,
    )
    if isinstance(result, DataError):
        raise result
    return result


def shape_query_arrays(
    path: Path, *, kind: str, inputs: ShapeInputs, max_faces: int, up_axis: str | None = None
) -> Arrays:
    """`query_arrays` of a query that is no photo; a mesh may have at most `max_faces` triangles. Raises DataError."""
    if kind == 'mesh':
        load_mesh(path, max_faces=max_faces)
    return query_arrays(path, kind=kind, inputs=inputs, up_axis=up_axis)


def _without_writing(make: Callable[[Path], Arrays], path: Path) -> Arrays:
    """The arrays, in a process that can fill no disk."""
    most = (
        MAX_BYTES if model_suffix(path) in CONVERTED_SUFFIXES else 0
    )  # the kernel writes its mesh to memory, as a file
    resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))
    return make(path)
