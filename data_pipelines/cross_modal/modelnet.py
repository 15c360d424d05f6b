"""ModelNet's on-disk layout: labelled meshes, each class with a train and a test folder. No TensorFlow here.

    <data_dir>/<class>/train/<name>.off    or .obj, .ply, .stl, .glb, .gltf; +z up
    <data_dir>/<class>/test/<name>.off

Wu et al., 3D ShapeNets, CVPR 2015. Some of its OFF files have the counts on the first line; they are read.
"""

import hashlib
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from data_pipelines.cross_modal.dataset import (
    ObjectDataset,
    ObjectEntry,
    assign_splits,
    check_options,
    make_layout,
    missing_classes,
)
from data_pipelines.file_checks import check_meshes
from data_pipelines.folders import names_in, open_folder, resolve
from jaxret.errors import Problem
from jaxret.geometry.mesh import MESH_SUFFIXES


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
      cache_dir: folder in which sound files are remembered, so that the next check is quick; None for none.
      check_processes: processes that load meshes.
      progress: show a progress bar.

    Returns:
      the layout.

    Raises:
      DataError: with everything that is wrong.
      ConfigError: an option has no such value.
    """
    check_options(train_per_class=train_per_class, val_fraction=val_fraction, on_bad_file=on_bad_file, up_axis=up_axis)
    root = open_folder(Path(data_dir), layout="ModelNet's layout (<class>/train and <class>/test with meshes)")
    found, misplaced = _list_meshes(root, classes)
    problems = missing_classes(found, classes, root)
    if not found:
        action = "name a folder in ModelNet's layout: <class>/train and <class>/test with meshes"
        problems.append(Problem(str(root), 'no meshes in class folders', action))
    entries, split_problems = assign_splits(
        [entry for entry in found if not classes or entry.category in classes],
        train_per_class=train_per_class,
        val_fraction=val_fraction,
        seed=seed,
        split_table=split_table,
        where=root,
    )
    memory = None
    if cache_dir is not None:
        memory = Path(cache_dir) / 'checked' / f'{hashlib.sha256(os.fsencode(root)).hexdigest()[:16]}-meshes.json'
    paths = [entry.mesh for entry in entries]
    wrong = check_meshes(paths, up_axis=up_axis, processes=check_processes, memory=memory, progress=progress)
    return make_layout(
        root,
        entries,
        problems + split_problems + ([] if on_bad_file == 'skip' else misplaced),
        {entry.name: found for entry, found in zip(entries, wrong, strict=True) if found},
        skipped=misplaced if on_bad_file == 'skip' else [],
        on_bad_file=on_bad_file,
        required_splits=required_splits,
        up_axis=up_axis,
    )


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
        folder = f'{category}/{split}'
        if not resolve(root, folder).is_relative_to(root):  # once for all that is in it
            problems.append(_link(root / folder))
            continue
        for file in names_in(root / folder, problems):
            name = f'{folder}/{file}'
            if not _is_mesh(file):
                if count := _meshes_below(root / name):
                    found = f'{count} meshes in a folder below {split}'
                    problems.append(Problem(str(root / name), found, f'put them into <class>/{split} itself'))
            elif resolve(root, name).is_relative_to(root):
                entries.append(ObjectEntry(name, category, split, root / name))
            else:
                problems.append(_link(root / name))
    if splits and not entries and not problems:
        found = f'no meshes in {" and ".join(splits)}'
        problems.append(Problem(str(root / category), found, 'add some, or remove the folder'))
    if not splits and (root / category).is_dir():
        loose = [name for name in names_in(root / category, problems) if _is_mesh(name)]
        if loose:
            found = f'{len(loose)} meshes, but no train or test folder'
            problems.append(Problem(str(root / category), found, 'put them into <class>/train and <class>/test'))
    return entries, problems


def _link(path: Path) -> Problem:
    return Problem(str(path), 'a link that leaves the folder', 'put what it leads to below the data folder')


def _is_mesh(name: str) -> bool:
    return Path(name).suffix.lower() in MESH_SUFFIXES


def _meshes_below(folder: Path) -> int:
    """Meshes in a folder, at any depth, without hidden ones; 0 for what is no folder."""
    return sum(_is_mesh(name) and not name.startswith('.') for _, _, names in os.walk(folder) for name in names)
