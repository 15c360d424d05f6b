"""How far apart two shapes are: modified Hausdorff distance and voxel IoU.

Letters: N and M points.
"""

import numpy as np
from scipy.spatial import cKDTree


def modified_hausdorff(x: np.ndarray, y: np.ndarray) -> float:
    """Mean distance from each point of two sets to the nearest point of the other set.

    (sum_x min_y |x - y| + sum_y min_x |x - y|) / (N + M), as in CMIC's evaluation code (Lin et al., ICCV 2021). It is a
    mean, not the maximum of the classical Hausdorff distance.

    Args:
      x: [N, 3], finite. CMIC: 10,000 surface points, coordinates scaled so that the longest side is 1.
      y: [M, 3], finite.

    Returns:
      The distance, in the units of the points.

    Raises:
      ValueError: if a set is empty, not [N, 3], or not finite.
    """
    x, y = np.asarray(x, np.float64), np.asarray(y, np.float64)
    for name, points in (('x', x), ('y', y)):
        if points.ndim != 2 or points.shape[1] != 3 or len(points) == 0:
            raise ValueError(f'{name} must be a non-empty [N, 3] array, not {points.shape}')
        if not np.isfinite(points).all():
            raise ValueError(f'{name} has points that are not finite')
    from_x, _ = cKDTree(y).query(x)
    from_y, _ = cKDTree(x).query(y)
    return float((from_x.sum() + from_y.sum()) / (len(x) + len(y)))


def voxel_iou(a: np.ndarray, b: np.ndarray) -> float:
    """Intersection over union of two occupancy grids; two empty grids are equal: 1.

    Args:
      a: bool, any shape.
      b: bool, the same shape.

    Returns:
      A value in [0, 1].

    Raises:
      ValueError: if the shapes differ.
    """
    a, b = np.asarray(a, bool), np.asarray(b, bool)
    if a.shape != b.shape:
        raise ValueError(f'the grids have shapes {a.shape} and {b.shape}')
    union = np.count_nonzero(a | b)
    return np.count_nonzero(a & b) / union if union else 1.0
