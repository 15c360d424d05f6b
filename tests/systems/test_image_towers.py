"""Frozen parts of image networks: no gradient, features in the place of pictures, normalisation, refusals."""

from dataclasses import replace
from functools import cache

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import small_cmic
import small_cross_modal
import small_hifa
from overrides import apply_overrides, load_config
from small_cmic import small_cmic as make_cmic

from jaxret.encoders.heads import EmbeddingHead, ImageEncoder
from jaxret.encoders.image_backbones import ConvMaps
from jaxret.encoders.resnet import resnet
from jaxret.encoders.segments import cut_network
from jaxret.encoders.view_pooling import ViewEncoder
from jaxret.errors import ConfigError
from jaxret.systems.cmic import CMIC
from jaxret.systems.cmic_encoders import BACKBONES
from jaxret.systems.hifa_inputs import make_towers
from jaxret.systems.image_towers import ImageTower

PUBLISHED = ((0.5, 0.25, 0.75), (0.5, 0.25, 0.125))


def parts(train, *, pooled=True, taps=()):
    network = resnet('resnet_small', width=4, stage_sizes=(1, 1), pooled=pooled, taps=taps)
    return cut_network(network, train=train, last_blocks=2, key='model.net')


def frozen_cmic(train, **options):
    cut = parts(train)
    return make_cmic(
        query_encoder=ImageEncoder(cut.trained, EmbeddingHead(8)),
        view_encoder=ViewEncoder(ImageEncoder(cut.trained, EmbeddingHead(8))),
        towers={
            'photo': ImageTower('photo', BACKBONES['query'].scope, cut.frozen, PUBLISHED),
            'views': ImageTower('views', BACKBONES['gallery'].scope, cut.frozen, PUBLISHED),
        },
        mask='white',
        **options,
    )


@cache
def variables_of(train):
    """The first ones of `frozen_cmic`, whatever its other options."""
    return jax.jit(frozen_cmic(train).init)(jax.random.key(1), small_cmic.random_batch(6))


def loss_and_gradient(system, variables, batch):
    def loss(params):
        value, (collections, _) = system.loss(
            {**variables, 'params': params}, batch, rng=jax.random.key(0), step=jnp.zeros((), int), train=True
        )
        return value, collections

    return jax.jit(jax.value_and_grad(loss, has_aux=True))(variables['params'])


def assert_close(found, expected, **tolerance):
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, **tolerance), found, expected)


@pytest.mark.parametrize('train', ['heads', 'last_blocks'])
@pytest.mark.parametrize('chunk', [0, 3])
def test_features_take_the_place_of_photos_and_views(train, chunk):
    system, batch = frozen_cmic(train, color_mode='none', chunk=chunk), small_cmic.random_batch(6)
    variables = variables_of(train)
    names = {'photo': ('image', 'mask'), 'views': ('views',)}
    features = {f'{name}_features': system.features(variables, batch, name) for name in names}
    stored = {name: value for name, value in batch.items() if name not in sum(names.values(), ())} | features
    (loss, state), gradient = loss_and_gradient(system, variables, batch)
    (other, other_state), other_gradient = loss_and_gradient(system, variables, stored)
    np.testing.assert_allclose(loss, other, rtol=1e-6)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-4, atol=1e-5),
        (gradient, state),
        (other_gradient, other_state),
    )
    for name in names:
        np.testing.assert_allclose(
            system.embed(variables, batch, name), system.embed(variables, features, name), rtol=1e-5, atol=1e-6
        )
    head = set(variables['params']['query'])
    assert head == ({'head'} if train == 'heads' else {'head', 'backbone'})
    assert set(variables['frozen']['params']) == {'query', 'view'}


def test_colours_change_photos_before_the_frozen_part():
    system, batch = frozen_cmic('heads'), small_cmic.random_batch(6)
    variables = variables_of('heads')
    plain = system.features(variables, batch, 'photo')
    changed = system.features(variables, batch, 'photo', rng=jax.random.key(3))
    recolored = {**batch, 'image': system.color(batch['image'].astype(np.float32) / 255, jax.random.key(3), None)}
    np.testing.assert_allclose(changed, system.features(variables, recolored, 'photo'), rtol=1e-5)
    assert np.abs(changed - plain).max() > 1e-3
    np.testing.assert_array_equal(
        system.features(variables, batch, 'views', rng=jax.random.key(3)), system.features(variables, batch, 'views')
    )


