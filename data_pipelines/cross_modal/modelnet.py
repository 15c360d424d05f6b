"""ModelNet's on-disk layout: labelled meshes, each class with a train and a test folder. No TensorFlow here.

    <data_dir>/<class>/train/<name>.off    or .obj, .ply, .stl, .glb, .gltf; +z up
    <data_dir>/<class>/test/<name>.off

Wu et al., 3D ShapeNets, CVPR 2015. Some of its OFF files have the counts on the first line; they are read.
"""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from data_pipelines.cross_modal.dataset import (
    ObjectDataset,
    ObjectEntry,
    assign_splits,
    check_object_options,
    object_dataset,
)
from data_pipelines.dataset import Faults, unknown_names
from data_pipelines.file_checks import FileChecks, wrong_ones
from data_pipelines.folders import names_in, open_folder
from jaxret.errors import Problem
from jaxret.geometry.formats import MESH_SUFFIXES, model_suffix


def read_modelnet(
    data_dir: Path | str,
    *,
    classes: Sequence[str] = (),
    train_per_class: int = 0,
    val_fraction: float = 0.1,
    seed: int = 0,
    on_bad_file: str = 'error',
    split_table: Mapping[str, str] | None = None,
    required_splits: Sequence[str] = ('train', 'test'),
    up_axis: str = 'z',
    cache_dir: Path | str | None = None,
    check_processes: int = 2,
    progress: bool = True,
) -> ObjectDataset:
    """Read and check a folder in ModelNet's layout. Only meshes that are used are looked at.

    Folders without a `train` or `test` folder (and without meshes), hidden ones and files that are no meshes are
    ignored.

    Args:
      data_dir: the folder.
      classes: those to use; empty for all.
      train_per_class: training meshes a class, drawn by hash of the name; 0 for all.
      val_fraction: share of the train meshes held out as val, by hash, never the last one of a class.
      seed: of both choices.
      on_bad_file: 'error', or 'skip': bad or misplaced meshes, and classes that then lack a required split, are left
        out and listed.
      split_table: split by name, from an earlier run.
      required_splits: splits of which every class must have a mesh.
      up_axis: axis that points up in the files.
      cache_dir, check_processes, progress: as `FileChecks`.

    Returns:
      the data set.

    Raises:
      DataError: with everything that is wrong.
      ConfigError: an option has no such value.
    """
    check_object_options(
        train_per_class=train_per_class, val_fraction=val_fraction, on_bad_file=on_bad_file, up_axis=up_axis
    )
    root = open_folder(data_dir, layout="ModelNet's layout (<class>/train and <class>/test with meshes)")
    listed, misplaced = _list_meshes(root, classes)
    present = [entry.category for entry in listed]
    faults = Faults(on_bad_file == 'skip', unknown_names(classes, present, root, 'objects of class'))
    if not listed:
        action = "name a folder in ModelNet's layout: <class>/train and <class>/test with meshes"
        faults.problems.append(Problem(str(root), 'no meshes in class folders', action))
    entries, wrong = assign_splits(
        [entry for entry in listed if not classes or entry.category in classes],
        train_per_class=train_per_class,
        val_fraction=val_fraction,
        seed=seed,
        split_table=split_table,
        where=root,
    )
    faults.problems += wrong
    faults.of_files(misplaced)
    checks = FileChecks(root, cache_dir, check_processes, progress)
    found = checks.meshes([entry.mesh for entry in entries], up_axis=up_axis)
    bad = wrong_ones([entry.name for entry in entries], found)
    return object_dataset(root, entries, bad, faults, required_splits=required_splits, up_axis=up_axis)


def _list_meshes(root: Path, classes: Sequence[str]) -> tuple[list[ObjectEntry], list[Problem]]:
    """All meshes with their class and split, and what is wrong with the folders of the classes in use."""
    entries: list[ObjectEntry] = []
    problems: list[Problem] = []
    for category in names_in(root, problems):
        listed, wrong = _list_class(root, category)
        entries += listed
        if not classes or category in classes:
            problems += wrong
    return entries, problems


def _list_class(root: Path, category: str) -> tuple[list[ObjectEntry], list[Problem]]:
    entries: list[ObjectEntry] = []
    problems: list[Problem] = []
    splits = [split for split in ('train', 'test') if (root / category / split).is_dir()]
    for split in splits:
        entries += _list_split(root, category, split, problems)
    if splits and not entries and not problems:
        found = f'no meshes in {" and ".join(splits)}'
        problems.append(Problem(str(root / category), found, 'add some, or remove the folder'))
    if not splits and (root / category).is_dir():
        loose = [name for name in names_in(root / category, problems) if _is_mesh(name)]
        if loose:
            found = f'{len(loose)} meshes, but no train or test folder'
            problems.append(Problem(str(root / category), found, 'put them into <class>/train and <class>/test'))
    return entries, problems


def _list_split(root: Path, category: str, split: str, problems: list[Problem]) -> list[ObjectEntry]:
    entries = []
    for file in names_in(root / category / split, problems):
        name = f'{category}/{split}/{file}'
        if not _is_mesh(file):
            if count := _meshes_below(root / name):
                found = f'{count} meshes in a folder below {split}'
                problems.append(Problem(str(root / name), found, f'put them into <class>/{split} itself'))
        else:
            entries.append(ObjectEntry(name, category, split, root / name))
    return entries


def _is_mesh(name: str) -> bool:
    return model_suffix(name) in MESH_SUFFIXES


def _meshes_below(folder: Path) -> int:
    """Meshes in a folder, at any depth, without hidden ones; 0 for what is no folder."""
    return sum(_is_mesh(name) and not name.startswith('.') for _, _, names in os.walk(folder) for name in names)
