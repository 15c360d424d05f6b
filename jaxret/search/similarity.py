"""Scores of search: one exact arithmetic that ranks, and a fast one on devices that says what it is worth computing.

Letters: Q queries, G gallery shapes, V views, D embedding, N pairs.

A score is defined here by `exact_scores`: float64 sums in a fixed order, rounded to float32. It depends on the query
and the shape alone, so that every way to search, whatever its blocks and devices, returns the same bits and breaks the
same ties. `fast_keys` orders shapes nearly alike in float32 matrix products; `key_error` bounds how far it is off.

Kinds, each the `score` of a system up to its float32 rounding (which for Scan-CAD takes distances below about 1e-3 of
the embeddings' length for 0; here they are not):
  'attention'  s = sum_v a_v (q . r_v), a = softmax_v(p . r_v), p = W q   CMIC
  'mean'       s = q . mean_v r_v                                        CMIC, model.pooling = 'mean'
  'max'        s = q . max_v r_v, element-wise                           CMIC, model.pooling = 'max'
  'best_views' s = mean of the two largest q . r_v (of one view: that)   networks that were not trained for this
  'dot'        s = q . g                                                 cross-modal center loss (unit embeddings)
  'cosine'     s = (q / |q|) . (g / |g|), 0 for a zero vector            HIFA
  'euclidean'  s = -|q - g|                                              Scan-CAD
"""

import jax
import jax.numpy as jnp
import numpy as np

from jaxret.search.references import BEST_VIEWS

VIEW_KINDS = ('attention', 'mean', 'max', 'best_views')
KINDS = (*VIEW_KINDS, 'dot', 'cosine', 'euclidean')
UNIT = 2.0**-23  # twice the unit roundoff of float32: room for matrix units that split float32 into smaller parts
_TINY = 2.0**-120  # products below the smallest normal float32 may be flushed to zero
_ZERO = 1e-12  # largest entry of what counts as a zero vector, as in `losses.scores.l2_normalize`
_PAIR_ELEMENTS = 4_000_000  # float64 numbers of gathered embeddings at a time


