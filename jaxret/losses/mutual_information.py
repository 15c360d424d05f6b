"""Lower bounds on mutual information as losses of the matrix of a discriminator's scores.

Entry (i, j) scores input i with embedding j. The joint stands on the diagonal; pairs of independent draws are the
`negatives`. The scores may have a leading axis of L cells, each with a bound of its own; losses are then the means over
the cells. With T+ the scores on the diagonal and T- those of the negatives, E the mean over them:

  binary cross-entropy   E softplus(-T+) + E softplus(T-)                  what HIFA's text describes
  Jensen-Shannon         the same - 2 log 2                                0 for a T that knows nothing
  Donsker-Varadhan       log E exp(T-) - E T+                              HIFA's equation 2, minus the bound

Every loss is 0 with gradient 0 where there is no valid row or no negative pair.

Letters: N rows, L cells.
"""

import math

import chex
import jax
import jax.numpy as jnp

from jaxret.errors import ConfigError
from jaxret.losses.modalities import valid_objects

RunningAverage = dict[str, jax.Array]


def negative_pairs(owners: chex.Array, *, valid: chex.Array | None = None) -> chex.Array:
    """Pairs of rows with different owners: views of one shape are never each other's negatives.

    Args:
      owners: [N] int, the image or shape that a row belongs to.
      valid: [N] bool, False takes a row out. None: all.

    Returns:
      [N, N] bool.
    """
    chex.assert_rank(owners, 1)
    chex.assert_type(owners, int)
    valid = valid_objects(valid, owners.shape[0])
    return (owners[:, None] != owners[None, :]) & valid[:, None] & valid[None, :]


def binary_cross_entropy(scores: chex.Array, negatives: chex.Array, *, valid: chex.Array | None = None) -> chex.Array:
    """Real pairs against fake ones: E softplus(-T+) + E softplus(T-).

    Args:
      scores: [N, N] or [L, N, N].
      negatives: [N, N] bool.
      valid: [N] bool, False takes a row out of the joint. None: all.

    Returns:
      Scalar, 0 or above.

    Source: HIFA (paper 004), section 3.2; Hjelm et al. (ICLR 2019).
    """
    scores, valid, negatives, defined = _prepare(scores, negatives, valid)
    joint = _mean(jax.nn.softplus(-_diagonal(scores)), valid)
    product = _mean(jax.nn.softplus(scores), negatives)
    return jnp.where(defined, jnp.mean(joint + product), 0.0)


def jensen_shannon(scores: chex.Array, negatives: chex.Array, *, valid: chex.Array | None = None) -> chex.Array:
    """Minus the Jensen-Shannon bound: -( E[log 2 - softplus(-T+)] - E[softplus(-T-) + T- - log 2] ).

    The cross-entropy less a constant, so its gradients are the same.

    Args:
      scores: [N, N] or [L, N, N].
      negatives: [N, N] bool.
      valid: [N] bool, False takes a row out of the joint. None: all.

    Returns:
      Scalar, -2 log 2 or above.

    Source: Hjelm et al. (ICLR 2019), with the constants of their public code.
    """
    *_, defined = _prepare(scores, negatives, valid)
    loss = binary_cross_entropy(scores, negatives, valid=valid)
    return loss - jnp.where(defined, 2 * math.log(2), 0.0)


def donsker_varadhan(scores: chex.Array, negatives: chex.Array, *, valid: chex.Array | None = None) -> chex.Array:
    """Minus the Donsker-Varadhan bound: log E exp(T-) - E T+.

    Its gradient is biased on batches, as that of a logarithm of a mean: see `donsker_varadhan_unbiased`.

    Args:
      scores: [N, N] or [L, N, N].
      negatives: [N, N] bool.
      valid: [N] bool, False takes a row out of the joint. None: all.

    Returns:
      Scalar.

    Source: HIFA (paper 004), equation 2; Belghazi et al. (ICML 2018).
    """
    scores, valid, negatives, defined = _prepare(scores, negatives, valid)
    bound = _mean(_diagonal(scores), valid) - _log_mean_exp(scores, negatives)
    return jnp.where(defined, -jnp.mean(bound), 0.0)


