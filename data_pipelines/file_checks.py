"""Are photos, masks, meshes, grids readable? Each is decoded, in worker processes; sound files are remembered."""

import contextlib
import hashlib
import json
import os
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import PIL

import jaxret
from jaxret.errors import DataError, Problem
from jaxret.files import write_atomically
from jaxret.geometry import distance_grids, mesh
from jaxret.geometry.places import model_files
from jaxret.preprocessing import photo_files as photos
from jaxret.preprocessing.framing import mask_box
from jaxret.workers import map_parallel

Name = TypeVar('Name', bound=Hashable)
Wrong = tuple[Problem, ...]
# What a sound pair tells: (width, height, box around the mask's object pixels, if there are any, `Pair.turn`,
# `Pair.unsure`).
PairFacts = tuple[int, int, photos.Box | None, int, bool]
# What a sound picture tells: (width, height, all its pixels are grey).
PictureFacts = tuple[int, int, bool]
# Fewer files are done in this process, sooner than others start.
SERIAL_BELOW = 48


@dataclass(frozen=True)
class FileChecks:
    """Checks of the files of one data set. Each gives, in the files' order, facts or what is wrong.

    Attributes:
      root: the data set's folder, by which sound files are remembered (by size and time of change).
      cache_dir: folder in which they are remembered, so that the next check is quick; None for none.
      processes: worker processes.
      progress: show a progress bar.
    """

    root: Path
    cache_dir: Path | str | None = None
    processes: int = 2
    progress: bool = True

    def pairs(self, pairs: Sequence[tuple[Path, Path]]) -> list[PairFacts | Wrong]:
        """Decodes every photo with its mask."""
        return self._remembered(_check_pair, pairs, 'photos', 'Checking photos')

    def pictures(self, paths: Sequence[Path], *, kind: str) -> list[PictureFacts | Wrong]:
        """Decodes every picture; `kind` names what they are: 'photos', 'views', ..."""
        return self._remembered(_check_picture, [(path,) for path in paths], kind, f'Checking {kind}')

    def meshes(self, paths: Sequence[Path], *, up_axis: str) -> list[tuple[bool] | Wrong]:
        """Loads every mesh with `jaxret.geometry.mesh.load_mesh`."""
        return self._remembered(_check_mesh, [(path, up_axis) for path in paths], 'meshes', 'Checking meshes')

    def grids(self, items: Sequence[tuple[Path, ...]], *, resolution: int) -> list[tuple[bool] | Wrong]:
        """Reads every distance grid: files (scan, mask, CAD model), or (CAD model,) alone, of R voxels a side."""
        return self._remembered(_check_grids, [(*item, resolution) for item in items], 'grids', 'Checking grids')

    def _remembered(self, check: Callable, items: Sequence[Sequence[Any]], kind: str, title: str) -> list:
        """check(item) for every item, from memory where its files have not changed since they were found sound."""
        memory = _memory_file(self.cache_dir, self.root, kind)
        version = f'{source_hash()} {PIL.__version__}'
        known = _recall(memory, version)
        keys = ['|'.join(str(part) for part in item) for item in items]
        marks = [[signature(part) for part in item if isinstance(part, Path)] for item in items]
        results = [_known(known.get(key), mark) for key, mark in zip(keys, marks, strict=True)]
        new = [i for i, result in enumerate(results) if result is None]
        if not new:
            return results
        options = {'serial_below': SERIAL_BELOW, 'progress': title if self.progress else None}
        fresh = map_parallel(check, [items[i] for i in new], processes=self.processes, **options)
        try:
            with contextlib.closing(fresh):
                for position, result in fresh:
                    i = new[position]
                    known.pop(keys[i], None)
                    if isinstance(result, DataError):
                        results[i] = result.problems
                    else:
                        results[i], known[keys[i]] = result, [marks[i], list(result)]
        finally:  # an interrupted check goes on where it was
            if memory is not None:
                write_atomically(memory, json.dumps({'version': version, 'sound': known}))
        return results


def is_wrong(result: tuple) -> bool:
    """Whether a check found something wrong."""
    return isinstance(result[0], Problem)


def wrong_ones(names: Iterable[Name], results: Iterable[tuple]) -> dict[Name, Wrong]:
    """What is wrong by name, of the results of a check in the order of the names."""
    return {name: result for name, result in zip(names, results, strict=True) if is_wrong(result)}


def unsure_ones(names: Iterable[Name], results: Iterable[PairFacts | Wrong]) -> set[Name]:
    """Names of the sound pairs whose mask could also be meant for the photo's pixels as stored."""
    return {name for name, result in zip(names, results, strict=True) if not is_wrong(result) and result[4]}


def signature(path: Path) -> tuple[int, ...] | None:
    """(bytes, nanoseconds of last change) of each file that a model is made of; None if any is missing."""
    try:
        states = [file.stat() for file in model_files(path)]
    except (OSError, ValueError):
        return None
    return tuple(number for state in states for number in (state.st_size, state.st_mtime_ns))


def source_hash(*files: str) -> str:
    """Hash of the code that turns files into arrays: what it made is out of date when it changes.

    Args:
      files: code (`__file__`) besides jaxret.geometry and jaxret.preprocessing, which are hashed whole.
    """
    package = Path(jaxret.__file__).parent
    code = [*sorted(package.glob('geometry/*.py')), *sorted(package.glob('preprocessing/*.py')), *map(Path, files)]
    return hashlib.sha256(b'\0'.join(file.read_bytes() for file in code)).hexdigest()[:16]


def _check_pair(pair: tuple[Path, Path]) -> PairFacts:
    found = photos.read_pair(*pair)
    height, width = found.mask.shape
    return width, height, mask_box(found.mask), found.turn, found.unsure


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


def _memory_file(cache_dir: Path | str | None, root: Path, kind: str) -> Path | None:
    if cache_dir is None:
        return None
    return Path(cache_dir) / 'checked' / f'{hashlib.sha256(os.fsencode(root)).hexdigest()[:16]}-{kind}.json'


def _known(stored: list | None, mark: list[tuple[int, ...] | None]) -> tuple | None:
    """The facts of an item whose files are as they were, else None."""
    if stored is None or None in mark or stored[0] != [list(pair) for pair in mark]:
        return None
    return tuple(stored[1])


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
