"""Exact search of shape by shape, each in the heading about the vertical in which it fits the query best.

Letters: Q queries, G gallery shapes, N shapes of a block, V views of a shape, W of a query, D embedding, T turns, K
results.

Where a shape is one embedding a view, a query has views from every elevation of the gallery's cameras, at least as
dense in azimuth. Turning it about the vertical pairs each view v of a shape with another one of its own, t(v), the
nearest of the same elevation (`turns_of`):

    s = max over turns t of mean over v of q_t(v) . r_v

Where a shape is one embedding, a query is embedded in each heading, and the best of their scores counts:

    s = max over turns t of s(q_t, g)

Blocks only decide which shapes are scored in float64, so that the result does not depend on them.
"""

import jax
import jax.numpy as jnp
import numpy as np

from jaxret.errors import ConfigError, refused
from jaxret.geometry.view_ring import turns_of
from jaxret.search.blocks import power_of_two
from jaxret.search.exact import Found, search
from jaxret.search.gallery import SearchGallery
from jaxret.search.similarity import key_error

_BLOCK_ELEMENTS = 2**25  # numbers of the gallery's views at a time


def turned_score(query: np.ndarray, shape: np.ndarray, turns: np.ndarray) -> tuple[np.float32, int]:
    """The exact score of a query [W, D] and a shape [V, D], and the turn in which they have it."""
    products = np.einsum('wd,vd->wv', query.astype(np.float64), shape.astype(np.float64))
    means = products[turns, np.arange(len(shape))].mean(axis=1)
    best = int(means.argmax())
    return np.float32(means[best] + 0.0), best


def search_turned(
    gallery: SearchGallery,
    queries: np.ndarray,
    k: int,
    *,
    asked: np.ndarray,
    poses: np.ndarray,
    candidates: np.ndarray | None = None,
    block: int | None = None,
) -> Found:
    """The k best shapes of every query.

    Args:
      gallery: with embeddings of views.
      queries: float [Q, W, D].
      k: how many results; fewer where fewer shapes are allowed.
      asked, poses: cameras of the queries' and the shapes' views, as for `turns_of`.
      candidates: bool [G], which shapes are allowed; None allows all.
      block: shapes at a time; None chooses. Bounds memory.

    Returns:
      what was found; `poses` are those from which the shape looks as the query does in its first view, `views` the
      shape's nearest to it.

    Raises:
      ConfigError: k or block below 1.
      DataError: queries of another shape, or that are not finite.
    """
    if k < 1 or (block is not None and block < 1):
        raise ConfigError(f'k = {k}, block = {block}: both must be at least 1')
    queries = np.asarray(queries)
    views, width = gallery.embeddings.shape[1:]
    if queries.ndim != 3 or queries.shape[1:] != (len(asked), width) or len(poses) != views:
        raise refused('queries', f'shape {list(queries.shape)}', f'give [Q, {len(asked)}, {width}]')
    if not np.isfinite(queries).all():
        raise refused('queries', 'not finite', 'embed them again')
    queries = queries.astype(np.float32)
    ids = np.arange(len(gallery)) if candidates is None else np.flatnonzero(candidates)
    k, (turns, angles) = min(k, len(ids)), turns_of(asked, poses)
    found = np.zeros((len(queries), k), np.int64), np.zeros((len(queries), k), np.float32)
    best_turns = np.zeros((len(queries), k), np.int64)
    for row, query in enumerate(queries if k else ()):
        near = _near(gallery, query, ids, k, turns, block)
        scored = [turned_score(query, gallery.embeddings[number], turns) for number in near]
        scores = np.array([score for score, _ in scored], np.float32)
        order = np.argsort(-scores, kind='stable')[:k]
        found[0][row], found[1][row] = near[order], scores[order]
        best_turns[row] = [scored[place][1] for place in order]
    azimuths = (asked[0, 0] - angles[best_turns]) % 360
    seen = np.stack([azimuths, np.full_like(azimuths, asked[0, 1])], axis=-1)
    apart = np.abs((poses[:, 0] - azimuths[..., None] + 180) % 360 - 180)
    return Found(*found, apart.argmin(axis=-1), np.full(len(queries), float(k > 0)), seen)


def search_headings(
    gallery: SearchGallery, queries: np.ndarray, k: int, *, candidates: np.ndarray | None = None
) -> Found:
    """As `search`, the best score of all headings of every query [Q, T, D]; of a gallery without views.

    Among the k best shapes are only such as are among the k best of a heading.
    """
    count, turns = queries.shape[:2]
    found = search(gallery, queries.reshape(count * turns, -1), k, candidates=candidates)
    k = found.indices.shape[1]
    indices, scores = np.zeros((count, k), np.int64), np.zeros((count, k), np.float32)
    for row in range(count if k else 0):
        own = slice(row * turns, (row + 1) * turns)
        ids, score = found.indices[own].ravel(), found.scores[own].ravel()
        order = np.lexsort((ids, -score))
        _, first = np.unique(ids[order], return_index=True)
        best = order[np.sort(first)[:k]]
        indices[row], scores[row] = ids[best], score[best]
    return Found(indices, scores, None, found.fully_scored.reshape(count, turns).mean(axis=1))


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
    error = 2 * key_error('dot', query, None, gallery.longest, 1).max() * max(1.0, turns.shape[1] / query.shape[1])
    return ids[keys >= kth - 2 * error]


@jax.jit
def _keys(query: jax.Array, rows: jax.Array, turns: jax.Array) -> jax.Array:
    """Scores [N] in float32 of a query [W, D] and shapes [N, V, D]."""
    rows = rows.astype(jnp.float32)
    products = jnp.einsum('vd,nd->vn', query, rows.reshape(-1, rows.shape[-1]), precision=jax.lax.Precision.HIGHEST)
    products = products.reshape(len(query), *rows.shape[:2]).transpose(0, 2, 1)  # [W, V, N]
    return products[turns, jnp.arange(rows.shape[1])[None]].mean(axis=1).max(axis=0)
