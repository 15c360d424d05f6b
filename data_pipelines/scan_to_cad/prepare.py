"""The prepared form of scans and CAD models: TFDS datasets of surfaces, one bit a voxel.

<cache_dir>/<name>-<key>/scan_cad_scans/<version>/    splits train, val, test
<cache_dir>/<name>-<key>/scan_cad_models/<version>/   split gallery
<cache_dir>/<name>-<key>/prepared.json                written last
"""

import functools
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from data_pipelines import records
from data_pipelines.dataset import SPLITS, all_problems
from data_pipelines.scan_to_cad import grids
from data_pipelines.scan_to_cad.dataset import ScanCadDataset
from data_pipelines.scan_to_cad.grids import CadTable, PoolTable, ScanTable, cad_bits, packed_size, scan_bits
from data_pipelines.scan_to_cad.scan_cad_annotations import POOL
from jaxret.errors import DataError

SCANS, MODELS, GALLERY = 'scan_cad_scans', 'scan_cad_models', 'gallery'


@dataclass(frozen=True)
class PreparedScanCad:
    """A prepared data set: its folder, and the data set less what could not be prepared (on_bad_file='skip')."""

    folder: Path
    dataset: ScanCadDataset


def prepare_scan_cad(
    dataset: ScanCadDataset,
    *,
    cache_dir: Path | str,
    on_bad_file: str = 'error',
    processes: int = 2,
    progress: bool = True,
    name: str = 'scan-cad',
) -> PreparedScanCad:
    """Makes occupancies (|distance| <= 1 voxel) of all grids once, or finds that this was done before.

    Args:
      dataset: what to prepare, from `read_scan_cad`.
      cache_dir: as `prepare_records`, like the rest.
      on_bad_file: 'error' or 'skip'; a model of the gallery that became unreadable is an error in either case.
      processes: worker processes.
      progress: show a progress bar.
      name: first part of the folder's name.

    Returns:
      the prepared data set.

    Raises:
      DataError: files that cannot be prepared.
      StorageError: cache_dir cannot be written, or the disk is full.
    """
    folder, dataset = records.prepare_records(
        dataset,
        functools.partial(_write, dataset),
        name=name,
        options={},
        code=(__file__, grids.__file__),
        cache_dir=cache_dir,
        on_bad_file=on_bad_file,
        processes=processes,
        progress=progress,
    )
    return PreparedScanCad(folder, dataset)


def load_scans(prepared: PreparedScanCad, split: str) -> ScanTable:
    """Scans of a split; an empty table for a split without scans.

    Args:
      prepared: from `prepare_scan_cad`.
      split: 'train', 'val' or 'test'.

    Raises:
      StorageError: the records are damaged.
    """
    records.check_split(split)
    dataset = prepared.dataset
    entries = dataset.split_scans(split)
    names, row_of = [entry.name for entry in entries], {entry.model: row for row, entry in enumerate(dataset.cads)}
    bits = _read_bits(prepared, SCANS, split, names, ('scan', 'near', 'free', 'mask', 'cad'))
    return ScanTable(
        scan_bits=bits['scan'],
        near_bits=bits['near'],
        free_bits=bits['free'],
        mask_bits=bits['mask'],
        cad_bits=bits['cad'],
        category=dataset.labels(entries),
        instance=np.array([row_of[entry.model] for entry in entries], np.int32),
        names=names,
        categories=dataset.categories,
        resolution=dataset.resolution,
    )


def load_cads(prepared: PreparedScanCad) -> CadTable:
    """The whole gallery.

    Raises:
      StorageError: the records are damaged.
    """
    dataset = prepared.dataset
    names = [entry.model for entry in dataset.cads]
    return CadTable(
        cad_bits=_read_bits(prepared, MODELS, GALLERY, names, ('cad',))['cad'],
        category=dataset.labels(dataset.cads),
        instance=np.arange(len(names), dtype=np.int32),
        names=names,
        categories=dataset.categories,
        resolution=dataset.resolution,
    )


def load_pools(prepared: PreparedScanCad, split: str) -> PoolTable:
    """Annotations of the scans of a split, in the file's order.

    Args:
      prepared: from `prepare_scan_cad`.
      split: 'train', 'val' or 'test'.
    """
    records.check_split(split)
    dataset = prepared.dataset
    scans = dataset.split_scans(split)
    scan_row = {entry.name: row for row, entry in enumerate(scans)}
    chosen = [annotation for annotation in dataset.annotations if annotation.scan in scan_row]
    cad_row = {entry.model: row for row, entry in enumerate(dataset.cads)}
    pool = np.zeros((len(chosen), POOL), np.int32)
    valid, rank = np.zeros(pool.shape, bool), np.zeros(pool.shape, np.int32)
    for a, annotation in enumerate(chosen):
        for p, model in enumerate(annotation.pool):
            if model is not None:
                pool[a, p], valid[a, p] = cad_row[model], True
                rank[a, p] = annotation.ranked.index(model) + 1 if model in annotation.ranked else 0
    rows = np.array([scan_row[annotation.scan] for annotation in chosen], np.int32)
    return PoolTable(rows, pool, valid, rank, dataset.labels([scans[row] for row in rows]))


def _read_bits(
    prepared: PreparedScanCad, name: str, split: str, names: list[str], keys: tuple[str, ...]
) -> dict[str, np.ndarray]:
    bits = {key: np.empty((len(names), packed_size(prepared.dataset.resolution)), np.uint8) for key in keys}
    for row, record in records.read_records(prepared.folder, name, split, names):
        for key in keys:
            bits[key][row] = record[key]
    return bits


def _write(dataset: ScanCadDataset, writer: records.RecordWriter) -> None:
    """Writes both datasets."""
    bits = records.array_features(packed_size(dataset.resolution))
    writer.write(
        SCANS,
        'Partial scans with the mask of the object and its CAD model, one bit a voxel.',
        dict.fromkeys(('scan', 'near', 'free', 'mask', 'cad'), bits),
        {split: dataset.split_scans(split) for split in SPLITS},
        functools.partial(scan_bits, resolution=dataset.resolution),
        lambda scan, made: made,
        title='Making occupancies of scans',
    )
    writer.write(
        MODELS,
        'CAD models, one bit a voxel.',
        {'cad': bits},
        {GALLERY: dataset.cads},
        functools.partial(cad_bits, resolution=dataset.resolution),
        lambda cad, made: made,
        title='Making occupancies of CAD models',
        key='model',
    )
    if any(cad.model in writer.failed for cad in dataset.cads):
        raise DataError(all_problems(writer.failed))
