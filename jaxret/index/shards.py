"""Shards of an index: embeddings, thumbnails, contents and facts of some shapes in one file that never changes.

A shard is named by its content, which is compared with the name before its embeddings are used. They are read whole; of
its thumbnails only the one that is asked for, and facts when they are first asked for.
"""

import contextlib
import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from jaxret.errors import DataError, Problem
from jaxret.files import check_regular, write_atomically
from jaxret.preprocessing.shapes import ShapeInputs

FORMAT = 'jaxret-index-1'
SHARDS = 'shards'
SHARD_SHAPES = 128  # what a killed run may lose
# How an up axis is known; `BEFORE`: as an earlier version took it.
GIVEN, STATED, GUESSED, DEFAULT, BEFORE = 'given', 'stated', 'guessed', 'default', 'before'
Place = tuple[str, int]  # shard and row
_MATRIX = 'projection'  # as earlier versions named it
_OWN = ('embeddings', 'thumbnails', 'starts')  # arrays that are no extras
_INDEX_AGAIN = 'run `jaxret index` again'


@dataclass(frozen=True)
class ShapeRow:
    """One shape of an index.

    Attributes:
      id: path below its folder of models, with /.
      category: '' where there is none.
      source: which of the folders.
      checksum: of its content (`file_checksum`).
      mark: sizes and times of change of its files when they were read (`file_mark`).
      shard, row: where its embedding and thumbnail are.
      up_axis: that points up in its file, 'y' or 'z'.
      axis_from: how that is known, `GIVEN` or another. Both are '' in tables of earlier versions.
    """

    id: str
    category: str
    source: int
    checksum: str
    mark: list[int]
    shard: str
    row: int
    up_axis: str = ''
    axis_from: str = ''


@dataclass(frozen=True, eq=False)
class Shard:
    """Content of one shard of n shapes.

    Attributes:
      embeddings: [n, ...].
      thumbnails: PNG files.
      keys: of their contents (`content_key`).
      extras: by their names what else is kept, [n, ...] each, such as silhouettes 'outlines' uint8 [n, V, B].
      facts: of each what `ShapeRecord.facts` says, {} for one of an earlier version; () where none has any.
    """

    embeddings: np.ndarray
    thumbnails: Sequence[bytes]
    keys: Sequence[str]
    extras: Mapping[str, np.ndarray] = field(default_factory=dict)
    facts: Sequence[Mapping[str, Any]] = ()


def write_shard(folder: Path, shard: Shard, *, key: str) -> str:
    """Writes a shard; returns its name.

    Args:
      folder: of the index.
      shard: what it holds.
      key: of the model and inputs (`embedding_key`).
    """
    lengths = np.cumsum([0, *(len(picture) for picture in shard.thumbnails)]).astype(np.int64)
    pictures = np.frombuffer(b''.join(shard.thumbnails), np.uint8)
    arrays = {'embeddings': np.ascontiguousarray(shard.embeddings), 'thumbnails': pictures, 'starts': lengths}
    arrays |= {extra: np.ascontiguousarray(array) for extra, array in shard.extras.items()}
    told = {'key': key, 'shapes': list(shard.keys)} | ({'facts': list(shard.facts)} if any(shard.facts) else {})
    # One entry: safetensors writes several in random order, and the file would not be a function of its content.
    content = save(arrays, metadata={'shard': json.dumps(told, allow_nan=False)})
    name = _named(hashlib.sha256(content).hexdigest())
    write_atomically(folder / SHARDS / name, content)
    return name


def write_matrix(folder: Path, matrix: np.ndarray) -> str:
    """Writes what all shapes share, such as the matrix of CMIC's attention; returns the file's name."""
    content = save({_MATRIX: np.ascontiguousarray(matrix)})
    name = _named(hashlib.sha256(content).hexdigest())
    write_atomically(folder / SHARDS / name, content)
    return name


def read_matrix(path: Path) -> np.ndarray:
    """What `write_matrix` wrote. Raises DataError: missing or damaged."""
    check_shard(path)
    return read_array(path, _MATRIX)


def read_shard(path: Path) -> Shard:
    """A shard whose checksum was compared. Raises DataError: missing or damaged."""
    with _opened(path) as file:
        keys = json.loads(file.metadata()['shard'])['shapes']
        pictures, starts = file.get_tensor('thumbnails').tobytes(), file.get_tensor('starts').tolist()
        extras = {name: file.get_tensor(name) for name in sorted(file.keys()) if name not in _OWN}
        embeddings = file.get_tensor('embeddings')
    thumbnails = [pictures[start:stop] for start, stop in pairwise(starts)]
    return Shard(embeddings, thumbnails, keys, extras, read_facts(path))


def read_array(path: Path, name: str) -> np.ndarray:
    """'embeddings' or an extra of a shard whose checksum was compared. Raises DataError: missing or damaged."""
    with _opened(path) as file:
        return file.get_tensor(name)


