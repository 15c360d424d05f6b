"""The published preprocessed forms of ModelNet40: rendered views, points and MeshNet features. No TensorFlow here.

    <images_dir>/<class>/<id>/<id>.<0..179>.png       ModelNet40-Images-180
    <points_dir>/ply_data_<split><k>.h5               modelnet40_ply_hdf5_2048: `data` [n, 2048, 3], `label` [n, 1]
    <points_dir>/ply_data_<split>_<k>_id2file.json    list of n names '<class>/<id>.ply'
    <points_dir>/shape_names.txt                      classes by label
    <meshes_dir>/.../<id>.npz                         MeshNet

The lists of the points say which objects are train and test. An object that lacks a modality is dropped and listed;
the published loader showed another object in its place.
"""

import json
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import h5py
import numpy as np

from data_pipelines.cross_modal.dataset import (
    ObjectDataset,
    ObjectEntry,
    assign_splits,
    check_object_options,
    object_dataset,
)
from data_pipelines.cross_modal.objects import count_faces
from data_pipelines.dataset import Faults, check_options, unknown_names
from data_pipelines.file_checks import SERIAL_BELOW
from data_pipelines.folders import open_folder
from jaxret.errors import DataError, Problem, refused
from jaxret.files import read_text
from jaxret.workers import map_parallel

_AGAIN = 'download the folder again'
_Key = tuple[str, str]  # class and id of an object
_Row = tuple[str, Path, int]  # its split, and the file and row of its points


def read_modelnet_files(
    *,
    images_dir: Path | str,
    points_dir: Path | str,
    meshes_dir: Path | str,
    classes: Sequence[str] = (),
    train_per_class: int = 0,
    val_fraction: float = 0.1,
    seed: int = 0,
    on_bad_file: str = 'error',
    split_table: Mapping[str, str] | None = None,
    required_splits: Sequence[str] = ('train', 'test'),
    view_ids: Sequence[int] = tuple(range(180)),
    up_axis: str = 'z',
    points_up_axis: str = 'y',
    points: int = 2048,
    max_faces: int = 1024,
    check_processes: int = 2,
    progress: bool = True,
) -> ObjectDataset:
    """Read and check the published files. Pictures are decoded when they are prepared, all else here.

    Args:
      images_dir: folder of the views.
      points_dir: folder of the HDF5 files with their id lists.
      meshes_dir: folder of the .npz files, at any depth.
      classes: as `read_modelnet`, like the options up to `required_splits`.
      train_per_class: training objects a class.
      val_fraction: share of the train objects held out.
      seed: of both.
      on_bad_file: 'error' or 'skip'.
      split_table: from an earlier run.
      required_splits: splits of which every class must have an object.
      view_ids: numbers of the views to use.
      up_axis: axis that points up in the mesh features (they were made from ModelNet's meshes).
      points_up_axis: axis that points up in the points.
      points: points of every object that are needed.
      max_faces: most faces that an object may have, as published features cannot be simplified.
      check_processes: processes that read .npz files.
      progress: show a progress bar.

    Returns:
      the data set; `skipped` lists the objects that lack a modality.

    Raises:
      DataError: with everything that is wrong.
      ConfigError: an option has no such value.
    """
    axes = {'up_axis': up_axis, 'points_up_axis': points_up_axis}
    check_object_options(train_per_class=train_per_class, val_fraction=val_fraction, on_bad_file=on_bad_file, **axes)
    different = len(set(view_ids)) == len(view_ids) > 0 and min(view_ids) >= 0
    check_options(view_ids=(list(view_ids), different, 'one or more different numbers from 0'))
    images, clouds, meshes = _open_folders(images_dir, points_dir, meshes_dir)
    rows, problems = _list_rows(clouds, points)
    faults = Faults(on_bad_file == 'skip', problems)
    entries, faults.skipped = _match(rows, images, meshes)
    faults.problems += unknown_names(classes, [entry.category for entry in entries], clouds, 'objects of class')
    if classes:
        entries = [entry for entry in entries if entry.category in classes]
        faults.skipped = [problem for problem in faults.skipped if problem.where.partition('/')[0] in classes]
    entries, problems = assign_splits(
        entries,
        train_per_class=train_per_class,
        val_fraction=val_fraction,
        seed=seed,
        split_table=split_table,
        where=clouds,
    )
    bad = _lacking_views(entries, view_ids)
    large = _check_features(entries, bad, processes=check_processes, progress=progress, max_faces=max_faces)
    if large:  # a setting, not a fault of the files: once, and also with on_bad_file='skip'
        found = f'{len(large)} objects have more than {max_faces} faces, up to {max(large)}'
        faults.problems.append(Problem(str(meshes), found, f'set --config.data.faces={max(large)}'))
    faults.problems += problems
    return object_dataset(clouds, entries, bad, faults, required_splits=required_splits, view_ids=view_ids, **axes)


