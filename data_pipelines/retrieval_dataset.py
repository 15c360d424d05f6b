"""The prepared form of a data set of photos and shapes: a TFDS dataset of framed photos, and one of rendered shapes.

    <cache_dir>/<name>-<key>/retrieval_queries/<version>/   splits train, val, test
    <cache_dir>/<name>-<key>/retrieval_gallery/<version>/   split gallery
    <cache_dir>/<name>-<key>/prepared.json                  written last

The key hashes the layout's fingerprint (folder, files, splits), every option and the code that makes the pixels, as
TFDS itself knows a dataset by name and version only. A folder gets its name when it is complete; what a killed
preparation leaves behind has another name and is removed by the next one.
"""

import contextlib
import dataclasses
import errno
import fcntl
import functools
import hashlib
import io
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from data_pipelines import photos
from data_pipelines.file_checks import SERIAL_BELOW, source_hash
from data_pipelines.layout import PhotoEntry, Pix3DLayout
from data_pipelines.prepared import (
    GALLERY,
    QUERIES,
    SPLITS,
    VERSION,
    GalleryTable,
    Prepared,
    QueryTable,
    load_gallery,
    load_queries,
)
from data_pipelines.quiet import tfds
from jaxret.errors import DataError, JaxretError, Problem, StorageError
from jaxret.files import write_atomically
from jaxret.geometry import mesh, rays, render
from jaxret.geometry.render import ViewRing, render_many
from jaxret.workers import map_parallel

__all__ = [
    'GalleryTable',
    'Prepared',
    'QueryTable',
    'RetrievalGallery',
    'RetrievalQueries',
    'load_gallery',
    'load_queries',
    'prepare',
]