def exact_scores(
    kind: str, query: np.ndarray, projected: np.ndarray | None, gallery: np.ndarray, ids: np.ndarray
) -> tuple[np.ndarray, np.ndarray | None]:
    """Scores of one query and N shapes of a gallery, and each shape's best view.

    Args:
      kind: one of `KINDS`.
      query: [D] float32.
      projected: [D] float32 for 'attention', else None.
      gallery: embeddings [G, V, D] for the kinds with views, else [G, D]; float32 or float16.
      ids: [N], which of them.

    Returns:
      (scores float32 [N], views int64 [N] or None). The view is the one that the attention weighted most, for the other
      kinds with views the one with the largest q . r_v; the first of those that tie.
    """
    step = max(1, _PAIR_ELEMENTS // gallery[0].size) if len(ids) else 1
    parts = [
        _exact_block(kind, query, projected, gallery[ids[start : start + step]])
        for start in range(0, max(1, len(ids)), step)
    ]
    views = None if kind not in VIEW_KINDS else np.concatenate([view for _, view in parts])
    return np.concatenate([scores for scores, _ in parts]).astype(np.float32), views


def _exact_block(
    kind: str, query: np.ndarray, projected: np.ndarray | None, shapes: np.ndarray
) -> tuple[np.ndarray, np.ndarray | None]:
    query, shapes = query.astype(np.float64), shapes.astype(np.float64, order='C')
    if kind == 'euclidean':
        return -np.sqrt(np.sum(np.square(shapes - query), axis=-1)) + 0.0, None
    if kind == 'cosine':
        query, shapes = unit64(query), unit64(shapes)
    if kind not in VIEW_KINDS:
        return np.sum(shapes * query, axis=-1) + 0.0, None  # + 0.0 turns -0 into 0
    fit = np.sum(shapes * query, axis=-1)  # [N, V]
    if kind == 'attention':
        logits = np.sum(shapes * projected.astype(np.float64), axis=-1)
        weights = np.exp(logits - logits.max(axis=1, keepdims=True))
        return np.sum(weights * fit, axis=1) / np.sum(weights, axis=1) + 0.0, logits.argmax(axis=1)
    if kind == 'best_views':
        return np.sort(fit, axis=1)[:, -BEST_VIEWS:].mean(axis=1) + 0.0, fit.argmax(axis=1)
    return np.sum(pooled64(kind, shapes) * query, axis=-1) + 0.0, fit.argmax(axis=1)


def unit64(x: np.ndarray) -> np.ndarray:
    """x / |x| along the last axis in float64; 0 where the largest entry is at most 1e-12."""
    x = x.astype(np.float64)
    scale = np.max(np.abs(x), axis=-1, keepdims=True, initial=0.0)
    x = np.where(scale > _ZERO, x / np.where(scale > _ZERO, scale, 1.0), 0.0)
    squared = np.sum(np.square(x), axis=-1, keepdims=True)
    return x / np.sqrt(np.where(squared > 0, squared, 1.0))


def pooled64(kind: str, views: np.ndarray) -> np.ndarray:
    """Mean or element-wise maximum of views [N, V, D] in float64, [N, D]."""
    views = views.astype(np.float64)
    return views.mean(axis=1) if kind == 'mean' else views.max(axis=1)


def fast_keys(
    kind: str, queries: jax.Array, projected: jax.Array | None, rows: jax.Array, centre: jax.Array
) -> jax.Array:
    """Keys [Q, N] that order shapes as their scores do, in one float32 matrix product.

    Args:
      kind: one of `KINDS`.
      queries: [Q, D]; for 'cosine' of unit length.
      projected: [Q, D] for 'attention', else None.
      rows: [N, V, D] for 'attention' and 'best_views'; else [N, D]: pooled ('mean', 'max'), of unit length ('cosine'),
        or as they are.
      centre: [D], subtracted from both sides for 'euclidean', where it loses fewer digits.

    Returns:
      The score; for 'euclidean' q' . g' - |g'|^2 / 2 = (|q'|^2 - score^2) / 2 with q' = q - centre.
    """
    rows = rows.astype(jnp.float32)
    if kind == 'attention':
        # One product with [q; p] reads the views once.
        both = _product(jnp.concatenate([queries, projected]), rows.reshape(-1, rows.shape[-1]))
        fit, logits = both.reshape(2, len(queries), *rows.shape[:2])
        return jnp.sum(jax.nn.softmax(logits, axis=-1) * fit, axis=-1)
    if kind == 'best_views':
        fit = _product(queries, rows.reshape(-1, rows.shape[-1])).reshape(len(queries), *rows.shape[:2])
        return mean_of_best(fit)
    if kind == 'euclidean':
        queries, rows = queries - centre[None], rows - centre[None]
        return _product(queries, rows) - jnp.sum(jnp.square(rows), axis=-1)[None] / 2
    return _product(queries, rows)


def mean_of_best(fit: jax.Array) -> jax.Array:
    """[Q, N, V] -> [Q, N]. Two maxima, as sorting short rows is slow on CPUs."""
    best = jnp.max(fit, axis=-1)
    if fit.shape[-1] == 1:
        return best
    places = jnp.arange(fit.shape[-1], dtype=jnp.int32)[None, None]
    others = jnp.where(places == jnp.argmax(fit, axis=-1).astype(jnp.int32)[..., None], -jnp.inf, fit)
    return (best + jnp.max(others, axis=-1)) / BEST_VIEWS


def _product(x: jax.Array, y: jax.Array) -> jax.Array:
    return jnp.einsum('qd,nd->qn', x, y, precision=jax.lax.Precision.HIGHEST)


def key_error(kind: str, queries: np.ndarray, projected: np.ndarray | None, radius: float, views: int) -> np.ndarray:
    """How far `fast_keys` may be from the key of exact arithmetic, with the rounding of the exact score added, [Q].

    If the keys of two shapes differ by more than twice this, the larger has the strictly larger exact float32 score.

    A dot product of D terms in float32, summed in any order, is off by at most gamma |q| |r|, gamma = D u / (1 - D u)
    (Higham, Accuracy and Stability of Numerical Algorithms, section 3.1). A logit off by e changes a softmax weight by
    a factor of at most exp(2 e); products off by e change the mean of the largest two by at most e.

    Args:
      kind, queries, projected: as for `fast_keys` (queries less the centre for 'euclidean').
      radius: the longest row (less the centre).
      views: V, or 1.
    """
    width = queries.shape[1]
    length = np.linalg.norm(queries.astype(np.float64), axis=1)
    gamma = (width + 16) * UNIT  # 16 more: rows and queries that were rounded, and the last rounding to float32
    product = length * radius
    flushed = width * _TINY * (1 + length) * (1 + radius)
    if kind == 'euclidean':
        return gamma * (length + radius) ** 2 + flushed
    if kind != 'attention':
        return gamma * product + flushed
    reach = np.linalg.norm(projected.astype(np.float64), axis=1) * radius
    shift = np.expm1(np.minimum(2 * (gamma + 4 * UNIT) * reach, 2.0))  # from there on the 2 below holds
    return product * np.minimum(gamma + shift + (views + 16) * 4 * UNIT, 2.0) + flushed * (1 + np.minimum(reach, 1e30))
