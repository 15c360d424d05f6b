"""How alike queries and gallery shapes are: similarities, view attention, distances.

Letters: Q queries, G gallery shapes, V views, D embedding. Every function returns the full [Q, G] matrix in float32 at
least (bfloat16 inputs are accumulated in float32) and none builds a [Q, G, D] array.
"""

from functools import partial

import chex
import jax
import jax.numpy as jnp

# Ranking compares scores that differ in the fourth digit: reduced-precision matrix units would reorder them.
_PRECISION = jax.lax.Precision.HIGHEST
_BLOCK = 32  # entries whose maximum is taken together


def _accumulator(*arrays: chex.Array) -> jnp.dtype:
    return jnp.promote_types(jnp.result_type(*arrays), jnp.float32)


def _dot(subscripts: str, x: chex.Array, y: chex.Array) -> chex.Array:
    return jnp.einsum(subscripts, x, y, precision=_PRECISION, preferred_element_type=_accumulator(x, y))


def l2_normalize(x: chex.Array) -> chex.Array:
    """Scales vectors to unit length: x / |x|.

    A vector whose largest entry is at most 1e-12 becomes 0, with gradient 0. Large and small vectors neither overflow
    nor underflow.

    Args:
      x: [..., D].

    Returns:
      Unit vectors, shape of x, float32 at least.
    """
    chex.assert_type(x, float)
    x = x.astype(_accumulator(x))
    # x/|x| does not change when x is scaled, so the scale may be a constant to the gradient.
    scale = jax.lax.stop_gradient(jnp.max(jnp.abs(x), axis=-1, keepdims=True))
    nonzero = ~(scale <= 1e-12)  # NaN counts as non-zero, so that it is not hidden
    x = jnp.where(nonzero, x / jnp.where(nonzero, scale, 1.0), 0.0)
    squared = jnp.sum(jnp.square(x), axis=-1, keepdims=True)
    return x / jnp.sqrt(jnp.where(nonzero, squared, 1.0))


def similarity_matrix(queries: chex.Array, gallery: chex.Array) -> chex.Array:
    """Dot product of every query with every gallery embedding: s = q . g (the cosine, for unit vectors).

    Args:
      queries: [Q, D].
      gallery: [G, D].

    Returns:
      [Q, G].
    """
    chex.assert_rank([queries, gallery], 2)
    chex.assert_type([queries, gallery], float)
    chex.assert_equal_shape_suffix([queries, gallery], 1)
    return _dot('qd,gd->qg', queries, gallery)


def attention_weights(projected: chex.Array, views: chex.Array) -> chex.Array:
    """Weight of each view of each shape for each query: a = softmax_v(p . r_v), no scale, no temperature.

    Args:
      projected: [Q, D], queries after the attention's linear map.
      views: [G, V, D], one unit embedding a view.

    Returns:
      [Q, G, V], sums to 1 over V.

    Source: CMIC (ICCV 2021), section 3.4, attention module.
    """
    _check_views(projected, views)
    return jax.nn.softmax(_dot('qd,gvd->qgv', projected, views), axis=-1)


def attention_scores(queries: chex.Array, projected: chex.Array, views: chex.Array) -> chex.Array:
    """Similarity of each query to each shape seen through its own view attention.

    s = q . sum_v a_v r_v = sum_v a_v (q . r_v) with a = softmax_v(p . r_v). The right-hand side needs [Q, G, V] where
    merging the views first would need [Q, G, D]. The merged vector is not normalised again, so s is no cosine;
    s <= max_v q . r_v.

    Args:
      queries: [Q, D], unit embeddings.
      projected: [Q, D], the same after the attention's linear map.
      views: [G, V, D], one unit embedding a view.

    Returns:
      [Q, G].

    Source: CMIC (ICCV 2021), sections 3.3 and 3.4.
    """
    chex.assert_equal_shape([queries, projected])
    _check_views(queries, views)
    weights = attention_weights(projected, views)
    return jnp.sum(weights * _dot('qd,gvd->qgv', queries, views), axis=-1)


def mean_view_scores(queries: chex.Array, views: chex.Array, *, normalize: bool = False) -> chex.Array:
    """Similarity to the mean view embedding: s = q . mean_v r_v.

    Args:
      queries: [Q, D].
      views: [G, V, D].
      normalize: scale the pooled embedding to unit length first.

    Returns:
      [Q, G].
    """
    _check_views(queries, views)
    pooled = jnp.mean(views, axis=1, dtype=_accumulator(views))
    return similarity_matrix(queries, l2_normalize(pooled) if normalize else pooled)