def read_facts(path: Path) -> list[dict[str, Any]]:
    """Of each shape of a shard its facts; {} where it has none. Raises DataError: missing or damaged."""
    with _opened(path) as file:
        stored = json.loads(file.metadata()['shard'])
        return stored.get('facts') or [{} for _ in stored['shapes']]


def read_thumbnail(path: Path, row: int) -> bytes:
    """One PNG file of a shard; only that is read. Raises DataError: missing or damaged."""
    with _opened(path) as file:
        start, stop = (int(x) for x in file.get_slice('starts')[row : row + 2])
        return file.get_slice('thumbnails')[start:stop].tobytes()


def check_shard(path: Path) -> None:
    """Raises DataError where a shard is missing, cannot be read, or does not hold what its name says."""
    try:
        check_regular(path)
        with path.open('rb') as file:
            name = _named(hashlib.file_digest(file, 'sha256').hexdigest())
    except OSError as error:
        raise unreadable(path, error) from error
    if name != path.name:
        raise DataError(Problem(str(path), 'damaged: another checksum', _INDEX_AGAIN))


def shard_shapes(path: Path, *, key: str) -> list[str] | None:
    """Keys of the shapes in a shard; None where it is of another model or inputs, or not to be read."""
    try:
        with _opened(path) as file:
            stored = json.loads((file.metadata() or {})['shard'])
            return stored['shapes'] if stored['key'] == key else None
    except (DataError, KeyError, ValueError, TypeError):
        return None


def embedding_key(fingerprint: str, inputs: ShapeInputs) -> str:
    """Hash of what decides the embedding of a file, beside the file."""
    content = json.dumps([FORMAT, fingerprint, inputs.to_json()], sort_keys=True)
    return hashlib.sha256(content.encode()).hexdigest()


def content_key(checksum: str, up_axis: str) -> str:
    """What makes two shapes the same."""
    return f'{checksum} {up_axis}'


def without_gaps(folder: Path, rows: Sequence[ShapeRow], key: str) -> list[ShapeRow]:
    """The rows, those of shards that are mostly unused (of changed and removed models) moved to new shards.

    Args:
      folder: of the index.
      rows: all of the next table.
      key: of the model and inputs.
    """
    used: dict[str, set[int]] = {}
    for row in rows:
        used.setdefault(row.shard, set()).add(row.row)
    moved: dict[Place, Place] = {}
    waiting: dict[tuple[str, ...], list[tuple[Place, Shard]]] = {}  # by their extras, which versions may add

    def flush(shapes: list[tuple[Place, Shard]]) -> None:
        name = write_shard(folder, _joined([shape for _, shape in shapes]), key=key)
        moved.update({place: (name, number) for number, (place, _) in enumerate(shapes)})
        shapes.clear()

    for shard, numbers in used.items():
        path = folder / SHARDS / shard
        keys = shard_shapes(path, key=key) or []
        if 2 * len(numbers) >= len(keys):
            continue
        whole = read_shard(path)
        shapes = waiting.setdefault(tuple(whole.extras), [])
        for number in sorted(numbers):
            one = slice(number, number + 1)
            own = {name: array[one] for name, array in whole.extras.items()}
            shape = Shard(whole.embeddings[one], whole.thumbnails[one], whole.keys[one], own, whole.facts[one])
            shapes.append(((shard, number), shape))
            if len(shapes) == SHARD_SHAPES:
                flush(shapes)
    for shapes in filter(None, waiting.values()):
        flush(shapes)
    return [
        replace(row, shard=place[0], row=place[1]) if (place := moved.get((row.shard, row.row))) else row
        for row in rows
    ]


def _joined(shards: Sequence[Shard]) -> Shard:
    """One shard of several with the same extras."""
    return Shard(
        np.concatenate([shard.embeddings for shard in shards]),
        [picture for shard in shards for picture in shard.thumbnails],
        [key for shard in shards for key in shard.keys],
        {name: np.concatenate([shard.extras[name] for shard in shards]) for name in shards[0].extras},
        [facts for shard in shards for facts in shard.facts],
    )


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[Any]:
    try:
        check_regular(path)
        with safe_open(path, 'numpy') as file:
            yield file
    except (SafetensorError, OSError, ValueError, KeyError) as error:
        raise unreadable(path, error) from error


def unreadable(path: Path, error: Exception, action: str = _INDEX_AGAIN) -> DataError:
    """What to raise where a file of an index cannot be read; `action` helps against damage."""
    if isinstance(error, PermissionError):
        return DataError(Problem(str(path), 'cannot be read (permission denied)', 'check its permissions'))
    return DataError(Problem(str(path), f'missing or damaged ({error})', action))


def _named(checksum: str) -> str:
    return f'{checksum[:32]}.safetensors'
