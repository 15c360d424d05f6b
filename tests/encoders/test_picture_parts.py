"""Parts of a picture against separate runs of the whole network and loops over cells."""

import jax
import numpy as np
import pytest
from references_encoders import random_variables

from jaxret.encoders.picture_parts import PictureParts
from jaxret.encoders.resnet import resnet
from jaxret.encoders.vit import VisionTransformer
from jaxret.errors import ConfigError

MEAN, SPREAD = (0.4, 0.5, 0.6), (0.2, 0.25, 0.3)
IMAGES = np.random.default_rng(0).integers(0, 256, (2, 24, 24, 3), dtype=np.uint8)
PLAIN = ((IMAGES / 255 - MEAN) / SPREAD).astype(np.float32)
VIT = VisionTransformer(patch=8, width=8, blocks=2, heads=2, mlp_width=16, grid=(3, 3), registers=2)
CONVOLUTIONS = resnet('resnet_small', width=4, stage_sizes=(1, 1))


def slow_cells(maps, cells):
    """[h, w, C] to [P, P, C]: every pixel is cut in P x P, so that a cell has a whole number of pieces."""
    h, w = maps.shape[:2]
    fine = maps.repeat(cells, axis=0).repeat(cells, axis=1)
    found = np.zeros((cells, cells, maps.shape[2]))
    for i in range(cells):
        for j in range(cells):
            found[i, j] = fine[i * h : (i + 1) * h, j * w : (j + 1) * w].mean(axis=(0, 1))
    return found


@pytest.mark.parametrize(('network', 'segments'), [(VIT, (0, 2)), (CONVOLUTIONS, (0, 2))])
def test_parts_are_those_of_separate_runs(network, segments):
    variables = random_variables(network, PLAIN)
    parts = PictureParts(network, (MEAN, SPREAD), segments, cells=2)
    ends = [network.clone(last=segment + 1) for segment in segments] + [network]
    *maps, features = jax.jit(lambda variables, x: [end.apply(variables, x) for end in ends])(variables, PLAIN)
    found, embedded = jax.jit(lambda *given: (parts.features(*given), parts.embed(*given)))(variables, IMAGES)
    for name, one in zip(('middle', 'late'), map(np.asarray, maps), strict=True):
        one = one[:, 3:].reshape(2, 3, 3, 8) if network is VIT else one
        wanted = np.stack([slow_cells(picture, 2).ravel() for picture in one])
        np.testing.assert_allclose(found[name], wanted, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(found['class'], features, rtol=1e-4, atol=1e-4)
    slices = parts.slices(variables, 24)
    assert list(slices) == ['middle', 'late', 'class'] and embedded.shape == (2, slices['class'].stop)
    for name, part in slices.items():
        values = np.asarray(found[name], float)
        wanted = values / np.linalg.norm(values, axis=1, keepdims=True)
        np.testing.assert_allclose(embedded[:, part], wanted, atol=1e-5)


def test_maps_as_they_are():
    variables = random_variables(VIT, PLAIN)
    whole = PictureParts(VIT, (MEAN, SPREAD), (1, 2), cells=0)
    same = PictureParts(VIT, (MEAN, SPREAD), (1, 2), cells=3)
    np.testing.assert_array_equal(*(jax.jit(parts.embed)(variables, IMAGES) for parts in (whole, same)))


@pytest.mark.parametrize('segments', [(2, 2), (2, 1), (-1, 2), (1, 3)])
def test_segments_that_cannot_be(segments):
    with pytest.raises(ConfigError, match=r'of a network with segments 0 to 3: .*two before the last, in order'):
        PictureParts(VIT, (MEAN, SPREAD), segments, cells=2)