def max_view_scores(queries: chex.Array, views: chex.Array) -> chex.Array:
    """Similarity to the element-wise maximum of the view embeddings: s = q . max_v r_v (view pooling as in MVCNN).

    Args:
      queries: [Q, D].
      views: [G, V, D].

    Returns:
      [Q, G].
    """
    _check_views(queries, views)
    return similarity_matrix(queries, largest(views, axis=1))


def euclidean_distances(x: chex.Array, y: chex.Array, *, squared: bool = False) -> chex.Array:
    """Distance of every x to every y: d = |x - y|, through |x|^2 + |y|^2 - 2 x . y.

    Pairs nearer than float rounding can tell (about 1e-3 of their length in float32) get d = 0 with gradient 0.

    Args:
      x: [Q, D].
      y: [G, D].
      squared: return d^2.

    Returns:
      [Q, G].
    """
    chex.assert_rank([x, y], 2)
    chex.assert_type([x, y], float)
    chex.assert_equal_shape_suffix([x, y], 1)
    dtype = _accumulator(x, y)
    x, y = x.astype(dtype), y.astype(dtype)
    # Distances do not change under a shift; centring keeps the subtraction below from losing digits to an offset.
    centre = jax.lax.stop_gradient(jnp.mean(y, axis=0, keepdims=True))
    x = x - jnp.broadcast_to(centre, x.shape)
    y = y - jnp.broadcast_to(centre, y.shape)
    lengths = jnp.sum(jnp.square(x), axis=1)[:, None] + jnp.sum(jnp.square(y), axis=1)[None, :]
    distances = lengths - 2.0 * _dot('qd,gd->qg', x, y)
    coincide = distances <= 8.0 * jnp.finfo(dtype).eps * lengths
    if squared:
        return jnp.where(coincide, 0.0, distances)
    # The inner `where` keeps the infinite slope of sqrt at 0 out of the gradient.
    return jnp.where(coincide, 0.0, jnp.sqrt(jnp.where(coincide, 1.0, distances)))


def distances_from_scores(scores: chex.Array) -> chex.Array:
    """Turns similarities (higher is closer) into distances (lower is closer): 1 - s.

    Args:
      scores: any shape.

    Returns:
      Distances, shape of scores, float32 at least.
    """
    chex.assert_type(scores, float)
    return 1.0 - scores.astype(_accumulator(scores))


def _check_views(queries: chex.Array, views: chex.Array) -> None:
    chex.assert_rank([queries, views], [2, 3])
    chex.assert_type([queries, views], float)
    chex.assert_equal_shape_suffix([queries, views], 1)


def largest(x: chex.Array, *, axis: int) -> chex.Array:
    """Largest values along an axis, with a gradient that stays right under `jit`: x at argmax x.

    The gradient of `jnp.max` goes where x == max x. If x is cheap, such as batch norm and ReLU, XLA computes it again
    for that comparison; a fused multiply-add there rounds differently, no entry is equal, and the gradient is lost
    without a sign (jax issue 40564). An index has no rounding.

    Args:
      x: float [...].
      axis: to be reduced.

    Returns:
      x without that axis; the first of entries that tie gets the gradient.
    """
    axis %= x.ndim
    find = argmax_in_blocks if axis == x.ndim - 1 else partial(jnp.argmax, axis=axis)
    index = jnp.expand_dims(find(jax.lax.stop_gradient(x)), axis)
    chosen = jax.lax.broadcasted_iota(index.dtype, x.shape, axis) == index
    return jnp.where(chosen, x, 0).sum(axis=axis)


def argmax_in_blocks(x: chex.Array) -> chex.Array:
    """`jnp.argmax` over the last axis: first the block, by its largest value, then the place in it.

    XLA does not vectorise an argmax on CPUs, but a maximum.

    Args:
      x: float [..., G]; up to 64 as by `jnp.argmax`.

    Returns:
      int [...], the first of entries that tie; a NaN counts as largest.
    """
    size = x.shape[-1]
    if size <= 2 * _BLOCK:
        return jnp.argmax(x, axis=-1)
    padding = [(0, 0)] * (x.ndim - 1) + [(0, -size % _BLOCK)]
    blocks = jnp.pad(x, padding, constant_values=-jnp.inf).reshape(*x.shape[:-1], -(-size // _BLOCK), _BLOCK)
    block = jnp.argmax(jnp.max(blocks, axis=-1), axis=-1)
    chosen = jax.lax.broadcasted_iota(block.dtype, blocks.shape, x.ndim - 1) == block[..., None, None]
    own = jnp.sum(jnp.where(chosen, blocks, 0), axis=-2)  # not gathered: rows may lie on several devices
    return block * _BLOCK + jnp.argmax(own, axis=-1)
