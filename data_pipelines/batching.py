"""Batches as pure functions of (seed, step): the parts that every task's batches share."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import tensorflow as tf

from jaxret.errors import ConfigError

Array = TypeVar('Array', np.ndarray, tf.Tensor)

Batch = dict[str, np.ndarray]
DECODED_LIMIT = 2**27  # bytes of one table's pictures that are decoded once and kept


@dataclass(frozen=True)
class Share:
    """The rows of process `index` of `count`: of B rows the index-th B / count.

    What is drawn at random is drawn for the whole batch and then cut, so that all processes together have the batch of
    one. Only what is cheap is drawn: files are read, decoded and augmented for a process's own rows.
    """

    index: int = 0
    count: int = 1

    def of(self, whole: Array) -> Array:
        """The own rows of an array [B, ...]; `count` divides B."""
        if self.count == 1:
            return whole
        rows = (tf.shape(whole)[0] if whole.shape[0] is None else whole.shape[0]) // self.count
        return whole[self.index * rows : (self.index + 1) * rows]


WHOLE = Share()


def check_seed(seed: int) -> None:
    """Raises ConfigError for a seed beyond 32 bits."""
    if not -(2**31) <= seed < 2**31:
        raise ConfigError(f'config.seed: {seed} is not within 32 bits (-2147483648 to 2147483647)')


def check_count(key: str, count: int, available: int, what: str) -> None:
    """Raises ConfigError for a batch of more than there are, or of none."""
    if not 1 <= count <= available:
        raise ConfigError(
            f'config.{key}: {count}, but there are {available} {what}; set --config.{key} to 1 .. {available}'
        )


def check_views(views_per_step: int, available: int, *, owner: str) -> None:
    """Raises ConfigError for more views a step than an `owner` ('a shape') has; 0 is all."""
    if not 0 <= views_per_step <= available:
        raise ConfigError(f'config.data.views_per_step: {views_per_step}, but {owner} has {available} views (0 is all)')


def chosen_views(views: Sequence[int], available: int, *, owner: str) -> tf.Tensor:
    """Ids of the views of an evaluation, int32 [K]; empty for all. Raises ConfigError for one that does not exist."""
    wrong = [view for view in views if not 0 <= view < available]
    if wrong:
        raise ConfigError(f'view {wrong[0]} does not exist: {owner} has views 0 .. {available - 1}')
    return tf.constant(list(views) or list(range(available)), tf.int32)


def steps_per_epoch(count: int, batch_size: int) -> int:
    """Full batches in one pass over the items; the incomplete rest waits for another epoch's order."""
    return count // batch_size


def permutation(count: int, seed: tf.Tensor) -> tf.Tensor:
    """Random order of 0 .. count - 1, int32; a pure function of the seed [2].

    Not `index_shuffle`, which needs no sort but knows only 256 orders a stream: it repeats itself every 256 steps.
    """
    return tf.argsort(tf.random.stateless_uniform([count], seed, None, None, tf.int32), stable=True)


def stream_seed(seed: int, stream: int, step: tf.Tensor) -> tf.Tensor:
    """Seed [2] of one stream of randomness at one step (or epoch)."""
    return tf.random.experimental.stateless_fold_in(tf.constant([seed, stream], tf.int32), tf.cast(step, tf.int32))


