"""The prepared form of a data set of photos and shapes: a TFDS dataset of framed photos, and one of rendered shapes.

    <cache_dir>/<name>-<key>/retrieval_queries/<version>/   splits train, val, test
    <cache_dir>/<name>-<key>/retrieval_gallery/<version>/   split gallery
    <cache_dir>/<name>-<key>/prepared.json                  written last

The key hashes the layout's fingerprint (folder, files, splits), every option, the materials and textures that the views
show, and the code that makes the pixels; see `record_folder`.
"""

import dataclasses
import functools
import hashlib
import io
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from data_pipelines.atomic_folder import complete_folder
from data_pipelines.file_checks import SERIAL_BELOW, signature, source_hash
from data_pipelines.photo_to_shape.dataset import PhotoDataset, PhotoEntry
from data_pipelines.records import VERSION, RecordBuilder, as_text, build_records, read_records, tfds
from jaxret.errors import DataError, Problem, StorageError
from jaxret.geometry import materials, mesh, rays, render
from jaxret.geometry.materials import material_files
from jaxret.geometry.render import ViewRing, render_many
from jaxret.preprocessing import framing, photo_files
from jaxret.preprocessing.framing import frame_files
from jaxret.workers import map_parallel

SPLITS = ('train', 'val', 'test')
QUERIES, GALLERY = 'retrieval_queries', 'retrieval_gallery'


