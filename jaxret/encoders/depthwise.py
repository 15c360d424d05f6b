"""Depthwise 2D convolution for Flax's `nn.Conv`, each channel with a kernel of its own, that is fast on CPUs.

There a grouped convolution of as many groups as channels is slow; a sum of k^2 products of shifted maps is not.

Letters: B batch, H height, W width, h, w height and width of the result, C channels, k kernel.
"""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

Padding = Sequence[tuple[int, int]]


def depthwise_convolve2d(
    x: jax.Array, kernel: jax.Array, window_strides: Sequence[int], padding: Padding, **options: Any
) -> jax.Array:
    """`jax.lax.conv_general_dilated` of NHWC and HWIO with as many groups as channels; on CPUs as a sum of products.

    Args:
      x: float [B, H, W, C].
      kernel: float [k, k, 1, C], of the type of x.
      window_strides: of rows and columns.
      padding: zeros before and after, of rows and columns.
      **options: the others of `jax.lax.conv_general_dilated`; not used on CPUs.

    Returns:
      [B, h, w, C].
    """
    strides, padding = tuple(window_strides), tuple(map(tuple, padding))
    if jax.default_backend() != 'cpu':
        return lax.conv_general_dilated(x, kernel, strides, padding, **options)
    return _sum_of_products(x, kernel, strides, padding)


def _sum_of_products(x: jax.Array, kernel: jax.Array, strides: tuple[int, ...], padding: Padding) -> jax.Array:
    rows, columns = kernel.shape[:2]
    x = jnp.pad(x, ((0, 0), *padding, (0, 0)))
    height, width = (
        (side - size) // stride + 1 for side, size, stride in zip(x.shape[1:3], kernel.shape[:2], strides, strict=True)
    )
    ends = (strides[0] * (height - 1) + 1, strides[1] * (width - 1) + 1)
    return sum(
        x[:, i : i + ends[0] : strides[0], j : j + ends[1] : strides[1]] * kernel[None, i : i + 1, j : j + 1, 0]
        for i in range(rows)
        for j in range(columns)
    )
