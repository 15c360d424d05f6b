"""Registration: known turns, scales and moves are found; mirrors told from turns, changes from other triangles."""

import numpy as np
import pytest
import trimesh
from scipy.spatial import Delaunay
from scipy.spatial.transform import Rotation

from jaxret.geometry.mesh import Mesh
from jaxret.geometry.registration import agreement, align

TURN = Rotation.from_euler('xyz', [0.7, -1.9, 2.6]).as_matrix()


def mesh_of(made):
    return Mesh(np.asarray(made.vertices, float), np.asarray(made.faces, np.int64))


def boxes(*parts):
    """Boxes (extents, middle) as one mesh."""
    made = [trimesh.creation.box(extents=extents) for extents, _ in parts]
    for box, (_, middle) in zip(made, parts, strict=True):
        box.apply_translation(middle)
    return mesh_of(trimesh.util.concatenate(made))


def moved(mesh, turn=TURN, scale=1.0, move=(3, -1, 2)):
    return Mesh(scale * mesh.vertices @ turn.T + np.array(move, float), mesh.faces)


# no mirror image of itself: three arms of different lengths
HAND = boxes(((4, 1, 1), (2, 0, 0)), ((1, 3, 1), (0, 1.5, 0)), ((1, 1, 2), (0, 0, 1)))
PLATE = ((8, 0.5, 5), (0, 0, 0))


def test_finds_turn_scale_and_move():
    found = align(HAND, moved(HAND, scale=25.4))
    assert found.same and not found.mirrored
    assert found.scale == pytest.approx(25.4, rel=1e-6)
    np.testing.assert_allclose(found.rotation, TURN, atol=1e-5)
    np.testing.assert_allclose(found.translation, [3, -1, 2], atol=1e-3)
    np.testing.assert_allclose(found.apply(HAND.vertices), moved(HAND, scale=25.4).vertices, atol=1e-3)
    assert found.distance < 1e-5 and found.mean < 1e-6 and found.beyond == 0


def test_mirror_images_are_told_from_turns():
    mirrored = moved(Mesh(HAND.vertices * [1, 1, -1], HAND.faces[:, ::-1]))
    found = align(mirrored, HAND)
    assert found.same and found.mirrored and np.linalg.det(found.rotation) < 0
    assert not align(mirrored, HAND, mirrors=False).same
    plate = boxes(PLATE, ((1, 1, 1), (3, 0.5, 0)))  # its own mirror image
    found = align(moved(Mesh(plate.vertices * [-1, 1, 1], plate.faces[:, ::-1])), plate)
    assert found.same and not found.mirrored


def test_sizes_count_where_they_are_to():
    assert align(HAND, moved(HAND), scaled=False).same
    found = align(HAND, moved(HAND, scale=1.1), scaled=False)
    assert not found.same and found.scale == 1 and found.distance > 0.02


def test_the_distance_is_that_of_what_was_moved():
    own = boxes(PLATE, ((1, 1, 1), (3, 0.5, 1)))
    other = boxes(PLATE, ((1, 1, 1), (3, 0.5, 1.2)))  # a knob 0.2 aside, of 8
    found = align(moved(own), other)
    assert not found.same and found.distance == pytest.approx(0.2 / 8, rel=0.02)
    assert agreement(own, other).distance == pytest.approx(0.2 / 8, rel=0.02)
    assert 0 < found.beyond < 0.1


def test_other_triangles_of_a_curve_are_the_same_and_another_radius_is_not():
    own, other = (mesh_of(trimesh.creation.cylinder(radius=1, height=3, sections=n)) for n in (32, 50))
    found = align(moved(own), other)
    assert found.same and 0.0005 < found.distance < 0.005
    thinner = mesh_of(trimesh.creation.cylinder(radius=0.97, height=3, sections=50))
    assert not agreement(own, thinner).same


