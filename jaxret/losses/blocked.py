"""Losses of large batches: a few queries at a time against the whole gallery, computed again in the backward pass.

Every loss here has one value a query (`info_nce`, `supervised_contrastive`, `triplet_per_anchor` with its counts), so
that any of them, with the scores it needs, can be computed for some rows of the score matrix by itself. Memory is then
that of one block of rows, however many queries there are; values and gradients are the same.

    losses = map_queries(lambda rows: info_nce(similarity_matrix(rows['queries'], gallery), rows['positives'],
                                               temperature=0.1), {'queries': queries, 'positives': positives}, block=64)

Letters: Q queries, G gallery shapes, V views.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from jaxret.chunks import map_chunks
from jaxret.errors import ConfigError

PyTree = Any

BLOCK_NUMBERS = 2**24  # of one [Q, G, V] array, 64 MiB in float32; the direct form holds about six of them


def map_queries(function: Callable[[PyTree], PyTree], rows: PyTree, *, block: int) -> PyTree:
    """A function of the queries, block by block.

    Args:
      function: arrays [N, ...] of any N queries to results [N, ...], those of a query from its own row alone. What all
        queries share, such as the gallery, it closes over; gradients flow there too.
      rows: arrays [Q, ...].
      block: queries a block; Q and more is the direct form. Blocks are smaller where that makes them equal.

    Returns:
      Results [Q, ...].

    Raises:
      ConfigError: block is below 1.
    """
    if block < 1:
        raise ConfigError(f'block is {block}; it must be 1 or more')
    count = jax.tree.leaves(rows)[0].shape[0]
    blocks = -(-count // block)
    if blocks <= 1:
        return function(rows)
    # A number that divides Q, where there is one nearby: then nothing is added, and sharded rows stay where they are.
    blocks = next((number for number in range(blocks, 2 * blocks) if count % number == 0), blocks)
    added = -count % blocks  # repeats of the last row, whose results are dropped
    rows = jax.tree.map(lambda x: jnp.pad(x, [(0, added)] + [(0, 0)] * (x.ndim - 1), mode='edge'), rows)
    results, _ = map_chunks(lambda chunk: (function(chunk), ()), rows, chunks=blocks)
    return jax.tree.map(lambda x: x[:count], results)


def block_size(queries: int, gallery: int, views: int = 1) -> int:
    """Queries a block: all where Q G V is at most `BLOCK_NUMBERS`, else as many as stay below it.

    Args:
      queries: Q.
      gallery: G.
      views: V, where scores compare the query with every view.
    """
    return min(queries, max(1, BLOCK_NUMBERS // (gallery * views)))
