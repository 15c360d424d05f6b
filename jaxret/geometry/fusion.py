"""Depth pictures fused into one distance grid (Curless and Levoy, SIGGRAPH 1996), as scanning systems do.

Letters: V cameras, P pixels, R voxels a side, N surface points.
"""

from dataclasses import dataclass

import numpy as np

from jaxret.geometry.depth_cameras import Cameras, DepthPictures
from jaxret.geometry.grid_meshes import nearest_points

_FINE = 2  # voxels of the fused volume along a voxel of the result


@dataclass(frozen=True, eq=False)
class Fused:
    """Signed distances and the observed surface, in voxels.

    Attributes:
      distance: float32 [R, R, R]; to the observed surface, positive in space that was seen to be free.
      mask: bool [R, R, R]: within one voxel of the observed surface, whose nearest point is of the object.
      surface: float64 [N, 3], the observed surface in voxel indices.
    """

    distance: np.ndarray
    mask: np.ndarray
    surface: np.ndarray


def fuse(
    pictures: DepthPictures, cameras: Cameras, *, resolution: int, grid_to_scene: np.ndarray, truncation: float
) -> Fused | None:
    """Averages truncated distances along the rays, then measures the distance to where they change sign.

    Args:
      pictures: V pictures.
      cameras: where their cameras are believed to be.
      resolution: R.
      grid_to_scene: float64 [4, 4], from voxel indices to the scene's coordinates; a rotation, scale and shift.
      truncation: largest distance behind a surface of which a ray still tells, in voxels.

    Returns:
      The grid, or None where no surface was observed.
    """
    fine = resolution * _FINE
    steps = (np.arange(fine) + 0.5) / _FINE - 0.5
    indices = np.stack(np.meshgrid(steps, steps, steps, indexing='ij'), axis=-1).reshape(-1, 3)
    places = (indices @ grid_to_scene[:3, :3].T + grid_to_scene[:3, 3]).astype(np.float32)  # twice as fast
    reach = truncation * np.cbrt(np.linalg.det(grid_to_scene[:3, :3]))
    total, weight, votes = (np.zeros(len(places), np.float32) for _ in range(3))
    for camera in range(len(cameras.positions)):
        pixel, range_ = cameras.project(camera, places)
        measured = np.append(pictures.depth[camera], np.inf).astype(np.float32)  # pixel -1: not in the picture
        depth = measured[pixel]
        signed = depth - range_
        seen = np.flatnonzero(np.isfinite(depth) & (signed > -reach))
        total[seen] += np.minimum(signed[seen], reach)
        weight[seen] += 1
        near = seen[signed[seen] < reach]
        votes[near] += np.where(pictures.label[camera][pixel[near]], 1, -1)
    shape = (fine,) * 3
    weight = weight.reshape(shape)
    mean = np.where(weight > 0, total.reshape(shape) / np.maximum(weight, 1), -reach) / reach * truncation
    surface, owned = _zero_crossings(mean, weight > 0, votes.reshape(shape), truncation)
    if not len(surface):
        return None
    centres = np.stack(np.meshgrid(*[np.arange(resolution)] * 3, indexing='ij'), axis=-1).reshape(-1, 3)
    distance, nearest = nearest_points(surface, centres)
    grid = (resolution,) * 3
    free = mean.reshape(resolution, _FINE, resolution, _FINE, resolution, _FINE).mean(axis=(1, 3, 5)) > 0
    mask = ((distance <= 1) & owned[nearest]).reshape(grid)
    return Fused(np.where(free, 1, -1).astype(np.float32) * distance.reshape(grid).astype(np.float32), mask, surface)


def _zero_crossings(
    mean: np.ndarray, seen: np.ndarray, votes: np.ndarray, truncation: float
) -> tuple[np.ndarray, np.ndarray]:
    """Points between neighbouring seen voxels of opposite sign, in coarse voxel indices, and whether they are the
    object's.

    A jump from one end of the truncated range to the other is no surface but the shadow of one.
    """
    points, owned = [], []
    for axis in range(3):
        value, known, vote = (np.moveaxis(array, axis, 0) for array in (mean, seen, votes))
        first, second = value[:-1], value[1:]
        crossing = known[:-1] & known[1:] & ((first > 0) != (second > 0)) & (np.abs(first - second) < truncation)
        low = np.argwhere(crossing)
        share = first[crossing] / (first[crossing] - second[crossing])
        place = low.astype(np.float64)
        place[:, 0] += share
        order = np.argsort([axis] + [other for other in range(3) if other != axis])
        points.append((place[:, order] + 0.5) / _FINE - 0.5)
        owned.append((vote[:-1] + vote[1:])[crossing] > 0)
    return np.concatenate(points), np.concatenate(owned)
