"""Layers applied alike to every point or face, and the head that ends the encoders of points and meshes.

Letters: B batch, C channels, F features, D embedding.
"""

import math
from collections.abc import Callable
from typing import Any

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxret.encoders.layers import batch_norm, linear

# U(-1/sqrt(C), 1/sqrt(C)) for C inputs, PyTorch's start of linear layers and 1x1 convolutions.
UNIFORM_INIT = nn.initializers.variance_scaling(1 / 3, 'fan_in', 'uniform')


def uniform_bias(bound: float) -> Callable[..., jax.Array]:
    """Initial biases from U(-bound, bound), as a function of key, shape and type."""

    def init(key: jax.Array, shape: tuple[int, ...], dtype: Any = jnp.float32) -> jax.Array:
        return jax.random.uniform(key, shape, dtype, minval=-bound, maxval=bound)

    return init


def scaled(channels: int, width: float) -> int:
    """Channels of a network made narrower: max(1, round(channels * width))."""
    return max(1, round(channels * width))


class PointwiseLayer(nn.Module):
    """act(bn(W x + b)) of the last axis; batch norm sees all entries of the other axes.

    Attributes:
      features: F.
      activation: function of each entry.
      use_bias: whether b is there (batch norm takes it out again, but published weights may have it).
      dtype: of the computation; parameters and statistics are float32.
      axis_name: mapped axis over which batch statistics are averaged in training.
    """

    features: int
    activation: Callable[[jax.Array], jax.Array] = nn.relu
    use_bias: bool = False
    dtype: Any = jnp.float32
    axis_name: str | None = None

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool = False) -> jax.Array:
        """[..., C] -> [..., F] of type `dtype`; `train` as for batch norm."""
        x = nn.Dense(
            self.features,
            use_bias=self.use_bias,
            dtype=self.dtype,
            kernel_init=UNIFORM_INIT,
            bias_init=uniform_bias(1.0 / math.sqrt(x.shape[-1])),
            name='linear',
        )(x)
        x = batch_norm('bn', train=train, dtype=self.dtype, axis_name=self.axis_name)(x)
        return self.activation(x)


class FeatureHead(nn.Module):
    """relu(bn(W x)) of one pooled feature an object, so that embeddings are not negative; float32 throughout.

    The end of every encoder in the public code of the cross-modal center loss (Jing et al. 2021), before which only
    pooling differs between the modalities.

    Attributes:
      dim: D.
      axis_name: mapped axis over which batch statistics are averaged in training.
    """

    dim: int
    axis_name: str | None = None

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool = False) -> jax.Array:
        """float [B, C] -> float32 [B, D]; `train` as for batch norm."""
        chex.assert_rank(x, 2)
        chex.assert_type(x, float)
        x = linear(self.dim, x.shape[-1], use_bias=False, name='linear')(x.astype(jnp.float32))
        # Few values a channel: their variance needs the exact form.
        return nn.relu(batch_norm('bn', train=train, axis_name=self.axis_name, fast_variance=False)(x))
