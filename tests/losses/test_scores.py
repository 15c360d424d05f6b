"""Scores and distances against loop-written oracles, forward and backward."""

import functools
import math

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import references
from intermediate_shapes import intermediate_shapes

from jaxret.losses import scores

Q, G, V, D = 3, 5, 4, 6


def _arrays(*shapes, seed=0, unit=False):
    rng = np.random.default_rng(seed)
    arrays = [rng.normal(size=shape).astype(np.float32) for shape in shapes]
    if unit:
        arrays = [a / np.linalg.norm(a, axis=-1, keepdims=True) for a in arrays]
    return arrays


def _check(function, oracle, arguments, *, atol=2e-5):
    """Same values and, for a random weighting of the output, same gradients in every argument."""
    expected = oracle(*arguments)
    weights = np.random.default_rng(9).normal(size=expected.shape)
    actual = jax.jit(function)(*arguments)
    chex.assert_shape(actual, expected.shape)
    chex.assert_type(actual, jnp.float32)
    chex.assert_trees_all_close(actual, expected.astype(np.float32), atol=atol)

    def scalar(*args):
        return jnp.sum(function(*args) * weights.astype(np.float32))

    gradients = jax.jit(jax.grad(scalar, argnums=tuple(range(len(arguments)))))(*arguments)
    for position, gradient in enumerate(gradients):

        def moved(x, position=position):
            return float(np.sum(oracle(*arguments[:position], x, *arguments[position + 1 :]) * weights))

        wanted = references.numeric_gradient(moved, arguments[position])
        chex.assert_trees_all_close(gradient, wanted.astype(np.float32), atol=10 * atol)


def test_l2_normalize():
    _check(scores.l2_normalize, references.l2_normalize, _arrays((5, 3)))


def test_l2_normalize_zero_tiny_and_huge_vectors():
    x = np.zeros((5, 3), np.float32)
    x[1] = [3e-30, 0.0, 4e-30]  # at most eps: counts as zero
    x[2] = [3e-8, 0.0, 4e-8]
    x[3] = [3e30, 0.0, 4e30]
    x[4, 1] = -2.0
    value = jax.jit(scores.l2_normalize)(x)
    expected = np.array([[0, 0, 0], [0, 0, 0], [0.6, 0, 0.8], [0.6, 0, 0.8], [0, -1, 0]], np.float32)
    chex.assert_trees_all_close(value, expected, atol=1e-6)
    gradient = jax.jit(jax.grad(lambda x: jnp.sum(scores.l2_normalize(x) * 2.0)))(x)
    chex.assert_tree_all_finite(gradient)
    chex.assert_trees_all_equal(gradient[:2], jnp.zeros((2, 3)))


def test_similarity_matrix():
    _check(scores.similarity_matrix, references.similarity_matrix, _arrays((Q, D), (G, D)))


def test_attention_scores():
    queries, projected, views = _arrays((Q, D), (Q, D), (G, V, D), unit=True)
    queries[2], projected[2] = queries[0], projected[0]  # the same photo twice
    arguments = [queries, 3 * projected, views]
    _check(scores.attention_scores, references.attention_scores, arguments)


def test_attention_weights():
    arguments = _arrays((Q, D), (G, V, D))
    _check(scores.attention_weights, references.attention_weights, arguments)
    weights = jax.jit(scores.attention_weights)(*arguments)
    chex.assert_trees_all_close(jnp.sum(weights, axis=-1), jnp.ones((Q, G)), atol=1e-6)


def test_attention_score_is_bounded_by_the_best_view():
    queries, projected, views = _arrays((7, D), (7, D), (9, V, D), unit=True)
    attended = scores.attention_scores(queries, 10 * projected, views)
    assert np.all(np.asarray(attended) <= references.best_view_scores(queries, views) + 1e-6)


def test_attention_of_equal_views_and_of_huge_logits():
    queries, views = _arrays((Q, D), (G, V, D), unit=True)
    views[1] = views[1, :1]  # every view the same: attention cannot matter
    plain = references.similarity_matrix(queries, views[1, :1])
    value = jax.jit(scores.attention_scores)(queries, 5 * queries, views)
    chex.assert_trees_all_close(value[:, 1:2], plain.astype(np.float32), atol=1e-6)

    def total(projected):
        return jnp.sum(scores.attention_scores(queries, projected, views))

    value, gradient = jax.jit(jax.value_and_grad(total))(1e5 * queries)
    chex.assert_tree_all_finite((value, gradient))


@pytest.mark.parametrize('backward', [False, True])
def test_attention_builds_no_query_gallery_embedding_array(backward):
    # With these sizes [Q, G, D] would be the largest array, [G, V, D] is the largest that is needed.
    q, g, v, d = 13, 11, 3, 17
    assert q * g * d > g * v * d
    shapes = [jnp.ones((q, d)), jnp.ones((q, d)), jnp.ones((g, v, d))]
    function = scores.attention_scores
    if backward:
        function = jax.grad(lambda *x: jnp.sum(jnp.square(scores.attention_scores(*x))), argnums=(0, 1, 2))
    found = intermediate_shapes(function, *shapes)
    assert (q, g, v) in found
    assert max(math.prod(shape) for shape in found) == (g * v * d if backward else q * g * v)
    assert not [shape for shape in found if {q, g, d} <= set(shape)]


