"""Small pictures of voxel grids: solid cubes seen from one side above, by following rays from cell to cell.

Letters: N grids, R cells a side, S picture side, M rays of a picture, T cells along a ray.
"""

from functools import lru_cache

import numpy as np
from PIL import ImageColor

from jaxret.geometry.render import ViewRing, camera_axes
from jaxret.reports.palette import BLUE, ORANGE, SOFT

OBJECT, CLUTTER = 1, 2  # values of a cell and how they are painted: blue, orange
_PALETTE = np.array([ImageColor.getrgb(colour) for colour in (SOFT, BLUE, ORANGE)], np.float32)  # of cells 0, 1, 2
_PALETTE[1:] += 0.25 * (255 - _PALETTE[1:])  # lighter, so that shades can be told
_SHADES = np.array([0.78, 1.0, 0.6], np.float32)  # of faces across x, y (seen from above), z
_SAMPLES = 2  # rays a pixel along each side


def draw_voxels(grids: np.ndarray, *, size: int = 96, azimuth: float = 35.0, elevation: float = 25.0) -> np.ndarray:
    """Pictures of grids, all from one camera, so that they can be compared.

    Args:
      grids: [N, R, R, R], indexed x, y, z, y up: 0 is empty, else OBJECT or CLUTTER.
      size: S.
      azimuth, elevation: of the camera, in degrees, as in `jaxret.geometry.render`.

    Returns:
      uint8 [N, S, S, 3].
    """
    grids = np.asarray(grids, np.uint8)
    side, pixels = grids.shape[-1], size * _SAMPLES
    cells, axes = _ray_cells(side, pixels, azimuth, elevation)
    pictures = np.empty((len(grids), size, size, 3), np.uint8)
    for grid, picture in zip(grids, pictures, strict=True):
        met = np.append(grid.reshape(-1), np.uint8(0))[cells]  # [M, T]; outside the grid is empty
        first = np.argmax(met != 0, axis=1)[:, None]
        kind = np.take_along_axis(met, first, axis=1)[:, 0]
        shade = np.where(kind, _SHADES[np.take_along_axis(axes, first, axis=1)[:, 0]], np.float32(1))
        colour = _PALETTE[kind] * shade[:, None]
        blocks = colour.reshape(size, _SAMPLES, size, _SAMPLES, 3)
        picture[...] = np.rint(blocks.mean(axis=(1, 3)))
    return pictures


@lru_cache(maxsize=2)
def _ray_cells(side: int, pixels: int, azimuth: float, elevation: float) -> tuple[np.ndarray, np.ndarray]:
    """Cells that each parallel ray passes, in order: flat index int32 [M, T], R^3 outside; and the axis across which it
    came into them, int8 [M, T].

    Source: Amanatides and Woo, "A Fast Voxel Traversal Algorithm for Ray Tracing", Eurographics 1987.
    """
    right, up, backward = camera_axes(ViewRing(views=1, first_azimuth=azimuth, elevation=elevation))[0]
    half = side / 2 * max(np.abs(right).sum(), np.abs(up).sum())  # the whole grid just fits
    across = ((np.arange(pixels) + 0.5) / pixels * 2 - 1) * half
    x, y = (plane.reshape(-1, 1) for plane in np.meshgrid(across, -across))
    direction = -backward
    direction = np.where(np.abs(direction) < 1e-9, 1e-9, direction)
    origins = side / 2 + x * right + y * up + 2 * side * backward  # [M, 3]
    near = np.minimum((0 - origins) / direction, (side - origins) / direction)
    axis, enter = near.argmax(axis=1), near.max(axis=1)
    cell = np.floor(origins + (enter[:, None] + 1e-6) * direction).astype(np.int64)
    step = np.where(direction > 0, 1, -1)
    following = (cell + (direction > 0) - origins) / direction  # where the ray leaves the cell, along each axis
    cells, axes = [], []
    rays = np.arange(len(origins))
    for _ in range(3 * side):
        inside = ((cell >= 0) & (cell < side)).all(axis=1)
        flat = (cell[:, 0] * side + cell[:, 1]) * side + cell[:, 2]
        cells.append(np.where(inside, flat, side**3).astype(np.int32))
        axes.append(axis.astype(np.int8))
        axis = following.argmin(axis=1)
        cell[rays, axis] += step[axis]
        following[rays, axis] += 1 / np.abs(direction[axis])
    return np.stack(cells, axis=1), np.stack(axes, axis=1)
