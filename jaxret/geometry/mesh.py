"""Mesh files of any kind into one checked triangle mesh.

Letters: N vertices, F faces. Axes are right-handed with +y up after loading.
"""

import contextlib
import logging
import os
import stat
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import unquote

import numpy as np
import trimesh

from jaxret.errors import DataError, Problem
from jaxret.geometry.colors import scene_colors
from jaxret.geometry.formats import MESH_SUFFIXES, UnusableMesh
from jaxret.geometry.gltf import buffer_names, read_gltf
from jaxret.geometry.obj import read_obj
from jaxret.geometry.off import read_off
from jaxret.geometry.ply import read_ply
from jaxret.geometry.stl import read_stl

MAX_BYTES = 512 * 2**20
MAX_FACES = 5_000_000
# A mesh whose whole surface is smaller than this (longest side scaled to 1) is a line, invisible in any picture.
_MIN_AREA = 1e-6
_MAX_COORDINATE = 1e100  # beyond it, areas and lengths overflow
_LONGEST_NAME = 200
_EXPORT_AGAIN = 'export the mesh again, or take it out of the data set'


@dataclass(frozen=True, eq=False)
class Mesh:
    """A triangle mesh, right-handed, +y up.

    Attributes:
      vertices: float64 [N, 3].
      faces: int64 [F, 3], indices into `vertices`.
      millimetres: length of one unit of the coordinates; None where the file does not say.
      name: of the product or scene in the file; '' for none.
      colors: '#rrggbb' of the materials, faces or vertices that the file itself colours, that of most faces first.
    """

    vertices: np.ndarray
    faces: np.ndarray
    millimetres: float | None = None
    name: str = ''
    colors: tuple[str, ...] = ()


def load_mesh(
    path: str | os.PathLike, *, up_axis: str = 'y', max_bytes: int = MAX_BYTES, max_faces: int = MAX_FACES
) -> Mesh:
    """Reads a mesh file and checks it.

    Polygons become triangles, also concave ones; the default scene is flattened with its transforms; vertices that no
    face uses are dropped; materials and textures are not read. Nothing outside the file's own folder is opened. What a
    file says that is not known (an index 0, a glTF extension that it requires, a free-form surface) is refused.

    Args:
      path: file with one of `MESH_SUFFIXES`.
      up_axis: the axis that points up in the file, 'y' or 'z'; 'z' is turned to +y: (x, y, z) -> (x, z, -y).
      max_bytes: larger files are refused unread.
      max_faces: meshes with more triangles are refused.

    Returns:
      A mesh with at least one face, valid indices, finite vertices, and a surface that is more than a line.

    Raises:
      DataError: for every way in which a file can be unusable.
      ValueError: if `up_axis` is neither 'y' nor 'z'.
    """
    if up_axis not in ('y', 'z'):
        raise ValueError(f"up_axis must be 'y' or 'z', not {up_axis!r}")
    path = Path(path)
    mesh = _read(path, lambda scene: _mesh(scene, max_faces), max_bytes, max_faces)
    if up_axis == 'z':
        x, y, z = mesh.vertices.T
        mesh = replace(mesh, vertices=np.stack([x, z, -y], axis=1))
    return mesh


def normalize_mesh(mesh: Mesh, *, mode: str) -> Mesh:
    """Moves and scales a mesh into a standard frame.

    Args:
      mesh: the mesh.
      mode: 'sphere': bounding-box centre at 0, farthest vertex at radius 1; 'cube': bounding-box centre at 0, longest
        side 1; 'none': unchanged.

    Returns:
      A mesh with new vertices, units that follow, and the same faces.
    """
    if mode == 'none':
        return mesh
    low, high = mesh.vertices.min(axis=0), mesh.vertices.max(axis=0)
    centred = mesh.vertices - (low + high) / 2
    if mode == 'sphere':
        scale = np.linalg.norm(centred, axis=1).max()
    elif mode == 'cube':
        scale = (high - low).max()
    else:
        raise ValueError(f"mode must be 'sphere', 'cube' or 'none', not {mode!r}")
    millimetres = None if mesh.millimetres is None else mesh.millimetres * scale
    return replace(mesh, vertices=centred / scale, millimetres=millimetres)