def _open_folders(images_dir: Path | str, points_dir: Path | str, meshes_dir: Path | str) -> list[Path]:
    roots, problems = [], []
    for folder, layout in (
        (images_dir, 'the layout <class>/<id>/<id>.<number>.png (data.images_dir)'),
        (points_dir, "modelnet40_ply_hdf5_2048's layout (data.points_dir)"),
        (meshes_dir, 'the layout <class>/.../<id>.npz (data.features_dir)'),
    ):
        try:
            roots.append(open_folder(folder, layout=layout))
        except DataError as error:
            problems += error.problems
    if problems:
        raise DataError(problems)
    return roots


def _lacking_views(entries: Sequence[ObjectEntry], view_ids: Sequence[int]) -> dict[str, list[Problem]]:
    """A problem for each object that lacks views, by its name."""
    bad = {}
    for entry in entries:
        there = _pictures(entry.images, entry.name)
        lacking = [number for number in view_ids if number not in there]
        if lacking:
            found = f'{len(lacking)} of {len(view_ids)} views are missing ({entry.name}.{lacking[0]}.png, ...)'
            bad[entry.name] = [Problem(str(entry.images), found, 'restore them')]
    return bad


def _check_features(
    entries: Sequence[ObjectEntry], bad: dict[str, list[Problem]], *, max_faces: int, processes: int, progress: bool
) -> list[int]:
    """Adds what is wrong with the .npz files to `bad`; returns the numbers of faces that are too many."""
    large = []
    options = {'serial_below': SERIAL_BELOW, 'progress': 'Checking mesh features' if progress else None}
    for index, result in map_parallel(count_faces, [entry.mesh for entry in entries], processes=processes, **options):
        if isinstance(result, DataError):
            bad.setdefault(entries[index].name, []).extend(result.problems)
        elif result > max_faces:
            large.append(result)
    return large


def _match(rows: Mapping[_Key, _Row], images: Path, meshes: Path) -> tuple[list[ObjectEntry], list[Problem]]:
    """Objects with all three modalities, and what the others lack."""
    folders = [folder for category in sorted(images.iterdir()) if category.is_dir() for folder in category.iterdir()]
    pictures = {(folder.parent.name, folder.name): folder for folder in folders if folder.is_dir()}
    npz: dict[str, list[Path]] = {}
    for parent, _, files in sorted(os.walk(meshes)):
        for file in sorted(files):
            if file.endswith('.npz') and not file.startswith('.'):
                npz.setdefault(file[:-4], []).append(Path(parent, file))
    entries, skipped = [], []
    for key in sorted(rows.keys() | pictures.keys()):
        category, name = key
        mesh = _mesh_of(category, npz.get(name, []), meshes)
        found = {'points': rows.get(key), 'views': pictures.get(key), 'mesh features': mesh}
        lacking = [kind for kind, there in found.items() if there is None]
        if lacking:
            skipped.append(Problem(f'{category}/{name}', f'has no {" and no ".join(lacking)}', 'left out'))
            continue
        split, file, row = rows[key]
        entries.append(ObjectEntry(name, category, split, mesh, pictures[key], (file, row)))
    return entries, skipped


def _mesh_of(category: str, files: Sequence[Path], root: Path) -> Path | None:
    """The file of an object among those of its id: ids are unique in ModelNet; else the class folder above tells."""
    mesh = next((path for path in files if category in path.relative_to(root).parts), None)
    if mesh is None and len(files) == 1 and files[0].parent == root:
        return files[0]
    return mesh


