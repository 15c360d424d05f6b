"""A mesh with fewer faces: duplicates welded, then quadric simplification (Garland and Heckbert, SIGGRAPH 1997).

Letters: N vertices, F faces.
"""

import contextlib
from dataclasses import replace

import fast_simplification
import numpy as np

from jaxret.geometry.mesh import Mesh, face_normals

# Both as a share of the longest side: vertices closer than this are one, and a face of less area (squared) is a line.
_SAME_PLACE = 1e-7
_NO_AREA = 1e-12


def weld_mesh(mesh: Mesh) -> Mesh:
    """Merges vertices at one place and drops faces that then have no area or occur twice (in either orientation).

    Files often repeat the vertices of every face (STL) or every face for its other side; without welding no face has a
    neighbour, or every edge has four.

    Args:
      mesh: any checked mesh.

    Returns:
      the mesh, faces in their old order; of equal faces the first.

    Raises:
      ValueError: no face has an area.
    """
    low, extent = mesh.vertices.min(axis=0), np.ptp(mesh.vertices, axis=0).max()
    cells = np.rint((mesh.vertices - low) / (extent * _SAME_PLACE)).astype(np.int64)
    _, first, index = np.unique(cells, axis=0, return_index=True, return_inverse=True)
    faces = first[index.reshape(-1)][mesh.faces]  # the first vertex of each place stands for all
    corners = mesh.vertices[faces] / extent
    areas = np.linalg.norm(face_normals(corners), axis=1)
    faces = faces[areas > _NO_AREA]
    if not len(faces):
        raise ValueError('the mesh has no face with an area')
    _, kept = np.unique(np.sort(faces, axis=1), axis=0, return_index=True)
    return _compact(replace(mesh, faces=faces[np.sort(kept)]))


def simplify_mesh(mesh: Mesh, *, max_faces: int) -> Mesh:
    """Welds a mesh and reduces it to at most `max_faces` faces.

    Edges are collapsed in the order of their quadric error. A mesh of many loose pieces cannot be reduced so far that
    way; of what is left, the faces with the largest area are kept.

    Args:
      mesh: any checked mesh.
      max_faces: at least 1.

    Returns:
      a mesh of 1 to `max_faces` faces, each with an area.

    Raises:
      ValueError: no face has an area, or `max_faces` is less than 1.
    """
    if max_faces < 1:
        raise ValueError(f'max_faces must be at least 1, not {max_faces}')
    welded = weld_mesh(mesh)
    if len(welded.faces) <= max_faces:
        return welded
    # the library's error thresholds are absolute: the unit cube
    low, extent = welded.vertices.min(axis=0), np.ptp(welded.vertices, axis=0).max()
    vertices, faces = fast_simplification.simplify(
        (welded.vertices - low) / extent, welded.faces.astype(np.int32), target_count=max_faces
    )
    vertices = np.asarray(vertices, np.float64) * extent + low
    reduced = replace(mesh, vertices=vertices, faces=np.asarray(faces, np.int64))
    if len(reduced.faces) and np.isfinite(reduced.vertices).all() and np.ptp(reduced.vertices, axis=0).any():
        with contextlib.suppress(ValueError):  # only lines are left: rather the largest faces of the whole mesh
            welded = weld_mesh(reduced)
    if len(welded.faces) <= max_faces:
        return welded
    corners = welded.vertices[welded.faces]
    areas = np.linalg.norm(face_normals(corners), axis=1)
    largest = np.sort(np.argsort(-areas, kind='stable')[:max_faces])
    return _compact(replace(welded, faces=welded.faces[largest]))


def _compact(mesh: Mesh) -> Mesh:
    """Without vertices that no face uses."""
    used = np.zeros(len(mesh.vertices), bool)
    used[mesh.faces] = True
    return replace(mesh, vertices=mesh.vertices[used], faces=(np.cumsum(used) - 1)[mesh.faces])
