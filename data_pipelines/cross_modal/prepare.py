"""The prepared form of a collection of labelled objects: a TFDS dataset of views, points and mesh features.

<cache_dir>/<name>-<key>/model_net_objects/<version>/   splits train, val, test
<cache_dir>/<name>-<key>/prepared.json                  written last
"""

import dataclasses
import functools
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import fast_simplification
import numpy as np
from PIL import Image

from data_pipelines import records
from data_pipelines.cross_modal import objects
from data_pipelines.cross_modal.dataset import ObjectDataset, ObjectEntry
from data_pipelines.cross_modal.objects import ObjectRecord, object_from_files, object_from_mesh
from data_pipelines.dataset import SPLITS
from jaxret.errors import ConfigError
from jaxret.geometry.formats import FACE_VALUES
from jaxret.geometry.render import ViewRing

OBJECTS = 'model_net_objects'


@dataclass(frozen=True)
class PreparedObjects:
    """A prepared collection: its folder, and the data set less what could not be prepared (on_bad_file='skip')."""

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


def prepare_modelnet(
    dataset: ObjectDataset,
    ring: ViewRing,
    *,
    points: int = 2048,
    max_faces: int = 1024,
    name: str = 'modelnet',
    **storage: Any,
) -> PreparedObjects:
    """Make views, points and mesh features of every object once, or find that this was done before.

    Args:
      dataset: what to prepare, from `read_modelnet` or `read_modelnet_files`.
      ring: cameras and light of the views; of published views only its size S counts.
      points: points an object N.
      max_faces: faces an object M.
      name: first part of the folder's name.
      **storage: cache_dir, on_bad_file, processes, progress, as `prepare_records`.

    Raises:
      ConfigError: an option out of range.
      DataError, StorageError: as `prepare_records`.
    """
    if points < 1 or max_faces < 4:
        raise ConfigError(f'points={points} and max_faces={max_faces}: use at least 1 and 4')
    options: dict[str, Any] = {'points': points, 'max_faces': max_faces, 'up_axis': dataset.up_axis}
    if dataset.published:
        views = len(dataset.view_ids)
        files = {'points_up_axis': dataset.points_up_axis, 'view_ids': dataset.view_ids}
        make = functools.partial(object_from_files, size=ring.size, **files, **options)
    else:
        views = ring.views
        make = functools.partial(object_from_mesh, ring=ring, **options)
    folder, dataset = records.prepare_records(
        dataset,
        functools.partial(_write, dataset, make, (views, ring.size, points, max_faces)),
        name=name,
        options=options | {'ring': ring.to_json(), 'simplification': fast_simplification.__version__},
        code=(__file__, objects.__file__),
        **storage,
    )
    return PreparedObjects(folder, dataset, ring.size, views, points, max_faces)


def load_objects(prepared: PreparedObjects, split: str) -> ObjectTable:
    """Objects of a split; an empty table for a split without objects.

    Args:
      prepared: from `prepare_modelnet`.
      split: 'train', 'val' or 'test'.

    Raises:
      StorageError: the records are damaged.
    """
    records.check_split(split)
    entries, count = prepared.dataset.split_objects(split), len(prepared.dataset.split_objects(split))
    table = ObjectTable(
        views_encoded=np.empty((count, prepared.views), object),
        points=np.empty((count, prepared.points, 3), np.float32),
        faces=np.empty((count, prepared.max_faces, FACE_VALUES), np.float32),
        neighbors=np.empty((count, prepared.max_faces, 3), np.int32),
        label=prepared.dataset.labels(entries),
        names=[entry.name for entry in entries],
        categories=prepared.dataset.categories,
        size=prepared.size,
    )
    for row, record in records.read_records(prepared.folder, OBJECTS, split, table.names, records.KEEP_VIEWS):
        table.views_encoded[row] = [bytes(view) for view in record['views']]
        for key in ('points', 'faces', 'neighbors'):
            getattr(table, key)[row] = record[key]
    return table


def _write(
    dataset: ObjectDataset,
    make: Callable[[ObjectEntry], ObjectRecord],
    sizes: tuple[int, int, int, int],
    writer: records.RecordWriter,
) -> None:
    """Writes all splits; `sizes` are views V, their side S, points N and faces M."""
    views, size, points, max_faces = sizes
    label = {name: index for index, name in enumerate(dataset.categories)}

    def record(entry: ObjectEntry, made: ObjectRecord) -> dict[str, Any]:
        pictures = [io.BytesIO(view) for view in made.views]
        return dataclasses.asdict(made) | {'views': pictures, 'label': label[entry.category]}

    writer.write(
        OBJECTS,
        'Labelled objects as grey views, points of the surface, and faces with their neighbours.',
        {
            'views': records.tfds.features.Sequence(records.png_features(size, 1), length=views),
            'points': records.array_features(points, 3, dtype=np.float32),
            'faces': records.array_features(max_faces, FACE_VALUES, dtype=np.float32),
            'neighbors': records.array_features(max_faces, 3, dtype=np.int32),
            'label': np.int64,
        },
        {split: dataset.split_objects(split) for split in SPLITS},
        make,
        record,
        title='Making views, points and faces',
    )
