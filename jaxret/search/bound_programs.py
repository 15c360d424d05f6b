"""Compiled programs of `bounds`: products of codes and queries.

Letters: Q queries, N shapes, V views, M principal axes, W numbers of a code.
"""

from functools import partial, reduce

import jax
import jax.numpy as jnp
import numpy as np

from jaxret.search.similarity import UNIT, mean_of_best

_BASE = 128  # of two digits


@jax.jit
def first_bounds(weights: jax.Array, slack: jax.Array, codes: jax.Array) -> jax.Array:
    """Largest products of weights [L, Q, W] and codes [L, W, V, N] over the views, and slack [L, Q]: [L, Q, N].

    Of one query they are sums that the compiler makes one loop over all codes, of more a matrix product a block.
    """
    if weights.shape[1] == 1:
        numbers = codes.shape[1]
        axes = (codes[:, axis].astype(jnp.float32) * weights[:, 0, axis, None, None] for axis in range(numbers))
        return _largest(reduce(jnp.add, axes), slack)[:, None]

    def of_block(block: tuple[jax.Array, jax.Array, jax.Array]) -> jax.Array:
        weights, slack, codes = block
        rows = codes.reshape(len(codes), -1).astype(jnp.float32)
        products = jnp.matmul(weights, rows, precision=jax.lax.Precision.HIGHEST)
        return _largest(products.reshape(len(weights), *codes.shape[1:]), slack[:, None])

    return jax.lax.map(of_block, (weights, slack, codes))


def in_digits(weights: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Weights [..., W] as whole numbers of two digits, which processors multiply with codes faster than float32.

    Returns:
      int8 [..., 2, W], the multiples of _BASE and of 1 that make up the numbers; what a number stands for, [...]; how
      much products with codes may be off, [...].
    """
    step = np.abs(weights).max(axis=-1) / (127 * _BASE)
    step = np.where(step > 0, step, 1.0)
    whole = np.rint(weights / step[..., None])
    high = np.floor(whole / _BASE + 0.5)
    off = 128 * np.abs(weights - step[..., None] * whole).sum(axis=-1)
    return np.stack([high, whole - _BASE * high], axis=-2).astype(np.int8), step, off


def _largest(products: jax.Array, slack: jax.Array) -> jax.Array:
    """[Q, V, N] -> [Q, N]. Maxima of whole rows, as a reduction over the views is slow on CPUs.

    Infinity where a bound is no number, so that no comparison leaves a shape out for it.
    """
    bounds = reduce(jnp.maximum, jnp.moveaxis(jax.lax.optimization_barrier(products), 1, 0)) + slack
    return jnp.where(jnp.isnan(bounds), jnp.inf, bounds)


@partial(jax.jit, static_argnums=0)
def second_bounds(
    kind: str,
    codes: jax.Array,
    blocks: jax.Array,
    digits: jax.Array,
    step: jax.Array,
    beside: jax.Array,
    scale: jax.Array,
    steps: jax.Array,
    slack: jax.Array,
    product: jax.Array,
) -> jax.Array:
    """Bounds [N] of one query: see the head of `bounds`.

    Args:
      kind: of the similarity.
      codes: int8 [N, V, W].
      blocks: [N], in which the shapes are.
      digits: int8 [M, 1, 2], of the query's coordinates times the largest steps; for 'attention' of the projected one's
        too, [M, 2, 2].
      step: [1 or 2], of the digits.
      beside: [1 or 2, 1 or 3].
      scale, steps, slack: of blocks; scales at most 1, [L], [L, 1 or 3], [L, 1 or 2].
      product: at least the length of the query times that of any row.
    """
    count = digits.shape[0]
    # All columns are multiplied, as a part of them would be copied first; views come first then, as reductions over
    # short rows are slow on CPUs.
    weights = jnp.pad(digits.reshape(count, -1), [(0, codes.shape[2] - count), (0, 0)])
    products = jnp.matmul(codes.reshape(-1, codes.shape[2]), weights, preferred_element_type=jnp.int32)
    products = jax.lax.optimization_barrier(products.reshape(len(codes), -1).T)
    products = products.reshape(codes.shape[1], -1, 2, len(codes)).swapaxes(0, 1)  # [1 or 2, V, 2, N]
    products = (_BASE * products[:, :, 0] + products[:, :, 1]).astype(jnp.float32) * step[:, None, None]
    beyond = jnp.moveaxis(codes[..., count:], 0, 2)
    products, beyond = jax.lax.optimization_barrier((products, beyond))  # [1 or 2, V, N], [V, 1 or 3, N]
    scale, steps, slack = scale[blocks], steps.T[:, blocks], slack.T[:, blocks]
    fit = products[0] * scale[None] + slack[:1]
    for column, step in enumerate(steps):
        fit = fit + beyond[:, column].astype(jnp.float32) * (beside[0, column] * step)[None]
    upper = mean_of_best(fit.T[None])[0] if kind == 'best_views' else reduce(jnp.maximum, fit)
    if kind != 'attention':
        return upper
    longest = reduce(jnp.maximum, beyond[:, 0]).astype(jnp.float32) * steps[0]
    off = beside[1, 0] * longest + slack[1] + 1e-5  # of exp
    logits = products[1] * scale[None]
    weights = jnp.exp(logits - reduce(jnp.maximum, logits)[None])
    mean = reduce(jnp.add, weights * fit) / reduce(jnp.add, weights)
    mean = mean + 1.0001 * jnp.tanh(off / 2) * (upper - reduce(jnp.minimum, fit))
    mean = mean + (codes.shape[1] + 16) * 4 * UNIT * product
    return jnp.where(mean < upper, mean, upper)  # the latter where the former is no number
