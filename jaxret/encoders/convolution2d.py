"""2D convolution for Flax's `nn.Conv` that is fast on CPUs.

Its gradients stay fast inside loops: XLA's CPU compiler rewrites a convolution into the one order of axes that its fast
kernel takes only outside of loops (jax issue 12868). The forward pass has that order already; its gradients, as JAX
writes them, do not.

Maps with fewer cells than the kernel are multiplied with it, spread out: there XLA swaps map and kernel, and leaves its
fast kernel. On one core, 96 maps of 2 x 2 x 128, 3 x 3 kernel, forward and gradients: 4 ms, and 31 ms as a convolution.

A convolution of at most 16 channels to as many gets empty ones up to 17, without which XLA does not give it to its
fastest library: 24 images of 64 x 64 x 4 to 16, 5 x 5 kernel of stride 2, took 1.2 instead of 2.2 ms; 480 slabs of
16 x 16 x 12 to 4, 3 x 3 kernel, 4.9 instead of 7.3. With 2 x 2 kernels that is slower, and not done.

Letters: B batch, H height, W width, h, w height and width of the result, C and F channels in and out, k kernel.
"""

from collections.abc import Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

_FEW = 16
_AXES = ('NHWC', 'HWIO', 'NHWC')
Padding = Sequence[tuple[int, int]]


def convolve2d(x: jax.Array, kernel: jax.Array, window_strides: Sequence[int], padding: Padding, **options: Any
               ) -> jax.Array:
    """`jax.lax.conv_general_dilated`; on CPUs tiny maps by a product, and gradients as convolutions of NHWC and HWIO.

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
    convolve = _multiply if _tiny(x, kernel, window_strides, padding) else _convolve
    return convolve(x, kernel, tuple(window_strides), tuple(map(tuple, padding)), options.get('precision'))


def _outputs(x: jax.Array, kernel: jax.Array, strides: Sequence[int], padding: Padding) -> tuple[int, int]:
    """h and w."""
    return tuple((side + low + high - size) // stride + 1 for side, size, stride, (low, high) in zip(
        x.shape[1:3], kernel.shape[:2], strides, padding, strict=True))


def _tiny(x: jax.Array, kernel: jax.Array, strides: Sequence[int], padding: Padding) -> bool:
    """Whether map or result has fewer cells than the kernel, and a product with all cells is at most twice the work.

    Not of fewer than four maps, for which spreading the kernel takes longer than it saves, nor of a number that is not
    known yet (`jax.export`).
    """
    if not isinstance(x.shape[0], int) or x.shape[0] < 4:
        return False
    height, width = _outputs(x, kernel, strides, padding)
    cells, taps = x.shape[1] * x.shape[2], kernel.shape[0] * kernel.shape[1]
    return min(cells, height * width) < taps and cells <= 2 * taps


def _multiply(x: jax.Array, kernel: jax.Array, strides: tuple[int, int], padding: Padding, precision: Any) -> jax.Array:
    """[B, H W C] times the kernel spread over all pairs of a cell and a cell of the result, [H W C, h w F]."""
    spread = kernel
    outputs = _outputs(x, kernel, strides, padding)
    for side, size, stride, out, (low, _), axes in zip(
            x.shape[1:3], kernel.shape[:2], strides, outputs, padding, ('huk,klcf->hulcf', 'wvl,hulcf->hwcuvf'),
            strict=True):
        seen = stride * jnp.arange(out)[None, :, None] + jnp.arange(size)[None, None, :] - low
        reach = (jnp.arange(side)[:, None, None] == seen).astype(x.dtype)  # [H, h, k]: which tap joins two cells
        spread = jnp.einsum(axes, reach, spread, precision=lax.Precision.HIGHEST)
    flat = x.reshape(x.shape[0], -1)
    return jnp.matmul(flat, spread.reshape(flat.shape[1], -1), precision=precision).reshape(-1, *outputs,
                                                                                         kernel.shape[3])


@partial(jax.custom_vjp, nondiff_argnums=(2, 3, 4))
def _convolve(x: jax.Array, kernel: jax.Array, strides: tuple[int, int], padding: Padding, precision: Any) -> jax.Array:
    return _plain(x, kernel, strides, padding, precision)


def _plain(x: jax.Array, kernel: jax.Array, strides: tuple[int, int], padding: Padding, precision: Any) -> jax.Array:
    """The convolution itself."""
    features = kernel.shape[3]
    few = max(x.shape[3], features) <= _FEW and min(kernel.shape[:2]) > 2
    if few:
        kernel = jnp.pad(kernel, ((0, 0), (0, 0), (0, 0), (0, _FEW + 1 - features)))
    y = lax.conv_general_dilated(x, kernel, strides, padding, dimension_numbers=_AXES, precision=precision)
    return y[..., :features] if few else y


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
    mirrored = kernel[::-1, ::-1].swapaxes(2, 3)
    if strides == (1, 1):
        of_x = _plain(gradient, mirrored, strides, beside, precision)
    else:
        of_x = lax.conv_general_dilated(gradient, mirrored, (1, 1), beside, lhs_dilation=strides,
                                        dimension_numbers=_AXES, precision=precision)
    around = [(low, (out - 1) * stride + size - side - low) for side, size, stride, out, (low, _) in sides]
    of_kernel = lax.conv_general_dilated(x.transpose(3, 1, 2, 0), gradient.transpose(1, 2, 0, 3), (1, 1), around,
                                         rhs_dilation=strides, dimension_numbers=_AXES, precision=precision)
    return of_x, of_kernel.transpose(1, 2, 0, 3)  # [C, k, k, F] -> [k, k, C, F]


_convolve.defvjp(_forward, _backward)
