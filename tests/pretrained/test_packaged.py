"""The installed package of EfficientNet-Lite0's weights, its file in our network, and files that do not fit."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.traverse_util import flatten_dict, unflatten_dict
from PIL import Image
from sklearn.datasets import load_sample_image

from jaxret.encoders.efficientnet_lite import MEAN, STD, efficientnet_lite
from jaxret.errors import ConfigError, DataError
from jaxret.pretrained import packaged
from jaxret.pretrained.networks import find_network, network_weights
from jaxret.pretrained.packaged import packaged_weights
from jaxret.pretrained.weight_files import read_weights

NAME = 'efficientnet_lite0'
PALACE, DAISY = 698, 985  # ImageNet's classes


@pytest.fixture(scope='module')
def weights():
    return read_weights(packaged_weights(NAME)).arrays


def shapes_of(network, channels=3):
    x = jax.ShapeDtypeStruct((1, 64, 64, channels), jnp.float32)
    return jax.eval_shape(network.init, jax.random.key(0), x)


def photo(name):
    """The largest square in the middle, 224 x 224, normalised."""
    image = Image.fromarray(load_sample_image(name))
    side = min(image.size)
    left, top = ((length - side) // 2 for length in image.size)
    square = image.resize((224, 224), Image.Resampling.BICUBIC, box=(left, top, left + side, top + side))
    return (np.asarray(square, np.float32) / 255 - np.float32(MEAN)) / np.float32(STD)


def test_photos_get_their_imagenet_classes(weights):
    network = efficientnet_lite(NAME, num_classes=1000)
    variables = unflatten_dict(network_weights(weights, shapes_of(network), where='a.pth'))
    logits = jax.jit(network.apply)(variables, np.stack([photo('china.jpg'), photo('flower.jpg')]))
    np.testing.assert_array_equal(logits.argmax(axis=1), [PALACE, DAISY])


def test_all_of_the_file_is_used(weights):
    assert find_network(weights, shapes_of(efficientnet_lite(NAME)), where='a').prefix == ''
    values = network_weights(weights, shapes_of(efficientnet_lite(NAME, num_classes=1000)), where='a')
    assert len(values) == len([name for name in weights if not name.endswith('num_batches_tracked')])
    np.testing.assert_array_equal(
        values['params', 'blocks_3', 'depthwise_conv', 'kernel'][1, 4, 0],
        weights['_blocks.3._depthwise_conv.weight'][:, 0, 1, 4],
    )


def test_parts_take_their_own(weights):
    network = efficientnet_lite(NAME)
    whole = shapes_of(network)
    values = network_weights(weights, whole, where='a')
    halves = [
        network_weights(weights, part, where='a', whole=whole)
        for part in (shapes_of(network.clone(last=5)), shapes_of(network.clone(first=5), channels=40))
    ]
    assert halves[0].keys() == {path for path in values if path[1] in ('conv_stem', 'bn0', *blocks(range(4)))}
    assert halves[1].keys() == values.keys() - halves[0].keys()
    jax.tree.map(np.testing.assert_array_equal, halves[0] | halves[1], values)
    with pytest.raises(DataError, match=r'conv_head.weight: .* there, absent here|_blocks'):
        network_weights(weights, shapes_of(network.clone(last=5)), where='a')


def blocks(numbers):
    return [f'blocks_{number}' for number in numbers]


@pytest.mark.parametrize('whole', [False, True])
def test_another_network_is_refused(weights, whole):
    network = efficientnet_lite('efficientnet_lite1')
    options = {'whole': shapes_of(network)} if whole else {}
    part = shapes_of(network.clone(last=3) if whole else network)
    with pytest.raises(DataError, match='not the weights of this network') as error:
        network_weights(weights, part, where='a.pth', **options)
    assert 'entries do not fit, such as ' in str(error.value)


@pytest.mark.parametrize(
    ('channels', 'how'), [(1, 'sum'), (1, 'mean'), (1, 'random'), (3, 'random'), (4, 'sum'), (4, 'random')]
)
def test_first_convolutions_of_other_channels(weights, channels, how):
    values = network_weights(weights, shapes_of(efficientnet_lite(NAME), channels), where='a', first_convolution=how)
    path, rgb = ('params', 'conv_stem', 'kernel'), weights['_conv_stem.weight'].transpose(2, 3, 1, 0)
    if how == 'random':
        assert path not in values
    elif channels == 4:
        np.testing.assert_array_equal(values[path], np.pad(rgb, ((0, 0), (0, 0), (0, 1), (0, 0))))
    else:
        expected = rgb.sum(axis=2, keepdims=True) / (3 if how == 'mean' else 1)
        np.testing.assert_allclose(values[path], expected, rtol=1e-6, atol=1e-7)


def test_a_wrapped_file(weights):
    shapes = shapes_of(efficientnet_lite(NAME))
    wrapped = {f'module.encoder._orig_mod.{name}': array for name, array in weights.items()}
    found, plain = (network_weights(arrays, shapes, where='a') for arrays in (wrapped, weights))
    assert found.keys() == plain.keys() == flatten_dict(shapes).keys()


def test_what_is_not_installed(tmp_path, monkeypatch):
    monkeypatch.setitem(packaged._PACKAGES, NAME, 'a-package-that-there-is-not')
    with pytest.raises(ConfigError, match='efficientnet_lite0 are not installed: pip install a-package-that'):
        packaged_weights(NAME)
    with pytest.raises(ConfigError, match="of 'resnet50', only of efficientnet_lite0"):
        packaged_weights('resnet50')
    monkeypatch.setitem(packaged._PACKAGES, NAME, 'numpy')  # brings no such file
    with pytest.raises(ConfigError, match='numpy: installed without its file of weights'):
        packaged_weights(NAME)
