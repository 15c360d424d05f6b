"""The gallery of a folder in Pix3D's layout: which mesh files below model/<category>/ are shapes."""

import os
from collections.abc import Sequence
from pathlib import Path

from data_pipelines.folders import resolve
from data_pipelines.photo_to_shape.dataset import ShapeEntry
from data_pipelines.photo_to_shape.pix3d_annotations import Entry
from jaxret.errors import Problem
from jaxret.geometry.mesh import MESH_SUFFIXES


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
    problems: list[Problem] = []
    if whole_folder:
        whole = [resolve(root, '.'), resolve(root, 'model')]  # a link to these is a loop
        entered: set[tuple[str, Path]] = set()

        def leaves(name: str) -> bool:
            if resolve(root, name).is_relative_to(root):
                return False
            action = 'put the file or folder itself below the data folder'
            problems.append(Problem(printable(root / name), 'a link that leaves the folder', action))
            return True

        def enter(folder: Path) -> bool:
            name = folder.relative_to(root).as_posix()
            place = (name.split('/')[1], resolve(root, name))
            if place[1] in whole or place in entered or leaves(name):
                return False
            entered.add(place)
            return True

        def unreadable(error: OSError) -> None:
            if not isinstance(error, FileNotFoundError):
                found = f'cannot be read ({error.strerror or error})'
                problems.append(Problem(printable(error.filename), found, 'check its permissions'))

        top = root / 'model'
        waiting = [top / category for category in categories] or [top]
        for folder in waiting:
            if folder != top and not enter(folder):
                continue
            for parent, children, files in os.walk(folder, onerror=unreadable):
                shown = [Path(parent, child) for child in sorted(children) if not child.startswith('.')]
                waiting += [child for child in shown if child.is_symlink()]  # last, so that real names go first
                children[:] = [child.name for child in shown if not child.is_symlink() and enter(child)]
                for file in files:
                    path = Path(parent, file)
                    name = path.relative_to(root).as_posix()
                    parts = name.split('/')
                    if name in category_of or path.suffix.lower() not in MESH_SUFFIXES or file.startswith('.'):
                        continue
                    if len(parts) < 3 or name in raw or path.stem.endswith('_raw'):
                        continue
                    if printable(name) != name:
                        problems.append(Problem(printable(path), 'a name that is not UTF-8', 'rename it'))
                    elif not leaves(name):
                        category_of[name] = parts[1]
    return [ShapeEntry(model, root / model, category_of[model]) for model in sorted(category_of)], problems


def printable(path: Path | str) -> str:
    """A path as text that can be written anywhere: bytes that are not UTF-8 become a replacement character."""
    return os.fsencode(path).decode(errors='replace')
