"""MeshNet: triangle meshes as sets of faces that know their three neighbours.

A face is 15 numbers: its centre, its three corners relative to the centre, its unit normal. Neighbours are the indices
of the faces across its three edges, or its own index where there is none.

Letters: B batch, F faces, C channels, M kernels, D embedding.
"""

import math
from typing import Any

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxret.encoders.layers import batch_norm
from jaxret.encoders.neighbors import PairConvolution, gather_neighbors
from jaxret.encoders.pointwise import FeatureHead, PointwiseLayer, scaled
from jaxret.losses.scores import largest


class FaceRotateConvolution(nn.Module):
    """Features of a face's corners that do not depend on which corner is first: g(mean_k h(v_k, v_{k+1 mod 3})).

    Feng et al. 2019 (MeshNet, arXiv:1811.11424), section "structural descriptor", equation 1; h and g are two layers
    each. Differs from the public code in: batch norm sees the three corner pairs together, not one after the other,
    so that the order of corners does not matter in training either.

    Attributes:
      inner: channels of h.
      features: channels of g.
      dtype, axis_name: as in `MeshNet`.
    """

    inner: int = 32
    features: int = 64
    dtype: Any = jnp.float32
    axis_name: str | None = None

    @nn.compact
    def __call__(self, corners: jax.Array, *, train: bool = False) -> jax.Array:
        """float [B, F, 9], three corners -> [B, F, features]; `train` as for batch norm."""
        options = {'use_bias': True, 'dtype': self.dtype, 'axis_name': self.axis_name}
        v = corners.reshape(*corners.shape[:2], 3, 3)
        x = jnp.concatenate([v, jnp.roll(v, -1, axis=2)], axis=-1)  # [B, F, 3, 6]
        for index in (1, 2):
            x = PointwiseLayer(self.inner, name=f'rotate{index}', **options)(x, train=train)
        x = x.mean(axis=2)  # [B, F, 3, C] -> [B, F, C]
        for index in (1, 2):
            x = PointwiseLayer(self.features, name=f'fuse{index}', **options)(x, train=train)
        return x


class FaceKernelCorrelation(nn.Module):
    """How well the normals of a face and its neighbours match learned sets of four directions.

        y_m = relu(bn(1/16 sum_{n of the face and its 3 neighbours} sum_{w in kernel m} exp(-|n - w|^2 / 2 s^2)))

    Feng et al. 2019 (arXiv:1811.11424), equations 2 and 3. A direction is (sin a cos b, sin a sin b, cos a), with a
    and b learned, from U(0, pi) and U(0, 2 pi). The inner sum is made once a face and then gathered.

    Attributes:
      kernels: M.
      sigma: s.
      dtype, axis_name: as in `MeshNet`; the correlation itself is float32.
    """

    kernels: int = 64
    sigma: float = 0.2
    dtype: Any = jnp.float32
    axis_name: str | None = None

    @nn.compact
    def __call__(self, normals: jax.Array, neighbors: jax.Array, *, train: bool = False) -> jax.Array:
        """float [B, F, 3] and integer [B, F, 3] -> [B, F, M]; `train` as for batch norm."""

        def angles(limit: float):
            return lambda key: jax.random.uniform(key, (self.kernels, 4), jnp.float32, maxval=limit)

        a, b = self.param('alpha', angles(math.pi)), self.param('beta', angles(2 * math.pi))
        directions = jnp.stack([jnp.sin(a) * jnp.cos(b), jnp.sin(a) * jnp.sin(b), jnp.cos(a)], axis=-1)  # [M, 4, 3]
        normals = normals.astype(jnp.float32)
        cosines = jnp.einsum('bfc,mkc->bfmk', normals, directions, precision=jax.lax.Precision.HIGHEST)
        lengths = jnp.sum(normals * normals, axis=-1)[:, :, None, None]  # 0, not 1, for a face without area
        matches = jnp.exp((2 * cosines - lengths - 1) / (2 * self.sigma**2)).sum(axis=-1)  # [B, F, M]
        x = (matches + gather_neighbors(matches, neighbors).sum(axis=2)) / 16
        x = batch_norm('bn', train=train, dtype=self.dtype, axis_name=self.axis_name)(x)
        return nn.relu(x)


