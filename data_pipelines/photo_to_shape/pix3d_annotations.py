"""pix3d.json: the list of photos of a folder in Pix3D's layout, read and checked entry by entry.

Keys used: img, mask, model, category (required); truncated, occluded, slightly_occluded, bbox, split, model_raw
(optional). Every other key is ignored. Paths are relative to the folder, with '/'.
"""

import json
import math
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from jaxret.errors import Problem, refused

JSON_NAME = 'pix3d.json'
SPLITS = ('train', 'val', 'test')
_MEND = 'correct pix3d.json'
_Fault = tuple[str, str] | None  # what was found, and what to do


@dataclass(frozen=True)
class Entry:
    """One checked entry of pix3d.json. Paths are normalised, relative to the folder, with '/'."""

    index: int
    image: str
    mask: str
    model: str
    category: str
    truncated: bool
    occluded: bool
    bbox: tuple[float, float, float, float] | None
    split: str | None
    model_raw: str | None


def read_entries(root: Path) -> tuple[list[Entry], list[Problem]]:
    """Entries of `root`/pix3d.json that are sound, and what is wrong with the others.

    Args:
      root: the data set's folder.

    Returns:
      sound entries in the file's order, and one problem for each fault of the others.

    Raises:
      DataError: the file is missing, unreadable, not JSON, not a list, or empty.
    """
    path = root / JSON_NAME
    raw = _load(path)
    if not isinstance(raw, list):
        raise refused(str(path), f'holds {_kind(raw)}, not a list', 'give a list with one object a photo')
    if not raw:
        raise refused(str(path), 'an empty list', 'give a list with one object a photo')
    entries: list[Entry] = []
    problems: list[Problem] = []
    for index, value in enumerate(raw):
        entry, wrong = _check_entry(index, value)
        problems += wrong
        if entry is not None:
            entries.append(entry)
    first: dict[str, int] = {}
    for entry in entries:
        if first.setdefault(entry.image, entry.index) != entry.index:
            where = f'{JSON_NAME}[{entry.index}].img'
            found = f'{entry.image} is already entry {first[entry.image]}'
            problems.append(Problem(where, found, 'list each photo once'))
    with_split = sum(isinstance(value, dict) and value.get('split') is not None for value in raw)
    if 0 < with_split < len(raw):
        found = f'{with_split} of {len(raw)} entries have the key split'
        problems.append(Problem(JSON_NAME, found, 'give every entry a split, or none'))
    return entries, problems


def _load(path: Path) -> Any:
    try:
        if not path.is_file():
            found = 'missing' if not path.exists() else 'not a regular file'
            action = "name a folder in Pix3D's layout (pix3d.json, img, mask, model)"
            raise refused(str(path), found, action)
        data = path.read_bytes()
        text = data.decode(json.detect_encoding(data))
    except OSError as error:
        found = f'cannot be read ({error.strerror or error})'
        raise refused(str(path), found, 'check its permissions') from error
    except UnicodeDecodeError as error:
        raise refused(str(path), f'not UTF-8 ({error.reason} at byte {error.start})', _MEND) from error
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        found = f'malformed JSON: {error.msg} at line {error.lineno}, column {error.colno}' if text else 'empty file'
        raise refused(str(path), found, _MEND) from error
    except (ValueError, RecursionError) as error:  # absurd numbers and nesting
        raise refused(str(path), f'malformed JSON: {error}', _MEND) from error


def _check_entry(index: int, value: Any) -> tuple[Entry | None, list[Problem]]:
    where = f'{JSON_NAME}[{index}]'
    if not isinstance(value, dict):
        return None, [Problem(where, f'{_kind(value)}, not an object', _MEND)]
    faults = [(key, _text_fault(key, value)) for key in ('img', 'mask', 'model', 'category')]
    faults += [(key, _flag_fault(value.get(key, False))) for key in ('truncated', 'occluded', 'slightly_occluded')]
    box, split = value.get('bbox'), value.get('split')
    faults.append(('bbox', _box_fault(box)))
    if split is not None and split not in SPLITS:
        faults.append(('split', (f'{split!r}'[:60], f'use one of {", ".join(SPLITS)}')))
    if not any(fault for _, fault in faults):
        faults.append(_model_fault(str(PurePosixPath(value['model'])), value['category']))
    problems = [Problem(f'{where}.{key}', *fault) for key, fault in faults if fault]
    if problems:
        return None, problems
    raw = value.get('model_raw')
    return Entry(
        index=index,
        image=str(PurePosixPath(value['img'])),
        mask=str(PurePosixPath(value['mask'])),
        model=str(PurePosixPath(value['model'])),
        category=value['category'],
        truncated=value.get('truncated', False),
        occluded=value.get('occluded', False),
        bbox=tuple(float(side) for side in box) if box is not None else None,
        split=split,
        model_raw=str(PurePosixPath(raw)) if isinstance(raw, str) else None,
    ), []


def _text_fault(key: str, entry: dict[str, Any]) -> _Fault:
    value = entry.get(key)
    if key not in entry:
        return 'missing key', _MEND
    if not isinstance(value, str):
        return f'{_kind(value)}, not a string', _MEND
    if not value.strip():
        return 'empty string', _MEND
    if not _plain(value):
        return 'characters that no file name can hold', _MEND
    if key != 'category' and not _inside(value):
        return f'path {value!r} leaves the folder', 'give a path below the data folder'
    return None


def _flag_fault(value: Any) -> _Fault:
    return None if isinstance(value, bool) else (f'{_kind(value)}, not true or false', _MEND)


def _box_fault(box: Any) -> _Fault:
    if box is None:
        return None
    if not (isinstance(box, list) and len(box) == 4 and all(_is_number(side) for side in box)):
        return 'not four numbers [left, top, right, bottom]', _MEND
    return (f'{box} has no area', _MEND) if box[2] <= box[0] or box[3] <= box[1] else None


def _model_fault(model: str, category: str) -> tuple[str, _Fault]:
    """The key at fault, and what is wrong with it."""
    parts = PurePosixPath(model).parts
    if len(parts) < 3 or parts[0] != 'model':
        return 'model', (f'{model!r} is not below model/<category>/', _MEND)
    if parts[1] != category:
        return 'category', (f'{category!r} for a shape of category {parts[1]!r} ({model})', _MEND)
    return 'model', None


def _plain(text: str) -> bool:
    return text.isprintable() or not any(ord(letter) < 32 or 0xD800 <= ord(letter) < 0xE000 for letter in text)


def _inside(text: str) -> bool:
    path = PurePosixPath(text)
    return not path.is_absolute() and '..' not in path.parts and bool(path.parts)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e9 and math.isfinite(value)


def _kind(value: Any) -> str:
    names = {dict: 'an object', list: 'a list', str: 'a string', bool: 'true or false', type(None): 'null'}
    return names.get(type(value), 'a number')
