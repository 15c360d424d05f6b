"""Mesh files of any kind into one checked triangle mesh.

Letters: N vertices, F faces. Axes are right-handed with +y up after loading.
"""

import os
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import trimesh

from jaxret.geometry.colors import scene_colors
from jaxret.geometry.formats import UnusableMesh
from jaxret.geometry.places import MAX_BYTES, locate
from jaxret.geometry.scenes import MAX_FACES, read_scene, refusals

# A mesh whose whole surface is smaller than this (longest side scaled to 1) is a line, invisible in any picture.
_MIN_AREA = 1e-6
_MAX_COORDINATE = 1e100  # beyond it, areas and lengths overflow
_LONGEST_NAME = 200


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

    The path of a member of a zip archive goes on below the archive's, that of a part of an assembly below the file's:
    `lib/parts.zip/bolt.stl`, `lib/toy.step/HEAD`. A part is as it lies in the assembly where it is first. STEP and
    IGES files come in millimetres, and the parts of a STEP assembly may be in files beside it.

    Polygons become triangles, also concave ones; the default scene is flattened with its transforms; vertices that no
    face uses are dropped; materials and textures are not read. Nothing outside the file's own folder is opened. What a
    file says that is not known (an index 0, a glTF extension that it requires, a free-form surface) is refused.

    Args:
      path: of a file with one of `MESH_SUFFIXES`, also with .gz behind it, or .stpz; of a member, or a part.
      up_axis: the axis that points up in the file, 'y' or 'z'; 'z' is turned to +y: (x, y, z) -> (x, z, -y). A DAE file
        says itself which it is, and comes with +y up.
      max_bytes: larger files are refused unread, or as soon as they are larger unpacked.
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
    scene = read_scene(path, max_bytes=max_bytes, max_faces=max_faces)
    with refusals(path, locate(path).suffix):
        mesh = _mesh(scene, max_faces)
    if scene.metadata.get('up_axis', up_axis) == 'z':
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
