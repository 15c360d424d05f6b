"""The networks of the cross-modal center loss, one a modality, and what they take of a batch.

Letters: B objects, V views, S image side, C channels, D features.
"""

import jax
import jax.numpy as jnp
from flax import linen as nn
from ml_collections import ConfigDict

from jaxret.encoders.dgcnn import DGCNN
from jaxret.encoders.meshnet import MeshNet
from jaxret.encoders.pointnet import PointNet
from jaxret.encoders.pointwise import PointwiseLayer
from jaxret.encoders.resnet import RESNET_NAMES, resnet
from jaxret.encoders.view_pooling import ViewEncoder, mean_views
from jaxret.systems.base import Batch

MODALITIES = ('image', 'mesh', 'point')
CHOICES = {
    'model.image_encoder': RESNET_NAMES,
    'model.point_encoder': ('dgcnn', 'pointnet'),
    'model.dtype': ('float32', 'bfloat16'),
}


class ImageBranch(nn.Module):
    """Views [B, V, S, S, C] to features [B, D]: trunk, linear, batch norm and ReLU a view, then their mean."""

    trunk: nn.Module
    dim: int
    axis_name: str | None = None

    @nn.compact
    def __call__(self, views: jax.Array, *, train: bool = False) -> jax.Array:
        features = ViewEncoder(self.trunk)(views, train=train)
        features = PointwiseLayer(self.dim, axis_name=self.axis_name, name='head')(features, train=train)
        return mean_views(features)


def make_encoders(model: ConfigDict, axis_name: str | None) -> dict[str, nn.Module]:
    """The networks by modality.

    Args:
      model: the group `model`, checked.
      axis_name: device axis over which batch norm is synchronised.
    """
    shared = {'dtype': jnp.dtype(model.dtype), 'axis_name': axis_name}
    if model.point_encoder == 'dgcnn':
        point = DGCNN(dim=model.embedding_dim, neighbors=model.neighbors, width=model.point_width, **shared)
    else:
        point = PointNet(dim=model.embedding_dim, width=model.point_width, **shared)
    return {
        'image': ImageBranch(resnet(model.image_encoder, **shared), model.embedding_dim, axis_name),
        'mesh': MeshNet(dim=model.embedding_dim, width=model.mesh_width, **shared),
        'point': point,
    }


def encoder_inputs(batch: Batch, modality: str, *, first: int | None = None) -> tuple[jax.Array, ...]:
    """What a modality's encoder takes, of the first objects only where asked; images in [-1, 1]."""
    if modality == 'image':
        return (batch['image'][:first].astype(jnp.float32) / 127.5 - 1,)
    if modality == 'mesh':
        return batch['faces'][:first], batch['neighbors'][:first]
    return (batch['points'][:first],)
