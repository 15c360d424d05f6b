"""Batches as a pure function of (seed, step), read through tf.data.

The order of photos is a random permutation an epoch, drawn anew at each of its steps, so starting at step k costs what
starting at step 0 costs. A training batch has B photos and exactly B distinct shapes: the photos' own shapes,
de-duplicated, topped up with other gallery shapes (CMIC, public code: the batch sampler of its training loop).
"""

from collections.abc import Callable, Iterator, Mapping

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
from data_pipelines.photo_to_shape.prepare import GalleryTable, QueryTable
from data_pipelines.random_crops import Augmentation, augment_photos, augment_views
from jaxret.errors import ConfigError

ORDER, TOP_UP, PHOTO, VIEW, SUBSET, PHOTO_COPY, VIEW_COPY = range(7)  # streams of randomness
Part = Callable[[tf.Tensor, tf.Tensor], dict[str, tf.Tensor]]


def check_batch_size(batch_size: int, queries: int, shapes: int) -> None:
    """Raises ConfigError where a batch of B distinct photos and B distinct shapes does not exist."""
    if batch_size < 1 or batch_size > min(queries, shapes):
        raise ConfigError(
            f'config.batch_size: {batch_size}, but a batch needs as many distinct training photos (there are {queries})'
            f' and distinct gallery shapes (there are {shapes}); set --config.batch_size to at most '
            f'{min(queries, shapes)}'
        )


