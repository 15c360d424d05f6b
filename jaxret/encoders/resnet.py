"""Residual networks for images in NHWC order, with the shapes and paddings of torchvision's.

Every convolution and pool of an odd kernel k pads (k - 1) / 2 on all sides, as torchvision does; 'SAME' would pad a
strided one more at the end than at the start and shift its output against pretrained weights. Modules are named after
torchvision's (`layer1.0.conv1` is `layer1_0/conv1`, `downsample.0` and `.1` are `downsample_conv` and `downsample_bn`),
so its weights map by renaming and transposing.

Letters: B batch, H height, W width, C channels, F features.
"""

from collections.abc import Sequence
from typing import Any, ClassVar, NamedTuple

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxret.encoders.layers import batch_norm, convolution, linear
from jaxret.encoders.segments import segments_to_run, spatial_mean
from jaxret.errors import ConfigError


def _shortcut(x: jax.Array, features: int, stride: int, *, train: bool, dtype: Any, axis_name: str | None) -> jax.Array:
    """x itself where shapes allow, else by a strided 1x1 convolution with batch norm (option B of the paper)."""
    if stride == 1 and x.shape[-1] == features:
        return x
    x = convolution(features, 1, stride=stride, dtype=dtype, name='downsample_conv')(x)
    return batch_norm('downsample_bn', train=train, dtype=dtype, axis_name=axis_name)(x)


class BasicBlock(nn.Module):
    """Two 3x3 convolutions and a shortcut: relu(bn2(conv2(relu(bn1(conv1(x))))) + shortcut(x)).

    He et al. 2016 (arXiv:1512.03385), figure 5 left. The shortcut is the identity where shapes allow, else a strided
    1x1 convolution with batch norm (option B of the paper).

    Attributes:
      features: F, channels of the convolutions.
      stride: of conv1 and of the shortcut.
      dtype, axis_name: as in `ResNet`.
    """

    features: int
    stride: int = 1
    dtype: Any = jnp.float32
    axis_name: str | None = None

    expansion: ClassVar[int] = 1

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool = False) -> jax.Array:
        """[B, H, W, C] -> [B, h, w, F] with h = ceil(H / stride), w = ceil(W / stride)."""
        norm = {'train': train, 'dtype': self.dtype, 'axis_name': self.axis_name}
        y = convolution(self.features, 3, stride=self.stride, dtype=self.dtype, name='conv1')(x)
        y = nn.relu(batch_norm('bn1', **norm)(y))
        y = convolution(self.features, 3, dtype=self.dtype, name='conv2')(y)
        y = batch_norm('bn2', **norm)(y)
        return nn.relu(_shortcut(x, y.shape[-1], self.stride, **norm) + y)


class BottleneckBlock(nn.Module):
    """1x1, 3x3 and 1x1 convolutions, the last to 4 F channels, and a shortcut as in `BasicBlock`.

    He et al. 2016 (arXiv:1512.03385), figure 5 right, but the stride is on the 3x3 convolution ("version 1.5"), as in
    torchvision; the paper has it on the first 1x1.

    Attributes:
      features: F, channels of the first two convolutions.
      stride: of conv2 and of the shortcut.
      dtype, axis_name: as in `ResNet`.
    """

    features: int
    stride: int = 1
    dtype: Any = jnp.float32
    axis_name: str | None = None

    expansion: ClassVar[int] = 4

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool = False) -> jax.Array:
        """[B, H, W, C] -> [B, h, w, 4 F] with h = ceil(H / stride), w = ceil(W / stride)."""
        norm = {'train': train, 'dtype': self.dtype, 'axis_name': self.axis_name}
        y = convolution(self.features, 1, dtype=self.dtype, name='conv1')(x)
        y = nn.relu(batch_norm('bn1', **norm)(y))
        y = convolution(self.features, 3, stride=self.stride, dtype=self.dtype, name='conv2')(y)
        y = nn.relu(batch_norm('bn2', **norm)(y))
        y = convolution(self.features * self.expansion, 1, dtype=self.dtype, name='conv3')(y)
        y = batch_norm('bn3', **norm)(y)
        return nn.relu(_shortcut(x, y.shape[-1], self.stride, **norm) + y)


class _Stem(NamedTuple):
    kernel: int
    stride: int
    max_pool: bool


_BLOCKS = {'basic': BasicBlock, 'bottleneck': BottleneckBlock}
_STEMS = {
    'imagenet': _Stem(kernel=7, stride=2, max_pool=True),
    'small': _Stem(kernel=5, stride=2, max_pool=False),
    'coarse': _Stem(kernel=7, stride=4, max_pool=False),
}
_ARCHITECTURES: dict[str, dict[str, Any]] = {
    'resnet18': {'stage_sizes': (2, 2, 2, 2), 'block': 'basic'},
    'resnet34': {'stage_sizes': (3, 4, 6, 3), 'block': 'basic'},
    'resnet50': {'stage_sizes': (3, 4, 6, 3), 'block': 'bottleneck'},
    'resnet_small': {'stage_sizes': (1, 1, 1, 1), 'block': 'basic', 'width': 16, 'stem': 'small'},
    'resnet_coarse': {'stage_sizes': (1, 1, 1, 1), 'block': 'basic', 'width': 16, 'stem': 'coarse'},
}
RESNET_NAMES = tuple(_ARCHITECTURES)


