"""What a checked collection of labelled objects holds: its classes, its splits, and what was left out."""

import dataclasses
import hashlib
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from data_pipelines.file_checks import signature
from data_pipelines.splits import draw_per_class, hold_out
from jaxret.errors import ConfigError, DataError, Problem

SPLITS = ('train', 'val', 'test')


@dataclass(frozen=True)
class ObjectEntry:
    """One object.

    Attributes:
      name: unique; for mesh files the path below the folder with '/'.
      category: its class.
      split: 'train', 'val' or 'test'.
      mesh: mesh file, or MeshNet's .npz file of a published set.
      images: folder with its views, where those are published.
      points: HDF5 file and row of its points, where those are published.
    """

    name: str
    category: str
    split: str
    mesh: Path
    images: Path | None = None
    points: tuple[Path, int] | None = None


@dataclass(frozen=True)
class ObjectDataset:
    """What a collection holds after filters and checks.

    Attributes:
      root: the folder (for a published set that of its points), links resolved.
      objects: sorted by name.
      categories: sorted; a label is an index into them.
      skipped: what was left out, and why.
      required_splits: splits that must not become empty, and of which every class must have an object.
      up_axis: axis that points up in the mesh files.
      points_up_axis: axis that points up in published points.
      view_ids: numbers of the published views to use.
      fingerprint: changes with the folder, the options, and any file used.
    """

    root: Path
    objects: tuple[ObjectEntry, ...]
    categories: tuple[str, ...]
    skipped: tuple[Problem, ...]
    required_splits: tuple[str, ...]
    up_axis: str
    points_up_axis: str
    view_ids: tuple[int, ...]
    fingerprint: str

    @property
    def published(self) -> bool:
        """Whether views, points and mesh features are published files, not made from meshes."""
        return bool(self.view_ids)

    def split_objects(self, split: str) -> tuple[ObjectEntry, ...]:
        """The objects of one split."""
        return tuple(entry for entry in self.objects if entry.split == split)

    def split_table(self) -> dict[str, str]:
        """Split of every object by its name, to be stored with a run (JSON) and given back to the reader."""
        return {entry.name: entry.split for entry in self.objects}

    def without(self, names: set[str], problems: Sequence[Problem]) -> 'ObjectDataset':
        """The layout less some objects, and less the classes that have no object of a required split then.

        Labels stay what they were: `categories` is unchanged.

        Raises:
          DataError: with `problems`, if a required split is empty then.
        """
        objects, gone = whole_classes([entry for entry in self.objects if entry.name not in names], self)
        empty = empty_splits(objects, self.required_splits, self.root)
        if empty:
            raise DataError([*problems, *gone, *empty])
        return dataclasses.replace(self, objects=tuple(objects), skipped=(*self.skipped, *problems, *gone))


def check_options(*, train_per_class: int, val_fraction: float, on_bad_file: str, **axes: str) -> None:
    """Raises ConfigError for a value out of range; `axes` are options whose value is 'y' or 'z'."""
    checks = {
        'train_per_class': (train_per_class, train_per_class >= 0, '0 (all) or a positive number'),
        'val_fraction': (val_fraction, 0 <= val_fraction < 1, 'a share in [0, 1)'),
        'on_bad_file': (on_bad_file, on_bad_file in ('error', 'skip'), 'error or skip'),
    } | {name: (value, value in ('y', 'z'), 'y or z') for name, value in axes.items()}
    for name, (value, valid, allowed) in checks.items():
        if not valid:
            raise ConfigError(f'{name}={value!r}: use {allowed}')


def assign_splits(
    entries: Sequence[ObjectEntry],
    *,
    train_per_class: int,
    val_fraction: float,
    seed: int,
    split_table: Mapping[str, str] | None,
    where: Path,
) -> tuple[list[ObjectEntry], list[Problem]]:
    """Holds out a part of train as val, then draws the training objects; a pure function of names and seed.

    First round(val_fraction * train objects) go to val, by hash and never the last one of a class, so that val does not
    depend on `train_per_class`; then `train_per_class` of those left in each class are drawn by hash.

    Args:
      entries: objects with their published split, train or test.
      train_per_class: objects a class; 0 for all. Those not drawn are not used.
      val_fraction: share of the train objects.
      seed: another seed, another choice.
      split_table: split by name, from an earlier run, in place of all this; objects that it does not name are not used.
      where: for the message.

    Returns:
      the objects in use, by name, and what is wrong.
    """
    by_name = {entry.name: entry for entry in sorted(entries, key=lambda entry: entry.name)}
    problems = []
    if split_table is None:
        class_of = {name: entry.category for name, entry in by_name.items()}
        marked = {name: entry.split for name, entry in by_name.items()}
        split = hold_out(marked, class_of, val_fraction=val_fraction, seed=seed)
        train = {name: class_of[name] for name, part in split.items() if part == 'train'}
        drawn = draw_per_class(train, count=train_per_class, seed=seed) if train_per_class else set(train)
        split = {name: part for name, part in split.items() if part != 'train' or name in drawn}
    else:
        split = {name: part for name, part in split_table.items() if name in by_name and part in SPLITS}
        lost = [name for name in split_table if name not in split]
        if lost:
            found = f'{len(lost)} objects of the stored split are not here ({lost[0]}, ...)'
            problems = [Problem(str(where), found, 'use the data of that run, or start a new run')]
    return [dataclasses.replace(by_name[name], split=split[name]) for name in by_name if name in split], problems


