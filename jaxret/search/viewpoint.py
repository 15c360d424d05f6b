"""From where a photo was taken, by how well a shape's pictures from known cameras fit it: between them, too. No JAX.

Letters: V cameras, S shapes.
"""

import numpy as np


def refined_poses(scores: np.ndarray, poses: np.ndarray, *, reach: float, temperature: float) -> np.ndarray:
    """The mean direction of the cameras near the best one, each weighted by exp(score / temperature).

    Args:
      scores: [S, V] of a photo and each camera's picture.
      poses: [V, 2], azimuth and elevation of the cameras in degrees.
      reach: degrees from the best camera within which others count.
      temperature: above 0.

    Returns:
      float64 [S, 2]: azimuth in [0, 360) and elevation.
    """
    azimuth, elevation = np.radians(np.asarray(poses, np.float64)).T
    directions = np.stack(
        [np.cos(elevation) * np.sin(azimuth), np.sin(elevation), np.cos(elevation) * np.cos(azimuth)], axis=1
    )
    scores = np.asarray(scores, np.float64)
    near = (directions @ directions.T)[scores.argmax(axis=1)] >= np.cos(np.radians(reach))
    weights = np.where(near, np.exp((scores - scores.max(axis=1, keepdims=True)) / temperature), 0)
    x, y, z = (weights @ directions).T
    return np.stack([np.degrees(np.arctan2(x, z)) % 360, np.degrees(np.arctan2(y, np.hypot(x, z)))], axis=1)
