"""Signatures: the same however a mesh is turned, scaled, mirrored or triangulated; moments against sums over points."""

import numpy as np
import pytest
import trimesh
from scipy.spatial.transform import Rotation

from jaxret.geometry.mesh import Mesh
from jaxret.geometry.points import sample_surface
from jaxret.geometry.signatures import LENGTH, Signatures, _moments, same_triangles, signature
from jaxret.geometry.surfaces import Surface


def mesh_of(made):
    return Mesh(np.asarray(made.vertices, float), np.asarray(made.faces, np.int64))


HULL = mesh_of(trimesh.Trimesh(np.random.default_rng(1).normal(size=(30, 3)) * [1, 2, 3]).convex_hull)


def test_changes_that_leave_the_shape():
    turn = Rotation.from_euler('xyz', [1, 2, 3]).as_matrix()
    fine = Mesh(*map(np.asarray, trimesh.remesh.subdivide(HULL.vertices, HULL.faces)))
    others = [
        Mesh(7 * HULL.vertices @ turn.T + 5, HULL.faces),
        Mesh(HULL.vertices * [-1, 1, 1], HULL.faces[:, ::-1]),
        fine,
        mesh_of(trimesh.creation.box(extents=(1, 2, 3))),
    ]
    made = np.stack([signature(mesh) for mesh in (HULL, *others)])
    assert made.shape == (5, LENGTH) and made.dtype == np.float32
    known = Signatures.of(made)
    apart = np.abs(known.shapes - known.shapes[0]).max(axis=1)
    assert apart[1] < 1e-3 and (apart[2:4] < 0.7).all() and apart[4] > 3
    assert known.radii[1] == pytest.approx(7 * known.radii[0], rel=1e-5)
    assert list(known.faces) == [len(HULL.faces)] * 3 + [4 * len(HULL.faces), 12]
    assert len(set(known.digests)) == 5


def test_moments_are_those_of_many_points():
    surface = Surface(HULL)
    weights = np.linalg.norm(np.cross(*(surface.corners[:, k] - surface.corners[:, 0] for k in (1, 2))), axis=1)
    points = sample_surface(Mesh(surface.vertices, surface.faces), 400_000, seed=0).astype(float)
    second, count = points.T @ points / len(points), len(points)
    third = np.einsum('ni,nj,nk->ijk', points, points, points, optimize=True) / count
    fourth = np.einsum('ni,nj,nk,nl->ijkl', points, points, points, points, optimize=True) / count
    lean = np.einsum('ijj->i', third)
    expected = [
        *np.sqrt(np.linalg.eigvalsh(second)),
        *np.sqrt(np.linalg.eigvalsh(np.einsum('ijkk->ij', fourth))),
        np.linalg.norm(lean),
        np.sqrt((third**2).sum()),
        np.sqrt(lean @ second @ lean),
        np.sqrt(np.einsum('ijk,ijl,kl->', third, third, second)),
        np.sqrt((fourth**2).sum()),
    ]
    np.testing.assert_allclose(_moments(surface.corners, weights / weights.sum()), expected, atol=0.01)


def test_digest_is_of_triangles_alone():
    order = np.random.default_rng(0).permutation(len(HULL.faces))
    soup = Mesh(HULL.vertices[HULL.faces[order]].reshape(-1, 3), np.arange(3 * len(order)).reshape(-1, 3)[:, [1, 2, 0]])
    doubled = Mesh(HULL.vertices, np.concatenate([HULL.faces, HULL.faces[:3], [[0, 0, 1]]]))
    float32 = Mesh(HULL.vertices.astype(np.float32).astype(float), HULL.faces)
    assert {same_triangles(mesh) for mesh in (soup, doubled, float32)} == {same_triangles(HULL)}
    assert same_triangles(Mesh(HULL.vertices + 1e-3, HULL.faces)) != same_triangles(HULL)