def with_opening(mesh, face, width):
    """A square opening, so wide, in the middle of a face: nothing but missing surface."""
    corners = mesh.vertices[mesh.faces[face]]
    middle = corners.mean(axis=0)
    along = (corners[1] - corners[0]) / np.linalg.norm(corners[1] - corners[0])
    up = np.cross(along, corners[2] - corners[0])
    across = np.cross(up / np.linalg.norm(up), along)
    ring = middle + width / 2 * np.array([-along - across, along - across, along + across, across - along])
    outer, inner = list(mesh.faces[face]), list(len(mesh.vertices) + np.arange(4))
    polygon = np.concatenate([corners, ring])
    flat = np.stack([(polygon - middle) @ along, (polygon - middle) @ across], axis=1)
    triangles = Delaunay(flat).simplices
    places = flat[triangles].mean(axis=1)
    kept = triangles[(np.abs(places) > width / 2).any(axis=1)]
    return Mesh(
        np.concatenate([mesh.vertices, ring]),
        np.concatenate([np.delete(mesh.faces, face, axis=0), np.array(outer + inner)[kept]]),
    )


def test_an_opening_of_a_hundredth_is_seen():
    opened = with_opening(boxes(PLATE), 5, 0.08)
    for one, other in ((moved(opened), boxes(PLATE)), (boxes(PLATE), moved(opened))):
        found = align(one, other)
        assert not found.same and found.distance < 0.01 and found.mean < 1e-3


def test_small_features_decide_where_the_rest_is_symmetric():
    knob = ((0.1, 0.1, 0.3), (1.2, 0.8, 0.1))
    plate, cube = boxes(((4, 3, 0.2), (0, 0, 0)), knob), boxes(((3, 3, 3), (0, 0, 0)), ((0.1, 0.1, 3.3), (1.2, 0.4, 0)))
    disc = trimesh.util.concatenate(
        [trimesh.creation.cylinder(radius=2, height=0.4, sections=90), trimesh.creation.box(extents=(0.1, 0.1, 0.3))]
    )
    disc.vertices[-8:] += [1.3, 0.4, 0.2]
    for mesh in (plate, cube, mesh_of(disc)):
        found = align(moved(mesh, Rotation.from_euler('zxz', [1.234, 0.5, 2]).as_matrix()), mesh)
        assert found.same and not found.mirrored and found.distance < 1e-3


def drum(sections, knob_degrees):
    """Nearly rotational, and its own mirror image but for 0.02 degrees: small knobs around a cylinder."""
    parts = [trimesh.creation.cylinder(radius=1, height=1.2, sections=sections)]
    for degrees in knob_degrees:
        knob = trimesh.creation.box(extents=(0.03, 0.02, 0.03)).apply_translation([1, 0, 0.2])
        parts.append(knob.apply_transform(trimesh.transformations.rotation_matrix(np.radians(degrees), [0, 0, 1])))
    return mesh_of(trimesh.util.concatenate(parts))


def test_a_nearly_rotational_shape_that_is_nearly_its_mirror_image_is_not_called_mirrored():
    one, other = (drum(sections, (0, 33, -33.03, 64, -64.02, 151, -151)) for sections in (90, 128))
    found = align(moved(one), other)
    assert found.same and not found.mirrored


def test_what_lies_in_place_is_not_turned():
    cube = boxes(((2, 2, 2), (0, 0, 0)))
    np.testing.assert_array_equal(align(cube, cube).rotation, np.eye(3))


def test_unlike_shapes_are_given_up_and_near_ones_are_not():
    assert align(mesh_of(trimesh.creation.icosphere(subdivisions=2)), HAND, most=0.005) is None
    longer = boxes(((4.05, 1, 1), (2.025, 0, 0)), ((1, 3, 1), (0, 1.5, 0)), ((1, 1, 2), (0, 0, 1)))
    found = align(moved(longer), HAND, most=0.005)
    assert not found.same and found.mean < 0.005


def test_unlike_shapes_lie_far_apart():
    found = align(mesh_of(trimesh.creation.icosphere(subdivisions=2)), HAND)
    assert not found.same and found.beyond > 0.5 and found.distance > 0.1
