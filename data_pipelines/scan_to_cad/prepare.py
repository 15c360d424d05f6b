"""The prepared form of scans and CAD models: TFDS datasets of surfaces, one bit a voxel.

    <cache_dir>/<name>-<key>/scan_cad_scans/<version>/    splits train, val, test
    <cache_dir>/<name>-<key>/scan_cad_models/<version>/   split gallery
    <cache_dir>/<name>-<key>/prepared.json                written last

The key hashes the layout's fingerprint (folder, files, splits), the options and the code that reads grids; see
`record_folder`.
"""

import contextlib
import dataclasses
import functools
import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from data_pipelines.atomic_folder import complete_folder
from data_pipelines.file_checks import SERIAL_BELOW, source_hash
from data_pipelines.records import VERSION, RecordBuilder, as_text, build_records, read_records, tfds
from data_pipelines.scan_to_cad import grids as scan_cad_table
from data_pipelines.scan_to_cad.dataset import CadEntry, ScanCadDataset, ScanEntry
from data_pipelines.scan_to_cad.grids import CadTable, PoolTable, ScanTable, pack
from data_pipelines.scan_to_cad.scan_cad_annotations import POOL
from jaxret.errors import DataError, Problem, StorageError
from jaxret.geometry import distance_grids
from jaxret.geometry.distance_grids import read_distances, read_mask
from jaxret.workers import map_parallel

SCANS, MODELS, GALLERY = 'scan_cad_scans', 'scan_cad_models', 'gallery'
SPLITS = ('train', 'val', 'test')


@dataclass(frozen=True)
class PreparedScanCad:
    """A prepared data set: its folder, and the layout less what could not be prepared (on_bad_file='skip')."""

    folder: Path
    dataset: ScanCadDataset


class ScanCadScans(RecordBuilder, skip_registration=True):
    """Splits train, val, test: scan, mask, cad, each uint8 [R^3 / 8], and name."""

    name = SCANS
    DESCRIPTION = 'Partial scans with the mask of the object and its CAD model, one bit a voxel.'


class ScanCadModels(RecordBuilder, skip_registration=True):
    """Split gallery: cad, uint8 [R^3 / 8], and name."""

    name = MODELS
    DESCRIPTION = 'CAD models, one bit a voxel.'


def prepare_scan_cad(
    layout: ScanCadDataset,
    *,
    cache_dir: Path | str,
    on_bad_file: str = 'error',
    processes: int = 2,
    progress: bool = True,
    name: str = 'scan-cad',
) -> PreparedScanCad:
    """Makes occupancies (|distance| <= 1 voxel) of all grids once, or finds that this was done before.

    Args:
      layout: what to prepare, from `read_scan_cad`.
      cache_dir: where prepared data sets are kept.
      on_bad_file: 'skip' leaves out scans that became unreadable since they were checked, and lists them in the
        result's `layout.skipped`; a model of the gallery that did is an error.
      processes: worker processes.
      progress: show a progress bar.
      name: first part of the folder's name.

    Returns:
      the prepared data set.

    Raises:
      DataError: files that cannot be prepared.
      StorageError: cache_dir cannot be written, or the disk is full.
    """
    code = source_hash(distance_grids, scan_cad_table)
    content = json.dumps([layout.fingerprint, on_bad_file, code, VERSION])
    folder = Path(cache_dir) / f'{name}-{hashlib.sha256(content.encode()).hexdigest()[:16]}'
    options = {'on_bad_file': on_bad_file, 'processes': processes, 'progress': progress}
    done = complete_folder(folder, lambda draft: _write(layout, draft, **options))
    if done['dropped']:
        layout = layout.without(set(done['dropped']), [Problem(*problem) for problem in done['problems']])
    return PreparedScanCad(folder, layout)


def load_scans(prepared: PreparedScanCad, split: str) -> ScanTable:
    """Scans of a split; an empty table for a split without scans.

    Args:
      prepared: from `prepare_scan_cad`.
      split: 'train', 'val' or 'test'.

    Raises:
      StorageError: the records are damaged.
    """
    if split not in SPLITS:
        raise ValueError(f'split={split!r}: use one of {", ".join(SPLITS)}')
    layout = prepared.dataset
    entries = layout.split_scans(split)
    label = {synset: index for index, synset in enumerate(layout.categories)}
    row = {entry.model: index for index, entry in enumerate(layout.cads)}
    rows = list(read_records(prepared.folder, SCANS, split, None)) if entries else []
    _check_names(rows, [entry.name for entry in entries], prepared.folder)
    return ScanTable(
        scan_bits=_stack(rows, 'scan', layout.resolution),
        mask_bits=_stack(rows, 'mask', layout.resolution),
        cad_bits=_stack(rows, 'cad', layout.resolution),
        category=np.array([label[entry.synset] for entry in entries], np.int32),
        instance=np.array([row[entry.model] for entry in entries], np.int32),
        names=[entry.name for entry in entries],
        categories=layout.categories,
        resolution=layout.resolution,
    )


