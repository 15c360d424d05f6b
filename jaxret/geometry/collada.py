"""COLLADA (DAE) files: the triangles of the scene, turned so that what the file says is up is +y.

Source: Khronos Group, COLLADA 1.4.1 Specification (2008).

Letters: N vertices, F faces.
"""

import io
import zipfile
from collections.abc import Iterator
from typing import Any

import numpy as np
import trimesh

from jaxret.geometry.formats import UnusableMesh
from jaxret.geometry.polygons import triangulate
from jaxret.optional_packages import need

_MOST_INSTANCES = 20_000
# Columns are where the file's x, y and z point to, with +y up.
_TURNS = {
    'Y_UP': np.eye(4),
    'Z_UP': np.array([[1, 0, 0, 0], [0, 0, 1, 0], [0, -1, 0, 0], [0, 0, 0, 1.0]]),
    'X_UP': np.array([[0, -1, 0, 0], [1, 0, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1.0]]),
}


def read_collada(data: bytes, *, max_faces: int) -> trimesh.Scene:
    """Reads a DAE file in the pose of its scene; skins as they are bound. Of materials only the colours.

    Args:
      data: the file's content.
      max_faces: scenes with more triangles are refused.

    Returns:
      The scene, +y up; each geometry's metadata say which instance it is of, its name, and its colour.

    Raises:
      UnusableMesh: damaged, without a scene, or with geometry that cannot be read.
      ConfigError: pycollada is not installed.
    """
    collada = need('collada', extra='cad', purpose='a DAE file')
    if b'<!DOCTYPE' in data.replace(b'\0', b'').upper():
        raise UnusableMesh('it declares a document type, as no DAE file does')
    if zipfile.is_zipfile(io.BytesIO(data)):  # which the library would unpack
        raise UnusableMesh('it is a zip archive')
    document = collada.Collada(io.BytesIO(data), ignore=[collada.DaeError], aux_file_loader=_nothing)
    lost = [error for error in document.errors if 'image' not in str(error).lower()]
    geometries = sum(len(library) for library in document.xmlnode.getroot().iterfind('{*}library_geometries'))
    if lost and (len(document.geometries) < geometries or isinstance(lost[0], collada.DaeMalformedError)):
        raise UnusableMesh(f'a part of it cannot be read ({" ".join(str(lost[0]).split())[:200]})')
    if document.scene is None:
        raise UnusableMesh('there is no scene in it')
    info = document.assetInfo
    millimetres = 1000.0 * (info.unitmeter or 1.0)
    scene = trimesh.Scene(metadata={'millimetres': millimetres, 'name': info.title or '', 'up_axis': 'y'})
    turn, left = _TURNS[info.upaxis or 'Y_UP'], max_faces
    for instance, (bound, matrix) in enumerate(_instances(document.scene)):
        if instance == _MOST_INSTANCES:
            raise UnusableMesh(f'more than {_MOST_INSTANCES:,} instances')
        geometry = bound.original
        metadata = {'instance': instance, 'name': geometry.name or geometry.id or ''}
        for vertices, faces, material in _surfaces(geometry):
            left -= len(faces)
            if left < 0:
                raise UnusableMesh(f'more than {max_faces:,} faces')
            color = _color(bound.materialnodebysymbol.get(material))
            mesh = trimesh.Trimesh(vertices, faces, process=False, metadata=metadata | {'color': color})
            scene.add_geometry(mesh, transform=turn @ matrix)
    return scene


def _instances(scene: Any) -> Iterator[tuple[Any, Any]]:
    """Geometries as a scene binds them, each with its place [4, 4]."""
    for bound in scene.objects('geometry'):
        yield bound, np.asarray(bound.matrix)
    for bound in scene.objects('controller'):
        if not hasattr(bound, 'geometry'):
            raise UnusableMesh('it has a morph, which is not read')
        yield bound.geometry, np.asarray(bound.geometry.matrix)


def _color(node: Any) -> np.ndarray | None:
    """Diffuse colour [3] of a bound material, sRGB from 0 to 1; None for a texture, or without one."""
    effect = getattr(getattr(node, 'target', None), 'effect', None)
    color = getattr(effect, 'diffuse', None)
    if not isinstance(color, tuple) or len(color) < 3 or not np.isfinite(color[:3]).all():
        return None
    return np.clip(color[:3], 0, 1)


def _surfaces(geometry: Any) -> Iterator[tuple[np.ndarray, np.ndarray, str | None]]:
    """Vertices [N, 3], faces [F, 3] and material of the parts of a geometry; lines left out."""
    for primitive in geometry.primitives:
        if primitive.vertex is None or primitive.vertex_index is None or not len(primitive.vertex_index):
            continue
        vertices, index = np.asarray(primitive.vertex), np.asarray(primitive.vertex_index)
        if hasattr(primitive, 'polyindex'):
            corners = np.concatenate([[], *(index[start:end] for start, end in primitive.polyindex)]).astype(np.int64)
            sizes = np.array([end - start for start, end in primitive.polyindex], np.int64)
            faces = corners[triangulate(corners, sizes, vertices)[0]]
        elif index.ndim == 2 and index.shape[1] == 3:
            faces = index
        else:
            continue
        yield vertices, faces, primitive.material


def _nothing(name: str) -> bytes:
    """In place of files beside this one, none of which are opened."""
    raise OSError(name)
