"""AlexNet for images in NHWC order, with the shapes, paddings and dropout of torchvision's.

Modules are conv1 .. conv5, fc6, fc7 and fc8 (torchvision's features.0, 3, 6, 8, 10 and classifier.1, 4, 6), so its
weights map by renaming and transposing. fc6 reads the map in the order height, width, channel, where torchvision has
channel, height, width: its kernel must be permuted too.

Letters: B batch, H height, W width, C channels, h, w height and width of the conv map, F features.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxret.encoders.convolution2d import convolve2d
from jaxret.encoders.layers import CONV_KERNEL_INIT, drop_units
from jaxret.errors import ConfigError

_FULL_KERNEL_INIT = nn.initializers.variance_scaling(2.0, 'fan_in', 'normal')


class Stem(NamedTuple):
    """The first convolution: side of its kernel, stride, padding on all four sides."""

    kernel: int
    stride: int
    padding: int


_ARCHITECTURES: dict[str, dict[str, Any]] = {
    'alexnet': {},
    'alexnet_small': {'channels': (16, 32, 64, 48, 48), 'hidden': 256, 'stem': Stem(5, 2, 2)},
}
ALEXNET_NAMES = tuple(_ARCHITECTURES)


class AlexNet(nn.Module):
    """Five convolutions with three 3x3 max pools of stride 2, and two fully connected layers, each with ReLU.

    Krizhevsky et al. 2012 in the one-tower form of Krizhevsky 2014 (arXiv:1404.5997), as torchvision has it: dropout
    stands before fc6 and fc7. Differs from torchvision in: no average pool between map and fc6 (it changes nothing at
    224 x 224; elsewhere fc6 is as wide as the map), and kernels start as He et al.'s (torchvision's start shrinks the
    signal layer by layer), biases at 0.

    `maps` and `features` are its two parts, between which the views of a shape can be pooled.

    Attributes:
      channels: of the five convolutions.
      hidden: F, width of fc6 and fc7.
      stem: the first convolution.
      dropout: share of the inputs of fc6 and fc7 that are dropped in training.
      num_classes: classes of the linear layer `fc8`; None for the features before it.
      dtype: of the computation up to the features; parameters are float32.
    """

    channels: Sequence[int] = (64, 192, 384, 256, 256)
    hidden: int = 4096
    stem: Stem = Stem(11, 4, 2)
    dropout: float = 0.5
    num_classes: int | None = None
    dtype: Any = jnp.float32

    def setup(self) -> None:
        def conv(features: int, kernel: int, stride: int, padding: int) -> nn.Conv:
            return nn.Conv(
                features,
                (kernel, kernel),
                strides=(stride, stride),
                padding=padding,
                kernel_init=CONV_KERNEL_INIT,
                dtype=self.dtype,
                conv_general_dilated=convolve2d,
            )

        first, second, third, fourth, fifth = self.channels
        self.conv1 = conv(first, *self.stem)
        self.conv2 = conv(second, 5, 1, 2)
        self.conv3 = conv(third, 3, 1, 1)
        self.conv4 = conv(fourth, 3, 1, 1)
        self.conv5 = conv(fifth, 3, 1, 1)
        self.fc6 = nn.Dense(self.hidden, kernel_init=_FULL_KERNEL_INIT, dtype=self.dtype)
        self.fc7 = nn.Dense(self.hidden, kernel_init=_FULL_KERNEL_INIT, dtype=self.dtype)
        if self.num_classes is not None:
            self.fc8 = nn.Dense(self.num_classes, kernel_init=_FULL_KERNEL_INIT)

    def __call__(
        self, images: jax.Array, *, train: bool = False, keys: jax.Array | None = None
    ) -> tuple[jax.Array, jax.Array]:
        """Conv map and features, or logits, of images.

        Args:
          images: float [B, H, W, C].
          train: as for `features`.
          keys: as for `features`.

        Returns:
          Map [B, h, w, C] and float32 features [B, F] or logits [B, num_classes].

        Raises:
          ConfigError: images too small.
        """
        maps = self.maps(images)
        features = self.features(maps, train=train, keys=keys)
        return maps, features if self.num_classes is None else self.fc8(features)

    def maps(self, images: jax.Array, *, train: bool = False) -> jax.Array:
        """Map of conv5 after its ReLU and max pool.

        Args:
          images: float [B, H, W, C].
          train: changes nothing here; the counterpart of other backbones has batch norm.

        Returns:
          [B, h, w, C] of type `dtype`: 6 x 6 x 256 for torchvision's widths and images of 224 x 224.

        Raises:
          ConfigError: images too small for the three pools.
        """
        del train
        chex.assert_rank(images, 4)
        chex.assert_type(images, float)
        sides = [_map_side(side, self.stem) for side in images.shape[1:3]]
        if min(sides) < 1:
            least = next(side for side in range(1, 100) if _map_side(side, self.stem) == 1)
            raise ConfigError(
                f'images of {images.shape[1]} x {images.shape[2]} are too small for this AlexNet; '
                f'it needs {least} x {least} pixels or more'
            )
        x = _max_pool(nn.relu(self.conv1(images)))
        x = _max_pool(nn.relu(self.conv2(x)))
        x = nn.relu(self.conv3(x))
        x = nn.relu(self.conv4(x))
        return _max_pool(nn.relu(self.conv5(x)))

    def features(self, maps: jax.Array, *, train: bool = False, keys: jax.Array | None = None) -> jax.Array:
        """Output of fc7 after its ReLU.

        Args:
          maps: float [B, h, w, C], of `maps`.
          train: whether units are dropped.
          keys: random keys [B], one an example, for the dropout; needed where train is True and dropout above 0.

        Returns:
          float32 [B, F].

        Raises:
          ValueError: keys are needed and missing.
        """
        chex.assert_rank(maps, 4)
        if train and self.dropout > 0 and keys is None:
            raise ValueError('dropout in training needs a random key for every example')
        x = maps.reshape(maps.shape[0], -1)
        for layer, dense in enumerate((self.fc6, self.fc7)):
            x = drop_units(x, keys if train else None, rate=self.dropout, layer=layer)
            x = nn.relu(dense(x))
        return x.astype(jnp.float32)


def alexnet(name: str, **overrides: Any) -> AlexNet:
    """Makes an AlexNet by name.

    Args:
      name: 'alexnet' (torchvision's) or, for images of about 64 x 64 on CPUs, 'alexnet_small': same layers, narrow, a
        5x5 first convolution of stride 2, so that the map of such images is 3 x 3.
      **overrides: attributes of `AlexNet` to set: num_classes, dropout, dtype, ...

    Returns:
      The module.

    Raises:
      ConfigError: for an unknown name.
    """
    if name not in _ARCHITECTURES:
        raise ConfigError(f'unknown AlexNet {name!r}; use one of: {", ".join(ALEXNET_NAMES)}')
    return AlexNet(**{**_ARCHITECTURES[name], **overrides})


def _max_pool(x: jax.Array) -> jax.Array:
    return nn.max_pool(x, (3, 3), strides=(2, 2))


def _map_side(side: int, stem: Stem) -> int:
    """Side of the map of images of a side; below 1 where there is none."""
    side = (side + 2 * stem.padding - stem.kernel) // stem.stride + 1
    for _ in range(3):
        side = (side - 3) // 2 + 1
    return side
