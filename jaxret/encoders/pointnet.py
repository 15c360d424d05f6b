"""PointNet: every point alone through the same layers, then the largest value over points.

Letters: B batch, N points, C channels, F features, D embedding.
"""

from collections.abc import Sequence
from typing import Any

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxret.encoders.pointwise import FeatureHead, PointwiseLayer, scaled
from jaxret.losses.scores import largest


class PointNet(nn.Module):
    """Embeddings of point clouds: z = relu(bn(W max_i mlp(x_i))).

    Qi et al. 2017 (arXiv:1612.00593), figure 2 without its transform networks: the paper's "vanilla" network, and that
    of DGCNN's public code. The head is the one of the other encoders here, D features after one ReLU, instead of the
    paper's 512 and 256 with dropout. Reordering the points changes nothing but rounding.

    Attributes:
      dim: D.
      widths: features at each point, layer by layer.
      width: factor on `widths`; 1 for the published network.
      dtype: of the computation up to the pooling; parameters and statistics are float32.
      axis_name: mapped axis (of `pmap` or `vmap`) over which batch statistics are averaged in training.
    """

    dim: int = 512
    widths: Sequence[int] = (64, 64, 64, 128, 1024)
    width: float = 1.0
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
        x = points
        for index, features in enumerate(self.widths, start=1):
            x = PointwiseLayer(
                scaled(features, self.width), dtype=self.dtype, axis_name=self.axis_name, name=f'point{index}'
            )(x, train=train)
        pooled = largest(x, axis=1)  # [B, N, F] -> [B, F]
        return FeatureHead(self.dim, axis_name=self.axis_name, name='head')(pooled, train=train)
