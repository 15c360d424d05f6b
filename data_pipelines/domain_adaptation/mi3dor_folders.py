"""Photos and shapes listed from folders: a split, a class, and in it photos, views or meshes."""

import re
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from data_pipelines.domain_adaptation.dataset import PhotoFile, ShapeFiles
from data_pipelines.folders import names_in
from jaxret.errors import Problem
from jaxret.geometry.formats import MESH_SUFFIXES, model_suffix
from jaxret.preprocessing.photo_formats import PHOTO_SUFFIXES

SPLITS = ('train', 'test')
_VIEW_NUMBER = re.compile(r'^(.*?)[._-]?(\d+)$')


def list_photos(root: Path) -> tuple[list[PhotoFile], list[Problem]]:
    """Photos of image/{train,test}/<class>/, and what is wrong with the folders."""
    photos, problems = [], []
    for split, category, folder in _class_folders(root, 'image/{split}/{category}', problems):
        for file in names_in(root / folder, problems):
            name = f'{folder}/{file}'
            if is_picture(file):
                photos.append(PhotoFile(name, root / name, category, split))
            else:
                problems += _nested(root, name, PHOTO_SUFFIXES)
    return photos, problems


def list_views(root: Path) -> tuple[list[ShapeFiles], list[Problem]]:
    """Shapes of view/{train,test}/<class>/, and what is wrong with the folders.

    A shape is a folder of pictures, or pictures named <shape>_NN, <shape>-NN or <shape>.NN; it may have any number.
    """
    shapes, problems = [], []
    for split, category, folder in _class_folders(root, 'view/{split}/{category}', problems):
        loose = defaultdict(list)
        for file in names_in(root / folder, problems):
            name = f'{folder}/{file}'
            if (root / name).is_dir():
                files = [f'{name}/{view}' for view in names_in(root / name, problems) if is_picture(view)]
                shapes.append(_shape(root, name, category, split, files))
            elif is_picture(file):
                loose[view_number(file)[0] or Path(file).stem].append(name)
        for key, files in loose.items():
            shapes.append(_shape(root, f'{folder}/{key}', category, split, files))
    return shapes, problems


def list_meshes(root: Path, pattern: str) -> tuple[list[ShapeFiles], list[Problem]]:
    """Shapes given as meshes.

    Args:
      root: the folder.
      pattern: where the meshes of a split and a class are: 'model/{split}/{category}', or ModelNet's
        '{category}/{split}'.

    Returns:
      the shapes, and what is wrong with folders.
    """
    shapes, problems = [], []
    for split, category, folder in _class_folders(root, pattern, problems):
        for file in names_in(root / folder, problems):
            name = f'{folder}/{file}'
            if model_suffix(file) in MESH_SUFFIXES:
                shapes.append(ShapeFiles(name, file, category, split, mesh=root / name))
            else:
                problems += _nested(root, name, MESH_SUFFIXES)
    return shapes, problems


def is_picture(file: str) -> bool:
    """Whether a file's name is that of a picture."""
    return Path(file).suffix.lower() in PHOTO_SUFFIXES


def view_number(file: str) -> tuple[str, int]:
    """The name of a view's shape and the view's number: ('chair_0003', 7) of chair_0003_07.png; -1 without a number."""
    stem = Path(file).stem
    found = _VIEW_NUMBER.match(stem)
    return (found[1], int(found[2])) if found else (stem, -1)


def in_order(files: Sequence[str]) -> list[str]:
    """Files of views by their number (2 before 10), then by name."""
    return sorted(files, key=lambda file: (view_number(file)[1], file))


def _nested(root: Path, name: str, suffixes: Sequence[str]) -> list[Problem]:
    """A problem if this is a folder with files that belong one folder higher."""
    problems: list[Problem] = []
    count = sum(Path(file).suffix.lower() in suffixes for file in names_in(root / name, problems))
    if count:
        found = f'{count} files in a folder below the class'
        problems.append(Problem(str(root / name), found, 'put them into the folder of the class itself'))
    return problems


def _shape(root: Path, name: str, category: str, split: str, files: Sequence[str]) -> ShapeFiles:
    return ShapeFiles(name, Path(name).name, category, split, views=tuple(root / file for file in in_order(files)))


def _class_folders(root: Path, pattern: str, problems: list[Problem]) -> list[tuple[str, str, str]]:
    """(split, class, folder below the root) of every class folder; a pattern ends with the class or with the split."""
    if pattern.endswith('{split}'):
        pairs = [(split, category) for category in names_in(root, problems) for split in SPLITS]
    else:
        top = {split: root / pattern.format(split=split, category='') for split in SPLITS}
        pairs = [(split, category) for split in SPLITS for category in names_in(top[split], problems)]
    folders = [(split, category, pattern.format(split=split, category=category)) for split, category in pairs]
    return [(split, category, folder) for split, category, folder in folders if (root / folder).is_dir()]
