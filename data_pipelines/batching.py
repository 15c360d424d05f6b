"""Batches as pure functions of (seed, step): the parts that every task's batches share."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import tensorflow as tf

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


def steps_per_epoch(queries: int, batch_size: int) -> int:
    """Full batches in one pass over the photos; the incomplete rest waits for another epoch's order."""
    return queries // batch_size


def permutation(count: int, seed: tf.Tensor) -> tf.Tensor:
    """Random order of 0 .. count - 1, int32; a pure function of the seed [2].

    Not `index_shuffle`, which needs no sort but knows only 256 orders a stream: it repeats itself every 256 steps.
    """
    return tf.argsort(tf.random.stateless_uniform([count], seed, None, None, tf.int32), stable=True)


def decode_png(encoded: tf.Tensor, channels: int, size: int) -> tf.Tensor:
    """PNG strings [B] to uint8 [B, size, size, channels]."""
    images = tf.map_fn(lambda data: tf.io.decode_png(data, channels=channels), encoded, fn_output_signature=tf.uint8)
    return tf.ensure_shape(images, [None, size, size, channels])


def picture_reader(
    encoded: np.ndarray | list[bytes], channels: int, size: int, *, share: Share = WHOLE, limit: int = DECODED_LIMIT
) -> Callable[[tf.Tensor], tf.Tensor]:
    """Pictures of a table by number, for training, which reads each many times.

    Args:
      encoded: PNG strings of any shape; numbers count its entries in C order.
      channels: C.
      size: side S of every picture.
      share: of a process; one of several decodes its own rows only, batch by batch.
      limit: bytes that all pictures may take to be decoded once, here; else those of every batch are. While they are
        decoded, and in TensorFlow's pools afterwards, they take about three times as much.

    Returns:
      A function from int [n] to uint8 [n, S, S, C].
    """
    flat = np.asarray(encoded, object).reshape(-1)  # zeros at an end of a string are kept
    with tf.device('CPU'):
        stored = tf.constant(flat, tf.string)
    if share.count > 1 or not 0 < math.prod((flat.size, size, size, channels)) <= limit:
        return lambda rows: decode_png(tf.gather(stored, rows), channels, size)

    @tf.autograph.experimental.do_not_convert  # see `training_batches`
    def decode(data: tf.Tensor) -> tf.Tensor:
        return tf.io.decode_png(data, channels=channels)

    one = tf.data.Dataset.from_tensor_slices(stored).map(decode, num_parallel_calls=tf.data.AUTOTUNE)
    with tf.device('CPU'):
        decoded = tf.ensure_shape(one.batch(flat.size).get_single_element(), [None, size, size, channels])
    return lambda rows: tf.gather(decoded, rows)


def stream_seed(seed: int, stream: int, step: tf.Tensor) -> tf.Tensor:
    """Seed [2] of one stream of randomness at one step (or epoch)."""
    return tf.random.experimental.stateless_fold_in(tf.constant([seed, stream], tf.int32), tf.cast(step, tf.int32))
