"""Label prediction over several modalities with one shared head.

Letters: M modalities, B objects, C classes.
"""

from collections.abc import Sequence

import chex
import jax
import jax.numpy as jnp

from jaxret.losses.contrastive import masked_mean
from jaxret.losses.modalities import blank_invalid, guarded_labels, stack_modalities, valid_objects


def cross_modal_cross_entropy(
    logits: chex.Array | Sequence[chex.Array], labels: chex.Array, *, valid: chex.Array | None = None
) -> chex.Array:
    """Cross-entropy of every modality's label prediction: -1/N sum_n sum_m log softmax(logits_mn)[y_n].

    Args:
      logits: [M, B, C], or M arrays [B, C]; of the same head applied to each modality.
      labels: [B] int. Outside 0..C-1: the loss is NaN.
      valid: [B] bool, False takes an object out. None: all.

    Returns:
      Scalar, 0 with gradient 0 if no object is valid.

    Source: Choo et al. (KSII TIIS 2024), equation 8; Jing et al. (CVPR 2021).
    """
    logits = stack_modalities(logits)
    chex.assert_rank(labels, 1)
    modalities, objects, classes = logits.shape
    valid = valid_objects(valid, objects)
    log_probabilities = jax.nn.log_softmax(blank_invalid(logits, valid), axis=-1)
    index = jnp.broadcast_to(guarded_labels(labels, valid, classes)[None, :, None], (modalities, objects, 1))
    picked = jnp.take_along_axis(log_probabilities, index, axis=-1, mode='fill', fill_value=jnp.nan)[..., 0]
    return masked_mean(-jnp.sum(picked, axis=0), valid)
