"""EfficientNet-Lite: published sizes, segments, taps and halves. Its numbers: tests/pretrained/test_efficientnet.py."""

import chex
import flax.traverse_util
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from references_encoders import random_variables

from jaxret.encoders.efficientnet_lite import EFFICIENTNET_LITE_NAMES, InvertedBottleneck, efficientnet_lite
from jaxret.errors import ConfigError

# Channels and halvings of the image after every segment.
LITE0 = (
    *((32, 1), (16, 1), (24, 2), (24, 2), (40, 3), (40, 3), (80, 4), (80, 4), (80, 4), (112, 4), (112, 4), (112, 4)),
    *((192, 5), (192, 5), (192, 5), (192, 5), (320, 5), (1280, 5)),
)
BLOCKS = {  # kernel, stride, expansion, channels in and out
    'k5s2': (InvertedBottleneck(8, kernel=5, stride=2), 4),
    'k3s1 with shortcut': (InvertedBottleneck(4, kernel=3), 4),
    'not expanded': (InvertedBottleneck(5, kernel=3, expansion=1), 4),
}


def images(height, width, channels=3, count=2, seed=0):
    return np.random.default_rng(seed).normal(size=(count, height, width, channels)).astype(np.float32)


@pytest.fixture(scope='module')
def lite0():
    """A network with its variables, images of odd sizes, and the features of these."""
    x = images(45, 38)
    network = efficientnet_lite('efficientnet_lite0')
    variables = random_variables(network, x)
    return network, variables, x, jax.jit(network.apply)(variables, x)


def shapes_of(network, channels=3):
    x = jax.ShapeDtypeStruct((1, 64, 64, channels), jnp.float32)
    return jax.eval_shape(network.init, jax.random.key(0), x)


def parameter_count(variables):
    return sum(leaf.size for leaf in jax.tree.leaves(variables['params']))


@pytest.mark.parametrize(
    ('name', 'count', 'depth'),
    [
        ('efficientnet_lite0', 4_652_008, 18),
        ('efficientnet_lite1', 5_416_680, 23),
        ('efficientnet_lite2', 6_092_072, 23),
    ],
)
def test_parameter_counts_are_the_published_ones(name, count, depth):
    network = efficientnet_lite(name, num_classes=1000)
    variables = shapes_of(network)
    assert (parameter_count(variables), network.depth) == (count, depth)
    assert sum(leaf.size for leaf in jax.tree.leaves(variables['params']['fc'])) == 1281 * 1000
    for channels in (1, 3, 4):
        stem = shapes_of(efficientnet_lite(name, last=1), channels)
        assert parameter_count(stem) == 9 * 32 * channels + 2 * 32