def _list_rows(folder: Path, points: int) -> tuple[dict[_Key, _Row], list[Problem]]:
    """The points of every object, and what is wrong with the files."""
    rows: dict[_Key, _Row] = {}
    problems: list[Problem] = []
    files = [(match, path) for path in sorted(folder.iterdir())
             if (match := re.fullmatch(r'ply_data_(train|test)_?(\d+)\.h5', path.name))]  # fmt: skip
    for split in ('train', 'test'):
        if not any(match[1] == split for match, _ in files):
            problems.append(Problem(str(folder), f'no ply_data_{split}*.h5', _AGAIN))
    names: list[str] = []
    if (folder / 'shape_names.txt').exists():
        try:
            names = read_text(folder / 'shape_names.txt').split()
        except DataError as error:
            problems += error.problems
    for match, path in files:
        try:
            listed = _read_ids(folder / f'ply_data_{match[1]}_{match[2]}_id2file.json')
            labels = _read_labels(path, points)
            if len(labels) != len(listed):
                raise refused(str(path), f'{len(labels)} objects, but its id list has {len(listed)}', _AGAIN)
        except DataError as error:
            problems += error.problems
            continue
        for row, (text, label) in enumerate(zip(listed, labels, strict=True)):
            key = _key(text, label, names)
            if key is None:
                found = f'row {row} is {text!r} in the id list, but has label {label}'
            elif key in rows:
                found = f'row {row}: {text!r} is listed twice'
            else:
                rows[key] = (match[1], path, row)
                continue
            problems.append(Problem(str(path), found, _AGAIN))
    return rows, problems + _repeated(rows, folder)


def _key(text: str, label: int, names: Sequence[str]) -> _Key | None:
    """Class and id of a line of the id list; None where the label says otherwise."""
    category, _, name = text.rpartition('/')
    named = names[label] if label < len(names) else ''
    category = category.rpartition('/')[2] or named
    if not category or (names and named != category):
        return None
    return category, name.rpartition('.')[0] or name


def _repeated(rows: Mapping[_Key, _Row], folder: Path) -> list[Problem]:
    """A problem for each id of several classes."""
    classes: dict[str, list[str]] = {}
    for category, name in rows:
        classes.setdefault(name, []).append(category)
    action = 'give every object an id of its own'
    return [
        Problem(str(folder), f'id {name!r} is in several classes ({", ".join(categories)})', action)
        for name, categories in classes.items()
        if len(categories) > 1
    ]


def _read_ids(path: Path) -> list[str]:
    try:
        if path.exists() and not path.is_file():  # a pipe may never end
            raise refused(str(path), 'not a regular file', _AGAIN)
        listed = json.loads(path.read_bytes())
    except FileNotFoundError:
        raise refused(str(path), 'the id list is missing', _AGAIN) from None
    except (OSError, ValueError, RecursionError) as error:
        raise refused(str(path), f'cannot be read as JSON ({error})', _AGAIN) from error
    if not isinstance(listed, list) or not all(isinstance(text, str) and text for text in listed):
        raise refused(str(path), 'not a list of names', _AGAIN)
    return listed


def _read_labels(path: Path, count: int) -> np.ndarray:
    """Labels of an HDF5 file, int64 [n], its keys and shapes checked; each object must have `count` points."""
    try:
        with h5py.File(path, 'r') as file:
            missing = [key for key in ('data', 'label') if not isinstance(file.get(key), h5py.Dataset)]
            if missing:
                found = f'no key {" and no key ".join(missing)} (it has {", ".join(sorted(file)) or "none"})'
                raise refused(str(path), found, _AGAIN)
            points, labels = file['data'], np.asarray(file['label'])
            numbers = labels.dtype.kind in 'iu' and points.dtype.kind == 'f' and points.ndim == 3
            if not numbers or points.shape[2] != 3 or labels.size != len(points):
                found = f'data {points.dtype} {list(points.shape)}, label {labels.dtype} {list(labels.shape)}'
                action = f'expected data float [n, {count}, 3] and label int [n, 1]'
                raise refused(str(path), found, action)
            if points.shape[1] < count:
                found = f'{points.shape[1]} points an object where {count} are needed'
                raise refused(str(path), found, 'name the folder modelnet40_ply_hdf5_2048')
            return labels.reshape(-1).astype(np.int64)
    except (OSError, ValueError, TypeError) as error:
        raise refused(str(path), f'not a readable HDF5 file ({error})', _AGAIN) from error


def _pictures(folder: Path, name: str) -> set[int]:
    """Numbers of the views in a folder."""
    pattern = re.compile(rf'{re.escape(name)}\.(\d{{1,6}})\.png')
    try:
        return {int(match[1]) for file in os.listdir(folder) if (match := pattern.fullmatch(file))}
    except OSError:
        return set()
