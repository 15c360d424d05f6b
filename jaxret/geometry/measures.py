"""Facts of a mesh: its size, surface, volume, whether it is closed, its colours.

Letters: N vertices, F faces.
"""

from typing import Any

import numpy as np

from jaxret.geometry.mesh import Mesh, face_normals

UNITS = {'um': 0.001, 'mm': 1.0, 'cm': 10.0, 'in': 25.4, 'ft': 304.8, 'm': 1000.0}  # in millimetres
_DIGITS = 6  # as many as a file of float32 has for a difference of its coordinates
_ENCLOSED = 1e-9  # of the cube of the longest side: less is a sheet whose triangles lie on one another


def mesh_facts(mesh: Mesh, *, up_axis: str = 'y') -> dict[str, Any]:
    """What is known of a shape without comparing it, as JSON has it.

    Args:
      mesh: as `load_mesh` gives it, +y up.
      up_axis: the axis that points up in its file, 'y' or 'z': extents are those along the file's axes.

    Returns:
      name: of the product or scene in the file; '' for none.
      unit: of the file, one of `UNITS` or a number of mm, such as '2 mm'; None where it does not say.
      size: extents along x, y, z in the file's units; size_mm: in mm, None without a unit.
      area, volume: in mm^2 and mm^3, without a unit in the file's units. The volume is None where `enclosed_volume` is,
        or too large for a float64.
      triangles: F.
      watertight: whether it encloses a volume without a gap.
      colors: '#rrggbb' of its materials, that of most faces first.
    """
    size = mesh.vertices.max(axis=0) - mesh.vertices.min(axis=0)
    size = size[[0, 2, 1]] if up_axis == 'z' else size
    scale = mesh.millimetres or 1.0
    closed, volume = enclosed_volume(mesh)
    return {
        'name': mesh.name,
        'unit': None if mesh.millimetres is None else _unit(mesh.millimetres),
        'size': [_rounded(side) for side in size],
        'size_mm': None if mesh.millimetres is None else [_rounded(float(side) * scale) for side in size],
        'area': _rounded(surface_area(mesh) * scale**2),
        'volume': None if volume is None else _rounded(volume * scale**3),
        'triangles': len(mesh.faces),
        'watertight': closed,
        'colors': list(mesh.colors),
    }


def surface_area(mesh: Mesh) -> float:
    """Sum of the areas of all triangles, in squared units of the mesh."""
    corners, extent = _unit_corners(mesh)
    return float(np.linalg.norm(face_normals(corners), axis=1).sum() / 2) * extent**2


def enclosed_volume(mesh: Mesh) -> tuple[bool, float | None]:
    """Whether a surface is closed, and the volume that it encloses, by the divergence theorem.

    Equal vertices count as one. A surface is closed where each edge belongs to an even number of triangles, and these
    are no sheets lying on one another. Of several bodies the volumes add up, of a cavity (turned the other way) it is
    taken off.

    Args:
      mesh: the mesh.

    Returns:
      closed, and the volume in cubed units; None for an open surface, or one whose triangles do not agree on which
      side is the outer one.
    """
    faces = _merged(mesh.vertices)[mesh.faces]
    faces = faces[(faces != np.roll(faces, 1, axis=1)).all(axis=1)]  # a triangle without area closes nothing
    start, stop = faces.reshape(-1), np.roll(faces, -1, axis=1).reshape(-1)
    edges = np.minimum(start, stop) * (faces.max(initial=0) + 1) + np.maximum(start, stop)
    if not np.array_equal(np.sort(edges[start < stop]), np.sort(edges[start > stop])):  # in both directions as often
        edges = np.sort(edges)
        return len(edges) % 2 == 0 and np.array_equal(edges[::2], edges[1::2]), None
    volume, extent = _signed_volume(mesh)
    return (True, abs(volume) * extent**3) if abs(volume) > _ENCLOSED else (False, None)


def is_inside_out(mesh: Mesh) -> bool:
    """Whether a surface encloses a volume and its triangles look inwards."""
    return enclosed_volume(mesh)[1] is not None and _signed_volume(mesh)[0] < 0


def _signed_volume(mesh: Mesh) -> tuple[float, float]:
    """Volume in `_unit_corners`, below 0 where triangles look inwards; and the longest side there."""
    corners, extent = _unit_corners(mesh)
    a, b, c = np.moveaxis(corners, 1, 0)
    return float(np.einsum('fk,fk->', a, np.cross(b, c))) / 6, extent


def _unit_corners(mesh: Mesh) -> tuple[np.ndarray, float]:
    """Corners [F, 3, 3] with the longest side of the bounding box 1, its centre at 0; and that side."""
    low, high = mesh.vertices.min(axis=0), mesh.vertices.max(axis=0)
    extent = float((high - low).max())
    return ((mesh.vertices - low) / extent - (high - low) / (2 * extent))[mesh.faces], extent


def _merged(vertices: np.ndarray) -> np.ndarray:
    """Number [N] of each vertex, that of equal ones the same."""
    merged = np.zeros(len(vertices), np.int64)
    for column in vertices.T:
        values, places = np.unique(column, return_inverse=True)
        _, merged = np.unique(merged * len(values) + places, return_inverse=True)
    return merged


def _unit(millimetres: float) -> str:
    """Name of a unit of this length."""
    named = next((name for name, length in UNITS.items() if np.isclose(millimetres, length, rtol=1e-6)), None)
    return named or f'{millimetres:.6g} mm'


def _rounded(value: float) -> float | None:
    """With as many digits as count; None where it is too large for a float64."""
    return float(f'{value:.{_DIGITS}g}') if np.isfinite(value) else None
