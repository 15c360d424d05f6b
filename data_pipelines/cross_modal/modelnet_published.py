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
    check_options,
    make_layout,
    missing_classes,
)
from data_pipelines.cross_modal.objects import count_faces
from data_pipelines.folders import open_folder
from jaxret.errors import ConfigError, DataError, Problem
from jaxret.workers import map_parallel

_AGAIN = 'download the folder again'
_DROPPED = 'left out'


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
      the layout; `skipped` lists the objects that lack a modality.

    Raises:
      DataError: with everything that is wrong.
      ConfigError: an option has no such value.
    """
    options = {'up_axis': up_axis, 'points_up_axis': points_up_axis}
    check_options(train_per_class=train_per_class, val_fraction=val_fraction, on_bad_file=on_bad_file, **options)
    if not view_ids or len(set(view_ids)) != len(view_ids) or min(view_ids) < 0:
        raise ConfigError(f'view_ids={list(view_ids)!r}: use one or more different numbers from 0')
    layouts = (
        'the layout <class>/<id>/<id>.<number>.png (data.images_dir)',
        "modelnet40_ply_hdf5_2048's layout (data.points_dir)",
        'the layout <class>/.../<id>.npz (data.features_dir)',
    )
    roots, problems = [], []
    for folder, layout in zip((images_dir, points_dir, meshes_dir), layouts, strict=True):
        try:
            roots.append(open_folder(Path(folder), layout=layout))
        except DataError as error:
            problems += error.problems
    if problems:
        raise DataError(problems)
    images, clouds, meshes = roots
    rows, problems = _list_rows(clouds, points)
    entries, skipped = _match(rows, images, meshes)
    problems += missing_classes(entries, classes, clouds)
    if classes:
        entries = [entry for entry in entries if entry.category in classes]
        skipped = [problem for problem in skipped if problem.where.partition('/')[0] in classes]
    entries, split_problems = assign_splits(
        entries,
        train_per_class=train_per_class,
        val_fraction=val_fraction,
        seed=seed,
        split_table=split_table,
        where=clouds,
    )
    bad: dict[str, list[Problem]] = {}
    for entry in entries:
        there = _pictures(entry.images, entry.name)
        lacking = [number for number in view_ids if number not in there]
        if lacking:
            found = f'{len(lacking)} of {len(view_ids)} views are missing ({entry.name}.{lacking[0]}.png, ...)'
            bad.setdefault(entry.name, []).append(Problem(str(entry.images), found, 'restore them'))
    paths = [entry.mesh for entry in entries]
    title = 'Checking mesh features' if progress else None
    large = []
    for index, result in map_parallel(count_faces, paths, processes=check_processes, serial_below=48, progress=title):
        if isinstance(result, DataError):
            bad.setdefault(entries[index].name, []).extend(result.problems)
        elif result > max_faces:
            large.append(result)
    if large:  # a setting, not a fault of the files: once, and also with on_bad_file='skip'
        found = f'{len(large)} objects have more than {max_faces} faces, up to {max(large)}'
        problems.append(Problem(str(meshes), found, f'set --config.data.faces={max(large)}'))
    return make_layout(
        clouds,
        entries,
        problems + split_problems,
        bad,
        skipped=skipped,
        on_bad_file=on_bad_file,
        required_splits=required_splits,
        up_axis=up_axis,
        points_up_axis=points_up_axis,
        view_ids=view_ids,
    )


def _match(
    rows: Mapping[tuple[str, str], tuple[str, Path, int]], images: Path, meshes: Path
) -> tuple[list[ObjectEntry], list[Problem]]:
    """Objects with all three modalities, and what the others lack. Keys are (class, id)."""
    pictures = {
        (category.name, folder.name): folder
        for category in sorted(images.iterdir())
        if category.is_dir()
        for folder in sorted(category.iterdir())
        if folder.is_dir()
    }
    npz: dict[str, list[Path]] = {}
    for parent, _, files in sorted(os.walk(meshes)):
        for file in sorted(files):
            if file.endswith('.npz') and not file.startswith('.'):
                npz.setdefault(file[:-4], []).append(Path(parent, file))
    entries, skipped = [], []
    for category, name in sorted(rows.keys() | pictures.keys()):
        # ids are unique in ModelNet; else the class folder above tells
        files = npz.get(name, [])
        mesh = next((path for path in files if category in path.relative_to(meshes).parts), None)
        if mesh is None and len(files) == 1 and len(files[0].relative_to(meshes).parts) == 1:
            mesh = files[0]
        lacking = [
            kind
            for kind, there in (
                ('points', (category, name) in rows),
                ('views', (category, name) in pictures),
                ('mesh features', mesh is not None),
            )
            if not there
        ]
        if lacking:
            skipped.append(Problem(f'{category}/{name}', f'has no {" and no ".join(lacking)}', _DROPPED))
            continue
        split, file, row = rows[category, name]
        entries.append(ObjectEntry(name, category, split, mesh, pictures[category, name], (file, row)))
    return entries, skipped


def _list_rows(folder: Path, points: int) -> tuple[dict[tuple[str, str], tuple[str, Path, int]], list[Problem]]:
    """(split, file, row) of every object by (class, id), and what is wrong with the files."""
    rows: dict[tuple[str, str], tuple[str, Path, int]] = {}
    problems: list[Problem] = []
    files = [(match, path) for path in sorted(folder.iterdir())
             if (match := re.fullmatch(r'ply_data_(train|test)_?(\d+)\.h5', path.name))]  # fmt: skip
    for split in ('train', 'test'):
        if not any(match[1] == split for match, _ in files):
            problems.append(Problem(str(folder), f'no ply_data_{split}*.h5', _AGAIN))
    try:
        names = (folder / 'shape_names.txt').read_text(encoding='utf-8').split()
    except (OSError, UnicodeDecodeError):
        names = []
    for match, path in files:
        try:
            listed = _read_ids(folder / f'ply_data_{match[1]}_{match[2]}_id2file.json')
            labels = _read_labels(path, points)
            if len(labels) != len(listed):
                found = f'{len(labels)} objects, but its id list has {len(listed)}'
                raise DataError(Problem(str(path), found, _AGAIN))
        except DataError as error:
            problems += error.problems
            continue
        for row, (text, label) in enumerate(zip(listed, labels, strict=True)):
            category, _, name = text.rpartition('/')
            category = category.rpartition('/')[2] or (names[label] if label < len(names) else '')
            key = (category, name.rpartition('.')[0] or name)
            if not category or (names and (label >= len(names) or names[label] != category)):
                found = f'row {row} is {text!r} in the id list, but has label {label}'
                problems.append(Problem(str(path), found, _AGAIN))
            elif key in rows:
                problems.append(Problem(str(path), f'row {row}: {text!r} is listed twice', _AGAIN))
            else:
                rows[key] = (match[1], path, row)
    repeated = {}
    for category, name in rows:
        repeated.setdefault(name, []).append(category)
    for name, categories in repeated.items():
        if len(categories) > 1:
            found = f'id {name!r} is in several classes ({", ".join(categories)})'
            problems.append(Problem(str(folder), found, 'give every object an id of its own'))
    return rows, problems


def _read_ids(path: Path) -> list[str]:
    try:
        listed = json.loads(path.read_text(encoding='utf-8'))
    except FileNotFoundError:
        raise DataError(Problem(str(path), 'the id list is missing', _AGAIN)) from None
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(Problem(str(path), f'cannot be read as JSON ({error})', _AGAIN)) from error
    if not isinstance(listed, list) or not all(isinstance(text, str) and text for text in listed):
        raise DataError(Problem(str(path), 'not a list of names', _AGAIN))
    return listed


def _read_labels(path: Path, count: int) -> np.ndarray:
    """Labels of an HDF5 file, int64 [n], its keys and shapes checked; each object must have `count` points."""
    try:
        with h5py.File(path, 'r') as file:
            missing = [key for key in ('data', 'label') if not isinstance(file.get(key), h5py.Dataset)]
            if missing:
                found = f'no key {" and no key ".join(missing)} (it has {", ".join(sorted(file)) or "none"})'
                raise DataError(Problem(str(path), found, _AGAIN))
            points, labels = file['data'], np.asarray(file['label'])
            numbers = labels.dtype.kind in 'iu' and points.dtype.kind == 'f' and points.ndim == 3
            if not numbers or points.shape[2] != 3 or labels.size != len(points):
                found = f'data {points.dtype} {list(points.shape)}, label {labels.dtype} {list(labels.shape)}'
                action = f'expected data float [n, {count}, 3] and label int [n, 1]'
                raise DataError(Problem(str(path), found, action))
            if points.shape[1] < count:
                found = f'{points.shape[1]} points an object where {count} are needed'
                raise DataError(Problem(str(path), found, 'name the folder modelnet40_ply_hdf5_2048'))
            return labels.reshape(-1).astype(np.int64)
    except (OSError, ValueError, TypeError) as error:
        raise DataError(Problem(str(path), f'not a readable HDF5 file ({error})', _AGAIN)) from error


def _pictures(folder: Path, name: str) -> set[int]:
    """Numbers of the views in a folder."""
    pattern = re.compile(rf'{re.escape(name)}\.(\d{{1,6}})\.png')
    try:
        return {int(match[1]) for file in os.listdir(folder) if (match := pattern.fullmatch(file))}
    except OSError:
        return set()
