"""Solid voxels against analytic volumes, for closed and for faulty meshes."""

import math

import numpy as np
import pytest
import trimesh

from jaxret.geometry.mesh import Mesh
from jaxret.geometry.voxels import voxelize_solid


def to_mesh(shape):
    return Mesh(np.asarray(shape.vertices, np.float64), np.asarray(shape.faces, np.int64))


def without(shape, keep):
    return Mesh(np.asarray(shape.vertices, np.float64), np.asarray(shape.faces[keep], np.int64))


def test_cube_fills_the_grid_and_a_plank_its_middle():
    assert voxelize_solid(to_mesh(trimesh.creation.box((5, 5, 5))), resolution=16).all()
    plank = voxelize_solid(to_mesh(trimesh.creation.box((8, 4, 2))), resolution=16)
    expected = np.zeros((16, 16, 16), bool)
    expected[:, 4:12, 6:10] = True
    # walls on voxel borders belong to either side
    grown = np.zeros_like(expected)
    grown[:, 3:13, 5:11] = True
    assert (plank >= expected).all() and (plank <= grown).all()


def test_axes_are_x_y_z():
    solid = voxelize_solid(
        to_mesh(
            trimesh.util.concatenate(
                [
                    trimesh.creation.box(bounds=((0, 0, 0), (10, 1, 1))),
                    trimesh.creation.box(bounds=((0, 0, 0), (1, 4, 1))),
                ]
            )
        ),
        resolution=40,
    )
    assert solid[:, 13, 19].all()  # the long bar runs along x at the bottom (y from 12 to 28)
    assert solid[1, 13:27, 19].all() and not solid[20:, 20:, :].any()


@pytest.mark.parametrize('resolution', [32, 128])
def test_sphere_volume(resolution):
    solid = voxelize_solid(to_mesh(trimesh.creation.icosphere(subdivisions=5)), resolution=resolution)
    volume, area = math.pi / 6, math.pi
    # every voxel that the surface touches counts: at most one voxel's thickness too much
    assert volume < solid.mean() < volume + area / resolution
    np.testing.assert_array_equal(solid[resolution // 2, resolution // 2], np.ones(resolution, bool))
    assert not solid[0, 0, 0]
    overlap = (solid & solid[::-1, ::-1, ::-1]).sum() / solid.sum()
    assert overlap > 0.97  # centred


def test_closed_cavity_is_filled_and_open_one_is_not():
    outer, inner = trimesh.creation.box((1, 1, 1)), trimesh.creation.box((0.8, 0.8, 0.8))
    inner.invert()
    assert voxelize_solid(to_mesh(outer + inner), resolution=20).all()
    pot = trimesh.creation.annulus(r_min=0.4, r_max=0.5, height=1.0)  # a pipe
    solid = voxelize_solid(to_mesh(pot), resolution=64)
    volume = math.pi * (0.25 - 0.16)
    assert volume < solid.mean() < volume + 2 * math.pi * 0.95 / 64 + 0.02
    assert not solid[32, 32].any()


def test_faulty_surfaces_of_a_box():
    box = trimesh.creation.box((2, 2, 2)).subdivide().subdivide()
    down = box.face_normals[:, 1] < -0.5
    gap = np.ones(len(box.faces), bool)
    gap[np.flatnonzero(box.face_normals[:, 0] > 0.5)[:2]] = False
    double = to_mesh(box)  # every face twice, as CAD exports have it
    double = Mesh(double.vertices, np.concatenate([double.faces, double.faces[:, ::-1]]))
    for mesh in (without(box, ~down), without(box, gap), double):
        assert voxelize_solid(mesh, resolution=24).mean() > 0.99


def test_overlapping_parts_have_no_holes():
    first, second = trimesh.creation.box((1, 1, 1)), trimesh.creation.box((0.5, 0.5, 2))
    solid = voxelize_solid(to_mesh(first + second), resolution=32)
    assert solid[16, 16].all()
    assert 1 + 0.25 < solid.mean() * 8 < 1.8


def test_thin_sheet_survives_but_encloses_nothing():
    sheet = Mesh(np.array([[0.0, 0, 0], [1, 0, 0.3], [1, 1, 0.3], [0, 1, 0]]), np.array([[0, 1, 2], [0, 2, 3]]))
    solid = voxelize_solid(sheet, resolution=32)
    assert solid.any(axis=2).all()
    assert solid.sum(axis=2).max() <= 3
    rod = to_mesh(trimesh.creation.cylinder(0.002, 1.0, sections=6))
    assert voxelize_solid(rod, resolution=32).any(axis=(0, 1)).all()


def test_wrong_resolution():
    with pytest.raises(ValueError, match='resolution'):
        voxelize_solid(to_mesh(trimesh.creation.box()), resolution=0)
