"""EfficientNet-Lite gives what timm's networks give: tests/fixtures/make_efficientnet.py."""

import functools
import json
from pathlib import Path

import jax
import numpy as np
import pytest
from flax.traverse_util import flatten_dict, unflatten_dict
from seeded_weights import seeded_images, seeded_weights

from jaxret.encoders.efficientnet_lite import efficientnet_lite
from jaxret.pretrained.networks import network_weights
from jaxret.pretrained.packaged import packaged_weights
from jaxret.pretrained.torch_names import torch_names
from jaxret.pretrained.weight_files import read_weights

STORED = np.load(Path(__file__).parents[1] / 'fixtures' / 'efficientnet_lite.npz', allow_pickle=False)
NETWORKS = {'efficientnet_lite0': (2, 97, 70), 'efficientnet_lite1': (2, 65, 76), 'efficientnet_lite2': (2, 71, 64)}
TAPS = (0, 3, 9, 15)


def of(name, key):
    return STORED[f'{name}/{key}']


@functools.cache
def torch_weights(name):
    shapes = json.loads(str(of(name, 'shapes')))
    if name == 'efficientnet_lite0':
        weights = read_weights(packaged_weights(name)).arrays
        assert {key: list(array.shape) for key, array in weights.items()} == shapes
        return weights
    return seeded_weights(shapes, seed=list(NETWORKS).index(name))


def images_of(name):
    return seeded_images(*NETWORKS[name], seed=list(NETWORKS).index(name))


def loaded(network, weights, images):
    shapes = jax.eval_shape(network.init, jax.random.key(0), images)
    return unflatten_dict(network_weights(weights, shapes, where='a.pth'))


@pytest.mark.parametrize('name', NETWORKS)
def test_evaluation_gives_what_timm_gives(name):
    images = images_of(name)
    network = efficientnet_lite(name, num_classes=1000)
    variables = loaded(network, torch_weights(name), images)
    network = network.clone(num_classes=None, taps=(*TAPS, network.depth - 1))
    wanted = [of(name, f'eval_tap{tap}') for tap in TAPS] + [of(name, 'eval_features')]
    features = np.asarray(jax.jit(network.apply)(variables, images))
    np.testing.assert_allclose(features, np.concatenate(wanted, axis=1), atol=1e-4, rtol=0)
    classifier = variables['params']['fc']  # linear: tests/encoders/test_efficientnet_lite.py
    logits = features[:, -1280:] @ classifier['kernel'] + classifier['bias'][None]
    np.testing.assert_allclose(logits[:, :100], of(name, 'eval_logits'), atol=1e-4, rtol=0)


@pytest.mark.parametrize('name', NETWORKS)
def test_training_gives_what_timm_gives(name):
    """In float64: over the few values of the last maps, batch norm makes rounding errors of float32 large."""
    images = images_of(name)
    variables = loaded(efficientnet_lite(name), torch_weights(name), images)
    network = efficientnet_lite(name, dtype=np.float64)
    with jax.enable_x64(True):
        found, state = jax.jit(lambda v, x: network.apply(v, x, train=True, mutable=['batch_stats']))(
            jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), variables), images.astype(np.float64)
        )
    np.testing.assert_allclose(found, of(name, 'train_features'), atol=1e-4, rtol=0)
    assert np.abs(found - of(name, 'eval_features')).max() > 0.1
    state, watched = flatten_dict(dict(state)), [key for key in STORED if key.startswith(f'{name}/_')]
    paths = {own: path for path, own in torch_names(state).items()}
    assert len(watched) == 4
    for key in watched:
        np.testing.assert_allclose(state[paths[key.split('/')[1]]], STORED[key], atol=1e-4, rtol=0)