def batch_indices(
    step: tf.Tensor, *, shape_of_query: tf.Tensor, shapes: int, batch_size: int, seed: int
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
    queries = epoch_rows(shape_of_query.shape[0], batch_size, seed, ORDER, step)
    own = tf.gather(shape_of_query, queries)
    # However many photos share a shape, their own and B distinct others are together at least B.
    extra = batching.permutation(shapes, stream_seed(seed, TOP_UP, step))[:batch_size]
    distinct, column = tf.unique(tf.concat([own, extra], axis=0))
    return queries, tf.ensure_shape(distinct[:batch_size], [batch_size]), column[:batch_size]


def inclusion_probability(shape_of_query: np.ndarray, shapes: int, batch_size: int) -> np.ndarray:
    """Chance of every shape to be in a training batch, float32 [G].

    Exact for the shapes that the photos bring (B photos without replacement); the top-up shares the expected number of
    free places evenly among the shapes that the photos do not bring.

    Args:
      shape_of_query: int [n], gallery index of every training photo.
      shapes: gallery size G.
      batch_size: B.
    """
    counts, photos = np.bincount(shape_of_query, minlength=shapes), len(shape_of_query)
    drawn = np.arange(batch_size)[None, :]
    others = np.clip((photos - counts[:, None] - drawn) / (photos - drawn), 0.0, 1.0)  # each draw misses the shape
    shown = 1.0 - np.prod(others, axis=1)
    free = (batch_size - shown.sum()) / max(shapes - shown.sum(), 1e-9)
    return np.asarray(shown + (1.0 - shown) * min(free, 1.0), np.float32)


def choose_views(views: tf.Tensor, count: int, seed: tf.Tensor, *, share: Share = WHOLE) -> tf.Tensor:
    """A random subset of `count` views for every shape of [G, V, S, S, C], in order; a pure function of the seed.

    With a `share` the shapes are its own only.
    """
    shapes, available = views.shape[0] * share.count, views.shape[1]
    chosen = share.of(random_subsets(shapes, available, count, seed))
    return tf.gather(views, tf.sort(chosen, axis=1), batch_dims=1)


def training_batches(
    queries: QueryTable,
    gallery: GalleryTable,
    *,
    size: int,
    batch_size: int,
    seed: int,
    start: int,
    stop: int,
    photo_augmentation: Augmentation,
    view_augmentation: Augmentation,
    views_per_step: int = 0,
    features: Mapping[str, np.ndarray] | None = None,
    share: Share = WHOLE,
    prefetch: int = 2,
) -> Iterator[Batch]:
    """The batches of steps start .. stop - 1.

    Args:
      queries: encoded training photos and masks, categories, gallery index of each one's shape.
      gallery: views uint8 [G, V, S, S, C], categories; C is 1, or 3 where they are textured.
      size: side S of photos and views.
      batch_size: B, photos and distinct shapes a batch.
      seed: with the step it decides the batch: same (seed, step), same bytes.
      start: first step.
      stop: step after the last.
      photo_augmentation: shared by photo and mask.
      view_augmentation: drawn for every view by itself.
      views_per_step: views of each shape in a batch, a random subset drawn anew for every shape and step; 0 is all.
      features: to take the place of pictures, by name in the batch: 'photo_features' [n, copies, ...] for image and
        mask, 'views_features' [G, copies, V, ...] for views; of each picture a random copy.
      share: rows of the batch that this process reads; `positive` counts the shapes of the whole batch.
      prefetch: batches made ahead.

    Returns:
      An iterator of numpy batches: image [B, S, S, 3], mask [B, S, S, 1], views [B, V, S, S, C] (uint8), positive,
      query_category, shape_category, query_index, shape_index [B] (int32), query_valid, shape_valid [B] (bool),
      shape_inclusion [B] (float32; `inclusion_probability` of each shape).

    Raises:
      ConfigError: more views a step than there are, fewer photos or shapes than the batch needs, or a seed beyond 32
        bits.
    """
    check_batch_size(batch_size, len(queries.names), len(gallery.names))
    batching.check_seed(seed)
    available = gallery.views.shape[1]
    batching.check_views(views_per_step, available, owner='a shape')
    inclusion = tf.constant(inclusion_probability(queries.shape, len(gallery.names), batch_size))
    features = features or {}
    photos, shapes = (
        _photo_part(queries, size, photo_augmentation, seed, share, features),
        _view_part(gallery, view_augmentation, seed, share, features, shown=views_per_step or available),
    )
    shape_of_query, query_category = tf.constant(queries.shape), tf.constant(queries.category)
    shape_category = tf.constant(gallery.category)

    def make(step: tf.Tensor) -> dict[str, tf.Tensor]:
        query, shape, column = (
            share.of(indices)
            for indices in batch_indices(
                step, shape_of_query=shape_of_query, shapes=len(gallery.names), batch_size=batch_size, seed=seed
            )
        )
        return {
            **photos(step, query),
            **shapes(step, shape),
            'positive': column,
            'query_category': tf.gather(query_category, query),
            'shape_category': tf.gather(shape_category, shape),
            'query_index': query,
            'shape_index': shape,
            'shape_inclusion': tf.gather(inclusion, shape),
            'query_valid': tf.ones_like(query, tf.bool),
            'shape_valid': tf.ones_like(shape, tf.bool),
        }

    return batching.step_batches(make, start, stop, prefetch=prefetch)


def _photo_part(
    queries: QueryTable, size: int, augmentation: Augmentation, seed: int, share: Share, features: Mapping
) -> Part:
    """What a batch holds of photos, as a function of step and rows."""
    if 'photo_features' in features:
        read = feature_reader(features['photo_features'])
        return lambda step, rows: {'photo_features': read(rows, stream_seed(seed, PHOTO, step), share)}
    images = batching.picture_reader(queries.images_encoded, 3, size, share=share)
    masks = batching.picture_reader(queries.masks_encoded, 1, size, share=share)

    def pictures(step: tf.Tensor, rows: tf.Tensor) -> dict[str, tf.Tensor]:
        changed = augment_photos(images(rows), masks(rows), augmentation, stream_seed(seed, PHOTO, step), share=share)
        return dict(zip(('image', 'mask'), changed, strict=True))

    return pictures


def _view_part(
    gallery: GalleryTable, augmentation: Augmentation, seed: int, share: Share, features: Mapping, *, shown: int
) -> Part:
    """What a batch holds of shapes' views, as a function of step and rows."""
    available = gallery.views.shape[1]
    if 'views_features' in features:
        # A view is a row of its own, so that each has a copy of its own.
        read = feature_reader(copies_by_view(features['views_features']))

        def stored(step: tf.Tensor, rows: tf.Tensor) -> dict[str, tf.Tensor]:
            views = tf.broadcast_to(tf.range(available)[None], [rows.shape[0], available])
            if shown < available:
                views = choose_views(views, shown, stream_seed(seed, SUBSET, step), share=share)
            return {'views_features': read(rows[:, None] * available + views, stream_seed(seed, VIEW, step), share)}

        return stored
    with tf.device('CPU'):
        table = tf.constant(gallery.views)

    def pictures(step: tf.Tensor, rows: tf.Tensor) -> dict[str, tf.Tensor]:
        views = tf.gather(table, rows)
        if shown < available:
            views = choose_views(views, shown, stream_seed(seed, SUBSET, step), share=share)
        return {'views': augment_views(views, augmentation, stream_seed(seed, VIEW, step), share=share)}

    return pictures


def query_batches(
    queries: QueryTable,
    *,
    size: int,
    batch_size: int,
    rows: np.ndarray | None = None,
    copy: int = 0,
    augmentation: Augmentation | None = None,
) -> Iterator[Batch]:
    """Photos in order, or some of them; see `batching.batches_in_order`.

    Args:
      queries: the photos.
      size: side S.
      batch_size: B.
      rows, copy: as there.
      augmentation: of a changed copy.

    Yields:
      image [B, S, S, 3], mask [B, S, S, 1] (uint8), valid [B] (bool).
    """
    images = batching.picture_reader(queries.images_encoded, 3, size, limit=0)
    masks = batching.picture_reader(queries.masks_encoded, 1, size, limit=0)

    def make(rows: tf.Tensor, *seed: tf.Tensor) -> dict[str, tf.Tensor]:
        pictures = images(rows), masks(rows)
        if seed:
            pictures = augment_photos(*pictures, augmentation, *seed)
        return dict(zip(('image', 'mask'), pictures, strict=True))

    count = len(queries.names)
    return batching.batches_in_order(make, count, batch_size, rows=rows, copy=copy, stream=PHOTO_COPY)


def gallery_batches(
    gallery: GalleryTable,
    *,
    batch_size: int,
    rows: np.ndarray | None = None,
    copy: int = 0,
    augmentation: Augmentation | None = None,
) -> Iterator[Batch]:
    """Shapes in order, or some of them: views [G, V, S, S, C] (uint8), valid [G]; as `query_batches`."""
    with tf.device('CPU'):
        views = tf.constant(gallery.views)

    def make(rows: tf.Tensor, *seed: tf.Tensor) -> dict[str, tf.Tensor]:
        chosen = tf.gather(views, rows)
        return {'views': augment_views(chosen, augmentation, *seed) if seed else chosen}

    count = len(gallery.names)
    return batching.batches_in_order(make, count, batch_size, rows=rows, copy=copy, stream=VIEW_COPY)
