"""Do the labels of all lists mean the same? Told by folders named after classes, else by the numbers alone."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from data_pipelines.domain_adaptation.dataset import PhotoFile, ShapeFiles
from data_pipelines.domain_adaptation.mi3dor_folders import SPLITS
from jaxret.errors import Problem

_ACTION = 'count the labels of all lists alike, from 0, in the order of the class names'


@dataclass(frozen=True)
class _Listed:
    """A photo or shape of a list: its path, the names of its folders, its class."""

    name: str
    folders: tuple[str, ...]
    category: str


def label_faults(
    root: Path,
    photos: Sequence[PhotoFile],
    shapes: Sequence[ShapeFiles],
    *,
    photo_lists: Sequence[str],
    view_lists: Sequence[str],
    names: Sequence[str],
) -> list[Problem]:
    """A problem for each list whose labels mean something else than the class names, or than another list's labels.

    Args:
      root: the data folder.
      photos: of the lists, if there are such.
      shapes: of the lists, if there are such.
      photo_lists: train and test list below the folder, or none.
      view_lists: the same.
      names: of the classes; empty where labels have only numbers.
    """
    lists = {
        str(root / file): _listed(items, split)
        for items, files in ((photos, photo_lists), (shapes, view_lists))
        for split, file in zip(SPLITS, files, strict=False)
    }
    class_of = {name: (name, 'the class names') for name in names}
    if not names:
        for file, items in lists.items():
            class_of = {folder: (category, file) for folder, category in _class_folders(items).items()} | class_of
    if not class_of:
        return _shifted(lists)
    problems = []
    for file, items in lists.items():
        wrong = [(item, folder) for item in items if (folder := _other_class(item, class_of)) is not None]
        if wrong:
            (item, folder), (category, where) = wrong[0], class_of[wrong[0][1]]
            found = f'{item.name} has the label of {item.category}, but by {where} {folder!r} is {category}'
            problems.append(Problem(file, f'{found} ({len(wrong)} of {len(items)} so)', _ACTION))
    return problems


def _listed(items: Sequence[PhotoFile | ShapeFiles], split: str) -> list[_Listed]:
    return [
        _Listed(item.name, PurePosixPath(item.name).parts[:-1], item.category) for item in items if item.split == split
    ]


def _other_class(item: _Listed, class_of: Mapping[str, tuple[str, str]]) -> str | None:
    """The folder of an item that is named after another class than the item's, where none is named after that."""
    named = [folder for folder in item.folders if folder in class_of]
    return named[0] if named and all(class_of[folder][0] != item.category for folder in named) else None


def _class_folders(items: Sequence[_Listed]) -> dict[str, str]:
    """Class of every folder at the first depth where each of two classes or more has a folder of its own."""
    for depth in range(min((len(item.folders) for item in items), default=0)):
        pairs = {(item.folders[depth], item.category) for item in items}
        if len(pairs) > 1 and len(pairs) == len({folder for folder, _ in pairs}) == len({name for _, name in pairs}):
            return dict(pairs)
    return {}


def _shifted(lists: Mapping[str, Sequence[_Listed]]) -> list[Problem]:
    """A problem for each list whose numbers are those of the first list, each one more or one less."""
    labels = {
        file: {int(item.category.removeprefix('class_')) for item in items} for file, items in lists.items() if items
    }
    problems = []
    for file, numbers in labels.items():
        first, usual = next(iter(labels.items()))
        if len(numbers) > 1 and any({number + step for number in numbers} == usual for step in (-1, 1)):
            found = f'labels {min(numbers)} to {max(numbers)}, where {first} has {min(usual)} to {max(usual)}'
            problems.append(Problem(file, found, _ACTION))
    return problems
