"""How far the answered shape is from the true one: modified Hausdorff distance and voxel IoU of mesh pairs.

Each mesh is loaded, sampled and voxelised once, each distinct unordered pair is compared once (both measures are
symmetric). A shape compared with itself is 0 and 1 by definition: one point set a shape, as in the evaluation of
CMIC (ICCV 2021), so that a hit never costs the noise of two random samplings.
"""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from jaxret.errors import DataError, Problem
from jaxret.geometry.distances import modified_hausdorff, voxel_iou
from jaxret.geometry.mesh import load_mesh, normalize_mesh
from jaxret.geometry.points import sample_surface
from jaxret.geometry.voxels import voxelize_solid
from jaxret.workers import map_parallel, progress_bar


@dataclass(frozen=True)
class ShapeDistances:
    """Shape metrics of Q answers.

    Attributes:
      hausdorff, iou: [Q] float64; NaN where the true shape is unknown (-1) or a mesh is unusable.
      problems: the unusable meshes.
    """

    hausdorff: np.ndarray
    iou: np.ndarray
    problems: tuple[Problem, ...] = ()


@dataclass(frozen=True)
class _Shape:
    """A prepared mesh: points [N, 3] and the solid, packed to one bit a voxel."""

    points: np.ndarray
    packed: np.ndarray
    resolution: int

    def voxels(self) -> np.ndarray:
        cells = np.unpackbits(self.packed, count=self.resolution**3)
        return cells.view(bool).reshape((self.resolution,) * 3)


def compare_shapes(
    paths: Sequence[Path],
    true_index: np.ndarray,
    predicted_index: np.ndarray,
    *,
    points: int = 10_000,
    resolution: int = 128,
    up_axis: str | Sequence[str] = 'y',
    seed: int = 0,
    on_bad_file: str = 'error',
    processes: int = 1,
    memory_shapes: int = 2048,
    progress: bool = True,
) -> ShapeDistances:
    """Modified Hausdorff distance and solid voxel IoU between the true and the predicted shape of every query.

    Shapes are moved and scaled so that the bounding box is centred and its longest side is 1; the unit of the distance
    is that side. hausdorff = (sum_x min_y |x-y| + sum_y min_x |x-y|) / (|X|+|Y|), iou = |A and B| / |A or B|.

    Args:
      paths: [G] mesh file of every gallery shape.
      true_index, predicted_index: [Q] gallery indices; a negative one gives NaN.
      points: surface points a shape.
      resolution: cells a side of the voxel grid.
      up_axis: of the files, see `load_mesh`; one a path where they differ.
      seed: of the surface samples.
      on_bad_file: 'error' raises with all unusable meshes, 'skip' gives NaN for them and lists them.
      processes: for preparing shapes; more than 1 starts new interpreters.
      memory_shapes: shapes held at once.
      progress: show a progress bar.

    Returns:
      ShapeDistances of the Q queries.

    Raises:
      DataError: unusable meshes, indices outside the gallery.

    Source: CMIC (Lin et al., ICCV 2021), section 4; Dubuisson and Jain, ICPR 1994.
    """
    true_index, predicted_index = np.asarray(true_index, np.int64), np.asarray(predicted_index, np.int64)
    _check(true_index, predicted_index, len(paths), on_bad_file, memory_shapes)
    low, high = np.minimum(true_index, predicted_index), np.maximum(true_index, predicted_index)
    known = low >= 0
    hausdorff = np.where(known & (low == high), 0.0, np.nan)
    iou = np.where(known & (low == high), 1.0, np.nan)
    different = np.flatnonzero(known & (low != high))
    if not different.size:
        return ShapeDistances(hausdorff, iou)

    pairs, which = np.unique(np.stack([low[different], high[different]], axis=1), axis=0, return_inverse=True)
    axes = [up_axis] * len(paths) if isinstance(up_axis, str) else up_axis
    files = [(Path(path), axis) for path, axis in zip(paths, axes, strict=True)]
    prepare = partial(_prepare, points=points, resolution=resolution, seed=seed)
    values, problems = _compare_pairs(
        files, pairs, prepare, processes=processes, memory=memory_shapes, progress=progress
    )
    if problems and on_bad_file == 'error':
        raise DataError(problems)
    hausdorff[different], iou[different] = values[which.reshape(-1)].T
    return ShapeDistances(hausdorff, iou, tuple(problems))


