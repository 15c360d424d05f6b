"""Welding and simplification: fewer faces, the same shape."""

import numpy as np
import pytest
import trimesh
from scipy.spatial import cKDTree

from jaxret.geometry.mesh import Mesh
from jaxret.geometry.mesh_features import face_neighbors
from jaxret.geometry.points import sample_surface
from jaxret.geometry.simplify import simplify_mesh, weld_mesh


def as_mesh(body):
    return Mesh(np.asarray(body.vertices, float), np.asarray(body.faces, np.int64))


def torus(*, scale=1.0, shift=0.0):
    body = as_mesh(trimesh.creation.torus(1.0, 0.3, major_sections=48, minor_sections=24))
    return Mesh(body.vertices * scale + shift, body.faces)


def soup(mesh):
    """Every face with vertices of its own, as in STL files."""
    return Mesh(mesh.vertices[mesh.faces].reshape(-1, 3), np.arange(3 * len(mesh.faces)).reshape(-1, 3))


def areas(mesh):
    corners = mesh.vertices[mesh.faces]
    return np.linalg.norm(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=1) / 2


@pytest.mark.parametrize('scale, shift', [(1.0, 0.0), (1e-4, 0.0), (1e5, 3e5)])
def test_welding_a_soup_gives_the_connected_mesh_back(scale, shift):
    mesh = torus(scale=scale, shift=shift)
    welded = weld_mesh(soup(mesh))
    assert welded.vertices.shape == mesh.vertices.shape and len(welded.faces) == len(mesh.faces)
    np.testing.assert_array_equal(welded.vertices[welded.faces], mesh.vertices[mesh.faces])
    assert (face_neighbors(welded.faces) != np.arange(len(mesh.faces))[:, None]).all()
    assert (face_neighbors(soup(mesh).faces) == np.arange(len(mesh.faces))[:, None]).all()


def test_welding_drops_doubled_faces_and_those_without_area():
    vertices = np.array([[0.0, 0, 0], [1, 0, 0], [0, 1, 0], [2, 0, 0], [1, 1e-13, 0]])
    faces = np.array([[0, 1, 2], [1, 2, 0], [0, 2, 1], [0, 1, 3], [1, 1, 2], [1, 4, 2], [1, 3, 2]])
    welded = weld_mesh(Mesh(vertices, faces))
    np.testing.assert_array_equal(welded.vertices[welded.faces], vertices[[[0, 1, 2], [1, 3, 2]]])
    assert len(welded.vertices) == 4
    with pytest.raises(ValueError, match='no face'):
        weld_mesh(Mesh(vertices, faces[3:4]))


@pytest.mark.parametrize('scale, shift', [(1.0, 0.0), (1e-4, 0.0), (1e5, 3e5)])
@pytest.mark.parametrize('max_faces', [1024, 200])
def test_a_simplified_torus_is_still_that_torus(max_faces, scale, shift):
    mesh = torus(scale=scale, shift=shift)
    simple = simplify_mesh(soup(mesh), max_faces=max_faces)
    assert 0.9 * max_faces <= len(simple.faces) <= max_faces
    assert areas(simple).min() > 0
    x, y = sample_surface(mesh, 4000, seed=0) - shift, sample_surface(simple, 4000, seed=1) - shift
    gap = max(cKDTree(x).query(y)[0].mean(), cKDTree(y).query(x)[0].mean())
    assert gap < 0.05 * scale  # two samples of one torus are 0.03 apart
    again = simplify_mesh(soup(mesh), max_faces=max_faces)
    np.testing.assert_array_equal(again.vertices, simple.vertices)
    np.testing.assert_array_equal(again.faces, simple.faces)


def test_a_small_mesh_stays_as_it_is():
    mesh = as_mesh(trimesh.creation.box())
    np.testing.assert_array_equal(simplify_mesh(mesh, max_faces=12).faces, mesh.faces)
    for most in (11, 4, 2, 1):
        assert 1 <= len(simplify_mesh(mesh, max_faces=most).faces) <= most
    with pytest.raises(ValueError, match='at least 1'):
        simplify_mesh(mesh, max_faces=0)


def test_loose_faces_that_cannot_be_joined():
    """Leaves of a tree: triangles that share nothing."""
    generator = np.random.default_rng(0)
    corners = generator.uniform(-1, 1, (600, 1, 3)) + generator.normal(scale=0.02, size=(600, 3, 3))
    simple = simplify_mesh(Mesh(corners.reshape(-1, 3), np.arange(1800).reshape(-1, 3)), max_faces=100)
    assert 1 <= len(simple.faces) <= 100 and np.isfinite(simple.vertices).all() and areas(simple).min() > 0


def test_fans_and_many_faces_at_an_edge():
    angles = np.linspace(0, 2 * np.pi, 300, endpoint=False)
    rim = np.stack([np.cos(angles), np.sin(angles), 0 * angles], axis=1)
    vertices = np.concatenate([[[0, 0, -1], [0, 0, 1]], rim])
    faces = np.array([[0, 1, index] for index in range(2, 302)])  # pages of a book
    simple = simplify_mesh(Mesh(vertices, faces), max_faces=64)
    assert 1 <= len(simple.faces) <= 64 and np.isfinite(simple.vertices).all()
