"""The prepared form of a data set of photos and shapes: a TFDS dataset of framed photos, and one of rendered shapes.

    <cache_dir>/<name>-<key>/retrieval_queries/<version>/   splits train, val, test
    <cache_dir>/<name>-<key>/retrieval_gallery/<version>/   split gallery
    <cache_dir>/<name>-<key>/prepared.json                  written last

The key hashes the options, and the materials and textures that the views show, too; see `records`.
"""

import functools
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from data_pipelines import records
from data_pipelines.dataset import SPLITS
from data_pipelines.file_checks import signature
from data_pipelines.photo_to_shape.dataset import PhotoDataset, PhotoEntry, ShapeEntry
from jaxret.geometry.materials import material_files
from jaxret.geometry.render import ViewRing, render_file
from jaxret.preprocessing.framing import frame_files

QUERIES, GALLERY = 'retrieval_queries', 'retrieval_gallery'


@dataclass(frozen=True)
class Prepared:
    """A prepared data set: its folder, and the data set less what could not be prepared (on_bad_file='skip')."""

    folder: Path
    dataset: PhotoDataset
    size: int
    ring: ViewRing


@dataclass(frozen=True, eq=False)
class QueryTable:
    """Photos of one split, in order of their names. n photos.

    Attributes:
      images_encoded: PNG bytes, [S, S, 3] each.
      masks_encoded: PNG bytes, [S, S, 1] each.
      category: int32 [n], index into the data set's categories.
      shape: int32 [n], index into the gallery.
      names: path of each photo below the data folder.
    """

    images_encoded: list[bytes]
    masks_encoded: list[bytes]
    category: np.ndarray
    shape: np.ndarray
    names: list[str]


@dataclass(frozen=True, eq=False)
class GalleryTable:
    """Gallery shapes with their views, in order of their names. G shapes, V views.

    Attributes:
      views: uint8 [G, V, S, S, 1], textured [G, V, S, S, 3].
      category: int32 [G], index into the data set's categories.
      names: path of each mesh below the data folder.
      paths: the mesh files.
    """

    views: np.ndarray
    category: np.ndarray
    names: list[str]
    paths: list[Path]


def prepare(
    dataset: PhotoDataset,
    ring: ViewRing,
    *,
    size: int,
    crop: str = 'none',
    margin: float = 0.0,
    fit: str = 'pad',
    fill: int = 255,
    name: str = 'pix3d',
    **storage: Any,
) -> Prepared:
    """Frame every photo and render every shape once, or find that this was done before.

    Args:
      dataset: what to prepare.
      ring: cameras and light of the shapes' views.
      size: side S of photos and masks.
      crop: as `framing.frame_photo`, like margin, fit and fill.
      margin: share of the object's box.
      fit: 'pad' or 'stretch'.
      fill: grey level of padding.
      name: first part of the folder's name.
      **storage: cache_dir, on_bad_file, processes, progress, as `prepare_records`.

    Raises:
      DataError, StorageError: as `prepare_records`.
    """
    framing = {'size': size, 'crop': crop, 'margin': margin, 'fit': fit, 'fill': fill}
    folder, dataset = records.prepare_records(
        dataset,
        functools.partial(_write, dataset, ring, framing),
        name=name,
        options=framing | {'ring': ring.to_json(), 'colors': _colors(dataset, ring)},
        code=(__file__,),
        **storage,
    )
    return Prepared(folder, dataset, size, ring)


def load_queries(prepared: Prepared, split: str) -> QueryTable:
    """Photos of a split, still encoded; an empty table for a split without photos.

    Args:
      prepared: from `prepare`.
      split: 'train', 'val' or 'test'.

    Raises:
      StorageError: the records are damaged.
    """
    records.check_split(split)
    photos = prepared.dataset.split_photos(split)
    row_of = {shape.model: row for row, shape in enumerate(prepared.dataset.shapes)}
    keep = {'image': records.tfds.decode.SkipDecoding(), 'mask': records.tfds.decode.SkipDecoding()}
    names = [photo.name for photo in photos]
    rows = [record for _, record in records.read_records(prepared.folder, QUERIES, split, names, keep)]
    return QueryTable(
        images_encoded=[bytes(row['image']) for row in rows],
        masks_encoded=[bytes(row['mask']) for row in rows],
        category=prepared.dataset.labels(photos),
        shape=np.array([row_of[photo.model] for photo in photos], np.int32),
        names=names,
    )


def load_gallery(prepared: Prepared) -> GalleryTable:
    """All gallery shapes with their views.

    Raises:
      StorageError: the records are damaged.
    """
    shapes, ring = prepared.dataset.shapes, prepared.ring
    names = [shape.model for shape in shapes]
    views = np.empty((len(shapes), *_view_shape(ring)), np.uint8)
    for row, record in records.read_records(prepared.folder, GALLERY, 'gallery', names):
        views[row] = record['views']
    return GalleryTable(views, prepared.dataset.labels(shapes), names, [shape.path for shape in shapes])


def _write(dataset: PhotoDataset, ring: ViewRing, framing: dict[str, Any], writer: records.RecordWriter) -> None:
    """Writes both datasets: shapes first, as a photo goes with its shape."""
    category = {name: index for index, name in enumerate(dataset.categories)}

    def shape_record(shape: ShapeEntry, views: np.ndarray) -> dict[str, Any]:
        return {'views': views.reshape(_view_shape(ring)), 'category': category[shape.category]}

    writer.write(
        GALLERY,
        'CAD models as views from a ring of cameras.',
        {'views': records.array_features(*_view_shape(ring)), 'category': np.int64},
        {'gallery': dataset.shapes},
        functools.partial(render_file, ring=ring, up_axis=dataset.up_axis),
        shape_record,
        title='Rendering',
        argument=lambda shape: shape.path,
        key='model',
        serial_below=2,
    )
    shapes = [shape.model for shape in dataset.shapes if shape.model not in writer.failed]
    row_of = {model: row for row, model in enumerate(shapes)}

    def photo_record(photo: PhotoEntry, files: tuple[bytes, bytes]) -> dict[str, Any]:
        pictures = {'image': io.BytesIO(files[0]), 'mask': io.BytesIO(files[1])}
        return pictures | {'category': category[photo.category], 'shape': row_of[photo.model]}

    pictures = {'image': records.png_features(framing['size'], 3), 'mask': records.png_features(framing['size'], 1)}
    writer.write(
        QUERIES,
        'Photos and object masks, framed to a square, each with the gallery index of its CAD model.',
        pictures | {'category': np.int64, 'shape': np.int64},
        {split: [photo for photo in dataset.split_photos(split) if photo.model in row_of] for split in SPLITS},
        functools.partial(frame_files, **framing),
        photo_record,
        title='Framing photos',
        argument=lambda photo: (photo.image, photo.mask, photo.bbox),
    )


def _view_shape(ring: ViewRing) -> tuple[int, ...]:
    return ring.views, ring.size, ring.size, ring.channels


def _colors(dataset: PhotoDataset, ring: ViewRing) -> list[Sequence[int] | None]:
    """What tells whether the materials and textures that show have changed."""
    if ring.shading != 'textured':
        return []
    return [signature(file) for shape in dataset.shapes for file in material_files(shape.path)]