def _compare_pairs(
    files: Sequence[tuple[Path, str]], pairs: np.ndarray, prepare, *, processes: int, memory: int, progress: bool
) -> tuple[np.ndarray, list[Problem]]:
    """[P, 2] (hausdorff, iou) of every pair, and the meshes that cannot be used."""
    values = np.full((len(pairs), 2), np.nan)
    failed: dict[int, DataError] = {}
    shapes: dict[int, _Shape] = {}
    for block in _blocks(pairs, memory):
        needed = set(np.unique(pairs[block]).tolist())
        shapes = {index: shape for index, shape in shapes.items() if index in needed}
        missing = sorted(needed - shapes.keys() - failed.keys())
        title = 'Preparing shapes' if progress else None
        options = {'processes': processes, 'serial_below': 2 * processes, 'progress': title}
        for position, shape in map_parallel(prepare, [files[i] for i in missing], **options):
            (failed if isinstance(shape, DataError) else shapes)[missing[position]] = shape
        held = [(shapes.get(a), shapes.get(b)) for a, b in pairs[block].tolist()]
        # The trees and array operations release the interpreter lock, so threads are enough here.
        with (
            ThreadPoolExecutor(processes) as threads,
            progress_bar('Comparing shapes' if progress else None, len(held)) as advance,
        ):
            for row, value in enumerate(threads.map(lambda pair: _distances(*pair), held), start=block.start):
                values[row] = value
                advance()
    return values, [problem for index in sorted(failed) for problem in failed[index].problems]


def _distances(a: _Shape | None, b: _Shape | None) -> tuple[float, float]:
    if a is None or b is None:
        return np.nan, np.nan
    return modified_hausdorff(a.points, b.points), voxel_iou(a.voxels(), b.voxels())


def _prepare(file: tuple[Path, str], *, points: int, resolution: int, seed: int) -> _Shape:
    """One shape, of a path and its up axis, ready to compare. Raises DataError."""
    path, up_axis = file
    mesh = normalize_mesh(load_mesh(path, up_axis=up_axis), mode='cube')
    cells = voxelize_solid(mesh, resolution=resolution)
    return _Shape(sample_surface(mesh, points, seed=seed), np.packbits(cells), resolution)


def _blocks(pairs: np.ndarray, memory: int) -> Iterator[slice]:
    """Consecutive runs of sorted pairs that touch at most `memory` shapes each."""
    start, held = 0, set()
    for position, pair in enumerate(pairs.tolist()):
        if len(held.union(pair)) > memory:
            yield slice(start, position)
            start, held = position, set()
        held.update(pair)
    yield slice(start, len(pairs))


def _check(true_index, predicted_index, gallery: int, on_bad_file: str, memory: int) -> None:
    if true_index.shape != predicted_index.shape or true_index.ndim != 1:
        found = f'shapes {true_index.shape} and {predicted_index.shape}'
        raise DataError(Problem('true_index, predicted_index', found, 'give one index of each a query'))
    highest = max(true_index.max(initial=-1), predicted_index.max(initial=-1))
    if highest >= gallery:
        raise DataError(Problem('true_index, predicted_index', f'index {highest}', f'the gallery has {gallery} shapes'))
    if on_bad_file not in ('error', 'skip') or memory < 2:
        found = f'on_bad_file={on_bad_file!r}, memory_shapes={memory}'
        raise DataError(Problem('compare_shapes', found, "use 'error' or 'skip', and room for 2 shapes or more"))
