"""Plain encoders of occupancy grids, to compare with: a 3D CNN, and PointNet on points of the surface.

Letters: B batch, N cells along each side, P points, D embedding.
"""

from typing import Any

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxret.encoders.batch_norm import MaskedBatchNorm
from jaxret.encoders.convolution3d import Convolution3D
from jaxret.encoders.heads import MLP
from jaxret.encoders.pointnet import PointNet
from jaxret.encoders.pointwise import scaled


class VoxelCNN(nn.Module):
    """Grids to embeddings by three blocks that halve the grid, and two linear layers.

    The "3D network in network" of Qi et al., "Volumetric and Multi-View CNNs for Object Classification on 3D Data"
    (CVPR 2016), as its public code has it: kernels of 6, 5 and 3 with stride 2 to 48, 96 and 512 channels, each
    followed by two 1^3 ones, batch norm and ReLU after all; then 512 hidden units. Its classifier becomes a linear
    layer to D, and its dropout is left out.

    Attributes:
      dim: D.
      width: factor on the channels and hidden units; 1 for the published network.
      convolution, dtype, axis_name: as for `VoxelEncoder`.
    """

    dim: int = 256
    width: float = 1.0
    convolution: str = 'auto'
    dtype: Any = jnp.float32
    axis_name: str | None = None

    @nn.compact
    def __call__(self, grids: jax.Array, *, train: bool = False, valid: jax.Array | None = None) -> jax.Array:
        """Embeddings of grids.

        Args:
          grids: float [B, 32, 32, 32, 1].
          train: whether batch norm uses, and updates, the statistics of this batch.
          valid: [B] bool, rows that batch norm counts. None: all.

        Returns:
          float32 [B, D], not normalised.
        """
        chex.assert_rank(grids, 5)
        x = grids
        for block, (channels, kernel) in enumerate(((48, 6), (96, 5), (512, 3)), start=1):
            for layer, (side, stride) in enumerate(((kernel, 2), (1, 1), (1, 1)), start=1):
                name = f'{block}_{layer}'
                x = Convolution3D(
                    scaled(channels, self.width),
                    side,
                    stride,
                    form=self.convolution,
                    dtype=self.dtype,
                    name=f'conv{name}',
                )(x)
                x = nn.relu(MaskedBatchNorm(self.dtype, self.axis_name, name=f'bn{name}')(x, train=train, valid=valid))
        return MLP(scaled(512, self.width), self.dim, name='head')(x.reshape(x.shape[0], -1))


class OccupancyPointNet(nn.Module):
    """`PointNet` (without transform networks) on points of the grids' surfaces.

    Its batch norm counts every row, padded ones too.

    Attributes:
      points: P.
      dim, width, dtype, axis_name: as for `PointNet`.
    """

    points: int = 1024
    dim: int = 256
    width: float = 1.0
    dtype: Any = jnp.float32
    axis_name: str | None = None

    @nn.compact
    def __call__(self, grids: jax.Array, *, train: bool = False, valid: jax.Array | None = None) -> jax.Array:
        """Embeddings of grids, float32 [B, D], not negative; arguments as for `VoxelCNN`, but `valid` is not used."""
        del valid
        chex.assert_rank(grids, 5)
        points = surface_points(grids[..., 0] > 0.5, self.points)
        return PointNet(dim=self.dim, width=self.width, dtype=self.dtype, axis_name=self.axis_name, name='pointnet')(
            points, train=train
        )


def surface_points(occupied: jax.Array, count: int) -> jax.Array:
    """Centres of cells of the surface, evenly spaced in the order of the grid.

    A cell is of the surface if it is occupied and one of its six neighbours is not, or lies outside the grid. Where
    there are fewer than P, cells are repeated.

    Args:
      occupied: bool [B, N, N, N].
      count: P.

    Returns:
      float32 [B, P, 3], the grid being [-1, 1]^3; all 0 for an empty grid.
    """
    chex.assert_rank(occupied, 4)
    chex.assert_type(occupied, bool)
    batch, cells = occupied.shape[:2]
    padded = jnp.pad(occupied, ((0, 0), *((1, 1),) * 3))
    middle = slice(1, -1)
    enclosed = jnp.ones_like(occupied)
    for axis in (1, 2, 3):
        for shifted in (slice(None, -2), slice(2, None)):
            place = [slice(None), middle, middle, middle]
            place[axis] = shifted
            enclosed &= padded[tuple(place)]
    reached = jnp.cumsum((occupied & ~enclosed).reshape(batch, -1), axis=1)  # [B, N^3], cells so far
    total = reached[:, -1]
    wanted = (total[:, None] * (2 * jnp.arange(count) + 1)[None, :]) // (2 * count)  # of the surface cells, by number
    index = jax.vmap(lambda row, ranks: jnp.searchsorted(row, ranks, side='right'))(reached, wanted)
    places = jnp.stack(jnp.unravel_index(index, (cells,) * 3), axis=-1)
    points = (2.0 * places + 1.0) / cells - 1.0
    return jnp.where(total[:, None, None] > 0, points, 0.0)
