"""The prepared form of a collection of labelled objects: a TFDS dataset of views, points and mesh features.

    <cache_dir>/<name>-<key>/model_net_objects/<version>/   splits train, val, test
    <cache_dir>/<name>-<key>/prepared.json                  written last

The key hashes the layout's fingerprint (folder, files, splits), every option and the code that makes the records; see
`record_folder`.
"""

import contextlib
import dataclasses
import functools
import hashlib
import io
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import fast_simplification
import numpy as np
from PIL import Image

from data_pipelines.atomic_folder import complete_folder
from data_pipelines.cross_modal import objects as modelnet_objects
from data_pipelines.cross_modal.dataset import SPLITS, ObjectDataset
from data_pipelines.file_checks import source_hash
from data_pipelines.records import VERSION, KeepEncoded, RecordBuilder, as_text, build_records, read_records, tfds
from jaxret.errors import ConfigError, DataError, Problem, StorageError
from jaxret.geometry import mesh, mesh_features, rays, render, simplify
from jaxret.geometry import points as surface_points
from jaxret.geometry.formats import FACE_VALUES
from jaxret.geometry.render import ViewRing
from jaxret.workers import map_parallel

OBJECTS = 'model_net_objects'
# Fewer objects are made in this process, sooner than others start.
SERIAL_BELOW = 48


@dataclass(frozen=True)
class PreparedObjects:
    """A prepared collection: its folder, and the layout less what could not be prepared (on_bad_file='skip')."""

    folder: Path
    dataset: ObjectDataset
    size: int
    views: int
    points: int
    max_faces: int


@dataclass(frozen=True, eq=False)
class ObjectTable:
    """Objects in the order of their names. Views stay encoded: 180 views of ModelNet40 would be over 100 GB of pixels.

    Attributes:
      views_encoded: object [n, V], PNG bytes of grey [S, S] pictures.
      points: float32 [n, N, 3].
      faces: float32 [n, M, 15]: centre, corners relative to it, unit normal.
      neighbors: int32 [n, M, 3], rows of `faces`.
      label: int32 [n], index into `categories`.
      names: of the objects.
      categories: names of all classes.
      size: S.
    """

    views_encoded: np.ndarray
    points: np.ndarray
    faces: np.ndarray
    neighbors: np.ndarray
    label: np.ndarray
    names: list[str]
    categories: tuple[str, ...]
    size: int

    def __len__(self) -> int:
        return len(self.names)

    def views(self, rows: Sequence[int], view_ids: Sequence[int]) -> np.ndarray:
        """Decoded pictures, uint8 [rows, views, S, S, 1]."""
        pictures = [
            [np.asarray(Image.open(io.BytesIO(self.views_encoded[row, view]))) for view in view_ids] for row in rows
        ]
        return np.array(pictures, np.uint8).reshape(len(rows), len(view_ids), self.size, self.size, 1)


class ModelNetObjects(RecordBuilder, skip_registration=True):
    """Splits train, val, test: views V x [S, S, 1], points [N, 3], faces [M, 15], neighbors [M, 3], label, name."""

    name = OBJECTS
    DESCRIPTION = 'Labelled objects as grey views, points of the surface, and faces with their neighbours.'


def prepare_modelnet(
    layout: ObjectDataset,
    ring: ViewRing,
    *,
    points: int = 2048,
    max_faces: int = 1024,
    cache_dir: Path | str,
    on_bad_file: str = 'error',
    processes: int = 2,
    progress: bool = True,
    name: str = 'modelnet',
) -> PreparedObjects:
    """Make views, points and mesh features of every object once, or find that this was done before.

    Args:
      layout: what to prepare, from `read_modelnet` or `read_modelnet_files`.
      ring: cameras and light of the views; of published views only its size S counts.
      points: points an object N.
      max_faces: faces an object M.
      cache_dir: where prepared data sets are kept.
      on_bad_file: 'skip' leaves out what fails only now and lists it in the result's `layout.skipped`.
      processes: worker processes.
      progress: show a progress bar.
      name: first part of the folder's name.

    Returns:
      the prepared data set.

    Raises:
      DataError: files that cannot be prepared.
      ConfigError: an option out of range.
      StorageError: cache_dir cannot be written, or the disk is full.
    """
    if points < 1 or max_faces < 4:
        raise ConfigError(f'points={points} and max_faces={max_faces}: use at least 1 and 4')
    sizes = {'points': points, 'max_faces': max_faces}
    key = _key(layout, sizes | {'ring': dataclasses.asdict(ring), 'on_bad_file': on_bad_file})
    folder = Path(cache_dir) / f'{name}-{key}'
    options = {'on_bad_file': on_bad_file, 'processes': processes, 'progress': progress}
    done = complete_folder(folder, lambda draft: _write(layout, ring, draft, **sizes, **options))
    if done['dropped']:
        layout = layout.without(set(done['dropped']), [Problem(*problem) for problem in done['problems']])
    views = len(layout.view_ids) if layout.published else ring.views
    return PreparedObjects(folder, layout, ring.size, views, points, max_faces)


