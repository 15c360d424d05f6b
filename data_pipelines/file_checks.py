"""Are photos, masks, meshes, grids readable? Each is decoded, in worker processes; sound files are remembered."""

import contextlib
import hashlib
import json
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import PIL

from jaxret.errors import DataError, Problem
from jaxret.files import write_atomically
from jaxret.geometry import distance_grids, mesh, mesh_damage, off
from jaxret.preprocessing import photo_files as photos
from jaxret.workers import map_parallel

# What a sound pair tells: (width, height, mask has object pixels).
PairFacts = tuple[int, int, bool]
# What a sound picture tells: (width, height, all its pixels are grey).
PictureFacts = tuple[int, int, bool]
# Fewer files are done in this process, sooner than others start.
SERIAL_BELOW = 48


def check_pairs(
    pairs: Sequence[tuple[Path, Path]], *, processes: int, memory: Path | None = None, progress: bool = True
) -> list[PairFacts | tuple[Problem, ...]]:
    """Decode every photo with its mask.

    Args:
      pairs: files of photo and mask.
      processes: worker processes.
      memory: JSON file in which sound files are remembered (by size and time of change) for the next time.
      progress: show a progress bar.

    Returns:
      for each pair (width, height, mask is not empty) or what is wrong with it.
    """
    options = {'processes': processes, 'memory': memory, 'progress': progress}
    return _remembered(_check_pair, pairs, label='Checking photos', **options)


def check_pictures(
    paths: Sequence[Path],
    *,
    processes: int,
    memory: Path | None = None,
    progress: bool = True,
    label: str = 'Checking photos',
) -> list[PictureFacts | tuple[Problem, ...]]:
    """Decode every picture.

    Args:
      paths: image files.
      processes: worker processes.
      memory: as `check_pairs`.
      progress: show a progress bar.
      label: its title.

    Returns:
      for each picture (width, height, all its pixels are grey) or what is wrong with it.
    """
    options = {'processes': processes, 'memory': memory, 'progress': progress, 'label': label}
    return _remembered(_check_picture, [(path,) for path in paths], **options)


def check_meshes(
    paths: Sequence[Path], *, up_axis: str, processes: int, memory: Path | None = None, progress: bool = True
) -> list[tuple[Problem, ...]]:
    """Load every mesh with `jaxret.geometry.mesh.load_mesh`.

    Args:
      paths: mesh files.
      up_axis: as `load_mesh`.
      processes: worker processes.
      memory: as `check_pairs`.
      progress: show a progress bar.

    Returns:
      what is wrong with each; an empty tuple for a sound one.
    """
    items = [(path, up_axis) for path in paths]
    options = {'processes': processes, 'memory': memory, 'progress': progress}
    found = _remembered(_check_mesh, items, label='Checking meshes', **options)
    return [result if result and isinstance(result[0], Problem) else () for result in found]


def check_grids(
    items: Sequence[tuple[Path, ...]],
    *,
    resolution: int,
    processes: int,
    memory: Path | None = None,
    progress: bool = True,
) -> list[tuple[Problem, ...]]:
    """Read every distance grid.

    Args:
      items: files (scan, mask, CAD model), or (CAD model,) alone.
      resolution: voxels that each side must have.
      processes: worker processes.
      memory: as `check_pairs`.
      progress: show a progress bar.

    Returns:
      what is wrong with each; an empty tuple for a sound one.
    """
    rows = [(*item, resolution) for item in items]
    options = {'processes': processes, 'memory': memory, 'progress': progress}
    found = _remembered(_check_grids, rows, label='Checking grids', **options)
    return [result if result and isinstance(result[0], Problem) else () for result in found]


def signature(path: Path) -> tuple[int, ...] | None:
    """(bytes, nanoseconds of last change) of a file, then of each buffer of a .gltf file; None if any is missing."""
    try:
        states = [file.stat() for file in (path, *mesh.buffer_files(path))]
    except (OSError, ValueError):
        return None
    return tuple(number for state in states for number in (state.st_size, state.st_mtime_ns))


