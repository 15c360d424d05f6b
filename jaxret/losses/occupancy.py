"""Binary cross-entropy of predicted occupancy.

Letters: B grids, N cells along each side.
"""

import chex
import jax
import jax.numpy as jnp


def occupancy_cross_entropy(logits: chex.Array, occupied: chex.Array, *, occupied_weight: float = 1.0) -> chex.Array:
    """Mean over the cells of each grid: -w y log sigmoid(l) - (1 - y) log(1 - sigmoid(l)).

    Args:
      logits: float [B, N, N, N].
      occupied: bool [B, N, N, N], y.
      occupied_weight: w, weight of occupied cells; 1 is the published loss. The divisor is the number of cells.

    Returns:
      float32 [B].

    Source: Dahnert et al. (ICCV 2019), segmentation and completion losses.
    """
    chex.assert_rank([logits, occupied], 4)
    chex.assert_type([logits, occupied], [float, bool])
    chex.assert_equal_shape([logits, occupied])
    logits = logits.astype(jnp.promote_types(logits.dtype, jnp.float32))
    cells = jnp.where(occupied, occupied_weight * jax.nn.softplus(-logits), jax.nn.softplus(logits))
    return jnp.mean(cells, axis=(1, 2, 3))
