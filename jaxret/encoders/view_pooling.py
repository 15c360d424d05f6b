"""Shapes seen as several views: encoding the views, and ways to weigh or pool their embeddings.

Letters: Q queries, G gallery shapes, V views, H height, W width, C channels, D embedding.
"""

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxret.encoders.layers import linear
from jaxret.losses.scores import largest


def merge_views(views: jax.Array) -> jax.Array:
    """[G, V, ...] -> [G V, ...], the views of a shape staying neighbours."""
    return views.reshape(views.shape[0] * views.shape[1], *views.shape[2:])


def split_views(merged: jax.Array, count: int) -> jax.Array:
    """[G V, ...] -> [G, V, ...] for V = `count`, the inverse of `merge_views`."""
    return merged.reshape(merged.shape[0] // count, count, *merged.shape[1:])


class ViewEncoder(nn.Module):
    """Applies an image encoder to every view of every shape, as one batch of G V images.

    In training, batch norm therefore sees the statistics of all views of all shapes together.

    Attributes:
      encoder: module from images [B, H, W, C] to embeddings [B, D], called with `train`.
    """

    encoder: nn.Module

    def __call__(self, views: jax.Array, *, train: bool = False) -> jax.Array:
        """Embeddings of views.

        Args:
          views: float [G, V, H, W, C].
          train: passed to the encoder.

        Returns:
          [G, V, D].
        """
        chex.assert_rank(views, 5)
        return split_views(self.encoder(merge_views(views), train=train), views.shape[1])


class ViewAttention(nn.Module):
    """The learned part of attention over views: the query projected by one matrix, W q.

    The weights are a = softmax_v((W q) . r_v) over the views r_v of a shape, and the score of query and shape is
    sum_v a_v (q . r_v), with q as it was before the projection: `jaxret.losses.scores.attention_scores`. No bias, no
    scale by 1 / sqrt(D), no temperature. Entries of W start from U(-1/sqrt(D), 1/sqrt(D)).

    CMIC (paper 002), "one MLP layer" in the text; a single linear map in its public code, which is what this is.
    """

    @nn.compact
    def __call__(self, queries: jax.Array) -> jax.Array:
        """Projected queries.

        Args:
          queries: float [Q, D].

        Returns:
          float32 [Q, D].
        """
        chex.assert_rank(queries, 2)
        chex.assert_type(queries, float)
        return linear(queries.shape[-1], queries.shape[-1], use_bias=False, name='projection')(queries)


def _checked_valid(embeddings: jax.Array, valid: jax.Array | None) -> jax.Array:
    chex.assert_rank(embeddings, 3)
    chex.assert_type(embeddings, float)
    if valid is None:
        return jnp.ones((*embeddings.shape[:2], 1), dtype=bool)
    chex.assert_shape(valid, embeddings.shape[:2])
    chex.assert_type(valid, bool)
    return valid[:, :, None]


def mean_views(embeddings: jax.Array, valid: jax.Array | None = None) -> jax.Array:
    """Mean of the valid views' embeddings.

    Args:
      embeddings: float [G, V, D].
      valid: bool [G, V]; None for all views. What the other views hold, NaN too, does not matter.

    Returns:
      [G, D], not normalised; 0 with gradient 0 for a shape without a valid view.
    """
    valid = _checked_valid(embeddings, valid)
    total = jnp.where(valid, embeddings, 0).sum(axis=1)  # [G, V, D] -> [G, D]
    return total / jnp.maximum(valid.sum(axis=1), 1).astype(embeddings.dtype)


def max_views(embeddings: jax.Array, valid: jax.Array | None = None) -> jax.Array:
    """Largest value of each embedding entry over the valid views (Su et al. 2015, MVCNN, arXiv:1505.00880, section 4).

    Args:
      embeddings: float [G, V, D].
      valid: bool [G, V]; None for all views. What the other views hold, NaN too, does not matter.

    Returns:
      [G, D], not normalised; 0 with gradient 0 for a shape without a valid view. The first
      of views that tie gets the gradient.
    """
    valid = _checked_valid(embeddings, valid)
    pooled = largest(jnp.where(valid, embeddings, jnp.finfo(embeddings.dtype).min), axis=1)  # [G, V, D] -> [G, D]
    return jnp.where(valid.any(axis=1), pooled, 0)
