"""2D convolution for Flax's `nn.Conv` whose gradients stay fast inside loops on CPUs.

XLA's CPU compiler rewrites a convolution into the one order of axes that its fast kernel takes only outside of loops
(jax issue 12868). The forward pass has that order already; its gradients, as JAX writes them, do not.

Letters: B batch, H height, W width, h, w height and width of the result, C and F channels in and out, k kernel.
"""

from collections.abc import Sequence
from functools import partial
from typing import Any

import jax
from jax import lax

_AXES = ('NHWC', 'HWIO', 'NHWC')
Padding = Sequence[tuple[int, int]]


def convolve2d(x: jax.Array, kernel: jax.Array, window_strides: Sequence[int], padding: Padding, **options: Any
               ) -> jax.Array:
    """`jax.lax.conv_general_dilated` with, on CPUs, gradients written as convolutions of NHWC and HWIO.

    Args:
      x: float [B, H, W, C].
      kernel: float [k, k, C, F], of the type of x.
      window_strides: of rows and columns.
      padding: zeros before and after, of rows and columns.
      **options: the others of `jax.lax.conv_general_dilated`; where they are not what a plain convolution of an
        `nn.Conv` has, its own gradients are taken.

    Returns:
      [B, h, w, F].
    """
    plain = (options.get('feature_group_count', 1) == 1 and options.get('preferred_element_type') is None
             and all(tuple(options.get(name) or (1, 1)) == (1, 1) for name in ('lhs_dilation', 'rhs_dilation')))
    if jax.default_backend() != 'cpu' or not plain:
        return lax.conv_general_dilated(x, kernel, window_strides, padding, **options)
    return _convolve(x, kernel, tuple(window_strides), tuple(map(tuple, padding)), options.get('precision'))


@partial(jax.custom_vjp, nondiff_argnums=(2, 3, 4))
def _convolve(x: jax.Array, kernel: jax.Array, strides: tuple[int, int], padding: Padding, precision: Any) -> jax.Array:
    return lax.conv_general_dilated(x, kernel, strides, padding, dimension_numbers=_AXES, precision=precision)


def _forward(x: jax.Array, kernel: jax.Array, strides: tuple[int, int], padding: Padding, precision: Any
             ) -> tuple[jax.Array, Any]:
    return _convolve(x, kernel, strides, padding, precision), (x, kernel)


def _backward(strides: tuple[int, int], padding: Padding, precision: Any, saved: Any, gradient: jax.Array
              ) -> tuple[jax.Array, jax.Array]:
    x, kernel = saved
    sides = list(zip(x.shape[1:3], kernel.shape[:2], strides, gradient.shape[1:3], padding, strict=True))
    # With stride - 1 zeros between its entries the gradient spans (out - 1) stride + 1 cells.
    beside = [(size - 1 - low, side - 1 - (out - 1) * stride + low)
              for side, size, stride, out, (low, _) in sides]
    of_x = lax.conv_general_dilated(gradient, kernel[::-1, ::-1].swapaxes(2, 3), (1, 1), beside, lhs_dilation=strides,
                                    dimension_numbers=_AXES, precision=precision)
    around = [(low, (out - 1) * stride + size - side - low) for side, size, stride, out, (low, _) in sides]
    of_kernel = lax.conv_general_dilated(x.transpose(3, 1, 2, 0), gradient.transpose(1, 2, 0, 3), (1, 1), around,
                                         rhs_dilation=strides, dimension_numbers=_AXES, precision=precision)
    return of_x, of_kernel.transpose(1, 2, 0, 3)  # [C, k, k, F] -> [k, k, C, F]


_convolve.defvjp(_forward, _backward)
