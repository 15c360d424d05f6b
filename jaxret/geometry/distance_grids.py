"""Distance grids and object masks in the files of the scan-CAD data sets.

    .sdf, .df   uint32 dims x, y, z; float32 voxel size; 16 float32 matrix (row by row); float32 values, x fastest
    .mask       the same header, one byte a voxel, not 0 where the voxel belongs to the object
    .vox        as .df, but the matrix column by column; what the CAD grids of Realtime-Scan2CAD have (its int32 dims
                read the same)

A matrix whose last column, and not its last row, is 0 0 0 1 was written the other way, and is read so.

All numbers little-endian. Layout: Dahnert et al., ICCV 2019, from its public code. Letters: X, Y, Z voxels a side.
"""

import os
import stat
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from jaxret.errors import DataError, Problem
from jaxret.files import storage_errors
from jaxret.geometry.formats import DISTANCE_SUFFIXES

MAX_SIDE = 1024
SURFACE, NEAR, FREE = 1, 2, 3  # what a scan saw at a voxel: free up to 3 voxels before the surface, or more; 0: nothing
_HEADER = np.dtype([('dims', '<u4', 3), ('voxel_size', '<f4'), ('matrix', '<f4', 16)])
_AGAIN = 'copy or export the file again, or leave it out'


@dataclass(frozen=True, eq=False)
class DistanceGrid:
    """Distances to a surface at voxel centres, in index order [x, y, z].

    Attributes:
      values: float32 [X, Y, Z], in the units of `voxel_size`. Signed ones are negative behind the surface; voxels that
        no camera saw may be infinite. Never NaN.
      voxel_size: side of a voxel.
      grid_to_world: float32 [4, 4], from voxel indices to world coordinates.
    """

    values: np.ndarray
    voxel_size: float
    grid_to_world: np.ndarray

    def occupancy(self, *, voxels: float = 1.0) -> np.ndarray:
        """bool [X, Y, Z]: |distance| <= `voxels` voxels, by default 1 as in the public code."""
        return np.abs(self.values) <= np.float32(voxels) * np.float32(self.voxel_size)

    def seen(self) -> np.ndarray:
        """uint8 [X, Y, Z]: `SURFACE` where occupied, `NEAR` and `FREE` before it, 0 behind it."""
        voxels = self.values / np.float32(self.voxel_size)
        states = np.select([self.occupancy(), ~(voxels > 1) | np.isinf(voxels), voxels <= 3], [SURFACE, 0, NEAR], FREE)
        return states.astype(np.uint8)


def read_distances(path: str | os.PathLike) -> DistanceGrid:
    """Reads a file of distances.

    Args:
      path: with one of `DISTANCE_SUFFIXES`.

    Raises:
      DataError: the file is missing, of another kind, cut off or too long, its header makes no sense, or a distance is
        NaN.
    """
    path = Path(path)
    if path.suffix not in DISTANCE_SUFFIXES:
        raise _bad(path, f'unknown kind {path.suffix!r}', f'use one of {" ".join(DISTANCE_SUFFIXES)}')
    header, body = _read(path, 4)
    values = np.frombuffer(body, '<f4').astype(np.float32)
    missing = np.isnan(values)
    if missing.any():
        raise _bad(path, f'{int(missing.sum())} of {len(values)} distances are NaN')
    if not np.isfinite(values).any():
        raise _bad(path, 'no distance is finite: nothing was observed')
    dims = tuple(int(side) for side in header['dims'])
    matrix = header['matrix'].reshape(4, 4, order=_matrix_order(path)).astype(np.float32)
    if _is_affine(matrix.T) and not _is_affine(matrix):
        matrix = matrix.T
    return DistanceGrid(values.reshape(dims, order='F'), float(header['voxel_size']), matrix)


def write_distances(path: str | os.PathLike, grid: DistanceGrid) -> None:
    """Writes a .sdf, .df or .vox file; reading it gives the same numbers, bit by bit.

    Raises:
      StorageError: the file cannot be written.
    """
    values = np.asarray(grid.values, '<f4')
    _write(Path(path), grid, values.tobytes(order='F'))


