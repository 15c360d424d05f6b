"""Meshes to distance grids against point-triangle distances, and back."""

import numpy as np
import pytest
import trimesh
from references_grids import grid_bytes, point_triangle
from scipy.spatial import cKDTree

from jaxret.geometry.distance_grids import DistanceGrid, read_distances
from jaxret.geometry.distances import voxel_iou
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
    np.testing.assert_allclose(placed.vertices.min(axis=0) + placed.vertices.max(axis=0), [32, 32, 32])
    grid = grid_from_mesh(mesh)
    occupied = np.argwhere(grid.occupancy())
    # the surface ends at 2 and 30, 5.5 and 26.5, 9 and 23
    np.testing.assert_array_equal(occupied.min(axis=0), [1, 5, 8])
    np.testing.assert_array_equal(occupied.max(axis=0), [31, 27, 24])
    world = occupied @ grid.grid_to_world[:3, :3].T + grid.grid_to_world[:3, 3]
    np.testing.assert_allclose(np.abs(world).max(axis=0), [30 / 28, 22 / 28, 16 / 28], atol=1e-6)


@pytest.mark.parametrize('sides', [(2.0, 1.5, 1.0), (1.0, 3.0, 0.4), (0.7, 0.7, 0.7)])
def test_grids_are_those_of_published_files(tmp_path, sides):
    """A public grid has the voxel i at (i - 16) / 14 of a model whose longest side goes from -1 to 1."""
    half = np.array(sides) / max(sides)
    places = np.stack(np.meshgrid(*[(np.arange(32) - 16) / 14] * 3, indexing='ij'), axis=-1)
    outside = np.abs(places) - half
    distance = np.where(
        (outside <= 0).all(axis=-1), -outside.max(axis=-1), np.linalg.norm(np.maximum(outside, 0), axis=-1)
    )
    matrix = np.diag([1 / 14, 1 / 14, 1 / 14, 1.0])
    matrix[:3, 3] = -16 / 14
    path = tmp_path / 'box.vox'
    path.write_bytes(grid_bytes((32, 32, 32), 1 / 14, matrix, distance, 'f', by_column=True))
    published = read_distances(path)
    mesh = to_mesh(
        trimesh.creation.box(
            extents=np.array(sides) * 3, transform=trimesh.transformations.translation_matrix((5, 6, 7))
        )
    )
    made = grid_from_mesh(mesh)
    assert voxel_iou(made.occupancy(), published.occupancy()) > 0.99
    np.testing.assert_allclose(made.values, published.values, atol=0.02)
    np.testing.assert_allclose(made.grid_to_world, published.grid_to_world, atol=1e-6)
    assert voxel_iou(grid_from_mesh(mesh, placement='centered').occupancy(), published.occupancy()) < 0.8


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
        away = np.abs(np.linalg.norm(points - 16, axis=1) - 14)
    assert np.median(away) < 0.12 and np.quantile(away, 0.95) < 0.6
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
