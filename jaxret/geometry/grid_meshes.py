"""From a mesh to a distance grid and back. Letters: R voxels a side, N vertices, F faces."""

import numpy as np
import trimesh
from scipy.spatial import cKDTree

from jaxret.geometry.distance_grids import DistanceGrid
from jaxret.geometry.mesh import Mesh, normalize_mesh

EXTENT = 28  # voxels along the longest side of a model in a grid of 32, as in the public CAD grids
_SURFACE_POINTS = 20_000
# Voxels within this distance of the surface (in voxels) form a closed shell: sqrt(3) / 2 is the farthest that the
# nearest voxel centre can be from a point.
_SHELL = 0.9
_MOST_CELLS, _FREE = 64, 3  # of a cloud: along its longest side, and around it


# Where the middle of a model's box is in a grid of R: at index R / 2, as in the public CAD grids, or between the two
# middle voxels; as its distance from R / 2.
PLACEMENTS = {'published': 0.0, 'centered': -0.5}


def place_in_grid(mesh: Mesh, *, resolution: int = 32, extent: float = EXTENT, placement: str = 'published') -> Mesh:
    """The mesh in voxel indices: longest side `extent` voxels, its box in the middle of the grid (`PLACEMENTS`)."""
    unit = normalize_mesh(mesh, mode='cube')
    return Mesh(unit.vertices * extent + resolution / 2 + PLACEMENTS[placement], unit.faces)


def grid_from_mesh(
    mesh: Mesh, *, resolution: int = 32, extent: float = EXTENT, placement: str = 'published'
) -> DistanceGrid:
    """Unsigned distances of a mesh, scaled as `place_in_grid` does.

    They are distances to the triangle on which the nearest of 20,000 random points of the surface lies, always the same
    points: exact unless another triangle is nearer, then too long by a fraction of the spacing of the points.

    Args:
      mesh: in any units, y up.
      resolution: R.
      extent: voxels along the longest side.
      placement: one of `PLACEMENTS`.

    Returns:
      Distances with the longest side of the mesh as 2 units, as in the public CAD grids.
    """
    placed = place_in_grid(mesh, resolution=resolution, extent=extent, placement=placement)
    corners = placed.vertices[placed.faces]
    surface = trimesh.Trimesh(placed.vertices, placed.faces, process=False)
    points, face = trimesh.sample.sample_surface(surface, _SURFACE_POINTS, seed=0)
    centres = np.stack(np.meshgrid(*[np.arange(resolution)] * 3, indexing='ij'), axis=-1).reshape(-1, 3)
    distance, nearest = nearest_points(points, centres)
    with np.errstate(all='ignore'):  # triangles without area
        on_face = trimesh.triangles.closest_point(corners[face[nearest]], centres)
    distance = np.fmin(distance, np.linalg.norm(on_face - centres, axis=1)).reshape((resolution,) * 3)
    voxel_size = np.float32(2 / extent)
    matrix = np.diag(np.array([voxel_size, voxel_size, voxel_size, 1], np.float32))
    matrix[:3, 3] = -voxel_size * (resolution / 2 + PLACEMENTS[placement])
    return DistanceGrid((distance * voxel_size).astype(np.float32), float(voxel_size), matrix)


