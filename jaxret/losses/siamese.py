"""Losses that draw the modalities of one object together, without labels or negatives.

Letters: M modalities, B objects, D embedding.
"""

from collections.abc import Sequence

import chex
import jax
import jax.numpy as jnp

from jaxret.losses.contrastive import masked_mean
from jaxret.losses.modalities import blank_invalid, modality_pairs, stack_modalities, valid_objects
from jaxret.losses.scores import l2_normalize


def cosine_similarity(x: chex.Array, y: chex.Array) -> chex.Array:
    """Cosine of the angle between vectors, row by row: x . y / (|x| |y|).

    A zero vector has cosine 0 with everything, and neither side then gets a gradient.

    Args:
      x: [..., D].
      y: [..., D], shape of x.

    Returns:
      [...].

    Source: Choo et al. (KSII TIIS 2024), equation 4.
    """
    chex.assert_equal_shape([x, y])
    return jnp.sum(l2_normalize(x) * l2_normalize(y), axis=-1)


def cross_modal_simsiam(
    predictions: chex.Array | Sequence[chex.Array],
    targets: chex.Array | Sequence[chex.Array],
    *,
    valid: chex.Array | None = None,
) -> chex.Array:
    """Every modality predicts every other: -1/(M (M - 1)) sum_i sum_{j > i} ( cos(p_i, z_j) + cos(p_j, z_i) ).

    No gradient flows to the targets z; the predictions p get it all. Mean over the valid objects, so the loss is in
    [-1, 1]: the negative mean cosine over the M (M - 1) ordered pairs.

    Differs from the paper in: it prints the sum without the minus sign (which, minimised, would turn the modalities
    away from each other) and with j from i on. There is no switch for that form: cos(p_i, z_i) compares a modality
    with itself, for all but the last one, and exceeds what the factor normalises. With the minus sign and j > i, two
    modalities give SimSiam's own loss (equation 5 of the paper).

    Args:
      predictions: p [M, B, D], or M arrays [B, D]: predictor outputs.
      targets: z [M, B, D], or M arrays [B, D]: projected encoder features, in the same order.
      valid: [B] bool, False takes an object out. None: all.

    Returns:
      Scalar, 0 with gradient 0 if no object is valid.

    Raises:
      ConfigError: fewer than two modalities.

    Source: Choo et al. (KSII TIIS 2024), equation 7; Chen and He (CVPR 2021).
    """
    predictions, targets = stack_modalities(predictions), stack_modalities(targets)
    chex.assert_equal_shape([predictions, targets])
    modalities, objects, _ = predictions.shape
    valid = valid_objects(valid, objects)
    first, second = (jnp.array(side) for side in modality_pairs(modalities))
    p = blank_invalid(predictions, valid)
    z = jax.lax.stop_gradient(blank_invalid(targets, valid))
    cosines = cosine_similarity(p[first], z[second]) + cosine_similarity(p[second], z[first])  # [pairs, B]
    return masked_mean(-jnp.sum(cosines, axis=0) / (modalities * (modalities - 1)), valid)


def pairwise_mse(features: chex.Array | Sequence[chex.Array], *, valid: chex.Array | None = None) -> chex.Array:
    """Mean squared difference of each pair of modalities: sum_i sum_{j > i} mean_{b,d} (f_ibd - f_jbd)^2.

    Args:
      features: [M, B, D], or M arrays [B, D].
      valid: [B] bool, False takes an object out. None: all.

    Returns:
      Scalar, 0 with gradient 0 if no object is valid.

    Raises:
      ConfigError: fewer than two modalities.

    Source: Jing et al. (CVPR 2021), public code.
    """
    features = stack_modalities(features)
    modalities, objects, _ = features.shape
    valid = valid_objects(valid, objects)
    features = blank_invalid(features, valid)
    first, second = (jnp.array(side) for side in modality_pairs(modalities))
    errors = jnp.mean(jnp.square(features[first] - features[second]), axis=-1)  # [pairs, B]
    return masked_mean(jnp.sum(errors, axis=0), valid)