def test_normalisation_of_colours_and_grey():
    tower = ImageTower('photo', ('a',), None, PUBLISHED)
    image = np.array([[[[255, 0, 102]]]], np.uint8)
    np.testing.assert_allclose(tower.normalized(image)[0, 0, 0], [1, -1, (0.4 - 0.75) / 0.125], rtol=1e-5)
    np.testing.assert_allclose(tower.normalized(image / np.float32(255))[0, 0, 0], tower.normalized(image)[0, 0, 0])
    grey = tower.normalized(np.full((1, 1, 1, 1), 51, np.uint8))
    np.testing.assert_allclose(grey, np.full((1, 1, 1, 1), (0.2 - 0.5) / (0.875 / 3)), rtol=1e-5)
    repeated = ImageTower('photo', ('a',), nn.Dense(1), PUBLISHED).normalized(np.full((2, 1, 1, 1), 51, np.uint8))
    np.testing.assert_allclose(repeated[1, 0, 0], [-0.6, (0.2 - 0.25) / 0.25, (0.2 - 0.75) / 0.125], rtol=1e-5)


def test_white_is_the_ground_outside_the_mask():
    system, batch = frozen_cmic('heads'), small_cmic.random_batch(2)
    batch['mask'] = np.zeros_like(batch['mask'])
    variables = variables_of('heads')
    white = {**batch, 'image': np.full_like(batch['image'], 255), 'mask': np.full_like(batch['mask'], 255)}
    np.testing.assert_allclose(
        system.features(variables, batch, 'photo'), system.features(variables, white, 'photo'), rtol=1e-6
    )


def test_hifa_trains_on_features():
    cut = parts('heads', pooled=False)
    plain = small_hifa.small_hifa()
    encoder = plain.encoder.clone(backbone=ConvMaps(cut.trained))
    system = replace(plain, encoder=encoder, towers=make_towers(cut.frozen, PUBLISHED))
    batch = small_hifa.random_batch(6, 4)
    variables = jax.jit(system.init)(jax.random.key(0), batch)
    assert 'backbone' not in variables['params'] and 'frozen' in variables
    features = {
        'photo_features': system.features(variables, batch, 'photo'),
        'views_features': system.features(variables, batch, 'shape'),
    }
    stored = {name: value for name, value in batch.items() if name not in ('photo', 'views')} | features
    found, expected = (loss_and_gradient(system, variables, each) for each in (stored, batch))
    assert_close(found, expected, rtol=2e-4, atol=1e-5)


def test_cross_modal_trains_on_features():
    system, batch = small_cross_modal.small_system(flat=True), small_cross_modal.random_batch(4)
    cut = parts('heads')
    branch = small_cross_modal.small_system().encoders['image'].clone(trunk=None)
    tower = ImageTower('image', ('image', 'trunk'), cut.frozen, PUBLISHED)
    system = replace(system, encoders={**system.encoders, 'image': branch}, tower=tower)
    variables = jax.jit(system.init)(jax.random.key(0), batch)
    features = {'image_features': system.features(variables, batch, 'image')}
    stored = {name: value for name, value in batch.items() if name != 'image'} | features
    found, expected = (loss_and_gradient(system, variables, each) for each in (stored, batch))
    assert_close(found, expected, rtol=2e-4, atol=1e-5)


LITE = {'model.query_encoder': 'efficientnet_lite0', 'model.view_encoder': 'efficientnet_lite0'}
FROZEN = {**LITE, 'model.train': 'heads', 'pretrained.query': 'imagenet', 'pretrained.gallery': 'imagenet'}


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        ({**FROZEN, 'pretrained.gallery': ''}, 'config.pretrained.gallery is empty and they would stay random'),
        ({**FROZEN, 'model.mask': 'both'}, "config.model.mask: 'both' is a fourth channel"),
        ({**FROZEN, 'model.mask': 'none', 'model.taps': '18'}, 'config.model.taps: 18'),
        ({'model.train': 'some'}, "config.model.train: 'some' is not one of all, last_blocks, heads"),
        ({'model.normalization': 'imagenet'}, "config.model.normalization: 'imagenet'"),
    ],
)
def test_configs_that_cannot_be(changes, message):
    config, _ = load_config('pix3d.py:smoke')
    apply_overrides(config, {'model.mask': 'white', **changes})
    with pytest.raises(ConfigError, match=message):
        CMIC.from_config(config)


def test_a_frozen_config_traces_with_few_trained_parameters():
    config, _ = load_config('pix3d.py:smoke')
    apply_overrides(config, {**FROZEN, 'model.mask': 'white', 'model.taps': '8,11', 'model.normalization': 'published'})
    system = CMIC.from_config(config)
    zeros = {
        'image': jnp.zeros((1, 32, 32, 3), jnp.uint8),
        'mask': jnp.zeros((1, 32, 32, 1), jnp.uint8),
        'views': jnp.zeros((1, 1, 32, 32, 1), jnp.uint8),
    }
    shapes = jax.eval_shape(system.init, jax.random.key(0), zeros)
    assert shapes['params']['query']['head']['linear']['kernel'].shape == (80 + 112, 16)
    assert set(shapes['params']) == {'query', 'view', 'attention'}