def epoch_rows(count: int, batch_size: int, seed: int, stream: int, step: tf.Tensor) -> tf.Tensor:
    """Rows [B] of the batch of a step: an epoch is a random order of all rows, cut into full batches."""
    an_epoch = steps_per_epoch(count, batch_size)
    order = permutation(count, stream_seed(seed, stream, step // an_epoch))
    first = tf.cast(step % an_epoch, tf.int32) * batch_size
    return tf.ensure_shape(order[first : first + batch_size], [batch_size])


def feature_reader(features: np.ndarray) -> Callable[[tf.Tensor, tf.Tensor, Share], tf.Tensor]:
    """Features [N, copies, ...] to a function that takes rows [B, ...] of a share, a seed and the share to features.

    Of each row one copy at random; drawn for the whole batch.
    """
    with tf.device('CPU'):
        table = tf.constant(features.reshape(-1, *features.shape[2:]))
    copies = features.shape[1]

    def read(rows: tf.Tensor, seed: tf.Tensor, share: Share) -> tf.Tensor:
        whole = tf.concat([[tf.shape(rows)[0] * share.count], tf.shape(rows)[1:]], 0)
        chosen = tf.random.stateless_uniform(whole, seed, 0, copies, tf.int32)
        return tf.gather(table, rows * copies + share.of(chosen))

    return read


def copies_by_view(features: np.ndarray) -> np.ndarray:
    """[N, copies, V, ...] -> [N V, copies, ...], for each view to have a copy of its own."""
    return np.swapaxes(features, 1, 2).reshape(-1, features.shape[1], *features.shape[3:])


def feature_batches(name: str, features: np.ndarray, batch_size: int) -> Iterator[Batch]:
    """Features [N, ...] in order, under a name, and `valid` bool [B]; the last batch is padded with zeros."""
    for rows, valid in rows_in_order(len(features), batch_size):
        yield {name: padded(features[rows], batch_size), 'valid': valid}


def random_subsets(count: int, available: int, wanted: int, seed: tf.Tensor) -> tf.Tensor:
    """`count` random subsets of 0 .. available - 1 in random order: int32 [count, wanted]."""
    return tf.argsort(tf.random.stateless_uniform([count, available], seed), axis=1)[:, :wanted]


def step_batches(
    make: Callable[[tf.Tensor], dict[str, tf.Tensor]], start: int, stop: int, *, prefetch: int = 2
) -> Iterator[Batch]:
    """make(step) of steps start .. stop - 1 as numpy batches, `prefetch` of them made ahead."""
    make = tf.autograph.experimental.do_not_convert(make)  # a killed run would leave files of the conversion in /tmp
    dataset = tf.data.Dataset.range(start, stop).map(make, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
    return dataset.prefetch(prefetch).as_numpy_iterator()


def batches_in_order(
    make: Callable[..., dict[str, tf.Tensor]],
    count: int,
    batch_size: int,
    *,
    rows: np.ndarray | None = None,
    copy: int = 0,
    stream: int = 0,
    prefetch: int = 2,
) -> Iterator[Batch]:
    """Batches of all rows in order, for an evaluation, or of some rows.

    The last batch is filled, with `valid` false, with its last row; that of a changed copy with the first rows, as its
    pictures lend each other their colours.

    Args:
      make: (rows of a batch) -> the batch; of a changed copy (rows, seed) -> the batch, its pictures changed.
      count: number of all rows.
      batch_size: rows a batch.
      rows: those to take, in this order; None for all.
      copy: 0 for pictures as they are, else the number of a changed copy, which decides how they are changed.
      stream: of randomness, for the change.
      prefetch: batches made ahead.
    """
    check_evaluation_size(batch_size)
    rows = np.arange(count) if rows is None else np.asarray(rows)
    batches = -(-len(rows) // batch_size)
    places = np.arange(batches * batch_size)
    filled = rows[places % max(1, len(rows)) if copy else np.minimum(places, len(rows) - 1)]
    filled = tf.constant(filled.astype(np.int32))

    def batch(step: tf.Tensor) -> dict[str, tf.Tensor]:
        position = tf.cast(step, tf.int32) * batch_size + tf.range(batch_size)
        own = tf.ensure_shape(tf.gather(filled, position), [batch_size])
        made = make(own, stream_seed(copy, stream, step)) if copy else make(own)
        return made | {'valid': position < len(rows)}

    return step_batches(batch, 0, batches, prefetch=prefetch)


def rows_in_order(count: int, batch_size: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Rows of each batch of an evaluation, and `valid` bool [batch_size]; the last batch may have fewer rows."""
    check_evaluation_size(batch_size)
    for start in range(0, count, batch_size):
        rows = np.arange(start, min(start + batch_size, count))
        yield rows, np.arange(batch_size) < len(rows)


def padded(rows: np.ndarray, count: int) -> np.ndarray:
    """An array with zeros behind its rows, `count` rows in all."""
    return np.pad(rows, [(0, count - len(rows))] + [(0, 0)] * (rows.ndim - 1))


def check_evaluation_size(batch_size: int) -> None:
    """Raises ConfigError for a batch of nothing."""
    if batch_size < 1:
        raise ConfigError(f'config.evaluation.batch_size: {batch_size}, but must be at least 1')


def encoded_strings(encoded: np.ndarray | Sequence[bytes]) -> tf.Tensor:
    """PNG strings of any shape, in the memory of the CPU."""
    table = np.asarray(encoded, object)  # zeros at an end of a string are kept
    with tf.device('CPU'):
        return tf.constant(table, tf.string, shape=table.shape)


def decode_png(encoded: tf.Tensor, channels: int, size: int) -> tf.Tensor:
    """PNG strings [B] to uint8 [B, size, size, channels]."""
    images = tf.map_fn(lambda data: tf.io.decode_png(data, channels=channels), encoded, fn_output_signature=tf.uint8)
    return tf.ensure_shape(images, [None, size, size, channels])


def picture_reader(
    encoded: np.ndarray | Sequence[bytes], channels: int, size: int, *, share: Share = WHOLE, limit: int = DECODED_LIMIT
) -> Callable[[tf.Tensor], tf.Tensor]:
    """Pictures of a table by number, for training, which reads each many times.

    Args:
      encoded: PNG strings of any shape; numbers count its entries in C order.
      channels: C.
      size: side S of every picture.
      share: of a process; one of several decodes its own rows only, batch by batch.
      limit: bytes that all pictures may take to be decoded once, here; else
        those of every batch are; 0 for what reads each picture once.

    Returns:
      A function from int [...] to uint8 [..., S, S, C].
    """
    stored = encoded_strings(np.asarray(encoded, object).reshape(-1))
    count = stored.shape[0]
    if share.count > 1 or not 0 < math.prod((count, size, size, channels)) <= limit:

        def read(numbers: tf.Tensor) -> tf.Tensor:
            return decode_png(tf.gather(stored, numbers), channels, size)
    else:

        @tf.autograph.experimental.do_not_convert  # see `step_batches`
        def decode(data: tf.Tensor) -> tf.Tensor:
            return tf.io.decode_png(data, channels=channels)

        one = tf.data.Dataset.from_tensor_slices(stored).map(decode, num_parallel_calls=tf.data.AUTOTUNE)
        with tf.device('CPU'):
            pictures = tf.ensure_shape(one.batch(count).get_single_element(), [None, size, size, channels])

        def read(numbers: tf.Tensor) -> tf.Tensor:
            return tf.gather(pictures, numbers)

    def shaped(numbers: tf.Tensor) -> tf.Tensor:
        found = read(tf.reshape(numbers, [-1]))
        return tf.reshape(found, tf.concat([tf.shape(numbers), tf.shape(found)[1:]], 0))

    return lambda numbers: read(numbers) if numbers.shape.rank == 1 else shaped(numbers)
