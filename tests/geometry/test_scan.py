"""Depth cameras and fusion against geometry with known answers, and what a simulated scan must be."""

import numpy as np
import pytest
import trimesh
from scipy.spatial.transform import Rotation

from jaxret.errors import ConfigError, DataError
from jaxret.geometry.depth_cameras import look_at, take_pictures
from jaxret.geometry.fusion import fuse
from jaxret.geometry.grid_meshes import grid_from_mesh, place_in_grid
from jaxret.geometry.mesh import Mesh
from jaxret.geometry.scan import ScanOptions, simulate_scan

CLEAN = {'noise': 0.0, 'max_depth': 1e3, 'grazing': (89.8, 90.0), 'dropout': 0.0, 'holes': np.zeros((0, 4))}
EXACT = {
    'noise': 0.0,
    'dropout': 0.0,
    'holes': (0, 0),
    'tracking_angle': 0.0,
    'tracking_shift': 0.0,
    'yaw': 0.0,
    'tilt': 0.0,
    'shift': 0.0,
    'scale': 0.0,
    'grazing': (80.0, 85.0),
}
BARE = {'floor': 0.0, 'wall': 0.0, 'neighbours': 0.0}


def to_mesh(shape):
    return Mesh(np.asarray(shape.vertices, np.float64), np.asarray(shape.faces, np.int64))


def body(extents=(2, 3, 2)):
    mesh = to_mesh(trimesh.creation.box(extents))
    return place_in_grid(mesh), grid_from_mesh(mesh)


def pictures_of(scene, positions, **changes):
    cameras = look_at(np.asarray(positions, float), np.zeros(3), radius=4.0, size=64)
    rng = np.random.default_rng(0)
    return cameras, take_pictures(scene, len(scene.faces), cameras, **CLEAN | changes, rng=rng)


def test_depth_of_a_ball_pixel_by_pixel():
    ball = to_mesh(trimesh.creation.icosphere(subdivisions=5, radius=2.0))
    cameras, taken = pictures_of(ball, [(0, 0, 10), (8, 3, -2)])
    for camera in range(2):
        position, directions = cameras.positions[camera], cameras.directions(camera)
        along = -directions @ position
        miss = np.sqrt(position @ position - along**2)  # distance of the ray from the middle
        expected = along - np.sqrt(np.maximum(4 - miss**2, 0))
        hit, clear = miss < 1.9, miss > 2.01
        np.testing.assert_allclose(taken.depth[camera][hit], expected[hit], atol=0.02)
        assert np.isinf(taken.depth[camera][clear]).all() and clear.any() and hit.sum() > 100
        where = position + taken.depth[camera][hit, None] * directions[hit]
        np.testing.assert_allclose(taken.points[camera][hit], where, atol=1e-4)
        assert taken.label[camera][hit].all() and not taken.label[camera][clear].any()


def test_points_project_to_the_pixel_whose_ray_meets_them():
    cameras, _ = pictures_of(to_mesh(trimesh.creation.box()), [(3, 5, 9)])
    pixels = np.arange(0, 64 * 64, 17)
    points = cameras.positions[0] + 7.5 * cameras.directions(0)[pixels]
    pixel, distance = cameras.project(0, points)
    np.testing.assert_array_equal(pixel, pixels)
    np.testing.assert_allclose(distance, 7.5)
    behind, _ = cameras.project(0, cameras.positions - cameras.directions(0)[:1])
    assert behind.tolist() == [-1]


def test_noise_grows_with_the_square_of_the_distance():
    wall = Mesh(
        np.array([(-99, -99, 0), (99, -99, 0), (99, 99, 0), (-99, 99, 0)], float), np.array([(0, 1, 2), (0, 2, 3)])
    )
    for distance in (5.0, 10.0):
        _, clean = pictures_of(wall, [(0, 0, distance)])
        _, noisy = pictures_of(wall, [(0, 0, distance)], noise=0.002)
        error = (noisy.depth - clean.depth)[0]
        np.testing.assert_allclose(noisy.sigma[0], 0.002 * clean.depth[0] ** 2)
        assert np.std(error / noisy.sigma[0]) == pytest.approx(1.0, abs=0.05) and abs(error.mean()) < 0.01


