"""Networks cut in a frozen and a trained part, and features of chosen segments."""

import jax
import numpy as np
import pytest
from references_encoders import random_variables

from jaxret.encoders.alexnet import alexnet
from jaxret.encoders.resnet import resnet
from jaxret.encoders.segments import cut_network, parse_taps
from jaxret.errors import ConfigError


def network(**options):
    return resnet('resnet_small', width=4, stage_sizes=(1, 2), **options)


IMAGES = np.random.default_rng(0).uniform(-1, 1, (2, 17, 15, 3)).astype(np.float32)


def cut(**options):
    return cut_network(network(**options.pop('network', {})), **{'last_blocks': 2, 'key': 'model.net', **options})


def test_segments_are_stem_blocks_and_mean():
    whole = network()
    variables = random_variables(whole, IMAGES)
    assert whole.depth == 5
    x = IMAGES
    for segment in range(whole.depth):
        x = whole.clone(first=segment, last=segment + 1 if segment < 4 else None).apply(variables, x)
    np.testing.assert_allclose(x, whole.apply(variables, IMAGES), rtol=1e-6)


@pytest.mark.parametrize('last_blocks', [1, 2, 4])
def test_both_parts_make_the_whole_and_share_its_variables(last_blocks):
    whole, (frozen, trained) = network(), cut(train='last_blocks', last_blocks=last_blocks)
    variables = random_variables(whole, IMAGES)
    maps = frozen.apply(variables, IMAGES)
    np.testing.assert_allclose(trained.apply(variables, maps), whole.apply(variables, IMAGES), rtol=1e-5, atol=1e-6)
    own = [
        set(jax.eval_shape(part.init, jax.random.key(0), x).get('params', {}))
        for part, x in ((frozen, IMAGES), (trained, maps))
    ]
    assert own[0].isdisjoint(own[1]) and own[0] | own[1] == set(variables['params'])


def test_all_or_nothing_is_trained():
    assert cut(train='all') == (None, network())
    assert cut(train='heads') == (network(), None)


def test_taps_are_the_features():
    whole = network()
    variables = random_variables(whole, IMAGES)
    found = network(taps=(2, 0, 4)).apply(variables, IMAGES)
    maps = [whole.clone(last=segment + 1).apply(variables, IMAGES) for segment in (2, 0)]
    expected = [np.mean(x, axis=(1, 2)) for x in maps] + [whole.apply(variables, IMAGES)]
    np.testing.assert_allclose(found, np.concatenate(expected, axis=1), rtol=1e-5, atol=1e-6)
    assert set(jax.eval_shape(network(taps=(1,)).init, jax.random.key(0), IMAGES)['params']) == {
        'conv1',
        'bn1',
        'layer1_0',
    }


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        ({'train': 'last_blocks', 'last_blocks': 0}, 'config.model.last_blocks: 0, but .* 5 segments; use 1 .. 4'),
        ({'train': 'last_blocks', 'last_blocks': 5}, 'config.model.last_blocks: 5'),
        ({'train': 'heads', 'network': {'taps': (5,)}}, r'config.model.taps: 5, but .*model.net has segments 0 .. 4'),
        ({'train': 'last_blocks', 'network': {'taps': (2, 4)}}, 'config.model.taps: segment 2 is frozen.* 3 and above'),
    ],
)
def test_cuts_that_cannot_be(options, message):
    with pytest.raises(ConfigError, match=message):
        cut(**options)


def test_alexnet_is_trained_whole():
    with pytest.raises(ConfigError, match="config.model.train: 'heads', .* use 'all'"):
        cut_network(alexnet('alexnet_small', dropout=0.0), train='heads', last_blocks=1, key='model.backbone')


def test_segments_and_taps_that_there_are_not():
    for options, message in (
        ({'first': 2, 'last': 2}, 'segments 2 to 2 of a network of 5'),
        ({'taps': (1,), 'pooled': False}, 'gives a map'),
        ({'taps': (1,), 'first': 2}, r'taps \[1\] of a network that has segments 2 to 4'),
    ):
        with pytest.raises(ConfigError, match=message):
            jax.eval_shape(network(**options).init, jax.random.key(0), IMAGES)


def test_taps_of_a_config():
    assert parse_taps('') == () and parse_taps('8, 11') == (8, 11)
    for text in ('a', '8,', '-1', '1.5'):
        with pytest.raises(ConfigError, match='config.model.taps: .* is no number of a segment'):
            parse_taps(text)
