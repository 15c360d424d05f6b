"""Polygons into triangles: area, sense and count, whatever their form and the way they lie."""

import numpy as np
import pytest

from jaxret.geometry.formats import UnusableMesh
from jaxret.geometry.polygons import MAX_WORK, cut_concave, triangulate

U = [(0, 0), (3, 0), (3, 3), (2, 3), (2, 1), (1, 1), (1, 3), (0, 3)]
SPIRAL_TURNS = np.linspace(0, 5 * np.pi, 40)
SHAPES = {
    'arrow': [(0, 0), (2, -1), (0, 2), (-2, -1)],
    'U': U,
    'L': [(0, 0), (2, 0), (2, 1), (1, 1), (1, 2), (0, 2)],
    'plus': [(1, 0), (2, 0), (2, 1), (3, 1), (3, 2), (2, 2), (2, 3), (1, 3), (1, 2), (0, 2), (0, 1), (1, 1)],
    'frame, cut open': [(0, 0), (4, 0), (4, 4), (0, 4), (0, 0), (1, 1), (1, 3), (3, 3), (3, 1), (1, 1)],
    'straight corners': [
        (0, 0),
        (1, 0),
        (2, 0),
        (3, 0),
        (3, 3),
        (2, 3),
        (2, 2),
        (2, 1),
        (1, 1),
        (1, 3),
        (0, 3),
        (0, 1),
    ],
    'other straight corners': [
        (0, 0),
        (1, 0),
        (3, 0),
        (3, 1),
        (3, 3),
        (2, 3),
        (2, 1),
        (1.5, 1),
        (1, 1),
        (1, 3),
        (0, 3),
    ],
    'a corner twice': [(0, 0), (3, 0), (3, 3), (2, 3), (2, 1), (2, 1), (1, 1), (1, 3), (0, 3)],
    'small notch in a long side': [(0, 0), (1000, 0), (1000, 5), (500.1, 5), (500, 4.9), (499.9, 5), (0, 5)],
    'comb': [(x, 3 if x % 2 else 1) for x in range(20, -1, -1)] + [(x, 0) for x in range(21)],
    'spiral': [(t * np.cos(t), t * np.sin(t)) for t in SPIRAL_TURNS + 1.5]
    + [(t * np.cos(t + 1.5), t * np.sin(t + 1.5)) for t in SPIRAL_TURNS[::-1]],
}


def shoelace(points):
    x, y = np.array(points, float).T
    return abs(np.sum(x * np.roll(y, -1) - y * np.roll(x, -1))) / 2


@pytest.mark.parametrize('name', SHAPES)
@pytest.mark.parametrize('reverse', [False, True])
def test_a_concave_polygon_covers_itself_and_nothing_else(name, reverse):
    generator = np.random.default_rng(3)
    points = np.array(SHAPES[name][:: -1 if reverse else 1], float)
    area, count = shoelace(points), len(points)
    for shift in range(0, count, 1 + count // 12):
        turn = np.linalg.qr(generator.normal(size=(3, 3)))[0] if shift else np.eye(3)
        corners = np.roll(np.c_[points, np.zeros(count)], shift, axis=0) @ turn.T + generator.normal(size=3)
        triangles = np.array(cut_concave(np.arange(count), np.array([count]), corners)[0])
        assert len(triangles) == count - 2 and set(triangles.flat) == set(range(count))
        a, b, c = np.moveaxis(corners[triangles], 1, 0)
        signed = np.cross(b - a, c - a) @ (turn[:, 2] * np.linalg.det(turn)) / 2 * (-1 if reverse else 1)
        assert signed.min() > -1e-9 * area and signed.sum() == pytest.approx(area)


def test_convex_polygons_are_left_alone():
    angles = np.linspace(0, 2 * np.pi, 30, endpoint=False)
    circle = np.c_[np.cos(angles), np.sin(angles), np.zeros(30)]
    folded = np.array([(0, 0, 0), (1, 0, 0), (1, 1, 0.2), (0, 1, 0)])
    flat = np.zeros((5, 3))
    for corners in (circle, circle[::-1], folded, flat[:4], circle.round(4)):
        assert cut_concave(np.arange(len(corners)), np.array([len(corners)]), corners) == {}
    absent = np.array([0, 1, 9, 3, 0, -1, 2, 3])  # for the reader to name
    assert cut_concave(absent, np.array([4, 4]), folded) == {}


def test_faces_of_all_sizes_keep_their_owner():
    points = np.c_[np.array(U, float), np.zeros(8)]
    faces = [[0, 1, 4], list(range(8)), [0, 1, 4, 5], [2, 3], [7, 6, 5, 4, 3, 2, 1, 0], [1, 2, 3, 4]]
    indices = np.concatenate(faces)
    triangles, owners = triangulate(indices, np.array([len(face) for face in faces]), points)
    assert len(triangles) == 1 + 6 + 2 + 6 + 2 and triangles.dtype == np.int64
    a, b, c = np.moveaxis(points[indices[triangles]], 1, 0)
    areas = np.cross(b - a, c - a)[:, 2] / 2
    found = [areas[owners == place].sum() for place in range(len(faces))]
    np.testing.assert_allclose(found, [1.5, 7, 2, 0, -7, 2.5])


def test_too_many_corners():
    angles = np.linspace(0, 2 * np.pi, int(MAX_WORK**0.5) + 2, endpoint=False)
    star = np.c_[np.cos(angles), np.sin(angles), angles * 0] * np.where(np.arange(len(angles)) % 2, 1, 0.5)[:, None]
    with pytest.raises(UnusableMesh, match='corners'):
        cut_concave(np.arange(len(star)), np.array([len(star)]), star)
