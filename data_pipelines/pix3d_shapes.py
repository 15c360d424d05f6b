"""The gallery of a folder in Pix3D's layout: which mesh files below model/<category>/ are shapes."""

import os
from collections.abc import Sequence
from pathlib import Path

from data_pipelines.layout import ShapeEntry
from data_pipelines.pix3d_json import Entry
from jaxret.errors import Problem
from jaxret.geometry.mesh import MESH_SUFFIXES


def list_shapes(
    root: Path, used: Sequence[Entry], *, raw: set[str], categories: Sequence[str], whole_folder: bool
) -> tuple[list[ShapeEntry], list[Problem]]:
    """Shapes of the selected photos, and with `whole_folder` every other mesh of the chosen categories.

    Raw scans are no shapes of their own: files named by a `model_raw` key, or whose name ends in `_raw`, are left out
    unless a photo's `model` names them. Hidden files and folders are ignored.

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
        folders = [root / 'model' / category for category in categories] if categories else [root / 'model']

        def unreadable(error: OSError) -> None:
            if not isinstance(error, FileNotFoundError):
                found = f'cannot be read ({error.strerror or error})'
                problems.append(Problem(str(error.filename), found, 'check its permissions'))

        for folder in folders:
            for parent, children, files in os.walk(folder, onerror=unreadable):
                children[:] = [child for child in children if not child.startswith('.')]
                for file in files:
                    path = Path(parent, file)
                    name = path.relative_to(root).as_posix()
                    parts = name.split('/')
                    if name in category_of or path.suffix.lower() not in MESH_SUFFIXES or file.startswith('.'):
                        continue
                    if len(parts) < 3 or name in raw or path.stem.endswith('_raw'):
                        continue
                    if not resolve(root, name).is_relative_to(root):
                        found = 'a link that leaves the folder'
                        problems.append(Problem(str(path), found, 'put the file itself below the data folder'))
                        continue
                    category_of[name] = parts[1]
    return [ShapeEntry(model, root / model, category_of[model]) for model in sorted(category_of)], problems


def resolve(root: Path, name: str) -> Path:
    """Where a path below `root` really leads; `root` itself where that cannot be told (found by the file checks)."""
    try:
        return (root / name).resolve()
    except (OSError, RuntimeError, ValueError):
        return root
