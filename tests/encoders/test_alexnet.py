"""AlexNet against torchvision's sizes and names and against numpy loops; its dropout; the small one."""

import chex
import flax.traverse_util
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from references_encoders import convolve, max_pool, random_variables

from jaxret.encoders.alexnet import ALEXNET_NAMES, AlexNet, Stem, alexnet
from jaxret.encoders.layers import drop_units
from jaxret.errors import ConfigError

# torchvision's alexnet: kernels as (side, side, in, out), and the parameters of all layers, 61,100,840.
KERNELS = {
    'conv1': (11, 11, 3, 64),
    'conv2': (5, 5, 64, 192),
    'conv3': (3, 3, 192, 384),
    'conv4': (3, 3, 384, 256),
    'conv5': (3, 3, 256, 256),
    'fc6': (9216, 4096),
    'fc7': (4096, 4096),
    'fc8': (4096, 1000),
}
TINY = AlexNet(channels=(2, 3, 3, 2, 2), hidden=4, stem=Stem(4, 2, 1), num_classes=3)


def shapes_of(model, side=224):
    images = jax.ShapeDtypeStruct((2, side, side, 3), jnp.float32)
    return jax.eval_shape(model.init_with_output, jax.random.key(0), images)


def test_names_and_sizes_are_torchvisions():
    (maps, logits), variables = shapes_of(alexnet('alexnet', num_classes=1000))
    flat = flax.traverse_util.flatten_dict(variables['params'], sep='/')
    assert {name: leaf.shape for name, leaf in flat.items()} == {
        **{f'{name}/kernel': shape for name, shape in KERNELS.items()},
        **{f'{name}/bias': shape[-1:] for name, shape in KERNELS.items()},
    }
    assert sum(int(np.prod(leaf.shape)) for leaf in flat.values()) == 61_100_840
    assert maps.shape == (2, 6, 6, 256) and logits.shape == (2, 1000)
    (_, features), variables = shapes_of(alexnet('alexnet'))
    assert features.shape == (2, 4096) and 'fc8' not in variables['params']


def test_layers_have_torchvisions_shapes():
    model = alexnet('alexnet')
    images = jax.ShapeDtypeStruct((1, 224, 224, 3), jnp.float32)

    def run(images):
        return model.init_with_output(
            jax.random.key(0), images, capture_intermediates=True, mutable=['params', 'intermediates']
        )

    found = jax.eval_shape(run, images)[1]['intermediates']
    sides = {'conv1': 55, 'conv2': 27, 'conv3': 13, 'conv4': 13, 'conv5': 13}
    for name, side in sides.items():
        assert found[name]['__call__'][0].shape == (1, side, side, KERNELS[name][-1])


def test_the_small_one_has_the_same_layers():
    (maps, features), variables = shapes_of(alexnet('alexnet_small'), 64)
    assert maps.shape == (2, 3, 3, 48) and features.shape == (2, 256)
    assert set(variables['params']) == set(KERNELS) - {'fc8'}
    assert sum(int(np.prod(leaf.shape)) for leaf in jax.tree.leaves(variables)) < 300_000
    with pytest.raises(ConfigError, match=', '.join(ALEXNET_NAMES)):
        alexnet('alexnet_large')


def test_equals_loops():
    x = np.random.default_rng(0).normal(size=(2, 33, 36, 3)).astype(np.float32)
    variables = random_variables(TINY, x)
    params = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), variables['params'])

    def conv(y, name, stride, padding):
        y = convolve(y, params[name]['kernel'], stride, padding)
        return np.maximum(y + params[name]['bias'][None, None, None], 0)

    y = max_pool(conv(x, 'conv1', 2, 1), 3, 2, 0)
    y = max_pool(conv(y, 'conv2', 1, 2), 3, 2, 0)
    for name in ('conv3', 'conv4', 'conv5'):
        y = conv(y, name, 1, 1)
    expected_maps = max_pool(y, 3, 2, 0)
    y = expected_maps.reshape(2, -1)
    for name in ('fc6', 'fc7'):
        y = np.maximum(y @ params[name]['kernel'] + params[name]['bias'][None], 0)
    maps, logits = jax.jit(TINY.apply)(variables, x)
    np.testing.assert_allclose(maps, expected_maps, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(logits, y @ params['fc8']['kernel'] + params['fc8']['bias'][None], rtol=1e-4, atol=1e-5)


def test_too_small_images_are_refused():
    with pytest.raises(ConfigError, match='62 x 70 are too small.* 63 x 63'):
        jax.eval_shape(alexnet('alexnet').init, jax.random.key(0), jnp.zeros((1, 62, 70, 3)))
    shapes_of(alexnet('alexnet'), 63)
    with pytest.raises(ConfigError, match='29 x 29 pixels or more'):
        jax.eval_shape(alexnet('alexnet_small').init, jax.random.key(0), jnp.zeros((1, 28, 28, 3)))
    shapes_of(alexnet('alexnet_small'), 29)


def test_bfloat16_keeps_float32_parameters_and_features():
    model = alexnet('alexnet_small', dtype=jnp.bfloat16)
    (maps, features), variables = shapes_of(model, 64)
    assert maps.dtype == jnp.bfloat16 and features.dtype == jnp.float32
    chex.assert_type(jax.tree.leaves(variables), jnp.float32)


# Dropout --------------------------------------------------------------------------------------------------------------


def test_units_are_dropped_by_example():
    x, keys = jnp.ones((6, 2000)), jax.random.split(jax.random.key(0), 6)
    dropped = drop_units(x, keys, rate=0.3, layer=0)
    np.testing.assert_allclose(np.unique(dropped), [0, 1 / 0.7], rtol=1e-6)
    np.testing.assert_allclose((dropped == 0).mean(axis=1), 0.3, atol=0.05)
    assert abs(np.corrcoef(dropped) - np.eye(6)).max() < 0.1  # examples draw apart
    assert abs(np.corrcoef(dropped[0], drop_units(x, keys, rate=0.3, layer=1)[0])[0, 1]) < 0.1  # and layers
    chex.assert_trees_all_equal(drop_units(x[2:4], keys[2:4], rate=0.3, layer=0), dropped[2:4])  # however split
    chex.assert_trees_all_equal(drop_units(x, None, rate=0.3, layer=0), x)
    chex.assert_trees_all_equal(drop_units(x, keys, rate=0.0, layer=0), x)


def test_dropout_stands_before_both_full_layers_in_training_only():
    maps = jnp.abs(jax.random.normal(jax.random.key(1), (3, 2, 2, 2)))
    model = AlexNet(channels=(1, 1, 1, 1, 2), hidden=8, dropout=0.5)
    variables = jax.jit(lambda key: model.init(key, maps, method='features'))(jax.random.key(0))
    keys = jax.random.split(jax.random.key(2), 3)

    def run(**options):
        return model.apply(variables, maps, method='features', **options)

    chex.assert_trees_all_equal(run(), run(keys=keys))
    x = maps.reshape(3, -1)
    for layer, name in enumerate(('fc6', 'fc7')):
        x = drop_units(x, keys, rate=0.5, layer=layer) @ variables['params'][name]['kernel']
        x = jax.nn.relu(x + variables['params'][name]['bias'][None])
    chex.assert_trees_all_close(run(train=True, keys=keys), x, rtol=1e-5, atol=1e-6)
    assert np.any(run() != x)
    with pytest.raises(ValueError, match='random key'):
        run(train=True)
