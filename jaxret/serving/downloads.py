"""Model files of the index's shapes, found by their number, and given out only as they were indexed.

A path that the index recorded is opened once, and what is open is compared with the table's mark (size and time of
change): what was put in its place later, a link for example, is given to nobody.
"""

import os
import re
import shutil
import stat
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO

import trimesh
from fastapi import HTTPException
from fastapi.responses import FileResponse, Response
from starlette.types import Receive, Scope, Send

from jaxret.errors import DataError
from jaxret.geometry.distance_grids import DISTANCE_SUFFIXES, read_distances
from jaxret.geometry.grid_meshes import mesh_from_grid
from jaxret.geometry.mesh import MESH_SUFFIXES, Mesh, buffer_files, load_mesh
from jaxret.index.index import Index

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
    if Path(shape).suffix.lower() not in (*MESH_SUFFIXES, *DISTANCE_SUFFIXES):
        raise HTTPException(404, f'{shape}: not a model file; index the models again')
    return shape


def model_mesh(index: Index, number: int) -> Mesh:
    """Mesh of a shape, +y up, read again from its file.

    Raises:
      HTTPException: 404, no such number, or the file is gone, or has changed since it was indexed.
    """
    shape = _model_id(index, number)
    with tempfile.TemporaryDirectory(prefix='jaxret-model-') as folder:
        path = _copied(index, shape, Path(folder))
        try:
            if path.suffix in DISTANCE_SUFFIXES:
                return mesh_from_grid(read_distances(path))
            return load_mesh(path, up_axis=index.up_axis(shape))
        except (DataError, ValueError) as error:  # without the path, which is no client's business
            found = error.problems[0].found if isinstance(error, DataError) else str(error)
            raise HTTPException(404, f'{shape}: {found}; index the models again') from error


def model_answer(index: Index, number: int) -> Response:
    """A shape's model as a download.

    Returns:
      its file as it is; for a glTF file with buffers in other files, its geometry as one GLB file.

    Raises:
      HTTPException: 404, as `model_mesh`.
    """
    shape = _model_id(index, number)
    suffix = Path(shape).suffix.lower()
    name = re.sub(r'[^A-Za-z0-9._-]+', '_', shape).strip('._') or 'model'
    stem = name[: -len(suffix)] if name.lower().endswith(suffix) else name
    if len(index.model_mark(shape)) > 2 and suffix == '.gltf':  # it names other files
        mesh = model_mesh(index, number)
        content = trimesh.Trimesh(mesh.vertices, mesh.faces, process=False).export(file_type='glb')
        return Response(
            content, media_type=_MEDIA_TYPE, headers={'Content-Disposition': f'attachment; filename="{stem}.glb"'}
        )
    return _OpenedFile(_opened(shape, index.model_path(shape), index.model_mark(shape)), stem + suffix)


class _OpenedFile(FileResponse):
    """The answer that gives an open file, whatever stands under its path now, and closes it."""

    def __init__(self, file: BinaryIO, name: str):
        self._file = file
        state = os.fstat(file.fileno())
        super().__init__(f'/dev/fd/{file.fileno()}', filename=name, media_type=_MEDIA_TYPE, stat_result=state)

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
    """Copies a shape's file, and the buffers that it names, all as they were indexed, to an empty folder.

    Raises:
      HTTPException: 404, they are not as they were.
    """
    original, mark = index.model_path(shape), index.model_mark(shape)
    copy = folder / f'model{original.suffix.lower()}'
    with _opened(shape, original, mark) as source, copy.open('wb') as target:
        shutil.copyfileobj(source, target)
    for number, place in enumerate(buffer_files(copy), 1):
        name = os.path.relpath(place, folder)
        place = folder / name
        if name.startswith('..') or place.exists():  # the reader says what is wrong with it
            continue
        place.parent.mkdir(parents=True, exist_ok=True)
        with _opened(shape, original.parent / name, mark[2 * number :]) as source, place.open('wb') as target:
            shutil.copyfileobj(source, target)
    return copy
