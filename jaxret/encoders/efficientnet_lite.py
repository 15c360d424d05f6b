"""EfficientNet-Lite 0 to 2 for images in NHWC order, equal to the published networks on their weights.

EfficientNet (Tan & Le 2019, arXiv:1905.11946, table 1) without squeeze-excitation, with ReLU6 for swish, and with the
stem, the head and the number of blocks of the first and last stage not scaled (the official "lite" models of
tensorflow/tpu). Paddings are TensorFlow's 'SAME': of an odd number of zeros one more at the end. Modules are named
after the PyTorch port's (`_blocks.3._bn1` is `blocks_3/bn1`).

The published weights read images as (x - 127) / 128 with x in 0..255, so `MEAN` and `STD`.

Letters: B batch, H height, W width, C channels, h, w height and width of a map, F features.
"""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxret.encoders.convolution2d import convolve2d
from jaxret.encoders.depthwise import depthwise_convolve2d
from jaxret.encoders.layers import CONV_KERNEL_INIT, batch_norm, linear
from jaxret.encoders.segments import segments_to_run, spatial_mean
from jaxret.errors import ConfigError

MEAN = (127 / 255,) * 3
STD = (128 / 255,) * 3
_EPSILON = 1e-3  # of batch norm
_STEM, _HEAD = 32, 1280  # channels
_DIVISOR = 8  # of scaled channels


class _Stage(NamedTuple):
    repeats: int
    kernel: int
    stride: int
    expansion: int
    channels: int


_STAGES = (
    _Stage(1, 3, 1, 1, 16),
    _Stage(2, 3, 2, 6, 24),
    _Stage(2, 5, 2, 6, 40),
    _Stage(3, 3, 2, 6, 80),
    _Stage(3, 5, 1, 6, 112),
    _Stage(4, 5, 2, 6, 192),
    _Stage(1, 3, 1, 6, 320),
)
_FACTORS = {'efficientnet_lite0': (1.0, 1.0), 'efficientnet_lite1': (1.0, 1.1), 'efficientnet_lite2': (1.1, 1.2)}
EFFICIENTNET_LITE_NAMES = tuple(_FACTORS)


