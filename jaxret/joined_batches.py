"""Several batches as one, for a network whose batch norm is to see them together, without moving rows between devices.

Letters: M, N rows of the batches; g their largest common divisor.
"""

import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp


def join_batches(*batches: jax.Array) -> jax.Array:
    """Rows of several batches as one.

    Of g parts each, the k-th parts of all batches stand together. Where rows lie on devices in order, and the number of
    devices divides M and N, each device keeps its own: `jnp.concatenate` would send most rows, such as images, to
    other devices.

    Args:
      batches: [M, ...], [N, ...], ... of the same shape but for the number of rows.

    Returns:
      [M + N + ..., ...].
    """
    parts = math.gcd(*(len(x) for x in batches))
    split = [x.reshape(parts, len(x) // parts, *x.shape[1:]) for x in batches]
    return jnp.concatenate(split, axis=1).reshape(-1, *batches[0].shape[1:])


def part_batches(joined: jax.Array, sizes: Sequence[int]) -> list[jax.Array]:
    """The batches of `join_batches` again, from their numbers of rows."""
    parts = math.gcd(*sizes)
    split = joined.reshape(parts, len(joined) // parts, *joined.shape[1:])
    ends = [sum(sizes[:index]) // parts for index in range(1, len(sizes))]
    return [x.reshape(-1, *joined.shape[1:]) for x in jnp.split(split, ends, axis=1)]
