"""Colours of mesh files, for textured views: materials and textures of OBJ files, vertex colours of others.

Letters: F faces, M pixels, H, W texture size.

A face without a colour is white, which shading turns into the grey of an uncoloured view. Of a material count its
diffuse colour (Kd) and texture (map_Kd, scaled and moved; repeated, nearest texel); transparency and everything else do
not. A material or texture that is missing or damaged is as if it were not named: data sets are full of them, and the
shape is sound.
"""

import os
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import trimesh

from jaxret.errors import DataError
from jaxret.geometry.mesh import Mesh
from jaxret.geometry.mtl import Materials
from jaxret.geometry.places import locate
from jaxret.geometry.scenes import read_scene

_AT_ONCE = 2**16  # pixels whose place in their face is computed together, in float64


@dataclass(frozen=True, eq=False)
class Surface:
    """Colours of a mesh, in the order of its faces; sRGB in [0, 1].

    Attributes:
      color: float32 [F, 3], of faces without a texture.
      texture: int32 [F], index into `textures`, -1 for none.
      uv: float32 [F, 3, 2], texture coordinates of the corners; v runs upwards.
      textures: uint8 [H, W, 3] each.
    """

    color: np.ndarray
    texture: np.ndarray
    uv: np.ndarray
    textures: tuple[np.ndarray, ...] = ()

    def albedo(self, faces: np.ndarray, corners: np.ndarray, origins: np.ndarray, directions: np.ndarray) -> np.ndarray:
        """Colour where each ray meets its face.

        Args:
          faces: [M], -1 where a ray meets nothing.
          corners: [F, 3, 3] of all faces.
          origins: [M, 3], or [3] of all rays.
          directions: [M, 3].

        Returns:
          float32 [M, 3]; 1 where nothing is met.
        """
        origins = np.broadcast_to(origins, directions.shape)
        result = np.where(faces[:, None] >= 0, self.color[faces], np.float32(1))
        which = np.where(faces >= 0, self.texture[faces], -1)
        for index, picture in enumerate(self.textures):
            found = np.flatnonzero(which == index)
            for start in range(0, len(found), _AT_ONCE):
                pixels = found[start : start + _AT_ONCE]
                weights = barycentric(corners[faces[pixels]], origins[pixels], directions[pixels])
                u, v = np.einsum('mk,mkc->cm', weights, self.uv[faces[pixels]])
                height, width = picture.shape[:2]
                row = np.minimum(((1 - v) % 1 * height).astype(int), height - 1)
                column = np.minimum((u % 1 * width).astype(int), width - 1)
                result[pixels] = picture[row, column] / np.float32(255)
        return result


def barycentric(corners: np.ndarray, origin: np.ndarray, directions: np.ndarray) -> np.ndarray:
    """Weights of a triangle's corners where a ray meets its plane.

    Args:
      corners: [M, 3, 3].
      origin: [3] of the rays, or [M, 3].
      directions: [M, 3].

    Returns:
      float64 [M, 3], sums to 1; a third each where the ray lies in the plane or the triangle has no area.

    Source: Moeller and Trumbore, J. Graphics Tools 2 (1997) 21.
    """
    corners, directions = corners.astype(np.float64), directions.astype(np.float64)
    first, second = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    from_corner = origin.astype(np.float64) - corners[:, 0]
    cross = np.cross(directions, second)
    determinant = np.einsum('mc,mc->m', first, cross)
    flat = np.abs(determinant) < 1e-18
    scale = 1 / np.where(flat, 1, determinant)
    b = np.einsum('mc,mc->m', from_corner, cross) * scale
    c = np.einsum('mc,mc->m', directions, np.cross(from_corner, first)) * scale
    return np.where(flat[:, None], 1 / 3, np.stack([1 - b - c, b, c], axis=1))


def load_surface(path: str | os.PathLike, mesh: Mesh) -> Surface:
    """Colours of a mesh file that `load_mesh` has read.

    Nothing is opened but what `Materials` allows.

    Args:
      path: the file.
      mesh: what `load_mesh` returned for it.

    Returns:
      The colours; white where the file has none.
    """
    path = Path(path)
    plain = Surface(
        np.ones((len(mesh.faces), 3), np.float32),
        np.full(len(mesh.faces), -1, np.int32),
        np.zeros((len(mesh.faces), 3, 2), np.float32),
    )
    materials = Materials(path) if _own_materials(path) else None
    try:
        scene = read_scene(path, textured=materials is not None)
    except DataError:  # the file has changed
        return plain
    parts = [scene.geometry[scene.graph[node][1]] for node in scene.graph.nodes_geometry]
    parts = [part for part in parts if isinstance(part, trimesh.Trimesh) and len(part.faces)]
    if sum(len(part.faces) for part in parts) != len(mesh.faces):
        return plain
    plain = replace(plain, color=np.concatenate([_own_colors(part) for part in parts]))
    return plain if materials is None else _painted(plain, parts[0], materials)


def material_files(path: Path) -> list[Path]:
    """The files that `load_surface` reads beside an OBJ file: its materials, then their textures.

    Those that are missing are among them: they may come. None of other formats, or of a file that cannot be read.

    Args:
      path: mesh file.
    """
    return Materials(path).files if _own_materials(path) else []


def _own_materials(path: Path) -> bool:
    """Whether it is an OBJ file in a folder: a member of an archive is untextured."""
    place = locate(path)
    return place.suffix == '.obj' and not place.member


def _own_colors(part: trimesh.Trimesh) -> np.ndarray:
    """Colours [F, 3] of the faces or vertices themselves; white where they have none."""
    if part.visual.kind in ('vertex', 'face'):
        return np.asarray(part.visual.face_colors, np.float32)[:, :3] / 255
    return np.ones((len(part.faces), 3), np.float32)


def _painted(surface: Surface, mesh: trimesh.Trimesh, materials: Materials) -> Surface:
    """The colours of an OBJ file, where its own materials are in place of those of its vertices."""
    color, texture, uv = surface.color.copy(), surface.texture.copy(), surface.uv.copy()
    textures: list[np.ndarray] = []
    for number, name in enumerate(mesh.metadata['materials']):
        faces = mesh.metadata['material'] == number
        if name not in materials.by_name:
            continue
        color[faces] = materials.by_name[name].color or 1
        faces &= np.isfinite(mesh.metadata['uv']).all(axis=(1, 2))
        if faces.any() and (found := materials.texture(name)) is not None:
            picture, scale, offset = found
            uv[faces], texture[faces] = mesh.metadata['uv'][faces].astype(np.float32) * scale + offset, len(textures)
            textures.append(picture)
    return Surface(color, texture, uv, tuple(textures))
