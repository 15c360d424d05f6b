"""Meshes to distance grids against point-triangle distances, and back."""

import numpy as np
import pytest
import trimesh
from references_grids import point_triangle
from scipy.spatial import cKDTree

from jaxret.geometry.distance_grids import DistanceGrid
from jaxret.geometry.grid_meshes import grid_from_mesh, mesh_from_grid, place_in_grid
from jaxret.geometry.mesh import Mesh


def to_mesh(shape):
    return Mesh(np.asarray(shape.vertices, np.float64), np.asarray(shape.faces, np.int64))


def wedge():
    """No symmetry: a long box with a small one on one end."""
    return to_mesh(
        trimesh.util.concatenate(
            [trimesh.creation.box(bounds=((0, 0, 0), (4, 1, 2))), trimesh.creation.box(bounds=((3, 1, 0), (4, 3, 0.5)))]
        )
    )


def test_distances_against_every_triangle():
    mesh = wedge()
    grid, placed = grid_from_mesh(mesh, resolution=9, extent=7), place_in_grid(mesh, resolution=9, extent=7)
    assert grid.values.shape == (9, 9, 9) and grid.values.dtype == np.float32
    assert grid.voxel_size == pytest.approx(2 / 7)
    for index in np.random.default_rng(0).integers(9, size=(60, 3)):
        expected = min(point_triangle(index.astype(float), placed.vertices[face]) for face in placed.faces)
        assert grid.values[tuple(index)] / grid.voxel_size == pytest.approx(expected, abs=0.01)


def test_indices_are_x_y_z_and_the_matrix_leads_to_the_model():
    mesh = wedge()
    placed = place_in_grid(mesh)
    np.testing.assert_allclose(np.ptp(placed.vertices, axis=0), [28, 21, 14])
    np.testing.assert_allclose(placed.vertices.min(axis=0) + placed.vertices.max(axis=0), [31, 31, 31])
    grid = grid_from_mesh(mesh)
    occupied = np.argwhere(grid.occupancy())
    # the surface ends at 1.5 and 29.5, 5 and 26, 8.5 and 22.5
    np.testing.assert_array_equal(occupied.min(axis=0), [1, 4, 8])
    np.testing.assert_array_equal(occupied.max(axis=0), [30, 27, 23])
    world = occupied @ grid.grid_to_world[:3, :3].T + grid.grid_to_world[:3, 3]
    np.testing.assert_allclose(np.abs(world).max(axis=0), [29 / 28, 23 / 28, 15 / 28], atol=1e-6)


@pytest.mark.parametrize('kind', ['ball', 'wedge', 'sheet'])
def test_a_surface_comes_back_within_a_fraction_of_a_voxel(kind):
    sheet = Mesh(np.array([[0.0, 0, 0], [10, 0, 3], [10, 9, 3], [0, 9, 0]]), np.array([[0, 1, 2], [0, 2, 3]]))
    mesh = {'ball': to_mesh(trimesh.creation.icosphere(subdivisions=3)), 'wedge': wedge(), 'sheet': sheet}[kind]
    grid = grid_from_mesh(mesh)
    again = mesh_from_grid(grid)
    assert again.faces.min() == 0 and again.faces.max() == len(again.vertices) - 1
    true = place_in_grid(mesh)
    surface = trimesh.Trimesh(again.vertices, again.faces, process=False)
    points, _ = trimesh.sample.sample_surface(surface, 300, seed=0)
    away = [min(point_triangle(point, true.vertices[face]) for face in true.faces[:200]) for point in points[:40]]
    if kind == 'ball':
        away = np.abs(np.linalg.norm(points - 15.5, axis=1) - 14)
    assert np.median(away) < 0.1 and np.quantile(away, 0.95) < 0.6
    # and all of the surface is there
    wanted, _ = trimesh.sample.sample_surface(trimesh.Trimesh(true.vertices, true.faces, process=False), 300, seed=1)
    many, _ = trimesh.sample.sample_surface(surface, 20000, seed=2)
    nearest = cKDTree(many).query(wanted)[0]
    assert np.quantile(nearest, 0.95) < 0.7


def test_signs_and_infinities_do_not_matter():
    grid = grid_from_mesh(wedge())
    values = grid.values.copy()
    values[values > 0.5] = np.inf
    values[::2] *= -1
    other = mesh_from_grid(DistanceGrid(values, grid.voxel_size, grid.grid_to_world))
    plain = mesh_from_grid(grid)
    np.testing.assert_array_equal(other.faces, plain.faces)
    np.testing.assert_allclose(other.vertices, plain.vertices)


def test_a_surface_at_the_border_is_closed_and_none_is_refused():
    full = DistanceGrid(np.zeros((6, 6, 6), np.float32), 1.0, np.eye(4, dtype=np.float32))
    assert trimesh.Trimesh(*(lambda mesh: (mesh.vertices, mesh.faces))(mesh_from_grid(full))).is_watertight
    with pytest.raises(ValueError, match='no voxel'):
        mesh_from_grid(DistanceGrid(full.values + 3, 1.0, full.grid_to_world))
