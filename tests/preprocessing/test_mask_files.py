"""Masks: as displayed or as stored, of every kind, soft, noisy, of unclear meaning."""

import io

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFilter
from stored_photos import as_stored, gradient, save_stored

from jaxret.errors import DataError
from jaxret.preprocessing import photo_files as photos


@pytest.mark.parametrize('orientation', range(1, 9))
@pytest.mark.parametrize('square', [False, True])
@pytest.mark.parametrize('suffix', ['jpg', 'png', 'tiff', 'webp'])
def test_masks_as_displayed_and_as_stored(tmp_path, orientation, square, suffix):
    shown, mask = gradient(20, 20) if square else gradient(), np.zeros((20, 20) if square else (12, 20), np.uint8)
    mask[1:5, 2:9] = 255
    photo = tmp_path / f'photo.{suffix}'
    save_stored(photo, shown, orientation)
    tells = orientation > 4 and not square
    Image.fromarray(mask).save(tmp_path / 'displayed.png')
    pair = photos.read_pair(photo, tmp_path / 'displayed.png')
    np.testing.assert_array_equal(pair.mask, mask)
    assert (pair.turn, pair.unsure) == (1, orientation > 1 and not tells)
    save_stored(tmp_path / 'own.png', mask, orientation)
    pair = photos.read_pair(photo, tmp_path / 'own.png')
    np.testing.assert_array_equal(pair.mask, mask)
    assert (pair.turn, pair.unsure) == (1, False)
    if tells:
        stored = as_stored(mask, orientation)
        Image.fromarray(stored).save(tmp_path / 'stored.png')
        pair = photos.read_pair(photo, tmp_path / 'stored.png')
        np.testing.assert_array_equal(pair.mask, mask)
        assert (pair.turn, pair.unsure) == (orientation, False)
        exif = Image.Exif()
        exif[0x0112] = orientation
        Image.fromarray(mask).save(tmp_path / 'twice.png', exif=exif)  # turned before, and says to turn it again
        with pytest.raises(DataError, match='mask of 12 x 20 pixels'):
            photos.read_pair(photo, tmp_path / 'twice.png')


def test_a_mask_that_is_the_same_either_way_is_sure(tmp_path):
    save_stored(tmp_path / 'photo.png', gradient(), 3)
    Image.fromarray(np.pad(np.full((4, 6), 255, np.uint8), ((4, 4), (7, 7)))).save(tmp_path / 'mask.png')
    assert not photos.read_pair(tmp_path / 'photo.png', tmp_path / 'mask.png').unsure


def test_masks_of_every_kind_become_the_same(tmp_path):
    truth = np.zeros((10, 8), bool)
    truth[2:7, 3:6] = True
    palette = Image.fromarray(truth.astype(np.uint8), 'P')
    palette.putpalette([0, 0, 0, 128, 0, 0])
    alpha_only = np.zeros((10, 8, 4), np.uint8)
    alpha_only[:, :, 3] = truth * 255
    opaque = np.dstack([np.repeat(truth[:, :, None] * 255, 3, axis=2), np.full((10, 8), 255)]).astype(np.uint8)
    kinds = {
        'bit': Image.fromarray(truth),
        'class': Image.fromarray((truth * 62).astype(np.uint8)),
        'instance': Image.fromarray((truth * 1000).astype(np.uint16)),
        'ones': Image.fromarray(truth.astype(np.uint8)),
        'palette': palette,
        'red': Image.fromarray((truth[:, :, None] * np.array([255, 0, 0])).astype(np.uint8)),
        'alpha': Image.fromarray(alpha_only),
        'opaque': Image.fromarray(opaque),
        'deep': Image.fromarray((truth * 65535).astype(np.uint16)),
        'deep_ones': Image.fromarray(truth.astype(np.uint16)),
    }
    for name, image in kinds.items():
        image.save(tmp_path / f'{name}.png')
        read = photos.read_mask(tmp_path / f'{name}.png')
        assert read.dtype == np.uint8 and read.shape == truth.shape
        np.testing.assert_array_equal(read, np.where(truth, 255, 0), err_msg=name)
    Image.fromarray(np.zeros((3, 3), np.uint8)).save(tmp_path / 'empty.png')
    assert not photos.read_mask(tmp_path / 'empty.png').any()