class MeshConvolution(nn.Module):
    """New spatial and structural features of faces, the structural ones with those of their neighbours.

        spatial' = layer([spatial, structural]),  structural' = layer(max_j layer([structural_i, structural_j]))

    Feng et al. 2019 (arXiv:1811.11424), section "mesh convolution", aggregation by concatenation; a layer is linear,
    batch norm, ReLU.

    Attributes:
      spatial: channels of the new spatial features.
      structural: channels of the new structural features.
      dtype, axis_name: as in `MeshNet`.
    """

    spatial: int
    structural: int
    dtype: Any = jnp.float32
    axis_name: str | None = None

    @nn.compact
    def __call__(
        self, spatial: jax.Array, structural: jax.Array, neighbors: jax.Array, *, train: bool = False
    ) -> tuple[jax.Array, jax.Array]:
        """[B, F, C], [B, F, C'] and integer [B, F, 3] -> [B, F, spatial] and [B, F, structural]."""
        options = {'use_bias': True, 'dtype': self.dtype, 'axis_name': self.axis_name}
        together = jnp.concatenate([spatial, structural], axis=-1)
        spatial = PointwiseLayer(self.spatial, name='combine', **options)(together, train=train)
        pairs = PairConvolution(structural.shape[-1], 'pair', activation=nn.relu, name='concatenate', **options)
        around = pairs(structural, neighbors, train=train)
        return spatial, PointwiseLayer(self.structural, name='aggregate', **options)(around, train=train)


class MeshNet(nn.Module):
    """Embeddings of meshes: descriptors of each face, two mesh convolutions, the largest values over faces.

    Feng et al. 2019 (arXiv:1811.11424), figure 2, with the sizes of its public code and the head of the cross-modal
    center loss: z = relu(bn(W max_f y_f)), W without bias. Faces are not dropped in training. Reordering the faces,
    with their neighbours relabelled, or the three neighbours, or the corners cyclically, changes nothing but rounding.

    Attributes:
      dim: D.
      kernels: M, of the face kernel correlation.
      sigma: of the face kernel correlation.
      width: factor on `kernels` and all channels but D and the 3 of the normals; 1 for the published network.
      dtype: of the computation up to the pooling; parameters and statistics are float32.
      axis_name: mapped axis (of `pmap` or `vmap`) over which batch statistics are averaged in training.
    """

    dim: int = 512
    kernels: int = 64
    sigma: float = 0.2
    width: float = 1.0
    dtype: Any = jnp.float32
    axis_name: str | None = None

    @nn.compact
    def __call__(self, faces: jax.Array, neighbors: jax.Array, *, train: bool = False) -> jax.Array:
        """Embeddings of meshes.

        Args:
          faces: float [B, F, 15]: centre, corners relative to the centre, unit normal.
          neighbors: integer [B, F, 3], each from 0 to F - 1; an index above makes the embedding NaN.
          train: whether batch norm uses, and updates, the statistics of this batch.

        Returns:
          float32 [B, D], not negative, not normalised.
        """
        chex.assert_shape(faces, (None, None, 15))
        chex.assert_shape(neighbors, (*faces.shape[:2], 3))
        chex.assert_type((faces, neighbors), (float, int))
        options = {'dtype': self.dtype, 'axis_name': self.axis_name}

        def layer(features: int, name: str, x: jax.Array) -> jax.Array:
            return PointwiseLayer(features, use_bias=True, name=name, **options)(x, train=train)

        def size(channels: int) -> int:
            return scaled(channels, self.width)

        centers, corners, normals = jnp.split(faces, (3, 12), axis=-1)
        spatial = layer(size(64), 'spatial2', layer(size(64), 'spatial1', centers))
        rotate = FaceRotateConvolution(size(32), size(64), name='rotate', **options)
        correlate = FaceKernelCorrelation(size(self.kernels), self.sigma, name='correlate', **options)
        structural = jnp.concatenate(
            [rotate(corners, train=train), correlate(normals, neighbors, train=train), normals.astype(self.dtype)],
            axis=-1,
        )
        for index in (1, 2):
            structural = layer(structural.shape[-1], f'structural{index}', structural)

        first = MeshConvolution(size(256), size(256), name='convolution1', **options)
        second = MeshConvolution(size(512), size(512), name='convolution2', **options)
        spatial1, structural = first(spatial, structural, neighbors, train=train)
        spatial2, structural = second(spatial1, structural, neighbors, train=train)
        spatial3 = layer(size(1024), 'fusion', jnp.concatenate([spatial2, structural], axis=-1))
        x = layer(size(1024), 'concatenation', jnp.concatenate([spatial1, spatial2, spatial3], axis=-1))
        pooled = largest(x, axis=1)  # [B, F, C] -> [B, C]
        return FeatureHead(self.dim, axis_name=self.axis_name, name='head')(pooled, train=train)
