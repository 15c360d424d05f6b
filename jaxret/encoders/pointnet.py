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


class TransformNet(nn.Module):
    """A C x C matrix predicted from the points themselves, the identity at the start of training.

    Qi et al. 2017 (PointNet, arXiv:1612.00593), section 4.2 and supplement C: layers of 64, 128 and 1024 at each
    point, max over points, layers of 512 and 256, one linear layer.

    Attributes:
      width, dtype, axis_name: as in `PointNet`.
    """

    width: float = 1.0
    dtype: Any = jnp.float32
    axis_name: str | None = None

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool = False) -> jax.Array:
        """float [B, N, C] -> float32 [B, C, C]; `train` as for batch norm."""
        channels = x.shape[-1]
        for index, features in enumerate((64, 128, 1024), start=1):
            layer = PointwiseLayer(
                scaled(features, self.width), dtype=self.dtype, axis_name=self.axis_name, name=f'point{index}'
            )
            x = layer(x, train=train)
        x = largest(x, axis=1)  # [B, N, F] -> [B, F]
        for index, features in enumerate((512, 256), start=1):
            x = FeatureHead(scaled(features, self.width), axis_name=self.axis_name, name=f'global{index}')(
                x, train=train
            )
        # Kernel 0 and bias 0: the matrix starts as the identity, as in the paper.
        change = nn.Dense(channels * channels, kernel_init=nn.initializers.zeros, name='matrix')(x)
        return jnp.eye(channels)[None] + change.reshape(-1, channels, channels)


def orthogonality_penalty(transforms: jax.Array) -> jax.Array:
    """How far matrices are from orthogonal: mean over the batch of |I - A A^T|^2, the sum of squared entries.

    Qi et al. 2017 (arXiv:1612.00593), equation 2; there it is added to the loss with weight 0.001.

    Args:
      transforms: float [B, C, C], 'feature_matrix' of `PointNet`.

    Returns:
      float [].
    """
    chex.assert_rank(transforms, 3)
    products = jnp.einsum('bij,bkj->bik', transforms, transforms, precision=jax.lax.Precision.HIGHEST)
    return jnp.mean(jnp.sum(jnp.square(jnp.eye(transforms.shape[-1])[None] - products), axis=(1, 2)))


class PointNet(nn.Module):
    """Embeddings of point clouds: z = relu(bn(W max_i mlp(x_i))).

    Qi et al. 2017 (arXiv:1612.00593), figure 2: layers of 64, 64 | 64, 128, 1024 at each point. With `transforms`, a
    predicted 3 x 3 matrix is applied to the points and a predicted 64 x 64 one after the bar; without, it is the
    paper's "vanilla" network, and that of DGCNN's public code. The head is the one of the other encoders here, D
    features after one ReLU, instead of the paper's 512 and 256 with dropout. Reordering the points changes nothing
    but rounding.

    Where the caller makes the collection 'intermediates' mutable, the 64 x 64 matrices are there under
    'feature_matrix', in a tuple of one; the paper's loss has `orthogonality_penalty` of them.

    Attributes:
      dim: D.
      transforms: whether the two transform networks are there.
      widths: features before the bar, and after it.
      width: factor on `widths` and on the layers of the transform networks; 1 for the published network.
      dtype: of the computation up to the pooling; parameters and statistics are float32.
      axis_name: mapped axis (of `pmap` or `vmap`) over which batch statistics are averaged in training.
    """

    dim: int = 512
    transforms: bool = False
    widths: tuple[Sequence[int], Sequence[int]] = ((64, 64), (64, 128, 1024))
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
        options = {'dtype': self.dtype, 'axis_name': self.axis_name}
        before, after = self.widths
        x = points
        if self.transforms:
            matrix = TransformNet(self.width, name='input_transform', **options)(x, train=train)
            x = jnp.matmul(x, matrix, precision=jax.lax.Precision.HIGHEST)
        for index, features in enumerate((*before, *after), start=1):
            if self.transforms and index == len(before) + 1:
                matrix = TransformNet(self.width, name='feature_transform', **options)(x, train=train)
                self.sow('intermediates', 'feature_matrix', matrix)
                x = jnp.matmul(x, matrix.astype(self.dtype))
            x = PointwiseLayer(scaled(features, self.width), name=f'point{index}', **options)(x, train=train)
        pooled = largest(x, axis=1)  # [B, N, F] -> [B, F]
        return FeatureHead(self.dim, axis_name=self.axis_name, name='head')(pooled, train=train)
