"""Face features, neighbours and padding against loops and by hand."""

import numpy as np
import pytest
import trimesh
from references_geometry import face_feature_rows, neighbor_rows

from jaxret.geometry.mesh import Mesh
from jaxret.geometry.mesh_features import face_features, face_neighbors, mesh_features, pad_faces

TETRAHEDRON = np.array([[0, 2, 1], [0, 1, 3], [1, 2, 3], [2, 0, 3]])


def random_mesh(seed, *, vertices=12, faces=40):
    generator = np.random.default_rng(seed)
    corners = np.array([generator.choice(vertices, 3, replace=False) for _ in range(faces)])
    return Mesh(generator.normal(size=(vertices, 3)), corners)


def ball(subdivisions=2):
    sphere = trimesh.creation.icosphere(subdivisions=subdivisions)
    return Mesh(np.asarray(sphere.vertices), np.asarray(sphere.faces, np.int64))


@pytest.mark.parametrize('seed', range(3))
def test_features_equal_a_loop(seed):
    mesh = random_mesh(seed)
    features = face_features(mesh)
    assert features.dtype == np.float32 and features.shape == (40, 15)
    np.testing.assert_allclose(features, face_feature_rows(mesh.vertices, mesh.faces), atol=1e-6)


def test_features_of_one_triangle_by_hand():
    mesh = Mesh(np.array([[0.0, 0, 0], [3, 0, 0], [0, 3, 0]]), np.array([[0, 1, 2]]))
    np.testing.assert_allclose(face_features(mesh), [[1, 1, 0, -1, -1, 0, 2, -1, 0, -1, 2, 0, 0, 0, 1]])


def test_a_face_without_area_has_no_normal_and_nothing_else_changes():
    mesh = Mesh(np.array([[0.0, 0, 0], [1, 0, 0], [2, 0, 0], [0, 1, 0]]), np.array([[0, 1, 2], [0, 1, 3]]))
    features = face_features(mesh)
    assert np.isfinite(features).all()
    np.testing.assert_array_equal(features[:, 12:], [[0, 0, 0], [0, 0, 1]])


def test_neighbors_of_a_closed_and_an_open_surface():
    others = [[1, 2, 3], [0, 2, 3], [0, 1, 3], [0, 1, 2]]
    np.testing.assert_array_equal(np.sort(face_neighbors(TETRAHEDRON), axis=1), others)
    # column k is the edge from corner k to corner k + 1
    np.testing.assert_array_equal(face_neighbors(np.array([[0, 1, 2], [2, 1, 3]])), [[0, 1, 0], [0, 1, 1]])
    np.testing.assert_array_equal(face_neighbors(np.array([[0, 1, 2], [3, 4, 5]])), [[0, 0, 0], [1, 1, 1]])


@pytest.mark.parametrize('seed', range(4))
def test_neighbors_equal_a_loop_where_edges_have_many_faces(seed):
    faces = random_mesh(seed).faces
    neighbors = face_neighbors(faces)
    assert neighbors.dtype == np.int32
    np.testing.assert_array_equal(neighbors, neighbor_rows(faces))


def test_an_edge_with_three_faces_is_a_cycle():
    fan = np.array([[0, 1, 2], [1, 0, 3], [0, 1, 4]])
    np.testing.assert_array_equal(face_neighbors(fan)[:, 0], [1, 2, 0])


def test_neighbors_of_a_manifold_follow_a_relabelling_of_its_faces():
    faces = ball().faces
    order = np.random.default_rng(0).permutation(len(faces))
    position = np.argsort(order)
    np.testing.assert_array_equal(face_neighbors(faces[order]), position[face_neighbors(faces)[order]])


@pytest.mark.parametrize('present, count', [(4, 4), (4, 5), (4, 23), (1, 7), (320, 1024)])
def test_padding_repeats_faces_evenly_with_their_neighbors(present, count):
    features = np.arange(present * 15, dtype=np.float32).reshape(present, 15)
    neighbors = np.random.default_rng(1).integers(0, present, (present, 3)).astype(np.int32)
    padded, padded_neighbors = pad_faces(features, neighbors, count=count)
    assert padded.shape == (count, 15) and padded_neighbors.shape == (count, 3)
    np.testing.assert_array_equal(padded[:present], features)
    rows = (padded[:, 0] / 15).astype(int)
    np.testing.assert_array_equal(padded_neighbors, neighbors[rows])
    repeats = np.bincount(rows, minlength=present)
    assert repeats.max() - repeats.min() <= 1
    np.testing.assert_array_equal(padded, pad_faces(features, neighbors, count=count)[0])


def test_padding_that_cannot_be():
    for present in (0, 5):
        with pytest.raises(ValueError, match=f'{present} faces'):
            pad_faces(np.zeros((present, 15)), np.zeros((present, 3)), count=4)


def test_mesh_features_of_a_ball():
    faces, neighbors = mesh_features(ball(), max_faces=400)
    assert faces.shape == (400, 15) and neighbors.shape == (400, 3) and neighbors.max() < 320
    centres = faces[:, :3]
    outward = np.einsum('fi,fi->f', centres, faces[:, 12:])
    np.testing.assert_allclose(outward, np.linalg.norm(centres, axis=1), atol=0.01)
    np.testing.assert_allclose(faces[:, 3:12].reshape(-1, 3, 3).sum(axis=1), 0, atol=1e-6)
    assert (np.linalg.norm(centres[neighbors] - centres[:, None], axis=2) < 0.3).all()
