"""Compiled programs of `bounds`: products of codes and queries.

Letters: Q queries, N shapes, V views, M principal axes, W numbers of a code.
"""

from functools import partial, reduce

import jax
import jax.numpy as jnp

from jaxret.search.similarity import UNIT, mean_of_best


@jax.jit
def one_bounds(weights: jax.Array, slack: jax.Array, codes: jax.Array) -> jax.Array:
    """As `many_bounds`, of one query and many blocks: [L, N] of weights [L, W], slack [L, 1] and codes [L, W, V, N].

    Sums of products that the compiler makes one loop over all codes.
    """
    axes = (codes[:, axis].astype(jnp.float32) * weights[:, axis, None, None] for axis in range(codes.shape[1]))
    return _largest(reduce(jnp.add, axes), slack)


@jax.jit
def many_bounds(weights: jax.Array, slack: jax.Array, codes: jax.Array) -> jax.Array:
    """Largest products [Q, N] of weights [Q, W] and codes [1, W, V, N] over the views, and slack [Q]."""
    rows = codes.reshape(codes.shape[1], -1).astype(jnp.float32)
    products = jnp.matmul(weights, rows, precision=jax.lax.Precision.HIGHEST)
    return _largest(products.reshape(len(weights), *codes.shape[2:]), slack[:, None])


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
    axes: jax.Array,
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
      axes: [1, M] of the query times the largest steps; of the projected one too, [2, M], for 'attention'.
      beside: [1 or 2, 1 or 3].
      scale, steps, slack: of the shapes' blocks; scales at most 1, [N], [N, 1 or 3], [N, 1 or 2].
      product: at least the length of the query times that of any row.
    """
    count = axes.shape[1]
    # All columns are multiplied, as a part of them would be copied first; by one vector at a time, so that the compiler
    # reads the codes as they are.
    weights = jnp.pad(axes, [(0, 0), (0, codes.shape[2] - count)])
    rows, products = codes.reshape(-1, codes.shape[2]), []
    for side in weights:
        products.append(jnp.matmul(rows.astype(jnp.float32), side, precision=jax.lax.Precision.HIGHEST))
        rows = jax.lax.optimization_barrier(rows)
    # Views first, as reductions over short rows are slow on CPUs.
    products = jnp.stack([product.reshape(codes.shape[:2]).T for product in products])
    beyond = jnp.moveaxis(codes[..., count:], 0, 2)
    products, beyond = jax.lax.optimization_barrier((products, beyond))  # [1 or 2, V, N], [V, 1 or 3, N]
    steps, slack = steps.T, slack.T
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
