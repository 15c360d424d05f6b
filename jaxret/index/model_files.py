"""Which files below a folder are models, and their categories."""

import csv
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from jaxret.errors import DataError, Problem
from jaxret.files import check_regular
from jaxret.geometry.materials import material_files
from jaxret.geometry.mesh import buffer_files

COLUMNS, UP_AXIS = ('path', 'category'), 'up_axis'
_MOST_CATEGORIES = 2**30  # bytes


@dataclass(frozen=True)
class ModelFile:
    """A model's file: its id (path below the folder, with /), and its category ('' for none)."""

    id: str
    path: Path
    category: str


def find_models(folder: Path, suffixes: Sequence[str]) -> tuple[list[ModelFile], list[Problem]]:
    """Models below a folder, at any depth, and what is wrong with it.

    Hidden files and folders are left out. Links are followed; a folder that is reached by several ways, or by a loop,
    is entered once. The category is the first folder of the path; a file directly in `folder` has none.

    Args:
      folder: where to look.
      suffixes: of models, in lower case.

    Returns:
      models sorted by id, and problems: folders that cannot be read, names that are not UTF-8.

    Raises:
      DataError: no such folder.
    """
    if not folder.is_dir():
        raise DataError(
            Problem(
                str(folder), 'no such folder', 'name a folder with models; if it has moved, use --rebuild --models DIR'
            )
        )
    found: list[ModelFile] = []
    problems: list[Problem] = []
    entered = {folder.resolve()}

    def unreadable(error: OSError) -> None:
        problems.append(Problem(str(error.filename), f'cannot be read ({error.strerror})', 'check its permissions'))

    for parent, children, files in os.walk(folder, onerror=unreadable, followlinks=True):
        places = {child: Path(parent, child).resolve() for child in sorted(children) if not child.startswith('.')}
        children[:] = [child for child, place in places.items() if place not in entered]
        entered |= {places[child] for child in children}
        for file in files:
            path = Path(parent, file)
            if file.startswith('.') or path.suffix.lower() not in suffixes:
                continue
            name = path.relative_to(folder).as_posix()
            try:
                name.encode()
            except UnicodeEncodeError:
                problems.append(
                    Problem(os.fsencode(path).decode(errors='replace'), 'a name that is not UTF-8', 'rename it')
                )
                continue
            found.append(ModelFile(name, path, name.split('/')[0] if '/' in name else ''))
    return sorted(found, key=lambda model: model.id), problems


def read_categories(path: Path) -> dict[str, tuple[str, str]]:
    """Category and up axis of models by id, from a CSV file with the columns path, category and perhaps up_axis.

    Returns:
      of each id its category, and 'y', 'z', or '' where the file does not say.

    Raises:
      DataError: unreadable, without these columns, another axis, or a path that occurs twice with different values.
    """
    action = f'give a CSV file whose first line is {",".join(COLUMNS)}, or {",".join(COLUMNS)},{UP_AXIS}'
    try:
        check_regular(path, most=_MOST_CATEGORIES)
        with path.open(newline='', encoding='utf-8-sig') as file:
            reader = csv.DictReader(file, strict=True)
            if not set(COLUMNS) <= set(reader.fieldnames or ()):
                raise DataError(Problem(str(path), f'columns {", ".join(reader.fieldnames or ["none"])}', action))
            told: dict[str, tuple[str, str]] = {}
            for row in reader:
                name, category, axis = ((row.get(column) or '').strip() for column in (*COLUMNS, UP_AXIS))
                name, where = Path(name).as_posix(), f'{path}, line {reader.line_num}'
                if axis not in ('', 'y', 'z'):
                    raise DataError(Problem(where, f'{UP_AXIS} {axis!r}', 'give y or z, or leave it empty'))
                if (before := told.setdefault(name, (category, axis))) != (category, axis):
                    found = 'categories' if before[0] != category else 'up axes'
                    raise DataError(Problem(where, f'{name!r} has two {found}', 'leave one out'))
            return told
    except FileNotFoundError:
        raise DataError(Problem(str(path), 'missing', action)) from None
    except (OSError, ValueError, csv.Error) as error:
        raise DataError(Problem(str(path), f'cannot be read ({error})', action)) from error


def file_mark(path: Path, *, textured: bool) -> list[int]:
    """(bytes, nanoseconds of last change) of a model's file, and of each buffer that a .gltf file names; [] if gone.

    Args:
      path: the file.
      textured: also of its materials and their textures, (0, 0) of those that are missing.
    """
    try:
        states = [file.stat() for file in (path, *buffer_files(path))]
    except (OSError, ValueError):
        return []
    mark = [number for state in states for number in (state.st_size, state.st_mtime_ns)]
    for file in material_files(path) if textured else ():
        try:
            state = file.stat()
            mark += [state.st_size, state.st_mtime_ns]
        except OSError:
            mark += [0, 0]
    return mark
