"""Are photos, masks and meshes readable? Each is really decoded, in worker processes; sound files are remembered."""

import contextlib
import hashlib
import json
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import PIL

from data_pipelines import photos
from jaxret.errors import DataError, Problem, StorageError
from jaxret.geometry import mesh
from jaxret.geometry.workers import map_files

# What a sound pair tells: (width, height, mask has object pixels).
PairFacts = tuple[int, int, bool]
# Starting processes takes about a second; fewer items are done in this one.
_SERIAL_BELOW = 48


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


def signature(path: Path) -> tuple[int, int] | None:
    """(bytes, nanoseconds of last change) of a file, None where it cannot be looked at."""
    try:
        status = path.stat()
    except (OSError, ValueError):
        return None
    return status.st_size, status.st_mtime_ns


def source_hash(*modules: Any) -> str:
    """Hash of modules' source files: what they computed is out of date when it changes."""
    content = b'\0'.join(Path(module.__file__).read_bytes() for module in modules)
    return hashlib.sha256(content).hexdigest()[:16]


def write_atomically(path: Path, text: str) -> None:
    """Write a small file such that readers see the old content or all of the new one.

    Raises:
      StorageError: the folder cannot be written or the disk is full.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f'.{path.name}.')
        try:
            with os.fdopen(handle, 'w', encoding='utf-8') as file:
                file.write(text)
            os.replace(name, path)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(name)
            raise
    except OSError as error:
        raise StorageError(
            f'{path}: cannot be written ({error.strerror or error}); free space or name another folder'
        ) from error


def run_many(
    function: Callable[[Any], Any], items: Sequence[Any], *, processes: int, label: str, progress: bool = True
) -> Iterator[tuple[int, Any]]:
    """`jaxret.geometry.workers.map_files`, with few items done in this process (starting others takes a second)."""
    return map_files(
        function, items, processes=processes if len(items) >= _SERIAL_BELOW else 1, progress=label if progress else None
    )


def _check_pair(pair: tuple[Path, Path]) -> PairFacts:
    photo, mask = photos.read_pair(*pair)
    return photo.shape[1], photo.shape[0], bool(mask.any())


def _check_mesh(item: tuple[Path, str]) -> tuple[bool]:
    mesh.load_mesh(item[0], up_axis=item[1])
    return (True,)


def _remembered(
    check: Callable, items: Sequence[Sequence[Any]], *, processes: int, memory: Path | None, progress: bool, label: str
) -> list:
    """check(item) for every item, from memory where an item's files have not changed since they were found sound."""
    version = f'{source_hash(photos, mesh)} {PIL.__version__}'
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
    fresh = run_many(check, [items[i] for i in new], processes=processes, label=label, progress=progress)
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
