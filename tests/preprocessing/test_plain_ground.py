"""Objects on a ground of one colour: found where it is plain, and only there."""

import numpy as np
import pytest
from PIL import Image

from jaxret.errors import DataError
from jaxret.preprocessing import photo_files
from jaxret.preprocessing.inputs import PhotoInputs
from jaxret.preprocessing.photos import read_object
from jaxret.preprocessing.plain_ground import plain_ground_mask

INPUTS = PhotoInputs('cutout', 32)


def screenshot(ground=250, noise=0):
    rng = np.random.default_rng(0)
    pixels = np.full((60, 80, 3), ground, np.uint8)
    pixels[20:50, 30:60] = (90, 60, 30)
    pixels[30:40, 40:50] = ground  # within the object it is no ground
    return np.clip(pixels + rng.integers(-noise, noise + 1, pixels.shape), 0, 255).astype(np.uint8)


@pytest.mark.parametrize(('ground', 'noise'), [(250, 0), (128, 3), (0, 0)])
def test_what_is_not_ground_is_the_object(ground, noise):
    mask = plain_ground_mask(screenshot(ground, noise))
    wanted = np.zeros((60, 80), bool)
    wanted[20:50, 30:60] = True
    assert mask.dtype == np.uint8 and set(np.unique(mask)) == {0, 255}
    np.testing.assert_array_equal(mask > 0, wanted)


def test_other_pictures_have_none():
    rng = np.random.default_rng(1)
    cut = screenshot()[:, 40:]  # the object reaches over the border
    speck = np.full((60, 80, 3), 250, np.uint8)
    speck[30, 40] = 0
    framed = np.full((100, 100, 3), 20, np.uint8)
    framed[0] = framed[-1] = framed[:, 0] = framed[:, -1] = 250  # nearly all is left
    noise = rng.integers(0, 256, (60, 80, 3), dtype=np.uint8)
    for pixels in (noise, cut, speck, framed, np.zeros((60, 80, 3), np.uint8)):
        assert plain_ground_mask(pixels) is None
    assert plain_ground_mask(np.zeros((1, 1, 3), np.uint8)) is None


def test_it_is_the_mask_where_none_is_given():
    read = read_object(screenshot(), inputs=INPUTS)
    assert read.known and read.around == (30, 20, 60, 50)
    boxed = read_object(screenshot(), inputs=INPUTS, box=(0, 0, 70, 55))
    assert not boxed.known and boxed.boxed
    plain = read_object(screenshot(), inputs=PhotoInputs('plain', 32, fit='cover'))
    assert not plain.known and plain.around == (0, 0, 80, 60)


@pytest.mark.parametrize(
    ('name', 'mode', 'expected'), [('a.png', 'RGB', False), ('a.png', 'RGBA', True), ('b.jpg', 'L', False)]
)
def test_transparency_is_looked_for_where_there_can_be_some(tmp_path, name, mode, expected, monkeypatch):
    picture = Image.new(mode, (4, 4))
    if expected:
        picture.putpixel((1, 1), (5, 5, 5, 255))
    picture.save(tmp_path / name)
    if not expected:
        monkeypatch.setattr(photo_files, '_decode', None)  # no pixel is read
    assert photo_files.is_transparent(tmp_path / name) is expected


def test_a_file_that_is_transparent_everywhere_has_no_object(tmp_path):
    Image.new('RGBA', (40, 30), (200, 10, 10, 0)).save(tmp_path / 'clear.png')
    with pytest.raises(DataError, match=r'clear.png: all of it is transparent'):
        read_object(tmp_path / 'clear.png', inputs=INPUTS)
