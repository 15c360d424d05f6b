"""Batches as a pure function of (seed, step), read through tf.data.

The order of photos is a pseudorandom permutation an epoch (`index_shuffle` gives one position of it at a time, so
starting at step k costs what starting at step 0 costs). A training batch has B photos and exactly B distinct shapes:
the photos' own shapes, de-duplicated, topped up with other gallery shapes (CMIC, public code: the batch sampler of
its training loop).
"""

from collections.abc import Iterator

import numpy as np
import tensorflow as tf

from data_pipelines.augmentation import Augmentation, augment_photos, augment_views
from data_pipelines.retrieval_dataset import GalleryTable, QueryTable
from jaxret.errors import ConfigError

Batch = dict[str, np.ndarray]
ORDER, TOP_UP, PHOTO, VIEW = range(4)  # streams of randomness


def steps_per_epoch(queries: int, batch_size: int) -> int:
    """Full batches in one pass over the photos; the incomplete rest waits for another epoch's order."""
    return queries // batch_size


def check_batch_size(batch_size: int, queries: int, shapes: int) -> None:
    """Raises ConfigError where a batch of B distinct photos and B distinct shapes does not exist."""
    if batch_size < 1 or batch_size > min(queries, shapes):
        raise ConfigError(
            f'config.batch_size: {batch_size}, but a batch needs as many distinct training photos (there are {queries})'
            f' and distinct gallery shapes (there are {shapes}); set --config.batch_size to at most '
            f'{min(queries, shapes)}')


def batch_indices(step: tf.Tensor, *, shape_of_query: tf.Tensor, shapes: int, batch_size: int, seed: int
                  ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Which photos and shapes are in batch `step`.

    Args:
      step: int64 scalar, from 0.
      shape_of_query: int32 [n], gallery index of every training photo.
      shapes: gallery size.
      batch_size: B.
      seed: the run's seed.

    Returns:
      Photo indices [B], distinct shape indices [B], and the column [B] of each photo's shape among them.
    """
    count = shape_of_query.shape[0]
    an_epoch = steps_per_epoch(count, batch_size)
    epoch = step // an_epoch
    positions = tf.cast(step % an_epoch, tf.int32) * batch_size + tf.range(batch_size)
    queries = tf.random.experimental.index_shuffle(positions, stream_seed(seed, ORDER, epoch), count - 1)
    own = tf.gather(shape_of_query, queries)
    # 2B distinct shapes hold at least B that no photo of the batch shows.
    extra = tf.random.experimental.index_shuffle(
        tf.range(min(2 * batch_size, shapes)), stream_seed(seed, TOP_UP, step), shapes - 1)
    distinct, column = tf.unique(tf.concat([own, extra], axis=0))
    return queries, tf.ensure_shape(distinct[:batch_size], [batch_size]), column[:batch_size]


def decode_png(encoded: tf.Tensor, channels: int, size: int) -> tf.Tensor:
    """PNG strings [B] to uint8 [B, size, size, channels]."""
    images = tf.map_fn(lambda data: tf.io.decode_png(data, channels=channels), encoded, fn_output_signature=tf.uint8)
    return tf.ensure_shape(images, [None, size, size, channels])


def stream_seed(seed: int, stream: int, step: tf.Tensor) -> tf.Tensor:
    """Seed [2] of one stream of randomness at one step (or epoch)."""
    return tf.random.experimental.stateless_fold_in(
        tf.constant([seed, stream], tf.int32), tf.cast(step, tf.int32))


def training_batches(queries: QueryTable, gallery: GalleryTable, *, size: int, batch_size: int, seed: int, start: int,
                     stop: int, photo_augmentation: Augmentation, view_augmentation: Augmentation,
                     prefetch: int = 2) -> Iterator[Batch]:
    """The batches of steps start .. stop - 1.

    Args:
      queries: encoded training photos and masks, categories, gallery index of each one's shape.
      gallery: views uint8 [G, V, S, S, 1], categories.
      size: side S of photos and views.
      batch_size: B, photos and distinct shapes a batch.
      seed: with the step it decides the batch: same (seed, step), same bytes.
      start: first step.
      stop: step after the last.
      photo_augmentation: shared by photo and mask.
      view_augmentation: drawn for every view by itself.
      prefetch: batches made ahead.

    Returns:
      An iterator of numpy batches: image [B, S, S, 3], mask [B, S, S, 1], views [B, V, S, S, 1] (uint8), positive,
      query_category, shape_category, query_index, shape_index [B] (int32), query_valid, shape_valid [B] (bool).

    Raises:
      ConfigError: fewer photos or shapes than the batch needs.
    """
    check_batch_size(batch_size, len(queries.names), len(gallery.names))
    images, masks = tf.constant(queries.images_encoded), tf.constant(queries.masks_encoded)
    shape_of_query, query_category = tf.constant(queries.shape), tf.constant(queries.category)
    with tf.device('CPU'):
        views, shape_category = tf.constant(gallery.views), tf.constant(gallery.category)

    def make(step: tf.Tensor) -> dict[str, tf.Tensor]:
        query, shape, column = batch_indices(step, shape_of_query=shape_of_query, shapes=len(gallery.names),
                                             batch_size=batch_size, seed=seed)
        image, mask = augment_photos(
            decode_png(tf.gather(images, query), 3, size), decode_png(tf.gather(masks, query), 1, size),
            photo_augmentation, stream_seed(seed, PHOTO, step))
        return {
            'image': image, 'mask': mask,
            'views': augment_views(tf.gather(views, shape), view_augmentation, stream_seed(seed, VIEW, step)),
            'positive': column,
            'query_category': tf.gather(query_category, query), 'shape_category': tf.gather(shape_category, shape),
            'query_index': query, 'shape_index': shape,
            'query_valid': tf.ones([batch_size], tf.bool), 'shape_valid': tf.ones([batch_size], tf.bool),
        }

    dataset = tf.data.Dataset.range(start, stop).map(make, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
    return dataset.prefetch(prefetch).as_numpy_iterator()


def query_batches(queries: QueryTable, *, size: int, batch_size: int) -> Iterator[Batch]:
    """Photos in file order, unaugmented; the last batch is padded with zeros and `query_valid` tells which are real.

    Yields:
      image [B, S, S, 3], mask [B, S, S, 1] (uint8), query_valid [B] (bool).
    """
    dataset = tf.data.Dataset.from_tensor_slices((queries.images_encoded, queries.masks_encoded)).batch(batch_size)

    def make(image: tf.Tensor, mask: tf.Tensor) -> dict[str, tf.Tensor]:
        missing = batch_size - tf.shape(image)[0]
        padding = [[0, missing], [0, 0], [0, 0], [0, 0]]
        return {'image': tf.pad(decode_png(image, 3, size), padding),
                'mask': tf.pad(decode_png(mask, 1, size), padding),
                'query_valid': tf.range(batch_size) < batch_size - missing}

    return dataset.map(make, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True).prefetch(2).as_numpy_iterator()


def gallery_batches(gallery: GalleryTable, *, batch_size: int) -> Iterator[Batch]:
    """Gallery shapes in order: views [G, V, S, S, 1] (uint8), zero-padded last batch, shape_valid [G] (bool)."""
    for start in range(0, len(gallery.names), batch_size):
        views = gallery.views[start:start + batch_size]
        valid = np.arange(batch_size) < len(views)
        padding = [(0, batch_size - len(views))] + [(0, 0)] * 4
        yield {'views': np.pad(views, padding), 'shape_valid': valid}
