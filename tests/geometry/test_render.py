"""Rendered views against a loop-written ray caster and analytic values."""

import dataclasses
import json
import math
import pickle

import numpy as np
import pytest
import references_geometry as reference
import trimesh

from jaxret.errors import ConfigError, DataError
from jaxret.geometry.mesh import Mesh, normalize_mesh
from jaxret.geometry.render import ViewRing, camera_axes, render_file, render_views


def to_mesh(shape):
    return Mesh(np.asarray(shape.vertices, np.float64), np.asarray(shape.faces, np.int64))


def boxes(*centres, size=0.2):
    """Small boxes at the given places."""
    parts = [trimesh.creation.box((size,) * 3) for _ in centres]
    for part, centre in zip(parts, centres, strict=True):
        part.apply_translation(centre)
    return to_mesh(trimesh.util.concatenate(parts))


def test_equals_loop_written_ray_caster():
    generator = np.random.default_rng(3)
    mesh = Mesh(generator.normal(size=(24, 3)), np.arange(24).reshape(8, 3))
    ring = ViewRing(
        views=3,
        size=20,
        elevation=25,
        first_azimuth=17,
        field_of_view=55,
        background=7,
        light_azimuth=40,
        light_elevation=-15,
        ambient=0.1,
        diffuse=0.7,
        further=((-40.0, 2, 100.0),),
    )
    images = render_views(mesh, ring)
    assert images.shape == (5, 20, 20) and images.dtype == np.uint8
    unit = normalize_mesh(mesh, mode='sphere')
    second = dataclasses.replace(ring, views=2, elevation=-40, first_azimuth=100)
    cameras = [(ring, 0), (ring, 1), (ring, 2), (second, 0), (second, 1)]
    expected = np.stack([reference.render_view(unit.vertices, unit.faces, *camera) for camera in cameras])
    np.testing.assert_allclose(ring.poses, [(17, 25), (137, 25), (257, 25), (100, -40), (280, -40)])
    assert ViewRing.from_json(json.loads(json.dumps(ring.to_json()))) == ring
    assert ViewRing.of(ring.rings[1:], size=3) == ViewRing(2, -40, 100, size=3)
    assert len(np.unique(expected)) > 8
    different = np.abs(images.astype(int) - expected) > 1  # 1: float32 against float64 at rounding
    assert different.mean() < 0.003  # a ray along an edge may go either way


def test_cube_seen_from_the_front():
    ring = ViewRing(views=1, elevation=0, size=101)
    image = render_views(to_mesh(trimesh.creation.box((7, 7, 7))), ring)[0]
    lit = math.cos(math.radians(ring.light_azimuth)) * math.cos(math.radians(ring.light_elevation))
    front = round(255 * (ring.ambient + ring.diffuse * lit))
    assert image[50, 50] == front
    half = 1 / math.sqrt(3)  # of the cube's side in the unit sphere
    side = ring.size * half / (ring.distance - half) / math.tan(math.radians(ring.field_of_view) / 2)
    covered = image == front  # the front face hides the rest
    assert covered.sum() == pytest.approx((image != ring.background).sum(), rel=0.01)
    assert covered.sum() == pytest.approx(side**2, rel=0.03)
    rows, columns = np.nonzero(covered)
    for values in (rows, columns):
        assert values.min() + values.max() == ring.size - 1  # centred
        assert values.max() - values.min() + 1 == pytest.approx(side, abs=1)


def test_cube_from_above_is_lit_by_the_light_above():
    top, front = ViewRing(views=1, elevation=90, size=9), ViewRing(views=1, elevation=0, size=9)
    cube = to_mesh(trimesh.creation.box())
    assert render_views(cube, top)[0, 4, 4] == render_views(cube, front)[0, 4, 4]  # the light moves with the camera


