"""Losses of chosen pairs of a distance matrix: contrastive, triplet and quadruplet.

Which pairs: `jaxret.losses.negatives`. Margins are in the units of the distances, whichever these are (Euclidean or
squared). Every loss is 0 with gradient 0 where no pair is chosen, and a hinge has gradient 0 at its corner.

Letters: Q anchors, G candidates.
"""

import chex
import jax.numpy as jnp

from jaxret.errors import ConfigError

REDUCTIONS = ('mean_all', 'mean_nonzero')


def pull(distances: chex.Array, pairs: chex.Array, *, margin: float = 0.0, reduction: str = 'mean_all') -> chex.Array:
    """Draws pairs together until they are within a margin: max(0, d - m).

    Args:
      distances: [Q, G].
      pairs: [Q, G] bool.
      margin: m; 0 draws without end.
      reduction: 'mean_all' is the mean over the pairs, 'mean_nonzero' over those whose loss is above 0.

    Returns:
      Scalar.

    Raises:
      ConfigError: unknown reduction.
    """
    return _reduce(_kept(distances, pairs) - margin, pairs, reduction)


def push(
    distances: chex.Array, pairs: chex.Array, *, margin: float | chex.Array, reduction: str = 'mean_all'
) -> chex.Array:
    """Drives pairs apart until a margin is between them: max(0, m - d).

    Args:
      distances: [Q, G].
      pairs: [Q, G] bool.
      margin: m, a number or [Q, G].
      reduction: as for `pull`.

    Returns:
      Scalar.

    Raises:
      ConfigError: unknown reduction.
    """
    return _reduce(margin - _kept(distances, pairs), pairs, reduction)


def contrastive(
    distances: chex.Array,
    positives: chex.Array,
    negatives: chex.Array,
    *,
    margin: float | chex.Array,
    margin_positive: float = 0.0,
    reduction: str = 'mean_all',
) -> chex.Array:
    """max(0, d - m_p) of positives + max(0, m - d) of negatives, each with its own mean.

    Args:
      distances: [Q, G].
      positives: [Q, G] bool.
      negatives: [Q, G] bool.
      margin: m, a number or [Q, G].
      margin_positive: m_p; 0 is the printed equation.
      reduction: as for `pull`.

    Returns:
      Scalar.

    Raises:
      ConfigError: unknown reduction.

    Source: Kabadayi and Dai, equation 1; the positive margin is that of Choy et al. (ICCV 2019).
    """
    return pull(distances, positives, margin=margin_positive, reduction=reduction) + push(
        distances, negatives, margin=margin, reduction=reduction
    )


def mined_triplet(
    distances: chex.Array,
    positive_distances: chex.Array,
    negatives: chex.Array,
    *,
    margin: float | chex.Array,
    reduction: str = 'mean_all',
) -> chex.Array:
    """max(0, d_ap - d_an + m) of one positive an anchor and the chosen negatives.

    Args:
      distances: [Q, G].
      positive_distances: [Q], d_ap.
      negatives: [Q, G] bool.
      margin: m, a number or [Q, G].
      reduction: as for `pull`.

    Returns:
      Scalar.

    Raises:
      ConfigError: unknown reduction.

    Source: Kabadayi and Dai, section 4.1; Dahnert et al. (ICCV 2019).
    """
    return _reduce(_triplet_terms(distances, positive_distances, negatives, margin), negatives, reduction)


def quadruplet(
    distances: chex.Array,
    positive_distances: chex.Array,
    gallery_distances: chex.Array,
    negatives: chex.Array,
    second: chex.Array,
    *,
    margin: float | chex.Array,
    margin_second: float,
    reduction: str = 'mean_all',
) -> chex.Array:
    """max(0, d_ap - d_an + m1) + max(0, d_ap - d_nk + m2): also closer than two negatives n and k of other classes.

    Kabadayi and Dai print the sum without max(0, .), which has no lower bound; Chen et al. (CVPR 2017) have it. Each
    term has its own mean; an anchor without a second negative k has the first term alone.

    Args:
      distances: [Q, G], anchors to candidates.
      positive_distances: [Q], d_ap.
      gallery_distances: [G, G], candidates to each other.
      negatives: [Q, G] bool, n, at most one a row.
      second: [Q, G] bool, k, at most one a row and none where n is not.
      margin: m1, a number or [Q, G].
      margin_second: m2.
      reduction: as for `pull`.

    Returns:
      Scalar.

    Raises:
      ConfigError: unknown reduction.

    Source: Kabadayi and Dai, equation 2.
    """
    chex.assert_equal_shape([distances, negatives, second])
    chex.assert_type(second, bool)
    chex.assert_shape(gallery_distances, (distances.shape[1],) * 2)
    first_terms = _triplet_terms(distances, positive_distances, negatives, margin)
    between = gallery_distances[jnp.argmax(negatives, axis=1)]  # [Q, G], distances of n to all
    second_terms = _triplet_terms(between, positive_distances, second, margin_second)
    return _reduce(first_terms, negatives, reduction) + _reduce(second_terms, second, reduction)


def active_share(distances: chex.Array, pairs: chex.Array, *, reach: chex.Array) -> chex.Array:
    """Share of the pairs that are nearer than `reach` [Q, G], so that their loss is not 0; 0 where there is none."""
    near = pairs & (distances < reach)
    return jnp.sum(near) / jnp.maximum(jnp.sum(pairs), 1)


def _triplet_terms(
    distances: chex.Array, positive_distances: chex.Array, negatives: chex.Array, margin: float | chex.Array
) -> chex.Array:
    chex.assert_rank(positive_distances, 1)
    chex.assert_shape(positive_distances, distances.shape[:1])
    used = jnp.any(negatives, axis=1)  # what a padded anchor holds must not reach the loss
    return jnp.where(used, positive_distances, 0.0)[:, None] - _kept(distances, negatives) + margin


def _kept(distances: chex.Array, pairs: chex.Array) -> chex.Array:
    """Distances of the pairs, in float32 at least; of others 0, whatever they hold."""
    chex.assert_rank(distances, 2)
    chex.assert_type([distances, pairs], [float, bool])
    chex.assert_equal_shape([distances, pairs])
    return jnp.where(pairs, distances.astype(jnp.promote_types(distances.dtype, jnp.float32)), 0.0)


def _reduce(terms: chex.Array, pairs: chex.Array, reduction: str) -> chex.Array:
    """Mean of max(0, term) over the pairs, or over those above 0."""
    if reduction not in REDUCTIONS:
        raise ConfigError(f'reduction {reduction!r} is unknown; choose one of {", ".join(REDUCTIONS)}')
    above = pairs & ~(terms <= 0)  # NaN counts as above, so that it is not hidden
    count = jnp.sum(pairs if reduction == 'mean_all' else above)
    return jnp.sum(jnp.where(above, terms, 0.0)) / jnp.maximum(count, 1)