def test_what_the_sensor_loses():
    wall = Mesh(
        np.array([(-99, -99, 0), (99, -99, 0), (99, 99, 0), (-99, 99, 0)], float), np.array([(0, 1, 2), (0, 2, 3)])
    )
    _, all_of_it = pictures_of(wall, [(0, 0, 6)])
    assert np.isfinite(all_of_it.depth).all()
    _, near = pictures_of(wall, [(0, 0, 6)], max_depth=6.5)
    np.testing.assert_array_equal(np.isfinite(near.depth), all_of_it.depth <= 6.5)
    _, some = pictures_of(wall, [(0, 0, 6)], dropout=0.3)
    assert np.isinf(some.depth).mean() == pytest.approx(0.3, abs=0.03)
    _, hole = pictures_of(wall, [(0, 0, 6), (2, 1, 6)], holes=np.array([(0.5, 0.5, 0, 1.0)]))
    for camera in range(2):
        kept = np.isfinite(hole.depth[camera])
        away = np.linalg.norm(hole.points[camera][kept] - (0.5, 0.5, 0), axis=1)
        assert away.min() >= 1.0 and (~kept).any()
    angle = np.degrees(np.arccos(6 / all_of_it.depth[0]))
    _, grazing = pictures_of(wall, [(0, 0, 6)], grazing=(20.0, 30.0))
    lost = np.isinf(grazing.depth[0])
    assert not lost[angle < 20].any() and lost[angle > 30].all()
    assert lost[(angle > 24) & (angle < 26)].mean() == pytest.approx(0.5, abs=0.1)


def test_fused_sphere_lies_where_it_was_seen():
    ball = to_mesh(trimesh.creation.icosphere(subdivisions=4, radius=8.0))
    scene = Mesh(ball.vertices + 15.5, ball.faces)
    angles = np.radians([-30, 0, 30])
    positions = 15.5 + 50 * np.stack([np.sin(angles), 0 * angles, np.cos(angles)], axis=1)
    cameras = look_at(positions, np.full(3, 15.5), radius=20.0, size=128)
    taken = take_pictures(scene, len(scene.faces), cameras, **CLEAN, rng=np.random.default_rng(0))
    fused = fuse(taken, cameras, resolution=32, grid_to_scene=np.eye(4), truncation=2.0)
    radius = np.linalg.norm(fused.surface - 15.5, axis=1)
    assert abs(np.median(radius) - 8) < 0.05 and np.quantile(abs(radius - 8), 0.95) < 0.35
    toward = (fused.surface[:, 2] - 15.5) / radius
    assert toward.min() > -0.55 and toward.max() > 0.99  # 30 degrees past the edge at most, never the back
    np.testing.assert_array_equal(fused.mask, np.abs(fused.distance) <= 1)
    assert fused.distance[16, 16, 31] > 0 and fused.distance[16, 16, 16] < 0 and fused.distance[16, 16, 0] < 0
    assert np.isfinite(fused.distance).all()
    turn = np.eye(4)
    turn[:3, :3] = Rotation.from_euler('y', 90, degrees=True).as_matrix() * 2
    turn[:3, 3] = 15.5 - turn[:3, :3] @ np.full(3, 15.5)
    other = fuse(taken, cameras, resolution=32, grid_to_scene=turn, truncation=2.0)
    assert abs(np.median(np.linalg.norm(other.surface - 15.5, axis=1)) - 4) < 0.1
    assert np.median(other.surface[:, 0]) < 14  # scene z is grid -x
    nothing = take_pictures(scene, 0, cameras, **CLEAN | {'max_depth': 1.0}, rng=np.random.default_rng(0))
    assert fuse(nothing, cameras, resolution=8, grid_to_scene=np.eye(4), truncation=2.0) is None