def prepare(
    layout: Pix3DLayout,
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
    key = _key(layout, framing | {'ring': dataclasses.asdict(ring), 'on_bad_file': on_bad_file})
    parent = Path(cache_dir)
    folder = parent / f'{name}-{key}'
    complete = folder / 'prepared.json'
    try:
        if not complete.is_file():
            parent.mkdir(parents=True, exist_ok=True)
            with _locked(parent / f'.{folder.name}.lock'):
                if not complete.is_file():  # nobody else did it meanwhile
                    options = {'on_bad_file': on_bad_file, 'processes': processes, 'progress': progress}
                    _write_folder(layout, ring, framing, folder, **options)
        done = json.loads(complete.read_text(encoding='utf-8'))
    except JaxretError:
        raise
    except Exception as error:
        raise _storage_error(parent, error) from error
    dropped = set(done['dropped'])
    if dropped:
        layout = layout.without(dropped, [Problem(*problem) for problem in done['problems']])
    return Prepared(folder, layout, size, ring)


class _Info(tfds.core.DatasetInfo):
    def initialize_from_bucket(self) -> None:
        """There is no published dataset of this name to ask a server for."""


class _Builder(tfds.core.GeneratorBasedBuilder, skip_registration=True):
    """Writes records from generators, in their order, and says nothing while doing so."""

    VERSION = tfds.core.Version(VERSION)
    DESCRIPTION = ''
    # Nothing is downloaded, so there are no checksums beside the code; looking for them needs a package
    # (importlib_resources) that TFDS 4.9.10 does not declare.
    code_path = None

    def __init__(self, *, generators: dict[str, Any], features: dict[str, Any], **kwargs):
        self._generators, self._features = generators, features
        super().__init__(file_format='array_record', **kwargs)

    def _info(self) -> tfds.core.DatasetInfo:
        features = tfds.features.FeaturesDict(self._features)
        return _Info(builder=self, description=self.DESCRIPTION, features=features, disable_shuffling=True)

    def _split_generators(self, dl_manager) -> dict[str, Any]:
        return self._generators

    def _generate_examples(self):
        raise NotImplementedError  # each split has its generator

    def _log_download_bytes(self) -> None:
        pass

    def _log_download_done(self) -> None:
        pass


class RetrievalQueries(_Builder, skip_registration=True):
    """Splits train, val, test: image [S, S, 3], mask [S, S, 1], category, shape (gallery index), name."""

    name = QUERIES
    DESCRIPTION = 'Photos and object masks, framed to a square, each with the gallery index of its CAD model.'


class RetrievalGallery(_Builder, skip_registration=True):
    """Split gallery: views [V, S, S, 1], category, name."""

    name = GALLERY
    DESCRIPTION = 'CAD models as grey views from a ring of cameras.'


def _write_folder(layout: Pix3DLayout, ring: ViewRing, framing: dict[str, Any], folder: Path, **options: Any) -> None:
    """Write below a draft folder that gets its name at the end."""
    _remove_leftovers(folder)
    draft = Path(tempfile.mkdtemp(prefix=f'.{folder.name}.', dir=folder.parent))
    try:
        draft.chmod(0o755)
        done = _write(layout, ring, framing, draft, **options)
        write_atomically(draft / 'prepared.json', json.dumps(done, indent=1))
        os.replace(draft, folder)
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def _write(
    layout: Pix3DLayout,
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
                row = {'views': result[..., None], 'category': category[shape.category], 'name': shape.model}
                yield index, row

    views = tfds.features.Tensor(shape=(ring.views, ring.size, ring.size, 1), dtype=np.uint8, encoding='zlib')
    features = {'views': views, 'category': np.int64, 'name': tfds.features.Text()}
    _build(RetrievalGallery, folder, {'gallery': gallery()}, features, failed)
    index_of: dict[str, int] = {}
    for shape in layout.shapes:
        if shape.model not in failed:
            index_of[shape.model] = len(index_of)

    def queries(chosen: list[PhotoEntry], split: str) -> Iterator[tuple[int, dict[str, Any]]]:
        function = functools.partial(photos.frame_files, **framing)
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
        _build(RetrievalQueries, folder, generators, features, failed)
    problems = [problem for wrong in failed.values() for problem in wrong]
    if failed and on_bad_file == 'error':
        raise DataError(problems)
    if failed:
        layout.without(set(failed), problems)  # raises where too little is left
    return {'dropped': list(failed), 'problems': [dataclasses.astuple(problem) for problem in problems]}


def _build(
    builder_class: type[_Builder],
    folder: Path,
    generators: dict[str, Any],
    features: dict[str, Any],
    failed: dict[str, tuple[Problem, ...]],
) -> None:
    builder = builder_class(data_dir=folder, generators=generators, features=features)
    try:
        builder.download_and_prepare(download_dir=folder / 'downloads')
    except Exception:
        if failed:  # TFDS gives up where every example of a split failed
            raise DataError([problem for wrong in failed.values() for problem in wrong]) from None
        raise
    finally:
        shutil.rmtree(folder / 'downloads', ignore_errors=True)


def _key(layout: Pix3DLayout, options: dict[str, Any]) -> str:
    code = source_hash(photos, mesh, rays, render)
    content = json.dumps([layout.fingerprint, layout.categories, options, code, VERSION], sort_keys=True)
    return hashlib.sha256(content.encode()).hexdigest()[:16]


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Only one process prepares a folder; another waits and finds it done. The lock ends with its process."""
    with path.open('w') as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _remove_leftovers(folder: Path) -> None:
    """Drafts of preparations that were killed: none is at work while the caller holds the lock."""
    for draft in folder.parent.glob(f'.{folder.name}.*'):
        if draft.is_dir():
            shutil.rmtree(draft, ignore_errors=True)
    shutil.rmtree(folder, ignore_errors=True)


def _storage_error(folder: Path, error: Exception) -> Exception:
    """A StorageError if the disk is behind an error, else the error itself.

    TFDS wraps what it meets, and the record writer raises RuntimeError with the system's words in its message.
    """
    codes = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EIO)
    spoken = [os.strerror(code) for code in codes]
    cause: BaseException | None = error
    while cause is not None:
        reason = next((words for words in spoken if words in str(cause)), None)
        if reason is None and isinstance(cause, OSError):
            reason = cause.strerror or str(cause)
        if reason is not None:
            return StorageError(f'{folder}: cannot be written ({reason}); free space, or name another cache folder')
        cause = cause.__cause__ or cause.__context__
    return error
