"""Blocked losses against the direct ones: values, gradients, memory."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import references as ref

from jaxret.errors import ConfigError
from jaxret.losses import contrastive, margin, scores
from jaxret.losses import gradient_caching as blocked

QUERIES, GALLERY, VIEWS, DIM = 23, 13, 3, 5  # 23 is prime: every block but 1 leaves a remainder


def unit(rng, *shape):
    x = rng.normal(size=shape)
    return (x / np.linalg.norm(x, axis=-1, keepdims=True)).astype(np.float32)


def problem(seed=0):
    """Embeddings, and labels with rows without positives and columns of padding that hold NaN-free nonsense."""
    rng = np.random.default_rng(seed)
    views = unit(rng, GALLERY, VIEWS, DIM)
    valid = np.arange(GALLERY) % 5 != 4
    views[~valid] = 1e3
    rows = {'queries': unit(rng, QUERIES, DIM), 'positives': rng.random((QUERIES, GALLERY)) < 0.2}
    rows['positives'][::4] = False
    return rows, {'views': views, 'kernel': rng.normal(size=(DIM, DIM)).astype(np.float32)}, valid


def of_scores(matrix, positives, valid, rules):
    """Every loss that has one value a query; triplets of some mining rules."""
    options = {'temperature': 0.1, 'valid': valid}
    triplets = {
        rule: margin.triplet_per_anchor(1 - matrix, positives, margin=0.3, mining=rule, valid=valid) for rule in rules
    }
    return {
        'instance': contrastive.info_nce(matrix, positives, **options),
        'category': contrastive.supervised_contrastive(matrix, positives, **options),
        'triplet': triplets,
    }


def losses(queries, shared, positives, valid, *, block, rules=('all',)):
    def function(rows):
        matrix = scores.attention_scores(rows['queries'], rows['queries'] @ shared['kernel'], shared['views'])
        return {**of_scores(matrix, rows['positives'], valid, rules), 'scores': matrix}

    return blocked.map_queries(function, {'queries': queries, 'positives': positives}, block=block)


def weighted(found):
    """A scalar that every value of every query reaches differently."""
    found = {name: value for name, value in found.items() if name != 'scores'}
    return sum(jnp.sum(jnp.sin(1.0 + jnp.arange(x.size, dtype=x.dtype)) * x) for x in jax.tree.leaves(found))


def values_and_gradients(rows, shared, valid, block):
    """Losses of every query, and the gradient of `weighted` by queries, views and the attention's matrix."""

    def total(queries, shared):
        found = losses(queries, shared, rows['positives'], valid, block=block)
        return weighted(found), found

    gradients, found = jax.jit(jax.grad(total, argnums=(0, 1), has_aux=True))(rows['queries'], shared)
    return found, gradients


def test_values_and_gradients_are_those_of_the_direct_form():
    with jax.enable_x64(True):
        rows, shared, valid = jax.tree.map(lambda x: np.float64(x) if x.dtype == np.float32 else x, problem())
        expected = values_and_gradients(rows, shared, valid, QUERIES)
        found = values_and_gradients(rows, shared, valid, 4)
        chex.assert_trees_all_equal_shapes_and_dtypes(found, expected)
        chex.assert_trees_all_close(found, expected, rtol=1e-10, atol=1e-11)
    values, gradients = expected
    with_positive = rows['positives'][:, valid].any(axis=1)
    assert np.count_nonzero(values['instance']) == np.count_nonzero(with_positive) < QUERIES
    assert all(np.any(x) for x in jax.tree.leaves(gradients)) and not np.any(gradients[1]['views'][~valid])


def test_float32_keeps_six_digits():
    rows, shared, valid = problem(1)
    found, expected = (values_and_gradients(rows, shared, valid, block) for block in (5, QUERIES))
    for x, y in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        assert np.linalg.norm(np.float64(x) - np.float64(y)) <= 1e-6 * np.linalg.norm(y)


def test_blocks_agree_with_loops():
    rows, shared, valid = problem(2)
    found = losses(rows['queries'], shared, rows['positives'], valid, block=6, rules=('all', 'batch_hard'))
    projected = rows['queries'].astype(np.float64) @ shared['kernel']
    matrix = ref.attention_scores(rows['queries'].astype(np.float64), projected, shared['views'].astype(np.float64))
    np.testing.assert_allclose(found['scores'][:, valid], matrix[:, valid], rtol=1e-5, atol=1e-6)
    for name, slow in (('instance', ref.info_nce), ('category', ref.supervised_contrastive)):
        expected = slow(matrix, rows['positives'], temperature=0.1, valid=valid)
        np.testing.assert_allclose(found[name], expected, rtol=2e-4, atol=1e-5)
    positives = rows['positives'] & valid
    for rule in ('all', 'batch_hard'):
        expected = ref.triplet(
            1 - matrix, positives, ~rows['positives'] & valid, rule=rule, margin=0.3, reduction='sum'
        )
        np.testing.assert_allclose(jnp.sum(found['triplet'][rule][0]), expected, rtol=1e-4, atol=1e-5)


def test_memory_is_that_of_a_block():
    def compiled(queries, block):
        def total(embeddings, views):
            def function(rows):
                matrix = scores.attention_scores(rows['q'], rows['q'], views)
                return contrastive.info_nce(
                    matrix, contrastive.instance_positives(rows['p'], len(views)), temperature=0.1
                )

            rows = {'q': embeddings, 'p': jnp.arange(queries) % len(views)}
            return jnp.mean(blocked.map_queries(function, rows, block=block))

        shapes = (jax.ShapeDtypeStruct((queries, 8), jnp.float32), jax.ShapeDtypeStruct((64, 12, 8), jnp.float32))
        return jax.jit(jax.grad(total, argnums=(0, 1))).lower(*shapes).compile().memory_analysis().temp_size_in_bytes

    row = 64 * 12 * 4  # bytes of one query's scores of all views
    direct, blocks, longer = compiled(1024, 1024), compiled(1024, 64), compiled(4096, 64)
    assert direct > 1024 * row
    assert blocks < 8 * 64 * row < direct
    # Only what has one row a query grows: queries, gradients, labels.
    assert longer - blocks < 3072 * 4 * (8 * 8)


def test_block_size_keeps_the_direct_form_for_small_problems():
    assert blocked.block_size(512, 512, 12) == 512
    block = blocked.block_size(8192, 8192, 12)
    assert 1 < block < 8192
    assert block * 8192 * 12 <= blocked.BLOCK_NUMBERS < (block + 1) * 8192 * 12
    assert blocked.block_size(5, 10**9, 12) == 1
    with pytest.raises(ConfigError, match='block is 0'):
        blocked.map_queries(lambda rows: rows, jnp.zeros(3), block=0)