VOC = [part for i in range(256) for part in (i % 2 * 128 + i // 8 % 2 * 64, i // 2 % 2 * 128, i // 4 % 2 * 128)]
VOC[765:] = (224, 224, 192)


def drawn(side: int = 120) -> Image.Image:
    """A seat on thin legs."""
    image = Image.new('L', (side, side))
    draw = ImageDraw.Draw(image)
    draw.ellipse([side * 0.2, side * 0.1, side * 0.8, side * 0.5], fill=255)
    draw.rectangle([side * 0.3, side * 0.4, side * 0.34, side * 0.9], fill=255)
    draw.rectangle([side * 0.6, side * 0.4, side * 0.64, side * 0.9], fill=255)
    return image


def saved(image: Image.Image, kind: str, **options) -> np.ndarray:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return np.asarray(Image.open(buffer).convert('L'))


def test_masks_with_noise_or_soft_borders_are_cut_at_half(tmp_path):
    kinds = {f'jpeg {quality}': saved(drawn(), 'JPEG', quality=quality) for quality in (10, 30, 50, 75, 95, 100)}
    kinds |= {f'webp {quality}': saved(drawn(), 'WEBP', quality=quality) for quality in (10, 50, 95)}
    kinds |= {
        'antialiased': np.asarray(drawn(480).resize((120, 120), Image.Resampling.BOX)),
        'enlarged': np.asarray(drawn(60).resize((120, 120), Image.Resampling.LANCZOS)),
        'blurred': np.asarray(drawn().filter(ImageFilter.GaussianBlur(2))),
    }
    truth = np.asarray(drawn()) > 127
    for name, values in kinds.items():
        Image.fromarray(values).save(tmp_path / 'mask.png')
        mask = photos.read_mask(tmp_path / 'mask.png') > 0
        np.testing.assert_array_equal(mask, values > 127, err_msg=name)
        assert np.mean(mask != truth) < 0.04, name


def unclear_masks() -> dict[str, tuple[Image.Image, str]]:
    truth = np.asarray(drawn()) > 0
    border = np.asarray(drawn().filter(ImageFilter.MaxFilter(7))) > 0
    numbers = lambda inside, void: Image.fromarray(np.where(truth, inside, border * void).astype(np.uint8))  # noqa: E731
    colors = np.zeros((120, 120, 3), np.uint8)
    colors[:60, :, 0], colors[60:, :, 1] = 255 * truth[:60], 255 * truth[60:]
    masks = {
        **{f'{inside}, void {void}': (numbers(inside, void), f'{inside} (') for inside, void in [(1, 255), (1, 254),
           (62, 255), (255, 254), (255, 128), (8, 255)]},
        'trimap': (Image.fromarray(np.where(truth, 1, np.where(border, 3, 2)).astype(np.uint8)), '1 ('),
        'classes': (Image.fromarray((np.arange(14400).reshape(120, 120) // 720).astype(np.uint8)), 'other values'),
        'instances': (Image.fromarray((truth * 500 + border * 300).astype(np.uint16)), '800 ('),
        'two greys': (Image.fromarray(np.where(truth, 200, 90).astype(np.uint8)), '90 ('),
        'a photo': (Image.fromarray(np.random.default_rng(0).integers(0, 256, (60, 60), np.uint8)), 'other values'),
        'one grey': (Image.fromarray(np.full((9, 9), 62, np.uint8)), '62 (81 pixels)'),
        'two colours': (Image.fromarray(colors), 'several colours'),
        'red on green': (Image.fromarray(np.where(truth[:, :, None], [255, 0, 0], [0, 255, 0]).astype(np.uint8)),
                         'several colours'),
        'inverted': (Image.fromarray(~truth), 'inverted'),
        'cut out': (Image.fromarray(np.dstack([np.arange(14400).reshape(120, 120) % 200] * 3 + [truth * 255])
                    .astype(np.uint8)), 'transparency'),
    }  # fmt: skip
    for number, found in ((8, '64 ('), (9, '192 (')):
        image = Image.fromarray(np.where(truth, number, border * 255).astype(np.uint8), 'P')
        image.putpalette(VOC)
        masks[f'VOC {number}'] = (image, found)
    return masks


@pytest.mark.parametrize('kind', unclear_masks())
def test_masks_of_unclear_meaning_are_refused_with_their_values(tmp_path, kind):
    image, found = unclear_masks()[kind]
    image.save(tmp_path / 'mask.png')
    with pytest.raises(DataError) as caught:
        photos.read_mask(tmp_path / 'mask.png')
    (problem,) = caught.value.problems
    assert problem.where == str(tmp_path / 'mask.png') and found in problem.found