def missing_classes(entries: Sequence[ObjectEntry], classes: Sequence[str], where: Path) -> list[Problem]:
    """A problem for each wanted class that has no object."""
    present = sorted({entry.category for entry in entries})
    action = f'choose from: {", ".join(present) or "none"}'
    return [Problem(str(where), f'no objects of class {name!r}', action) for name in classes if name not in present]


def class_problems(entries: Sequence[ObjectEntry], required: Sequence[str], where: Path) -> dict[str, list[Problem]]:
    """For each class that lacks an object in a required split, what is wrong."""
    counts = Counter((entry.category, entry.split) for entry in entries)
    problems: dict[str, list[Problem]] = {}
    action = 'add some, leave the class out (data.classes), or use on_bad_file=skip'
    for category in sorted({entry.category for entry in entries}):
        lacking = [split for split in required if not counts[category, split]]
        if lacking:
            found = f'class {category!r} has no {" and no ".join(lacking)} object'
            problems[category] = [Problem(str(where), found, action)]
    return problems


def whole_classes(entries: Sequence[ObjectEntry], layout: 'ObjectDataset') -> tuple[list[ObjectEntry], list[Problem]]:
    """Objects of the classes that have one in every required split, and what is wrong with the other classes."""
    wrong = class_problems(entries, layout.required_splits, layout.root)
    kept = [entry for entry in entries if entry.category not in wrong]
    return kept, [problem for problems in wrong.values() for problem in problems]


def empty_splits(entries: Sequence[ObjectEntry], required: Sequence[str], where: Path) -> list[Problem]:
    """A problem for each required split that has no objects."""
    present = {entry.split for entry in entries}
    action = 'add some, or widen the choice of classes'
    return [Problem(str(where), f'no objects in split {part}', action) for part in required if part not in present]


def make_layout(
    root: Path,
    entries: Sequence[ObjectEntry],
    problems: Sequence[Problem],
    bad: Mapping[str, Sequence[Problem]],
    *,
    skipped: Sequence[Problem] = (),
    on_bad_file: str,
    required_splits: Sequence[str],
    up_axis: str,
    points_up_axis: str = 'y',
    view_ids: Sequence[int] = (),
) -> ObjectDataset:
    """Puts a layout together, or raises everything that is wrong.

    Args:
      root: the folder.
      entries: objects in use, by name.
      problems: what is wrong with the folder.
      bad: what is wrong with files, by the object's name.
      skipped: what is left out already.
      on_bad_file: 'skip' leaves out bad objects, and classes that lack a required split.
      required_splits: as in ObjectDataset, like the rest.
      up_axis: of meshes.
      points_up_axis: of published points.
      view_ids: of published views.

    Raises:
      DataError: with everything.
    """
    wrong_files = [problem for found in bad.values() for problem in found]
    problems, skipped = list(problems), list(skipped)
    lacking = class_problems(entries, required_splits, root)
    if on_bad_file == 'skip':
        entries = [entry for entry in entries if entry.name not in bad]
        lacking |= class_problems(entries, required_splits, root)
        entries = [entry for entry in entries if entry.category not in lacking]
        skipped += wrong_files + [problem for found in lacking.values() for problem in found]
    else:
        problems += wrong_files + [problem for found in lacking.values() for problem in found]
    problems += empty_splits(entries, required_splits, root)
    if problems:
        raise DataError(problems + skipped)
    options = [str(root), up_axis, points_up_axis, list(view_ids)]
    rows = [
        (entry.name, entry.category, entry.split, signature(entry.mesh), str(entry.images), str(entry.points))
        for entry in entries
    ]
    files = sorted({entry.points[0] for entry in entries if entry.points})
    content = json.dumps([options, rows, [signature(file) for file in files]])
    return ObjectDataset(
        root=root,
        objects=tuple(entries),
        categories=tuple(sorted({entry.category for entry in entries})),
        skipped=tuple(skipped),
        required_splits=tuple(required_splits),
        up_axis=up_axis,
        points_up_axis=points_up_axis,
        view_ids=tuple(view_ids),
        fingerprint=hashlib.sha256(content.encode()).hexdigest(),
    )
