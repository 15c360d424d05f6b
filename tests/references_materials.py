"""Slow oracles of textured views: where a ray meets a triangle, and which texel is seen there."""

import math

import numpy as np


def weights_of(triangle, origin, direction):
    """Weights of the corners, by solving origin + t direction = w0 a + w1 b + w2 c with w0 + w1 + w2 = 1."""
    a, b, c = (np.asarray(corner, np.float64) for corner in triangle)
    system = np.column_stack([b - a, c - a, -np.asarray(direction, np.float64)])
    w1, w2, _ = np.linalg.solve(system, np.asarray(origin, np.float64) - a)
    return np.array([1 - w1 - w2, w1, w2])


def texel(picture, u, v):
    """Nearest texel of a repeated picture whose v runs upwards, in [0, 1]."""
    height, width = picture.shape[:2]
    column, row = math.floor((u - math.floor(u)) * width), math.floor(((1 - v) - math.floor(1 - v)) * height)
    return picture[min(row, height - 1), min(column, width - 1)] / 255