def read_mask(path: str | os.PathLike, *, like: DistanceGrid | None = None) -> np.ndarray:
    """Reads an object mask.

    Args:
      path: a .mask file.
      like: the scan that it belongs to; None for no check.

    Returns:
      bool [X, Y, Z], True for the object.

    Raises:
      DataError: as `read_distances`, or the mask has another grid than its scan.
    """
    path = Path(path)
    if path.suffix != '.mask':
        raise _bad(path, f'unknown kind {path.suffix!r}', 'name a .mask file')
    header, body = _read(path, 1)
    dims = tuple(int(side) for side in header['dims'])
    if like is not None and dims != like.values.shape:
        raise _bad(path, f'mask of another grid: {_sides(dims)} voxels, its scan has {_sides(like.values.shape)}')
    size = float(header['voxel_size'])
    if like is not None and not np.isclose(size, like.voxel_size):
        raise _bad(path, f'mask of another grid: voxel size {size:g}, its scan has {like.voxel_size:g}')
    return (np.frombuffer(body, np.uint8) != 0).reshape(dims, order='F')


def write_mask(path: str | os.PathLike, mask: np.ndarray, grid: DistanceGrid) -> None:
    """Writes an object mask, bool [X, Y, Z], with the header of its scan.

    Raises:
      ValueError: the mask has another shape than the scan.
      StorageError: the file cannot be written.
    """
    if mask.shape != grid.values.shape:
        raise ValueError(f'a mask {mask.shape} for a scan {grid.values.shape}')
    _write(Path(path), grid, mask.astype(np.uint8).tobytes(order='F'))


def _matrix_order(path: Path) -> str:
    """How numpy names the order of the matrix in a file."""
    return 'F' if path.suffix == '.vox' else 'C'


def _is_affine(matrix: np.ndarray) -> bool:
    return np.array_equal(matrix[3], (0, 0, 0, 1))


def _bad(path: Path, found: str, action: str = _AGAIN) -> DataError:
    return DataError(Problem(str(path), found, action))


def _sides(dims: tuple[int, ...]) -> str:
    return ' x '.join(str(side) for side in dims)


def _read(path: Path, bytes_each: int) -> tuple[np.void, bytes]:
    """The header and the bytes after it."""
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):  # opening a named pipe would wait for ever
            raise _bad(path, 'not a regular file', 'name a file')
        if status.st_size < _HEADER.itemsize:
            raise _bad(path, f'cut off: {status.st_size} bytes, the header alone has {_HEADER.itemsize}')
        with path.open('rb') as file:
            header = np.frombuffer(file.read(_HEADER.itemsize), _HEADER)[0]
            expected = _expected_size(path, header, bytes_each)
            if status.st_size != expected:  # before a large file is read
                kind = 'cut off' if status.st_size < expected else 'too long'
                dims = _sides(tuple(int(side) for side in header['dims']))
                raise _bad(path, f'{kind}: {status.st_size} bytes, but {dims} voxels take {expected}')
            return header, file.read()
    except FileNotFoundError:
        raise _bad(path, 'the file does not exist', 'restore the file, or leave out what names it') from None
    except (OSError, ValueError) as error:  # ValueError: a null byte in the path
        raise _bad(path, f'the file cannot be read ({error})', 'check its permissions and the disk') from error


def _expected_size(path: Path, header: np.void, bytes_each: int) -> int:
    dims = [int(side) for side in header['dims']]
    if not all(1 <= side <= MAX_SIDE for side in dims):
        raise _bad(path, f'its header names {_sides(tuple(dims))} voxels; a side has 1 to {MAX_SIDE}')
    size = float(header['voxel_size'])
    if not (np.isfinite(size) and size > 0):
        raise _bad(path, f'its header names voxels of size {size:g}')
    if not np.isfinite(header['matrix']).all():
        raise _bad(path, 'the matrix in its header is not finite')
    return _HEADER.itemsize + bytes_each * dims[0] * dims[1] * dims[2]


def _write(path: Path, grid: DistanceGrid, body: bytes) -> None:
    header = np.zeros((), _HEADER)
    header['dims'] = grid.values.shape
    header['voxel_size'] = grid.voxel_size
    header['matrix'] = np.asarray(grid.grid_to_world, np.float32).flatten(order=_matrix_order(path))
    with storage_errors(path):
        path.write_bytes(header.tobytes() + body)
