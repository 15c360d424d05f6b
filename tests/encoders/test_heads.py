"""Embedding heads and whole image encoders against numpy loops."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from references_encoders import embedding_head, random_variables

from jaxret.encoders.heads import EmbeddingHead, ImageEncoder, image_encoder
from jaxret.encoders.resnet import ResNet
from jaxret.errors import ConfigError


@pytest.mark.parametrize('jit', [False, True])
@pytest.mark.parametrize('train', [False, True])
def test_head_equals_loops(train, jit):
    features = np.random.default_rng(1).normal(size=(5, 6)).astype(np.float32)
    variables = random_variables(EmbeddingHead(4), features)
    head = EmbeddingHead(4)

    def run(variables, features):
        return head.apply(variables, features, train=train, mutable=['batch_stats'])

    out, state = (jax.jit(run) if jit else run)(variables, features)
    expected, statistics = embedding_head(features, variables['params'], variables['batch_stats'], train)
    np.testing.assert_allclose(out, expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(out, axis=1), 1, rtol=1e-5)
    chex.assert_trees_all_close(state['batch_stats'], statistics, rtol=1e-5, atol=1e-6)


def test_head_without_normalisation_points_the_same_way():
    features = np.random.default_rng(1).normal(size=(5, 6)).astype(np.float32)
    variables = random_variables(EmbeddingHead(4), features)
    plain = EmbeddingHead(4, normalize=False).apply(variables, features)
    unit = EmbeddingHead(4).apply(variables, features)
    lengths = np.linalg.norm(plain, axis=1, keepdims=True)
    assert np.all(np.abs(lengths - 1) > 1e-3)
    np.testing.assert_allclose(plain / lengths, unit, rtol=1e-5, atol=1e-6)


def test_head_is_float32_for_bfloat16_features():
    features = jnp.asarray(np.random.default_rng(1).normal(size=(5, 6)), jnp.bfloat16)
    variables = random_variables(EmbeddingHead(4), features)
    out = EmbeddingHead(4).apply(variables, features)
    chex.assert_type(out, jnp.float32)
    chex.assert_trees_all_close(out, EmbeddingHead(4).apply(variables, features.astype(jnp.float32)))


def test_head_separates_features_that_differ_little_from_their_mean():
    spread = np.random.default_rng(1).normal(size=(8, 6))
    features = (100 + 0.05 * spread).astype(np.float32)  # E[x^2] - E[x]^2 in float32 would be off by its own size
    variables = random_variables(EmbeddingHead(4), features)
    out, _ = EmbeddingHead(4).apply(variables, features, train=True, mutable=['batch_stats'])
    expected, _ = embedding_head(features, variables['params'], variables['batch_stats'], True)
    np.testing.assert_allclose(out, expected, atol=1e-3)


def test_head_has_finite_gradients_for_equal_features():
    head = EmbeddingHead(4)
    variables = random_variables(head, jnp.ones((3, 6)))
    params = jax.tree.map(jnp.zeros_like, variables['params'])  # embeddings are then exactly zero

    def loss(params, features):
        out, _ = head.apply({**variables, 'params': params}, features, train=True, mutable=['batch_stats'])
        return out.sum()

    for tree in (params, variables['params']):
        value, gradients = jax.value_and_grad(loss, argnums=(0, 1))(tree, jnp.ones((3, 6)))
        chex.assert_tree_all_finite((value, gradients))


def test_head_starts_from_pytorchs_linear_layer():
    params = EmbeddingHead(50).init(jax.random.key(0), jnp.zeros((1, 100)))['params']['linear']
    for leaf in jax.tree.leaves(params):
        assert float(jnp.abs(leaf).max()) <= 0.1
        np.testing.assert_allclose(leaf.std(), 0.1 / np.sqrt(3), rtol=0.15)


def test_encoder_is_head_after_backbone():
    backbone = ResNet(stage_sizes=(1,), block='basic', width=4, stem='small')
    encoder = ImageEncoder(backbone=backbone, head=EmbeddingHead(5))
    images = jax.random.normal(jax.random.key(0), (3, 10, 10, 4))
    variables = random_variables(encoder, images)
    features = backbone.apply({collection: tree['backbone'] for collection, tree in variables.items()}, images)
    head = {collection: tree['head'] for collection, tree in variables.items()}
    out = encoder.apply(variables, images)
    chex.assert_shape(out, (3, 5))
    chex.assert_trees_all_close(out, EmbeddingHead(5).apply(head, features), rtol=1e-6)


@pytest.mark.parametrize(
    ('name', 'channels', 'classifier', 'trunk', 'features'),
    [('resnet50', 4, 2_049_000, 25_557_032, 2048), ('resnet34', 1, 513_000, 21_797_672, 512)],
)
def test_published_encoders_trace_with_their_parameter_counts(name, channels, classifier, trunk, features):
    encoder = image_encoder(name, 128, dtype=jnp.bfloat16)
    images = jax.ShapeDtypeStruct((2, 224, 224, channels), jnp.float32)
    variables = jax.eval_shape(encoder.init, jax.random.key(0), images)
    count = sum(int(np.prod(leaf.shape)) for leaf in jax.tree.leaves(variables['params']))
    head = 2 * features + features * 128 + 128
    assert count == trunk - classifier + 7 * 7 * 64 * (channels - 3) + head
    out = jax.eval_shape(encoder.apply, variables, images)
    chex.assert_shape(out, (2, 128))
    chex.assert_type([out, *jax.tree.leaves(variables)], jnp.float32)


def test_axis_name_reaches_both_parts():
    encoder = image_encoder('resnet_small', 8, axis_name='data', width=2)
    assert encoder.backbone.axis_name == encoder.head.axis_name == 'data'
    with pytest.raises(ConfigError, match='resnet18'):
        image_encoder('resnet', 8)
