"""What ends an encoder: the batch norm -> linear -> L2 head and the image encoder with it, an MLP, and linear layers.

Letters: B batch, H height, W width, C channels, F features, D embedding.
"""

from collections.abc import Sequence
from typing import Any

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxret.encoders.image_backbones import image_network
from jaxret.encoders.layers import batch_norm, linear
from jaxret.losses.scores import l2_normalize


class EmbeddingHead(nn.Module):
    """Unit embedding of backbone features: z = W bn(f) + b, then z / |z|.

    The head of CMIC's public code: batch norm, one linear layer with bias, no activation. It computes in float32
    whatever the backbone does: its cost is nothing beside the backbone's, and scores are divided by a temperature.

    Attributes:
      dim: D.
      normalize: whether embeddings are scaled to length 1 (a zero embedding stays zero).
      axis_name: mapped axis over which batch statistics are averaged in training, as in `ResNet`.
    """

    dim: int
    normalize: bool = True
    axis_name: str | None = None

    @nn.compact
    def __call__(self, features: jax.Array, *, train: bool = False) -> jax.Array:
        """Embeddings of features.

        Args:
          features: float [B, F].
          train: whether batch norm uses, and updates, the statistics of this batch.

        Returns:
          float32 [B, D].
        """
        chex.assert_rank(features, 2)
        chex.assert_type(features, float)
        x = features.astype(jnp.float32)
        # Pooled features of views of few shapes are nearly alike, so their variance needs the exact form.
        x = batch_norm('bn', train=train, axis_name=self.axis_name, fast_variance=False)(x)
        x = linear(self.dim, x.shape[-1], name='linear')(x)
        return l2_normalize(x) if self.normalize else x


class ImageEncoder(nn.Module):
    """A backbone and a head: images to embeddings.

    Attributes:
      backbone: module from images [B, H, W, C] to features [B, F], called with `train`; None where features come in.
      head: module from features [B, F] to embeddings [B, D], called with `train`.
    """

    backbone: nn.Module | None
    head: nn.Module

    def __call__(self, images: jax.Array, *, train: bool = False) -> jax.Array:
        """Embeddings of images.

        Args:
          images: float [B, H, W, C].
          train: whether batch norm uses, and updates, the statistics of this batch.

        Returns:
          float32 [B, D].
        """
        features = images if self.backbone is None else self.backbone(images, train=train)
        return self.head(features, train=train)


def image_encoder(name: str, dim: int, *, axis_name: str | None = None, **attributes: Any) -> ImageEncoder:
    """A named image network with an `EmbeddingHead`.

    Args:
      name: of the network, as in `image_network`.
      dim: D.
      axis_name: mapped axis over which the batch statistics of both parts are averaged.
      **attributes: of the network (dtype, width, stem, taps, ...).

    Returns:
      The module, from float [B, H, W, C] to unit float32 [B, D].

    Raises:
      ConfigError: for an unknown name.
    """
    return ImageEncoder(
        backbone=image_network(name, axis_name=axis_name, **attributes), head=EmbeddingHead(dim, axis_name=axis_name)
    )


class MLP(nn.Module):
    """Linear, ReLU, linear; no batch norm: W2 max(0, W1 x + b1) + b2.

    Without batch norm each row stands alone, whatever the size of the batch. It computes in float32 whatever the
    encoder before it does.

    Source: Choo et al. (KSII TIIS 2024), section 4.2 (projection, prediction and label head; widths not given); the
    label head of Jing et al.'s public code (CVPR 2021) is the same with 256 hidden units.

    Attributes:
      hidden: width between the layers.
      features: D.
    """

    hidden: int
    features: int

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Outputs of features.

        Args:
          x: float [..., F]; for example [M, B, F] when modalities share it.

        Returns:
          float32 [..., D].
        """
        chex.assert_type(x, float)
        x = x.astype(jnp.float32)
        x = nn.relu(linear(self.hidden, x.shape[-1], name='hidden')(x))
        return linear(self.features, self.hidden, name='output')(x)


class LinearHead(nn.Module):
    """One linear layer after the other, nothing between them: W_n ( ... (W_1 x + b_1) ... ) + b_n; in float32.

    Attributes:
      widths: outputs of each layer.
    """

    widths: Sequence[int]

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """float [..., F] -> float32 [..., last width]."""
        chex.assert_type(x, float)
        x = x.astype(jnp.float32)
        for i, width in enumerate(self.widths, start=1):
            x = linear(width, x.shape[-1], name=f'layer{i}')(x)
        return x
