"""Image networks in two parts, from images to a conv map and from the map to features, by name.

Both parts are methods, `maps(images, train=)` and `features(maps, train=, keys=)`; calling the module does one after
the other and returns both. Between them the views of a shape can be pooled, as MVCNN does.

Letters: B batch, H height, W width, C channels, h, w height and width of the map, F features.
"""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxret.encoders.alexnet import ALEXNET_NAMES, alexnet
from jaxret.encoders.resnet import ResNet, resnet
from jaxret.errors import ConfigError

BACKBONES = (*ALEXNET_NAMES, 'resnet18', 'resnet50', 'resnet_small', 'resnet_coarse')


class ResNetMaps(nn.Module):
    """A residual network whose map before the mean is kept; its parameters are named as without this module.

    Attributes:
      network: with `pooled=False`.
    """

    network: ResNet

    def setup(self) -> None:
        nn.share_scope(self, self.network)

    def __call__(self, images: jax.Array, *, train: bool = False) -> tuple[jax.Array, jax.Array]:
        """Images [B, H, W, C] to the map [B, h, w, F] and float32 features [B, F]."""
        maps = self.maps(images, train=train)
        return maps, self.features(maps)

    def maps(self, images: jax.Array, *, train: bool = False) -> jax.Array:
        """[B, H, W, C] -> [B, h, w, F]; `train` as for batch norm."""
        return self.network(images, train=train)

    def features(self, maps: jax.Array, *, train: bool = False, keys: jax.Array | None = None) -> jax.Array:
        """Mean over the map, float32 [B, F]; `train` and `keys` change nothing, there is no dropout."""
        del train, keys
        return maps.astype(jnp.float32).mean(axis=(1, 2))


def image_backbone(name: str, *, dropout: float, dtype: Any = jnp.float32, axis_name: str | None = None) -> nn.Module:
    """Makes a backbone by name.

    Args:
      name: 'alexnet', 'alexnet_small', 'resnet18', 'resnet50', 'resnet_small' or 'resnet_coarse'.
      dropout: before AlexNet's fc6 and fc7. Residual networks have none.
      dtype: of the computation up to the features; parameters and statistics are float32.
      axis_name: mapped axis over which residual networks average batch statistics. AlexNet has none.

    Returns:
      The module.

    Raises:
      ConfigError: for an unknown name.
    """
    if name not in BACKBONES:
        raise ConfigError(f'unknown backbone {name!r}; use one of: {", ".join(BACKBONES)}')
    if name in ALEXNET_NAMES:
        return alexnet(name, dropout=dropout, dtype=dtype)
    return ResNetMaps(resnet(name, dtype=dtype, axis_name=axis_name, pooled=False))