def nearest_points(points: np.ndarray, places: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Distance to, and index of, the nearest of points [N, 3] from each place [M, 3]: float64 [M], int64 [M]."""
    # an unbalanced tree is faster where most places are far from all points
    return cKDTree(points, balanced_tree=False, compact_nodes=False, leafsize=32).query(places)


def mesh_from_grid(grid: DistanceGrid) -> Mesh:
    """The surface that a distance grid describes, in voxel indices.

    The voxels near the surface form a shell; the squares of its boundary, seen from both sides, are moved onto the
    surface along the gradient of the distance: p - d(p) g / |g| (Newton's step, exact for planes). Works for unsigned
    distances, where sheets that are thinner than a voxel have no inside; the shell closes gaps under a voxel.

    Args:
      grid: signed or unsigned distances.

    Returns:
      A mesh of triangles, both sides of thin walls apart or on top of each other.

    Raises:
      ValueError: no voxel is near the surface.
    """
    distance = np.pad(np.abs(grid.values) / np.float32(grid.voxel_size), 1, mode='edge')
    distance[np.isinf(distance)] = distance[np.isfinite(distance)].max()
    shell = distance <= _SHELL
    for axis in range(3):  # a surface at the border is closed there
        np.moveaxis(shell, axis, 0)[[0, -1]] = False
    if not shell.any():
        raise ValueError('no voxel is near the surface')
    corners, faces = _boundary(shell)
    return Mesh(_on_surface(corners, distance) - 1, faces)


def mesh_from_points(points: np.ndarray) -> Mesh:
    """The surface that points lie on, without their normals: that of the cells near them (`mesh_from_grid`).

    Cells are as wide as the distance from a point to its fourth nearest, so that few gaps stay open, and not less than
    1 / 64 of the longest side.

    Args:
      points: [N, 3], N >= 2, not all at one place.
    """
    points = np.unique(np.asarray(points, np.float64), axis=0)
    near = cKDTree(points).query(points, k=min(5, len(points)))[0][:, -1]
    low, sides = points.min(axis=0), np.ptp(points, axis=0)
    cell = max(float(np.percentile(near, 90)), float(sides.max()) / _MOST_CELLS)
    shape = np.ceil(sides / cell).astype(int) + 2 * _FREE + 1
    centres = np.stack(np.meshgrid(*map(np.arange, shape), indexing='ij'), axis=-1).reshape(-1, 3)
    distance, _ = nearest_points((points - low) / cell + _FREE, centres)
    return mesh_from_grid(DistanceGrid(distance.reshape(shape).astype(np.float32), 1.0, np.eye(4, dtype=np.float32)))


def _boundary(shell: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Squares between voxels inside and outside as triangles: corners float64 [N, 3] in voxel indices, faces [F, 3]."""
    quads = []
    for axis in range(3):
        inside = np.moveaxis(shell, axis, 0)
        low = np.argwhere(inside[1:] != inside[:-1])  # the square between voxel i and i + 1 has corners at i + 1/2
        steps = np.array([(0, -1, -1), (0, 0, -1), (0, 0, 0), (0, -1, 0)])
        square = low[:, None] + steps  # integer corner c stands for index c + 1/2
        back = [0, 1, 2]
        back.insert(axis, back.pop(0))
        order = np.argsort([axis] + [other for other in range(3) if other != axis])
        quads.append(square[..., order])
    corners, index = np.unique(np.concatenate(quads).reshape(-1, 3), axis=0, return_inverse=True)
    square = index.reshape(-1, 4)
    return corners + 0.5, np.concatenate([square[:, [0, 1, 2]], square[:, [0, 2, 3]]])


def _on_surface(corners: np.ndarray, distance: np.ndarray) -> np.ndarray:
    """Corners moved onto the surface; the distance and its gradient at a corner come from the eight voxels around."""
    around = np.floor(corners).astype(np.int64)[:, None] + np.array(
        [(x, y, z) for x in (0, 1) for y in (0, 1) for z in (0, 1)]
    )
    values = distance[tuple(np.moveaxis(around, -1, 0))].reshape(-1, 2, 2, 2)
    gradient = np.stack([np.diff(values, axis=axis).mean(axis=(1, 2, 3)) for axis in (1, 2, 3)], axis=1)
    length = np.linalg.norm(gradient, axis=1, keepdims=True)
    step = values.mean(axis=(1, 2, 3))[:, None] / np.maximum(length, 0.5)  # a small gradient points nowhere
    return corners - np.minimum(step, 2.0) * gradient / np.maximum(length, 1e-6)
