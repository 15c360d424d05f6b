"""The gallery of a folder in Pix3D's layout: which mesh files below model/<category>/ are shapes."""

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from data_pipelines.photo_to_shape.dataset import ShapeEntry
from data_pipelines.photo_to_shape.pix3d_annotations import Entry
from jaxret.errors import Problem
from jaxret.geometry.formats import MESH_SUFFIXES, model_suffix


def list_shapes(
    root: Path, used: Sequence[Entry], *, raw: set[str], categories: Sequence[str], whole_folder: bool
) -> tuple[list[ShapeEntry], list[Problem]]:
    """Shapes of the selected photos, and with `whole_folder` every other mesh of the chosen categories.

    Raw scans are no shapes of their own: files named by a `model_raw` key, or whose name ends in `_raw`, are left out
    unless a photo's `model` names them. Hidden files and folders are ignored. Links to folders are followed; what a
    category reaches by several ways, or by a loop, is listed once.

    Args:
      root: the folder, links resolved.
      used: the selected photos.
      raw: names of raw scans (the key `model_raw`).
      categories: those to use; empty for all.
      whole_folder: also shapes that no selected photo shows.

    Returns:
      shapes sorted by name, and what is wrong with the folder.
    """
    category_of = {entry.model: entry.category for entry in used}
    if not whole_folder:
        return _shapes(root, category_of), []
    walk = _Walk(root)
    for name, category in walk.meshes(categories):
        if name in category_of or name in raw or Path(name).stem.endswith('_raw'):
            continue
        if printable(name) != name:
            walk.problems.append(Problem(printable(root / name), 'a name that is not UTF-8', 'rename it'))
        else:
            category_of[name] = category
    return _shapes(root, category_of), walk.problems


def _shapes(root: Path, category_of: Mapping[str, str]) -> list[ShapeEntry]:
    return [ShapeEntry(model, root / model, category_of[model]) for model in sorted(category_of)]


class _Walk:
    """Goes through model/<category>/ once, whatever links lead where; what is wrong is in `problems`."""

    def __init__(self, root: Path):
        self.problems: list[Problem] = []
        self._root = root
        self._entered: set[tuple[str, Path]] = set()

    def meshes(self, categories: Sequence[str]) -> Iterator[tuple[str, str]]:
        """Name below the root, and category, of every mesh file that is not hidden."""
        for folder, names in self._folders([self._root / 'model' / category for category in categories]):
            for path in (folder / name for name in names if not name.startswith('.')):
                if model_suffix(path) in MESH_SUFFIXES:
                    name = path.relative_to(self._root)
                    yield name.as_posix(), name.parts[1]

    def _folders(self, waiting: list[Path]) -> Iterator[tuple[Path, list[str]]]:
        """Every folder below model/, or below some folders in it, with its files; links to folders come last."""
        top = self._root / 'model'
        for folder in (waiting := waiting or [top]):
            if folder != top and not self._enter(folder):
                continue
            for parent, children, files in os.walk(folder, onerror=self._unreadable):
                shown = [Path(parent, child) for child in sorted(children) if not child.startswith('.')]
                waiting += [child for child in shown if child.is_symlink()]  # last, so that real names go first
                children[:] = [child.name for child in shown if not child.is_symlink() and self._enter(child)]
                if Path(parent) != top:
                    yield Path(parent), files

    def _enter(self, folder: Path) -> bool:
        """Whether a folder is to be looked at, for the first time."""
        try:
            leads = folder.resolve()
        except (OSError, RuntimeError):  # a link to itself
            return False
        place = (folder.relative_to(self._root).parts[1], leads)
        if (self._root / 'model').resolve().is_relative_to(leads) or place in self._entered:  # a loop
            return False
        self._entered.add(place)
        return True

    def _unreadable(self, error: OSError) -> None:
        if not isinstance(error, FileNotFoundError):
            found = f'cannot be read ({error.strerror or error})'
            self.problems.append(Problem(printable(error.filename), found, 'check its permissions'))


def printable(path: Path | str) -> str:
    """A path as text that can be written anywhere: bytes that are not UTF-8 become a replacement character."""
    return os.fsencode(path).decode(errors='replace')
