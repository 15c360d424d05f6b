"""From pixels to what the trained part of an image network takes: normalised, and through the frozen part.

The weights of frozen parts are in the collection 'frozen', {'params': ..., 'batch_stats': ...} with the modules' names
of the whole network; no gradient reaches them. What they make of an image is always the same, so a batch may hold it in
place of the image: `ImageTower.features_name`.

Letters: B batch, V views, H height, W width, C channels.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from ml_collections import ConfigDict

from jaxret.encoders.image_backbones import Triple, normalization
from jaxret.errors import ConfigError
from jaxret.systems.base import Batch, Variables

NORMALIZATIONS = ('published', 'symmetric')
FROZEN = 'frozen'  # collection
# Keys of configs that runs of earlier versions did not store (`System.LATER`).
LATER: Mapping[str, Any] = {
    'model.train': 'all',
    'model.last_blocks': 4,
    'model.taps': '',
    'model.normalization': 'symmetric',
    'frozen.photo_copies': 0,
    'frozen.view_copies': 0,
    'optimizer.pretrained_factor': 1.0,
}
_SYMMETRIC = ((0.5,) * 3, (0.5,) * 3)


@dataclass(frozen=True)
class ImageTower:
    """See the module's docstring.

    Attributes:
      name: of the images in batches; what the frozen part makes of them is `features_name`.
      scope: modules that lead to the network in the variables.
      frozen: the frozen part; None where all is trained.
      normalization: mean and spread of red, green and blue in [0, 1].
    """

    name: str
    scope: tuple[str, ...]
    frozen: nn.Module | None = None
    normalization: tuple[Triple, Triple] = _SYMMETRIC

    @property
    def features_name(self) -> str:
        """Of what the frozen part makes of the images, in batches."""
        return f'{self.name}_features'

    def normalized(self, images: jax.Array) -> jax.Array:
        """Images [..., C], uint8 or float in [0, 1], to float32 with mean 0 and spread 1 (of the published data).

        Grey (C = 1) becomes three equal channels where a part is frozen; else the constants' means normalise it.
        """
        images = unit(images)
        if images.shape[-1] == 1 and self.frozen is not None:
            images = jnp.broadcast_to(images, (*images.shape[:-1], 3))
        constants = (jnp.array(values) for values in self.normalization)
        if images.shape[-1] == 1:
            constants = (values.mean(keepdims=True) for values in constants)
        mean, spread = (jnp.broadcast_to(values, images.shape) for values in constants)
        return (images - mean) / spread

    def init(self, key: jax.Array, images: jax.Array) -> tuple[dict[str, Any], jax.Array]:
        """Variables of the frozen part, by collection and scope ({} without one), and its output for normalised images.

        Args:
          key: random key.
          images: float [B, H, W, C] or [B, V, H, W, C].
        """
        if self.frozen is None:
            return {}, images
        out, variables = self.frozen.init_with_output(key, images.reshape(-1, *images.shape[-3:]))
        return {name: _nested(tree, self.scope) for name, tree in variables.items()}, _split(out, images)

    def apply(self, variables: Variables, images: jax.Array) -> jax.Array:
        """Output of the frozen part for normalised images [B, H, W, C] or [B, V, H, W, C]; them, without one."""
        if self.frozen is None:
            return images
        own = {name: _at(tree, self.scope) for name, tree in variables[FROZEN].items()}
        out = self.frozen.apply(own, images.reshape(-1, *images.shape[-3:]))
        return jax.lax.stop_gradient(_split(out, images))

    def of_batch(self, variables: Variables, batch: Batch, pixels: Callable[[jax.Array], jax.Array]) -> jax.Array:
        """What the trained part takes of a batch: its features, or what the frozen part makes of its images.

        Args:
          variables: with the frozen part's.
          batch: holds one of them.
          pixels: from images to normalised ones.
        """
        features = batch.get(self.features_name)
        return self.apply(variables, pixels(batch[self.name])) if features is None else features


def unit(images: jax.Array) -> jax.Array:
    """Images, uint8 or float in [0, 1], as the latter, float32."""
    return images.astype(jnp.float32) / 255 if jnp.issubdtype(images.dtype, jnp.integer) else images


def frozen_collection(*parts: Mapping[str, Any]) -> dict[str, Any]:
    """{'frozen': variables} of several towers' parts (of `ImageTower.init`); {} where nothing is frozen."""
    collections = {name for part in parts for name in part}
    merged = {name: {k: v for part in parts for k, v in part.get(name, {}).items()} for name in sorted(collections)}
    return {FROZEN: merged} if merged else {}


def make_normalization(config: ConfigDict, network: str) -> tuple[Triple, Triple]:
    """The normalisation that `model.normalization` names, for a network."""
    return _SYMMETRIC if config.model.normalization == 'symmetric' else normalization(network)


def check_frozen_start(config: ConfigDict, networks: Sequence[str]) -> None:
    """Refuses to freeze random weights.

    Args:
      config: with `model.train` and the group `pretrained`.
      networks: keys of `pretrained`.

    Raises:
      ConfigError: a part is frozen, and nothing is given that it starts from.
    """
    for key in networks:
        if config.model.train != 'all' and not config.pretrained[key]:
            raise ConfigError(
                f'config.model.train: {config.model.train!r} freezes weights, but config.pretrained.{key} is empty and '
                f'they would stay random; set --config.pretrained.{key}=imagenet or a file, or --config.model.train=all'
            )


def _split(out: jax.Array, images: jax.Array) -> jax.Array:
    return out.reshape(*images.shape[:-3], *out.shape[1:])


def _nested(tree: Any, scope: Sequence[str]) -> Any:
    for name in reversed(scope):
        tree = {name: tree}
    return tree


def _at(tree: Any, scope: Sequence[str]) -> Any:
    for name in scope:
        tree = tree[name]
    return tree
