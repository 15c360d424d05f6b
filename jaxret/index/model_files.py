"""Which files below a folder are models, and their categories."""

import csv
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from jaxret.errors import DataError, Problem
from jaxret.files import check_regular
from jaxret.geometry.formats import ARCHIVE_SUFFIX, DISTANCE_SUFFIXES, MESH_SUFFIXES, model_suffix, unread_format
from jaxret.geometry.materials import material_files
from jaxret.geometry.places import members, model_files, safe_member

COLUMNS, UP_AXIS = ('path', 'category'), 'up_axis'
_MOST_CATEGORIES = 2**30  # bytes


@dataclass(frozen=True)
class ModelFile:
    """A model's file: its id (path below the folder, with /), and its category ('' for none)."""

    id: str
    path: Path
    category: str


@dataclass
class FoundFiles:
    """What is below a folder.

    Attributes:
      models: sorted by id.
      problems: folders and archives that cannot be read, names that cannot be ids.
      unread: files that are models by their names, of formats that are not read here.
    """

    models: list[ModelFile] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    unread: list[Problem] = field(default_factory=list)

    def told(self, folder: str, failed: str) -> str:
        """One line for people about the files that are not read; '' for none."""
        if not self.unread:
            return ''
        kinds = Counter((model_suffix(problem.where), problem.action) for problem in self.unread)
        listed = ', '.join(f'{count} {suffix} ({action})' for (suffix, action), count in kinds.most_common())
        total = len(self.models) + len(self.unread)
        most = 'most models cannot be read: ' if len(self.unread) > total / 2 else ''
        return f'{folder}: {most}{len(self.unread)} of {total} are of other formats: {listed}; each is in {failed}'


def find_models(folder: Path, suffixes: Sequence[str]) -> FoundFiles:
    """Models below a folder, at any depth, and in zip archives there.

    Hidden files and folders are left out. Links are followed; a folder that is reached by several ways, or by a loop,
    is entered once. The category is the first folder of the path; where one folder has all models, the next that
    groups them. A file directly in `folder` has none.

    Args:
      folder: where to look.
      suffixes: of models, in lower case.

    Raises:
      DataError: no such folder.
    """
    if not folder.is_dir():
        raise DataError(
            Problem(
                str(folder), 'no such folder', 'name a folder with models (of an index: with --rebuild --models DIR)'
            )
        )
    found = FoundFiles()
    entered = {folder.resolve()}

    def unreadable(error: OSError) -> None:
        found.problems.append(
            Problem(str(error.filename), f'cannot be read ({error.strerror})', 'check its permissions')
        )

    for parent, children, files in os.walk(folder, onerror=unreadable, followlinks=True):
        places = {child: Path(parent, child).resolve() for child in sorted(children) if not child.startswith('.')}
        children[:] = [child for child, place in places.items() if place not in entered]
        entered |= {places[child] for child in children}
        for file in files:
            path = Path(parent, file)
            if file.startswith('.'):
                continue
            if path.suffix.lower() == ARCHIVE_SUFFIX:
                _add_members(found, folder, path)
            else:
                _add(found, folder, path, suffixes)
    models = sorted(found.models, key=lambda model: model.id)
    categories = _categories([model.id for model in models])
    found.models = [replace(model, category=name) for model, name in zip(models, categories, strict=True)]
    return found


def _add(found: FoundFiles, folder: Path, path: Path, suffixes: Sequence[str]) -> None:
    """Adds a file, or a member of an archive, where its name says that it is a model."""
    suffix, action = model_suffix(path), unread_format(path)
    if action is None and suffix not in suffixes:
        return
    name = path.relative_to(folder).as_posix()
    try:
        name.encode()
    except UnicodeEncodeError:
        where = os.fsencode(path).decode(errors='replace')
        found.problems.append(Problem(where, 'a name that is not UTF-8', 'rename it'))
        return
    if action is None:
        found.models.append(ModelFile(name, path, ''))
    else:
        found.unread.append(Problem(str(path), f'{suffix} files are not read here', action))


def _add_members(found: FoundFiles, folder: Path, archive: Path) -> None:
    """Adds the members of a zip archive that are meshes; other archives, and grids, in it are not read."""
    try:
        infos = members(archive)
    except DataError as error:
        found.problems += error.problems
        return
    for name, info in infos.items():
        if any(part.startswith(('.', '__MACOSX')) and part != '..' for part in name.split('/')):
            continue
        path, suffix = archive / name.lstrip('/'), model_suffix(name)
        if suffix in (ARCHIVE_SUFFIX, *DISTANCE_SUFFIXES):
            found.unread.append(Problem(str(path), f'{suffix} files in an archive are not read', 'unpack the archive'))
        elif suffix in MESH_SUFFIXES and not safe_member(name):
            found.problems.append(Problem(str(path), 'a path that leads out of the archive', 'pack it again'))
        elif suffix in MESH_SUFFIXES and info.flag_bits & 1:
            found.problems.append(Problem(str(path), 'it is encrypted', 'unpack the archive'))
        else:
            _add(found, folder, path, MESH_SUFFIXES)


def _categories(ids: Sequence[str], *, top: bool = True) -> list[str]:
    """The first folder of each path; where all are in one, the next that groups them; '' for none."""
    first = [name.partition('/')[0] if '/' in name else '' for name in ids]
    if len(set(first)) == 1 and first[0]:
        return _categories([name.partition('/')[2] for name in ids], top=False)
    return first if top or len(set(first)) < len(ids) else [''] * len(ids)


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
    """(bytes, nanoseconds of last change) of each file that a model is made of; [] if any is gone.

    Args:
      path: of the file; of a member of an archive, or a part, the mark is that of the file which holds it.
      textured: also of its materials and their textures, (0, 0) of those that are missing.
    """
    try:
        states = [file.stat() for file in model_files(path)]
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
