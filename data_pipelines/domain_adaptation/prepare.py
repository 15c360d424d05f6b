"""The prepared form of two domains: a TFDS dataset of square photos, and one of shapes as V square views.

    <cache_dir>/<name>-<key>/domain_photos/<version>/   splits train, val, test
    <cache_dir>/<name>-<key>/domain_shapes/<version>/   split shapes
    <cache_dir>/<name>-<key>/prepared.json              written last

The records hold pixels and names, no labels. The key hashes the layout's fingerprint (folder, files, splits), every
option and the code that makes the pixels; see `record_folder`.
"""

import dataclasses
import functools
import hashlib
import io
import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from data_pipelines.atomic_folder import complete_folder
from data_pipelines.domain_adaptation.dataset import DomainDataset, ShapeFiles
from data_pipelines.file_checks import SERIAL_BELOW, source_hash
from data_pipelines.records import VERSION, KeepEncoded, RecordBuilder, as_text, build_records, read_records, tfds
from jaxret.errors import ConfigError, DataError, Problem, StorageError
from jaxret.geometry import mesh, rays, render
from jaxret.geometry.render import ViewRing, render_file
from jaxret.preprocessing import framing, photo_files
from jaxret.preprocessing.framing import FITS, square_picture
from jaxret.preprocessing.photo_files import read_photo
from jaxret.workers import map_parallel

PHOTOS, SHAPES = 'domain_photos', 'domain_shapes'
SPLITS, PARTS = ('train', 'val', 'test'), ('train', 'gallery')


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
    """Prepared photos and shapes: their folder, and the layout less what could not be prepared (on_bad_file='skip')."""

    folder: Path
    dataset: DomainDataset
    size: int
    views: int


class DomainPhotos(RecordBuilder, skip_registration=True):
    """Splits train, val, test: image [S, S, 3], name."""

    name = PHOTOS
    DESCRIPTION = 'Photos, resampled to a square.'


class DomainShapes(RecordBuilder, skip_registration=True):
    """Split shapes: views V x [S, S, 1 or 3], name."""

    name = SHAPES
    DESCRIPTION = 'Shapes as square views.'


def prepare_mi3dor(
    layout: DomainDataset,
    ring: ViewRing,
    *,
    fit: str = 'cover',
    cache_dir: Path | str,
    on_bad_file: str = 'error',
    processes: int = 2,
    progress: bool = True,
    name: str = 'mi3dor',
) -> PreparedDomains:
    """Resample every photo and render or resample the views of every shape once, or find that this was done before.

    Args:
      layout: what to prepare, from `read_mi3dor`.
      ring: cameras and light of the views; of views that are read from pictures only its size S counts. S is the side
        of photos too; a little more than a network's input leaves room for crops.
      fit: how pictures become square: 'cover', 'stretch' or 'pad' (`square_picture`).
      cache_dir: where prepared data sets are kept.
      on_bad_file: 'skip' leaves out what fails only now and lists it in the result's `layout.skipped`.
      processes: worker processes.
      progress: show progress bars.
      name: first part of the folder's name.

    Returns:
      the prepared data set.

    Raises:
      DataError: files that cannot be prepared.
      ConfigError: an option has no such value.
      StorageError: cache_dir cannot be written, or the disk is full.
    """
    if fit not in FITS:
        raise ConfigError(f'fit={fit!r}: use one of {", ".join(FITS)}')
    cameras = dataclasses.asdict(ring) if layout.rendered else {'size': ring.size}
    key = _key(layout, {'ring': cameras, 'fit': fit, 'channels': layout.channels, 'on_bad_file': on_bad_file})
    folder = Path(cache_dir) / f'{name}-{key}'
    options = {'on_bad_file': on_bad_file, 'processes': processes, 'progress': progress}
    done = complete_folder(folder, lambda draft: _write(layout, ring, fit, draft, **options))
    if done['photos'] or done['shapes']:
        problems = [Problem(*problem) for problem in done['problems']]
        layout = layout.without(set(done['photos']), set(done['shapes']), problems)
    return PreparedDomains(folder, layout, ring.size, ring.views if layout.rendered else layout.views)


def load_photos(prepared: PreparedDomains, split: str) -> PhotoTable:
    """Photos of a split with their labels; an empty table for a split without photos.

    Args:
      prepared: from `prepare_mi3dor`.
      split: 'train', 'val' or 'test'.

    Raises:
      StorageError: the records are damaged.
    """
    if split not in SPLITS:
        raise ValueError(f'split={split!r}: use one of {", ".join(SPLITS)}')
    entries, categories = prepared.dataset.split_photos(split), prepared.dataset.categories
    label = {name: index for index, name in enumerate(categories)}
    records = read_records(prepared.folder, PHOTOS, split, {'image': tfds.decode.SkipDecoding()})
    images = np.empty(len(entries), object)
    names = [entry.name for entry in entries]
    _fill(images, records, 'image', names, prepared)
    labels = np.array([label[entry.category] for entry in entries], np.int32)
    return PhotoTable(images, labels, names, categories, prepared.size)


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
    _fill(views, read_records(prepared.folder, SHAPES, 'shapes', {'views': KeepEncoded()}), 'views', names, prepared)
    return ShapeTable(views, names, prepared.size, prepared.dataset.channels)


def shape_labels(prepared: PreparedDomains, part: str) -> np.ndarray:
    """Labels of the shapes of a part, for evaluation only.

    Args:
      prepared: from `prepare_mi3dor`.
      part: 'train' or 'gallery'.

    Returns:
      int32 [G], index into the layout's categories, in the order of `load_shapes`.
    """
    label = {name: index for index, name in enumerate(prepared.dataset.categories)}
    return np.array([label[entry.category] for entry in _part(prepared, part)], np.int32)


