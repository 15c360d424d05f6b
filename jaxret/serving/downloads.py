"""Model files of the index's shapes, found by their number, and given out only as they were indexed.

A path that the index recorded is opened once, and what is open is compared with the table's mark (size and time of
change): what was put in its place later, a link for example, is given to nobody.
"""

import io
import os
import re
import shutil
import stat
import tempfile
import unicodedata
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO
from urllib.parse import quote

import trimesh
from fastapi import HTTPException
from fastapi.responses import FileResponse, Response
from starlette.types import Receive, Scope, Send

from jaxret.errors import DataError
from jaxret.geometry.distance_grids import DISTANCE_SUFFIXES, read_distances
from jaxret.geometry.formats import CONVERTED_SUFFIXES, MESH_SUFFIXES
from jaxret.geometry.grid_meshes import mesh_from_grid
from jaxret.geometry.mesh import Mesh, load_mesh
from jaxret.geometry.places import locate, model_files, other_names
from jaxret.index.index import Index

_QUICK = 8 * 2**20  # bytes
_MEDIA_TYPE = 'application/octet-stream'


def shape_id(index: Index, number: int) -> str:
    """Id of a shape.

    Raises:
      HTTPException: 404, no such number.
    """
    if not 0 <= number < len(index.ids):
        raise HTTPException(404, f'no shape {number}; the index has {len(index.ids)}, counted from 0')
    return index.ids[number]


def _model_id(index: Index, number: int) -> str:
    """As `shape_id`, of a shape whose file is a model by its name: only these are opened."""
    shape = shape_id(index, number)
    if locate(index.model_path(shape)).suffix not in (*MESH_SUFFIXES, *DISTANCE_SUFFIXES):
        raise HTTPException(404, f'{shape}: not a model file; index the models again')
    return shape


def is_quick(index: Index, number: int, *, faces: int) -> bool:
    """Whether a shape's file is read within a moment: not by a CAD kernel, and not large, of at most so many faces."""
    shape = _model_id(index, number)
    facts = index.facts(shape)
    converted = locate(index.model_path(shape)).suffix in CONVERTED_SUFFIXES
    return not converted and index.model_mark(shape)[0] <= _QUICK and facts is not None and facts['triangles'] <= faces


def model_mesh(index: Index, number: int) -> Mesh:
    """Mesh of a shape, +y up, read again from its file.

    Raises:
      HTTPException: 404, no such number, or the file is gone, or has changed since it was indexed.
    """
    shape = _model_id(index, number)
    with tempfile.TemporaryDirectory(prefix='jaxret-model-') as folder:
        path = _copied(index, shape, Path(folder))
        try:
            if path.suffix.lower() in DISTANCE_SUFFIXES:
                return mesh_from_grid(read_distances(path))
            return load_mesh(path, up_axis=index.up_axis(shape))
        except (DataError, ValueError) as error:  # without the path, which is no client's business
            found = error.problems[0].found if isinstance(error, DataError) else str(error)
            raise HTTPException(404, f'{shape}: {found}; index the models again') from error


def model_answer(index: Index, number: int) -> Response:
    """A shape's model as a download.

    Returns:
      its file as it is, that of the whole assembly for a part; of a member of an archive, the member; a STEP assembly
      of several files as a zip archive of these; a glTF file with buffers in others, as one GLB file.

    Raises:
      HTTPException: 404, as `model_mesh`.
    """
    shape = _model_id(index, number)
    place, mark = locate(index.model_path(shape)), index.model_mark(shape)
    end = Path(place.member or place.file).suffix.lower()
    whole = shape.removesuffix(f'/{place.part}') if place.part else shape
    name = re.sub(r'[^\w.-]+', '_', unicodedata.normalize('NFC', whole)).strip('._') or 'model'
    stem = name[: -len(end)] if name.lower().endswith(end) else name
    if other_names(place) and place.suffix in ('.step', '.stp') and not place.member:
        return _attached(_zipped(index, shape), f'{stem}.zip')
    if other_names(place):
        mesh = model_mesh(index, number)
        content = trimesh.Trimesh(mesh.vertices, mesh.faces, process=False).export(file_type='glb')
        return _attached(content, f'{stem}.glb')
    if not place.member:
        return _OpenedFile(_opened(shape, place.file, mark), stem + end)
    with tempfile.TemporaryDirectory(prefix='jaxret-model-') as folder:
        copy = locate(_copied(index, shape, Path(folder)))
        try:
            return _attached(copy.content(), stem + end)
        except DataError as error:
            raise HTTPException(404, f'{shape}: {error.problems[0].found}; index the models again') from error