def memory_file(cache_dir: Path | str | None, root: Path, kind: str) -> Path | None:
    """Where sound files of a folder are remembered: `memory` of the checks above; None without a cache folder.

    Args:
      cache_dir: the cache folder, or None.
      root: the data set's folder.
      kind: 'photos', 'meshes', ...
    """
    if cache_dir is None:
        return None
    return Path(cache_dir) / 'checked' / f'{hashlib.sha256(os.fsencode(root)).hexdigest()[:16]}-{kind}.json'


def source_hash(*modules: Any) -> str:
    """Hash of modules' source files: what they computed is out of date when it changes."""
    content = b'\0'.join(Path(module.__file__).read_bytes() for module in modules)
    return hashlib.sha256(content).hexdigest()[:16]


def _check_pair(pair: tuple[Path, Path]) -> PairFacts:
    photo, mask = photos.read_pair(*pair)
    return photo.shape[1], photo.shape[0], bool(mask.any())


def _check_picture(item: tuple[Path]) -> PictureFacts:
    pixels = photos.read_photo(item[0])
    return pixels.shape[1], pixels.shape[0], bool((pixels == pixels[:, :, :1]).all())


def _check_mesh(item: tuple[Path, str]) -> tuple[bool]:
    mesh.load_mesh(item[0], up_axis=item[1])
    return (True,)


def _check_grids(item: tuple) -> tuple[bool]:
    """Raises DataError with everything that is wrong with a scan, its mask and its CAD model, or a CAD model alone."""
    *paths, resolution = item
    problems, grids = [], {}
    for path in (paths[0], paths[-1]):
        try:
            grids[path] = distance_grids.read_distances(path)
        except DataError as error:
            problems += error.problems
    if len(paths) == 3:
        try:
            mask = distance_grids.read_mask(paths[1], like=grids.get(paths[0]))
            if paths[0] in grids and not (mask & grids[paths[0]].occupancy()).any():
                found = 'the scan has no surface within the mask: nothing of the object is in it'
                problems.append(Problem(str(paths[1]), found, 'leave the scan out'))
        except DataError as error:
            problems += error.problems
    for path, grid in grids.items():
        sides = grid.values.shape
        if sides != (resolution,) * 3:
            found = f'{" x ".join(map(str, sides))} voxels, not {resolution} along each side'
            problems.append(Problem(str(path), found, 'export the grid again at that size'))
        elif not grid.occupancy().any():
            problems.append(Problem(str(path), 'no voxel is near a surface', 'export the grid again, or leave it out'))
    if problems:
        raise DataError(list(dict.fromkeys(problems)))
    return (True,)


def _remembered(
    check: Callable, items: Sequence[Sequence[Any]], *, processes: int, memory: Path | None, progress: bool, label: str
) -> list:
    """check(item) for every item, from memory where an item's files have not changed since they were found sound."""
    version = f'{source_hash(photos, mesh, mesh_damage, off, distance_grids)} {PIL.__version__}'
    known = _recall(memory, version)
    keys = ['|'.join(str(part) for part in item) for item in items]
    marks = [[signature(part) for part in item if isinstance(part, Path)] for item in items]
    results: list[Any] = [None] * len(items)
    new = []
    for i, (key, mark) in enumerate(zip(keys, marks, strict=True)):
        if key in known and None not in mark and known[key][0] == [list(pair) for pair in mark]:
            results[i] = tuple(known[key][1])
        else:
            new.append(i)
    if not new:
        return results
    options = {'processes': processes, 'serial_below': SERIAL_BELOW, 'progress': label if progress else None}
    fresh = map_parallel(check, [items[i] for i in new], **options)
    try:
        with contextlib.closing(fresh):
            for position, result in fresh:
                i = new[position]
                known.pop(keys[i], None)
                if isinstance(result, DataError):
                    results[i] = result.problems
                else:
                    results[i] = result
                    known[keys[i]] = [marks[i], list(result)]
    finally:  # an interrupted check goes on where it was
        if memory is not None:
            write_atomically(memory, json.dumps({'version': version, 'sound': known}))
    return results


def _recall(memory: Path | None, version: str) -> dict[str, Any]:
    if memory is None:
        return {}
    try:
        stored = json.loads(memory.read_text(encoding='utf-8'))
    except (OSError, ValueError):
        return {}
    if not isinstance(stored, Mapping) or stored.get('version') != version or not isinstance(stored.get('sound'), dict):
        return {}
    return stored['sound']
