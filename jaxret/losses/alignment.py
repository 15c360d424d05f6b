"""Losses that draw two domains together: feature norms, class centroids, and an adversarial domain classifier.

The source is labelled, the target is not. Losses are 0 with gradient 0 where a domain that they need has no valid row.

Letters: B source rows, G target rows, N rows of either, D embedding, C classes.
"""

import chex
import jax
import jax.numpy as jnp

from jaxret.errors import ConfigError
from jaxret.losses.contrastive import masked_mean
from jaxret.losses.modalities import blank_rows, valid_objects

CENTROID_REDUCTIONS = ('sum', 'mean')


def ramp(progress: chex.Array | float) -> chex.Array:
    """Weight that grows from 0 to 1 with the progress p of a run: 2 / (1 + exp(-10 p)) - 1 = tanh(5 p).

    Args:
      progress: p, from 0 at the start to 1 at the end.

    Returns:
      Scalar.

    Source: Ganin and Lempitsky (ICML 2015); HIFA (paper 004), gamma of equation 7.
    """
    return jnp.tanh(5.0 * jnp.asarray(progress, jnp.float32))


def reverse_gradient(x: chex.Array, *, scale: chex.Array | float) -> chex.Array:
    """x itself, with -scale times the gradient.

    Args:
      x: any shape.
      scale: factor of the reversed gradient.

    Returns:
      x.

    Source: Ganin and Lempitsky (ICML 2015).
    """
    return _reverse(x, jnp.asarray(scale, jnp.float32))


@jax.custom_vjp
def _reverse(x: chex.Array, scale: chex.Array) -> chex.Array:
    del scale
    return x


def _reverse_backward(scale: chex.Array, gradient: chex.Array) -> tuple[chex.Array, chex.Array]:
    return (-scale * gradient).astype(gradient.dtype), jnp.zeros_like(scale)


_reverse.defvjp(lambda x, scale: (x, scale), _reverse_backward)


def adversarial_loss(
    source_logits: chex.Array,
    target_logits: chex.Array,
    *,
    source_valid: chex.Array | None = None,
    target_valid: chex.Array | None = None,
) -> chex.Array:
    """Cross-entropy of a domain classifier, source 1 and target 0: (E softplus(-s) + E softplus(t)) / 2.

    Both domains weigh the same, whatever their numbers. Its maximisation by the features is left to
    `reverse_gradient`.

    Args:
      source_logits: s [B].
      target_logits: t [G].
      source_valid: [B] bool. None: all.
      target_valid: [G] bool. None: all.

    Returns:
      Scalar.

    Source: Ganin and Lempitsky (ICML 2015).
    """
    chex.assert_rank([source_logits, target_logits], 1)
    chex.assert_type([source_logits, target_logits], float)
    source_valid = valid_objects(source_valid, source_logits.shape[0])
    target_valid = valid_objects(target_valid, target_logits.shape[0])
    loss = 0.5 * (
        masked_mean(jax.nn.softplus(-source_logits), source_valid)
        + masked_mean(jax.nn.softplus(target_logits), target_valid)
    )
    return jnp.where(jnp.any(source_valid) & jnp.any(target_valid), loss, 0.0)


def feature_norms(features: chex.Array) -> chex.Array:
    """Length of every row; 0 with gradient 0 for a zero row.

    Args:
      features: [N, D].

    Returns:
      [N].
    """
    chex.assert_rank(features, 2)
    chex.assert_type(features, float)
    squares = jnp.sum(jnp.square(features), axis=1)
    return jnp.where(squares == 0, 0.0, jnp.sqrt(jnp.where(squares == 0, 1.0, squares)))


def fixed_norm_loss(features: chex.Array, *, radius: float, valid: chex.Array | None = None) -> chex.Array:
    """Distance of one domain's mean feature norm to a radius: (E |f| - R)^2.

    Args:
      features: [N, D], of one domain; HIFA adds the losses of both.
      radius: R.
      valid: [N] bool. None: all.

    Returns:
      Scalar.

    Source: HIFA (paper 004), equation 4, R = 25; Xu et al. (ICCV 2019), hard adaptive feature norm.
    """
    features, valid = blank_rows(features, valid)
    loss = jnp.square(masked_mean(feature_norms(features), valid) - radius)
    return jnp.where(jnp.any(valid), loss, 0.0)


