"""What a client sends: into files that the server names, and checked. A name from the client opens nothing."""

import resource
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np

from jaxret.errors import DataError, Problem, refused
from jaxret.geometry.formats import ARCHIVE_SUFFIX, CONVERTED_SUFFIXES, DISTANCE_SUFFIXES, MESH_SUFFIXES, model_suffix
from jaxret.geometry.mesh import load_mesh
from jaxret.geometry.places import MAX_BYTES, locate, members, safe_member
from jaxret.inference.query_files import SUFFIXES, query_arrays
from jaxret.preprocessing.inputs import ShapeInputs
from jaxret.preprocessing.photo_formats import open_picture
from jaxret.preprocessing.photos import Box
from jaxret.preprocessing.png_chunks import sound_chunks
from jaxret.preprocessing.shape_pairs import read_signature
from jaxret.serving.limits import Limits
from jaxret.workers import map_parallel

SIGNATURE = 'signature'  # by which models are found that a mesh may be
PACKED = ('.gz', '.stpz', ARCHIVE_SUFFIX)  # of meshes
_KNOWN = frozenset(suffix for suffixes in SUFFIXES.values() for suffix in suffixes)

Arrays = Mapping[str, np.ndarray]


class Upload(NamedTuple):
    """One file of a request: the client's name of it, and its bytes."""

    name: str | None
    content: BinaryIO


@dataclass(frozen=True)
class Query:
    """A query as it was received.

    Attributes:
      kind: one of `Searcher.query_kinds`, or 'text' for words alone.
      path: of its file, under a name of our own; None for words alone.
      mask: of a photo: a file, 'auto' or None.
      box: of a photo: left, top, right, bottom.
      names: path -> the client's name.
      text: words, alone or with a photo; '' for none.
      up_axis: that points up in a mesh or cloud; '' where the client does not say.
    """

    kind: str
    path: Path | None
    mask: Path | str | None
    box: Box | None
    names: Mapping[str, str]
    text: str = ''
    up_axis: str = ''


def shown_name(name: str) -> str:
    """A client's name for a file, fit to be shown: its last part, printable, of at most 80 characters."""
    last = name.replace('\\', '/').rsplit('/', 1)[-1]
    return ''.join(letter for letter in last if letter.isprintable())[-80:] or 'the upload'


def is_empty(content: BinaryIO) -> bool:
    """Whether an upload has no byte; it is read from its start afterwards."""
    size = content.seek(0, 2)
    content.seek(0)
    return not size


def store(content: BinaryIO, name: str, folder: Path) -> Path:
    """Writes an upload into a folder of its own; only a known suffix is taken from the client's name.

    Args:
      content: what was sent.
      name: the client's name of it.
      folder: to be made. Alone in it, a file that names others finds none.
    """
    known = model_suffix(name[-40:])
    suffix = Path(name[-40:]).suffix.lower() if known in (*_KNOWN, ARCHIVE_SUFFIX) else ''
    path = folder / f'upload{known if suffix == ".gz" else ""}{suffix}'
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


def check_up_axis(up_axis: str, kind: str) -> None:
    """Raises DataError for an up axis with a query that has none."""
    if up_axis and kind not in ('mesh', 'points'):
        raise refused('up_axis', f'with a query of kind {kind!r}', 'send it with a mesh or a cloud')


def check_picture(path: Path, *, limits: Limits) -> None:
    """Refuses a picture of too many pixels before anything decodes it.

    Raises:
      DataError: it has more than `limits.photo_pixels`.
    """
    try:
        data = sound_chunks(path.read_bytes(), where=str(path), action='')  # as its reader sees it
        with open_picture(data, where=str(path)) as image:
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
    """`query_arrays` of a query that is no photo; of a mesh, of at most `max_faces` triangles, with its `SIGNATURE`.

    A zip archive stands for the one model in it. What a CAD kernel makes has few triangles, or the query's time ends.

    Raises:
      DataError: about the file at `path`, also where a model in it is meant.
    """
    try:
        place = _sole_model(path) if path.suffix == ARCHIVE_SUFFIX else path
        if kind == 'mesh' and locate(place).suffix not in (*CONVERTED_SUFFIXES, *DISTANCE_SUFFIXES):
            load_mesh(place, max_faces=max_faces)
        arrays = query_arrays(place, kind=kind, inputs=inputs, up_axis=up_axis)
        return {**arrays, SIGNATURE: read_signature(place)[1]} if kind == 'mesh' else arrays
    except DataError as error:
        raise DataError([replace(problem, where=str(path)) for problem in error.problems]) from error


def _sole_model(archive: Path) -> Path:
    """The path of the one mesh in a zip archive. Raises DataError for none, or several."""
    found = [name for name in members(archive) if model_suffix(name) in MESH_SUFFIXES and safe_member(name)]
    if len(found) != 1:
        raise DataError(Problem(str(archive), f'{len(found)} models in the archive', 'send one with a single model'))
    return archive / found[0]


def _without_writing(make: Callable[[Path], Arrays], path: Path) -> Arrays:
    cad = path.suffix == ARCHIVE_SUFFIX or model_suffix(path) in CONVERTED_SUFFIXES
    resource.setrlimit(
        resource.RLIMIT_FSIZE, (MAX_BYTES if cad else 0,) * 2
    )  # what a CAD kernel writes stays in memory
    return make(path)
