"""Vision transformers for images in NHWC order: DINOv2, CLIP, SigLIP and the plain ones are options of one module.

Dosovitskiy et al. 2021 (arXiv:2010.11929) with the norm before attention and before the MLP. Positions are one grid
for the patches alone: what published networks add to the class token or to the registers is part of these tokens here
(`jaxret.pretrained.vit_layouts` adds it). An image of another size than the grid's has the grid resampled, in the way
of the code that the weights come from.

Letters: B batch, H height, W width, C channels, h, w patches in a column and a row, T tokens, D width, F features.
"""

import math
from collections.abc import Sequence
from typing import Any

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxret.encoders.layers import linear
from jaxret.encoders.positions import resample_grid
from jaxret.encoders.segments import segments_to_run
from jaxret.encoders.transformer import LINEAR_INIT, AttentionPooling, Block
from jaxret.errors import ConfigError

# Mean and standard deviation of the red, green and blue channel of images in [0, 1], by what the weights learned from.
STATISTICS = {
    'imagenet': ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    'clip': ((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)),
    'half': ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
}


def _convolve_patches(x: jax.Array, kernel: jax.Array, *_: Any, precision: Any = None, **__: Any) -> jax.Array:
    """The convolution of an `nn.Conv` whose stride is its kernel's side, as one matrix product."""
    p, _, channels, width = kernel.shape
    batch, h, w = x.shape[0], x.shape[1] // p, x.shape[2] // p
    x = x[:, : h * p, : w * p].reshape(batch, h, p, w, p, channels).swapaxes(2, 3)
    return jnp.matmul(x.reshape(batch, h, w, -1), kernel.reshape(-1, width), precision=precision)


