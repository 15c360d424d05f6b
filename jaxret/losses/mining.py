"""Which negatives and triplets a margin loss looks at.

Letters: Q anchors, G gallery shapes. Distances: lower is closer (for similarities see
`jaxret.losses.scores.distances_from_scores`). Selections are boolean masks or whole-number counts; no gradient flows
through them.

For a pair (anchor a, positive p) and margin m, a negative n is
  hard       d_an <= d_ap                 (nearer than the positive, or as near)
  semi-hard  d_ap < d_an < d_ap + m       (farther than the positive, but inside the margin)
  easy       d_an >= d_ap + m             (loss 0)
and 'all' means hard and semi-hard together, the triplets whose loss is not 0. A tie counts as hard, so that hard and
semi-hard split 'all' without a gap and a collapsed embedding (all distances equal) still gets a loss. With m = 0 a tie
has loss 0 and is easy.

Source: FaceNet (CVPR 2015), section 3.2; CMIC (ICCV 2021), section 4.3 ("all semi-hard and hard samples" for the
instance triplets = 'all', farthest positive and nearest negative for the category triplets = 'batch_hard').
"""

from functools import partial

import chex
import jax
import jax.numpy as jnp

from jaxret.errors import ConfigError
from jaxret.losses.scores import argmax_in_blocks

COUNTED_RULES = ('all', 'semi_hard', 'hard')  # of triplets of all positives
TRIPLET_RULES = (*COUNTED_RULES, 'batch_hard')
FEW_POSITIVES = 64  # a row, up to which `triplet_counts` passes over the pairs instead of sorting them


def hardest_negatives(distances: chex.Array, negatives: chex.Array) -> chex.Array:
    """The nearest negative of each anchor, the first of equals.

    Args:
      distances: [Q, G].
      negatives: [Q, G] bool.

    Returns:
      [Q, G] bool, one True a row, none where the row has no negative.
    """
    _check_pairs(distances, negatives)
    nearest = argmax_in_blocks(jnp.where(negatives, -jax.lax.stop_gradient(distances), -jnp.inf))
    return negatives & (jnp.arange(distances.shape[1])[None, :] == nearest[:, None])


def triplet_counts(
    distances: chex.Array, positives: chex.Array, negatives: chex.Array, *, rule: str, margin: float
) -> tuple[chex.Array, chex.Array]:
    """How often each pair stands in a selected triplet with loss above 0, and how many triplets there were.

    The hinge d_ap - d_an + m is linear where it is not 0, so the sum over all triplets of a row needs only, for each
    positive, the number of its active negatives, and for each negative, the number of positives it is active for:
      sum = sum_g (as_positive_g - as_negative_g) d_g + m * active.
    A pass over the row for each positive, or sorting it where there are many, gives these numbers with [Q, G] memory.

    Args:
      distances: [Q, G].
      positives: [Q, G] bool.
      negatives: [Q, G] bool.
      rule: 'all', 'semi_hard' or 'hard'.
      margin: m >= 0.

    Returns:
      Uses [2, Q, G] int32 (as positive, as negative) and the number of triplets looked at, [Q] int32: every
      (positive, negative) of the row.

    Raises:
      ConfigError: unknown rule or negative margin.
    """
    check_rule(rule, COUNTED_RULES, margin)
    _check_pairs(distances, positives)
    _check_pairs(distances, negatives)
    # Materialised once: were the compiler to recompute it with other rounding, the two counts could disagree on ties.
    distances = jax.lax.optimization_barrier(jax.lax.stop_gradient(distances))
    as_positive, as_negative = _active_counts(
        distances, positives, negatives, rule=rule, margin=float(margin), few=FEW_POSITIVES
    )
    triplets = jnp.sum(positives, axis=1) * jnp.sum(negatives, axis=1)
    uses = jnp.stack([jnp.where(positives, as_positive, 0), jnp.where(negatives, as_negative, 0)])
    return uses.astype(jnp.int32), triplets.astype(jnp.int32)


