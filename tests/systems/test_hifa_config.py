"""HIFA as the configs make it: the published sizes, the comparators, and errors for values that mean nothing."""

import jax
import jax.numpy as jnp
import pytest
from overrides import load_config
from small_hifa import random_batch

from jaxret.errors import ConfigError
from jaxret.systems.hifa import Hifa
from jaxret.systems.hifa_config import CHOICES, RANGES
from jaxret.training.state import count_parameters


def traced(config, batch, **options):
    """Variables, loss and report of a config, without computing them."""
    system = Hifa.from_config(config, classes=21, steps=100, **options)
    variables = jax.eval_shape(system.init, jax.random.key(0), batch)
    total, (collections, report) = jax.eval_shape(
        lambda v, b: system.loss(v, b, rng=jax.random.key(0), step=jnp.int32(0), train=True), variables, batch
    )
    assert total.shape == () and {value.shape for value in report.values()} == {()}
    assert collections == {name: value for name, value in variables.items() if name != 'params'}
    return variables, report


def test_paper_preset_traces_at_full_size():
    config, _ = load_config('mi3dor.py:paper')
    shapes = {
        'photo': ((6, 224, 224, 3), 'uint8'),
        'label': ((6,), 'int32'),
        'valid': ((6,), bool),
        'views': ((6, 12, 224, 224, 1), 'uint8'),
        'shape_valid': ((6,), bool),
    }
    batch = {name: jax.ShapeDtypeStruct(*shape) for name, shape in shapes.items()}
    config.loss.mutual_information, config.loss.centroid, config.loss.adversarial = 'dv_unbiased', 'running', 'revgrad'
    for form, cells, inputs in (('global', 1, 9216), ('local', 36, 256)):
        config.loss.mutual_information_form = form
        variables, _ = traced(config, batch)
        params = variables['params']
        sizes = {name: count_parameters(tree) for name, tree in params.items()}
        assert sizes == {
            'backbone': 61_100_840 - 4097 * 1000,
            'embedding': 4097 * 256,
            'classifier': 257 * 256 + 257 * 21,
            'discriminator': inputs * 512 + 257 * 512 + 513 * 512 + 513,
            'domain': 257 * 1024 + 1025 * 1024 + 1025,
        }
        assert variables['mutual_information']['shape']['log_average'].shape == (cells,)
        assert variables['centroids']['photo']['mean'].shape == (21, 256)


# Config values of the comparators -> the losses that they have.
METHODS = {
    'source_only': set(),
    'global': {'norm'},
    'global_local': {'norm', 'centroid'},
    'revgrad': {'adversarial'},
    'jan': {'mmd'},
    'dlea': {'adversarial', 'centroid'},
    'coral': {'coral'},
    '': {'norm', 'centroid', 'mutual_information'},
    'swap': {'norm', 'centroid', 'mutual_information'},
}


@pytest.mark.parametrize('method', METHODS)
def test_comparators_have_their_losses(method):
    config, _ = load_config(f'mi3dor.py:random_start_{method}'.removesuffix('_'))
    config.model.backbone = 'alexnet_small'
    batch = random_batch(2, 2)
    for name in ('photo', 'views'):
        batch[name] = jnp.zeros((*batch[name].shape[:-3], 64, 64, batch[name].shape[-1]), jnp.uint8)
    _, report = traced(config, batch)
    losses = {name.removesuffix('_loss') for name in report if name.endswith('_loss')}
    assert losses == METHODS[method] | {'label'}


def test_the_swap_exchanges_the_printed_weights():
    printed, swapped = (load_config(f'mi3dor.py:{preset}')[0].loss for preset in ('paper', 'swap'))
    assert (printed.mutual_information_weight, printed.norm_weight) == (0.05, 1.0)
    assert (swapped.mutual_information_weight, swapped.norm_weight) == (1.0, 0.05)


def test_backbones_are_told_the_device_axis_and_the_type():
    config, _ = load_config('mi3dor.py:smoke')
    config.model.dtype = 'bfloat16'
    backbone = Hifa.from_config(config, classes=3, steps=5, axis_name='data').encoder.backbone
    assert backbone.network.axis_name == 'data' and backbone.network.dtype == jnp.bfloat16


@pytest.mark.parametrize(
    'key,value',
    [
        *((key, 'other') for key in CHOICES),
        *((key, 0) for key in RANGES['above 0']),
        *((key, -1) for key in RANGES['0 or above']),
        *((key, 1.0) for key in RANGES['at least 0 and below 1']),
        *((key, -0.1) for key in RANGES['at least 0 and below 1']),
    ],
)
def test_bad_values_are_named(key, value):
    config, _ = load_config('mi3dor.py:smoke')
    group, name = key.split('.')
    config[group][name] = type(config[group][name])(value)
    with pytest.raises(ConfigError, match=f'config.{key}: '):
        Hifa.from_config(config, classes=3, steps=5)
