"""The two-layer perceptron of projections, predictions and label heads.

Letters: F input features, D output features.
"""

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxret.encoders.layers import linear


class MLP(nn.Module):
    """Linear, ReLU, linear; no batch norm: W2 max(0, W1 x + b1) + b2.

    Without batch norm each row stands alone, whatever the size of the batch. It computes in float32 whatever the
    encoder before it does.

    Source: Choo et al. (KSII TIIS 2024), section 4.2 (projection, prediction and label head; widths not given); the
    label head of Jing et al.'s public code (CVPR 2021) is the same with 256 hidden units.

    Attributes:
      hidden: width between the layers.
      features: D.
    """

    hidden: int
    features: int

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Outputs of features.

        Args:
          x: float [..., F]; for example [M, B, F] when modalities share it.

        Returns:
          float32 [..., D].
        """
        chex.assert_type(x, float)
        x = x.astype(jnp.float32)
        x = nn.relu(linear(self.hidden, x.shape[-1], name='hidden')(x))
        return linear(self.features, self.hidden, name='output')(x)
