"""Model files of the index's shapes, found by their number. Only paths that the index recorded are opened."""

import re
from pathlib import Path

import trimesh
from fastapi import HTTPException
from fastapi.responses import FileResponse, Response

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


def model_mesh(index: Index, number: int) -> Mesh:
    """Mesh of a shape, +y up, read again from its file.

    Raises:
      HTTPException: 404, no such number, or the file is gone or has become unusable since it was indexed.
    """
    path = _model_path(index, number)
    shape = index.ids[number]
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
      its file as it is; for a glTF file with buffers in other files, its geometry as one GLB file.

    Raises:
      HTTPException: 404, as `model_mesh`.
    """
    path = _model_path(index, number)
    name = re.sub(r'[^A-Za-z0-9._-]+', '_', index.ids[number]).strip('._') or 'model'
    stem = name[: -len(path.suffix)] if name.lower().endswith(path.suffix.lower()) else name
    if not buffer_files(path):
        return FileResponse(path, filename=stem + path.suffix.lower(), media_type=_MEDIA_TYPE)
    mesh = model_mesh(index, number)
    content = trimesh.Trimesh(mesh.vertices, mesh.faces, process=False).export(file_type='glb')
    return Response(
        content, media_type=_MEDIA_TYPE, headers={'Content-Disposition': f'attachment; filename="{stem}.glb"'}
    )


def _model_path(index: Index, number: int) -> Path:
    shape = shape_id(index, number)
    path = index.model_path(shape)
    if path.suffix.lower() not in (*MESH_SUFFIXES, *DISTANCE_SUFFIXES) or not path.is_file():
        raise HTTPException(404, f'{shape}: its model file is gone; restore it, or index the models again')
    return path
