"""Slow references for grids: loops, one voxel or one point at a time."""

import math
import struct

import numpy as np


def grid_bytes(dims, voxel_size, matrix, values, code, *, by_column=False):
    """A grid file as the public code packs it: header, matrix row by row or not, x fastest; code 'f' or 'B'."""
    data = struct.pack('<3I', *dims) + struct.pack('<f', voxel_size)
    order = [(a, b) for a in range(4) for b in range(4)]
    data += struct.pack('<16f', *[matrix[b][a] if by_column else matrix[a][b] for a, b in order])
    for z in range(dims[2]):
        for y in range(dims[1]):
            for x in range(dims[0]):
                data += struct.pack(f'<{code}', values[x, y, z])
    return data


def moved_grid(grid, *, turn, rotations, mirrored, shift):
    """Turned about the up axis, then mirrored in x, then shifted; each voxel looks up where it came from."""
    side, height = grid.shape[0], grid.shape[1]
    middle, angle = (side - 1) / 2, 2 * math.pi * turn / rotations
    out = np.zeros_like(grid)
    for x in range(side):
        for y in range(height):
            for z in range(side):
                before = [x - shift[0], y - shift[1], z - shift[2]]
                if not all(0 <= place < limit for place, limit in zip(before, grid.shape, strict=True)):
                    continue
                a, c = (side - 1 - before[0] if mirrored else before[0]) - middle, before[2] - middle
                # (x, z) = (r sin azimuth, r cos azimuth), and the azimuth was smaller by the angle
                azimuth, radius = math.atan2(a, c) - angle, math.hypot(a, c)
                source = [radius * math.sin(azimuth) + middle, radius * math.cos(azimuth) + middle]
                i, k = (round(round(place, 6)) for place in source)
                if 0 <= i < side and 0 <= k < side:
                    out[x, y, z] = grid[i, before[1], k]
    return out


def point_triangle(point, corners):
    """Distance from a point to a triangle: to the plane where the foot lies inside, else to the edges."""
    a, b, c = (np.asarray(corner, float) for corner in corners)
    normal = np.cross(b - a, c - a)
    foot = point - normal * (np.dot(point - a, normal) / np.dot(normal, normal))
    sides = [np.dot(np.cross(end - start, foot - start), normal) for start, end in ((a, b), (b, c), (c, a))]
    if min(sides) >= 0:
        return float(np.linalg.norm(point - foot))
    best = math.inf
    for start, end in ((a, b), (b, c), (c, a)):
        share = np.clip(np.dot(point - start, end - start) / np.dot(end - start, end - start), 0, 1)
        best = min(best, float(np.linalg.norm(point - start - share * (end - start))))
    return best


def overlap(first, second):
    """Intersection over union, voxel by voxel."""
    both = either = 0
    for a, b in zip(first.ravel(), second.ravel(), strict=True):
        both, either = both + bool(a and b), either + bool(a or b)
    return both / either if either else 1.0
