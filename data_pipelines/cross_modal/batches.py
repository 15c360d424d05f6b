"""Batches of objects in three modalities as a pure function of (seed, step), read through tf.data.

Letters: n objects, B a batch, V views an object, K views a batch, S size in pixels, N points, M faces.
"""

from collections.abc import Iterator, Sequence

import numpy as np
import tensorflow as tf

from data_pipelines import batching
from data_pipelines.batching import (
    WHOLE,
    Batch,
    Share,
    copies_by_view,
    epoch_rows,
    feature_reader,
    random_subsets,
    stream_seed,
)
from data_pipelines.cross_modal.prepare import ObjectTable
from data_pipelines.random_crops import Augmentation, augment_views, crop_and_resize
from jaxret.errors import ConfigError

ORDER, VIEWS, CROPS, POINTS, COPY = range(5)  # streams of randomness


def training_batches(
    table: ObjectTable,
    *,
    batch_size: int,
    seed: int,
    start: int,
    stop: int,
    views_per_step: int = 2,
    points: int = 1024,
    augmentation: Augmentation | None = None,
    size: int = 0,
    features: np.ndarray | None = None,
    share: Share = WHOLE,
    prefetch: int = 2,
) -> Iterator[Batch]:
    """The batches of steps start .. stop - 1.

    An epoch is a random order of the objects, cut into full batches. Of each object K views and N points are drawn
    anew at every step, without repetition. Points and faces are augmented in the compiled step
    (`jaxret.augmentation.points`).

    Args:
      table: training objects.
      batch_size: B.
      seed: with the step it decides the batch: same (seed, step), same bytes.
      start: first step.
      stop: step after the last.
      views_per_step: K; 0 is all views.
      points: N, at most the table's; the table's number gives another order only.
      augmentation: of the views, each by itself; None for none.
      size: S of the batch; 0 is the table's.
      features: [n, copies, V, ...] of the views, of each a random copy; then batches hold image_features, no image.
      share: rows of the batch that this process reads.
      prefetch: batches made ahead.

    Returns:
      An iterator of numpy batches: image uint8 [B, K, S, S, 1], points float32 [B, N, 3], faces float32 [B, M, 15],
      neighbors int32 [B, M, 3], label int32 [B], index int32 [B] (row of the table), valid bool [B].

    Raises:
      ConfigError: more objects, views or points than there are, or a seed beyond 32 bits.
    """
    batching.check_count('batch_size', batch_size, len(table), 'training objects')
    _check(table, points=points, size=size)
    batching.check_seed(seed)
    available, stored = table.views_encoded.shape[1], table.points.shape[1]
    batching.check_views(views_per_step, available, owner='an object')
    still, arrays = augmentation or Augmentation(), _tensors(table)
    if features is None:
        read = batching.picture_reader(table.views_encoded, 1, table.size, share=share)
    else:
        read_features = feature_reader(copies_by_view(features))

    def make(step: tf.Tensor) -> dict[str, tf.Tensor]:
        rows = share.of(epoch_rows(len(table), batch_size, seed, ORDER, step))
        wanted = views_per_step or available
        view_ids = share.of(random_subsets(batch_size, available, wanted, stream_seed(seed, VIEWS, step)))
        chosen = share.of(random_subsets(batch_size, stored, points, stream_seed(seed, POINTS, step)))
        batch, view_ids = _rows(arrays, rows), rows[:, None] * available + view_ids
        batch['points'] = tf.gather(batch['points'], chosen, batch_dims=1)
        crops = stream_seed(seed, CROPS, step)
        if features is None:
            batch['image'] = augment_views(read(view_ids), still, crops, size=size or table.size, share=share)
        else:
            batch['image_features'] = read_features(view_ids, crops, share)
        return batch | {'valid': tf.ones_like(rows, tf.bool)}

    return batching.step_batches(make, start, stop, prefetch=prefetch)


def evaluation_batches(
    table: ObjectTable,
    *,
    batch_size: int,
    views: Sequence[int] = (),
    points: int = 1024,
    size: int = 0,
    rows: np.ndarray | None = None,
    copy: int = 0,
    augmentation: Augmentation | None = None,
    prefetch: int = 2,
) -> Iterator[Batch]:
    """Objects in the table's order: fixed views, and the first points (they are in random order).

    Args:
      table: objects of a split.
      batch_size: B.
      views: ids of the views, the same for every object; empty for all.
      points: N, at most the table's.
      size: S of the batch; 0 is the table's.
      rows, copy: as for `batching.batches_in_order`.
      augmentation: of a changed copy, of the views.
      prefetch: batches made ahead.

    Returns:
      An iterator of numpy batches with the keys of `training_batches`.

    Raises:
      ConfigError: a view or more points than there are.
    """
    _check(table, points=points, size=size)
    available = table.views_encoded.shape[1]
    view_ids = batching.chosen_views(views, available, owner='an object')
    arrays, side = _tensors(table), size or table.size
    read = batching.picture_reader(table.views_encoded, 1, table.size, limit=0)

    def make(rows: tf.Tensor, *seed: tf.Tensor) -> dict[str, tf.Tensor]:
        pictures = read(rows[:, None] * available + view_ids)
        if seed:
            pictures = augment_views(pictures, augmentation, *seed, size=side)
        elif side != table.size:
            flat = tf.reshape(pictures, [-1, table.size, table.size, 1])
            whole = tf.repeat(tf.constant([[0.0, 0.0, 1.0, 1.0]]), tf.shape(flat)[0], axis=0)
            resized = crop_and_resize(flat, whole, size=side, fill=0)
            pictures = tf.reshape(resized, [batch_size, -1, side, side, 1])
        batch = _rows(arrays, rows)
        return batch | {'image': pictures, 'points': batch['points'][:, :points]}

    return batching.batches_in_order(make, len(table), batch_size, rows=rows, copy=copy, stream=COPY, prefetch=prefetch)


def _check(table: ObjectTable, *, points: int, size: int) -> None:
    stored = table.points.shape[1]
    if not 1 <= points <= stored:
        raise ConfigError(f'config.data.points: {points}, but an object has {stored} points')
    if size < 0:
        raise ConfigError(f'config.data.image_size: {size}, but must be positive, or 0 for the stored size')


def _tensors(table: ObjectTable) -> dict[str, tf.Tensor]:
    with tf.device('CPU'):
        return {
            'points': tf.constant(table.points),
            'faces': tf.constant(table.faces),
            'neighbors': tf.constant(table.neighbors),
            'label': tf.constant(table.label),
        }


def _rows(arrays: dict[str, tf.Tensor], rows: tf.Tensor) -> dict[str, tf.Tensor]:
    return {name: tf.gather(array, rows) for name, array in arrays.items()} | {'index': rows}