def _lookup(table: dict[str, Any], key: str, what: str) -> Any:
    if key not in table:
        raise ConfigError(f'unknown {what} {key!r}; use one of: {", ".join(table)}')
    return table[key]


class ResNet(nn.Module):
    """Residual network: stem, stages of blocks that halve the image and double the channels, mean over the image.

    He et al. 2016 (arXiv:1512.03385), table 1, with torchvision's paddings. The number of input channels is that of
    the first input.

    Attributes:
      stage_sizes: blocks in each stage.
      block: 'basic' or 'bottleneck'.
      width: channels of the stem and of the blocks of the first stage.
      stem: 'imagenet' (7x7 convolution, stride 2, then 3x3 max pool, stride 2); for images of about 64 x 64 'small'
        (5x5 convolution, stride 2) or, with less work, 'coarse' (7x7 convolution, stride 4).
      num_classes: classes of the linear layer `fc`; None for the features before it.
      dtype: of the computation up to the features; parameters and batch statistics are float32 always.
      axis_name: mapped axis (of `pmap` or `vmap`) over which batch statistics are averaged in training; not needed
        under `jit` with a batch that is sharded over a mesh.
      first, last, taps, pooled: see `jaxret.encoders.segments`; segments are the stem, each block, and the mean.
    """

    stage_sizes: Sequence[int]
    block: str
    width: int = 64
    stem: str = 'imagenet'
    num_classes: int | None = None
    dtype: Any = jnp.float32
    axis_name: str | None = None
    first: int = 0
    last: int | None = None
    taps: tuple[int, ...] = ()
    pooled: bool = True

    @property
    def depth(self) -> int:
        """Number of segments."""
        return sum(self.stage_sizes) + 2

    @nn.compact
    def __call__(self, images: jax.Array, *, train: bool = False) -> jax.Array:
        """Features or logits of images.

        Args:
          images: float [B, H, W, C], or the map that the segment before `first` gives.
          train: whether batch norm uses, and updates, the statistics of this batch.

        Returns:
          float32 features [B, F], F = width * 2^(stages - 1) (times 4 for bottlenecks), or logits [B, num_classes].

        Raises:
          ConfigError: for an unknown `block` or `stem`.
        """
        chex.assert_rank(images, 4)
        chex.assert_type(images, float)
        segments, taps = segments_to_run(self)
        x, means = images, {}
        for segment in segments:
            x = self._segment(segment, x, train)
            if segment in taps:
                means[segment] = spatial_mean(x)
        if not taps:
            return x
        x = jnp.concatenate([means[tap] for tap in taps], axis=-1)
        return x if self.num_classes is None else linear(self.num_classes, x.shape[-1], name='fc')(x)

    def _segment(self, segment: int, x: jax.Array, train: bool) -> jax.Array:
        if segment == 0:
            return self._stem(x, train)
        if segment == self.depth - 1:
            return x
        stage, index = self._blocks()[segment - 1]
        block = _lookup(_BLOCKS, self.block, 'ResNet block')
        return block(
            self.width * 2**stage,
            stride=2 if stage > 0 and index == 0 else 1,
            dtype=self.dtype,
            axis_name=self.axis_name,
            name=f'layer{stage + 1}_{index}',
        )(x, train=train)

    def _blocks(self) -> list[tuple[int, int]]:
        """Stage and number within it of every block."""
        return [(stage, index) for stage, size in enumerate(self.stage_sizes) for index in range(size)]

    def _stem(self, images: jax.Array, train: bool) -> jax.Array:
        stem = _lookup(_STEMS, self.stem, 'ResNet stem')
        x = convolution(self.width, stem.kernel, stride=stem.stride, dtype=self.dtype, name='conv1')(images)
        x = nn.relu(batch_norm('bn1', train=train, dtype=self.dtype, axis_name=self.axis_name)(x))
        return nn.max_pool(x, (3, 3), strides=(2, 2), padding=((1, 1), (1, 1))) if stem.max_pool else x


def resnet(name: str, **overrides: Any) -> ResNet:
    """Makes a residual network by name.

    Args:
      name: 'resnet18', 'resnet34', 'resnet50' (the published ones), or, for 64 x 64 images on CPUs, with one basic
        block a stage and width 16, 'resnet_small' ('small' stem) or 'resnet_coarse' ('coarse' stem; for the many plain
        views of a shape).
      **overrides: attributes of `ResNet` to set: num_classes, width, stem, dtype, axis_name, ...

    Returns:
      The module.

    Raises:
      ConfigError: for an unknown name.
    """
    return ResNet(**{**_lookup(_ARCHITECTURES, name, 'residual network'), **overrides})
