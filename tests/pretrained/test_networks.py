"""PyTorch's weights in our networks: the outputs are those of torchvision's (tests/fixtures/make_pretrained.py)."""

import functools
import json
import re
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.traverse_util import flatten_dict, unflatten_dict
from seeded_weights import seeded_images, seeded_weights

from jaxret.encoders.alexnet import alexnet
from jaxret.encoders.image_backbones import image_backbone
from jaxret.encoders.resnet import resnet
from jaxret.errors import DataError
from jaxret.pretrained import networks
from jaxret.pretrained.networks import find_network, network_part, network_weights, replace_values

STORED = np.load(Path(__file__).parents[1] / 'fixtures' / 'pretrained.npz', allow_pickle=False)
NETWORKS = {'resnet18': (2, 65, 47), 'resnet34': (2, 75, 99), 'resnet50': (3, 51, 67), 'alexnet': (1, 225, 247)}
WATCHED = ('bn1', 'layer1.0.bn2', 'layer4.0.downsample.1', 'layer4.1.bn2')


@functools.lru_cache(maxsize=2)
def stored_weights(name):
    return seeded_weights(json.loads(str(STORED[f'{name}/shapes'])), seed=list(NETWORKS).index(name))


def torch_weights(name):
    return dict(stored_weights(name))


def images_of(name):
    return seeded_images(*NETWORKS[name], seed=list(NETWORKS).index(name))


def make_network(name, *, classes=None, dtype=jnp.float32):
    if name == 'alexnet':
        return alexnet(name, dropout=0.0, num_classes=classes, dtype=dtype)
    return resnet(name, num_classes=classes, dtype=dtype)


@functools.cache
def shapes_of(network, shape=(1, 64, 64, 3)):
    return jax.eval_shape(network.init, jax.random.key(0), jax.ShapeDtypeStruct(shape, jnp.float32))


def loaded(weights, network, shape=(1, 64, 64, 3), **options):
    return unflatten_dict(network_weights(weights, shapes_of(network, shape), where='a.pth', **options))


def output(name, network, variables, images):
    """Logits or features of a jitted call in evaluation mode."""
    found = jax.jit(network.apply)(variables, images)
    return found[1] if name == 'alexnet' else found


