"""What a checked collection of labelled objects holds: its classes, its splits, and what was left out."""

import dataclasses
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from data_pipelines import dataset
from data_pipelines.dataset import (
    SPLITS,
    Dataset,
    Faults,
    all_problems,
    bad_file_choice,
    check_options,
    fingerprint,
    of_split,
    one_of,
    share,
    split_of,
)
from data_pipelines.file_checks import signature
from data_pipelines.splits import draw_per_class, hold_out
from jaxret.errors import DataError, Problem


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


@dataclass(frozen=True, kw_only=True)
class ObjectDataset(Dataset):
    """What a collection holds after filters and checks; see `Dataset`. Every class has objects of the required splits.

    Attributes:
      objects: sorted by name.
      up_axis: axis that points up in the mesh files.
      points_up_axis: axis that points up in published points.
      view_ids: numbers of the published views to use.
    """

    objects: tuple[ObjectEntry, ...]
    up_axis: str
    points_up_axis: str = 'y'
    view_ids: tuple[int, ...] = ()

    @property
    def published(self) -> bool:
        """Whether views, points and mesh features are published files, not made from meshes."""
        return bool(self.view_ids)

    def split_objects(self, split: str) -> tuple[ObjectEntry, ...]:
        """The objects of one split."""
        return of_split(self.objects, split)

    def split_table(self) -> dict[str, str]:
        """Split of every object by its name, to be stored with a run (JSON) and given back to the reader."""
        return split_of(self.objects)

    def without(self, names: Collection[str], problems: Sequence[Problem]) -> 'ObjectDataset':
        """The data set less some objects, and less the classes that have no object of a required split then.

        Labels stay what they were: `categories` is unchanged.

        Raises:
          DataError: with `problems`, if a required split is empty then.
        """
        objects = [entry for entry in self.objects if entry.name not in names]
        wrong = class_problems(objects, self.required_splits, self.root)
        objects = [entry for entry in objects if entry.category not in wrong]
        skipped = (*problems, *all_problems(wrong))
        empty = empty_splits(objects, self.required_splits, self.root)
        if empty:
            raise DataError([*skipped, *empty])
        return dataclasses.replace(self, objects=tuple(objects), skipped=self.skipped + skipped)


def check_object_options(*, train_per_class: int, val_fraction: float, on_bad_file: str, **axes: str) -> None:
    """Raises ConfigError for a value out of range; `axes` are options whose value is 'y' or 'z'."""
    check_options(
        train_per_class=(train_per_class, train_per_class >= 0, '0 (all) or a positive number'),
        val_fraction=share(val_fraction),
        on_bad_file=bad_file_choice(on_bad_file),
        **{name: one_of(value, 'y', 'z') for name, value in axes.items()},
    )


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
        split = _draw_splits(by_name, train_per_class=train_per_class, val_fraction=val_fraction, seed=seed)
    else:
        split = {name: part for name, part in split_table.items() if name in by_name and part in SPLITS}
        lost = [name for name in split_table if name not in split]
        if lost:
            found = f'{len(lost)} objects of the stored split are not here ({lost[0]}, ...)'
            problems = [Problem(str(where), found, 'use the data of that run, or start a new run')]
    return [dataclasses.replace(by_name[name], split=split[name]) for name in by_name if name in split], problems


def _draw_splits(
    by_name: Mapping[str, ObjectEntry], *, train_per_class: int, val_fraction: float, seed: int
) -> dict[str, str]:
    class_of = {name: entry.category for name, entry in by_name.items()}
    split = hold_out(split_of(by_name.values()), class_of, val_fraction=val_fraction, seed=seed)
    train = {name: class_of[name] for name, part in split.items() if part == 'train'}
    drawn = draw_per_class(train, count=train_per_class, seed=seed) if train_per_class else set(train)
    return {name: part for name, part in split.items() if part != 'train' or name in drawn}


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


def empty_splits(entries: Sequence[ObjectEntry], required: Sequence[str], where: Path) -> list[Problem]:
    """A problem for each required split that has no objects."""
    action = 'add some, or widen the choice of classes'
    return dataset.empty_splits(entries, required, where, kind='objects', action=action)


def object_dataset(
    root: Path,
    entries: Sequence[ObjectEntry],
    bad: Mapping[str, Sequence[Problem]],
    faults: Faults,
    *,
    required_splits: Sequence[str],
    up_axis: str,
    points_up_axis: str = 'y',
    view_ids: Sequence[int] = (),
) -> ObjectDataset:
    """Puts a data set together; `faults` skips bad objects, and classes that lack a required split, or refuses them.

    Args:
      root: the folder.
      entries: objects in use, by name.
      bad: what is wrong with files, by the object's name.
      faults: what is wrong with the folder.
      required_splits: as in ObjectDataset, like the rest.
      up_axis: of meshes.
      points_up_axis: of published points.
      view_ids: of published views.

    Raises:
      DataError: with everything.
    """
    lacking = class_problems(entries, required_splits, root)
    if faults.skip:
        entries = [entry for entry in entries if entry.name not in bad]
        lacking |= class_problems(entries, required_splits, root)
        entries = [entry for entry in entries if entry.category not in lacking]
    faults.of_files(all_problems(bad) + all_problems(lacking))
    faults.problems += empty_splits(entries, required_splits, root)
    faults.refuse()
    rows = [
        (entry.name, entry.category, entry.split, signature(entry.mesh), str(entry.images), str(entry.points))
        for entry in entries
    ]
    files = sorted({entry.points[0] for entry in entries if entry.points})
    options = [str(root), up_axis, points_up_axis, list(view_ids)]
    return ObjectDataset(
        root=root,
        objects=tuple(entries),
        categories=tuple(sorted({entry.category for entry in entries})),
        skipped=tuple(faults.skipped),
        required_splits=tuple(required_splits),
        up_axis=up_axis,
        points_up_axis=points_up_axis,
        view_ids=tuple(view_ids),
        fingerprint=fingerprint(options, rows, [signature(file) for file in files]),
    )
