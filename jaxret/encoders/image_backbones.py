"""Image networks by name, whole or cut in a frozen and a trained part, and in the two parts of pooling over views.

Letters: B batch, H height, W width, C channels, h, w height and width of the map, F features.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxret.encoders import efficientnet_lite
from jaxret.encoders.alexnet import ALEXNET_NAMES, alexnet
from jaxret.encoders.efficientnet_lite import EFFICIENTNET_LITE_NAMES
from jaxret.encoders.resnet import RESNET_NAMES, resnet
from jaxret.encoders.segments import CutNetwork, cut_network, spatial_mean
from jaxret.encoders.vit import VIT_NAMES, statistics, vision_transformer
from jaxret.errors import ConfigError

Triple = tuple[float, float, float]
IMAGENET = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class _Family(NamedTuple):
    """Networks of one kind.

    Attributes:
      make: (name, **attributes) -> module.
      normalization: mean and spread of red, green and blue in [0, 1] with which published weights were trained.
    """

    make: Callable[..., nn.Module]
    normalization: tuple[Triple, Triple]


def _transformer(name: str, *, axis_name: str | None = None, **attributes: Any) -> nn.Module:
    """Vision transformers have no batch norm."""
    del axis_name
    return vision_transformer(name, **attributes)


_FAMILIES = {
    RESNET_NAMES: _Family(resnet, IMAGENET),
    EFFICIENTNET_LITE_NAMES: _Family(
        efficientnet_lite.efficientnet_lite, (efficientnet_lite.MEAN, efficientnet_lite.STD)
    ),
    **{(name,): _Family(_transformer, statistics(name)) for name in VIT_NAMES},
}
NETWORKS = tuple(name for names in _FAMILIES for name in names)
BACKBONES = (*ALEXNET_NAMES, *NETWORKS)


def image_network(name: str, **attributes: Any) -> nn.Module:
    """A network from images [B, H, W, C] to float32 features [B, F], with the attributes of `jaxret.encoders.segments`.

    Args:
      name: one of `NETWORKS`.
      **attributes: of the module: dtype, axis_name, taps, ...

    Raises:
      ConfigError: for an unknown name.
    """
    for names, family in _FAMILIES.items():
        if name in names:
            return family.make(name, **attributes)
    raise ConfigError(f'unknown image network {name!r}; use one of: {", ".join(NETWORKS)}')


def normalization(name: str) -> tuple[Triple, Triple]:
    """Mean and spread of red, green and blue in [0, 1] with which a network's published weights were trained."""
    return next((family.normalization for names, family in _FAMILIES.items() if name in names), IMAGENET)


class ConvMaps(nn.Module):
    """A network in two parts, from images to a map and from the map to its mean; between them views can be pooled.

    Its parameters are named as without this module.

    Attributes:
      network: with `pooled=False`; None where images are maps already.
    """

    network: nn.Module | None

    def setup(self) -> None:
        if self.network is not None:
            nn.share_scope(self, self.network)

    def __call__(self, images: jax.Array, *, train: bool = False) -> tuple[jax.Array, jax.Array]:
        """Images [B, H, W, C] to the map [B, h, w, F] and float32 features [B, F]."""
        maps = self.maps(images, train=train)
        return maps, self.features(maps)

    def maps(self, images: jax.Array, *, train: bool = False) -> jax.Array:
        """[B, H, W, C] -> [B, h, w, F]; `train` as for batch norm."""
        return images if self.network is None else self.network(images, train=train)

    def features(self, maps: jax.Array, *, train: bool = False, keys: jax.Array | None = None) -> jax.Array:
        """Mean over the map, float32 [B, F]; `train` and `keys` change nothing, there is no dropout."""
        del train, keys
        return spatial_mean(maps)


def image_backbone(
    name: str,
    *,
    dropout: float,
    dtype: Any = jnp.float32,
    axis_name: str | None = None,
    train: str = 'all',
    last_blocks: int = 1,
) -> CutNetwork:
    """A network whose trained part has the methods `maps(images, train=)` and `features(maps, train=, keys=)`.

    Calling that part does one after the other and returns both. The frozen part gives what `maps` takes.

    Args:
      name: one of `BACKBONES`.
      dropout: before AlexNet's fc6 and fc7. The others have none.
      dtype: of the computation up to the features; parameters and statistics are float32.
      axis_name: mapped axis over which batch statistics are averaged. AlexNet has none.
      train, last_blocks: as for `cut_network`.

    Raises:
      ConfigError: for an unknown name, and as `cut_network`.
    """
    if name not in BACKBONES:
        raise ConfigError(f'unknown backbone {name!r}; use one of: {", ".join(BACKBONES)}')
    if name in ALEXNET_NAMES:
        network = alexnet(name, dropout=dropout, dtype=dtype)
    else:
        network = image_network(name, dtype=dtype, axis_name=axis_name, pooled=False)
    cut = cut_network(network, train=train, last_blocks=last_blocks, key='model.backbone')
    return cut if name in ALEXNET_NAMES else CutNetwork(cut.frozen, ConvMaps(cut.trained))
