"""Supervised contrast over several modalities: classes are told apart by cosine, as retrieval compares them.

Letters: M modalities, B objects, D embedding.
"""

from collections.abc import Sequence

import chex
import jax.numpy as jnp

from jaxret.losses.contrastive import masked_mean, supervised_contrastive
from jaxret.losses.modalities import blank_invalid, stack_modalities, valid_objects
from jaxret.losses.scores import l2_normalize, similarity_matrix


def cross_modal_contrastive_loss(
    features: chex.Array | Sequence[chex.Array],
    labels: chex.Array,
    *,
    temperature: float | chex.Array,
    valid: chex.Array | None = None,
) -> chex.Array:
    """Every feature against all others of the batch, whatever their modality; those of its class are its positives.

    Mean over the features a of -1/|P(a)| sum_{p in P(a)} log( exp(z_a . z_p / t) / sum_{j != a} exp(z_a . z_j / t) ),
    z of length 1. The same object in the other modalities is among P(a).

    Args:
      features: [M, B, D], or M arrays [B, D].
      labels: [B] int, of an object in all its modalities.
      temperature: t > 0.
      valid: [B] bool, False takes an object out. None: all.

    Returns:
      Scalar, 0 with gradient 0 if no object is valid. A feature without a positive counts as 0.

    Raises:
      ConfigError: temperature not positive.

    Source: Khosla et al. (NeurIPS 2020), L_out, here over modalities in place of augmentations.
    """
    features = stack_modalities(features)
    chex.assert_shape(labels, features.shape[1:2])
    modalities, objects, size = features.shape
    valid = valid_objects(valid, objects)
    rows = l2_normalize(blank_invalid(features, valid).reshape(-1, size))
    classes, counted = jnp.tile(labels, modalities), jnp.tile(valid, modalities)
    others = ~jnp.eye(len(rows), dtype=bool)
    losses = supervised_contrastive(
        similarity_matrix(rows, rows),
        (classes[:, None] == classes[None, :]) & others,
        temperature=temperature,
        valid=counted,
        candidates=others,
    )
    return masked_mean(losses, counted)
