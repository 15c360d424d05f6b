"""Every shape of a gallery scored, in blocks.

Letters: Q queries, G gallery shapes, N shapes of a block, C keys kept of a device's part of a block, D embedding.
"""

from collections.abc import Sequence
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, PartitionSpec

from jaxret.search.blocks import AXIS, RowBlocks, power_of_two
from jaxret.search.gallery import SearchGallery
from jaxret.search.references import mean_of_best
from jaxret.search.similarity import fast_keys, key_error

_KEPT_ELEMENTS = 2**22  # keys kept of all blocks


def brute_candidates(
    gallery: SearchGallery,
    queries: np.ndarray,
    projected: np.ndarray | None,
    k: int,
    allowed: np.ndarray,
    *,
    devices: Sequence[jax.Device],
    block: int | None,
) -> list[np.ndarray]:
    """For each query, indices of all shapes that can be among its k best by exact score; few more than k as a rule.

    Args:
      gallery: with at least k shapes allowed, k >= 1.
      queries: float32 [Q, D]; of unit length for 'cosine'.
      projected: float32 [Q, D] for 'attention', else None.
      k: how many are searched for.
      allowed: bool [G].
      devices: to work on.
      block: shapes at a time on a device; None chooses.
    """
    if gallery.coded:
        return [_coded_candidates(gallery, query, k, allowed) for query in queries]
    blocks = RowBlocks(gallery.rows, allowed, devices, block, len(queries), gallery.resident)
    count = min(blocks.size // len(devices), power_of_two(k + 16))
    step = max(1, min(blocks.queries, _KEPT_ELEMENTS // (len(blocks) * len(devices) * count)))
    found = []
    for start in range(0, len(queries), step):
        part = slice(start, start + step)
        found += _candidates(gallery, blocks, queries[part], None if projected is None else projected[part], k, count)
    return found


def _coded_candidates(gallery: SearchGallery, query: np.ndarray, k: int, allowed: np.ndarray) -> np.ndarray:
    """As `brute_candidates`, of one query and a gallery of codes."""
    ids = np.flatnonzero(allowed)
    keys = mean_of_best(gallery.products(query[None], ids)[0], np.float64)
    error = key_error(gallery.similarity, query[None], None, gallery.radius, gallery.views)[0]
    return ids[keys >= -np.partition(-keys, k - 1)[k - 1] - 2 * error]


def _candidates(
    gallery: SearchGallery, blocks: RowBlocks, queries: np.ndarray, projected: np.ndarray | None, k: int, count: int
) -> list[np.ndarray]:
    padding = [(0, power_of_two(len(queries)) - len(queries)), (0, 0)]
    sides = blocks.replicate(
        (np.pad(queries, padding), None if projected is None else np.pad(projected, padding), gallery.centre)
    )

    def run(number: int, kept: int | None) -> tuple[jax.Array, ...]:
        return _block_keys(blocks.mesh, gallery.similarity, kept, *sides, *blocks.load(number))

    keys, places = zip(*blocks.each(lambda number: run(number, count)), strict=True)
    keys = [block[: len(queries)].astype(np.float64) for block in keys]  # [Q, devices, C] each
    kth = -np.partition(-np.concatenate([block.reshape(len(queries), -1) for block in keys], axis=1), k - 1)[:, k - 1]
    error = key_error(gallery.similarity, queries - gallery.centre[None], projected, gallery.radius, gallery.views)
    limit = kth - 2 * error
    found = [[] for _ in queries]
    for number in range(len(blocks)):
        ids = blocks.ids(number)
        # Where even the last key that a device kept is near enough, other shapes of its part may be too.
        cut = (keys[number][..., -1] >= limit[:, None]).any(axis=1) & (keys[number][0].size < len(ids))
        every = np.asarray(run(number, None)[0]) if cut.any() else None
        for query, near in enumerate(found):
            if cut[query]:
                near.append(ids[np.flatnonzero(every[query, : len(ids)] >= limit[query])])
            else:
                near.append(ids[places[number][query][keys[number][query] >= limit[query]]])
    return [np.concatenate(near) for near in found]


@partial(jax.jit, static_argnums=(0, 1, 2))
def _block_keys(
    mesh: Mesh,
    kind: str,
    count: int | None,
    queries: jax.Array,
    projected: jax.Array | None,
    centre: jax.Array,
    rows: jax.Array,
    allowed: jax.Array,
) -> tuple[jax.Array, ...]:
    """Of every device's part of a block the largest keys and their places in the block, both [Q, devices, C].

    All keys [Q, N] where count is None. Nothing is exchanged between devices.
    """

    def part(
        queries: jax.Array, projected: jax.Array | None, centre: jax.Array, rows: jax.Array, allowed: jax.Array
    ) -> tuple[jax.Array, ...]:
        keys = jnp.where(allowed[None], fast_keys(kind, queries, projected, rows, centre), -jnp.inf)
        if count is None:
            return (keys,)
        best, places = jax.lax.top_k(keys, min(count, len(rows)))
        return best[:, None], (places + jax.lax.axis_index(AXIS) * len(rows))[:, None]

    split = PartitionSpec(AXIS)
    return jax.shard_map(
        part, mesh=mesh, in_specs=(*[PartitionSpec()] * 3, split, split), out_specs=PartitionSpec(None, AXIS)
    )(queries, projected, centre, rows, allowed)