def stepwise_norm_loss(features: chex.Array, *, step: float, valid: chex.Array | None = None) -> chex.Array:
    """Makes every feature a step longer than it is: E (|f| - (stop(|f|) + step))^2.

    Its value is step^2 whatever the features; only its gradient, -2 step along each feature, matters.

    Args:
      features: [N, D], of one domain.
      step: how much longer.
      valid: [N] bool. None: all.

    Returns:
      Scalar.

    Source: Xu et al. (ICCV 2019), stepwise adaptive feature norm.
    """
    features, valid = blank_rows(features, valid)
    norms = feature_norms(features)
    return masked_mean(jnp.square(norms - (jax.lax.stop_gradient(norms) + step)), valid)


def class_centroids(
    features: chex.Array, labels: chex.Array, classes: int, *, valid: chex.Array | None = None
) -> tuple[chex.Array, chex.Array]:
    """Mean feature of every class: sum_{n in k} f_n / max(1, count_k).

    Args:
      features: [N, D].
      labels: [N] int; rows with a label outside 0..C-1 count nowhere.
      classes: C.
      valid: [N] bool. None: all.

    Returns:
      Centroids [C, D], 0 for absent classes, and whether a class is present, bool [C].
    """
    features, valid = blank_rows(features, valid)
    chex.assert_type(labels, int)
    chex.assert_shape(labels, valid.shape)
    member = (labels[:, None] == jnp.arange(classes)[None, :]) & valid[:, None]  # [N, C]
    counts = jnp.sum(member, axis=0)
    sums = jnp.einsum('nc,nd->cd', member.astype(features.dtype), features, precision=jax.lax.Precision.HIGHEST)
    return sums / jnp.maximum(counts, 1)[:, None], counts > 0


def running_centroids(
    old: chex.Array, seen: chex.Array, batch: chex.Array, present: chex.Array, *, momentum: float, masked: bool
) -> tuple[chex.Array, chex.Array]:
    """Centroids averaged over batches: momentum * old + (1 - momentum) * batch. Gradient flows to the batch alone.

    Args:
      old: [C, D], of the step before; 0 at the start.
      seen: [C] float, above 0 for classes met before; 0 at the start.
      batch: [C, D] of `class_centroids`.
      present: [C] bool of `class_centroids`.
      momentum: share of the old centroids, from 0 to below 1.
      masked: True keeps the old centroid of a class that is absent, and takes the batch's for a class met for the
        first time. False is MSTN's public code: the batch centroid of an absent class is 0, so absent classes decay
        towards 0, and all start from 0.

    Returns:
      Centroids [C, D], and `seen` with the classes of this batch.

    Raises:
      ConfigError: momentum outside [0, 1).

    Source: Xie et al. (ICML 2018) and its public code (0.7).
    """
    if not 0 <= momentum < 1:
        raise ConfigError(f'momentum is {momentum}; it must be at least 0 and below 1')
    chex.assert_rank([old, batch, seen, present], [2, 2, 1, 1])
    chex.assert_equal_shape([old, batch])
    chex.assert_equal_shape([seen, present])
    old = jax.lax.stop_gradient(old)
    new = momentum * old + (1 - momentum) * batch
    if masked:
        new = jnp.where((seen > 0)[:, None], new, batch)
        new = jnp.where(present[:, None], new, old)
    return new, jnp.maximum(seen, present.astype(seen.dtype))


def centroid_loss(
    source: chex.Array, target: chex.Array, *, counted: chex.Array | None = None, reduction: str = 'sum'
) -> chex.Array:
    """Squared distance of the two domains' centroids of each class: sum_k |s_k - t_k|^2.

    Args:
      source: [C, D].
      target: [C, D].
      counted: [C] bool, classes that have both centroids. None: all.
      reduction: 'sum' over classes as printed, or 'mean' over all C D entries as MSTN's public code: 1 / (C D) of it,
        however many classes count.

    Returns:
      Scalar.

    Raises:
      ConfigError: unknown reduction.

    Source: HIFA (paper 004), equation 6; Xie et al. (ICML 2018).
    """
    if reduction not in CENTROID_REDUCTIONS:
        raise ConfigError(f'reduction {reduction!r} is unknown; choose one of {", ".join(CENTROID_REDUCTIONS)}')
    chex.assert_rank([source, target], 2)
    chex.assert_equal_shape([source, target])
    counted = valid_objects(counted, source.shape[0])
    total = jnp.sum(jnp.where(counted[:, None], jnp.square(source - target), 0.0))
    return total / source.size if reduction == 'mean' else total
