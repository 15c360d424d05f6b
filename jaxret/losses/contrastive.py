"""Contrastive losses over the whole [Q, G] score matrix, and the masks that say which columns are positive.

Letters: Q queries (anchors), G gallery shapes. Losses give one value an anchor, 0 with gradient 0 where the anchor has
no positive; `masked_mean` and `masked_sum` reduce them. All is computed in float32 at least.
"""

import chex
import jax
import jax.numpy as jnp

from jaxret.errors import ConfigError


def info_nce(
    scores: chex.Array,
    positives: chex.Array,
    *,
    temperature: float | chex.Array,
    valid: chex.Array | None = None,
    candidates: chex.Array | None = None,
) -> chex.Array:
    """Instance loss: -log( exp(s_p / t) / sum_j exp(s_j / t) ).

    Several positives in a row are summed inside the logarithm, -log( sum_p exp(s_p/t) / ... ); their mean outside of it
    is `supervised_contrastive`.

    Args:
      scores: [Q, G] similarities before the temperature.
      positives: [Q, G] bool.
      temperature: t > 0.
      valid: [G] bool, False takes a column out of numerator and denominator. None: all.
      candidates: [Q, G] bool, the same for single pairs. None: all.

    Returns:
      [Q], 0 where a row has no positive.

    Raises:
      ConfigError: temperature not positive.

    Source: CMIC (ICCV 2021), equation 4.
    """
    logits, positives, allowed = _prepare(scores, positives, temperature, valid, candidates)
    losses = _masked_logsumexp(logits, allowed) - _masked_logsumexp(logits, positives)
    return jnp.where(jnp.any(positives, axis=1), losses, 0.0)


def supervised_contrastive(
    scores: chex.Array,
    positives: chex.Array,
    *,
    temperature: float | chex.Array,
    valid: chex.Array | None = None,
    candidates: chex.Array | None = None,
) -> chex.Array:
    """Category loss: -1/|P| sum_{p in P} log( exp(s_p / t) / sum_j exp(s_j / t) ).

    Args:
      scores: [Q, G] similarities before the temperature.
      positives: [Q, G] bool, P of each row.
      temperature: t > 0.
      valid: [G] bool, False takes a column out of P and of the denominator. None: all.
      candidates: [Q, G] bool, the same for single pairs. None: all.

    Returns:
      [Q], 0 where P is empty.

    Raises:
      ConfigError: temperature not positive.

    Source: CMIC (ICCV 2021), equation 5; Khosla et al. (NeurIPS 2020), L_out.
    """
    logits, positives, allowed = _prepare(scores, positives, temperature, valid, candidates)
    # Subtract pair by pair: the mean of large logits would round away what the difference holds.
    surprise = _masked_logsumexp(logits, allowed)[:, None] - logits
    count = jnp.sum(positives, axis=1)
    return jnp.sum(jnp.where(positives, surprise, 0.0), axis=1) / jnp.maximum(count, 1)


def instance_positives(positive_index: chex.Array, gallery: int) -> chex.Array:
    """Mask with one True a row, at the query's own shape; an index outside 0..G-1 gives a row without positives.

    Args:
      positive_index: [Q] int, column of each query's shape.
      gallery: G.

    Returns:
      [Q, G] bool.
    """
    chex.assert_rank(positive_index, 1)
    chex.assert_type(positive_index, int)
    return jnp.asarray(positive_index)[:, None] == jnp.arange(gallery)[None, :]


def category_positives(
    query_category: chex.Array, shape_category: chex.Array, positive_index: chex.Array, *, include_true: bool
) -> chex.Array:
    """Mask of the shapes of each query's category, with or without its own shape.

    Equation 5 of CMIC leaves the own shape out of P but keeps it in the denominator; its table 4 and its public code
    favour and use P with it (`include_true`). The text at table 4 speaks of removing it from numerator *and*
    denominator: for that, pass candidates=~instance_positives(...) to the loss as well.

    Args:
      query_category: [Q] int.
      shape_category: [G] int.
      positive_index: [Q] int, column of each query's shape.
      include_true: whether the own shape counts.

    Returns:
      [Q, G] bool.

    Source: CMIC (ICCV 2021), equation 5 and table 4.
    """
    chex.assert_rank([query_category, shape_category], 1)
    chex.assert_type([query_category, shape_category], int)
    chex.assert_equal_shape([query_category, positive_index])
    own = instance_positives(positive_index, shape_category.shape[0])
    same = jnp.asarray(query_category)[:, None] == jnp.asarray(shape_category)[None, :]
    return same | own if include_true else same & ~own


