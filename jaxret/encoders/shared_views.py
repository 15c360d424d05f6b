"""One image network for photos and for the views of shapes, with maximum over views.

Letters: B photos, G shapes, V views, H height, W width, h, w height and width of the conv map, C channels, D embedding,
R rows of view maps: G V where embeddings are pooled, G where conv maps are.
"""

from typing import NamedTuple

import chex
import flax.linen as nn
import jax

from jaxret.encoders.batch_norm import join_batches, part_batches
from jaxret.encoders.heads import LinearHead
from jaxret.encoders.view_pooling import max_views, merge_views, split_views
from jaxret.losses.scores import largest

VIEW_POOLINGS = ('embedding', 'conv')


class SharedEncoding(NamedTuple):
    """What `SharedViews` makes of a batch.

    Attributes:
      photo_maps: [B, h, w, C].
      photos: float32 embeddings [B, D].
      view_maps: [R, h, w, C], the rows of a shape one after the other.
      views: float32 embeddings [R, D] of `view_maps`.
      shapes: float32 embeddings [G, D].
    """

    photo_maps: jax.Array
    photos: jax.Array
    view_maps: jax.Array
    views: jax.Array
    shapes: jax.Array


class SharedViews(nn.Module):
    """Backbone and linear embedding, the same for photos and views.

    Attributes:
      backbone: of `jaxret.encoders.image_backbones`.
      embedding: from its features to D.
      view_pooling: 'embedding': a shape is the largest value over views of each entry of their embeddings (HIFA, paper
        004, section 3.2). 'conv': of each entry of their conv maps, before the fully connected layers (MVCNN, Su et al.
        2015, arXiv:1505.00880).
    """

    backbone: nn.Module
    embedding: LinearHead
    view_pooling: str = 'embedding'

    def __call__(
        self,
        photos: jax.Array,
        views: jax.Array,
        *,
        train: bool = False,
        photo_keys: jax.Array | None = None,
        shape_keys: jax.Array | None = None,
    ) -> SharedEncoding:
        """Maps and embeddings of both; the convolutions, and batch norm, see them as one batch.

        Args:
          photos: float [B, H, W, C], or what a frozen part of the backbone made of them, tokens [B, T, D].
          views: likewise, float [G, V, ...].
          train: for batch norm and dropout.
          photo_keys: random keys [B] for the dropout.
          shape_keys: random keys [G] for the dropout; every view has one of its own from them.
        """
        chex.assert_rank(photos, {3, 4})
        chex.assert_rank(views, photos.ndim + 1)
        merged = merge_views(views)
        maps = self.backbone.maps(join_batches(photos, merged), train=train)
        photo_maps, view_maps = part_batches(maps, (len(photos), len(merged)))
        embedded = self._embedded(photo_maps, train, photo_keys)
        return SharedEncoding(photo_maps, embedded, *self._pooled(view_maps, views.shape[1], train, shape_keys))

    def photo(self, photos: jax.Array, *, train: bool = False, keys: jax.Array | None = None) -> jax.Array:
        """Embeddings [B, D] of photos [B, H, W, C] alone; options as for the call."""
        return self._embedded(self.backbone.maps(photos, train=train), train, keys)

    def shape(self, views: jax.Array) -> jax.Array:
        """Embeddings [G, D] of shapes [G, V, H, W, C] in evaluation mode."""
        return self._pooled(self.backbone.maps(merge_views(views)), views.shape[1], False, None)[2]

    def _embedded(self, maps: jax.Array, train: bool, keys: jax.Array | None) -> jax.Array:
        return self.embedding(self.backbone.features(maps, train=train, keys=keys))

    def _pooled(
        self, maps: jax.Array, count: int, train: bool, keys: jax.Array | None
    ) -> tuple[jax.Array, jax.Array, jax.Array]:
        """Maps of views [G V, h, w, C] to maps and embeddings of the R rows, and embeddings of the shapes."""
        if self.view_pooling == 'conv':
            maps = largest(split_views(maps, count), axis=1)
            shapes = self._embedded(maps, train, keys)
            return maps, shapes, shapes
        if keys is not None:
            keys = merge_views(jax.vmap(lambda key: jax.random.split(key, count))(keys))
        views = self._embedded(maps, train, keys)
        return maps, views, max_views(split_views(views, count))
