"""Dynamic graph CNN: points whose neighbours are searched anew, among features, in every layer.

Letters: B batch, N points, C channels, K neighbours, F features, D embedding.
"""

from collections.abc import Sequence
from typing import Any

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxret.encoders.neighbors import PairConvolution, nearest_neighbors
from jaxret.encoders.pointwise import FeatureHead, PointwiseLayer, scaled
from jaxret.losses.scores import largest


def leaky_relu(x: jax.Array) -> jax.Array:
    """max(x, 0.2 x), the slope of DGCNN's public code."""
    return nn.leaky_relu(x, negative_slope=0.2)


class DGCNN(nn.Module):
    """Embeddings of point clouds: four edge convolutions, their outputs side by side, max and mean over points.

        x_l = max_{j in knn(x_{l-1})} leaky_relu(bn(W_l [x_j - x_i, x_i])),  y = leaky_relu(bn(W [x_1, ..., x_4])),
        z = relu(bn(W' [max_i y, mean_i y]))

    Wang et al. 2019 (arXiv:1801.07829), figure 3 top, without the transformer network, as in its public code; the
    head is that of the cross-modal center loss, D features after one ReLU, without dropout. Reordering the points
    changes nothing but rounding.

    Attributes:
      dim: D.
      neighbors: K, the point itself among them; clouds of fewer points use all.
      widths: F of each edge convolution.
      bottleneck: features of y.
      width: factor on `widths` and `bottleneck`; 1 for the published network.
      block: as in `nearest_neighbors`.
      dtype: of the computation between neighbour search and pooling; parameters and statistics are float32.
      axis_name: mapped axis (of `pmap` or `vmap`) over which batch statistics are averaged in training.
    """

    dim: int = 512
    neighbors: int = 20
    widths: Sequence[int] = (64, 64, 128, 256)
    bottleneck: int = 1024
    width: float = 1.0
    block: int = 512
    dtype: Any = jnp.float32
    axis_name: str | None = None

    @nn.compact
    def __call__(self, points: jax.Array, *, train: bool = False) -> jax.Array:
        """Embeddings of point clouds.

        Args:
          points: float [B, N, C], C = 3 for coordinates.
          train: whether batch norm uses, and updates, the statistics of this batch.

        Returns:
          float32 [B, D], not negative, not normalised.
        """
        chex.assert_rank(points, 3)
        chex.assert_type(points, float)
        options = {'activation': leaky_relu, 'dtype': self.dtype, 'axis_name': self.axis_name}
        count = min(self.neighbors, points.shape[1])
        x, layers = points, []
        for index, features in enumerate(self.widths, start=1):
            layer = PairConvolution(scaled(features, self.width), 'difference', name=f'edge{index}', **options)
            x = layer(x, nearest_neighbors(x, count, block=self.block), train=train)
            layers.append(x)
        y = PointwiseLayer(scaled(self.bottleneck, self.width), name='fusion', **options)(
            jnp.concatenate(layers, axis=-1), train=train
        ).astype(jnp.float32)
        pooled = jnp.concatenate([largest(y, axis=1), y.mean(axis=1)], axis=-1)  # [B, N, F] -> [B, 2 F]
        return FeatureHead(self.dim, axis_name=self.axis_name, name='head')(pooled, train=train)
