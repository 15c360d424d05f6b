"""Encoding of views, view attention's projection, and view pooling against numpy loops."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from references_encoders import pool_views, random_variables

from jaxret.encoders.heads import EmbeddingHead, ImageEncoder
from jaxret.encoders.resnet import ResNet
from jaxret.encoders.view_pooling import ViewAttention, ViewEncoder, max_views, mean_views, merge_views, split_views

POOLS = {'mean': mean_views, 'max': max_views}


def test_views_as_one_batch_equal_a_loop_over_shapes():
    backbone = ResNet(stage_sizes=(1,), block='basic', width=3, stem='small')
    encoder = ImageEncoder(backbone=backbone, head=EmbeddingHead(4))
    views = jax.random.normal(jax.random.key(0), (3, 2, 8, 8, 1))
    variables = random_variables(ViewEncoder(encoder), views)
    out = jax.jit(ViewEncoder(encoder).apply)(variables, views)
    chex.assert_shape(out, (3, 2, 4))
    inner = {collection: tree['encoder'] for collection, tree in variables.items()}
    run = jax.jit(encoder.apply)
    for g in range(3):
        chex.assert_trees_all_close(out[g], run(inner, views[g]), rtol=1e-5, atol=1e-6)

    # in training every view of every shape is in the statistics
    def run(model, variables, images):
        return jax.jit(lambda v, x: model.apply(v, x, train=True, mutable=['batch_stats']))(variables, images)

    trained, state = run(ViewEncoder(encoder), variables, views)
    merged, expected = run(encoder, inner, views.reshape(6, 8, 8, 1))
    chex.assert_trees_all_close(trained.reshape(6, 4), merged, rtol=1e-5, atol=1e-6)
    chex.assert_trees_all_close(state['batch_stats']['encoder'], expected['batch_stats'], rtol=1e-6)


def test_split_undoes_merge():
    views = jnp.arange(2 * 3 * 4).reshape(2, 3, 4)
    chex.assert_trees_all_equal(merge_views(views)[4], views[1, 1])
    chex.assert_trees_all_equal(split_views(merge_views(views), 3), views)


def test_attention_is_one_matrix_without_bias():
    queries = jax.random.normal(jax.random.key(0), (5, 64))
    variables = ViewAttention().init(jax.random.key(1), queries)
    (kernel,) = jax.tree.leaves(variables)
    chex.assert_shape(kernel, (64, 64))
    bound = 1 / np.sqrt(64)
    assert 0.99 * bound < float(jnp.abs(kernel).max()) <= bound
    np.testing.assert_allclose(kernel.std(), bound / np.sqrt(3), rtol=0.05)
    columns = np.asarray(kernel, np.float64).T
    expected = [[(row * column).sum() for column in columns] for row in np.asarray(queries, np.float64)]
    np.testing.assert_allclose(ViewAttention().apply(variables, queries), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize('jit', [False, True])
@pytest.mark.parametrize('how', ['mean', 'max'])
def test_pooling_equals_loops(how, jit):
    pool = jax.jit(POOLS[how]) if jit else POOLS[how]
    rng = np.random.default_rng(0)
    embeddings = rng.normal(size=(4, 3, 5)).astype(np.float32)
    np.testing.assert_allclose(pool(embeddings), pool_views(embeddings, how), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize('how', ['mean', 'max'])
def test_pooling_gradients(how):
    embeddings = np.random.default_rng(1).normal(size=(3, 3, 2)).astype(np.float32)
    embeddings[2] = 0.5  # ties
    gradients = jax.grad(lambda e: POOLS[how](e).sum())(embeddings)
    expected = np.full((3, 3, 2), 1 / 3)
    if how == 'max':
        first = embeddings.argmax(axis=1)[:, None]  # of equals
        expected = (np.arange(3)[None, :, None] == first).astype(float)
    np.testing.assert_allclose(gradients, expected, rtol=1e-6)
