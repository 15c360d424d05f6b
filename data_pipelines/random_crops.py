"""Geometric augmentation as pure functions of a seed: photo and mask move together, every view moves by itself.

Translation, random resized crop and horizontal flip (CMIC, public code; its ranges are the defaults of the configs)
are composed into one sampling box an image, so that each image is interpolated once.
"""

from dataclasses import dataclass

import tensorflow as tf

from data_pipelines.batching import WHOLE, Share
from jaxret.errors import ConfigError

ATTEMPTS = 10  # as in the usual random resized crop: the first proposal that fits is taken, else the whole image


@dataclass(frozen=True)
class Augmentation:
    """Ranges of the random crop, shift and flip.

    Attributes:
      translate: largest shift along each axis, as a share of the side.
      area: smallest and largest area of the crop, as a share of the image.
      aspect: smallest and largest width / height of the crop (log-uniform).
      flip: probability of a horizontal flip.
      fill: value (0..255) of pixels that come from outside the image.
    """

    translate: float = 0.0
    area: tuple[float, float] = (1.0, 1.0)
    aspect: tuple[float, float] = (1.0, 1.0)
    flip: float = 0.0
    fill: int = 0

    def __post_init__(self):
        checks = {
            'translate': (0 <= self.translate <= 1, 'a share of the side in 0..1'),
            'area': (_is_range(self.area) and self.area[1] <= 1, 'two numbers, 0 < smallest <= largest <= 1'),
            'aspect': (_is_range(self.aspect), 'two numbers, 0 < smallest <= largest'),
            'flip': (0 <= self.flip <= 1, 'a probability in 0..1'),
            'fill': (0 <= self.fill <= 255, 'a grey level in 0..255'),
        }
        for name, (valid, meaning) in checks.items():
            if not valid:
                raise ConfigError(f'augmentation: {name} is {getattr(self, name)!r}, but must be {meaning}')

    @classmethod
    def from_config(cls, config) -> 'Augmentation':
        return cls(
            translate=config.translate,
            area=tuple(config.area),
            aspect=tuple(config.aspect),
            flip=config.flip,
            fill=config.fill,
        )


def _is_range(bounds: tuple[float, ...]) -> bool:
    return len(bounds) == 2 and 0 < bounds[0] <= bounds[1] < float('inf')


def sample_boxes(count: int | tf.Tensor, augmentation: Augmentation, seed: tf.Tensor) -> tf.Tensor:
    """Random sampling boxes; a pure function of the seed.

    Args:
      count: number of boxes N.
      augmentation: ranges.
      seed: int [2].

    Returns:
      float32 [N, 4]: y1, x1, y2, x2 in units of the image side; x1 > x2 where the image is mirrored.
    """
    seeds = tf.random.experimental.stateless_split(seed, 5)
    area = (
        tf.random.stateless_uniform([count, ATTEMPTS], seeds[0], *augmentation.area)
        if augmentation.area[0] < augmentation.area[1]
        else tf.fill([count, ATTEMPTS], float(augmentation.area[0]))
    )
    low, high = (tf.math.log(float(bound)) for bound in augmentation.aspect)
    aspect = tf.exp(low + (high - low) * tf.random.stateless_uniform([count, ATTEMPTS], seeds[1]))
    width, height = tf.sqrt(area * aspect), tf.sqrt(area / aspect)
    fits = (width <= 1.0) & (height <= 1.0)
    first = tf.argmax(fits, axis=1)
    chosen = tf.gather(tf.stack([height, width], -1), first, batch_dims=1)
    size = tf.where(tf.reduce_any(fits, axis=1)[:, None], chosen, tf.ones_like(chosen))
    corner = tf.random.stateless_uniform([count, 2], seeds[2]) * (1.0 - size)
    shift = (
        tf.random.stateless_uniform([count, 2], seeds[3], -augmentation.translate, augmentation.translate)
        if augmentation.translate > 0
        else tf.zeros([count, 2])
    )
    start = corner - shift  # the crop is taken from the shifted image
    end = start + size
    mirrored = tf.random.stateless_uniform([count], seeds[4]) < augmentation.flip
    x1 = tf.where(mirrored, end[:, 1], start[:, 1])
    x2 = tf.where(mirrored, start[:, 1], end[:, 1])
    return tf.stack([start[:, 0], x1, end[:, 0], x2], axis=1)


def share_boxes(images: tf.Tensor, augmentation: Augmentation, seed: tf.Tensor, share: Share) -> tf.Tensor:
    """Boxes [N, 4] of a share's own N images, from those of the whole batch."""
    boxes = sample_boxes(tf.shape(images)[0] * share.count, augmentation, seed)
    return share.of(boxes)


def crop_and_resize(images: tf.Tensor, boxes: tf.Tensor, *, size: int, fill: int) -> tf.Tensor:
    """Samples every image in its box.

    Args:
      images: uint8 [N, H, W, C].
      boxes: float32 [N, 4], as `sample_boxes` gives them.
      size: side of the result.
      fill: value of pixels from outside the image.

    Returns:
      uint8 [N, size, size, C].
    """
    sampled = tf.image.crop_and_resize(
        images, boxes, tf.range(tf.shape(images)[0]), [size, size], extrapolation_value=float(fill)
    )
    return tf.cast(tf.round(sampled), tf.uint8)


def augment_photos(
    images: tf.Tensor, masks: tf.Tensor, augmentation: Augmentation, seed: tf.Tensor, *, share: Share = WHOLE
) -> tuple[tf.Tensor, tf.Tensor]:
    """Crops, shifts and flips photo [B, S, S, 3] and mask [B, S, S, 1] (uint8) by the same boxes.

    Outside pixels of the mask are background (0), whatever the photo's fill is. With a `share` they are its rows only.
    """
    size = images.shape[1]
    boxes = share_boxes(images, augmentation, seed, share)
    return (
        crop_and_resize(images, boxes, size=size, fill=augmentation.fill),
        crop_and_resize(masks, boxes, size=size, fill=0),
    )


def augment_views(
    views: tf.Tensor, augmentation: Augmentation, seed: tf.Tensor, *, size: int | None = None, share: Share = WHOLE
) -> tf.Tensor:
    """Crops, shifts and flips every view of [G, V, S, S, C] (uint8) by a box of its own; `size` replaces S.

    With a `share` they are the views of its shapes only.
    """
    shape = tf.shape(views)
    size = size or views.shape[2]
    flat = tf.reshape(views, tf.concat([[shape[0] * shape[1]], shape[2:]], 0))
    boxes = share_boxes(flat, augmentation, seed, share)
    cropped = crop_and_resize(flat, boxes, size=size, fill=augmentation.fill)
    return tf.reshape(cropped, tf.concat([shape[:2], [size, size], shape[4:]], 0))
