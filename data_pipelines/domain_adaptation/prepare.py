"""The prepared form of two domains: a TFDS dataset of square photos, and one of shapes as V square views.

    <cache_dir>/<name>-<key>/domain_photos/<version>/   splits train, val, test
    <cache_dir>/<name>-<key>/domain_shapes/<version>/   split shapes
    <cache_dir>/<name>-<key>/prepared.json              written last

The records hold pixels and names, no labels.
"""

import functools
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from data_pipelines import records
from data_pipelines.dataset import SPLITS, check_options, one_of
from data_pipelines.domain_adaptation import pictures
from data_pipelines.domain_adaptation.dataset import DomainDataset, ShapeFiles
from data_pipelines.domain_adaptation.pictures import photo_png, shape_pngs
from jaxret.geometry.render import ViewRing
from jaxret.preprocessing.framing import FITS

PHOTOS, SHAPES = 'domain_photos', 'domain_shapes'
PARTS = ('train', 'gallery')


@dataclass(frozen=True, eq=False)
class PhotoTable:
    """Labelled photos in the order of their names.

    Attributes:
      images_encoded: object [n], PNG bytes of colour [S, S] pictures.
      label: int32 [n], index into `categories`.
      names: of the photos.
      categories: names of all classes.
      size: S.
    """

    images_encoded: np.ndarray
    label: np.ndarray
    names: list[str]
    categories: tuple[str, ...]
    size: int

    def __len__(self) -> int:
        return len(self.names)

    def pictures(self, rows: Sequence[int]) -> np.ndarray:
        """Decoded pictures, uint8 [rows, S, S, 3]."""
        pictures = [_pixels(self.images_encoded[row]) for row in rows]
        return np.array(pictures, np.uint8).reshape(len(rows), self.size, self.size, 3)


@dataclass(frozen=True, eq=False)
class ShapeTable:
    """Shapes in an order that does not depend on their classes. It holds no labels: see `shape_labels`.

    Attributes:
      views_encoded: object [G, V], PNG bytes of [S, S] pictures, grey or in colour.
      names: of the shapes.
      size: S.
      channels: 1 or 3.
    """

    views_encoded: np.ndarray
    names: list[str]
    size: int
    channels: int

    def __len__(self) -> int:
        return len(self.names)

    def views(self, rows: Sequence[int], view_ids: Sequence[int]) -> np.ndarray:
        """Decoded pictures, uint8 [rows, views, S, S, channels]."""
        pictures = [[_pixels(self.views_encoded[row, view]) for view in view_ids] for row in rows]
        shape = (len(rows), len(view_ids), self.size, self.size, self.channels)
        return np.array(pictures, np.uint8).reshape(shape)


@dataclass(frozen=True)
class PreparedDomains:
    """A prepared data set: its folder, and the data set less what could not be prepared (on_bad_file='skip')."""

    folder: Path
    dataset: DomainDataset
    size: int
    views: int


def prepare_mi3dor(
    dataset: DomainDataset, ring: ViewRing, *, fit: str = 'cover', name: str = 'mi3dor', **storage: Any
) -> PreparedDomains:
    """Resample every photo and render or resample the views of every shape once, or find that this was done before.

    Args:
      dataset: what to prepare, from `read_mi3dor`.
      ring: cameras and light of the views; of views that are read from pictures only its size S counts. S is the side
        of photos too; a little more than a network's input leaves room for crops.
      fit: how pictures become square: 'cover', 'stretch' or 'pad' (`square_picture`).
      name: first part of the folder's name.
      **storage: cache_dir, on_bad_file, processes, progress, as `prepare_records`.

    Raises:
      ConfigError: an option has no such value.
      DataError, StorageError: as `prepare_records`.
    """
    check_options(fit=one_of(fit, *FITS))
    cameras = ring.to_json() if dataset.rendered else {'size': ring.size}
    views = ring.views if dataset.rendered else dataset.views
    folder, dataset = records.prepare_records(
        dataset,
        functools.partial(_write, dataset, ring, views, fit),
        name=name,
        options={'ring': cameras, 'fit': fit, 'channels': dataset.channels},
        code=(__file__, pictures.__file__),
        **storage,
    )
    return PreparedDomains(folder, dataset, ring.size, views)


def load_photos(prepared: PreparedDomains, split: str) -> PhotoTable:
    """Photos of a split with their labels; an empty table for a split without photos.

    Args:
      prepared: from `prepare_mi3dor`.
      split: 'train', 'val' or 'test'.

    Raises:
      StorageError: the records are damaged.
    """
    records.check_split(split)
    entries = prepared.dataset.split_photos(split)
    images = np.empty(len(entries), object)
    names = [entry.name for entry in entries]
    keep = {'image': records.tfds.decode.SkipDecoding()}
    for row, record in records.read_records(prepared.folder, PHOTOS, split, names, keep):
        images[row] = bytes(record['image'])
    return PhotoTable(images, prepared.dataset.labels(entries), names, prepared.dataset.categories, prepared.size)


def load_shapes(prepared: PreparedDomains, part: str) -> ShapeTable:
    """Shapes of a part, without labels; an empty table for a part without shapes.

    Args:
      prepared: from `prepare_mi3dor`.
      part: 'train' (what training may use) or 'gallery' (what is searched).

    Raises:
      StorageError: the records are damaged.
    """
    names = [entry.name for entry in _part(prepared, part)]
    views = np.empty((len(names), prepared.views), object)
    for row, record in records.read_records(prepared.folder, SHAPES, 'shapes', names, records.KEEP_VIEWS):
        views[row] = [bytes(view) for view in record['views']]
    return ShapeTable(views, names, prepared.size, prepared.dataset.channels)


def shape_labels(prepared: PreparedDomains, part: str) -> np.ndarray:
    """Labels of the shapes of a part, for evaluation only.

    Args:
      prepared: from `prepare_mi3dor`.
      part: 'train' or 'gallery'.

    Returns:
      int32 [G], index into the data set's categories, in the order of `load_shapes`.
    """
    return prepared.dataset.labels(_part(prepared, part))


def _part(prepared: PreparedDomains, part: str) -> tuple[ShapeFiles, ...]:
    records.check_split(part, PARTS, key='part')
    return prepared.dataset.part_shapes(part)


def _write(dataset: DomainDataset, ring: ViewRing, views: int, fit: str, writer: records.RecordWriter) -> None:
    """Writes both datasets."""
    writer.write(
        SHAPES,
        'Shapes as square views.',
        {'views': records.tfds.features.Sequence(records.png_features(ring.size, dataset.channels), length=views)},
        {'shapes': dataset.shapes},
        functools.partial(shape_pngs, ring=ring, fit=fit, channels=dataset.channels, up_axis=dataset.up_axis),
        lambda shape, files: {'views': [io.BytesIO(file) for file in files]},
        title='Rendering shapes' if dataset.rendered else 'Resizing views',
    )
    writer.write(
        PHOTOS,
        'Photos, resampled to a square.',
        {'image': records.png_features(ring.size, 3)},
        {split: dataset.split_photos(split) for split in SPLITS},
        functools.partial(photo_png, size=ring.size, fit=fit),
        lambda photo, file: {'image': io.BytesIO(file)},
        title='Resizing photos',
        argument=lambda photo: photo.path,
    )


def _pixels(encoded: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(encoded)))
