"""Scans, CAD models and annotations of a split as numpy tables, and what they hold of a file.

Letters: n scans, G models of the gallery, A annotations, P models of a pool, R voxels a side, k rows. Grids are in
index order [x, y, z], +y up, one bit a voxel.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from data_pipelines.scan_to_cad.dataset import CadEntry, ScanEntry
from jaxret.errors import refused
from jaxret.geometry.distance_grids import FREE, NEAR, SURFACE, read_distances, read_mask


@dataclass(frozen=True, eq=False)
class ScanTable:
    """Scans of one split, in the order of their names.

    Attributes:
      scan_bits, near_bits, free_bits, mask_bits, cad_bits: uint8 [n, R^3 / 8]: surface of the scan, what it saw to be
        free (near the surface, and the rest), voxels of the object, CAD model in the scan's pose.
      category: int32 [n], index into `categories`.
      instance: int32 [n], row of the scan's model in the gallery.
      names: of the scans.
      categories: synsets.
      resolution: R.
    """

    scan_bits: np.ndarray
    near_bits: np.ndarray
    free_bits: np.ndarray
    mask_bits: np.ndarray
    cad_bits: np.ndarray
    category: np.ndarray
    instance: np.ndarray
    names: list[str]
    categories: tuple[str, ...]
    resolution: int

    def __len__(self) -> int:
        return len(self.names)

    def scans(self, rows: Sequence[int] | np.ndarray) -> np.ndarray:
        """Surface of some scans: uint8 [k, R, R, R] of 0 and 1."""
        return unpack(self.scan_bits[rows], self.resolution)

    def seen(self, rows: Sequence[int] | np.ndarray) -> np.ndarray:
        """What some scans saw: uint8 [k, R, R, R], as `DistanceGrid.seen`."""
        near, free = (unpack(bits[rows], self.resolution) for bits in (self.near_bits, self.free_bits))
        return SURFACE * self.scans(rows) + NEAR * near + FREE * free

    def masks(self, rows: Sequence[int] | np.ndarray) -> np.ndarray:
        """Voxels of the object: uint8 [k, R, R, R]."""
        return unpack(self.mask_bits[rows], self.resolution)

    def cads(self, rows: Sequence[int] | np.ndarray) -> np.ndarray:
        """Surface of their CAD models: uint8 [k, R, R, R]."""
        return unpack(self.cad_bits[rows], self.resolution)


@dataclass(frozen=True, eq=False)
class CadTable:
    """The gallery, in the order of names.

    Attributes:
      cad_bits: uint8 [G, R^3 / 8].
      category: int32 [G], index into `categories`.
      instance: int32 [G]: 0 .. G - 1.
      names: '<synset>_<id>'.
      categories: synsets.
      resolution: R.
    """

    cad_bits: np.ndarray
    category: np.ndarray
    instance: np.ndarray
    names: list[str]
    categories: tuple[str, ...]
    resolution: int

    def __len__(self) -> int:
        return len(self.names)

    def cads(self, rows: Sequence[int] | np.ndarray) -> np.ndarray:
        """Surface of some models: uint8 [k, R, R, R]."""
        return unpack(self.cad_bits[rows], self.resolution)


@dataclass(frozen=True, eq=False)
class PoolTable:
    """Annotations of the scans of one split.

    Attributes:
      scan: int32 [A], row of the split's ScanTable.
      pool: int32 [A, P], rows of the gallery; 0 where there is none.
      pool_valid: bool [A, P].
      rank: int32 [A, P]: 1 is the most similar, 0 is not ranked.
      category: int32 [A], of the scan.
    """

    scan: np.ndarray
    pool: np.ndarray
    pool_valid: np.ndarray
    rank: np.ndarray
    category: np.ndarray

    def __len__(self) -> int:
        return len(self.scan)


def joined(scans: Sequence[ScanTable], pools: Sequence[PoolTable]) -> tuple[ScanTable, PoolTable]:
    """The scans of some splits, one after the other, and their annotations."""
    columns = ('scan_bits', 'near_bits', 'free_bits', 'mask_bits', 'cad_bits', 'category', 'instance')
    arrays = {name: np.concatenate([getattr(table, name) for table in scans]) for name in columns}
    starts = np.cumsum([0, *map(len, scans[:-1])])
    rows = [pool.scan + start for pool, start in zip(pools, starts, strict=True)]
    others = ('pool', 'pool_valid', 'rank', 'category')
    return (
        replace(scans[0], **arrays, names=[name for table in scans for name in table.names]),
        PoolTable(
            np.concatenate(rows).astype(np.int32),
            **{name: np.concatenate([getattr(pool, name) for pool in pools]) for name in others},
        ),
    )


def pack(grids: np.ndarray) -> np.ndarray:
    """Grids [..., R, R, R], True where not 0, as uint8 [..., ceil(R^3 / 8)]."""
    return np.packbits(np.asarray(grids, bool).reshape(*grids.shape[:-3], -1), axis=-1)


def unpack(bits: np.ndarray, resolution: int) -> np.ndarray:
    """Packed grids uint8 [..., ceil(R^3 / 8)] as uint8 [..., R, R, R] of 0 and 1."""
    voxels = np.unpackbits(bits, axis=-1, count=resolution**3)
    return voxels.reshape(*bits.shape[:-1], resolution, resolution, resolution)


def packed_size(resolution: int) -> int:
    """Bytes of a packed grid."""
    return -(-(resolution**3) // 8)


def scan_bits(entry: ScanEntry, *, resolution: int) -> dict[str, np.ndarray]:
    """Surface of a scan (|distance| <= 1 voxel), what it saw to be free, its mask, and its CAD model, packed.

    Raises DataError.
    """
    scan = read_distances(entry.scan)
    return {
        'scan': _surface(entry.scan, resolution),
        'near': pack(scan.seen() == NEAR),
        'free': pack(scan.seen() == FREE),
        'mask': pack(read_mask(entry.mask, like=scan)),
        'cad': _surface(entry.cad, resolution),
    }


def cad_bits(entry: CadEntry, *, resolution: int) -> dict[str, np.ndarray]:
    """Surface of a CAD model, packed. Raises DataError."""
    return {'cad': _surface(entry.path, resolution)}


def _surface(path: Path, resolution: int) -> np.ndarray:
    grid = read_distances(path)
    if grid.values.shape != (resolution,) * 3:  # it was another one when it was checked
        raise refused(str(path), 'changed while it was read', 'start again')
    return pack(grid.occupancy())