def test_every_segment_has_its_shape():
    x = jax.ShapeDtypeStruct((2, 224, 200, 3), jnp.float32)
    for segment, (channels, halvings) in enumerate(LITE0):
        network = efficientnet_lite('efficientnet_lite0', first=segment, last=segment + 1, pooled=False)
        x, _ = jax.eval_shape(network.init_with_output, jax.random.key(0), x)
        sides = [-(-side // 2**halvings) for side in (224, 200)]
        chex.assert_shape(x, (2, *sides, channels))


@pytest.mark.parametrize(('cut', 'train'), [(1, False), (7, True), (17, False)])
def test_halves_are_the_whole(lite0, cut, train):
    network, variables, x, features = lite0
    first, second = network.clone(last=cut), network.clone(first=cut)
    maps, state = jax.jit(lambda v, x: first.apply(v, x, train=train, mutable=['batch_stats']))(variables, x)
    found, rest = jax.jit(lambda v, x: second.apply(v, x, train=train, mutable=['batch_stats']))(variables, maps)
    if train:
        features, whole = jax.jit(lambda v, x: network.apply(v, x, train=True, mutable=['batch_stats']))(variables, x)
    np.testing.assert_allclose(found, features, rtol=1e-4, atol=1e-5)
    own, others = (
        flax.traverse_util.flatten_dict(
            jax.eval_shape(half.init, jax.random.key(0), jax.ShapeDtypeStruct(part.shape, part.dtype)), sep='/'
        )
        for half, part in ((first, x), (second, maps))
    )
    assert not own.keys() & others.keys()
    chex.assert_trees_all_equal_shapes(own | others, flax.traverse_util.flatten_dict(variables, sep='/'))
    if train:
        statistics = (flax.traverse_util.flatten_dict(part['batch_stats'], sep='/') for part in (state, rest, whole))
        own, others, whole = statistics
        for key in whole:
            half = own if key.split('/')[0] in own_modules(first) else others
            np.testing.assert_allclose(half[key], whole[key], rtol=1e-3, atol=1e-4)


def own_modules(half):
    return {'bn0', 'conv_stem', *(f'blocks_{number}' for number in range(half.last - 1))}


def test_taps_are_means_of_the_maps(lite0):
    network, variables, x, plain = lite0
    taps = (17, 9, 3)
    found = jax.jit(network.clone(taps=taps).apply)(variables, x)
    assert found.dtype == jnp.float32
    parts = np.split(np.asarray(found), np.cumsum([1280, 112]), axis=1)
    np.testing.assert_allclose(parts[0], plain, rtol=1e-5)
    for tap, part in zip(taps[1:], parts[1:], strict=True):
        maps = jax.jit(network.clone(last=tap + 1, pooled=False).apply)(variables, x)
        np.testing.assert_allclose(part, maps.mean(axis=(1, 2)), rtol=1e-4, atol=1e-5)
    second = network.clone(first=3, taps=(17, 3))
    maps = jax.jit(network.clone(last=3).apply)(variables, x)
    np.testing.assert_allclose(
        jax.jit(second.apply)(variables, maps), np.concatenate([parts[0], parts[2]], axis=1), rtol=1e-4, atol=1e-5
    )


def test_nothing_behind_the_last_tap_has_weights():
    shapes = shapes_of(efficientnet_lite('efficientnet_lite0', taps=(2,)))
    assert set(shapes['params']) == {'conv_stem', 'bn0', 'blocks_0', 'blocks_1'}


def test_the_classifier_is_linear_in_the_features(lite0):
    network, variables, x, features = lite0
    kernel, bias = np.linspace(-1, 1, 1280 * 2, dtype=np.float32).reshape(1280, 2), np.float32([0.5, -2])
    params = {**variables['params'], 'fc': {'kernel': kernel, 'bias': bias}}
    logits = jax.jit(network.clone(num_classes=2).apply)({**variables, 'params': params}, x)
    np.testing.assert_allclose(logits, features @ kernel + bias[None], rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        ({'first': 3, 'last': 3}, 'segments 3 to 3 of a network of 18'),
        ({'last': 19}, 'segments 0 to 19 of a network of 18'),
        ({'first': -1}, 'segments -1 to 18'),
        ({'taps': (18,)}, r'taps \[18\] of a network that has segments 0 to 17'),
        ({'taps': (2,), 'last': 5}, r'taps \(2,\) of a network that gives a map'),
        ({'taps': (2,), 'pooled': False}, r'taps \(2,\) of a network that gives a map'),
    ],
)
def test_segments_that_there_are_not(options, message):
    with pytest.raises(ConfigError, match=message):
        shapes_of(efficientnet_lite('efficientnet_lite0', **options))


def test_unknown_names_are_refused():
    with pytest.raises(ConfigError, match=', '.join(EFFICIENTNET_LITE_NAMES)):
        efficientnet_lite('efficientnet_lite3')


@pytest.mark.parametrize('name', BLOCKS)
def test_bfloat16_and_gradients(name):
    block, channels = BLOCKS[name]
    x = images(9, 8, channels, count=4)
    variables = random_variables(block, x)

    def loss(params, model):
        out, state = model.apply({**variables, 'params': params}, x, train=True, mutable=['batch_stats'])
        return jnp.mean(out.astype(jnp.float32) ** 2), (out.astype(jnp.float32), state['batch_stats'])

    half = block.clone(dtype=jnp.bfloat16)
    gradients, result = jax.jit(lambda p: jax.grad(loss, has_aux=True)(p, half))(variables['params'])
    full, expected = jax.jit(lambda p: jax.grad(loss, has_aux=True)(p, block))(variables['params'])
    chex.assert_type(jax.tree.leaves((result, gradients)), jnp.float32)
    assert all(float(jnp.abs(leaf).max()) > 0 for leaf in jax.tree.leaves(full))
    # a bfloat16 rounding is off by up to 0.4 %, and there are some ten in a row
    chex.assert_trees_all_close(result, expected, rtol=0.1, atol=0.1)
    assert not np.allclose(result[0], expected[0], rtol=1e-5)  # it did compute in bfloat16


def test_gradients_are_those_of_differences():
    block, channels = BLOCKS['k5s2']
    with jax.enable_x64(True):
        x = images(7, 6, channels).astype(np.float64)
        block = block.clone(dtype=jnp.float64)
        variables = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), random_variables(block, x))

        @jax.jit
        def loss(params, x):
            return jnp.sum(jnp.sin(block.apply({**variables, 'params': params}, x)))

        jax.test_util.check_grads(loss, (variables['params'], x), order=1, modes=['rev'], rtol=1e-5)
