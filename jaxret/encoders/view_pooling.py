"""Shapes seen as several views: encoding the views, and ways to weigh or pool their embeddings.

Letters: Q queries, G gallery shapes, V views, H height, W width, C channels, D embedding.
"""

import chex
import flax.linen as nn
import jax

from jaxret.encoders.layers import linear
from jaxret.losses.scores import l2_normalize, largest


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
          views: float [G, V, H, W, C]; [G, V, F] or tokens [G, V, T, D] where the encoder takes those.
          train: passed to the encoder.

        Returns:
          [G, V, D].
        """
        chex.assert_rank(views, {3, 4, 5})
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


def mean_views(embeddings: jax.Array) -> jax.Array:
    """Mean of the views' embeddings, not normalised: [G, V, D] -> [G, D]."""
    chex.assert_rank(embeddings, 3)
    chex.assert_type(embeddings, float)
    return embeddings.sum(axis=1) / embeddings.shape[1]


def max_views(embeddings: jax.Array) -> jax.Array:
    """Largest value of each embedding entry over the views, not normalised: [G, V, D] -> [G, D].

    The first of views that tie gets the gradient.

    Source: Su et al. 2015 (MVCNN, arXiv:1505.00880), section 4.
    """
    chex.assert_rank(embeddings, 3)
    chex.assert_type(embeddings, float)
    return largest(embeddings, axis=1)


def pool_views(gallery: jax.Array, pooling: str) -> jax.Array:
    """Shapes [G, V, D] without a query, [G, D]: 'mean', 'unit_mean' or 'max' of their views."""
    if pooling == 'max':
        return max_views(gallery)
    return l2_normalize(mean_views(gallery)) if pooling == 'unit_mean' else mean_views(gallery)
