"""Outlines of objects: distances against a loop, and what they do not depend on."""

import math
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from jaxret.encoders.outlines import OutlineOptions, describe_outlines, signed_distances

OPTIONS = OutlineOptions(resolution=16, border=2, reach=4.0, blur=2.0)


def test_signed_distances_are_those_of_a_loop():
    inside = np.random.default_rng(0).random((2, 7, 7)) < 0.6
    inside[1] = True  # only what is beyond is outside
    found = np.asarray(jax.jit(partial(signed_distances, reach=2.5))(jnp.asarray(inside)))
    for n, cells in enumerate(inside):
        padded = np.pad(cells, 1)
        places = [(i, j) for i in range(9) for j in range(9)]
        for i, j in places[10:-10]:
            if not (1 <= i <= 7 and 1 <= j <= 7):
                continue
            others = [math.dist((i, j), place) for place in places if padded[place] != padded[i, j]]
            distance = min(2.5, min(others, default=2.5)) / 2.5
            np.testing.assert_allclose(found[n, i - 1, j - 1], distance if padded[i, j] else -distance, rtol=1e-6)


def picture(side: int, scale: int, left: int, top: int, light: float = 0.5):
    """An L with a brighter half on grey ground, and its mask."""
    mask, image = np.zeros((side, side), np.float32), np.full((side, side, 3), 0.9, np.float32)
    for rows, columns, grey in ((6, 2, light), (2, 6, light + 0.2)):
        part = np.s_[top : top + rows * scale, left : left + columns * scale]
        mask[part], image[part] = 1, grey
    return image, mask


def test_place_size_ground_and_light_do_not_matter():
    pictures = [picture(64, 4, 3, 9), picture(64, 8, 12, 6), picture(64, 4, 30, 1, light=0.3)]
    pictures[1][0][...] *= pictures[1][1][..., None]  # on black
    pictures.append((pictures[0][0], np.zeros((64, 64), np.float32)))  # no object
    images, masks = map(np.stack, zip(*pictures, strict=True))
    outline, shading = map(np.asarray, jax.jit(partial(describe_outlines, options=OPTIONS))(images, masks))
    assert outline.shape == shading.shape == (4, 256)
    np.testing.assert_allclose(outline.mean(axis=1), 0, atol=1e-6)
    assert outline[0].reshape(16, 16)[3, 3] > 0 > outline[0].reshape(16, 16)[12, 12]
    for other in (1, 2):
        np.testing.assert_allclose(outline[other], outline[0], atol=0.15)
        assert np.corrcoef(shading[other], shading[0])[0, 1] > 0.95
    assert shading[0].reshape(16, 16)[12, 12] == 0 and np.abs(shading[0]).max() > 0.5
    assert not outline[3].any() and not shading[3].any()
