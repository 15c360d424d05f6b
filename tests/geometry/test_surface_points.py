"""Surface samples: on the surface, spread by area, the same for the same seed."""

import numpy as np
import pytest
import trimesh

from jaxret.geometry.mesh import Mesh
from jaxret.geometry.points import sample_surface


def two_triangles():
    """Areas 0.5 in z = 0 and 1.5 in z = 1, with a face without area between them."""
    vertices = np.array([[0.0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1], [3, 0, 1], [0, 1, 1]])
    return Mesh(vertices, np.array([[0, 1, 2], [0, 0, 1], [3, 4, 5]]))


def test_weighted_by_area_and_uniform_inside():
    points = sample_surface(two_triangles(), 40_000, seed=0)
    assert points.shape == (40_000, 3) and points.dtype == np.float32
    upper = points[:, 2] == 1
    assert upper.mean() == pytest.approx(0.75, abs=0.01)
    np.testing.assert_allclose(points[upper].mean(axis=0), (1, 1 / 3, 1), atol=0.02)  # the centroid
    assert (points[upper, 0] / 3 + points[upper, 1] <= 1 + 1e-6).all() and (points >= 0).all()
    # a quarter of the area of a triangle lies in each half-size triangle at its corners
    assert (points[upper, 0] > 1.5).mean() == pytest.approx(0.25, abs=0.015)


def test_seed_decides():
    first, same, other = (sample_surface(two_triangles(), 50, seed=seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, same)
    assert (first != other).any()
    assert sample_surface(two_triangles(), 0, seed=0).shape == (0, 3)


def test_points_lie_on_a_sphere():
    ball = trimesh.creation.icosphere(subdivisions=4)
    points = sample_surface(Mesh(np.asarray(ball.vertices), np.asarray(ball.faces)), 2000, seed=0)
    np.testing.assert_allclose(np.linalg.norm(points, axis=1), 1, atol=0.01)
    np.testing.assert_allclose(points.mean(axis=0), 0, atol=0.05)


def test_nothing_to_sample():
    flat = Mesh(np.zeros((3, 3)), np.array([[0, 1, 2]]))
    with pytest.raises(ValueError, match='no surface'):
        sample_surface(flat, 10, seed=0)
    with pytest.raises(ValueError, match='count'):
        sample_surface(two_triangles(), -1, seed=0)
