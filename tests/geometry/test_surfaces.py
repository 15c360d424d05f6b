"""Surfaces: distances against a loop over all triangles, tolerances of curves, and what must not depend on a mesh."""

import numpy as np
import pytest
import trimesh

from jaxret.geometry.mesh import Mesh
from jaxret.geometry.points import surface_points
from jaxret.geometry.surfaces import Surface


def mesh_of(made):
    return Mesh(np.asarray(made.vertices, float), np.asarray(made.faces, np.int64))


def slow_distance(point, corners):
    """The least distance to a triangle: to its sides, or to its plane where the foot is within them."""
    least = np.inf
    for a, b, c in corners:
        for start, end in ((a, b), (b, c), (c, a)):
            side = end - start
            share = min(max((point - start) @ side / (side @ side), 0), 1)
            least = min(least, np.linalg.norm(point - start - share * side))
        normal = np.cross(b - a, c - a)
        foot = point - (point - a) @ normal / (normal @ normal) * normal
        turns = [np.cross(end - start, foot - start) @ normal for start, end in ((a, b), (b, c), (c, a))]
        if min(turns) >= 0:
            least = min(least, np.linalg.norm(point - foot))
    return least


def test_nearest_is_exact_where_it_decides():
    generator = np.random.default_rng(0)
    corners = generator.normal(size=(40, 3, 3)) * np.geomspace(0.05, 2, 40)[:, None, None]  # large and small
    surface = Surface(Mesh(corners.reshape(-1, 3), np.arange(120).reshape(-1, 3)))
    points = generator.normal(size=(60, 3)) * 2
    expected = np.array([slow_distance(point, surface.corners) for point in points])
    distances, far = surface.nearest(points, np.full(60, 100.0))
    assert distances.max() == pytest.approx(expected.max(), rel=0.011) and (distances >= expected - 1e-7).all()
    assert not far.any()
    limit = np.full(60, expected.max() - 1e-4)
    assert surface.nearest(points, limit)[1].any()
    # of each alone the distance is the largest, so it is exact
    for point, value in zip(points[:10], expected, strict=False):
        assert surface.nearest(point[None], np.zeros(1))[0][0] == pytest.approx(value, abs=1e-7)


def test_frame_of_a_box_and_its_moments():
    box = trimesh.creation.box(extents=(2, 4, 6))
    box.apply_translation([1e6, 5, -3])
    surface = Surface(mesh_of(box))
    np.testing.assert_allclose(surface.centre, [1e6, 5, -3])
    # a face is at +-half its axis; over the others' area their second moment is side^2 / 12
    areas = np.array([4 * 6, 2 * 6, 2 * 4]) * 2.0
    second = [
        (areas[axis] * (side / 2) ** 2 + (areas.sum() - areas[axis]) * side**2 / 12) / areas.sum()
        for axis, side in enumerate((2, 4, 6))
    ]
    assert surface.radius == pytest.approx(np.sqrt(sum(second)))
    np.testing.assert_allclose(surface.moments, sorted(np.array(second) / sum(second), reverse=True))
    assert surface.side == pytest.approx(6 / surface.radius)
    assert (surface.sagitta == 0).all()


def test_sagitta_is_of_curves_and_not_of_flat_faces():
    surface = Surface(mesh_of(trimesh.creation.cylinder(radius=1, height=3, sections=24)))
    flat = np.abs(surface.normals[:, 2]) > 0.9
    width, angle = 2 * np.sin(np.pi / 24), 2 * np.pi / 24
    np.testing.assert_allclose(surface.sagitta[~flat] * surface.radius, width * angle / 4)
    assert (surface.sagitta[flat] == 0).all()
    assert (width * angle / 4) > 1 - np.cos(np.pi / 24)  # more than what a cylinder needs
    ball = Surface(mesh_of(trimesh.creation.icosphere(subdivisions=3)))
    depth = 1 - np.linalg.norm(ball.corners.mean(axis=1) * ball.radius, axis=1)
    assert (ball.sagitta * ball.radius > 0.6 * depth).all() and (ball.sagitta * ball.radius < 2 * depth).all()


def test_probes_are_past_sharp_edges_only():
    assert len(Surface(mesh_of(trimesh.creation.icosphere(subdivisions=3))).probes) == 0
    box = Surface(mesh_of(trimesh.creation.box(extents=(1, 1, 1))))
    assert len(box.probes) == 24  # twelve edges, each past two faces
    outside = (np.abs(box.probes) > box.side / 2 + 1e-9).sum(axis=1)
    np.testing.assert_array_equal(outside, 1)


def test_points_are_spread_by_area():
    corners = np.array([[[0, 0, 0], [1, 0, 0], [0, 1, 0]], [[0, 0, 1], [3, 0, 1], [0, 3, 1]]], float)
    points, faces = surface_points(corners, 1000)
    assert abs((faces == 0).mean() - 0.1) < 0.005
    own = points[faces == 1]
    np.testing.assert_allclose(own.mean(axis=0), [1, 1, 1], atol=0.02)
    assert (own[:, :2] >= 0).all() and (own[:, 0] + own[:, 1] <= 3 + 1e-12).all()
