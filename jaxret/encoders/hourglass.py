"""Encoder, decoder and residual block of occupancy grids of 32^3 cells, as in joint embedding of scans and CAD models.

Source: Dahnert et al., "Joint Embedding of 3D Scan and CAD Objects" (ICCV 2019), layer by layer from its public code;
Kabadayi and Dai keep it. Convolutions have no bias and start as He et al. (fan-out) say. The rectifier stands before
batch norm at the level changes, and after it inside the residual blocks.

Letters: B batch, N cells along each side, C channels, D embedding.
"""

from collections.abc import Sequence
from typing import Any

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxret.encoders.batch_norm import MaskedBatchNorm
from jaxret.encoders.convolution3d import Convolution3D
from jaxret.errors import ConfigError

CELLS = 32  # along each side of a grid
STEMS = ('fine', 'coarse')


class VoxelModule(nn.Module):
    """What every network of grids is told.

    Attributes:
      stem: 'fine' is the published network, with 7^3 kernels and layers at 32^3. 'coarse', for CPUs, has none at 32^3:
        the encoder starts with its first halving, and the decoder's last doubling gives the logits.
      convolution: 'auto', 'direct' or 'slabs', the form of `convolution3d`.
      dtype: of the computation; parameters and statistics are float32.
      axis_name: mapped axis over which batch statistics are taken in training.
    """

    stem: str = 'fine'
    convolution: str = 'auto'
    dtype: Any = jnp.float32
    axis_name: str | None = None

    @property
    def coarse(self) -> bool:
        """Whether the network has no layers at 32^3."""
        if self.stem not in STEMS:
            raise ConfigError(f'stem {self.stem!r} is unknown; choose one of {", ".join(STEMS)}')
        return self.stem == 'coarse'

    @property
    def shared(self) -> dict[str, Any]:
        """Attributes that modules inside get too."""
        return {'stem': self.stem, 'convolution': self.convolution, 'dtype': self.dtype, 'axis_name': self.axis_name}

    def conv(
        self, features: int, kernel: int, name: str, *, stride: int = 1, padding: int = 0, transposed: bool = False
    ) -> Convolution3D:
        """A convolution of this network."""
        return Convolution3D(features, kernel, stride, padding, transposed, self.convolution, self.dtype, name=name)

    def norm(self, name: str) -> MaskedBatchNorm:
        """A batch norm of this network."""
        return MaskedBatchNorm(self.dtype, self.axis_name, name=name)


class ResidualBlock3D(VoxelModule):
    """x + conv2(relu(bn2(conv1(relu(bn1(x)))))) with 3^3 kernels: full pre-activation (He et al., arXiv:1603.05027)."""

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool = False, valid: jax.Array | None = None) -> jax.Array:
        """[B, N, N, N, C] -> the same; `train` and `valid` as for `MaskedBatchNorm`."""
        y = x
        for index in (1, 2):
            y = nn.relu(self.norm(f'bn{index}')(y, train=train, valid=valid))
            y = self.conv(x.shape[-1], 3, f'conv{index}', padding=1)(y)
        return x + y


class VoxelEncoder(VoxelModule):
    """Grids to vectors: a convolution at 32^3, four that halve the grid, one that takes 2^3 to 1.

    Attributes:
      channels: c1 to c5; the last is the length of the vector.
    """

    channels: Sequence[int] = (8, 16, 32, 64, 256)

    def __call__(self, grids: jax.Array, *, train: bool = False, valid: jax.Array | None = None) -> jax.Array:
        """Vectors of grids, straight from a batch norm.

        Args:
          grids: float [B, 32, 32, 32, 1].
          train: whether batch norm uses, and updates, the statistics of this batch.
          valid: [B] bool, rows that batch norm counts. None: all.

        Returns:
          [B, c5] of type `dtype`.
        """
        return self.vectors_and_cells(grids, train=train, valid=valid)[0]

    @nn.compact
    def vectors_and_cells(
        self, grids: jax.Array, *, train: bool, valid: jax.Array | None
    ) -> tuple[jax.Array, tuple[jax.Array, ...]]:
        """As a call, and the cells on the way, [B, N, N, N, C] with N = 32 (coarse: the grids), 16, 8, 4, 2."""
        chex.assert_shape(grids, (None, CELLS, CELLS, CELLS, 1))
        chex.assert_type(grids, float)
        options = {'train': train, 'valid': valid}
        *levels, last = self.channels
        x = grids if self.coarse else self.conv(levels[0], 7, 'conv0', padding=3)(grids)
        cells = [x]
        for level, features in enumerate(levels):  # 32^3 -> 16^3 -> 8^3 -> 4^3 -> 2^3
            if level > 0 or not self.coarse:
                x = self.norm(f'bn{level}')(nn.relu(x), **options)
            x = self.conv(features, 4, f'conv{level + 1}', stride=2, padding=1)(x)
            x = ResidualBlock3D(**self.shared, name=f'block{level + 1}')(x, **options)
            cells.append(x)
        x = self.norm('bn4')(nn.relu(x), **options)
        x = self.conv(last, 2, 'conv5')(x)  # [B, 2, 2, 2, c4] -> [B, 1, 1, 1, c5]
        return self.norm('bn5')(x, **options)[:, 0, 0, 0], tuple(cells)


