"""2D convolution for Flax's `nn.Conv` that is fast on CPUs.

Forms of equal result, chosen by shape:

- A 1 x 1 kernel is a matrix product.
- Where the result has few cells beside its channels, the patches that the kernel sees are gathered, and one product
  made of all. For maps with fewer cells than the kernel XLA swaps map and kernel, and leaves its fast path. The
  patches, k^2 times the map, are not kept: the kernel's gradient is a convolution.
- The kernel's gradient is a convolution with the pictures as channels, which are moved to the last axis for it: of few
  pictures at a time, so that they stay in the cache.
- Else a convolution whose gradients stay fast inside loops: XLA's CPU compiler rewrites a convolution into the one
  order of axes that its fast kernel takes only outside of loops (jax issue 12868). The forward pass has that order
  already; its gradients, as JAX writes them, do not.

Empty channels are added where XLA's fast path is slow or not taken without:

- To at most 16 channels from as many, up to 17; 2 x 2 kernels are slower so, and left.
- To 3 channels and more, where they are odd or at most 16 come out, up to a multiple of four; not where a multiple of
  64 comes out.

Letters: B batch, H height, W width, h, w height and width of the result, C and F channels in and out, k kernel.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

_FEW = 16
_CACHED = 2**20  # numbers of a map; of larger ones so many pictures are taken at a time
_PICTURES = 8
_AXES = ('NHWC', 'HWIO', 'NHWC')
Padding = Sequence[tuple[int, int]]


def convolve2d(
    x: jax.Array, kernel: jax.Array, window_strides: Sequence[int], padding: Padding, **options: Any
) -> jax.Array:
    """`jax.lax.conv_general_dilated` of NHWC and HWIO; on CPUs in the form that is fastest there.

    Args:
      x: float [B, H, W, C].
      kernel: float [k, k, C, F], of the type of x.
      window_strides: of rows and columns.
      padding: zeros before and after, of rows and columns.
      **options: the others of `jax.lax.conv_general_dilated`; where they are not what a plain convolution of an
        `nn.Conv` has, its own form and gradients are taken.

    Returns:
      [B, h, w, F].
    """
    strides, padding = tuple(window_strides), tuple(map(tuple, padding))
    if jax.default_backend() != 'cpu' or not _is_plain(x, kernel, strides, padding, options):
        return lax.conv_general_dilated(x, kernel, strides, padding, **options)
    convolve = _product if kernel.shape[:2] == (1, 1) else _convolve
    return convolve(x, kernel, strides, padding, options.get('precision'))


def _is_plain(
    x: jax.Array, kernel: jax.Array, strides: tuple[int, int], padding: Padding, options: Mapping[str, Any]
) -> bool:
    """Whether this is a convolution as layers have it; of others, also wrong ones, JAX has the last word."""
    dilations = [tuple(options.get(name) or (1, 1)) for name in ('lhs_dilation', 'rhs_dilation')]
    return (
        options.get('feature_group_count', 1) == 1
        and options.get('preferred_element_type') is None
        and dilations == [(1, 1), (1, 1)]
        and x.dtype == kernel.dtype
        and x.shape[3] == kernel.shape[2]
        and all(isinstance(side, int) for side in x.shape[1:])
        and x.shape[0] != 0
        and 0 not in kernel.shape
        and min(map(min, padding)) >= 0
        and min(_outputs(x, kernel, strides, padding)) > 0
    )


def _outputs(x: jax.Array, kernel: jax.Array, strides: Sequence[int], padding: Padding) -> tuple[int, int]:
    """h and w."""
    return tuple(
        (side + low + high - size) // stride + 1
        for side, size, stride, (low, high) in zip(x.shape[1:3], kernel.shape[:2], strides, padding, strict=True)
    )


def _product(x: jax.Array, kernel: jax.Array, strides: tuple[int, int], padding: Padding, precision: Any) -> jax.Array:
    """The patches that the kernel sees, [B, h, w, k k C], times the kernel."""
    (rows, columns), (height, width) = kernel.shape[:2], _outputs(x, kernel, strides, padding)
    x = jnp.pad(x, ((0, 0), *padding, (0, 0)))
    ends = (strides[0] * (height - 1) + 1, strides[1] * (width - 1) + 1)
    patches = [
        x[:, i : i + ends[0] : strides[0], j : j + ends[1] : strides[1]] for i in range(rows) for j in range(columns)
    ]
    flat = (patches[0] if len(patches) == 1 else jnp.concatenate(patches, axis=3)).reshape(
        -1, rows * columns * kernel.shape[2]
    )
    y = jnp.matmul(flat, kernel.reshape(flat.shape[1], -1), precision=precision)  # of matrices: of four axes is slower
    return y.reshape(x.shape[0], height, width, -1)


@partial(jax.custom_vjp, nondiff_argnums=(2, 3, 4))
def _convolve(x: jax.Array, kernel: jax.Array, strides: tuple[int, int], padding: Padding, precision: Any) -> jax.Array:
    form = _product if _few_cells(x, kernel, strides, padding) else _plain
    return form(x, kernel, strides, padding, precision)


def _few_cells(x: jax.Array, kernel: jax.Array, strides: tuple[int, int], padding: Padding) -> bool:
    """Whether the result has less than a fourth as many cells as the map has channels."""
    height, width = _outputs(x, kernel, strides, padding)
    return 4 * height * width < x.shape[3]


def _plain(x: jax.Array, kernel: jax.Array, strides: tuple[int, int], padding: Padding, precision: Any) -> jax.Array:
    """The convolution itself."""
    channels, features = kernel.shape[2:]
    fourths = channels > 2 and features % 64 > 0 and (channels % 2 == 1 or features <= _FEW)
    more_in = -channels % 4 if fourths else 0
    more_out = _FEW + 1 - features if max(channels, features) <= _FEW and min(kernel.shape[:2]) > 2 else 0
    if more_in:
        x = jnp.pad(x, ((0, 0), (0, 0), (0, 0), (0, more_in)))
    kernel = jnp.pad(kernel, ((0, 0), (0, 0), (0, more_in), (0, more_out)))
    y = lax.conv_general_dilated(x, kernel, strides, padding, dimension_numbers=_AXES, precision=precision)
    return y[..., :features] if more_out else y


def _forward(
    x: jax.Array, kernel: jax.Array, strides: tuple[int, int], padding: Padding, precision: Any
) -> tuple[jax.Array, Any]:
    return _convolve(x, kernel, strides, padding, precision), (x, kernel)


def _backward(
    strides: tuple[int, int], padding: Padding, precision: Any, saved: Any, gradient: jax.Array
) -> tuple[jax.Array, jax.Array]:
    x, kernel = saved
    sides = list(zip(x.shape[1:3], kernel.shape[:2], strides, gradient.shape[1:3], padding, strict=True))
    # With stride - 1 zeros between its entries the gradient spans (out - 1) stride + 1 cells.
    beside = [(size - 1 - low, side - 1 - (out - 1) * stride + low) for side, size, stride, out, (low, _) in sides]
    mirrored = kernel[::-1, ::-1].swapaxes(2, 3)
    if _few_cells(x, kernel, strides, padding):
        of_x = jax.vjp(lambda x: _product(x, kernel, strides, padding, precision), x)[1](gradient)[0]
    elif strides == (1, 1):
        of_x = _plain(gradient, mirrored, strides, beside, precision)
    else:
        of_x = lax.conv_general_dilated(
            gradient, mirrored, (1, 1), beside, lhs_dilation=strides, dimension_numbers=_AXES, precision=precision
        )
    around = [(low, (out - 1) * stride + size - side - low) for side, size, stride, out, (low, _) in sides]

    def of_kernel(x: jax.Array, gradient: jax.Array) -> jax.Array:
        return lax.conv_general_dilated(
            x.transpose(3, 1, 2, 0),
            gradient.transpose(1, 2, 0, 3),
            (1, 1),
            around,
            rhs_dilation=strides,
            dimension_numbers=_AXES,
            precision=precision,
        )

    return of_x, _summed(of_kernel, x, gradient).transpose(1, 2, 0, 3)  # [C, k, k, F] -> [k, k, C, F]


def _summed(function: Callable[[jax.Array, jax.Array], jax.Array], x: jax.Array, y: jax.Array) -> jax.Array:
    """Sum of a function of some pictures at a time, where all are large.

    Of all at once where devices share them: a loop over a divided axis would move it between them.
    """
    count = x.shape[0] // _PICTURES if isinstance(x.shape[0], int) else 0  # exported programs leave it open
    if count < 2 or x.size < _CACHED or jax.device_count() > 1:
        return function(x, y)
    parts = [z[: count * _PICTURES].reshape(count, _PICTURES, *z.shape[1:]) for z in (x, y)]
    first = function(x[count * _PICTURES :], y[count * _PICTURES :]) if len(x) % _PICTURES else 0.0
    shape = jax.eval_shape(function, *(part[0] for part in parts)).shape
    start = jnp.zeros(shape, jnp.promote_types(x.dtype, jnp.float32)) + first  # sums of bfloat16 lose small parts
    return lax.scan(lambda total, part: (total + function(*part), None), start, tuple(parts))[0].astype(x.dtype)


_convolve.defvjp(_forward, _backward)
