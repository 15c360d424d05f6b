"""Pictures as the input of networks: scaled, cut, normalised."""

import numpy as np
import pytest
from PIL import Image

from jaxret.pretrained.network_configs import ImageInput
from jaxret.pretrained.pictures import network_picture

MEAN, STD = (0.5, 0.4, 0.3), (0.1, 0.2, 0.4)
PICTURE = np.random.default_rng(0).integers(256, size=(9, 14, 3), dtype=np.uint8)


def normalised(pixels):
    found = np.empty(pixels.shape)
    for channel in range(3):
        found[..., channel] = (pixels[..., channel] / 255 - MEAN[channel]) / STD[channel]
    return found


@pytest.mark.parametrize('turned', [False, True])
@pytest.mark.parametrize(
    ('size', 'resize', 'scaled', 'cut'),
    [
        ((6, 6), 6, (6, 9), (0, 1)),  # 6 x 14 / 9 = 9.33
        ((4, 5), 9, (9, 14), (2, 4)),
        ((8, 5), (8, 5), (8, 5), (0, 0)),
    ],
)
def test_scaled_and_cut_in_the_middle(size, resize, scaled, cut, turned):
    picture = PICTURE.swapaxes(0, 1) if turned else PICTURE
    order = slice(None, None, -1) if turned else slice(None)
    size, scaled, (top, left) = size[order], scaled[order], cut[order]
    resize = resize if isinstance(resize, int) else resize[order]
    found = network_picture(picture, ImageInput(size, resize, 'bilinear', MEAN, STD))
    pixels = np.asarray(Image.fromarray(picture).resize(scaled[::-1], Image.Resampling.BILINEAR))
    expected = normalised(pixels[top : top + size[0], left : left + size[1]])
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_black_beyond_the_borders():
    found = network_picture(PICTURE, ImageInput((11, 4), 9, 'bicubic', MEAN, STD))
    expected = np.concatenate([np.zeros((1, 4, 3)), PICTURE[:, 5:9], np.zeros((1, 4, 3))])
    np.testing.assert_allclose(found, normalised(expected), atol=1e-5)
