"""Crops, shifts and flips: ranges, exactness, alignment of photo and mask, and purity."""

import numpy as np
import pytest
import tensorflow as tf

from data_pipelines.random_crops import Augmentation, augment_photos, augment_views, crop_and_resize, sample_boxes
from jaxret.errors import ConfigError

PAPER = Augmentation(translate=0.05, area=(0.85, 0.95), aspect=(3 / 4, 4 / 3), flip=0.5)
VIEWS = Augmentation(area=(0.65, 0.9), aspect=(3 / 4, 4 / 3), flip=0.5, fill=255)
FULL = np.array([[0, 0, 1, 1]], np.float32)


def seed(number):
    return tf.constant([number, 7], tf.int32)


def boxes_of(augmentation, count=20_000, number=0):
    """Sorted corners (y1, x1, y2, x2) in float64, and which boxes are mirrored."""
    boxes = sample_boxes(count, augmentation, seed(number)).numpy().astype(np.float64)
    y1, x1, y2, x2 = boxes.T
    assert (y1 < y2).all()
    return np.stack([y1, np.minimum(x1, x2), y2, np.maximum(x1, x2)], axis=1), x1 > x2


def noise(*shape, number=0):
    return np.random.default_rng(number).integers(0, 256, shape, np.uint8)


def slow_crop(image, box, fill):
    """One sample a pixel, the corners of the box on the centres of the corner pixels; loops over float64 numbers."""
    height, width, channels = image.shape
    out = np.full((height, width, channels), float(fill))
    for i in range(height):
        for j in range(width):
            y = (box[0] + (box[2] - box[0]) * i / (height - 1)) * (height - 1)
            x = (box[1] + (box[3] - box[1]) * j / (width - 1)) * (width - 1)
            if not (0 <= y <= height - 1 and 0 <= x <= width - 1):
                continue
            top, left = int(y), int(x)
            bottom, right = min(top + 1, height - 1), min(left + 1, width - 1)
            for c in range(channels):
                above = image[top, left, c] * (1 - x + left) + image[top, right, c] * (x - left)
                below = image[bottom, left, c] * (1 - x + left) + image[bottom, right, c] * (x - left)
                out[i, j, c] = above * (1 - y + top) + below * (y - top)
    return out


@pytest.mark.parametrize('augmentation', [PAPER, VIEWS])
def test_boxes_keep_to_the_ranges(augmentation):
    boxes, mirrored = boxes_of(augmentation)
    height, width = boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1]
    area, aspect = height * width, width / height
    whole = (np.abs(height - 1) < 1e-6) & (np.abs(width - 1) < 1e-6)  # no proposal of ten fitted
    assert whole.mean() < 0.05
    low, high = augmentation.area
    assert ((area > low - 1e-5) & (area < high + 1e-5) | whole).all()
    assert ((aspect > 3 / 4 - 1e-5) & (aspect < 4 / 3 + 1e-5)).all()
    assert area[~whole].min() < low + 0.01 and area[~whole].max() > high - 0.01  # the whole range is used
    reach = augmentation.translate
    assert (boxes[:, :2] >= -reach - 1e-6).all() and (boxes[:, 2:] <= 1 + reach + 1e-6).all()
    assert abs(mirrored.mean() - 0.5) < 4 * 0.5 / np.sqrt(len(boxes))


def test_crops_lie_anywhere_in_the_image_and_shifts_anywhere_in_their_range():
    half, _ = boxes_of(Augmentation(area=(0.25, 0.25)))  # sides of a half, corners in 0 .. 0.5
    shifted, _ = boxes_of(Augmentation(translate=0.2))  # nothing but the shift
    for corner, low, high in ((half[:, :2], 0.0, 0.5), (shifted[:, :2], -0.2, 0.2)):
        np.testing.assert_allclose(
            np.quantile(corner, [0, 0.25, 0.5, 0.75, 1], axis=0),
            np.linspace(low, high, 5)[:, None] * np.ones((1, 2)),
            atol=0.012,
        )
        assert abs(np.corrcoef(corner.T)[0, 1]) < 0.03
    np.testing.assert_allclose(half[:, 2:] - half[:, :2], 0.5, atol=1e-6)


def test_aspects_are_as_often_wide_as_tall():
    boxes, _ = boxes_of(Augmentation(area=(0.3, 0.4), aspect=(0.5, 2.0)))
    aspect = np.log((boxes[:, 3] - boxes[:, 1]) / (boxes[:, 2] - boxes[:, 0]))
    np.testing.assert_allclose(np.quantile(aspect, [0.25, 0.5, 0.75]), np.log(2) * np.array([-0.5, 0, 0.5]), atol=0.03)


@pytest.mark.parametrize('share', [0.0, 0.3, 1.0])
def test_share_of_mirrored_boxes(share):
    _, mirrored = boxes_of(Augmentation(flip=share))
    assert abs(mirrored.mean() - share) <= 4 * np.sqrt(share * (1 - share) / len(mirrored))


def test_crop_that_cannot_fit_is_the_whole_image():
    boxes, _ = boxes_of(Augmentation(area=(1.0, 1.0), aspect=(1.5, 2.0)), count=50)
    np.testing.assert_array_equal(boxes, np.broadcast_to(FULL, boxes.shape))