def _part(prepared: PreparedDomains, part: str):
    if part not in PARTS:
        raise ValueError(f'part={part!r}: use one of {", ".join(PARTS)}')
    return prepared.dataset.part_shapes(part)


def _fill(
    rows: np.ndarray, records: Iterator[dict[str, Any]], key: str, names: Sequence[str], prepared: PreparedDomains
) -> None:
    """Puts the records of some names into their rows."""
    wanted, found = {name: row for row, name in enumerate(names)}, 0
    for record in records:
        row = wanted.get(as_text(record['name']))
        if row is not None:  # else of another part, or of a class that is left out
            value = record[key]
            rows[row] = bytes(value) if rows.ndim == 1 else [bytes(view) for view in value]
            found += 1
    if found != len(names):
        raise StorageError(f'{prepared.folder}: holds other files; delete the folder to prepare it again')


def _write(
    layout: DomainDataset, ring: ViewRing, fit: str, folder: Path, *, on_bad_file: str, processes: int, progress: bool
) -> dict[str, Any]:
    """Write both datasets below `folder`; returns the content of prepared.json."""
    options = {'processes': processes, 'serial_below': SERIAL_BELOW, 'ordered': True}
    failed: dict[str, dict[str, tuple[Problem, ...]]] = {'photos': {}, 'shapes': {}}

    def shapes() -> Iterator[tuple[int, dict[str, Any]]]:
        function = functools.partial(shape_pngs, ring=ring, fit=fit, channels=layout.channels, up_axis=layout.up_axis)
        title = ('Rendering shapes' if layout.rendered else 'Resizing views') if progress else None
        for index, result in map_parallel(function, layout.shapes, progress=title, **options):
            entry = layout.shapes[index]
            if isinstance(result, DataError):
                failed['shapes'][entry.name] = result.problems
            else:
                yield index, {'views': [io.BytesIO(view) for view in result], 'name': entry.name}

    def images(split: str) -> Iterator[tuple[int, dict[str, Any]]]:
        entries = layout.split_photos(split)
        function = functools.partial(photo_png, size=ring.size, fit=fit)
        title = f'Resizing {split} photos' if progress else None
        for index, result in map_parallel(function, [entry.path for entry in entries], progress=title, **options):
            if isinstance(result, DataError):
                failed['photos'][entries[index].name] = result.problems
            else:
                yield index, {'image': io.BytesIO(result), 'name': entries[index].name}

    def picture(channels: int) -> tfds.features.Image:
        return tfds.features.Image(shape=(ring.size, ring.size, channels), encoding_format='png')

    count = ring.views if layout.rendered else layout.views
    features = {'views': tfds.features.Sequence(picture(layout.channels), length=count), 'name': tfds.features.Text()}
    build_records(DomainShapes, folder, {'shapes': shapes()}, features, failed['shapes'])
    splits = {split: images(split) for split in SPLITS if layout.split_photos(split)}  # TFDS has no empty splits
    features = {'image': picture(3), 'name': tfds.features.Text()}
    build_records(DomainPhotos, folder, splits, features, failed['photos'])
    problems = [problem for wrong in (failed['shapes'], failed['photos']) for found in wrong.values()
                for problem in found]  # fmt: skip
    if problems and on_bad_file == 'error':
        raise DataError(problems)
    if problems:
        layout.without(set(failed['photos']), set(failed['shapes']), problems)  # raises where too little is left
    return {
        'photos': list(failed['photos']),
        'shapes': list(failed['shapes']),
        'problems': [dataclasses.astuple(problem) for problem in problems],
    }


def _key(layout: DomainDataset, options: dict[str, Any]) -> str:
    code = source_hash(sys.modules[__name__], photo_files, framing, mesh, rays, render)
    content = json.dumps([layout.fingerprint, options, code, VERSION], sort_keys=True)
    return hashlib.sha256(content.encode()).hexdigest()[:16]


def _pixels(encoded: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(encoded)))


def photo_png(path: Path, *, size: int, fit: str) -> bytes:
    """A photo's file as a square colour PNG file. Raises DataError: it cannot be read."""
    return _png(square_picture(read_photo(path), size=size, fit=fit))


def shape_pngs(shape: ShapeFiles, *, ring: ViewRing, fit: str, channels: int, up_axis: str) -> list[bytes]:
    """Views of a shape as square PNG files: rendered from its mesh, or read from its pictures.

    Args:
      shape: names its files.
      ring: cameras and light; for pictures only the size S counts.
      fit: how pictures become square.
      channels: 1 (grey) or 3.
      up_axis: axis that points up in mesh files.

    Returns:
      V PNG files.

    Raises:
      DataError: with all that is wrong with its files.
    """
    if shape.mesh is not None:
        return [_png(view) for view in render_file(shape.mesh, ring, up_axis)]
    pictures, problems = [], []
    for path in shape.views:
        try:
            picture = square_picture(read_photo(path), size=ring.size, fit=fit)
        except DataError as error:
            problems += error.problems
            continue
        if channels == 1 and (picture != picture[:, :, :1]).any():
            action = 'start again: it changed since it was checked'
            problems.append(Problem(str(path), 'coloured, where all views were grey', action))
        pictures.append(_png(picture[:, :, 0] if channels == 1 else picture))
    if problems:
        raise DataError(problems)
    return pictures


def _png(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(array).save(buffer, 'PNG', compress_level=3)
    return buffer.getvalue()
