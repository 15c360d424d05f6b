"""CMIC's image encoders, and what they take of a batch.

Letters: B photos, G shapes, V views, S image side.
"""

from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp
from ml_collections import ConfigDict

from jaxret.encoders.heads import EmbeddingHead, ImageEncoder
from jaxret.encoders.image_backbones import NETWORKS, image_network
from jaxret.encoders.segments import TRAIN, cut_network, parse_taps
from jaxret.errors import ConfigError
from jaxret.systems.base import Backbone, Batch, Variables
from jaxret.systems.image_towers import NORMALIZATIONS, ImageTower, check_frozen_start, make_normalization, unit

MASKS = ('channel', 'multiply', 'both', 'black', 'white', 'none')
CHOICES = {
    'model.query_encoder': NETWORKS,
    'model.view_encoder': NETWORKS,
    'model.train': TRAIN,
    'model.normalization': NORMALIZATIONS,
    'model.mask': MASKS,
    'model.dtype': ('float32', 'bfloat16'),
}
BACKBONES: Mapping[str, Backbone] = {
    'query': Backbone('model.query_encoder', ('query', 'backbone')),
    'gallery': Backbone('model.view_encoder', ('view', 'encoder', 'backbone')),
}
PHOTOS, VIEWS = ImageTower('photo', BACKBONES['query'].scope), ImageTower('views', BACKBONES['gallery'].scope)


def make_encoder(
    config: ConfigDict, tower: ImageTower, key: str, *, axis_name: str | None
) -> tuple[ImageTower, ImageEncoder]:
    """A tower with the frozen part of its network, and the encoder that is trained.

    Args:
      config: with the group `model`, checked.
      tower: `PHOTOS` or `VIEWS`.
      key: of the network in `model`.
      axis_name: device axis over which batch norm is synchronised.

    Raises:
      ConfigError: a network that cannot be cut so, or a mask that the frozen part cannot take.
    """
    model = config.model
    network = image_network(
        model[key], axis_name=axis_name, dtype=jnp.dtype(model.dtype), taps=parse_taps(model.taps), pooled=True
    )
    cut = cut_network(network, train=model.train, last_blocks=model.last_blocks, key=f'model.{key}')
    if cut.frozen is not None:
        check_frozen_start(config, tuple(BACKBONES))
        if model.mask in ('channel', 'both'):
            raise ConfigError(
                f'config.model.mask: {model.mask!r} is a fourth channel, which the frozen weights of '
                f"config.model.{key} do not have; use 'white', 'black', 'multiply' or 'none', or "
                "config.model.train='all'"
            )
    tower = ImageTower(tower.name, tower.scope, cut.frozen, make_normalization(config, model[key]))
    return tower, ImageEncoder(cut.trained, EmbeddingHead(model.embedding_dim, axis_name=axis_name))


def encoder_source(
    tower: ImageTower, how: str, variables: Variables, batch: Batch
) -> tuple[tuple[jax.Array, ...], Callable[..., jax.Array]]:
    """Arrays of a batch, and the function that makes the encoder's input of them, or of a chunk of them.

    Args:
      tower: of photos or of views.
      how: masks are used, one of `MASKS`.
      variables: with the frozen part's.
      batch: pictures, or the features that take their place.
    """
    if tower.features_name in batch:
        return (batch[tower.features_name],), lambda features: features
    names = ('image', 'mask') if tower.name == PHOTOS.name else ('views',)
    return tuple(batch[name] for name in names), lambda *arrays: tower.apply(variables, pixels(tower, how, *arrays))


def pixels(tower: ImageTower, how: str, images: jax.Array, mask: jax.Array | None = None) -> jax.Array:
    """Normalised images; photos with the mask in [0, 1] as fourth channel, multiplied in, or left out (001, Table 2).

    'black' multiplies the photo with its mask, as the paper has it; 'multiply' and 'both' the normalised photo, whose
    background then is 0: the grey or mean colour of the normalisation. 'white' is white outside, as the views are.

    Args:
      tower: of the images.
      how: masks are used, one of `MASKS`.
      images: [..., S, S, 3 or 1], uint8 or float in [0, 1].
      mask: uint8 [B, S, S, 1] of photos; None of views.
    """
    if mask is None:
        return tower.normalized(images)
    images, mask = (unit(values) for values in (images, mask))
    if how in ('white', 'black'):
        images = images * mask + (1 - mask if how == 'white' else 0)
    photos = tower.normalized(images)
    if how in ('multiply', 'both'):
        photos = photos * mask
    return jnp.concatenate([photos, mask], axis=-1) if how in ('channel', 'both') else photos
