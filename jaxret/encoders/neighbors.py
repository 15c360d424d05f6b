"""Neighbours of points and faces: exact search for the nearest, and convolutions over pairs of neighbours.

Letters: B batch, N points or faces, C channels, K neighbours, F features.
"""

import math
from collections.abc import Callable
from typing import Any

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxret.encoders.layers import batch_norm
from jaxret.encoders.pointwise import UNIFORM_INIT, uniform_bias
from jaxret.errors import ConfigError
from jaxret.losses.scores import largest

# Up to this many channels squared differences are added one by one: no rounding of large terms that cancel.
_DIRECT_CHANNELS = 8


def _squared_distances(x: jax.Array, y: jax.Array) -> jax.Array:
    """[B, M, C], [B, N, C] -> [B, M, N]; for many channels as |x|^2 - 2 x.y + |y|^2."""
    if x.shape[-1] <= _DIRECT_CHANNELS:
        return sum(jnp.square(x[:, :, None, c] - y[:, None, :, c]) for c in range(x.shape[-1]))
    products = jnp.einsum('bmc,bnc->bmn', x, y, precision=jax.lax.Precision.HIGHEST)
    return jnp.sum(x * x, axis=-1)[:, :, None] - 2 * products + jnp.sum(y * y, axis=-1)[:, None, :]


def nearest_neighbors(x: jax.Array, count: int, *, block: int = 512) -> jax.Array:
    """Indices of the K points nearest to each point, itself among them: argsort_j |x_i - x_j|^2, the first K.

    The search is exact, in float32; `block` rows of the distance matrix exist at a time, so the memory is that of
    [B, block, N] instead of [B, N, N]. Among equal distances the lower index comes first, so a point comes first
    in its own list unless a copy of it has a lower index. Distances of up to 8 channels are sums of squared
    differences. Of more they are |x|^2 - 2 x.y + |y|^2, whose rounding, about 1e-7 of the squared spread of the
    cloud, may reorder distances that are equal to within it. The indices carry no gradient. With a batch sharded
    under `jit` the result is the same, but XLA's top-k gathers the distances onto every device; under `pmap` not.

    Wang et al. 2019 (DGCNN, arXiv:1801.07829), section 3.2, with the point itself among its neighbours as in its
    public code.

    Args:
      x: float [B, N, C], coordinates or features.
      count: K, at most N.
      block: points whose distances to all N are held at a time.

    Returns:
      int32 [B, N, K], nearest first.

    Raises:
      ConfigError: if K is not from 1 to N, or `block` is less than 1.
    """
    chex.assert_rank(x, 3)
    chex.assert_type(x, float)
    batch, points, channels = x.shape
    if not 1 <= count <= points:
        raise ConfigError(f'{count} nearest neighbours of {points} points; use 1 to {points}, or more points')
    if block < 1:
        raise ConfigError(f'blocks of {block} points in the neighbour search; use at least 1')
    x = jax.lax.stop_gradient(x.astype(jnp.float32))
    if channels > _DIRECT_CHANNELS:
        x = x - x.mean(axis=1, keepdims=True)  # distances stay, the terms that cancel get small

    def search(rows: jax.Array) -> jax.Array:
        return jax.lax.top_k(-_squared_distances(rows, x), count)[1]

    if points <= block:
        return search(x)
    blocks = -(-points // block)
    rows = jnp.pad(x, ((0, 0), (0, blocks * block - points), (0, 0)))
    rows = rows.reshape(batch, blocks, block, channels).swapaxes(0, 1)
    found = jax.lax.map(search, rows)  # [blocks, B, block, K]
    return found.swapaxes(0, 1).reshape(batch, blocks * block, count)[:, :points]


def gather_neighbors(x: jax.Array, neighbors: jax.Array) -> jax.Array:
    """Rows of x at the indices of neighbours.

    Args:
      x: [B, N, C].
      neighbors: integer [B, M, K], each from 0 to N - 1; an index above gives NaN, so that it shows.

    Returns:
      [B, M, K, C].
    """
    chex.assert_rank((x, neighbors), 3)
    chex.assert_type(neighbors, int)
    chex.assert_equal_shape_prefix((x, neighbors), 1)
    return jax.vmap(lambda rows, indices: rows.at[indices].get(mode='fill'))(x, neighbors)


class PairConvolution(nn.Module):
    """Layer over pairs of a point and its neighbours, then the largest value: max_j act(bn(W [pair of i and j] + b)).

    The pair is [x_j - x_i, x_i] ('difference', DGCNN) or [x_i, x_j] ('pair', MeshNet). Both split W = [W1, W2] into
    what is the same for all neighbours and what is the same for all centres, W1 x_j + (W2 - W1) x_i and
    W1 x_i + W2 x_j, so W is applied N times instead of N K and no [B, N, K, 2 C] is formed. These products are float32
    without TF32 whatever `dtype` is, because near neighbours cancel. Batch norm sees all B N K pairs.

    Attributes:
      features: F.
      form: 'difference' or 'pair'.
      activation: function of each entry.
      use_bias: whether b is there (batch norm takes it out again, but published weights may have it).
      dtype: of the arrays over pairs; parameters and statistics are float32.
      axis_name: mapped axis over which batch statistics are averaged in training.
    """

    features: int
    form: str
    activation: Callable[[jax.Array], jax.Array]
    use_bias: bool = False
    dtype: Any = jnp.float32
    axis_name: str | None = None

    @nn.compact
    def __call__(self, x: jax.Array, neighbors: jax.Array, *, train: bool = False) -> jax.Array:
        """Features of points.

        Args:
          x: float [B, N, C].
          neighbors: integer [B, N, K].
          train: whether batch norm uses, and updates, the statistics of this batch.

        Returns:
          [B, N, F] of type `dtype`.

        Raises:
          ConfigError: for an unknown `form`.
        """
        chex.assert_rank((x, neighbors), 3)
        chex.assert_type((x, neighbors), (float, int))
        channels = x.shape[-1]
        kernel = self.param('kernel', UNIFORM_INIT, (2 * channels, self.features))
        if self.form == 'difference':
            of_neighbor, of_center = kernel[:channels], kernel[channels:] - kernel[:channels]
        elif self.form == 'pair':
            of_neighbor, of_center = kernel[channels:], kernel[:channels]
        else:
            raise ConfigError(f'unknown form of pairs {self.form!r}; use one of: difference, pair')
        x = x.astype(jnp.float32)
        exact = jax.lax.Precision.HIGHEST
        center = jnp.matmul(x, of_center, precision=exact)
        if self.use_bias:
            bound = 1.0 / math.sqrt(2 * channels)
            center = center + self.param('bias', uniform_bias(bound), (self.features,))[None, None]
        neighbor = gather_neighbors(jnp.matmul(x, of_neighbor, precision=exact), neighbors)
        pairs = (neighbor + center[:, :, None]).astype(self.dtype)  # [B, N, K, F]
        pairs = batch_norm('bn', train=train, dtype=self.dtype, axis_name=self.axis_name)(pairs)
        return largest(self.activation(pairs), axis=2)
