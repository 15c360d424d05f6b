"""Dropout that does not depend on how a batch is split over devices.

Letters: B batch.
"""

import jax
import jax.numpy as jnp


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
