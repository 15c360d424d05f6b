"""Search that scores only the shapes whose upper bound reaches the K-th best score.

Letters: Q queries, G gallery shapes, N shapes at a time, D embedding.

All bounds are computed first, in blocks on the devices. Then, a query at a time: the shapes with the best bounds are
scored, the K-th best score so far sets the limit, the others are scored in order of their bounds, and the search stops
at the first bound below the limit. The limit leaves room for every rounding (`similarity.key_error`,
`GalleryBounds.slack`), so that no shape of the exact result is lost.
"""

from collections.abc import Sequence
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, PartitionSpec

from jaxret.search.blocks import AXIS, RowBlocks, aligned_empty, power_of_two
from jaxret.search.bounds import GalleryBounds, upper_bounds
from jaxret.search.gallery import SearchGallery
from jaxret.search.similarity import fast_keys, key_error

_BOUND_ELEMENTS = 2**25  # bounds held at a time
_GROUP = 64  # neighbours of which the one with the best bound may be scored first
_FIRST, _MOST = 256, 4096  # shapes scored at a time: few first, as each score may raise the limit


def pruned_candidates(
    gallery: SearchGallery,
    bounds: GalleryBounds,
    queries: np.ndarray,
    projected: np.ndarray | None,
    k: int,
    allowed: np.ndarray,
    *,
    devices: Sequence[jax.Device],
    block: int | None,
) -> tuple[list[np.ndarray], np.ndarray]:
    """Indices of all shapes that can be among the k best of each query, and how many were scored for it, [Q].

    Arguments as for `brute.brute_candidates`.
    """
    blocks = RowBlocks(bounds.rows, allowed, devices, block, len(queries), bounds.resident)
    searched = np.flatnonzero(allowed)
    step = max(1, min(blocks.queries, _BOUND_ELEMENTS // len(searched)))
    short, slack = bounds.queries(queries), bounds.slack(queries)
    error = key_error(gallery.similarity, queries - gallery.centre[None], projected, gallery.radius, gallery.views)
    space = aligned_empty((_MOST, *gallery.rows.shape[1:]), gallery.rows.dtype)
    found, scored = [], []
    for start in range(0, len(queries), step):
        for row, upper in enumerate(_upper_bounds(blocks, short[start : start + step], allowed), start):
            scorer = _Scorer(gallery, queries[row], None if projected is None else projected[row], devices[0], space)
            near, count = _search_one(scorer, upper, searched, k, slack[row], 2 * error[row])
            found.append(near)
            scored.append(count)
    return found, np.array(scored, np.int64)


def _upper_bounds(blocks: RowBlocks, short: np.ndarray, allowed: np.ndarray) -> np.ndarray:
    """Bounds [Q, allowed shapes] of short queries, less their slack."""
    padded = blocks.replicate(np.pad(short, [(0, power_of_two(len(short)) - len(short)), (0, 0)]))
    results = blocks.each(lambda block: (_block_bounds(blocks.mesh, padded, *blocks.load(block)),))
    upper, start = np.empty((len(short), np.count_nonzero(allowed)), np.float32), 0
    for block, (part,) in enumerate(results):
        kept = np.flatnonzero(allowed[blocks.ids(block)])  # all, unless the blocks are resident
        upper[:, start : start + len(kept)] = part[: len(short), kept]
        start += len(kept)
    return upper


@partial(jax.jit, static_argnums=0)
def _block_bounds(mesh: Mesh, short: jax.Array, rows: jax.Array, allowed: jax.Array) -> jax.Array:
    def part(short: jax.Array, rows: jax.Array, allowed: jax.Array) -> jax.Array:
        return jnp.where(allowed[None], upper_bounds(short, rows), -jnp.inf)

    split = PartitionSpec(AXIS)
    return jax.shard_map(
        part, mesh=mesh, in_specs=(PartitionSpec(), split, split), out_specs=PartitionSpec(None, AXIS)
    )(short, rows, allowed)


class _Scorer:
    """Fast keys of one query and any shapes, whose rows are gathered in `space` [at most this many, ...]."""

    def __init__(
        self,
        gallery: SearchGallery,
        query: np.ndarray,
        projected: np.ndarray | None,
        device: jax.Device,
        space: np.ndarray,
    ):
        self._gallery, self._device, self._space = gallery, device, space
        self._query = jax.device_put(
            (query[None], None if projected is None else projected[None], gallery.centre), device
        )

    def keys(self, ids: np.ndarray) -> np.ndarray:
        """Keys float64 [N]."""
        return np.concatenate(
            [self._keys(ids[start : start + len(self._space)]) for start in range(0, len(ids), len(self._space))]
        )

    def _keys(self, ids: np.ndarray) -> np.ndarray:
        # Memory that is new each time would cost more than the products. The result is read before the next use.
        np.take(self._gallery.rows, ids, axis=0, out=self._space[: len(ids)], mode='clip')  # 'raise' copies once more
        rows = jax.device_put(self._space[: power_of_two(len(ids))], self._device)
        keys = _keys(self._gallery.similarity, *self._query, rows)
        return np.asarray(keys)[0, : len(ids)].astype(np.float64)


@partial(jax.jit, static_argnums=0)
def _keys(kind: str, query: jax.Array, projected: jax.Array | None, centre: jax.Array, rows: jax.Array) -> jax.Array:
    return fast_keys(kind, query, projected, rows, centre)


def _search_one(
    scorer: _Scorer, upper: np.ndarray, searched: np.ndarray, k: int, slack: float, margin: float
) -> tuple[np.ndarray, int]:
    """Candidates of one query, and how many shapes were scored.

    Args:
      scorer: its keys.
      upper: [G'] bounds of the shapes searched.
      searched: [G'] their gallery indices, ascending.
      k: results wanted, at most G'.
      slack: what a bound can be too low by.
      margin: how much lower than the K-th best key a candidate's may be.
    """
    first = _best_of_groups(upper, max(64, 2 * k))
    places, keys = [first], [scorer.keys(searched[first])]
    limit = _kth(keys[0], k) - margin
    rest = np.flatnonzero(upper >= limit - slack)
    rest = rest[~np.isin(rest, first)]
    rest = rest[np.argsort(-upper[rest])]
    start, size = 0, _FIRST
    while start < len(rest):
        chunk = rest[start : start + size]
        chunk = chunk[upper[chunk] >= limit - slack]
        if not len(chunk):
            break
        places.append(chunk)
        keys.append(scorer.keys(searched[chunk]))
        limit = max(limit, _kth(np.concatenate(keys), k) - margin)
        start, size = start + size, min(2 * size, _MOST)
    places, keys = np.concatenate(places), np.concatenate(keys)
    return searched[places[keys >= limit]], len(places)


def _best_of_groups(upper: np.ndarray, count: int) -> np.ndarray:
    """Places of good bounds, at least min(count, G'): the best ones of the groups whose best are best, or all."""
    groups = len(upper) // _GROUP
    if groups < count:
        return np.argpartition(-upper, min(count, len(upper)) - 1)[:count]
    grouped = upper[: groups * _GROUP].reshape(groups, _GROUP)
    chosen = np.argpartition(-grouped.max(axis=1), count - 1)[:count]
    return chosen * _GROUP + grouped[chosen].argmax(axis=1)


def _kth(keys: np.ndarray, k: int) -> float:
    return -np.partition(-keys, k - 1)[k - 1]
