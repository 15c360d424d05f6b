"""Batch norm that leaves padded rows out of its statistics, and several batches joined into one that it sees as one.

Letters: B batch, F features, M and N rows of batches that are joined.
"""

import math
from collections.abc import Sequence
from typing import Any

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp

MOMENTUM = 0.9
EPSILON = 1e-5


class MaskedBatchNorm(nn.Module):
    """scale (x - mean) / sqrt(variance + 1e-5) + bias, statistics over all axes but the last, of valid rows only.

    As `layers.batch_norm` (running statistics keep 0.9 of their old value), but rows that pad a batch change nothing,
    on however many devices and however unevenly they lie there. Where no row is valid, the running statistics stay.

    Attributes:
      dtype: of the result; parameters and statistics are float32.
      axis_name: mapped axis (of `pmap` or `vmap`) that the batch is spread over; sums are taken over it.
    """

    dtype: Any = jnp.float32
    axis_name: str | None = None

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool = False, valid: jax.Array | None = None) -> jax.Array:
        """Normalised features.

        Args:
          x: float [B, ..., F].
          train: normalise with the statistics of the batch and update the running ones; else use the running ones.
          valid: [B] bool, rows that count. None: all.

        Returns:
          [B, ..., F] of type `dtype`.
        """
        features = x.shape[-1]
        running_mean = self.variable('batch_stats', 'mean', jnp.zeros, features)
        running_variance = self.variable('batch_stats', 'var', jnp.ones, features)
        scale = self.param('scale', nn.initializers.ones, (features,))
        bias = self.param('bias', nn.initializers.zeros, (features,))
        mean, variance = running_mean.value, running_variance.value
        if train:
            mean, variance, count = self._statistics(x, valid)
            if not self.is_initializing():
                keep = jnp.where(count > 0, MOMENTUM, 1.0)
                running_mean.value = keep * running_mean.value + (1 - keep) * mean
                running_variance.value = keep * running_variance.value + (1 - keep) * variance
        factor = scale * jax.lax.rsqrt(variance + EPSILON)
        shape = (1,) * (x.ndim - 1) + (features,)
        y = (x.astype(jnp.float32) - mean.reshape(shape)) * factor.reshape(shape) + bias.reshape(shape)
        return y.astype(self.dtype)

    def _statistics(self, x: jax.Array, valid: jax.Array | None) -> tuple[jax.Array, jax.Array, jax.Array]:
        """Mean [F], variance [F] and number of the values of each feature, over all devices."""
        if valid is None:
            valid = jnp.ones(x.shape[0], bool)
        chex.assert_shape(valid, x.shape[:1])
        chex.assert_type(valid, bool)
        rows = valid.reshape(-1, *(1,) * (x.ndim - 1))
        # Not a product: what a padded row holds, NaN too, must not count.
        kept = jnp.where(rows, x.astype(jnp.float32), 0.0)
        axes = tuple(range(x.ndim - 1))
        count = self._over_devices(jnp.sum(valid) * (x[0, ..., 0].size * 1.0))
        divisor = jnp.maximum(count, 1.0)
        mean = self._over_devices(jnp.sum(kept, axis=axes)) / divisor
        centred = jnp.where(rows, kept - mean.reshape((1,) * (x.ndim - 1) + (-1,)), 0.0)
        return mean, self._over_devices(jnp.sum(jnp.square(centred), axis=axes)) / divisor, count

    def _over_devices(self, total: jax.Array) -> jax.Array:
        return total if self.axis_name is None else jax.lax.psum(total, self.axis_name)


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
    """The batches of `join_batches` again.

    Args:
      joined: [M + N + ..., ...].
      sizes: M, N, ...

    Returns:
      [M, ...], [N, ...], ...
    """
    parts = math.gcd(*sizes)
    split = joined.reshape(parts, len(joined) // parts, *joined.shape[1:])
    ends = [sum(sizes[:index]) // parts for index in range(1, len(sizes))]
    return [x.reshape(-1, *joined.shape[1:]) for x in jnp.split(split, ends, axis=1)]