def _zipped(index: Index, shape: str) -> bytes:
    """A zip archive of a shape's file and those that it names. Raises HTTPException: 404, they have changed."""
    content = io.BytesIO()
    with tempfile.TemporaryDirectory(prefix='jaxret-model-') as folder:
        _copied(index, shape, Path(folder))
        with zipfile.ZipFile(content, 'w', zipfile.ZIP_DEFLATED) as archive:
            for path in sorted(path for path in Path(folder).rglob('*') if path.is_file()):
                archive.write(path, path.relative_to(folder))
    return content.getvalue()


def _attached(content: bytes, name: str) -> Response:
    """An answer that is saved as a file."""
    return Response(content, media_type=_MEDIA_TYPE, headers=_saved_as(name))


def _saved_as(name: str) -> dict[str, str]:
    """Headers that name a download, with letters beside ASCII by RFC 5987 and, for what does not know it, without."""
    plain = re.sub(r'[^A-Za-z0-9._-]+', '_', name)
    further = '' if plain == name else f"; filename*=UTF-8''{quote(name)}"
    return {'Content-Disposition': f'attachment; filename="{plain}"{further}'}


class _OpenedFile(FileResponse):
    """The answer that gives an open file, whatever stands under its path now, and closes it."""

    def __init__(self, file: BinaryIO, name: str):
        self._file = file
        state = os.fstat(file.fileno())
        super().__init__(f'/dev/fd/{file.fileno()}', headers=_saved_as(name), media_type=_MEDIA_TYPE, stat_result=state)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        with self._file:
            await super().__call__(scope, receive, send)


def _opened(shape: str, path: Path, mark: Sequence[int]) -> BinaryIO:
    """A file of a shape, which is still what it was when it was indexed: of this size and time of change.

    Raises:
      HTTPException: 404, it is not.
    """
    gone = HTTPException(404, f'{shape}: its model file is gone; restore it, or index the models again')
    try:  # without waiting, as the other end of a pipe may never come
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    except (OSError, ValueError):
        raise gone from None
    state = os.fstat(descriptor)
    if not stat.S_ISREG(state.st_mode):
        os.close(descriptor)
        raise gone
    if [state.st_size, state.st_mtime_ns] != list(mark[:2]):
        os.close(descriptor)
        raise HTTPException(404, f'{shape}: its model file has changed since it was indexed; index the models again')
    return os.fdopen(descriptor, 'rb')


def _copied(index: Index, shape: str, folder: Path) -> Path:
    """Copies the files of a shape, all as they were indexed, to an empty folder; returns the shape's path there.

    Raises:
      HTTPException: 404, they are not as they were.
    """
    path, mark = index.model_path(shape), index.model_mark(shape)
    original = locate(path).file
    result, number = folder / original.name / path.relative_to(original), 0
    while number < len(files := model_files(folder / original.name)):  # more as soon as one is there that names them
        copy = files[number]
        copy.parent.mkdir(parents=True, exist_ok=True)
        file = original.parent / copy.relative_to(folder)
        with _opened(shape, file, mark[2 * number :]) as source, copy.open('wb') as target:
            shutil.copyfileobj(source, target)
        number += 1
    return result