@dataclass(frozen=True)
class Prepared:
    """A prepared data set: its folder, and the layout less what could not be prepared (on_bad_file='skip')."""

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
      category: int32 [n], index into the layout's categories.
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
      category: int32 [G], index into the layout's categories.
      names: path of each mesh below the data folder.
      paths: the mesh files.
    """

    views: np.ndarray
    category: np.ndarray
    names: list[str]
    paths: list[Path]


def prepare(
    layout: PhotoDataset,
    ring: ViewRing,
    *,
    size: int,
    crop: str = 'none',
    margin: float = 0.0,
    fit: str = 'pad',
    fill: int = 255,
    cache_dir: Path | str,
    on_bad_file: str = 'error',
    processes: int = 2,
    progress: bool = True,
    name: str = 'pix3d',
) -> Prepared:
    """Frame every photo and render every shape once, or find that this was done before.

    Args:
      layout: what to prepare.
      ring: cameras and light of the shapes' views.
      size: side S of photos and masks.
      crop: as `photos.frame_photo`, like margin, fit and fill.
      margin: share of the object's box.
      fit: 'pad' or 'stretch'.
      fill: grey level of padding.
      cache_dir: where prepared data sets are kept.
      on_bad_file: 'skip' leaves out what fails only now (a mesh that loads but cannot be rendered, a file that
        changed since it was checked) and lists it in the result's `layout.skipped`.
      processes: worker processes.
      progress: show progress bars.
      name: first part of the folder's name.

    Returns:
      the prepared data set.

    Raises:
      DataError: files that cannot be prepared.
      StorageError: cache_dir cannot be written, or the disk is full.
    """
    framing = {'size': size, 'crop': crop, 'margin': margin, 'fit': fit, 'fill': fill}
    colors = (
        [signature(file) for shape in layout.shapes for file in material_files(shape.path)]
        if ring.shading == 'textured'
        else []
    )
    key = _key(layout, framing | {'ring': dataclasses.asdict(ring), 'colors': colors, 'on_bad_file': on_bad_file})
    folder = Path(cache_dir) / f'{name}-{key}'
    options = {'on_bad_file': on_bad_file, 'processes': processes, 'progress': progress}
    done = complete_folder(folder, lambda draft: _write(layout, ring, framing, draft, **options))
    dropped = set(done['dropped'])
    if dropped:
        layout = layout.without(dropped, [Problem(*problem) for problem in done['problems']])
    return Prepared(folder, layout, size, ring)


class RetrievalQueries(RecordBuilder, skip_registration=True):
    """Splits train, val, test: image [S, S, 3], mask [S, S, 1], category, shape (gallery index), name."""

    name = QUERIES
    DESCRIPTION = 'Photos and object masks, framed to a square, each with the gallery index of its CAD model.'


class RetrievalGallery(RecordBuilder, skip_registration=True):
    """Split gallery: views [V, S, S, 1 or 3], category, name."""

    name = GALLERY
    DESCRIPTION = 'CAD models as views from a ring of cameras.'


def _write(
    layout: PhotoDataset,
    ring: ViewRing,
    framing: dict[str, Any],
    folder: Path,
    *,
    on_bad_file: str,
    processes: int,
    progress: bool,
) -> dict[str, Any]:
    """Write both datasets below `folder`; returns the content of prepared.json."""
    failed: dict[str, tuple[Problem, ...]] = {}
    category = {name: index for index, name in enumerate(layout.categories)}

    def gallery() -> Iterator[tuple[int, dict[str, Any]]]:
        paths = [shape.path for shape in layout.shapes]
        options = {'up_axis': layout.up_axis, 'processes': processes, 'ordered': True, 'progress': progress}
        for index, result in render_many(paths, ring, **options):
            shape = layout.shapes[index]
            if isinstance(result, DataError):
                failed[shape.model] = result.problems
            else:
                row = {'views': result.reshape(view_shape), 'category': category[shape.category], 'name': shape.model}
                yield index, row

    view_shape = (ring.views, ring.size, ring.size, ring.channels)
    views = tfds.features.Tensor(shape=view_shape, dtype=np.uint8, encoding='zlib')
    features = {'views': views, 'category': np.int64, 'name': tfds.features.Text()}
    build_records(RetrievalGallery, folder, {'gallery': gallery()}, features, failed)
    index_of: dict[str, int] = {}
    for shape in layout.shapes:
        if shape.model not in failed:
            index_of[shape.model] = len(index_of)

    def queries(chosen: list[PhotoEntry], split: str) -> Iterator[tuple[int, dict[str, Any]]]:
        function = functools.partial(frame_files, **framing)
        items = [(photo.image, photo.mask, photo.bbox) for photo in chosen]
        title = f'Framing {split} photos' if progress else None
        options = {'processes': processes, 'serial_below': SERIAL_BELOW, 'ordered': True, 'progress': title}
        for index, result in map_parallel(function, items, **options):
            photo = chosen[index]
            if isinstance(result, DataError):
                failed[photo.name] = result.problems
            else:
                row = {'category': category[photo.category], 'shape': index_of[photo.model], 'name': photo.name}
                yield index, row | {'image': io.BytesIO(result[0]), 'mask': io.BytesIO(result[1])}

    generators = {}
    for split in SPLITS:
        chosen = [photo for photo in layout.split_photos(split) if photo.model in index_of]
        if chosen:  # TFDS has no empty splits
            generators[split] = queries(chosen, split)
    size = framing['size']
    features = {
        'image': tfds.features.Image(shape=(size, size, 3), encoding_format='png'),
        'mask': tfds.features.Image(shape=(size, size, 1), encoding_format='png'),
        'category': np.int64,
        'shape': np.int64,
        'name': tfds.features.Text(),
    }
    if generators:
        build_records(RetrievalQueries, folder, generators, features, failed)
    problems = [problem for wrong in failed.values() for problem in wrong]
    if failed and on_bad_file == 'error':
        raise DataError(problems)
    if failed:
        layout.without(set(failed), problems)  # raises where too little is left
    return {'dropped': list(failed), 'problems': [dataclasses.astuple(problem) for problem in problems]}


def _key(layout: PhotoDataset, options: dict[str, Any]) -> str:
    code = source_hash(photo_files, framing, mesh, materials, rays, render)
    content = json.dumps([layout.fingerprint, layout.categories, options, code, VERSION], sort_keys=True)
    return hashlib.sha256(content.encode()).hexdigest()[:16]


def load_queries(prepared: Prepared, split: str) -> QueryTable:
    """Photos of a split, still encoded; an empty table for a split without photos.

    Args:
      prepared: from `prepare`.
      split: 'train', 'val' or 'test'.

    Returns:
      the table.
    """
    if split not in SPLITS:
        raise ValueError(f'split={split!r}: use one of {", ".join(SPLITS)}')
    keep = {'image': tfds.decode.SkipDecoding(), 'mask': tfds.decode.SkipDecoding()}
    rows = list(read_records(prepared.folder, QUERIES, split, keep))
    return QueryTable(
        images_encoded=[bytes(row['image']) for row in rows],
        masks_encoded=[bytes(row['mask']) for row in rows],
        category=np.array([row['category'] for row in rows], np.int32),
        shape=np.array([row['shape'] for row in rows], np.int32),
        names=[as_text(row['name']) for row in rows],
    )


def load_gallery(prepared: Prepared) -> GalleryTable:
    """All gallery shapes with their views.

    Args:
      prepared: from `prepare`.

    Returns:
      the table.
    """
    rows = read_records(prepared.folder, GALLERY, 'gallery', None)
    shapes, ring = prepared.dataset.shapes, prepared.ring
    views = np.empty((len(shapes), ring.views, ring.size, ring.size, ring.channels), np.uint8)
    category, names = np.empty(len(shapes), np.int32), []
    for index, row in enumerate(rows):
        views[index], category[index] = row['views'], row['category']
        names.append(as_text(row['name']))
    if names != [shape.model for shape in shapes]:
        raise StorageError(f'{prepared.folder}: holds another gallery; delete the folder to prepare it again')
    return GalleryTable(views, category, names, [shape.path for shape in shapes])
