"""The networks of the cross-modal center loss, one a modality, and what they take of a batch.

Letters: B objects, V views, S image side, C channels, D features.
"""

from collections.abc import Mapping

import jax
import jax.numpy as jnp
from flax import linen as nn
from ml_collections import ConfigDict

from jaxret.encoders.dgcnn import DGCNN
from jaxret.encoders.image_backbones import NETWORKS, image_network
from jaxret.encoders.meshnet import MeshNet
from jaxret.encoders.pointnet import PointNet
from jaxret.encoders.pointwise import PointwiseLayer
from jaxret.encoders.segments import TRAIN, cut_network, parse_taps
from jaxret.encoders.view_pooling import ViewEncoder, mean_views
from jaxret.systems.base import Backbone, Batch, Variables
from jaxret.systems.image_towers import NORMALIZATIONS, ImageTower, check_frozen_start, make_normalization

MODALITIES = ('image', 'mesh', 'point')
BACKBONES: Mapping[str, Backbone] = {'image': Backbone('model.image_encoder', ('image', 'trunk'))}
IMAGES = ImageTower('image', BACKBONES['image'].scope)
CHOICES = {
    'model.image_encoder': NETWORKS,
    'model.train': TRAIN,
    'model.normalization': NORMALIZATIONS,
    'model.point_encoder': ('dgcnn', 'pointnet'),
    'model.dtype': ('float32', 'bfloat16'),
}


class ImageBranch(nn.Module):
    """Views [B, V, S, S, C] to features [B, D]: trunk, linear, batch norm and ReLU a view, then their mean.

    Without a trunk views are its features [B, V, F] already.
    """

    trunk: nn.Module | None
    dim: int
    axis_name: str | None = None

    @nn.compact
    def __call__(self, views: jax.Array, *, train: bool = False) -> jax.Array:
        features = views if self.trunk is None else ViewEncoder(self.trunk)(views, train=train)
        features = PointwiseLayer(self.dim, axis_name=self.axis_name, name='head')(features, train=train)
        return mean_views(features)


def make_encoders(config: ConfigDict, axis_name: str | None) -> tuple[ImageTower, dict[str, nn.Module]]:
    """The images' tower, and the networks that are trained by modality.

    Args:
      config: with the group `model`, checked.
      axis_name: device axis over which batch norm is synchronised.

    Raises:
      ConfigError: an image network that cannot be cut so.
    """
    model = config.model
    shared = {'dtype': jnp.dtype(model.dtype), 'axis_name': axis_name}
    if model.point_encoder == 'dgcnn':
        point = DGCNN(dim=model.embedding_dim, neighbors=model.neighbors, width=model.point_width, **shared)
    else:
        point = PointNet(dim=model.embedding_dim, width=model.point_width, **shared)
    network = image_network(model.image_encoder, taps=parse_taps(model.taps), **shared)
    cut = cut_network(network, train=model.train, last_blocks=model.last_blocks, key='model.image_encoder')
    if cut.frozen is not None:
        check_frozen_start(config, tuple(BACKBONES))
    tower = ImageTower(IMAGES.name, IMAGES.scope, cut.frozen, make_normalization(config, model.image_encoder))
    return tower, {
        'image': ImageBranch(cut.trained, model.embedding_dim, axis_name),
        'mesh': MeshNet(dim=model.embedding_dim, width=model.mesh_width, **shared),
        'point': point,
    }


def encoder_inputs(tower: ImageTower, variables: Variables, batch: Batch, modality: str) -> tuple[jax.Array, ...]:
    """What a modality's encoder takes of a batch; images as `tower` makes them."""
    if modality == 'image':
        return (tower.of_batch(variables, batch, tower.normalized),)
    return (batch['faces'], batch['neighbors']) if modality == 'mesh' else (batch['points'],)
