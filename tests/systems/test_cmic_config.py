"""CMIC as the configs make it: the published sizes, and errors for values that mean nothing."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from overrides import load_config, presets
from small_cmic import random_batch

from jaxret.errors import ConfigError
from jaxret.geometry.render import ViewRing
from jaxret.systems.cmic import CHOICES, CMIC


def resnet_parameters(kind, channels):
    """Of ResNet-34 and ResNet-50 without fc, from the layer sizes of He et al. 2016, table 1."""
    total, width = 7 * 7 * channels * 64 + 2 * 64, 64
    for planes, blocks in zip((64, 128, 256, 512), (3, 4, 6, 3), strict=True):
        out = planes * (4 if kind == 'bottleneck' else 1)
        for _ in range(blocks):
            if kind == 'bottleneck':
                total += width * planes + 9 * planes**2 + planes * out + 2 * (planes + planes + out)
            else:
                total += 9 * width * planes + 9 * planes**2 + 2 * (planes + planes)
            if width != out:
                total += width * out + 2 * out
            width = out
    return total, width


def test_paper_preset_traces_with_the_expected_sizes():
    # torchvision's counts with three channels and a 1000-way layer, to check the formula itself.
    for kind, published in (('bottleneck', 25_557_032), ('basic', 21_797_672)):
        backbone, width = resnet_parameters(kind, 3)
        assert backbone + width * 1000 + 1000 == published
    config, _ = load_config('pix3d.py:paper')
    system = CMIC.from_config(config)
    count, size, views = config.batch_size, config.data.image_size, config.render.views
    assert (count, size, views, config.data.views_per_step) == (60, 224, 12, 0)
    shapes = {
        'image': ((size, size, 3), 'uint8'),
        'mask': ((size, size, 1), 'uint8'),
        'views': ((views, size, size, 1), 'uint8'),
        'query_valid': ((), 'bool'),
        'shape_valid': ((), 'bool'),
        **{name: ((), 'int32') for name in ('positive', 'query_category', 'shape_category')},
    }
    batch = {name: jax.ShapeDtypeStruct((count, *shape), dtype) for name, (shape, dtype) in shapes.items()}
    variables = jax.eval_shape(system.init, jax.random.key(0), batch)
    for name, kind, channels in (('query', 'bottleneck', 4), ('view', 'basic', 1)):
        backbone, width = resnet_parameters(kind, channels)
        found = sum(x.size for x in jax.tree.leaves(variables['params'][name]))
        assert found == backbone + 2 * width + width * 128 + 128
    assert sum(x.size for x in jax.tree.leaves(variables['params']['attention'])) == 128 * 128
    assert set(variables['params']) == {'query', 'view', 'attention'}

    def train(params, collections, batch):
        return system.loss(
            {'params': params, **collections}, batch, rng=jax.random.key(5), step=jnp.int32(0), train=True
        )[0]

    collections = {'batch_stats': variables['batch_stats']}
    value, gradient = jax.eval_shape(jax.value_and_grad(train), variables['params'], collections, batch)
    assert (value.shape, value.dtype) == ((), jnp.float32)
    chex.assert_trees_all_equal_shapes_and_dtypes(gradient, variables['params'])
    embedded = [jax.eval_shape(lambda v, b, m=m: system.embed(v, b, m), variables, batch) for m in ('photo', 'views')]
    assert [x.shape for x in embedded] == [(60, 128), (60, 12, 128)]
    assert jax.eval_shape(system.score, variables, *embedded).shape == (60, 60)


def test_configs_build_the_system_they_name():
    config, _ = load_config('pix3d.py:smoke')
    system = CMIC.from_config(config)
    matching = system.matching
    assert (matching.temperature, matching.category_weight, matching.true_shape) == (0.1, 0.2, 'included')
    batch = random_batch(4)
    variables = jax.eval_shape(system.init, jax.random.key(0), batch)
    embedded = jax.eval_shape(lambda v, b: system.embed(v, b, 'photo'), variables, batch)
    assert embedded.shape == (4, config.model.embedding_dim)
    for key, choices in CHOICES.items():
        group, name = key.split('.')
        config, _ = load_config('pix3d.py:smoke')
        config[group][name] = 'something'
        with pytest.raises(ConfigError, match=f"config.{key}: 'something' is not one of {', '.join(choices)}"):
            CMIC.from_config(config)
    config, _ = load_config('pix3d.py:smoke')
    config.model.view_encoder = 'vgg'
    with pytest.raises(ConfigError, match="'vgg'.*resnet18"):
        CMIC.from_config(config)
    config, _ = load_config('pix3d.py:smoke')
    config.color.hsv_range = (0.1,)
    with pytest.raises(ConfigError, match='hsv_range: .* is not three numbers'):
        CMIC.from_config(config)


def test_every_preset_names_values_that_there_are():
    for name in ('pix3d.py', 'stanford_cars.py', 'comp_cars.py'):
        for preset in presets(name):
            config, short = load_config(f'{name}:{preset}')
            system = CMIC.from_config(config, shapes=9)
            assert system.matching.kind == config.loss.kind and short.endswith(preset)
            assert config.data.views_per_step <= config.render.views
            ViewRing(size=config.data.image_size, **config.render.to_dict())


@pytest.mark.parametrize('preset', ['triplet_no_category', 'center', 'textured', 'max_views'])
def test_rows_trace_a_training_step(preset):
    config, _ = load_config(f'pix3d.py:{preset}')
    system = CMIC.from_config(config, shapes=9)
    batch = random_batch(4) | {
        'shape_index': np.array([3, 8, 0, 5], np.int32),
        'shape_inclusion': np.full(4, 0.5, np.float32),
    }
    if config.render.shading == 'textured':
        batch['views'] = np.repeat(batch['views'], 3, axis=-1)
    variables = jax.eval_shape(system.init, jax.random.key(0), batch)

    def train(params):
        return system.loss({**rest, 'params': params}, batch, rng=jax.random.key(5), step=jnp.int32(0), train=True)[0]

    rest = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), {**variables, 'params': {}})
    assert jax.eval_shape(jax.grad(train), variables['params']).keys() == variables['params'].keys()
