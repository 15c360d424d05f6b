"""Backbones in two parts, and photos and views through one of them: against the whole networks and loops over views."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from references_encoders import random_variables

from jaxret.encoders.alexnet import AlexNet, Stem
from jaxret.encoders.heads import LinearHead
from jaxret.encoders.image_backbones import ConvMaps, image_backbone, image_network
from jaxret.encoders.resnet import ResNet
from jaxret.encoders.shared_views import VIEW_POOLINGS, SharedViews
from jaxret.errors import ConfigError

# Map and features of images of 224 (published networks) or 64 pixels.
SIZES = {
    'alexnet': ((6, 6, 256), 4096),
    'alexnet_small': ((3, 3, 48), 256),
    'resnet18': ((7, 7, 512), 512),
    'resnet50': ((7, 7, 2048), 2048),
    'resnet_small': ((4, 4, 128), 128),
    'resnet_coarse': ((2, 2, 128), 128),
    'efficientnet_lite0': ((2, 2, 1280), 1280),
    'vit_s16': ((4, 4, 384), 384),
}
NETWORKS = {
    'alexnet': AlexNet(channels=(3, 4, 4, 3, 3), hidden=6, stem=Stem(3, 1, 1)),
    'resnet': ConvMaps(ResNet(stage_sizes=(1,), block='basic', width=3, stem='coarse', pooled=False)),
}


@pytest.mark.parametrize('name', SIZES)
def test_maps_and_features_have_their_sizes(name):
    side = 224 if name in ('alexnet', 'resnet18', 'resnet50') else 64
    frozen, model = image_backbone(name, dropout=0.5, dtype=jnp.bfloat16)
    assert frozen is None
    images = jax.ShapeDtypeStruct((2, side, side, 3), jnp.float32)
    (maps, features), variables = jax.eval_shape(model.init_with_output, jax.random.key(0), images)
    assert (maps.shape[1:], features.shape[1]) == SIZES[name]
    assert maps.dtype == jnp.bfloat16 and features.dtype == jnp.float32
    if name in ('alexnet', 'alexnet_small'):
        assert set(variables) == {'params'} and model.dropout == 0.5
    else:  # parameters are where the plain network has them
        plain = jax.eval_shape(image_network(name).init, jax.random.key(0), images)
        chex.assert_trees_all_equal_shapes(variables, plain)
        frozen, trained = image_backbone(name, dropout=0.5, train='heads')
        assert jax.eval_shape(frozen.apply, variables, images).shape == (2, *SIZES[name][0]) and trained.network is None
    if name.startswith('resnet'):
        assert image_backbone(name, dropout=0.5, axis_name='data').trained.network.axis_name == 'data'


def test_unknown_names_are_refused():
    with pytest.raises(ConfigError, match='alexnet, alexnet_small, resnet18'):
        image_backbone('resnet19', dropout=0.5)


@pytest.mark.parametrize('train', [False, True])
def test_features_of_the_map_are_those_of_the_network(train):
    x = np.random.default_rng(0).normal(size=(4, 16, 16, 3)).astype(np.float32)
    split = NETWORKS['resnet']
    plain = ResNet(stage_sizes=(1,), block='basic', width=3, stem='coarse')
    variables = random_variables(plain, x)
    (maps, features), state = split.apply(variables, x, train=train, mutable=['batch_stats'])
    expected, expected_state = plain.apply(variables, x, train=train, mutable=['batch_stats'])
    np.testing.assert_allclose(features, expected, rtol=1e-6)
    np.testing.assert_allclose(maps.mean(axis=(1, 2)), expected, rtol=1e-5)
    chex.assert_trees_all_equal(state, expected_state)


@pytest.mark.parametrize('network', NETWORKS)
@pytest.mark.parametrize('pooling', VIEW_POOLINGS)
def test_photos_and_views_equal_loops(network, pooling):
    rng = np.random.default_rng(0)
    photos = rng.normal(size=(3, 24, 24, 3)).astype(np.float32)
    views = rng.normal(size=(2, 4, 24, 24, 3)).astype(np.float32)
    backbone = NETWORKS[network]
    model = SharedViews(backbone, LinearHead((5,)), pooling)
    variables = random_variables(model, photos, views)
    kernel, bias = (np.asarray(variables['params']['embedding']['layer1'][name]) for name in ('kernel', 'bias'))
    own = {collection: tree['backbone'] for collection, tree in variables.items()}

    @jax.jit
    def part(images):
        return backbone.apply(own, images, method='maps')

    @jax.jit
    def embed(maps):
        return backbone.apply(own, maps, method='features') @ kernel + bias[None]

    found = jax.jit(model.apply)(variables, photos, views)
    np.testing.assert_allclose(found.photos, embed(part(photos)), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(found.photo_maps, part(photos), rtol=1e-4, atol=1e-5)
    maps, rows, pooled = [], [], []
    for shape in views:
        own_maps = part(shape)
        if pooling == 'conv':
            own_maps = np.max(own_maps, axis=0, keepdims=True)
        own_rows = embed(own_maps)
        maps.extend(own_maps)
        rows.extend(own_rows)
        pooled.append(np.max(own_rows, axis=0))
    np.testing.assert_allclose(found.view_maps, maps, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(found.views, rows, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(found.shapes, pooled, rtol=1e-4, atol=1e-5)
    photo, shape = (jax.jit(lambda x, m=name: model.apply(variables, x, method=m)) for name in ('photo', 'shape'))
    np.testing.assert_allclose(photo(photos), found.photos, rtol=1e-4, atol=1e-5)
    for order in (views, views[:, ::-1]):
        np.testing.assert_allclose(shape(order), found.shapes, rtol=1e-4, atol=1e-5)


def test_batch_norm_sees_photos_and_views_as_one_batch():
    rng = np.random.default_rng(0)
    photos, views = (rng.normal(size=(*shape, 8, 8, 3)).astype(np.float32) for shape in ((3,), (2, 4)))
    model = SharedViews(NETWORKS['resnet'], LinearHead((5,)))
    variables = random_variables(model, photos, views)
    _, state = jax.jit(lambda *x: model.apply(*x, train=True, mutable=['batch_stats']))(variables, photos, views)
    images = np.concatenate([photos, views.reshape(8, 8, 8, 3)])
    own = {collection: tree['backbone'] for collection, tree in variables.items()}
    _, expected = jax.jit(lambda *x: NETWORKS['resnet'].apply(*x, train=True, mutable=['batch_stats']))(own, images)
    chex.assert_trees_all_close(state['batch_stats']['backbone'], expected['batch_stats'], rtol=1e-5)


def test_every_view_has_a_dropout_of_its_own():
    view = np.random.default_rng(0).normal(size=(24, 24, 3)).astype(np.float32)
    photos, views = np.ones((2, 24, 24, 3), np.float32), np.broadcast_to(view, (3, 4, 24, 24, 3))  # 12 times the same
    model = SharedViews(NETWORKS['alexnet'], LinearHead((5,)))
    variables = random_variables(model, photos, views)
    keys = jax.random.split(jax.random.key(3), 5)

    @jax.jit
    def run(photos, views, photo_keys, shape_keys):
        return model.apply(variables, photos, views, train=True, photo_keys=photo_keys, shape_keys=shape_keys)

    found = run(photos, views, keys[:2], keys[2:])
    assert len(np.unique(np.round(found.views, 5), axis=0)) > 6 and np.any(found.photos[0] != found.photos[1])
    part = run(photos[1:], views[1:], keys[1:2], keys[3:])
    np.testing.assert_allclose(part.shapes, found.shapes[1:], rtol=1e-5, atol=1e-6)  # the same on another device
    np.testing.assert_allclose(part.photos, found.photos[1:], rtol=1e-5, atol=1e-6)


def test_linear_head_has_nothing_between_its_layers():
    x = np.random.default_rng(0).normal(size=(4, 3)).astype(np.float32)
    head = LinearHead((6, 2))
    variables = random_variables(head, x)
    first, second = (variables['params'][name] for name in ('layer1', 'layer2'))
    expected = (x @ first['kernel'] + first['bias'][None]) @ second['kernel'] + second['bias'][None]
    np.testing.assert_allclose(jax.jit(head.apply)(variables, x), expected, rtol=1e-5, atol=1e-6)
