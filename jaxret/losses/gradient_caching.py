"""Work on a batch in chunks that are computed again in the backward pass, so that memory holds one chunk at a time.

`map_chunks` is for the encoders of a batch (gradient caching), `map_queries` and `block_size` are for losses whose
arrays grow with queries times gallery.

Letters: N examples, K chunks, Q queries, G gallery shapes, V views.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from jaxret.errors import ConfigError

PyTree = Any
BLOCK_NUMBERS = 2**24  # of one [Q, G, V] array, of which the direct form of a loss holds several


def map_chunks(
    function: Callable[[PyTree], tuple[PyTree, PyTree]], examples: PyTree, *, chunks: int
) -> tuple[PyTree, PyTree]:
    """A function of one chunk after the other, whose intermediate results are never kept.

    The backward pass of what is made of the results goes chunk by chunk too and computes each again first. This is
    gradient caching (Gao et al. 2021, arXiv:2101.06983) by `jax.checkpoint` in a loop: results without their graph, a
    loss over all of them, its gradient with respect to the results, then gradients of the function's parameters summed
    over chunks. Values and gradients are those of a loop that keeps everything.

    Chunk k is the examples k, k + K, k + 2 K, ... Where examples are spread over devices in order and their number a
    device divides by K, every chunk is spread over them evenly, no example moves, and chunks do not depend on devices.

    Args:
      function: arrays [N / K, ...] of a chunk to (results [N / K, ...], results of the chunk as a whole [...]).
      examples: arrays [N, ...]; not differentiated through where they are integers.
      chunks: K.

    Returns:
      Results [N, ...] in the order of the examples, results of chunks [K, ...].

    Raises:
      ConfigError: K does not divide N.
    """
    sizes = {x.shape[0] for x in jax.tree.leaves(examples)}
    if any(size % chunks for size in sizes):
        raise ConfigError(f'{" and ".join(map(str, sorted(sizes)))} examples do not divide into {chunks} chunks')
    rows = jax.tree.map(lambda x: jnp.reshape(x, (x.shape[0] // chunks, chunks, *x.shape[1:])), examples)

    def one(index: jax.Array) -> tuple[PyTree, PyTree]:
        return function(jax.tree.map(lambda x: jax.lax.dynamic_index_in_dim(x, index, 1, keepdims=False), rows))

    # Without `prevent_cse`: a loop already keeps the compiler from merging the second computation with the first.
    results, of_chunks = jax.lax.map(jax.checkpoint(one, prevent_cse=False), jnp.arange(chunks))

    def in_order(x: jax.Array) -> jax.Array:  # [K, N / K, ...] -> [N, ...]
        return jnp.moveaxis(x, 0, 1).reshape(x.shape[0] * x.shape[1], *x.shape[2:])

    return jax.tree.map(in_order, results), of_chunks


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