@pytest.mark.parametrize('normalize', [False, True])
def test_scores_of_mean_views(normalize):
    function = functools.partial(scores.mean_view_scores, normalize=normalize)
    oracle = functools.partial(references.pooled_scores, pool=np.mean, normalize=normalize)
    _check(function, oracle, _arrays((Q, D), (G, V, D)))


def test_scores_of_the_largest_entries_over_views():
    oracle = functools.partial(references.pooled_scores, pool=max, normalize=False)
    _check(scores.max_view_scores, oracle, _arrays((Q, D), (G, V, D)))


@pytest.mark.parametrize('squared', [False, True])
def test_euclidean_distances(squared):
    function = functools.partial(scores.euclidean_distances, squared=squared)
    oracle = functools.partial(references.euclidean_distances, squared=squared)
    _check(function, oracle, _arrays((Q, D), (G, D)), atol=1e-4)


def test_euclidean_distances_far_from_the_origin():
    x, y = _arrays((Q, D), (G, D))
    value = jax.jit(scores.euclidean_distances)(x + 1e3, y + 1e3)
    expected = references.euclidean_distances((x + 1e3).astype(np.float32), (y + 1e3).astype(np.float32))
    chex.assert_trees_all_close(value, expected.astype(np.float32), atol=1e-4)


@pytest.mark.parametrize('squared', [False, True])
def test_euclidean_distances_of_equal_points(squared):
    x, y = _arrays((Q, 128), (G, 128), unit=True)
    y[1], y[2], x[2] = x[0], x[0], 0.0
    y[4] = 0.0

    def total(x, y):
        return jnp.sum(scores.euclidean_distances(x, y, squared=squared))

    value = jax.jit(functools.partial(scores.euclidean_distances, squared=squared))(x, y)
    chex.assert_trees_all_equal(value[0, 1:3], jnp.zeros(2))
    assert value[2, 4] == 0
    chex.assert_tree_all_finite(jax.jit(jax.grad(total, argnums=(0, 1)))(x, y))
    # Where all points coincide the gradient is exactly 0.
    same = np.tile(x[:1], (3, 1))
    gradients = jax.jit(jax.grad(total, argnums=(0, 1)))(same, same)
    chex.assert_trees_all_close(gradients, (jnp.zeros((3, 128)),) * 2, atol=1e-6)


def test_distances_from_scores():
    similarities = references.similarity_matrix(*_arrays((Q, D), (G, D), unit=True)).astype(np.float32)
    chex.assert_trees_all_equal(jax.jit(scores.distances_from_scores)(similarities), 1 - similarities)


def test_bfloat16_embeddings_give_float32_scores():
    queries, views = _arrays((Q, D), (G, V, D), unit=True)
    half = [jnp.asarray(x, jnp.bfloat16) for x in (queries, queries, views)]
    exact = [np.asarray(x.astype(jnp.float32)) for x in half]
    value = jax.jit(scores.attention_scores)(*half)
    chex.assert_type(value, jnp.float32)
    chex.assert_trees_all_close(value, references.attention_scores(*exact).astype(np.float32), atol=1e-5)
    gradient = jax.jit(jax.grad(lambda q: jnp.sum(scores.attention_scores(q, *half[1:]))))(half[0])
    chex.assert_type(gradient, jnp.bfloat16)
    chex.assert_tree_all_finite(gradient)


def test_wrong_ranks_and_types_are_refused():
    with pytest.raises(AssertionError):
        scores.similarity_matrix(jnp.zeros((2, 3)), jnp.zeros((2, 4)))
    with pytest.raises(AssertionError):
        scores.similarity_matrix(jnp.zeros((2, 3), jnp.int32), jnp.zeros((2, 3)))
    with pytest.raises(AssertionError):
        scores.attention_scores(jnp.zeros((2, 3)), jnp.zeros((2, 3)), jnp.zeros((2, 3)))


@pytest.mark.parametrize('shape', [(3, 64), (3, 65), (2, 3, 96), (1, 200), (0, 70), (4, 129)])
def test_argmax_in_blocks(shape):
    rng = np.random.default_rng(0)
    find = jax.jit(scores.argmax_in_blocks)
    for x in (
        rng.normal(size=shape),
        rng.integers(3, size=shape),
        np.full(shape, -np.inf),
        np.zeros(shape),
        np.where(rng.random(shape) < 0.01, np.nan, rng.normal(size=shape)),
        np.where(rng.random(shape) < 0.01, np.inf, -np.inf),
    ):
        x = x.astype(np.float32)
        np.testing.assert_array_equal(find(x), jnp.argmax(x, axis=-1))


@pytest.mark.parametrize('width', [5, 100])
def test_largest_of_the_last_axis_and_its_gradient(width):
    x = np.random.default_rng(1).integers(9, size=(4, width)).astype(np.float32)
    expected = np.zeros_like(x)
    expected[np.arange(4), x.argmax(axis=1)] = 2.0
    value, gradient = jax.jit(jax.value_and_grad(lambda x: 2 * jnp.sum(scores.largest(x, axis=-1))))(x)
    assert value == 2 * x.max(axis=1).sum()
    np.testing.assert_array_equal(gradient, expected)