def face_normals(corners: np.ndarray) -> np.ndarray:
    """Normals [F, 3] of triangles [F, 3, 3], by the right-hand rule, each twice as long as its triangle has area."""
    return np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])


def buffer_files(path: Path) -> list[Path]:
    """The files from which a .gltf file takes its buffers; none for other formats, embedded buffers, or damaged files.

    Args:
      path: mesh file.
    """
    if path.suffix.lower() != '.gltf':
        return []
    try:
        return [path.parent / unquote(name) for name in buffer_names(_read_bytes(path, MAX_BYTES))]
    except (DataError, ValueError, TypeError, AttributeError, RecursionError):  # load_mesh says what is wrong
        return []


def read_scene(path: Path, *, materials: bytes | None = None) -> trimesh.Scene:
    """The surfaces of a mesh file as they lie in it, in the order in which `load_mesh` joins them.

    Args:
      path: file with one of `MESH_SUFFIXES`.
      materials: the content of a material library for an OBJ file, in place of its own.

    Raises:
      DataError: as `load_mesh`.
    """
    return _read(path, lambda scene: scene, materials=materials)


def _read(
    path: Path, then: Callable, max_bytes: int = MAX_BYTES, max_faces: int = MAX_FACES, materials: bytes | None = None
):
    """What `then` makes of the scene in a file; whatever is wrong is a DataError."""
    data, suffix = _read_bytes(path, max_bytes), path.suffix.lower()
    try:
        with quiet():
            if suffix in ('.glb', '.gltf'):
                return then(read_gltf(data, _Buffers(path, max_bytes - len(data)).get, max_faces=max_faces))
            if suffix == '.obj':
                return then(read_obj(data, materials))
            return then({'.off': read_off, '.ply': read_ply, '.stl': read_stl}[suffix](data))
    except UnusableMesh as error:
        raise _bad(path, str(error)) from None
    except Exception as error:  # damaged files let out a dozen unrelated types
        reason = ' '.join(str(error).split())[:200]
        raise _bad(path, f'not a readable {suffix[1:].upper()} file ({type(error).__name__}: {reason})') from error


def _bad(path: Path, found: str, action: str = _EXPORT_AGAIN) -> DataError:
    return DataError(Problem(str(path), found, action))


def _read_bytes(path: Path, max_bytes: int) -> bytes:
    if path.suffix.lower() not in MESH_SUFFIXES:
        raise _bad(path, f'unknown mesh format {path.suffix!r}', f'use one of {" ".join(MESH_SUFFIXES)}')
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):  # opening a named pipe would wait for ever
            raise _bad(path, 'not a regular file', 'name a mesh file')
        if status.st_size == 0:
            raise _bad(path, 'the file is empty')
        if status.st_size > max_bytes:
            raise _bad(path, f'the file has {status.st_size:,} bytes, the limit is {max_bytes:,}', 'simplify the mesh')
        return path.read_bytes()
    except FileNotFoundError:
        raise _bad(path, 'the file does not exist', 'restore the file, or remove the entry that names it') from None
    except (OSError, ValueError) as error:  # ValueError: a null byte in the path
        raise _bad(path, f'the file cannot be read ({error})', 'check its permissions and the disk') from error


