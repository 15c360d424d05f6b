"""Grid files: byte for byte as the public code packs them, and every kind of damage."""

import os

import numpy as np
import pytest
from references_grids import grid_bytes

from jaxret.errors import DataError, StorageError
from jaxret.geometry.distance_grids import DistanceGrid, read_distances, read_mask, write_distances, write_mask

DIMS = (3, 4, 5)


def make_grid(seed=0, dims=DIMS, voxel_size=0.0625):
    rng = np.random.default_rng(seed)
    values = rng.normal(scale=0.1, size=dims).astype(np.float32)
    return DistanceGrid(values, voxel_size, rng.normal(size=(4, 4)).astype(np.float32))


@pytest.mark.parametrize('suffix', ['.sdf', '.df', '.vox'])
def test_bytes_are_those_of_the_public_code_and_come_back(tmp_path, suffix):
    grid, path = make_grid(), tmp_path / f'a{suffix}'
    write_distances(path, grid)
    by_column = suffix == '.vox'
    assert path.read_bytes() == grid_bytes(
        DIMS, grid.voxel_size, grid.grid_to_world, grid.values, 'f', by_column=by_column
    )
    again = read_distances(path)
    np.testing.assert_array_equal(again.values, grid.values)
    np.testing.assert_array_equal(again.grid_to_world, grid.grid_to_world)
    assert again.values.shape == DIMS and again.values.dtype == np.float32 and again.voxel_size == 0.0625
    second = tmp_path / f'b{suffix}'
    write_distances(second, again)
    assert second.read_bytes() == path.read_bytes()


@pytest.mark.parametrize('suffix', ['.sdf', '.df', '.vox'])
@pytest.mark.parametrize('by_column', [True, False])
def test_the_translation_is_in_the_last_column(tmp_path, suffix, by_column):
    """Also where a file has its matrix the other way, as earlier versions wrote .sdf and .df."""
    matrix = np.array([[0, -0.5, 0, 3], [0.5, 0, 0, 4], [0, 0, 0.5, 5], [0, 0, 0, 1]], np.float32)
    path = tmp_path / f'a{suffix}'
    path.write_bytes(grid_bytes(DIMS, 0.5, matrix, make_grid().values, 'f', by_column=by_column))
    np.testing.assert_array_equal(read_distances(path).grid_to_world, matrix)


def test_a_voxel_size_that_float32_rounds(tmp_path):
    grid = make_grid(voxel_size=2 / 28)
    for name in ('a.df', 'b.df'):
        write_distances(tmp_path / name, grid)
        grid = read_distances(tmp_path / name)
    assert (tmp_path / 'a.df').read_bytes() == (tmp_path / 'b.df').read_bytes()
    assert grid.voxel_size == float(np.float32(2 / 28))


def test_masks_round_trip(tmp_path):
    grid, path = make_grid(), tmp_path / 'a.mask'
    mask = np.random.default_rng(1).random(DIMS) < 0.4
    write_mask(path, mask, grid)
    expected = grid_bytes(DIMS, grid.voxel_size, grid.grid_to_world, mask.astype(int), 'B')
    assert path.read_bytes() == expected
    np.testing.assert_array_equal(read_mask(path, like=grid), mask)
    with pytest.raises(ValueError, match='mask'):
        write_mask(path, mask[:2], grid)


def test_any_byte_but_0_is_the_object(tmp_path):
    values = np.zeros(DIMS, int)
    values[0, 1, 2], values[2, 3, 4] = 255, 1
    path = tmp_path / 'a.mask'
    path.write_bytes(grid_bytes(DIMS, 0.0625, np.eye(4), values, 'B'))
    np.testing.assert_array_equal(read_mask(path), values > 0)