class VisionTransformer(nn.Module):
    """Vision transformer: patches, blocks, norm, pooling.

    The network is a row of segments: 0 makes the tokens (class token, registers, patches), then come the blocks, the
    last one is the norm and the pooling.

    Attributes:
      patch: side of a patch in pixels; what is left over at the right and at the bottom of an image is not seen.
      width: D.
      blocks: number of blocks.
      heads: of each attention.
      mlp_width: features between the layers of each MLP.
      grid: rows and columns of the positions.
      class_token: whether there is one.
      registers: number of register tokens.
      pre_norm: a norm before the first block; the patches then have no bias.
      layer_scale: a learnt factor for every channel of what a block's parts add.
      activation: a key of `jaxret.encoders.transformer.ACTIVATIONS`.
      epsilon: of the norms.
      resampling: of the positions, a key of `jaxret.encoders.positions.RESAMPLINGS`.
      pooling: 'class' (the class token), 'mean' (of the patches) or 'attention'.
      norm_last: whether the norm is after the pooling ('mean'), not before.
      projection: features of a last linear layer without bias; None for none.
      num_classes: classes of the linear layer `head`; None for the features before it.
      first, last, taps, pooled: see `jaxret.encoders.segments`; a tap gives the mean of the patches.
      dtype: of the computation; parameters and features are float32 always.
    """

    patch: int
    width: int
    blocks: int
    heads: int
    mlp_width: int
    grid: tuple[int, int]
    class_token: bool = True
    registers: int = 0
    pre_norm: bool = False
    layer_scale: bool = False
    activation: str = 'gelu'
    epsilon: float = 1e-6
    resampling: str = 'bicubic_antialias'
    pooling: str = 'class'
    norm_last: bool = False
    projection: int | None = None
    num_classes: int | None = None
    first: int = 0
    last: int | None = None
    taps: Sequence[int] = ()
    pooled: bool = True
    dtype: Any = jnp.float32

    @property
    def depth(self) -> int:
        """Number of segments."""
        return self.blocks + 2

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool = False) -> jax.Array:
        """Features, logits, tokens or a map.

        Args:
          x: images, float [B, H, W, C], or the tokens [B, T, D] that segment first - 1 gives.
          train: changes nothing, there is neither dropout nor batch norm.

        Returns:
          float32 features [B, F], or logits [B, num_classes]; tokens [B, T, D] of type `dtype` where the network ends
          before its last segment; the map [B, h, w, D] where it is not pooled.

        Raises:
          ConfigError: as `segments_to_run`, images that are smaller than a patch, and a map of tokens that are no
            square.
        """
        del train
        chex.assert_rank(x, 3 if self.first else 4)
        chex.assert_type(x, float)
        segments, taps = segments_to_run(self)
        shape = None if self.first else (x.shape[1] // self.patch, x.shape[2] // self.patch)
        means, end = {}, self.depth - 1
        for segment in segments:
            if segment == end:
                x = x if self.norm_last and self.pooled else self._norm('norm')(x)
            else:
                x = self._segment(segment, x)
            if segment in taps:
                means[segment] = self._features(x) if segment == end else self._patches(x)
        if taps:
            return jnp.concatenate([means[tap] for tap in taps], axis=1)
        return x if segments.stop < self.depth else self._map(x, shape)

    @property
    def _before(self) -> int:
        """Tokens before the patches."""
        return self.class_token + self.registers

    def _norm(self, name: str) -> nn.LayerNorm:
        return nn.LayerNorm(self.epsilon, dtype=self.dtype, name=name)

    def _patches(self, tokens: jax.Array) -> jax.Array:
        return tokens[:, self._before :].astype(jnp.float32).mean(axis=1)

    def _segment(self, segment: int, x: jax.Array) -> jax.Array:
        if segment == 0:
            return self._tokens(x)
        options = (self.heads, self.mlp_width, self.activation, self.epsilon, self.layer_scale, self.dtype)
        return Block(*options, name=f'blocks_{segment - 1}')(x)

    def _tokens(self, images: jax.Array) -> jax.Array:
        """Images [B, H, W, C] to tokens [B, T, D]."""
        batch, height, width, _ = images.shape
        h, w, p = height // self.patch, width // self.patch, self.patch
        if not h or not w:
            raise ConfigError(f'images of {height} x {width} pixels are smaller than a patch of {p} x {p}')
        x = nn.Conv(
            self.width,
            (p, p),
            strides=(p, p),
            padding='VALID',
            use_bias=not self.pre_norm,
            dtype=self.dtype,
            kernel_init=LINEAR_INIT,
            conv_general_dilated=_convolve_patches,
            name='patches',
        )(images)
        positions = self.param('positions', LINEAR_INIT, (*self.grid, self.width))
        if self.grid != (h, w):
            positions = resample_grid(positions, (h, w), self.resampling)
        x = (x + positions.astype(x.dtype)[None]).reshape(batch, h * w, self.width)
        for name, count in (('registers', self.registers), ('class_token', int(self.class_token))):
            if count:
                token = self.param(name, LINEAR_INIT, (count, self.width)).astype(x.dtype)
                x = jnp.concatenate([jnp.broadcast_to(token, (batch, *token.shape)), x], axis=1)
        return self._norm('pre_norm')(x) if self.pre_norm else x

    def _map(self, tokens: jax.Array, shape: tuple[int, int] | None) -> jax.Array:
        """Patches [B, h, w, D]; those of tokens whose image is not known are a square."""
        patches = tokens[:, self._before :]
        side = math.isqrt(patches.shape[1])
        if shape is None and side * side != patches.shape[1]:
            raise ConfigError(f'{patches.shape[1]} patches are no square; their map needs the network from segment 0')
        return patches.reshape(patches.shape[0], *(shape or (side, side)), self.width)

    def _features(self, tokens: jax.Array) -> jax.Array:
        """Pooled, float32 [B, F]."""
        if self.pooling == 'attention':
            options = (self.heads, self.mlp_width, self.activation, self.epsilon, self.dtype)
            x = AttentionPooling(*options, name='pooling')(tokens[:, self._before :]).astype(jnp.float32)
        else:
            x = self._patches(tokens) if self.pooling == 'mean' else tokens[:, 0].astype(jnp.float32)
        if self.norm_last:
            x = nn.LayerNorm(self.epsilon, name='norm')(x)
        if self.projection is not None:
            x = linear(self.projection, x.shape[-1], use_bias=False, name='projection')(x)
        return x if self.num_classes is None else linear(self.num_classes, x.shape[-1], name='head')(x)


_SIZES = {
    's': {'width': 384, 'blocks': 12, 'heads': 6, 'mlp_width': 1536},
    'b': {'width': 768, 'blocks': 12, 'heads': 12, 'mlp_width': 3072},
    'l': {'width': 1024, 'blocks': 24, 'heads': 16, 'mlp_width': 4096},
}
_FAMILIES: dict[str, dict[str, Any]] = {
    'dinov2': {'layer_scale': True, 'resampling': 'bicubic'},
    'dinov2_reg': {'layer_scale': True, 'registers': 4},
    'clip': {'pre_norm': True, 'activation': 'quick_gelu', 'epsilon': 1e-5, 'resampling': 'bicubic'},
    'openclip': {'pre_norm': True, 'epsilon': 1e-5, 'resampling': 'bicubic'},
    'siglip': {'class_token': False, 'pooling': 'attention', 'activation': 'gelu_tanh', 'resampling': 'bicubic'},
    'plain': {},
}
# Name -> size, patch, side of the images of the positions, family, features of the projection, statistics.
_NAMES: dict[str, tuple[str, int, int, str, int | None, str]] = {
    **{f'vit_{size}14': (size, 14, 518, 'dinov2', None, 'imagenet') for size in _SIZES},
    **{f'vit_{size}14_reg': (size, 14, 518, 'dinov2_reg', None, 'imagenet') for size in _SIZES},
    **{f'vit_{size}16': (size, 16, 224, 'plain', None, 'half') for size in _SIZES},
    'clip_b32': ('b', 32, 224, 'clip', 512, 'clip'),
    'clip_b16': ('b', 16, 224, 'clip', 512, 'clip'),
    'clip_l14': ('l', 14, 224, 'clip', 768, 'clip'),
    'openclip_b32': ('b', 32, 224, 'openclip', 512, 'clip'),
    'openclip_b16': ('b', 16, 224, 'openclip', 512, 'clip'),
    'openclip_l14': ('l', 14, 224, 'openclip', 768, 'clip'),
    'siglip_b16': ('b', 16, 224, 'siglip', None, 'half'),
    'siglip_b16_256': ('b', 16, 256, 'siglip', None, 'half'),
    'siglip_b16_384': ('b', 16, 384, 'siglip', None, 'half'),
    'siglip_l16': ('l', 16, 256, 'siglip', None, 'half'),
}
VIT_NAMES = tuple(_NAMES)


def _named(name: str) -> tuple[str, int, int, str, int | None, str]:
    if name not in _NAMES:
        raise ConfigError(f'unknown vision transformer {name!r}; use one of: {", ".join(VIT_NAMES)}')
    return _NAMES[name]


def vision_transformer(name: str, **overrides: Any) -> VisionTransformer:
    """Makes a vision transformer by name.

    Args:
      name: 'vit_s14', 'vit_b14' and 'vit_l14' (DINOv2; with '_reg' those with registers), 'vit_s16', 'vit_b16' and
        'vit_l16' (plain), 'clip_b32', 'clip_b16' and 'clip_l14' (OpenAI's CLIP),
        'openclip_b32', ... (LAION's, DataComp's), 'siglip_b16' and 'siglip_l16'.
      **overrides: attributes of `VisionTransformer` to set: pooling, num_classes, first, last, taps, dtype, ...

    Returns:
      The module.

    Raises:
      ConfigError: for an unknown name.
    """
    size, patch, side, family, projection, _ = _named(name)
    options = {**_SIZES[size], 'patch': patch, 'grid': (side // patch,) * 2, 'projection': projection}
    return VisionTransformer(**{**options, **_FAMILIES[family], **overrides})


def statistics(name: str) -> tuple[tuple[float, float, float], tuple[float, float, float]]:
    """Mean and standard deviation that images in [0, 1] of a network, by name, are normalised with."""
    return STATISTICS[_named(name)[-1]]
