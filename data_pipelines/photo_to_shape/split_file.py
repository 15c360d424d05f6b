"""A published split: a file of photo names, which takes the place of a split of our own.

    *.json       {"train": [names], "test": [names], "val": [names]}, val may be missing; other photos are left out
    other        text with the name of a test photo a line; all others are train

A name is the photo's path in the data set (`img` of pix3d.json), with '/'.
"""

import json
from collections import Counter
from collections.abc import Collection, Iterable
from dataclasses import replace
from pathlib import Path, PurePosixPath

from data_pipelines.dataset import SPLITS, Faults
from data_pipelines.photo_to_shape.pix3d_annotations import Entry
from jaxret.errors import Problem, refused

_NAMED = 3  # names that a message gives


def published_split(path: Path, entries: Collection[Entry], faults: Faults) -> list[Entry]:
    """The entries with the splits of a file.

    Args:
      path: of the file.
      entries: photos in use.
      faults: of the data set; gets names that are no photos in use, and photos that are left out.

    Raises:
      DataError: the file is missing, cannot be read, or is none of the two kinds.
    """
    split = _read(path)
    known = {entry.image for entry in entries}
    if unknown := [name for name in split if name not in known]:
        found = f'{len(unknown)} of {len(split)} names are no photos in use: {_some(unknown)}'
        action = 'correct the names, or use the photos (data.categories, data.exclude_occluded, data.exclude_truncated)'
        faults.problems.append(Problem(str(path), found, action))
    if path.suffix != '.json':
        return [replace(entry, split=split.get(entry.image, 'train')) for entry in entries]
    if lost := [entry.image for entry in entries if entry.image not in split]:
        found = f'{len(lost)} photos have no split: {_some(lost)}'
        faults.skipped.append(Problem(str(path), found, 'left out; name them in the file to use them'))
    return [replace(entry, split=split[entry.image]) for entry in entries if entry.image in split]


def _read(path: Path) -> dict[str, str]:
    """Split of each photo that the file names."""
    mend = 'give {"train": [names], "test": [names]} (.json), or text with the name of a test photo a line'
    try:
        if not path.is_file():
            raise refused(str(path), 'not a regular file' if path.exists() else 'missing', 'correct data.split_file')
        text = path.read_bytes().decode('utf-8-sig')
        lists = json.loads(text) if path.suffix == '.json' else {'test': text.splitlines()}
    except (OSError, ValueError, RecursionError) as error:
        raise refused(str(path), f'cannot be read ({error})', mend) from error
    if not _lists_of_names(lists):
        raise refused(str(path), 'no lists of names under train, val and test', mend)
    rows = [(str(PurePosixPath(name.strip())), split) for split in lists for name in lists[split] if name.strip()]
    if not rows:
        raise refused(str(path), 'no names', mend)
    if len(dict(rows)) < len(rows):
        twice = [name for name, count in Counter(name for name, _ in rows).items() if count > 1]
        raise refused(str(path), f'{len(twice)} names are there more than once: {_some(twice)}', 'name each photo once')
    return dict(rows)


def _lists_of_names(value: object) -> bool:
    return (
        isinstance(value, dict)
        and {*value} <= {*SPLITS}
        and all(isinstance(names, list) and all(isinstance(name, str) for name in names) for names in value.values())
    )


def _some(names: Iterable[str]) -> str:
    names = sorted(names)
    more = f' and {len(names) - _NAMED} more' if len(names) > _NAMED else ''
    return f'{", ".join(names[:_NAMED])}{more}'