class _Buffers:
    """The files beside a glTF file, and nothing outside its folder."""

    def __init__(self, path: Path, max_bytes: int):
        self.folder = path.parent.resolve()
        self.left = max_bytes

    def get(self, key: str) -> bytes:
        """The content of a buffer."""
        file = (self.folder / unquote(key)).resolve()
        if not file.is_relative_to(self.folder):
            raise UnusableMesh(f'it names a buffer outside its folder: {key!r}')
        if file.suffix.lower() in MESH_SUFFIXES or not file.is_file():
            raise UnusableMesh(f'its buffer {key[:200]!r} is missing')
        self.left -= file.stat().st_size
        if self.left < 0:
            raise UnusableMesh('its buffers are larger than the size limit')
        return file.read_bytes()


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keeps what the readers print about damaged files off the terminal; the DataError says it."""
    logger = logging.getLogger('trimesh')  # its modules log below it
    before = logger.handlers, logger.propagate
    try:
        logger.handlers, logger.propagate = [logging.NullHandler()], False
        with warnings.catch_warnings(), np.errstate(all='ignore'):
            warnings.simplefilter('ignore')
            yield
    finally:
        logger.handlers, logger.propagate = before


def _mesh(scene: trimesh.Scene, max_faces: int) -> Mesh:
    vertices, faces = _checked(*_flatten(scene, max_faces))
    name = ''.join(filter(str.isprintable, str(scene.metadata.get('name') or '')))
    unit, name = scene.metadata.get('millimetres'), name.strip()[:_LONGEST_NAME]
    return Mesh(vertices, faces, unit, name, scene_colors(scene))


def _flatten(scene: trimesh.Scene, max_faces: int) -> tuple[np.ndarray, np.ndarray]:
    """All triangle geometry of a scene in world coordinates: float64 [N, 3], int64 [F, 3]."""
    vertices, faces, vertex_count, face_count = [], [], 0, 0
    for node in scene.graph.nodes_geometry:
        transform, name = scene.graph[node]
        geometry = scene.geometry[name]
        if not isinstance(geometry, trimesh.Trimesh) or len(geometry.faces) == 0:
            continue  # points and curves have no surface
        own_vertices = np.asarray(geometry.vertices, np.float64).reshape(-1, 3)
        own_faces = np.asarray(geometry.faces, np.int64).reshape(-1, 3)
        outside = own_faces[(own_faces < 0) | (own_faces >= len(own_vertices))]
        if outside.size:  # before the offset hides it
            raise UnusableMesh(f'a face names vertex {outside[0]} of {len(own_vertices)}, counted from 0')
        face_count += len(own_faces)
        if face_count > max_faces:
            raise UnusableMesh(f'more than {max_faces:,} faces')
        if np.linalg.det(transform[:3, :3]) < 0:  # a mirror turns the surface inside out
            own_faces = own_faces[:, ::-1]
        vertices.append(own_vertices @ transform[:3, :3].T + transform[:3, 3])
        faces.append(own_faces + vertex_count)
        vertex_count += len(own_vertices)
    if not faces:
        raise UnusableMesh('no triangles in it')
    return np.concatenate(vertices), np.concatenate(faces)


def _checked(vertices: np.ndarray, faces: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    used = np.zeros(len(vertices), bool)
    used[faces] = True
    if not used.all():  # stray vertices would shift and shrink the normalised shape
        vertices, faces = vertices[used], (np.cumsum(used) - 1)[faces]
    finite = np.isfinite(vertices).all(axis=1)
    if not finite.all():
        raise UnusableMesh(f'{int((~finite).sum())} of {len(vertices)} vertices are not finite (NaN or infinite)')
    if np.abs(vertices).max() > _MAX_COORDINATE:
        raise UnusableMesh(f'coordinates as large as {np.abs(vertices).max():.3g}')
    low, high = vertices.min(axis=0), vertices.max(axis=0)
    extent = (high - low).max()
    # Below the resolution of float64 at that place, the shape is rounding noise.
    if extent <= 1e-12 * np.abs(vertices).max():
        raise UnusableMesh('all vertices lie at one point')
    corners = ((vertices - low) / extent)[faces]
    area = np.linalg.norm(face_normals(corners), axis=1).sum() / 2
    if area < _MIN_AREA:
        raise UnusableMesh('its triangles have no area')
    return vertices, faces