def test_occupancy_is_one_voxel_to_both_sides():
    values = np.array([-0.51, -0.5, -0.2, 0.0, 0.5, 0.50001, np.inf, -np.inf], np.float32).reshape(2, 2, 2)
    grid = DistanceGrid(values, 0.5, np.eye(4, dtype=np.float32))
    assert grid.occupancy().ravel().tolist() == [False, True, True, True, True, False, False, False]
    assert grid.occupancy(voxels=0.5).sum() == 2
    tenth = DistanceGrid(np.full((1, 1, 1), np.float32(0.1)), 0.1, np.eye(4, dtype=np.float32))
    assert tenth.occupancy().all()  # 0.1 in float32 is more than 0.1


def test_unseen_voxels_may_be_infinite(tmp_path):
    grid = make_grid()
    grid.values[0] = -np.inf
    write_distances(tmp_path / 'a.sdf', grid)
    np.testing.assert_array_equal(read_distances(tmp_path / 'a.sdf').values, grid.values)


def damage(data, kind):
    values = np.frombuffer(data[80:], '<f4').copy()
    header = bytearray(data[:80])
    if kind == 'empty':
        return b''
    if kind == 'header cut':
        return data[:50]
    if kind == 'cut':
        return data[:-3]
    if kind == 'long':
        return data + b'\0'
    if kind == 'nan':
        values[[1, 7]] = np.nan
    elif kind == 'nothing':
        values[:] = np.inf
    elif kind == 'zero side':
        header[4:8] = bytes(4)
    elif kind == 'huge':
        header[0:4] = (2**31).to_bytes(4, 'little')
    elif kind == 'other dims':
        header[8:12] = (6).to_bytes(4, 'little')
    elif kind == 'voxel size':
        header[12:16] = np.float32(-1).tobytes()
    elif kind == 'nan size':
        header[12:16] = np.float32(np.nan).tobytes()
    elif kind == 'matrix':
        header[20:24] = np.float32(np.inf).tobytes()
    return bytes(header) + values.tobytes()


DAMAGE = {
    'empty': 'cut off: 0 bytes',
    'header cut': 'cut off: 50 bytes',
    'cut': 'cut off: 317 bytes',
    'long': 'too long: 321 bytes',
    'nan': '2 of 60 distances are NaN',
    'nothing': 'no distance is finite',
    'zero side': '3 x 0 x 5 voxels',
    'huge': '2147483648 x 4 x 5',
    'other dims': '3 x 4 x 6 voxels take 368',
    'voxel size': 'size -1',
    'nan size': 'size nan',
    'matrix': 'matrix',
}


@pytest.mark.parametrize('kind', DAMAGE)
def test_damaged_files(tmp_path, kind):
    path = tmp_path / 'a.df'
    write_distances(path, make_grid())
    path.write_bytes(damage(path.read_bytes(), kind))
    with pytest.raises(DataError, match=DAMAGE[kind]) as caught:
        read_distances(path)
    assert caught.value.problems[0].where == str(path)


def test_masks_of_another_grid(tmp_path):
    grid, path = make_grid(), tmp_path / 'a.mask'
    write_mask(path, np.ones(DIMS, bool), grid)
    with pytest.raises(DataError, match='3 x 4 x 5 voxels, its scan has 5 x 4 x 3'):
        read_mask(path, like=make_grid(dims=(5, 4, 3)))
    with pytest.raises(DataError, match='voxel size 0.0625, its scan has 0.05'):
        read_mask(path, like=make_grid(voxel_size=0.05))
    path.write_bytes(path.read_bytes() + b'\1')
    with pytest.raises(DataError, match='too long'):
        read_mask(path)


def test_files_that_are_none(tmp_path):
    for name, found in (('a.df', 'does not exist'), ('a.txt', 'unknown kind'), ('nul\0.df', 'cannot be read')):
        with pytest.raises(DataError, match=found):
            read_distances(tmp_path / name)
    (tmp_path / 'b.df').mkdir()
    os.mkfifo(tmp_path / 'c.sdf')
    for name in ('b.df', 'c.sdf'):
        with pytest.raises(DataError, match='not a regular file'):
            read_distances(tmp_path / name)
    with pytest.raises(DataError, match='unknown kind'):
        read_mask(tmp_path / 'a.df')
    with pytest.raises(StorageError):
        write_distances(tmp_path / 'missing' / 'a.df', make_grid())
