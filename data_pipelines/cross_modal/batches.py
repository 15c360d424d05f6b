"""Batches of objects in three modalities as a pure function of (seed, step), read through tf.data.

Letters: n objects, B a batch, V views an object, K views a batch, S size in pixels, N points, M faces.
"""

from collections.abc import Callable, Iterator, Sequence

import tensorflow as tf

from data_pipelines.batching import WHOLE, Batch, Share, permutation, picture_reader, steps_per_epoch, stream_seed
from data_pipelines.cross_modal.prepare import ObjectTable
from data_pipelines.random_crops import Augmentation, augment_views, crop_and_resize
from jaxret.errors import ConfigError

ORDER, VIEWS, CROPS, POINTS = range(4)  # streams of randomness


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
      share: rows of the batch that this process reads.
      prefetch: batches made ahead.

    Returns:
      An iterator of numpy batches: image uint8 [B, K, S, S, 1], points float32 [B, N, 3], faces float32 [B, M, 15],
      neighbors int32 [B, M, 3], label int32 [B], index int32 [B] (row of the table), valid bool [B].

    Raises:
      ConfigError: more objects, views or points than there are, or a seed beyond 32 bits.
    """
    _check(table, batch_size=batch_size, points=points, size=size)
    if batch_size > len(table):
        raise ConfigError(
            f'config.batch_size: {batch_size}, but there are {len(table)} training objects; '
            f'set --config.batch_size to at most {len(table)}'
        )
    if not -(2**31) <= seed < 2**31:
        raise ConfigError(f'config.seed: {seed} is not within 32 bits (-2147483648 to 2147483647)')
    available, stored = table.views_encoded.shape[1], table.points.shape[1]
    if not 0 <= views_per_step <= available:
        raise ConfigError(f'config.data.views_per_step: {views_per_step}, but an object has {available} views (0: all)')
    still = Augmentation() if augmentation is None else augmentation
    an_epoch, arrays = steps_per_epoch(len(table), batch_size), _tensors(table)
    read = picture_reader(table.views_encoded, 1, table.size, share=share)

    @tf.autograph.experimental.do_not_convert  # nothing to convert, and a killed run would leave its files in /tmp
    def make(step: tf.Tensor) -> dict[str, tf.Tensor]:
        order = permutation(len(table), stream_seed(seed, ORDER, step // an_epoch))
        first = tf.cast(step % an_epoch, tf.int32) * batch_size
        rows = share.of(tf.ensure_shape(order[first : first + batch_size], [batch_size]))
        view_ids = share.of(
            _subsets(batch_size, available, views_per_step or available, stream_seed(seed, VIEWS, step))
        )
        chosen = share.of(_subsets(batch_size, stored, points, stream_seed(seed, POINTS, step)))
        views = _views(read, rows, view_ids, table)
        batch = _rows(arrays, rows)
        batch['points'] = tf.gather(batch['points'], chosen, batch_dims=1)
        crops = stream_seed(seed, CROPS, step)
        batch['image'] = augment_views(views, still, crops, size=size or table.size, share=share)
        return batch | {'valid': tf.ones_like(rows, tf.bool)}

    dataset = tf.data.Dataset.range(start, stop).map(make, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
    return dataset.prefetch(prefetch).as_numpy_iterator()


def evaluation_batches(
    table: ObjectTable,
    *,
    batch_size: int,
    views: Sequence[int] = (),
    points: int = 1024,
    size: int = 0,
    prefetch: int = 2,
) -> Iterator[Batch]:
    """All objects in the table's order, unaugmented: fixed views, and the first points (they are in random order).

    Args:
      table: objects of a split.
      batch_size: B; the last batch repeats its last object, with `valid` false.
      views: ids of the views, the same for every object; empty for all.
      points: N, at most the table's.
      size: S of the batch; 0 is the table's.
      prefetch: batches made ahead.

    Returns:
      An iterator of numpy batches with the keys of `training_batches`.

    Raises:
      ConfigError: a view or more points than there are.
    """
    _check(table, batch_size=batch_size, points=points, size=size)
    available = table.views_encoded.shape[1]
    wrong = [view for view in views if not 0 <= view < available]
    if wrong:
        raise ConfigError(f'view {wrong[0]} does not exist: an object has views 0 .. {available - 1}')
    view_ids = tf.constant(list(views) or list(range(available)), tf.int32)
    arrays, side = _tensors(table), size or table.size
    read = picture_reader(table.views_encoded, 1, table.size, limit=0)  # each is read once

    @tf.autograph.experimental.do_not_convert
    def make(step: tf.Tensor) -> dict[str, tf.Tensor]:
        position = tf.cast(step, tf.int32) * batch_size + tf.range(batch_size)
        rows = tf.minimum(position, len(table) - 1)
        ids = tf.repeat(view_ids[None], batch_size, axis=0)
        pictures = _views(read, rows, ids, table)
        if side != table.size:
            flat = tf.reshape(pictures, [-1, table.size, table.size, 1])
            whole = tf.repeat(tf.constant([[0.0, 0.0, 1.0, 1.0]]), tf.shape(flat)[0], axis=0)
            resized = crop_and_resize(flat, whole, size=side, fill=0)
            pictures = tf.reshape(resized, [batch_size, -1, side, side, 1])
        batch = _rows(arrays, rows)
        return batch | {'image': pictures, 'points': batch['points'][:, :points], 'valid': position < len(table)}

    steps = -(-len(table) // batch_size)
    dataset = tf.data.Dataset.range(steps).map(make, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
    return dataset.prefetch(prefetch).as_numpy_iterator()


def _check(table: ObjectTable, *, batch_size: int, points: int, size: int) -> None:
    stored = table.points.shape[1]
    if batch_size < 1:
        raise ConfigError(f'config.batch_size: {batch_size}, but must be at least 1')
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


def _views(
    read: Callable[[tf.Tensor], tf.Tensor], rows: tf.Tensor, view_ids: tf.Tensor, table: ObjectTable
) -> tf.Tensor:
    """Views [B, K] (ids) of some rows: uint8 [B, K, S, S, 1]."""
    numbers = rows[:, None] * table.views_encoded.shape[1] + view_ids
    return tf.reshape(read(tf.reshape(numbers, [-1])), [*view_ids.shape, table.size, table.size, 1])


def _subsets(count: int, available: int, wanted: int, seed: tf.Tensor) -> tf.Tensor:
    """`count` random subsets of 0 .. available - 1 in random order: int32 [count, wanted]."""
    return tf.argsort(tf.random.stateless_uniform([count, available], seed), axis=1)[:, :wanted]
