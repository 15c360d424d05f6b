"""Exact search by rings of views: shapes are compared in the heading in which their views fit the query's best.

Letters: Q queries, G gallery shapes, N shapes of a block, V views, D embedding, T turns, K results.

A query has the views of the gallery's rings. Turning it by a step of its longest ring moves every view to a neighbour;
a ring of another number of cameras moves to the nearest one.

    s = max over turns t of mean over v of q_t(v) . r_v

Blocks only decide which shapes are scored in float64, so that the result does not depend on them.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from jaxret.errors import ConfigError, refused
from jaxret.search.blocks import power_of_two
from jaxret.search.exact import Found
from jaxret.search.gallery import SearchGallery
from jaxret.search.similarity import key_error

_BLOCK_ELEMENTS = 2**25  # numbers of the gallery's views at a time


def turns_of(rings: Sequence[int]) -> np.ndarray:
    """What each turn makes of the views: int64 [T, V], t(v) in the module's docstring.

    Args:
      rings: number of views of each ring, in the order of the views.
    """
    longest = max(rings)
    starts = np.cumsum([0, *rings[:-1]])
    steps = np.arange(longest)[:, None]
    parts = [
        start + (np.arange(count)[None] + np.rint(steps * count / longest).astype(np.int64)) % count
        for start, count in zip(starts, rings, strict=True)
    ]
    return np.concatenate(parts, axis=1)


def turned_score(query: np.ndarray, shape: np.ndarray, turns: np.ndarray) -> tuple[np.float32, int]:
    """The exact score of a query [V, D] and a shape [V, D], and the view of the shape that the query's first fits."""
    products = np.einsum('vd,wd->vw', query.astype(np.float64), shape.astype(np.float64))
    means = products[turns, np.arange(len(shape))].mean(axis=1)
    best = int(means.argmax())
    return np.float32(means[best] + 0.0), int(np.flatnonzero(turns[best] == 0)[0])


def search_turned(
    gallery: SearchGallery,
    queries: np.ndarray,
    k: int,
    *,
    rings: Sequence[int],
    candidates: np.ndarray | None = None,
    block: int | None = None,
) -> Found:
    """The k best shapes of every query.

    Args:
      gallery: with similarity 'best_views'.
      queries: float [Q, V, D], their views taken as those of the gallery.
      k: how many results; fewer where fewer shapes are allowed.
      rings: number of views of each ring, in the order of the views.
      candidates: bool [G], which shapes are allowed; None allows all.
      block: shapes at a time; None chooses. Bounds memory.

    Returns:
      what was found; `views` is the view of the shape that the query's first view fits in the best turn.

    Raises:
      ConfigError: k or block below 1.
      DataError: queries of another shape, or that are not finite.
    """
    if k < 1 or (block is not None and block < 1):
        raise ConfigError(f'k = {k}, block = {block}: both must be at least 1')
    queries = np.asarray(queries)
    views, width = gallery.embeddings.shape[1:]
    if queries.ndim != 3 or queries.shape[1:] != (views, width) or sum(rings) != views:
        raise refused('queries', f'shape {list(queries.shape)}', f'give [Q, {views}, {width}]')
    if not np.isfinite(queries).all():
        raise refused('queries', 'not finite', 'embed them again')
    queries = queries.astype(np.float32)
    ids = np.arange(len(gallery)) if candidates is None else np.flatnonzero(candidates)
    k, turns = min(k, len(ids)), turns_of(rings)
    found = np.zeros((len(queries), k), np.int64), np.zeros((len(queries), k), np.float32)
    best_views = np.zeros((len(queries), k), np.int64)
    for row, query in enumerate(queries if k else ()):
        near = _near(gallery, query, ids, k, turns, block)
        scored = [turned_score(query, gallery.embeddings[number], turns) for number in near]
        scores = np.array([score for score, _ in scored], np.float32)
        order = np.argsort(-scores, kind='stable')[:k]
        found[0][row], found[1][row] = near[order], scores[order]
        best_views[row] = [scored[place][1] for place in order]
    return Found(*found, best_views, np.full(len(queries), float(k > 0)))


def _near(
    gallery: SearchGallery, query: np.ndarray, ids: np.ndarray, k: int, turns: np.ndarray, block: int | None
) -> np.ndarray:
    """Indices, ascending, of all shapes that can be among the k best of one query."""
    step = block or max(1, _BLOCK_ELEMENTS // query.size)
    keys = []
    for start in range(0, len(ids), step):
        part = ids[start : start + step]
        missing = min(power_of_two(len(part)), step) - len(part)
        rows = gallery.embeddings[np.pad(part, (0, missing), mode='edge')]
        keys.append(np.asarray(_keys(query, rows, turns))[: len(part)])
    keys = np.concatenate(keys).astype(np.float64)
    kth = -np.partition(-keys, k - 1)[k - 1]
    # Twice the error of a product is more than that of a mean of fewer products than D has numbers.
    error = 2 * key_error('dot', query, None, gallery.radius, 1).max() * max(1.0, len(query) / query.shape[1])
    return ids[keys >= kth - 2 * error]


@jax.jit
def _keys(query: jax.Array, rows: jax.Array, turns: jax.Array) -> jax.Array:
    """Scores [N] in float32 of a query [V, D] and shapes [N, V, D]."""
    rows = rows.astype(jnp.float32)
    products = jnp.einsum('vd,nd->vn', query, rows.reshape(-1, rows.shape[-1]), precision=jax.lax.Precision.HIGHEST)
    products = products.reshape(len(query), *rows.shape[:2]).transpose(0, 2, 1)  # [V of the query, V, N]
    return products[turns, jnp.arange(rows.shape[1])[None]].mean(axis=1).max(axis=0)
