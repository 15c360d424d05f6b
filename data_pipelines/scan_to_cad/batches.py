"""Batches of scans with their CAD models as a pure function of (seed, step).

Letters: n scans, B a batch, P models of a pool, R voxels a side. Rotation, mirroring and shifts happen in the compiled
step (`jaxret.augmentation.grids`). No tf.data: what is left is to unpack bits.
"""

from collections.abc import Iterator

import numpy as np

from data_pipelines.batching import WHOLE, Batch, Share, check_count, check_seed, padded, rows_in_order, steps_per_epoch
from data_pipelines.scan_to_cad.grids import CadTable, PoolTable, ScanTable
from jaxret.errors import ConfigError

ORDER, CLASSES, POOLS = range(3)  # streams of randomness


def training_batches(
    scans: ScanTable,
    *,
    batch_size: int,
    classes_per_batch: int = 0,
    seed: int,
    start: int,
    stop: int,
    share: Share = WHOLE,
) -> Iterator[Batch]:
    """The batches of steps start .. stop - 1.

    Args:
      scans: training scans.
      batch_size: B.
      classes_per_batch: 0: an epoch is a random order of the scans, cut into full batches. k: every step draws k
        categories (all, if there are fewer) and shares the batch among them evenly, the first ones taking the rest; of
        a category come different CAD models, each with a random scan, and once all models are in, different scans of
        them. So mining finds other models of the same category.
      seed: with the step it decides the batch: same (seed, step), same bytes.
      start: first step.
      stop: step after the last.
      share: rows of the batch that this process reads.

    Returns:
      An iterator of numpy batches: scan (`ScanTable.seen`), mask, cad uint8 [B, R, R, R], category, instance (row of
      the gallery), index (row of the table) int32 [B], valid bool [B].

    Raises:
      ConfigError: more scans or categories a batch than there are, or a seed beyond 32 bits.
    """
    check_count('batch_size', batch_size, len(scans), 'training scans')
    if not 0 <= classes_per_batch <= batch_size:
        raise ConfigError(
            f'config.data.classes_per_batch: {classes_per_batch}, but must be 0, or at most the batch size {batch_size}'
        )
    check_seed(seed)

    def generate() -> Iterator[Batch]:
        for step in range(start, stop):
            if classes_per_batch:
                rows = _balanced(scans, batch_size, classes_per_batch, _generator(seed, CLASSES, step))
            else:
                rows = _epoch_rows(len(scans), batch_size, seed, ORDER, step)
            yield _batch(scans, share.of(rows))

    return generate()


def finetuning_batches(
    scans: ScanTable,
    cads: CadTable,
    pools: PoolTable,
    *,
    batch_size: int,
    seed: int,
    start: int,
    stop: int,
    share: Share = WHOLE,
) -> Iterator[Batch]:
    """The batches of steps start .. stop - 1 of annotated scans with their pools.

    An epoch is a random order of the annotations that rank at least one model, cut into full batches.

    Args:
      scans: training scans.
      cads: the gallery.
      pools: annotations of these scans.
      batch_size: B.
      seed: with the step it decides the batch.
      start: first step.
      stop: step after the last.
      share: rows of the batch that this process reads.

    Returns:
      As `training_batches`, and pool uint8 [B, P, R, R, R] (0 where a model is missing), pool_valid bool [B, P], rank
      int32 [B, P] (0 is not ranked, 1 the most similar).

    Raises:
      ConfigError: more annotations a batch than there are, or a seed beyond 32 bits.
    """
    usable = np.flatnonzero((pools.rank > 0).any(axis=1))
    check_count('batch_size', batch_size, len(usable), 'annotations of training scans that rank a model')
    check_seed(seed)

    def generate() -> Iterator[Batch]:
        for step in range(start, stop):
            rows = share.of(usable[_epoch_rows(len(usable), batch_size, seed, POOLS, step)])
            valid = pools.pool_valid[rows]
            grids = cads.cads(pools.pool[rows]) * valid[:, :, None, None, None]
            yield _batch(scans, pools.scan[rows]) | {'pool': grids, 'pool_valid': valid, 'rank': pools.rank[rows]}

    return generate()


def scan_batches(scans: ScanTable, *, batch_size: int, rows: np.ndarray | None = None) -> Iterator[Batch]:
    """Scans, all in the table's order or those of some rows: scan, mask, cad uint8 [B, R, R, R], valid [B]; the last
    batch is padded with zeros."""
    order = np.arange(len(scans)) if rows is None else rows
    for places, valid in rows_in_order(len(order), batch_size):
        rows = order[places]
        grids = {'scan': scans.seen(rows), 'mask': scans.masks(rows), 'cad': scans.cads(rows)}
        yield {name: padded(grid, batch_size) for name, grid in grids.items()} | {'valid': valid}


def cad_batches(cads: CadTable, *, batch_size: int) -> Iterator[Batch]:
    """The gallery in its order: cad uint8 [B, R, R, R], valid bool [B]; the last is padded with zeros."""
    for rows, valid in rows_in_order(len(cads), batch_size):
        yield {'cad': padded(cads.cads(rows), batch_size), 'valid': valid}


def _batch(scans: ScanTable, rows: np.ndarray) -> Batch:
    return {
        'scan': scans.seen(rows),
        'mask': scans.masks(rows),
        'cad': scans.cads(rows),
        'category': scans.category[rows],
        'instance': scans.instance[rows],
        'index': rows.astype(np.int32),
        'valid': np.ones(len(rows), bool),
    }


def _epoch_rows(count: int, batch_size: int, seed: int, stream: int, step: int) -> np.ndarray:
    epoch, place = divmod(step, steps_per_epoch(count, batch_size))
    order = _generator(seed, stream, epoch).permutation(count)
    return order[place * batch_size : (place + 1) * batch_size]


def _balanced(scans: ScanTable, batch_size: int, classes: int, rng: np.random.Generator) -> np.ndarray:
    """Rows of a batch: a few categories, of each different models, and different scans."""
    present = np.unique(scans.category)
    chosen = rng.permutation(present)[:classes]
    shares = np.full(len(chosen), batch_size // len(chosen))
    shares[: batch_size % len(chosen)] += 1
    rows = [_of_category(scans, category, share, rng) for category, share in zip(chosen, shares, strict=True)]
    return np.concatenate(rows)


def _of_category(scans: ScanTable, category: int, share: int, rng: np.random.Generator) -> np.ndarray:
    members = rng.permutation(np.flatnonzero(scans.category == category))
    _, model = np.unique(scans.instance[members], return_inverse=True)
    # the first scan of each model comes before the second of any
    turn = np.empty(len(members), np.int64)
    order = np.argsort(model, kind='stable')
    first = np.searchsorted(model[order], model[order])
    turn[order] = np.arange(len(members)) - first
    spread = members[np.argsort(turn, kind='stable')]
    return np.resize(spread, share)  # a category with fewer scans than its share gives some twice


def _generator(seed: int, stream: int, step: int) -> np.random.Generator:
    return np.random.default_rng([seed % 2**32, stream, step])