class VoxelDecoder(VoxelModule):
    """Vectors to logits of grids, the way of `VoxelEncoder` back: 1 -> 2^3 -> 4^3 -> 8^3 -> 16^3 -> 32^3.

    Attributes:
      channels: at 2^3, 4^3, 8^3, 16^3 and 32^3; the coarse network does without the last.
    """

    channels: Sequence[int] = (64, 32, 16, 8, 8)

    @nn.compact
    def __call__(
        self,
        vectors: jax.Array,
        cells: Sequence[jax.Array] = (),
        *,
        train: bool = False,
        valid: jax.Array | None = None,
    ) -> jax.Array:
        """Logits of grids.

        Args:
          vectors: float [B, C].
          cells: the encoder's, of N = 32, 16, 8, 4, 2, to be added through 1^3 convolutions; or none.
          train, valid: as for `VoxelEncoder`.

        Returns:
          float32 [B, 32, 32, 32].
        """
        chex.assert_rank(vectors, 2)
        chex.assert_type(vectors, float)
        options = {'train': train, 'valid': valid}
        first, *levels = self.channels[:-1] + (1,) if self.coarse else self.channels
        cells = list(cells)

        def joined(x: jax.Array) -> jax.Array:
            if not cells:
                return x
            return x + self.conv(x.shape[-1], 1, f'skip{x.shape[1]}')(cells.pop())

        x = nn.relu(vectors)[:, None, None, None]
        x = joined(self.conv(first, 2, 'conv0', transposed=True)(x))
        for level, features in enumerate(levels, start=1):
            x = ResidualBlock3D(**self.shared, name=f'block{level}')(x, **options)
            x = self.conv(features, 4, f'conv{level}', stride=2, padding=1, transposed=True)(x)
            if level < len(levels) or not self.coarse:
                x = self.norm(f'bn{level}')(nn.relu(x), **options)
            x = joined(x)
        if not self.coarse:
            x = self.conv(1, 7, 'conv5', padding=3, transposed=True)(x)
        return x[..., 0].astype(jnp.float32)


class Hourglass(VoxelModule):
    """An encoder and one decoder or more, each of which gets its own part of the vector.

    Separation of object and clutter: two decoders, encoder channels 16, 32, 64, 128, 512. Completion: one decoder,
    8, 16, 32, 64, 256.

    Attributes:
      encoder_channels: of `VoxelEncoder`; the last is shared out evenly.
      decoder_channels: of every `VoxelDecoder`.
      decoders: how many.
      skip: whether the decoders get, beside the vector, the encoder's cells of every size through 1^3 convolutions, as
        in Newell et al., "Stacked Hourglass Networks" (ECCV 2016). The published network of scans has no such path.
    """

    encoder_channels: Sequence[int] = (8, 16, 32, 64, 256)
    decoder_channels: Sequence[int] = (64, 32, 16, 8, 8)
    decoders: int = 1
    skip: bool = False

    @nn.compact
    def __call__(
        self, grids: jax.Array, *, train: bool = False, valid: jax.Array | None = None
    ) -> tuple[jax.Array, ...]:
        """[B, 32, 32, 32, 1] -> logits float32 [B, 32, 32, 32] of each decoder; options as for `VoxelEncoder`."""
        options = {'train': train, 'valid': valid}
        encoder = VoxelEncoder(**self.shared, channels=self.encoder_channels, name='encoder')
        vectors, cells = encoder.vectors_and_cells(grids, **options)
        if not self.skip:
            cells = ()
        return tuple(
            VoxelDecoder(**self.shared, channels=self.decoder_channels, name=f'decoder{index}')(part, cells, **options)
            for index, part in enumerate(jnp.split(vectors, self.decoders, axis=-1))
        )
