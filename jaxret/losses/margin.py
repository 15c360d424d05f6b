"""Margin losses over the whole [Q, G] distance matrix.

Letters: Q anchors, G gallery shapes. The mining rules are defined in `jaxret.losses.mining`.
"""

import chex
import jax.numpy as jnp

from jaxret.losses.mining import TRIPLET_RULES, check_rule, triplet_counts
from jaxret.losses.scores import largest


def triplet_per_anchor(
    distances: chex.Array,
    positives: chex.Array,
    *,
    margin: float,
    mining: str = 'all',
    negatives: chex.Array | None = None,
    valid: chex.Array | None = None,
) -> tuple[chex.Array, chex.Array, chex.Array]:
    """Triplet loss max(0, d_ap - d_an + m) summed for each anchor, with the counts that turn it into a mean.

    Args:
      distances: [Q, G], lower is closer.
      positives: [Q, G] bool; any number a row.
      margin: m >= 0.
      mining: 'all', 'semi_hard', 'hard' or 'batch_hard'.
      negatives: [Q, G] bool, disjoint from the positives. None: every pair that is no positive.
      valid: [G] bool, False takes a column out of both. None: all.

    Returns:
      Sum of the losses [Q], number of mined triplets with a loss above 0 [Q], number of triplets there are [Q]
      ('batch_hard': 1 for an anchor that has one), all float. 0 with gradient 0 where there is no triplet.

    Raises:
      ConfigError: unknown mining or negative margin.

    Source: FaceNet (CVPR 2015), equations 2 and 3; CMIC (ICCV 2021), section 4.3 and table 2.
    """
    check_rule(mining, TRIPLET_RULES, margin)
    chex.assert_rank(distances, 2)
    chex.assert_type([distances, positives], [float, bool])
    if negatives is None:
        negatives = ~positives
    if valid is not None:
        chex.assert_shape(valid, distances.shape[1:])
        chex.assert_type(valid, bool)
        columns = jnp.broadcast_to(valid[None, :], distances.shape)
        positives, negatives = positives & columns, negatives & columns
    distances = distances.astype(jnp.promote_types(distances.dtype, jnp.float32))
    if mining == 'batch_hard':
        return _batch_hard(distances, positives, negatives, margin)
    uses, triplets = triplet_counts(distances, positives, negatives, rule=mining, margin=margin)
    as_positive, as_negative = uses.astype(distances.dtype)
    # What a padded column holds must not reach the loss; a NaN of a pair in use must.
    distances = jnp.where(positives | negatives, distances, 0.0)
    nonzero = jnp.sum(as_positive, axis=1)
    losses = jnp.sum((as_positive - as_negative) * distances, axis=1) + margin * nonzero
    return losses, nonzero, triplets.astype(distances.dtype)


def _batch_hard(
    distances: chex.Array, positives: chex.Array, negatives: chex.Array, margin: float
) -> tuple[chex.Array, chex.Array, chex.Array]:
    """`triplet_per_anchor` of the farthest positive and the nearest negative: of each row two distances are used."""
    if distances.shape[1] == 0:
        none = jnp.zeros_like(distances, shape=len(distances))
        return none, none, none
    farthest = largest(jnp.where(positives, distances, -jnp.inf), axis=1)
    nearest = -largest(jnp.where(negatives, -distances, -jnp.inf), axis=1)
    there = jnp.any(positives, axis=1) & jnp.any(negatives, axis=1)
    active = there & ~(nearest >= farthest + margin)  # of a NaN too
    losses = jnp.where(active, farthest - nearest + margin, 0.0)
    return losses, active.astype(distances.dtype), there.astype(distances.dtype)