@pytest.mark.parametrize(('azimuth', 'axis', 'sign'), [(0, 2, 1), (90, 0, 1), (180, 2, -1), (270, 0, -1)])
def test_one_side_is_seen_and_the_other_is_not(azimuth, axis, sign):
    model, grid = body()
    options = ScanOptions(**EXACT, **BARE)
    scan = simulate_scan(model, grid, azimuths=(azimuth - 20, azimuth + 20), seed=0, options=options)
    occupied = scan.distances.occupancy()
    np.testing.assert_array_equal(scan.mask, occupied)  # nothing else is there
    assert abs((scan.facts['azimuth'] - azimuth + 180) % 360 - 180) <= 20
    low, high = model.vertices.min(axis=0)[axis], model.vertices.max(axis=0)[axis]
    near, far = (round(high), round(low)) if sign > 0 else (round(low), round(high))
    across = np.moveaxis(occupied, axis, 0)
    assert across[near, 12:20, 8:24].mean() > 0.9 and across[far, 12:20, 8:24].mean() == 0
    assert 0.2 < scan.facts['seen'] < 0.7 and scan.facts['clutter'] == 0 and scan.facts['noise'] == 0
    assert (occupied <= np.pad(grid.occupancy(voxels=2.0), 0)).all()


def test_the_mask_tells_object_from_room():
    model, grid = body()
    options = ScanOptions(**EXACT | {'floor': 1.0, 'wall': 1.0, 'neighbours': 1.0, 'gap': (3.0, 4.0)})
    neighbour = Mesh(model.vertices[:] * [0.5, 0.8, 0.5], model.faces)
    labelled = []
    for seed in range(3):
        scan = simulate_scan(model, grid, neighbours=[neighbour], seed=seed, options=options)
        occupied, distance = scan.distances.occupancy(), grid.values / grid.voxel_size
        assert not (scan.mask & ~occupied).any()
        assert (distance[scan.mask] < 2.2).mean() > 0.995  # the object's voxels are near the model
        above = np.zeros_like(occupied)
        above[:, 5:] = True  # clear of the floor
        away = occupied & ~scan.mask & above
        # but for a few at an edge of the object, where something behind it is as near
        assert (distance[away] > 1).mean() > 0.99 and scan.facts['clutter'] > 0.05
        labelled.append(away.any())
    assert any(labelled)


def test_seeds_and_disturbances():
    model, grid = body((3, 2, 1))
    one, same, other = (simulate_scan(model, grid, seed=[4, seed]) for seed in (0, 0, 1))
    np.testing.assert_array_equal(one.distances.values, same.distances.values)
    np.testing.assert_array_equal(one.mask, same.mask)
    assert one.facts == same.facts and (one.distances.values != other.distances.values).any()
    assert one.distances.voxel_size == grid.voxel_size and one.distances.values.dtype == np.float32
    assert 0.001 < one.facts['noise'] < 0.02
    exact = ScanOptions(**EXACT, **BARE)
    offsets = []
    for seed in range(4):
        scan = simulate_scan(model, grid, seed=seed, options=ScanOptions(**EXACT | BARE | {'shift': 2.0}))
        straight = simulate_scan(model, grid, seed=seed, options=exact)
        offsets.append(np.argwhere(scan.mask).mean(axis=0) - np.argwhere(straight.mask).mean(axis=0))
    assert 0.8 < np.std(offsets) < 4


def test_refused():
    model, grid = body()
    for wrong in (
        {'noise': -1},
        {'length': (0, 1)},
        {'cameras': (0, 3)},
        {'arc': (40, 20)},
        {'floor': 1.1},
        {'grazing': (80, 70)},
        {'noise': float('nan')},
        {'elevation': (5, 90)},
    ):
        with pytest.raises(ConfigError, match=next(iter(wrong))):
            ScanOptions(**wrong)
    for azimuths in ((10, 10), (0, 400)):
        with pytest.raises(ConfigError, match='azimuths'):
            simulate_scan(model, grid, azimuths=azimuths, seed=0)
    with pytest.raises(DataError, match='saw less'):
        simulate_scan(model, grid, seed=0, options=ScanOptions(max_depth=0.1))
