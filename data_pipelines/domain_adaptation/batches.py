"""Batches of labelled photos and unlabelled shapes as a pure function of (seed, step), read through tf.data.

Letters: n photos, B a batch; G shapes a batch; V views a shape, K of them a batch; S size in pixels; C classes.

The size of a batch's pictures is that of the network's input; the tables' pictures may be larger, to leave room for
crops. `Augmentation.area` is a share of the table's picture: crops of 224 pixels of 256 are area (0.765625, 0.765625).
"""

from collections.abc import Iterator, Mapping, Sequence

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
from data_pipelines.domain_adaptation.prepare import PhotoTable, ShapeTable
from data_pipelines.random_crops import Augmentation, augment_views, crop_and_resize, share_boxes
from jaxret.errors import ConfigError

PHOTOS, CLASSES, CROPS, SHAPES, VIEWS, VIEW_CROPS, PHOTO_COPY, VIEW_COPY = range(8)  # streams of randomness


def training_batches(
    photos: PhotoTable,
    shapes: ShapeTable,
    *,
    batch_size: int,
    shapes_per_step: int,
    seed: int,
    start: int,
    stop: int,
    size: int = 0,
    views_per_step: int = 0,
    sampling: str = 'balanced',
    photo_augmentation: Augmentation | None = None,
    view_augmentation: Augmentation | None = None,
    features: Mapping[str, np.ndarray] | None = None,
    share: Share = WHOLE,
    prefetch: int = 2,
) -> Iterator[Batch]:
    """The batches of steps start .. stop - 1.

    Photos, sampling='balanced': every class as often as B allows (numbers differ by at most one), its photos drawn anew
    at every step, each once as long as the class has others. The benchmark's code draws every photo by itself with
    probability 1 / (C n_c), which gives the same expected share to each class and photo. 'uniform': an epoch is a
    random order of the photos, cut into full batches.

    Shapes: an epoch is a random order of the shapes, cut into full batches; of each, K views are drawn anew. Labels of
    shapes are not known here.

    Args:
      photos: labelled training photos.
      shapes: training shapes.
      batch_size: B.
      shapes_per_step: G.
      seed: with the step it decides the batch: same (seed, step), same bytes.
      start: first step.
      stop: step after the last.
      size: S of the batch, at most the tables'; 0 is the tables'.
      views_per_step: K; 0 is all views.
      sampling: 'balanced' or 'uniform'.
      photo_augmentation: of every photo by itself; None takes the middle.
      view_augmentation: of every view by itself; None takes the middle.
      features: to take the place of pictures, by name in the batch: 'photo_features' [n, copies, ...], 'views_features'
        [shapes, copies, V, ...]; of each picture a random copy.
      share: rows of the batch that this process reads.
      prefetch: batches made ahead.

    Returns:
      An iterator of numpy batches: photo uint8 [B, S, S, 3], label int32 [B] (of the photos), valid bool [B],
      views uint8 [G, K, S, S, 1 or 3], shape_valid bool [G].

    Raises:
      ConfigError: more photos, shapes, views or pixels than there are, a class without photos, or a seed beyond 32
        bits.
    """
    side = _side(photos, size)
    _side(shapes, side)
    batching.check_count('batch_size', batch_size, len(photos), 'training photos')
    batching.check_count('shapes_per_step', shapes_per_step, len(shapes), 'training shapes')
    batching.check_seed(seed)
    available = shapes.views_encoded.shape[1]
    batching.check_views(views_per_step, available, owner='a shape')
    if sampling not in ('balanced', 'uniform'):
        raise ConfigError(f'config.data.sampling: {sampling!r}; use balanced or uniform')
    if features:
        images = feature_reader(features['photo_features'])
        views = feature_reader(copies_by_view(features['views_features']))
    else:
        images = batching.picture_reader(photos.images_encoded, 3, photos.size, share=share)
        views = batching.picture_reader(shapes.views_encoded, shapes.channels, shapes.size, share=share)
    label, shown = tf.constant(photos.label), views_per_step or available

    def make(step: tf.Tensor) -> dict[str, tf.Tensor]:
        crops, view_crops = stream_seed(seed, CROPS, step), stream_seed(seed, VIEW_CROPS, step)
        if sampling == 'balanced':
            photo = balanced_rows(photos.label, batch_size, seed, step)
        else:
            photo = epoch_rows(len(photos), batch_size, seed, PHOTOS, step)
        shape = epoch_rows(len(shapes), shapes_per_step, seed, SHAPES, step)
        chosen = random_subsets(shapes_per_step, available, shown, stream_seed(seed, VIEWS, step))
        photo, shape, chosen = share.of(photo), share.of(shape), share.of(chosen)
        chosen = shape[:, None] * available + chosen
        if features:
            pictures = {
                'photo_features': images(photo, crops, share),
                'views_features': views(chosen, view_crops, share),
            }
        else:
            pictures = {
                'photo': _augmented(images(photo), photo_augmentation, crops, side, share),
                'views': _augmented(views(chosen), view_augmentation, view_crops, side, share),
            }
        return pictures | {
            'label': tf.gather(label, photo),
            'valid': tf.ones_like(photo, tf.bool),
            'shape_valid': tf.ones_like(shape, tf.bool),
        }

    return batching.step_batches(make, start, stop, prefetch=prefetch)