def donsker_varadhan_unbiased(
    scores: chex.Array, negatives: chex.Array, average: RunningAverage, *, decay: float, valid: chex.Array | None = None
) -> tuple[chex.Array, RunningAverage]:
    """`donsker_varadhan` whose gradient divides by a running average of E exp(T-): E[exp(T-) dT-] / average - E dT+.

    The average includes this batch, so its part in the gradient is at most 1 / (1 - decay) times too large, and is
    corrected for its start: after one batch it is that batch's. A batch without pairs leaves it as it is.

    Args:
      scores: [N, N] or [L, N, N].
      negatives: [N, N] bool.
      average: of `start_average`, or of the step before.
      decay: share of the old average that stays, from 0 (no memory: the biased gradient) to below 1.
      valid: [N] bool, False takes a row out of the joint. None: all.

    Returns:
      Scalar, and the average after this batch (constant to the gradient).

    Raises:
      ConfigError: decay outside [0, 1).

    Source: Belghazi et al. (ICML 2018), the correction of the gradient's bias.
    """
    if not 0 <= decay < 1:
        raise ConfigError(f'decay is {decay}; it must be at least 0 and below 1')
    scores, valid, negatives, defined = _prepare(scores, negatives, valid)
    chex.assert_shape([average['log_average'], average['weight']], [scores.shape[:1], ()])
    batch = _log_mean_exp(scores, negatives)  # [L]
    fixed = jax.lax.stop_gradient(batch)
    old = decay * average['weight']
    weight = old + (1 - decay)
    log_average = jnp.logaddexp(jnp.log(old) + average['log_average'], math.log1p(-decay) + fixed) - jnp.log(weight)
    ratio = jnp.exp(batch - jax.lax.stop_gradient(log_average))
    surrogate = fixed + ratio - jax.lax.stop_gradient(ratio)  # value of the bound, gradient of the ratio
    loss = jnp.where(defined, jnp.mean(surrogate - _mean(_diagonal(scores), valid)), 0.0)
    after = {'log_average': log_average, 'weight': weight}
    return loss, jax.lax.stop_gradient(jax.tree.map(lambda new, kept: jnp.where(defined, new, kept), after, average))


def start_average(cells: int) -> RunningAverage:
    """The running average before the first batch.

    Args:
      cells: L, 1 for scores without that axis.

    Returns:
      log_average [L], weight [] (how much of the average's total weight, 1, the batches seen so far make up).
    """
    return {'log_average': jnp.zeros(cells), 'weight': jnp.zeros(())}


def _prepare(
    scores: chex.Array, negatives: chex.Array, valid: chex.Array | None
) -> tuple[chex.Array, chex.Array, chex.Array, chex.Array]:
    """Scores [L, N, N] with 0 where they do not count, valid rows [N], negatives [N, N], whether both exist."""
    chex.assert_rank(scores, {2, 3})
    chex.assert_type(scores, float)
    chex.assert_rank(negatives, 2)
    chex.assert_type(negatives, bool)
    rows = scores.shape[-1]
    chex.assert_shape(negatives, (rows, rows))
    chex.assert_equal(scores.shape[-2], rows)
    valid = valid_objects(valid, rows)
    scores = jnp.asarray(scores, jnp.promote_types(scores.dtype, jnp.float32)).reshape(-1, rows, rows)
    counted = negatives | (jnp.eye(rows, dtype=bool) & valid[:, None])
    return jnp.where(counted, scores, 0.0), valid, negatives, jnp.any(valid) & jnp.any(negatives)


def _diagonal(scores: chex.Array) -> chex.Array:
    return jnp.diagonal(scores, axis1=1, axis2=2)


def _mean(values: chex.Array, mask: chex.Array) -> chex.Array:
    """Mean over a mask of all axes but the first, [L]."""
    mask = jnp.broadcast_to(mask[None], values.shape)
    axes = tuple(range(1, values.ndim))
    return jnp.sum(jnp.where(mask, values, 0.0), axis=axes) / jnp.maximum(jnp.sum(mask[0]), 1)


def _log_mean_exp(scores: chex.Array, negatives: chex.Array) -> chex.Array:
    """log E exp over the negatives, [L]; over all pairs where there is none, so that no gradient is NaN."""
    counted = negatives | ~jnp.any(negatives)
    masked = jnp.where(jnp.broadcast_to(counted[None], scores.shape), scores, -jnp.inf)
    return jax.nn.logsumexp(masked, axis=(1, 2)) - jnp.log(jnp.sum(counted))
