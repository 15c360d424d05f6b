"""Linear layers without activation: embeddings of backbone features, and linear classifiers.

Letters: F input features.
"""

from collections.abc import Sequence

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxret.encoders.layers import linear


class LinearHead(nn.Module):
    """One linear layer after the other, nothing between them: W_n ( ... (W_1 x + b_1) ... ) + b_n; in float32.

    Attributes:
      widths: outputs of each layer.
    """

    widths: Sequence[int]

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """float [..., F] -> float32 [..., last width]."""
        chex.assert_type(x, float)
        x = x.astype(jnp.float32)
        for i, width in enumerate(self.widths, start=1):
            x = linear(width, x.shape[-1], name=f'layer{i}')(x)
        return x