def balanced_rows(label: np.ndarray, batch_size: int, seed: int, step: tf.Tensor) -> tf.Tensor:
    """Photos of a class-balanced batch; a pure function of (seed, step).

    The classes of the batch are random orders of all classes, one after the other; the k-th place of a class takes the
    k-th photo of a random order of its photos, from the beginning again after the last.

    Args:
      label: int [n]; classes without photos are not drawn.
      batch_size: B.
      seed: of the run.
      step: int scalar.

    Returns:
      int32 [B], rows.
    """
    present, compact, counts = np.unique(label, return_inverse=True, return_counts=True)
    classes, rounds = len(present), -(-batch_size // len(present))
    shuffled = batching.permutation(len(label), stream_seed(seed, PHOTOS, step))
    by_class = tf.gather(shuffled, tf.argsort(tf.gather(tf.constant(compact, tf.int32), shuffled), stable=True))
    orders = tf.argsort(tf.random.stateless_uniform([rounds, classes], stream_seed(seed, CLASSES, step)))
    drawn = tf.reshape(orders, [-1])[:batch_size]
    place = tf.range(batch_size) // classes
    first = tf.constant(np.cumsum(counts) - counts, tf.int32)
    return tf.gather(by_class, tf.gather(first, drawn) + place % tf.gather(tf.constant(counts, tf.int32), drawn))


def photo_batches(
    photos: PhotoTable,
    *,
    batch_size: int,
    size: int = 0,
    rows: np.ndarray | None = None,
    copy: int = 0,
    augmentation: Augmentation | None = None,
) -> Iterator[Batch]:
    """Photos in the table's order: {'photo': uint8 [B, S, S, 3], 'valid': bool [B]}; see `batching.batches_in_order`.

    Args:
      photos: of a split.
      batch_size: B.
      size: S, the middle of each; 0 is the table's.
      rows, copy: as there.
      augmentation: of a changed copy.

    Raises:
      ConfigError: `size` is more than the table's.
    """
    side = _side(photos, size)
    images = batching.picture_reader(photos.images_encoded, 3, photos.size, limit=0)

    def make(rows: tf.Tensor, *seed: tf.Tensor) -> dict[str, tf.Tensor]:
        return {'photo': _augmented(images(rows), augmentation if seed else None, *(seed or (None,)), side, WHOLE)}

    return batching.batches_in_order(make, len(photos), batch_size, rows=rows, copy=copy, stream=PHOTO_COPY)


def shape_batches(
    shapes: ShapeTable,
    *,
    batch_size: int,
    views: Sequence[int] = (),
    size: int = 0,
    rows: np.ndarray | None = None,
    copy: int = 0,
    augmentation: Augmentation | None = None,
) -> Iterator[Batch]:
    """Shapes in the table's order: {'views': uint8 [G, K, S, S, C], 'valid': bool [G]}.

    Args:
      shapes: of a part.
      batch_size: G.
      views: ids of the views, the same for every shape; empty for all.
      size, rows, copy, augmentation: as for `photo_batches`.

    Raises:
      ConfigError: a view that there is not, or `size` is more than the table's.
    """
    available = shapes.views_encoded.shape[1]
    ids, side = batching.chosen_views(views, available, owner='a shape'), _side(shapes, size)
    read = batching.picture_reader(shapes.views_encoded, shapes.channels, shapes.size, limit=0)

    def make(rows: tf.Tensor, *seed: tf.Tensor) -> dict[str, tf.Tensor]:
        pictures = read(rows[:, None] * available + ids)
        return {'views': _augmented(pictures, augmentation if seed else None, *(seed or (None,)), side, WHOLE)}

    return batching.batches_in_order(make, len(shapes), batch_size, rows=rows, copy=copy, stream=VIEW_COPY)


def _side(table: PhotoTable | ShapeTable, size: int) -> int:
    if not 0 <= size <= table.size:
        raise ConfigError(f'config.data.image_size: {size}, but the stored size is {table.size}; use 0 to that')
    return size or table.size


def _augmented(
    pictures: tf.Tensor, augmentation: Augmentation | None, seed: tf.Tensor | None, size: int, share: Share
) -> tf.Tensor:
    """Photos [B, S', S', 3] or views [G, K, S', S', C], each cropped by itself to S."""
    if augmentation is None:
        return _middle(pictures, size)
    if pictures.shape.rank == 5:
        return augment_views(pictures, augmentation, seed, size=size, share=share)
    boxes = share_boxes(pictures, augmentation, seed, share)
    return crop_and_resize(pictures, boxes, size=size, fill=augmentation.fill)


def _middle(pictures: tf.Tensor, size: int) -> tf.Tensor:
    """The S x S pixels in the middle of [..., S', S', C]."""
    margin = (pictures.shape[-2] - size) // 2
    return pictures[..., margin : margin + size, margin : margin + size, :]
