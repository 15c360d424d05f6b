"""Slow oracles for geometry, written as loops over points, pixels and triangles."""

import math

import numpy as np


def modified_hausdorff(x, y):
    total = 0.0
    for one, other in ((x, y), (y, x)):
        for point in one:
            total += min(math.dist(point, candidate) for candidate in other)
    return total / (len(x) + len(y))


def voxel_iou(a, b):
    both = either = 0
    for one, other in zip(a.ravel().tolist(), b.ravel().tolist(), strict=True):
        both += one and other
        either += one or other
    return both / either if either else 1.0


def hit_distance(origin, direction, triangle):
    """Distance along a ray to a triangle, or None (plane intersection, then the same side of all three edges)."""
    a, b, c = triangle
    normal = np.cross(b - a, c - a)
    slope = direction @ normal
    if slope == 0:
        return None
    distance = (a - origin) @ normal / slope
    point = origin + distance * direction
    sides = [np.cross(end - start, point - start) @ normal for start, end in ((a, b), (b, c), (c, a))]
    return distance if distance > 0 and min(sides) >= 0 else None


def rotation(axis, degrees):
    """Right-handed rotation about x or y."""
    c, s = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    if axis == 'x':
        return np.array([[1, 0, 0], [0, c, -s], [0, s, c]])
    return np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]])


def render_view(vertices, faces, ring, view):
    """One view of a mesh already inside the unit sphere: a camera on +z is tilted up, then turned about +y."""
    half = math.radians(ring.field_of_view) / 2
    turn = rotation('y', ring.first_azimuth + view * 360 / ring.views) @ rotation('x', -ring.elevation)
    origin = turn @ np.array([0, 0, 1 / math.sin(half)])
    light = turn @ rotation('y', ring.light_azimuth) @ rotation('x', -ring.light_elevation) @ np.array([0.0, 0, 1])
    image = np.full((ring.size, ring.size), ring.background, np.uint8)
    for row in range(ring.size):
        for column in range(ring.size):
            x = (2 * (column + 0.5) / ring.size - 1) * math.tan(half)
            y = (1 - 2 * (row + 0.5) / ring.size) * math.tan(half)
            direction = turn @ np.array([x, y, -1.0])
            nearest = math.inf
            for face in faces:
                distance = hit_distance(origin, direction, vertices[face])
                if distance is not None and distance < nearest:
                    nearest = distance
                    a, b, c = vertices[face]
                    normal = np.cross(b - a, c - a)
                    normal = normal / np.linalg.norm(normal)
                    normal = -normal if normal @ direction > 0 else normal
                    grey = ring.ambient + ring.diffuse * max(0.0, normal @ light)
                    image[row, column] = round(255 * grey)
    return image


def face_feature_rows(vertices, faces):
    """MeshNet's 15 values of each face, one face at a time."""
    rows = []
    for a, b, c in faces:
        corners = [vertices[a], vertices[b], vertices[c]]
        centre = sum(corners) / 3
        normal = np.cross(corners[1] - corners[0], corners[2] - corners[0])
        length = math.sqrt(float(normal @ normal))
        rows.append([*centre, *(value for corner in corners for value in corner - centre), *(normal / length)])
    return np.array(rows)


def neighbor_rows(faces):
    """Face across each edge: the next one, in the order of indices and around, of those that have the edge."""
    sides = {}
    for face, corners in enumerate(faces):
        for k in range(3):
            sides.setdefault(frozenset((int(corners[k]), int(corners[(k + 1) % 3]))), []).append(face)
    rows = []
    for face, corners in enumerate(faces):
        row = []
        for k in range(3):
            sharing = sides[frozenset((int(corners[k]), int(corners[(k + 1) % 3])))]
            row.append(sharing[(sharing.index(face) + 1) % len(sharing)])
        rows.append(row)
    return np.array(rows)