@partial(jax.jit, static_argnames=('rule', 'margin', 'few'))
def _active_counts(
    distances: chex.Array, positives: chex.Array, negatives: chex.Array, *, rule: str, margin: float, few: int
) -> tuple[chex.Array, chex.Array]:
    by_passes = partial(_counts_by_passes, rule=rule, margin=margin)
    by_sorting = partial(_counts_by_sorting, rule=rule, margin=margin)
    most = jnp.max(jnp.sum(positives, axis=1), initial=0)
    return jax.lax.cond(most <= few, by_passes, by_sorting, distances, positives, negatives)


def _counts_by_sorting(
    distances: chex.Array, positives: chex.Array, negatives: chex.Array, *, rule: str, margin: float
) -> tuple[chex.Array, chex.Array]:
    """For each positive its number of negatives, and for each negative of positives, for any number of positives."""
    # Both counts compare the same rounded numbers (d_an with d_ap, and d_an with d_ap + m), so they always agree.
    near = jnp.sort(jnp.where(negatives, distances, jnp.inf), axis=1)
    far = jnp.sort(jnp.where(positives, -distances, jnp.inf), axis=1)
    far_reach = jnp.sort(jnp.where(positives, -(distances + margin), jnp.inf), axis=1)
    as_positive = _select(rule, _rank(near, distances + margin, 'left'), _rank(near, distances, 'right'))
    as_negative = _select(rule, _rank(far_reach, -distances, 'left'), _rank(far, -distances, 'right'))
    return as_positive, as_negative


def _counts_by_passes(
    distances: chex.Array, positives: chex.Array, negatives: chex.Array, *, rule: str, margin: float
) -> tuple[chex.Array, chex.Array]:
    """The same numbers, by one pass over the pairs for each distance of a positive, from the nearest to the farthest.

    Sorting costs as much as many passes.
    """
    count = jnp.sum(positives, axis=1, dtype=jnp.int32)

    def one_pass(_: int, state: tuple[chex.Array, ...]) -> tuple[chex.Array, ...]:
        before, seen, as_positive, as_negative = state
        nearest = jnp.min(
            jnp.where(positives & (distances > before[:, None]), distances, jnp.inf), axis=1, initial=jnp.inf
        )
        # The last of a row may be infinite, and so found again in each further pass.
        here = positives & (distances == nearest[:, None]) & (seen < count)[:, None]
        active = (negatives & (distances < (nearest + margin)[:, None])).astype(jnp.int32)
        closer = (negatives & (distances <= nearest[:, None])).astype(jnp.int32)
        used = _select(rule, active, closer)
        equals = jnp.sum(here, axis=1, dtype=jnp.int32)
        as_positive = jnp.where(here, jnp.sum(used, axis=1, dtype=jnp.int32)[:, None], as_positive)
        return nearest, seen + equals, as_positive, as_negative + equals[:, None] * used

    none = jnp.zeros(distances.shape, jnp.int32)
    start = (jnp.full_like(distances, -jnp.inf, shape=count.shape), jnp.zeros_like(count), none, none)
    # As many passes as any row has positives: where rows lie on several devices, they agree once, not at every pass.
    return jax.lax.fori_loop(0, jnp.max(count, initial=0), one_pass, start)[2:]


def check_rule(rule: str, rules: tuple[str, ...], margin: float) -> None:
    """Raises ConfigError when a mining rule or margin is not usable."""
    if rule not in rules:
        raise ConfigError(f'mining rule {rule!r} is unknown; choose one of {", ".join(rules)}')
    if not margin >= 0:
        raise ConfigError(f'margin is {margin}; it must be 0 or more')


def _rank(ordered: chex.Array, values: chex.Array, side: str) -> chex.Array:
    """For each value the number of entries of its (sorted) row below it ('left'), or not above it ('right')."""
    return jax.vmap(lambda row, wanted: jnp.searchsorted(row, wanted, side=side))(ordered, values)


def _select(rule: str, active: chex.Array, closer: chex.Array) -> chex.Array:
    hard = jnp.minimum(active, closer)
    return {'all': active, 'hard': hard, 'semi_hard': active - hard}[rule]


def _check_pairs(distances: chex.Array, mask: chex.Array) -> None:
    chex.assert_rank(distances, 2)
    chex.assert_type([distances, mask], [float, bool])
    chex.assert_equal_shape([distances, mask])
