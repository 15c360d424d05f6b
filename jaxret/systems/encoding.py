"""How systems apply their networks: batch statistics kept apart, batches in chunks, rows that know their place.

Large batches: a chunk of rows is encoded at once, and again in the backward pass (`jaxret.losses.gradient_caching`), so
that activations are those of a chunk. Batch norm normalises each chunk by the chunk's own statistics (ghost batch norm,
Hoffer et al., NIPS 2017): those of the whole batch would need every layer's activations of all chunks at once. Loss and
gradient are exactly those of this function; they are those of the unchunked step too where the chunk is the batch or
statistics are frozen. Running statistics move once a step, to the mean of what each chunk alone would make of them.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from jaxret.errors import ConfigError
from jaxret.losses.gradient_caching import map_chunks
from jaxret.systems.base import Variables


def apply_network(
    network: nn.Module, variables: Variables, name: str, *inputs: jax.Array, train: bool, **options: Any
) -> tuple[Any, Any]:
    """What a network makes of its inputs, and its batch statistics after this batch.

    Args:
      network: with batch norm.
      variables: of the system, whose collections have an entry `name` for the network.
      name: of the network.
      inputs: passed on.
      train: whether the batch's own statistics normalise.
      options: passed on in training.
    """
    own = {'params': variables['params'][name], 'batch_stats': variables['batch_stats'][name]}
    if not train:
        return network.apply(own, *inputs, train=False), own['batch_stats']
    out, state = network.apply(own, *inputs, train=True, mutable=['batch_stats'], **options)
    return out, state['batch_stats']


def apply_in_chunks(
    network: nn.Module,
    variables: Variables,
    name: str,
    inputs: tuple[jax.Array, ...],
    *,
    prepare: Callable[..., jax.Array],
    train: bool,
    chunks: int,
) -> tuple[jax.Array, Any]:
    """As `apply_network`, chunk by chunk.

    Args:
      network, variables, name, train: as there.
      inputs: arrays of one length, which `chunks` divides.
      prepare: makes the network's input of a chunk of them.
      chunks: how many.
    """

    def apply(chunk: tuple[jax.Array, ...]) -> tuple[jax.Array, Any]:
        return apply_network(network, variables, name, prepare(*chunk), train=train)

    if chunks == 1:
        return apply(inputs)

    def apply_chunk(chunk: tuple[jax.Array, ...]) -> tuple[jax.Array, Any]:
        embeddings, state = apply(chunk)
        return embeddings, jax.lax.stop_gradient(state)

    embeddings, states = map_chunks(apply_chunk, inputs, chunks=chunks)
    return embeddings, jax.tree.map(lambda x: x.mean(axis=0), states) if train else variables['batch_stats'][name]


def chunk_count(chunk: int, rows: int, axis_name: str | None) -> int:
    """Into how many chunks this device's rows are split.

    Args:
      chunk: rows of the global batch at a time (`model.chunk`); 0 is all.
      rows: of this device.
      axis_name: as for `System.loss`.

    Raises:
      ConfigError: it does not divide the batch over the devices.
    """
    devices = 1 if axis_name is None else jax.lax.axis_size(axis_name)
    if chunk == 0 or chunk >= rows * devices:
        return 1
    if rows * devices % chunk or chunk % devices:
        raise ConfigError(
            f'config.model.chunk: {chunk} does not divide a batch of {rows * devices} on {devices} devices'
        )
    return rows * devices // chunk


def global_rows(rows: int, axis_name: str | None) -> tuple[jax.Array, int]:
    """Places [rows] of this device's rows in the global batch, and the size of that.

    What is drawn for the place of a row in the global batch is the same however the batch is split over devices.
    """
    if axis_name is None:
        return jnp.arange(rows), rows
    return jax.lax.axis_index(axis_name) * rows + jnp.arange(rows), jax.lax.axis_size(axis_name) * rows