@pytest.mark.parametrize('size', [1, 2, 7, 64, 224])
def test_identity_gives_the_image_back(size):
    images, masks = noise(3, size, size, 3), noise(3, size, size, 1, number=1)
    same, same_mask = augment_photos(images, masks, Augmentation(), seed(3))
    np.testing.assert_array_equal(same, images)
    np.testing.assert_array_equal(same_mask, masks)
    views = noise(2, 3, size, size, 1)
    np.testing.assert_array_equal(augment_views(views, Augmentation(fill=255), seed(3)), views)


@pytest.mark.parametrize('size', [2, 7, 64, 224])
def test_flip_mirrors_exactly(size):
    images, masks = noise(3, size, size, 3), noise(3, size, size, 1, number=1)
    mirrored, mirrored_mask = augment_photos(images, masks, Augmentation(flip=1.0), seed(3))
    np.testing.assert_array_equal(mirrored, images[:, :, ::-1])
    np.testing.assert_array_equal(mirrored_mask, masks[:, :, ::-1])


def test_mirrored_box_is_the_mirror_image_of_the_box():
    image = noise(1, 16, 16, 3)
    box = np.array([[0.1, 0.25, 0.8, 0.9]], np.float32)
    plain = crop_and_resize(image, box, size=16, fill=0).numpy().astype(int)
    mirrored = crop_and_resize(image, box[:, [0, 3, 2, 1]], size=16, fill=0).numpy().astype(int)
    assert np.abs(mirrored - plain[:, :, ::-1]).max() <= 1  # coordinates differ in the last bit


def test_sampling_is_bilinear_with_fill_outside():
    rng = np.random.default_rng(5)
    images = noise(12, 9, 9, 3)
    corners = np.sort(rng.uniform(-0.3, 1.3, (12, 2, 2)), axis=2)
    boxes = np.stack([corners[:, 0, 0], corners[:, 1, 0], corners[:, 0, 1], corners[:, 1, 1]], 1).astype(np.float32)
    boxes[::2] = boxes[::2][:, [0, 3, 2, 1]]
    out = crop_and_resize(images, boxes, size=9, fill=77).numpy()
    pairs = zip(images, boxes.astype(np.float64), strict=True)
    expected = np.stack([slow_crop(image, box, 77) for image, box in pairs])
    assert out.dtype == np.uint8 and (expected == 77).all(axis=-1).any()
    assert np.abs(out - expected).max() < 0.5 + 1e-2  # rounded to the nearest


@pytest.mark.parametrize('fill', [0, 90, 255])
def test_photo_and_mask_move_together(fill):
    masks = noise(24, 20, 20, 1)
    images = np.concatenate([masks, 255 - masks, masks], axis=-1)
    augmentation = Augmentation(translate=0.2, area=(0.5, 0.9), aspect=(0.75, 4 / 3), flip=0.5, fill=fill)
    moved, moved_mask = (x.numpy().astype(int) for x in augment_photos(images, masks, augmentation, seed(1)))
    red, green, mask = moved[..., 0], moved[..., 1], moved_mask[..., 0]
    # Inside, the channels still tell the mask; outside all are the fill, which the mask never is.
    inside = np.abs(red + green - 255) <= 1
    outside = (red == fill) & (green == fill) & (mask == 0)
    assert (inside & (red == mask) | outside).all()
    assert 0.02 < outside.mean() < 0.5
    assert (moved_mask != masks).mean() > 0.5
    # Every photo moves by itself.
    same = np.broadcast_to(images[:1], images.shape)
    moved = augment_photos(same, np.broadcast_to(masks[:1], masks.shape), augmentation, seed(1))[0].numpy()
    assert len({photo.tobytes() for photo in moved}) == len(moved)


def test_every_view_moves_by_itself():
    views = np.broadcast_to(noise(1, 1, 16, 16, 1), (4, 3, 16, 16, 1))
    moved = augment_views(views, VIEWS, seed(2)).numpy()
    assert moved.shape == views.shape and moved.dtype == np.uint8
    assert len({view.tobytes() for view in moved.reshape(12, -1)}) == 12
    # Views stay with their shape: a constant view has nothing to move, and no crop reaches beyond the image.
    numbers = np.broadcast_to(np.arange(12, dtype=np.uint8).reshape(4, 3, 1, 1, 1), views.shape)
    np.testing.assert_array_equal(augment_views(numbers, VIEWS, seed(2)), numbers)


def test_pure_function_of_the_seed():
    images, masks = noise(4, 12, 12, 3), noise(4, 12, 12, 1)

    def photos(number):
        return tuple(x.numpy().tobytes() for x in augment_photos(images, masks, PAPER, seed(number)))

    first = photos(0)
    tf.random.set_seed(99)  # global state has no part in it
    tf.random.uniform([3])
    assert photos(0) == first
    assert len({photos(number) for number in range(20)}) == 20
    traced = tf.function(lambda s: augment_photos(images, masks, PAPER, s))
    assert tuple(x.numpy().tobytes() for x in traced(seed(0))) == first


@pytest.mark.parametrize(
    'change',
    [
        {'translate': -0.1},
        {'translate': 1.5},
        {'area': (0.9,)},
        {'area': (0.9, 0.5)},
        {'area': (0.0, 0.5)},
        {'area': (0.5, 1.2)},
        {'aspect': (0.0, 1.0)},
        {'aspect': (2.0, 1.0)},
        {'aspect': (0.5, float('inf'))},
        {'aspect': (float('nan'), 1.0)},
        {'flip': 1.1},
        {'flip': float('nan')},
        {'fill': 256},
        {'fill': -1},
    ],
)
def test_values_without_meaning_are_refused(change):
    with pytest.raises(ConfigError, match=f'{next(iter(change))} is .* must be'):
        Augmentation(**change)
