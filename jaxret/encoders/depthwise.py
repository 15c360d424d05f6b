"""Depthwise 2D convolution for Flax's `nn.Conv`, each channel with a kernel of its own, that is fast on CPUs.

There XLA's grouped convolution of as many groups as channels is slow, forward and backward. Here the forward pass and
the gradient of the input are sums of k^2 products of shifted maps; with strides s that gradient consists of s^2 such
maps, one for each remainder of rows and columns. The gradient of the kernel is summed over a few rows of the map at a
time, and within them over slabs of columns: XLA computes the sum over whole maps number by number.

Letters: B batch, H height, W width, h, w height and width of the result, C channels, k kernel.
"""

from collections.abc import Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

Pairs = tuple[tuple[int, int], ...]
# A step of a loop reads its rows fast where XLA copies them first, as it does for more than 15 terms of a sum; many
# more take long to compile.
_FEWEST_TERMS, _MOST_SLABS = 16, 32


def depthwise_convolve2d(
    x: jax.Array, kernel: jax.Array, window_strides: Sequence[int], padding: Sequence[tuple[int, int]], **options: Any
) -> jax.Array:
    """`jax.lax.conv_general_dilated` of NHWC and HWIO with as many groups as channels; on CPUs in a faster form.

    Args:
      x: float [B, H, W, C].
      kernel: float [k, k, 1, C], of the type of x; no side is less than its stride.
      window_strides: of rows and columns.
      padding: zeros before and after, of rows and columns.
      **options: the others of `jax.lax.conv_general_dilated`; not used on CPUs.

    Returns:
      [B, h, w, C].
    """
    strides, padding = tuple(window_strides), tuple(map(tuple, padding))
    if jax.default_backend() != 'cpu':
        return lax.conv_general_dilated(x, kernel, strides, padding, **options)
    return _convolve(x, kernel, strides, padding)


@partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def _convolve(x: jax.Array, kernel: jax.Array, strides: tuple[int, ...], padding: Pairs) -> jax.Array:
    rows, columns = kernel.shape[:2]
    x = jnp.pad(x, ((0, 0), *padding, (0, 0)))
    height, width = (
        (side - size) // stride + 1 for side, size, stride in zip(x.shape[1:3], kernel.shape[:2], strides, strict=True)
    )
    ends = (strides[0] * (height - 1) + 1, strides[1] * (width - 1) + 1)
    return sum(
        x[:, i : i + ends[0] : strides[0], j : j + ends[1] : strides[1]] * _tap(kernel, i, j)
        for i in range(rows)
        for j in range(columns)
    )


def _tap(kernel: jax.Array, row: int, column: int) -> jax.Array:
    """[1, 1, 1, C]."""
    return kernel[None, row : row + 1, column : column + 1, 0]


def _forward(x: jax.Array, kernel: jax.Array, strides: tuple[int, ...], padding: Pairs) -> tuple[jax.Array, Any]:
    return _convolve(x, kernel, strides, padding), (x, kernel)


def _backward(
    strides: tuple[int, ...], padding: Pairs, saved: tuple[jax.Array, jax.Array], gradient: jax.Array
) -> tuple[jax.Array, jax.Array]:
    x, kernel = saved
    of_kernel = _of_kernel(x, gradient, kernel.shape[:2], strides, padding)
    return _of_input(gradient, kernel, x.shape[1:3], strides, padding), of_kernel.astype(kernel.dtype)


_convolve.defvjp(_forward, _backward)


def _of_input(
    gradient: jax.Array, kernel: jax.Array, sides: tuple[int, ...], strides: tuple[int, ...], padding: Pairs
) -> jax.Array:
    """Gradient of x [B, H, W, C].

    Tap i reads the cell s y + i of the padded map for row y of the result: cells of remainder r, in the order of c in
    s c + r, get the sum over t of tap s t + r times row c - t of the result's gradient.
    """
    rows, columns = kernel.shape[:2]
    cells = [-(-(side + low) // stride) for side, stride, (low, _) in zip(sides, strides, padding, strict=True)]
    before = [(size - 1) // stride for size, stride in zip(kernel.shape[:2], strides, strict=True)]
    around = [(low, max(count - out, 0)) for low, count, out in zip(before, cells, gradient.shape[1:3], strict=True)]
    gradient = jnp.pad(gradient, ((0, 0), *around, (0, 0)))

    def shifted(i: int, j: int) -> jax.Array:
        top, left = before[0] - i // strides[0], before[1] - j // strides[1]
        return gradient[:, top : top + cells[0], left : left + cells[1]] * _tap(kernel, i, j)

    def of_remainders(row: int, column: int) -> jax.Array:
        return sum(shifted(i, j) for i in range(row, rows, strides[0]) for j in range(column, columns, strides[1]))

    parts = [jnp.stack([of_remainders(r, c) for c in range(strides[1])], axis=3) for r in range(strides[0])]
    whole = jnp.stack(parts, axis=2)  # [B, cells, s, cells, s, C]
    whole = whole.reshape(len(gradient), cells[0] * strides[0], cells[1] * strides[1], -1)
    top, left = (low for low, _ in padding)
    return whole[:, top : top + sides[0], left : left + sides[1]]


def _of_kernel(
    x: jax.Array, gradient: jax.Array, sizes: tuple[int, ...], strides: tuple[int, ...], padding: Pairs
) -> jax.Array:
    """Gradient of the kernel [k, k, 1, C], at least in float32."""
    height, width = gradient.shape[1:3]
    slab = -(-width // _MOST_SLABS)
    starts = range(0, width, slab)
    together = min(-(-_FEWEST_TERMS // len(starts)), height)  # rows
    missing = (-height % together, -width % slab)
    gradient = jnp.pad(gradient, ((0, 0), *((0, count) for count in missing), (0, 0)))
    around = [
        (low, high + stride * count) for (low, high), stride, count in zip(padding, strides, missing, strict=True)
    ]
    x = jnp.pad(x, ((0, 0), *around, (0, 0)))
    dtype = jnp.promote_types(x.dtype, jnp.float32)

    def add_rows(step: jax.Array, sums: list[jax.Array]) -> list[jax.Array]:
        first = together * step
        factors = lax.dynamic_slice_in_dim(gradient, first, together, axis=1).astype(dtype)
        seen = lax.dynamic_slice_in_dim(x, strides[0] * first, strides[0] * (together - 1) + sizes[0], axis=1)

        def products(row: int, column: int, start: int) -> jax.Array:
            """[B, k, slab, C] for all rows of the kernel and one column of it."""
            top, left = strides[0] * row, column + strides[1] * start
            part = seen[:, top : top + sizes[0], left : left + strides[1] * (slab - 1) + 1 : strides[1]]
            return part.astype(dtype) * factors[:, row : row + 1, start : start + slab]

        cells = [(row, start) for row in range(together) for start in starts]
        return [total + sum(products(row, j, start) for row, start in cells) for j, total in enumerate(sums)]

    zeros = jnp.zeros((len(x), sizes[0], slab, x.shape[3]), dtype)
    sums = lax.fori_loop(0, gradient.shape[1] // together, add_rows, [zeros] * sizes[1])
    return jnp.stack([total.sum(axis=(0, 2)) for total in sums], axis=1)[:, :, None]