def has_positive(positives: chex.Array, *, valid: chex.Array | None = None) -> chex.Array:
    """Anchors that have a positive.

    CMIC's code averages the category loss over the queries whose loss is not zero; averaging over this mask is the
    same except for a query whose positives hold all the probability (a single valid shape), which counts here as 0.

    Args:
      positives: [Q, G] bool.
      valid: [G] bool or None.

    Returns:
      [Q] bool.
    """
    return jnp.any(_allowed(positives, valid) & positives, axis=1)


def masked_sum(values: chex.Array, mask: chex.Array) -> chex.Array:
    """Sum of the values whose mask is True (0 with gradient 0 if there is none).

    Args:
      values: [Q].
      mask: [Q] bool.

    Returns:
      Scalar.
    """
    chex.assert_rank([values, mask], 1)
    chex.assert_equal_shape([values, mask])
    chex.assert_type([values, mask], [float, bool])
    return jnp.sum(jnp.where(mask, values, 0.0))


def masked_mean(values: chex.Array, mask: chex.Array) -> chex.Array:
    """Mean of the values whose mask is True, 0 with gradient 0 if there is none.

    Args:
      values: [Q].
      mask: [Q] bool.

    Returns:
      Scalar.
    """
    return masked_sum(values, mask) / jnp.maximum(jnp.sum(mask), 1)


def _allowed(positives: chex.Array, valid: chex.Array | None) -> chex.Array:
    chex.assert_rank(positives, 2)
    chex.assert_type(positives, bool)
    if valid is None:
        return jnp.ones_like(positives)
    chex.assert_shape(valid, positives.shape[1:])
    chex.assert_type(valid, bool)
    return jnp.broadcast_to(valid[None, :], positives.shape)


def _prepare(
    scores: chex.Array,
    positives: chex.Array,
    temperature: float | chex.Array,
    valid: chex.Array | None,
    candidates: chex.Array | None,
) -> tuple[chex.Array, chex.Array, chex.Array]:
    """Checks the arguments; returns logits, positives and allowed pairs, all [Q, G]."""
    chex.assert_rank(scores, 2)
    chex.assert_type(scores, float)
    chex.assert_equal_shape([scores, positives])
    if isinstance(temperature, int | float) and not temperature > 0:
        raise ConfigError(f'temperature is {temperature}; it must be above 0')
    allowed = _allowed(positives, valid)
    if candidates is not None:
        chex.assert_equal_shape([scores, candidates])
        chex.assert_type(candidates, bool)
        allowed = allowed & candidates
    scores = jnp.asarray(scores).astype(jnp.promote_types(scores.dtype, jnp.float32))
    # The losses do not change when a row is shifted; about 0 the logits keep their digits.
    top = jax.lax.stop_gradient(_masked_max(scores, allowed))
    # What a padded column holds must not reach the loss, nor its gradient.
    logits = jnp.where(allowed, scores - top[:, None], 0.0) / temperature
    return logits, positives & allowed, allowed


def _masked_logsumexp(logits: chex.Array, mask: chex.Array) -> chex.Array:
    """log sum exp over the True entries of each row, [Q, G] -> [Q]; 0 with gradient 0 for an empty row."""
    top = jax.lax.stop_gradient(_masked_max(logits, mask))
    # The inner `where` keeps entries above the masked maximum from overflowing into the gradient.
    shifted = jnp.where(mask, logits - top[:, None], 0.0)
    total = jnp.sum(jnp.where(mask, jnp.exp(shifted), 0.0), axis=1)
    return top + jnp.log(jnp.where(jnp.any(mask, axis=1), total, 1.0))


def _masked_max(values: chex.Array, mask: chex.Array) -> chex.Array:
    """Maximum of the True entries of each row, [Q, G] -> [Q]; 0 for an empty row."""
    top = jnp.max(jnp.where(mask, values, -jnp.inf), axis=1)
    return jnp.where(jnp.any(mask, axis=1), top, 0.0)