def load_objects(prepared: PreparedObjects, split: str) -> ObjectTable:
    """Objects of a split; an empty table for a split without objects.

    Args:
      prepared: from `prepare_modelnet`.
      split: 'train', 'val' or 'test'.

    Raises:
      StorageError: the records are damaged.
    """
    if split not in SPLITS:
        raise ValueError(f'split={split!r}: use one of {", ".join(SPLITS)}')
    wanted = {entry.name: row for row, entry in enumerate(prepared.dataset.split_objects(split))}
    count, label = len(wanted), {name: index for index, name in enumerate(prepared.dataset.categories)}
    table = ObjectTable(
        views_encoded=np.empty((count, prepared.views), object),
        points=np.empty((count, prepared.points, 3), np.float32),
        faces=np.empty((count, prepared.max_faces, FACE_VALUES), np.float32),
        neighbors=np.empty((count, prepared.max_faces, 3), np.int32),
        label=np.array([label[entry.category] for entry in prepared.dataset.split_objects(split)], np.int32),
        names=list(wanted),
        categories=prepared.dataset.categories,
        size=prepared.size,
    )
    found = 0
    for record in read_records(prepared.folder, OBJECTS, split, {'views': KeepEncoded()}):
        row = wanted.get(as_text(record['name']))
        if row is None:  # of a class that lost its test objects
            continue
        table.views_encoded[row] = [bytes(view) for view in record['views']]
        for key in ('points', 'faces', 'neighbors'):
            getattr(table, key)[row] = record[key]
        found += 1
    if found != count:
        raise StorageError(f'{prepared.folder}: holds other objects; delete the folder to prepare it again')
    return table


def _write(
    layout: ObjectDataset,
    ring: ViewRing,
    folder: Path,
    *,
    points: int,
    max_faces: int,
    on_bad_file: str,
    processes: int,
    progress: bool,
) -> dict[str, Any]:
    """Write the dataset below `folder`; returns the content of prepared.json."""
    options: dict[str, Any] = {'points': points, 'max_faces': max_faces, 'up_axis': layout.up_axis}
    if layout.published:
        options |= {'size': ring.size, 'points_up_axis': layout.points_up_axis, 'view_ids': layout.view_ids}
        function = functools.partial(modelnet_objects.object_from_files, **options)
    else:
        function = functools.partial(modelnet_objects.object_from_mesh, ring=ring, **options)
    views = len(layout.view_ids) if layout.published else ring.views
    label = {name: index for index, name in enumerate(layout.categories)}
    splits = {split: layout.split_objects(split) for split in SPLITS}
    ordered = [entry for entries in splits.values() for entry in entries]
    title = 'Making views, points and faces' if progress else None
    # one run of the workers, and one bar, for all splits: TFDS asks for one split after the other
    results = map_parallel(
        function, ordered, processes=processes, serial_below=SERIAL_BELOW, ordered=True, progress=title
    )
    failed: dict[str, tuple[Problem, ...]] = {}

    def records(split: str) -> Iterator[tuple[int, dict[str, Any]]]:
        for entry in splits[split]:
            index, result = next(results)
            if ordered[index] is not entry:
                raise RuntimeError('the splits were not asked for in their order')
            if isinstance(result, DataError):
                failed[entry.name] = result.problems
                continue
            yield (
                index,
                dataclasses.asdict(result)
                | {
                    'views': [io.BytesIO(view) for view in result.views],
                    'label': label[entry.category],
                    'name': entry.name,
                },
            )

    generators = {split: records(split) for split, entries in splits.items() if entries}  # TFDS has no empty splits
    image = tfds.features.Image(shape=(ring.size, ring.size, 1), encoding_format='png')
    arrays = {'encoding': 'zlib'}
    features = {
        'views': tfds.features.Sequence(image, length=views),
        'points': tfds.features.Tensor(shape=(points, 3), dtype=np.float32, **arrays),
        'faces': tfds.features.Tensor(shape=(max_faces, FACE_VALUES), dtype=np.float32, **arrays),
        'neighbors': tfds.features.Tensor(shape=(max_faces, 3), dtype=np.int32, **arrays),
        'label': np.int64,
        'name': tfds.features.Text(),
    }
    with contextlib.closing(results):
        try:
            build_records(ModelNetObjects, folder, generators, features, failed)
        except DataError:  # a split without a sound object ends it: what is wrong with the others belongs to the report
            late = [result.problems for _, result in results if isinstance(result, DataError)]
            raise DataError([problem for wrong in (*failed.values(), *late) for problem in wrong]) from None
    problems = [problem for wrong in failed.values() for problem in wrong]
    if failed and on_bad_file == 'error':
        raise DataError(problems)
    if failed:
        layout.without(set(failed), problems)  # raises where too little is left
    return {'dropped': list(failed), 'problems': [dataclasses.astuple(problem) for problem in problems]}


def _key(layout: ObjectDataset, options: dict[str, Any]) -> str:
    code = source_hash(modelnet_objects, mesh, rays, render, surface_points, simplify, mesh_features)
    library = fast_simplification.__version__
    content = json.dumps([layout.fingerprint, layout.categories, options, code, library, VERSION], sort_keys=True)
    return hashlib.sha256(content.encode()).hexdigest()[:16]
