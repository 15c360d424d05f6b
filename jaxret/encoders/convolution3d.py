"""3D convolutions in two forms of equal result: XLA's own, and 2D convolutions over the slabs of a grid.

XLA's 3D convolutions are slow on CPUs, most of all their gradients. A convolution of kernel k is the sum over k shifts
in depth of 2D convolutions. These become one 2D convolution of B * depth slabs, either of the k shifted slabs stacked
into its input channels, or into its output channels with the shifts after it; fewer channels are stacked. A transposed
convolution of stride s is a plain one whose s^3 output phases are interleaved afterwards.

Letters: B batch, N and M cells along each side, C and F channels in and out, k kernel, s stride, p padding.
"""

import math
from functools import partial
from typing import Any

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax

from jaxret.encoders.convolution2d import convolve2d
from jaxret.errors import ConfigError

FORMS = ('auto', 'direct', 'slabs')


def convolve3d(x: jax.Array, kernel: jax.Array, *, stride: int = 1, padding: int = 0, form: str = 'auto') -> jax.Array:
    """Sum over t of kernel[t] x[s o + t - p] for every output cell o.

    Args:
      x: float [B, N, N, N, C].
      kernel: float [k, k, k, C, F], of the type of x.
      stride: s, along every axis.
      padding: p, cells of zeros on all six sides.
      form: 'direct' is XLA's 3D convolution, 'slabs' the 2D one; 'auto' takes slabs on CPUs and else direct.

    Returns:
      [B, M, M, M, F] with M = (N + 2 p - k) // s + 1.

    Raises:
      ConfigError: unknown form.
    """
    _check(x, kernel, form)
    if _resolve(form) == 'direct':
        return _direct(x, kernel, stride=stride, padding=padding)
    if _outputs(x, kernel, stride, padding) <= 2:  # a product with all neighbourhoods is faster for so few cells
        return _neighbourhoods(x, kernel, stride, padding)
    return (_slabs if stride == 1 else _strided_slabs)(x, kernel, stride, padding)


def transposed_convolve3d(
    x: jax.Array, kernel: jax.Array, *, stride: int = 1, padding: int = 0, form: str = 'auto'
) -> jax.Array:
    """Adds kernel[t] x[i] to output cell s i + t - p, for every i and t: the transpose of `convolve3d`.

    This is PyTorch's ConvTranspose3d; its kernel is not mirrored.

    Args:
      x: float [B, N, N, N, C].
      kernel: float [k, k, k, C, F], of the type of x.
      stride: s.
      padding: p < k, cells cut from all six sides of the result.
      form: as for `convolve3d`.

    Returns:
      [B, M, M, M, F] with M = (N - 1) s + k - 2 p.

    Raises:
      ConfigError: unknown form.
    """
    _check(x, kernel, form)
    size, mirrored = kernel.shape[0], kernel[::-1, ::-1, ::-1]
    if _resolve(form) == 'direct':
        return _direct(x, mirrored, stride=1, padding=size - 1 - padding, dilation=stride)
    if stride == 1:
        return convolve3d(x, mirrored, padding=size - 1 - padding, form='slabs')
    return _phases(x, kernel, stride, padding)


@partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def _phases(x: jax.Array, kernel: jax.Array, stride: int, padding: int) -> jax.Array:
    """`transposed_convolve3d` of a stride above 1; its gradients are those of the convolution that it transposes."""
    cells, size, features = x.shape[1], kernel.shape[0], kernel.shape[4]
    taps = -(-size // stride)  # of each phase: kernel[s j + r] reaches the output cells s (i + j) + r
    kernel = _pad(kernel, 0, axes=3, offset=0, after=taps * stride - size)
    kernel = kernel.reshape(*(taps, stride) * 3, -1, features)
    kernel = kernel.transpose(0, 2, 4, 6, 1, 3, 5, 7).reshape(*(taps,) * 3, -1, stride**3 * features)
    y = convolve3d(x, kernel[::-1, ::-1, ::-1], padding=taps - 1, form='slabs')
    steps = y.shape[1]
    y = y.reshape(-1, *(steps,) * 3, *(stride,) * 3, features).transpose(0, 1, 4, 2, 5, 3, 6, 7)
    y = y.reshape(-1, *(steps * stride,) * 3, features)
    kept = slice(padding, (cells - 1) * stride + size - padding)
    return y[:, kept, kept, kept]


def _phases_forward(x: jax.Array, kernel: jax.Array, stride: int, padding: int) -> tuple[jax.Array, Any]:
    return _phases(x, kernel, stride, padding), (x, kernel)


def _phases_backward(stride: int, padding: int, saved: Any, gradient: jax.Array) -> tuple[jax.Array, jax.Array]:
    x, kernel = saved
    of_x, of_kernel = jax.vjp(
        lambda kernel: convolve3d(gradient, kernel, stride=stride, padding=padding, form='slabs'), kernel.swapaxes(3, 4)
    )
    return of_x, of_kernel(x)[0].swapaxes(3, 4)


_phases.defvjp(_phases_forward, _phases_backward)


class Convolution3D(nn.Module):
    """A cubic 3D convolution without bias, or its transpose; the kernel is the same whatever the form.

    Kernels start from N(0, 2 / (k^3 F)); transposed ones from N(0, 2 / (k^3 C)), what PyTorch's fan-out is for them.

    Attributes:
      features: F.
      kernel: k.
      stride, padding: s and p.
      transposed: `transposed_convolve3d` instead of `convolve3d`.
      form: 'auto', 'direct' or 'slabs', as for `convolve3d`.
      dtype: of the computation; the kernel [k, k, k, C, F] is float32.
    """

    features: int
    kernel: int
    stride: int = 1
    padding: int = 0
    transposed: bool = False
    form: str = 'auto'
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """[B, N, N, N, C] -> [B, M, M, M, F] of type `dtype`."""
        fan = self.kernel**3 * (x.shape[-1] if self.transposed else self.features)
        kernel = self.param('kernel', _scaled_normal, (self.kernel,) * 3 + (x.shape[-1], self.features), fan)
        convolve = transposed_convolve3d if self.transposed else convolve3d
        return convolve(
            x.astype(self.dtype), kernel.astype(self.dtype), stride=self.stride, padding=self.padding, form=self.form
        )


def _scaled_normal(key: jax.Array, shape: tuple[int, ...], fan: int) -> jax.Array:
    # Drawn flat: XLA compiles a draw of five axes for the CPU slowly.
    return math.sqrt(2.0 / fan) * jax.random.normal(key, (math.prod(shape),)).reshape(shape)


def _resolve(form: str) -> str:
    if form == 'auto':
        return 'slabs' if jax.default_backend() == 'cpu' else 'direct'
    return form


def _direct(x: jax.Array, kernel: jax.Array, *, stride: int, padding: int, dilation: int = 1) -> jax.Array:
    return lax.conv_general_dilated(
        x,
        kernel,
        (stride,) * 3,
        [(padding, padding)] * 3,
        lhs_dilation=(dilation,) * 3,
        dimension_numbers=('NDHWC', 'DHWIO', 'NDHWC'),
    )


def _outputs(x: jax.Array, kernel: jax.Array, stride: int, padding: int) -> int:
    """M of `convolve3d`."""
    return (x.shape[1] + 2 * padding - kernel.shape[0]) // stride + 1


def _slabs(x: jax.Array, kernel: jax.Array, stride: int, padding: int) -> jax.Array:
    size, out = kernel.shape[0], _outputs(x, kernel, stride, padding)
    if size > x.shape[1] or out > x.shape[1]:  # XLA has no fast 2D gradient here unless the zeros are in the input
        x, padding = _pad(x, padding, axes=3), 0
    stack = _stacked_inputs if kernel.shape[3] <= kernel.shape[4] else _stacked_outputs
    return stack(x, kernel, stride, padding, out)


@partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def _strided_slabs(x: jax.Array, kernel: jax.Array, stride: int, padding: int) -> jax.Array:
    """`_slabs` whose gradient of x is the transposed convolution by phases; XLA's dilates with zeros, and is slow."""
    return _slabs(x, kernel, stride, padding)


def _strided_slabs_forward(x: jax.Array, kernel: jax.Array, stride: int, padding: int) -> tuple[jax.Array, Any]:
    return _slabs(x, kernel, stride, padding), (x, kernel)


def _strided_slabs_backward(stride: int, padding: int, saved: Any, gradient: jax.Array) -> tuple[jax.Array, jax.Array]:
    x, kernel = saved
    back = transposed_convolve3d(gradient, kernel.swapaxes(3, 4), stride=stride, padding=padding, form='slabs')
    back = _pad(back, 0, axes=3, after=x.shape[1] - back.shape[1])  # cells that the last stride does not reach
    return back, jax.vjp(lambda kernel: _slabs(x, kernel, stride, padding), kernel)[1](gradient)[0]


_strided_slabs.defvjp(_strided_slabs_forward, _strided_slabs_backward)


def _stacked_inputs(x: jax.Array, kernel: jax.Array, stride: int, padding: int, out: int) -> jax.Array:
    """One 2D convolution of [B M, N, N, k C], the k slabs that each output slab sees."""
    batch, _, rows, columns, channels = x.shape
    size = kernel.shape[0]
    x = _pad(x, padding, axes=1)
    x = jnp.concatenate([_every(x, shift, stride, out) for shift in range(size)], axis=-1)
    kernel = kernel.transpose(1, 2, 0, 3, 4).reshape(size, size, size * channels, -1)
    y = _convolve2d(x.reshape(batch * out, rows, columns, size * channels), kernel, stride, padding)
    return y.reshape(batch, out, *y.shape[1:])


def _stacked_outputs(x: jax.Array, kernel: jax.Array, stride: int, padding: int, out: int) -> jax.Array:
    """One 2D convolution to [B N, M, M, k F], what each input slab gives to k output slabs, then their sums."""
    batch, depth, rows, columns, channels = x.shape
    size, features = kernel.shape[0], kernel.shape[4]
    kernel = kernel.transpose(1, 2, 3, 0, 4).reshape(size, size, channels, size * features)
    y = _convolve2d(x.reshape(batch * depth, rows, columns, channels), kernel, stride, padding)
    y = _pad(y.reshape(batch, depth, *y.shape[1:3], size, features), padding, axes=1)
    return sum(_every(y, shift, stride, out)[..., shift, :] for shift in range(size))


def _neighbourhoods(x: jax.Array, kernel: jax.Array, stride: int, padding: int) -> jax.Array:
    """One matrix product of [B M^3, k^3 C]: axis by axis, `reach` picks the k cells that each output cell sees."""
    cells, out, taps = jnp.arange(x.shape[1]), jnp.arange(_outputs(x, kernel, stride, padding)), kernel.shape[0]
    seen = stride * out[None, :, None] + jnp.arange(taps)[None, None, :] - padding
    reach = (cells[:, None, None] == seen).astype(x.dtype)  # [N, M, k]
    exact = lax.Precision.HIGHEST
    x = jnp.einsum('bxyzc,xui->byzuic', x, reach, precision=exact)
    x = jnp.einsum('byzuic,yvj->bzuvijc', x, reach, precision=exact)
    x = jnp.einsum('bzuvijc,zwk->buvwijkc', x, reach, precision=exact)
    return jnp.einsum('buvwijkc,ijkcf->buvwf', x, kernel)


def _convolve2d(x: jax.Array, kernel: jax.Array, stride: int, padding: int) -> jax.Array:
    return convolve2d(x, kernel, (stride,) * 2, [(padding, padding)] * 2, dimension_numbers=('NHWC', 'HWIO', 'NHWC'))


def _every(x: jax.Array, first: int, stride: int, count: int) -> jax.Array:
    return lax.slice_in_dim(x, first, first + stride * (count - 1) + 1, stride, axis=1)


def _pad(x: jax.Array, before: int, *, axes: int, offset: int = 1, after: int | None = None) -> jax.Array:
    """Zeros around `axes` axes from number `offset` on."""
    width = (before, before if after is None else after)
    return jnp.pad(x, [width if offset <= axis < offset + axes else (0, 0) for axis in range(x.ndim)])


def _check(x: jax.Array, kernel: jax.Array, form: str) -> None:
    if form not in FORMS:
        raise ConfigError(f'convolution {form!r} is unknown; choose one of {", ".join(FORMS)}')
    chex.assert_rank([x, kernel], 5)
    chex.assert_type([x, kernel], float)
    chex.assert_shape(x, (None, x.shape[1], x.shape[1], x.shape[1], kernel.shape[3]))
    chex.assert_shape(kernel, (kernel.shape[0],) * 3 + (None, None))
