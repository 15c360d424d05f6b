"""Layers that several encoders share, with the constants and initial values of PyTorch's: convolution, batch norm,
linear, dropout.

Letters: B batch, H height, W width, h, w height and width of the result, C channels, F features.
"""

import math
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxret.encoders.convolution2d import convolve2d

# He et al. 2015 (arXiv:1502.01852), equation 14: gradients keep their variance from layer to layer.
CONV_KERNEL_INIT = nn.initializers.variance_scaling(2.0, 'fan_out', 'normal')


def convolution(features: int, kernel: int, *, stride: int = 1, dtype: Any = jnp.float32, name: str) -> nn.Conv:
    """Square 2D convolution without bias, padded by (kernel - 1) // 2 on all four sides.

    Args:
      features: output channels.
      kernel: side of the kernel.
      stride: in both directions.
      dtype: of the computation; the kernel is float32.
      name: of the module.

    Returns:
      The module, from [B, H, W, C] to [B, h, w, features] with h = (H + 2 ((kernel - 1) // 2) - kernel) // stride + 1.
    """
    return nn.Conv(
        features,
        (kernel, kernel),
        strides=(stride, stride),
        padding=(kernel - 1) // 2,
        use_bias=False,
        kernel_init=CONV_KERNEL_INIT,
        dtype=dtype,
        conv_general_dilated=convolve2d,
        name=name,
    )


def batch_norm(
    name: str,
    *,
    train: bool,
    dtype: Any = jnp.float32,
    axis_name: str | None = None,
    fast_variance: bool = True,
    epsilon: float = 1e-5,
) -> nn.BatchNorm:
    """Batch norm whose running statistics keep 0.9 of their old value.

    Parameters and statistics are float32 whatever `dtype` is. Differs from PyTorch in: the running variance averages
    the variance that normalises the batch, not the unbiased one, which is larger by n / (n - 1) over n values.

    Args:
      name: of the module.
      train: normalise with the statistics of the batch and update the running ones; else use the running ones.
      dtype: of the result.
      axis_name: mapped axis (of `pmap` or `vmap`) that the batch is spread over; statistics are averaged over it.
      fast_variance: E[x^2] - E[x]^2, one pass over x, instead of E[(x - E[x])^2], which stays exact for features whose
        spread is small beside their mean.
      epsilon: added to the variance; the default is PyTorch's.

    Returns:
      The module, from [..., F] to [..., F].
    """
    return nn.BatchNorm(
        use_running_average=not train,
        momentum=0.9,
        epsilon=epsilon,
        dtype=dtype,
        axis_name=axis_name,
        use_fast_variance=fast_variance,
        name=name,
    )


def linear(features: int, fan_in: int, *, use_bias: bool = True, name: str) -> nn.Dense:
    """Linear layer whose kernel and bias start from U(-1/sqrt(fan_in), 1/sqrt(fan_in)), in float32 (on GPUs, no TF32).

    The start is PyTorch's default, there written as `kaiming_uniform_(a=sqrt(5))`.

    Args:
      features: output features.
      fan_in: input features, F.
      use_bias: whether a bias is added.
      name: of the module.

    Returns:
      The module, from [..., F] to [..., features].
    """
    bound = 1.0 / math.sqrt(fan_in)

    def uniform(key: jax.Array, shape: tuple[int, ...], dtype: Any = jnp.float32) -> jax.Array:
        return jax.random.uniform(key, shape, dtype, minval=-bound, maxval=bound)

    return nn.Dense(
        features,
        use_bias=use_bias,
        dtype=jnp.float32,
        precision=jax.lax.Precision.HIGHEST,
        kernel_init=uniform,
        bias_init=uniform,
        name=name,
    )


def drop_units(x: jax.Array, keys: jax.Array | None, *, rate: float, layer: int) -> jax.Array:
    """Sets each entry to 0 with probability `rate`, else divides it by 1 - rate, so that its mean stays.

    Every example draws from a key of its own, so that it sees the same mask on any device.

    Args:
      x: float [B, ...].
      keys: random keys [B], one an example; None leaves x as it is (evaluation).
      rate: at least 0, below 1.
      layer: number of the layer, for the layers of a network to draw differently from the same keys.

    Returns:
      Shape and type of x.
    """
    if keys is None or rate == 0:
        return x
    own = jax.vmap(jax.random.fold_in, (0, None))(keys, layer)
    kept = jax.vmap(lambda key: jax.random.bernoulli(key, 1 - rate, x.shape[1:]))(own)
    return jnp.where(kept, x / (1 - rate), 0)
