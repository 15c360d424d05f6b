"""Photos and shapes listed in text files, one 'path label' a line; labels count from 0.

Paths are below the data folder, else below the list's own folder or the folder `images` beside the list: public copies
of the benchmark have all three. A shape is V consecutive lines, one a view; or one line that names the folder of its
views, or one file in that folder.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

from data_pipelines.domain_adaptation.dataset import PhotoFile, ShapeFiles
from data_pipelines.domain_adaptation.mi3dor_folders import SPLITS, in_order, is_picture, view_number
from data_pipelines.folders import names_in, outside
from jaxret.errors import DataError, Problem
from jaxret.files import read_text


@dataclass(frozen=True)
class _Line:
    """A line of a list: its number, the path below the data folder, the label."""

    number: int
    path: str
    label: int


def read_class_names(root: Path, file: str) -> tuple[str, ...]:
    """Names of the classes, one a line, in the order of their labels; none where there is no file ('').

    Raises:
      DataError: the file cannot be read, is empty, or has a name twice.
    """
    if not file:
        return ()
    names = [line.strip() for line in read_text(root / file).split('\n')]
    while names and not names[-1]:
        names.pop()
    problems = [
        Problem(f'{root / file}, line {number}', found, 'give one name a line, each once')
        for number, (name, found) in enumerate(
            ((name, 'empty' if not name else f'{name!r} is there before') for name in names), start=1
        )
        if not name or name in names[: number - 1]
    ]
    if not names:
        problems = [Problem(str(root / file), 'no names', 'give one name a line')]
    if problems:
        raise DataError(problems)
    return tuple(names)


def listed_photos(
    root: Path, files: Sequence[str], class_names: Sequence[str]
) -> tuple[list[PhotoFile], list[Problem]]:
    """Photos of a train and a test list.

    Args:
      root: the data folder.
      files: the two lists, below it.
      class_names: by label; empty to name classes by their number.

    Returns:
      the photos, each once, and what is wrong with the lists. A photo that is in both belongs to the first.
    """
    photos: dict[str, PhotoFile] = {}
    problems: list[Problem] = []
    for split, file in zip(SPLITS, files, strict=True):
        for line in _lines(root, file, class_names, problems):
            if line.path in photos:
                where, before = f'{root / file}, line {line.number}', photos[line.path].split
                found = f'{line.path} is listed before, in {before}'
                problems.append(Problem(where, found, 'list every photo once, in train or in test'))
                continue
            photos[line.path] = PhotoFile(line.path, root / line.path, _category(line.label, class_names), split)
    return list(photos.values()), problems + outside(root, list(photos))


def listed_views(
    root: Path, files: Sequence[str], class_names: Sequence[str], *, views: int
) -> tuple[list[ShapeFiles], list[Problem]]:
    """Shapes of a train and a test list.

    Args:
      root: the data folder.
      files: the two lists, below it.
      class_names: by label; empty to name classes by their number.
      views: pictures V that every shape should have.

    Returns:
      the shapes, whatever number of views they have, and what is wrong with the lists.
    """
    shapes: dict[str, ShapeFiles] = {}
    problems: list[Problem] = []
    for split, file in zip(SPLITS, files, strict=True):
        for name, lines in _groups(root, _lines(root, file, class_names, problems), views=views):
            where, label = f'{root / file}, line {lines[0].number}', lines[0].label
            paths = _views(root, lines, views=views, problems=problems)
            if name in shapes:
                found = f'shape {name} is listed before, in {shapes[name].split}'
                problems.append(Problem(where, found, 'list the views of a shape together, in train or in test'))
            elif len(set(paths)) < len(paths):
                problems.append(Problem(where, f'shape {name} has a view twice', 'list every view once'))
            elif any(line.label != label for line in lines):
                found = f'the views of shape {name} have different labels'
                problems.append(Problem(where, found, 'give all views of a shape one label'))
            else:
                files_of = tuple(root / path for path in paths)
                category = _category(label, class_names)
                shapes[name] = ShapeFiles(name, Path(name).name, category, split, views=files_of)
    names = [path.relative_to(root).as_posix() for shape in shapes.values() for path in shape.views]
    return list(shapes.values()), problems + outside(root, names)


def _lines(root: Path, file: str, class_names: Sequence[str], problems: list[Problem]) -> list[_Line]:
    """Sound lines of a list; adds what is wrong with the others."""
    try:
        text = read_text(root / file)
    except DataError as error:
        problems += error.problems
        return []
    lines = []
    for number, line in enumerate(text.split('\n'), start=1):
        if not line.strip():
            continue
        where, action = f'{root / file}, line {number}', "write 'path label', with a label from 0"
        *path, label = line.strip().rsplit(maxsplit=1)
        try:
            lines.append(_Line(number, ''.join(path), int(label)))
        except ValueError:
            problems.append(Problem(where, f'{line.strip()[:100]!r} is not a path and a whole number', action))
            continue
        highest = len(class_names) - 1
        if not path:
            found = f'{line.strip()!r} has no path'
        elif lines[-1].label < 0 or (class_names and lines[-1].label > highest):
            found = f'label {label}, but labels are ' + (f'0 to {highest}' if class_names else 'not negative')
        else:
            continue
        problems.append(Problem(where, found, action))
        lines.pop()
    if not lines and not text.strip():
        problems.append(Problem(str(root / file), 'empty list', "write one 'path label' a line"))
    base = _base(root, file, lines)
    return [_Line(line.number, base + line.path.removeprefix('./'), line.label) for line in lines]


def _base(root: Path, file: str, lines: Sequence[_Line]) -> str:
    """Where the paths of a list begin, below the data folder: '' or a folder with '/'; the first that has any."""
    own = Path(file).parent.as_posix()
    for base in ('', f'{own}/', f'{own}/images/'):
        if any((root / base / line.path).exists() for line in lines):
            return '' if base == './' else base.removeprefix('./')
    return ''


def _groups(root: Path, lines: Sequence[_Line], *, views: int) -> list[tuple[str, list[_Line]]]:
    """Runs of lines of one shape, with the shape's name: told by the names of the files, or by their folders, whichever
    gives more runs of V lines."""

    def by_name(line: _Line) -> str:
        path = Path(line.path)
        if (root / path).is_dir():
            return path.as_posix()
        key = view_number(path.name)[0]
        return path.with_name(key).as_posix() if key else path.parent.as_posix()

    def by_folder(line: _Line) -> str:
        return by_name(line) if (root / line.path).is_dir() else Path(line.path).parent.as_posix()

    def runs(key: Callable[[_Line], str]) -> list[tuple[str, list[_Line]]]:
        return [(name, list(group)) for name, group in groupby(lines, key)]

    whole = lambda found: sum(len(group) == views for _, group in found)  # noqa: E731
    return max((runs(by_name), runs(by_folder)), key=whole)


def _views(root: Path, lines: Sequence[_Line], *, views: int, problems: list[Problem]) -> list[str]:
    """Paths of a shape's views: those of the lines, or the pictures in the folder that its only line names."""
    if len(lines) > 1 or views == 1:
        return [line.path for line in lines]
    path = Path(lines[0].path)
    folder = path if (root / path).is_dir() else path.parent
    files = in_order([name for name in names_in(root / folder, problems) if is_picture(name)])
    if folder == path or len(files) == views:
        return [(folder / name).as_posix() for name in files]
    return [lines[0].path]


def _category(label: int, class_names: Sequence[str]) -> str:
    return class_names[label] if class_names else f'class_{label:02d}'