def _convolve(
    x: jax.Array, features: int, kernel: int, *, stride: int = 1, depthwise: bool = False, dtype: Any, name: str
) -> jax.Array:
    """Convolution without bias and with padding 'SAME'; to be called in a compact method."""
    totals = (max((math.ceil(side / stride) - 1) * stride + kernel - side, 0) for side in x.shape[1:3])
    return nn.Conv(
        features,
        (kernel, kernel),
        strides=(stride, stride),
        padding=[(total // 2, total - total // 2) for total in totals],
        feature_group_count=features if depthwise else 1,
        use_bias=False,
        kernel_init=CONV_KERNEL_INIT,
        dtype=dtype,
        conv_general_dilated=depthwise_convolve2d if depthwise else convolve2d,
        name=name,
    )(x)


class InvertedBottleneck(nn.Module):
    """1x1 convolution to more channels, depthwise convolution, 1x1 convolution, and the shortcut where shapes allow.

    MBConv of MobileNetV2 (arXiv:1801.04381, figure 3b) and EfficientNet: no activation after the last convolution.

    Attributes:
      features: F, channels out.
      kernel, stride: of the depthwise convolution.
      expansion: channels of the depthwise convolution over those of the input; of 1 there is no first convolution.
      dtype, axis_name: as in `EfficientNetLite`.
    """

    features: int
    kernel: int
    stride: int = 1
    expansion: int = 6
    dtype: Any = jnp.float32
    axis_name: str | None = None

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool = False) -> jax.Array:
        """[B, H, W, C] -> [B, h, w, F] with h = ceil(H / stride), w = ceil(W / stride)."""
        norm = {'train': train, 'dtype': self.dtype, 'axis_name': self.axis_name, 'epsilon': _EPSILON}
        wide = self.expansion * x.shape[-1]
        y = x
        if self.expansion != 1:
            y = nn.relu6(batch_norm('bn0', **norm)(_convolve(y, wide, 1, dtype=self.dtype, name='expand_conv')))
        y = _convolve(y, wide, self.kernel, stride=self.stride, depthwise=True, dtype=self.dtype, name='depthwise_conv')
        y = nn.relu6(batch_norm('bn1', **norm)(y))
        y = batch_norm('bn2', **norm)(_convolve(y, self.features, 1, dtype=self.dtype, name='project_conv'))
        return x + y if x.shape == y.shape else y


class EfficientNetLite(nn.Module):
    """Stem, inverted bottlenecks in seven stages and a head convolution, mean over the image.

    The network is a row of segments: 0 the stem, then the blocks, the last one the head convolution and the mean.
    Differs from the published training: no dropout, no dropped blocks, and running statistics keep 0.9 of their old
    value, not 0.99. The number of input channels is that of the first input.

    Attributes:
      width_factor: on the channels of the stages, rounded to multiples of 8.
      depth_factor: on the number of blocks of all stages but the first and last, rounded up.
      num_classes: classes of the linear layer `fc`; None for the features before it.
      first, last, taps, pooled: see `jaxret.encoders.segments`.
      dtype: of the computation up to the features; parameters and batch statistics are float32 always.
      axis_name: mapped axis (of `pmap` or `vmap`) over which batch statistics are averaged in training; not needed
        under `jit` with a batch that is sharded over a mesh.
    """

    width_factor: float = 1.0
    depth_factor: float = 1.0
    num_classes: int | None = None
    first: int = 0
    last: int | None = None
    taps: Sequence[int] = ()
    pooled: bool = True
    dtype: Any = jnp.float32
    axis_name: str | None = None

    @property
    def depth(self) -> int:
        """Number of segments."""
        return len(self._blocks()) + 2

    def _blocks(self) -> list[dict[str, int]]:
        """Attributes of each block."""
        return [
            {
                'features': _rounded(stage.channels * self.width_factor),
                'kernel': stage.kernel,
                'stride': stage.stride if index == 0 else 1,
                'expansion': stage.expansion,
            }
            for stage in _STAGES
            for index in range(
                stage.repeats if stage in (_STAGES[0], _STAGES[-1]) else math.ceil(stage.repeats * self.depth_factor)
            )
        ]

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool = False) -> jax.Array:
        """Features, logits or a map.

        Args:
          x: images, float [B, H, W, C], or the map that segment first - 1 gives.
          train: whether batch norm uses, and updates, the statistics of this batch.

        Returns:
          float32 features [B, F], F = 1280 without taps, or logits [B, num_classes]; where the network ends before its
          mean, a map [B, h, w, F] of type `dtype`.

        Raises:
          ConfigError: as `segments_to_run`.
        """
        chex.assert_rank(x, 4)
        chex.assert_type(x, float)
        segments, taps = segments_to_run(self)
        means = {}
        for segment in segments:
            x = self._segment(segment, x, train)
            if segment in taps:
                means[segment] = spatial_mean(x)
        if not taps:
            return x
        features = jnp.concatenate([means[tap] for tap in taps], axis=1)
        if self.num_classes is None:
            return features
        return linear(self.num_classes, features.shape[1], name='fc')(features)

    def _segment(self, segment: int, x: jax.Array, train: bool) -> jax.Array:
        norm = {'train': train, 'dtype': self.dtype, 'axis_name': self.axis_name}
        if segment == 0:
            x = _convolve(x, _STEM, 3, stride=2, dtype=self.dtype, name='conv_stem')
            return nn.relu6(batch_norm('bn0', epsilon=_EPSILON, **norm)(x))
        if segment == self.depth - 1:
            x = _convolve(x, _HEAD, 1, dtype=self.dtype, name='conv_head')
            return nn.relu6(batch_norm('bn1', epsilon=_EPSILON, **norm)(x))
        block = InvertedBottleneck(
            **self._blocks()[segment - 1], dtype=self.dtype, axis_name=self.axis_name, name=f'blocks_{segment - 1}'
        )
        return block(x, train=train)


def _rounded(channels: float) -> int:
    """The nearest multiple of 8; the next one where that is less than 0.9 of the channels."""
    nearest = max(_DIVISOR, int(channels + _DIVISOR / 2) // _DIVISOR * _DIVISOR)
    return nearest + _DIVISOR if nearest < 0.9 * channels else nearest


def efficientnet_lite(name: str, **overrides: Any) -> EfficientNetLite:
    """Makes an EfficientNet-Lite by name.

    Args:
      name: 'efficientnet_lite0', 'efficientnet_lite1' or 'efficientnet_lite2'; published for images of 224, 240 and
        260 pixels.
      **overrides: attributes of `EfficientNetLite` to set: num_classes, first, last, taps, dtype, axis_name, ...

    Returns:
      The module.

    Raises:
      ConfigError: for an unknown name.
    """
    if name not in _FACTORS:
        raise ConfigError(f'unknown EfficientNet-Lite {name!r}; use one of: {", ".join(_FACTORS)}')
    width_factor, depth_factor = _FACTORS[name]
    return EfficientNetLite(**{'width_factor': width_factor, 'depth_factor': depth_factor, **overrides})