@pytest.mark.parametrize(
    ('name', 'kind'),
    [
        ('resnet18', 'features'),
        ('resnet18', 'logits'),
        ('resnet34', 'features'),
        ('resnet50', 'features'),
        ('alexnet', 'logits'),
    ],
)
def test_evaluation_gives_what_torchvision_gives(name, kind):
    network = make_network(name, classes=1000 if kind == 'logits' else None)
    images, expected = images_of(name), STORED[f'{name}/eval_{kind}']
    found = output(name, network, loaded(torch_weights(name), network, images.shape), images)
    assert np.std(expected) > 0.05
    np.testing.assert_allclose(found[:, : expected.shape[1]], expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize('name', NETWORKS)
def test_training_gives_what_torchvision_gives(name):
    """Batch norm in float64: over few values it makes rounding errors of float32 larger than 1e-5."""
    images, weights, dtype = images_of(name), torch_weights(name), np.float32 if name == 'alexnet' else np.float64
    variables = loaded(weights, make_network(name), images.shape)
    with jax.enable_x64(dtype == np.float64):
        network = make_network(name, dtype=dtype)
        found, state = jax.jit(
            lambda variables, images: network.apply(variables, images, train=True, mutable=['batch_stats'])
        )(jax.tree.map(lambda x: np.asarray(x, dtype), variables), images.astype(dtype))
    found, state = jax.device_get((found, state))
    found = found[1] if name == 'alexnet' else found
    np.testing.assert_allclose(found, STORED[f'{name}/train_features'], atol=1e-5, rtol=0)
    assert name == 'alexnet' or np.abs(found - STORED[f'{name}/eval_features']).max() > 0.1
    for key in WATCHED:
        if f'{name}/{key}.count' not in STORED:
            continue
        module = key.replace('.', '_', 1).replace('downsample.1', 'downsample_bn').split('.')
        ours = state['batch_stats']
        for part in module:
            ours = ours[part]
        np.testing.assert_allclose(ours['mean'], STORED[f'{name}/{key}.running_mean'], atol=1e-6, rtol=0)
        # PyTorch averages the unbiased variance, n / (n - 1) times ours (see `jaxret.encoders.layers.batch_norm`).
        before, count = weights[f'{key}.running_var'], STORED[f'{name}/{key}.count']
        unbiased = 0.9 * before + (ours['var'] - 0.9 * before) * count / (count - 1)
        np.testing.assert_allclose(unbiased, STORED[f'{name}/{key}.running_var'], atol=1e-6, rtol=0)


@pytest.mark.parametrize(('how', 'factor'), [('sum', 1), ('mean', 3)])
def test_grey_gives_what_grey_in_three_channels_gives(how, factor):
    network, weights = resnet('resnet18', stage_sizes=(1,)), torch_weights('resnet18')
    weights = {name: array for name, array in weights.items() if name.startswith(('conv1', 'bn1', 'layer1.0'))}
    grey = seeded_images(2, 33, 35, seed=5, channels=1)
    rgb = output('', network, loaded(weights, network), np.repeat(grey, 3, axis=-1))
    found = output('', network, loaded(weights, network, (1, 64, 64, 1), first_convolution=how), factor * grey)
    np.testing.assert_allclose(found, rgb, atol=1e-5, rtol=0)


@pytest.mark.parametrize('how', ['sum', 'mean'])
def test_a_mask_channel_starts_without_effect(how):
    network, weights = resnet('resnet18', stage_sizes=(1,)), torch_weights('resnet18')
    weights = {name: array for name, array in weights.items() if name.startswith(('conv1', 'bn1', 'layer1.0'))}
    images = seeded_images(2, 33, 35, seed=6, channels=4)
    variables = loaded(weights, network, (1, 64, 64, 4), first_convolution=how)
    rgb = output('', network, loaded(weights, network), images[..., :3])
    np.testing.assert_allclose(output('', network, variables, images), rgb, atol=1e-5, rtol=0)


@pytest.mark.parametrize('channels', [1, 3, 4])
def test_a_random_first_convolution_stays_as_initialised(channels):
    needed = flatten_dict(shapes_of(resnet('resnet18'), (1, 64, 64, channels)))
    values = network_weights(torch_weights('resnet18'), unflatten_dict(needed), where='a', first_convolution='random')
    path = 'params', 'conv1', 'kernel'
    assert path not in values
    assert ('params', 'bn1', 'scale') in values
    assert len(values) == len(needed) - 1


@pytest.mark.parametrize('dtype', [np.float64, np.float16, jnp.bfloat16])
def test_other_floats_become_float32(dtype):
    weights = {
        name: array.astype(dtype) if array.dtype == np.float32 else array
        for name, array in torch_weights('resnet18').items()
    }
    values = network_weights(weights, shapes_of(resnet('resnet18')), where='a')
    assert {value.dtype for value in values.values()} == {np.dtype(np.float32)}
    np.testing.assert_array_equal(values['params', 'bn1', 'bias'], weights['bn1.bias'].astype(np.float32))


def same_values(found, plain):
    return found.keys() == plain.keys() and all(np.array_equal(found[path], plain[path]) for path in plain)


@pytest.mark.parametrize(
    ('written', 'prefix'),
    [
        ('module.{}', ''),
        ('_orig_mod.{}', ''),
        ('module._orig_mod.{}', ''),
        ('backbone.{}', 'backbone.'),
        ('module.backbone.{}', 'backbone.'),
        ('model.{}', 'model.'),
        ('net.{}', 'net.'),
        ('model._orig_mod.encoder_q.{}', 'model.encoder_q.'),
        ('some.thing else.{}', 'some.thing else.'),
    ],
)
def test_prefixes_are_seen_through(written, prefix):
    weights, needed = torch_weights('resnet18'), shapes_of(resnet('resnet18'))
    plain = network_weights(weights, needed, where='a')
    other = {'queue': np.zeros((2, 3), np.float32)} if prefix else {}
    named = {written.format(name): array for name, array in weights.items()} | other
    assert same_values(network_weights(named, needed, where='a'), plain)
    part = find_network(named, needed, where='a')
    assert (part.prefix, part.others, part.twice) == (prefix, tuple(other), ())


def test_parallel_features_of_alexnet():
    weights, needed = torch_weights('alexnet'), shapes_of(alexnet('alexnet'), (1, 224, 224, 3))
    named = {name.replace('features.', 'features.module.'): array for name, array in weights.items()}
    assert same_values(network_weights(named, needed, where='a'), network_weights(weights, needed, where='a'))


def test_of_several_networks_the_trained_one_is_taken():
    weights, needed = torch_weights('resnet18'), shapes_of(resnet('resnet18'))
    zeros = {name: np.zeros_like(array) for name, array in weights.items()}

    def both(first, second):
        return {f'{first}.{name}': array for name, array in zeros.items()} | {
            f'{second}.{name}': array for name, array in weights.items()
        }

    plain = network_weights(weights, needed, where='a')
    for first, second in (('encoder_k', 'encoder_q'), ('model_ema', 'model'), ('m.teacher', 'm.student')):
        named = both(first, second) | {f'{second}.fc.2.weight': np.zeros((2, 2), np.float32)}
        assert same_values(network_weights(named, needed, where='a'), plain)
    with pytest.raises(DataError, match='a.pth: 2 such networks: left, right; store the weights of one'):
        network_weights(both('left', 'right'), needed, where='a.pth')


def refusal(weights, network, shape=(1, 64, 64, 3)):
    with pytest.raises(DataError) as error:
        network_weights(weights, shapes_of(network, shape), where='a.pth')
    return str(error.value)


def test_what_does_not_fit_is_counted_and_shown(monkeypatch):
    weights = torch_weights('resnet18')
    del weights['layer2.0.bn1.running_var'], weights['bn1.weight']
    weights |= {
        'layer3.0.conv1.weight': weights['layer3.0.conv1.weight'][:, :5],
        'bn1.bias': np.zeros((64, 1), np.float32),
        'layer1.0.bn1.bias': np.zeros(64, np.int32),
        'layer1.0.bn2.bias': np.full(64, np.nan, np.float32),
        'layer1.1.bn2.bias': np.full(64, 1e200),
        'head.weight': np.zeros((5, 512), np.float32),
        'conv1.weight': weights['conv1.weight'][..., 0],
        'module.layer4.1.bn2.bias': np.zeros(512, np.float32),
    }
    message = refusal(weights, resnet('resnet18'))
    assert '10 entries do not fit, such as ' in message and '\n' not in message
    assert message.count(' here') + message.count('a second') + message.count('values') == 3
    monkeypatch.setattr(networks, '_SHOWN', 10)
    message = refusal(weights, resnet('resnet18'))
    for line in (
        'layer2.0.bn1.running_var: absent there, [128] here',
        'bn1.weight: absent there, [64] here',
        'layer3.0.conv1.weight: [3, 3, 5, 256] there, [3, 3, 128, 256] here',
        'bn1.bias: [64, 1] there, [64] here',
        'layer1.0.bn1.bias: values of type int32',
        'layer1.0.bn2.bias: values that are not finite',
        'layer1.1.bn2.bias: values that are not finite',
        'head.weight: [5, 512] there, absent here',
        'conv1.weight: [64, 3, 7] there, [7, 7, 3, 64] here',
        'module.layer4.1.bn2.bias: a second layer4.1.bn2.bias',
    ):
        assert line in message


@pytest.mark.parametrize(
    ('name', 'network', 'count', 'lines'),
    [
        ('resnet34', resnet('resnet18'), 80, r'layer\d.[2-5].\S+: \[.*\] there, absent here'),
        ('resnet18', resnet('resnet34'), 80, r'layer\d.[2-5].\S+: absent there, \[.*\] here'),
        ('alexnet', resnet('resnet18'), 114, r'\S+: absent there, \[.*\] here'),
        ('resnet18', resnet('resnet_small'), 100, r'\S+: \[.*\] there, \[.*\] here( \(in the order of \S+\))?'),
    ],
)
def test_another_architecture_gives_one_line_with_three_entries(name, network, count, lines):
    message = refusal(torch_weights(name), network)
    head, tail = 'a.pth: not the weights of this network; ', '; use weights of the network that config.model names'
    assert message.startswith(f'{head}{count} entries do not fit, such as ') and '\n' not in message
    shown = message.removeprefix(f'{head}{count} entries do not fit, such as ').partition(tail)[0].split('; ')
    assert len(shown) == 3 and all(re.fullmatch(lines, line) for line in shown)


def test_alexnet_on_another_map_and_without_its_classifier():
    weights = torch_weights('alexnet')
    message = refusal(weights, alexnet('alexnet'), (1, 160, 160, 3))
    assert '1 entries do not fit' in message
    assert 'classifier.1.weight: [9216, 4096] there, [4096, 4096] here' in message
    assert 'images of the size that they were trained on' in message
    values = network_weights(weights, shapes_of(alexnet('alexnet'), (1, 224, 224, 3)), where='a')
    assert len(values) == 14


def test_a_head_of_other_classes_is_listed():
    assert 'fc.weight: [512, 1000] there, [512, 21] here' in refusal(
        torch_weights('resnet18'), resnet('resnet18', num_classes=21)
    )


def test_values_go_into_a_part_of_the_variables():
    network = image_backbone('resnet18', dropout=0.0).trained  # as HIFA has it
    shapes = shapes_of(network)
    values = network_weights(torch_weights('resnet18'), shapes, where='a')
    part = jax.tree.map(lambda x: jnp.zeros(x.shape), shapes)
    variables = {
        'params': {'other': {'kernel': jnp.ones(2)}, 'deep': {'net': part['params']}},
        'batch_stats': {'deep': {'net': part['batch_stats']}},
        'centroids': {'photo': jnp.ones(3)},
    }
    assert jax.tree.structure(network_part(variables, ('deep', 'net'))) == jax.tree.structure(
        {'params': part['params'], 'batch_stats': part['batch_stats']}
    )
    found = replace_values(variables, ('deep', 'net'), values)
    assert jax.tree.structure(found) == jax.tree.structure(variables)
    changed = flatten_dict(network_part(found, ('deep', 'net')))
    assert changed.keys() == values.keys()
    assert all(np.array_equal(changed[path], values[path]) for path in values)
    np.testing.assert_array_equal(found['params']['other']['kernel'], 1)
    np.testing.assert_array_equal(found['centroids']['photo'], 1)
    np.testing.assert_array_equal(variables['params']['deep']['net']['bn1']['scale'], 0)
    with pytest.raises(KeyError, match='params/nowhere/conv1/kernel'):
        replace_values(variables, ('nowhere',), values)