def load_cads(prepared: PreparedScanCad) -> CadTable:
    """The whole gallery.

    Raises:
      StorageError: the records are damaged.
    """
    layout = prepared.dataset
    label = {synset: index for index, synset in enumerate(layout.categories)}
    rows = list(read_records(prepared.folder, MODELS, GALLERY, None))
    _check_names(rows, [entry.model for entry in layout.cads], prepared.folder)
    return CadTable(
        cad_bits=_stack(rows, 'cad', layout.resolution),
        category=np.array([label[entry.synset] for entry in layout.cads], np.int32),
        instance=np.arange(len(layout.cads), dtype=np.int32),
        names=[entry.model for entry in layout.cads],
        categories=layout.categories,
        resolution=layout.resolution,
    )


def load_pools(prepared: PreparedScanCad, split: str) -> PoolTable:
    """Annotations of the scans of a split, in the file's order.

    Args:
      prepared: from `prepare_scan_cad`.
      split: 'train', 'val' or 'test'.
    """
    if split not in SPLITS:
        raise ValueError(f'split={split!r}: use one of {", ".join(SPLITS)}')
    layout = prepared.dataset
    entries = {entry.name: (index, entry.synset) for index, entry in enumerate(layout.split_scans(split))}
    chosen = [annotation for annotation in layout.annotations if annotation.scan in entries]
    row = {entry.model: index for index, entry in enumerate(layout.cads)}
    pool = np.zeros((len(chosen), POOL), np.int32)
    valid, rank = np.zeros(pool.shape, bool), np.zeros(pool.shape, np.int32)
    for a, annotation in enumerate(chosen):
        for p, model in enumerate(annotation.pool):
            if model is not None:
                pool[a, p], valid[a, p] = row[model], True
                rank[a, p] = annotation.ranked.index(model) + 1 if model in annotation.ranked else 0
    return PoolTable(
        scan=np.array([entries[annotation.scan][0] for annotation in chosen], np.int32),
        pool=pool,
        pool_valid=valid,
        rank=rank,
        category=np.array([layout.categories.index(entries[entry.scan][1]) for entry in chosen], np.int32),
    )


def _stack(rows: list[dict[str, Any]], key: str, resolution: int) -> np.ndarray:
    return np.array([row[key] for row in rows], np.uint8).reshape(len(rows), -(-(resolution**3) // 8))


def _check_names(rows: list[dict[str, Any]], names: list[str], folder: Path) -> None:
    if [as_text(row['name']) for row in rows] != names:
        raise StorageError(f'{folder}: holds other scans or models; delete the folder to prepare it again')


def _write(layout: ScanCadDataset, folder: Path, *, on_bad_file: str, processes: int, progress: bool) -> dict[str, Any]:
    """Write both datasets below `folder`; returns the content of prepared.json."""
    splits = {split: layout.split_scans(split) for split in SPLITS}
    ordered: list[ScanEntry | CadEntry] = [entry for entries in splits.values() for entry in entries]
    ordered += layout.cads
    function = functools.partial(_record, resolution=layout.resolution)
    options = {'processes': processes, 'serial_below': SERIAL_BELOW, 'ordered': True}
    # one run of the workers, and one bar, for all: TFDS asks for one split after the other
    results = map_parallel(function, ordered, progress='Making occupancies' if progress else None, **options)
    failed: dict[str, tuple[Problem, ...]] = {}

    def records(entries: tuple[ScanEntry | CadEntry, ...]) -> Iterator[tuple[int, dict[str, Any]]]:
        for entry in entries:
            index, result = next(results)
            if ordered[index] is not entry:
                raise RuntimeError('the splits were not asked for in their order')
            if isinstance(result, DataError):
                failed[entry.model if isinstance(entry, CadEntry) else entry.name] = result.problems
                continue
            yield index, result

    bits = tfds.features.Tensor(shape=(-(-(layout.resolution**3) // 8),), dtype=np.uint8, encoding='zlib')
    with contextlib.closing(results):
        generators = {split: records(entries) for split, entries in splits.items() if entries}  # TFDS: none empty
        features = {'scan': bits, 'mask': bits, 'cad': bits, 'name': tfds.features.Text()}
        build_records(ScanCadScans, folder, generators, features, failed)
        generators = {GALLERY: records(layout.cads)}
        build_records(ScanCadModels, folder, generators, {'cad': bits, 'name': tfds.features.Text()}, failed)
    problems = [problem for wrong in failed.values() for problem in wrong]
    if failed and (on_bad_file == 'error' or any(entry.model in failed for entry in layout.cads)):
        raise DataError(problems)
    if failed:
        layout.without(set(failed), problems)  # raises where too little is left
    return {'dropped': list(failed), 'problems': [dataclasses.astuple(problem) for problem in problems]}


def _record(entry: ScanEntry | CadEntry, *, resolution: int) -> dict[str, Any]:
    """What is stored of a scan, or of a CAD model."""
    if isinstance(entry, CadEntry):
        return {'cad': pack(_surface(entry.path, resolution)), 'name': entry.model}
    scan = read_distances(entry.scan)
    return {
        'scan': pack(_surface(entry.scan, resolution)),
        'mask': pack(read_mask(entry.mask, like=scan)),
        'cad': pack(_surface(entry.cad, resolution)),
        'name': entry.name,
    }


def _surface(path: Path, resolution: int) -> np.ndarray:
    grid = read_distances(path)
    if grid.values.shape != (resolution,) * 3:  # it was another one when it was checked
        raise DataError(Problem(str(path), 'changed while it was read', 'start again'))
    return grid.occupancy()
