"""HIFA's one image network for photos and views, and what it takes of them."""

from collections.abc import Mapping

import jax
import jax.numpy as jnp
from flax import linen as nn
from ml_collections import ConfigDict

from jaxret.encoders.image_backbones import IMAGENET, Triple, image_backbone, normalization
from jaxret.systems.base import Backbone
from jaxret.systems.hifa_losses import DOMAINS
from jaxret.systems.image_towers import ImageTower, check_frozen_start

BACKBONES: Mapping[str, Backbone] = {'backbone': Backbone('model.backbone', ('backbone',))}
INPUTS = dict(zip(DOMAINS, ('photo', 'views'), strict=True))  # names in batches


def make_backbone(config: ConfigDict, axis_name: str | None) -> tuple[dict[str, ImageTower], nn.Module]:
    """What is before the trained part of the network, by name in batches, and that part.

    Args:
      config: with the group `model`, checked.
      axis_name: device axis over which batch norm is synchronised.

    Raises:
      ConfigError: a network that cannot be cut so.
    """
    model = config.model
    cut = image_backbone(
        model.backbone,
        dropout=model.dropout,
        dtype=jnp.dtype(model.dtype),
        axis_name=axis_name,
        train=model.train,
        last_blocks=model.last_blocks,
    )
    if cut.frozen is not None:
        check_frozen_start(config, tuple(BACKBONES))
    return make_towers(cut.frozen, normalization(model.backbone)), cut.trained


def make_towers(frozen: nn.Module | None = None, constants: tuple[Triple, Triple] = IMAGENET) -> dict[str, ImageTower]:
    """The towers of photos and views, which share a network and its normalisation."""
    return {name: ImageTower(name, BACKBONES['backbone'].scope, frozen, constants) for name in INPUTS.values()}


def pictures(images: jax.Array, tower: ImageTower) -> jax.Array:
    """uint8 [..., 3 or 1] to float32 [..., 3], normalised; grey is repeated."""
    return tower.normalized(jnp.broadcast_to(images, (*images.shape[:-1], 3)))