def test_azimuth_turns_anticlockwise_and_y_is_up():
    ring = ViewRing(views=4, elevation=0, size=64)
    # corners keep the frame's centre at 0; the marker is on +x, above
    mesh = boxes((-1, -1, -1), (1, -1, 1), (1, 1, 0), size=0.25)
    images = render_views(mesh, ring) != ring.background

    def marker(view):  # columns of what is in the upper half
        return np.nonzero(images[view][:24].any(axis=0))[0].mean()

    assert marker(0) > 40  # camera on +z: +x is right
    assert 24 < marker(1) < 40  # camera on +x: the marker is in front
    assert marker(2) < 24  # camera on -z: +x is left
    np.testing.assert_allclose(camera_axes(ring)[1], [[0, 0, -1], [0, 1, 0], [1, 0, 0]], atol=1e-12)
    lower_right = np.nonzero(images[1][40:].any(axis=0))[0]
    assert lower_right.min() < 24 and lower_right.max() > 40  # z = +1 left, z = -1 right


def test_unit_sphere_just_fits():
    ring = ViewRing(views=2, size=100)
    covered = render_views(to_mesh(trimesh.creation.icosphere(subdivisions=4)), ring) != ring.background
    np.testing.assert_allclose(covered.mean(axis=(1, 2)), math.pi / 4, rtol=0.01)


def test_place_scale_and_winding_do_not_matter():
    mesh = boxes((-1, -1, -1), (1, -0.5, 1), (1, 1, 0), size=0.5)
    ring = ViewRing(size=48)
    images = render_views(mesh, ring)
    np.testing.assert_array_equal(images, render_views(Mesh(mesh.vertices, mesh.faces[:, ::-1]), ring))
    moved = render_views(Mesh(mesh.vertices * 1000 + [5e4, -3e4, 7], mesh.faces), ring)
    assert (images != moved).mean() < 0.002


def test_supersampling_averages_finer_pictures():
    mesh = to_mesh(trimesh.creation.icosphere(subdivisions=1))
    coarse = ViewRing(views=2, size=20, supersample=3)
    fine = render_views(mesh, dataclasses.replace(coarse, size=60, supersample=1)).astype(float)
    expected = fine.reshape(2, 20, 3, 20, 3).mean(axis=(2, 4))
    np.testing.assert_allclose(render_views(mesh, coarse), expected, atol=0.5)


def test_mesh_with_degenerate_faces():
    mesh = boxes((0, 0, 0))
    faces = np.concatenate([mesh.faces, [[0, 0, 0], [1, 2, 2]]])
    ring = ViewRing(views=2, size=16)
    np.testing.assert_array_equal(render_views(Mesh(mesh.vertices, faces), ring), render_views(mesh, ring))


@pytest.mark.parametrize(
    'wrong',
    [
        {'views': 0},
        {'size': 0},
        {'size': 10.5},
        {'field_of_view': 0},
        {'field_of_view': 180},
        {'background': 256},
        {'elevation': 91},
        {'supersample': 0},
        {'ambient': -0.1},
        {'ambient': 0.6, 'diffuse': 0.6},
        {'elevation': float('nan')},
    ],
)
def test_wrong_rings_are_refused(wrong):
    with pytest.raises(ConfigError, match=next(iter(wrong))) as raised:
        ViewRing(**wrong)
    found = pickle.loads(pickle.dumps(raised.value))  # on its way from a worker process
    assert found.name == ' + '.join(wrong) and str(found) == str(raised.value) == f'{found.name} {found.message}'


def test_a_stray_face_that_shrinks_the_shape_to_nothing_is_reported(tmp_path):
    path = tmp_path / 'stray.off'
    vertices = '0 0 0\n1 0 0\n0 1 0\n199 9 9\n199.1 9 9\n199 9.1 9'
    path.write_text(f'OFF\n6 2 0\n{vertices}\n3 0 1 2\n3 3 4 5\n')
    with pytest.raises(DataError, match='stray.off: no view shows'):
        render_file(path, ViewRing(views=3, size=8))
