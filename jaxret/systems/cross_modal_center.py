"""Images, meshes and point clouds in one space: the cross-modal center loss and its noisy, self-predicting successor.

Baseline ("CLF"): a shared label head, one center a class for all modalities, and the mean squared difference of the
modalities (Jing et al., CVPR 2021). Successor: label prediction, noisy centers and cross-modal SimSiam (Choo et al.,
KSII TIIS 2024). Each object is encoded by every modality's own network to D features that are not negative; retrieval
compares them by cosine, in all ordered pairs of modalities.

Letters: M modalities, B objects, V views, S image side, N points, F faces, D embedding, C classes.

Differs from the papers in (config values, the other choice in brackets):
  - center losses are means over the 3B features, without the printed 1/2 and sum ('half_sum'): `loss.reduction`;
  - the loss weights, the noise and the widths of the MLPs are not printed by Choo et al.: they are config values;
  - SimSiam's sum has the minus sign and j > i that its printed equation lacks;
  - retrieval uses the features before the projection, as the baseline does; the paper does not say.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from flax import linen as nn
from ml_collections import ConfigDict

from jaxret.augmentation.points import augment_points, jitter_faces
from jaxret.encoders.dgcnn import DGCNN
from jaxret.encoders.heads import MLP
from jaxret.encoders.meshnet import MeshNet
from jaxret.encoders.pointnet import PointNet
from jaxret.encoders.pointwise import PointwiseLayer
from jaxret.encoders.resnet import RESNET_NAMES, resnet
from jaxret.encoders.view_pooling import ViewEncoder, mean_views
from jaxret.errors import ConfigError
from jaxret.losses.center import NOISE_DRAWS, REDUCTIONS, cross_modal_center_loss, noisy_center_loss
from jaxret.losses.classification import cross_modal_cross_entropy
from jaxret.losses.contrastive import masked_mean
from jaxret.losses.scores import l2_normalize, similarity_matrix
from jaxret.losses.siamese import cross_modal_simsiam, pairwise_mse
from jaxret.systems.base import Batch, Variables

MODALITIES = ('image', 'mesh', 'point')
CHOICES = {
    'model.image_encoder': RESNET_NAMES,
    'model.point_encoder': ('dgcnn', 'pointnet'),
    'model.dtype': ('float32', 'bfloat16'),
    'loss.center': ('center', 'noisy_center'),
    'loss.alignment': ('mse', 'simsiam', 'none'),
    'loss.reduction': REDUCTIONS,
    'loss.noise': NOISE_DRAWS,
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


@dataclass(frozen=True, eq=False)
class CrossModalCenter:
    """The system (see the module's docstring and `experiments/configs/modelnet40.py` for the values' meaning)."""

    encoders: dict[str, nn.Module]
    classifier: MLP
    projector: MLP
    predictor: MLP
    classes: int
    dim: int
    center: str
    alignment: str
    reduction: str
    label_weight: float
    center_weight: float
    alignment_weight: float
    sigma: float
    noise_mean: float
    noise: str
    squared: bool
    clean_weight: float
    noisy_weight: float

    # Image networks that published weights fit: key of config.pretrained -> modules that lead to it.
    BACKBONES: ClassVar[Mapping[str, tuple[str, ...]]] = {'image': ('image', 'trunk')}

    @classmethod
    def from_config(cls, config: ConfigDict, *, classes: int, axis_name: str | None = None) -> 'CrossModalCenter':
        """The system that a config describes.

        Args:
          config: with the groups `model` and `loss`.
          classes: C.
          axis_name: device axis over which batch norm is synchronised (only for `pmap`).

        Raises:
          ConfigError: a value that is not one of its choices, or out of range.
        """
        for key, choices in CHOICES.items():
            group, name = key.split('.')
            if config[group][name] not in choices:
                raise ConfigError(f'config.{key}: {config[group][name]!r} is not one of {", ".join(choices)}')
        model, loss = config.model, config.loss
        for group, names, least in (
            (
                'model',
                ('embedding_dim', 'neighbors', 'point_width', 'mesh_width', 'label_hidden', 'projection_hidden'),
                'above 0',
            ),
            (
                'loss',
                ('label_weight', 'center_weight', 'alignment_weight', 'sigma', 'clean_weight', 'noisy_weight'),
                '0 or above',
            ),
        ):
            for name in names:
                value = config[group][name]
                if value < 0 or (value == 0 and least == 'above 0'):
                    raise ConfigError(f'config.{group}.{name}: {value!r} must be {least}')
        shared = {'dtype': jnp.dtype(model.dtype), 'axis_name': axis_name}
        if model.point_encoder == 'dgcnn':
            point = DGCNN(dim=model.embedding_dim, neighbors=model.neighbors, width=model.point_width, **shared)
        else:
            point = PointNet(dim=model.embedding_dim, width=model.point_width, **shared)
        encoders = {
            'image': ImageBranch(resnet(model.image_encoder, **shared), model.embedding_dim, axis_name),
            'mesh': MeshNet(dim=model.embedding_dim, width=model.mesh_width, **shared),
            'point': point,
        }
        return cls(
            encoders=encoders,
            classifier=MLP(model.label_hidden, classes),
            projector=MLP(model.projection_hidden, model.embedding_dim),
            predictor=MLP(model.projection_hidden, model.embedding_dim),
            classes=classes,
            dim=model.embedding_dim,
            center=loss.center,
            alignment=loss.alignment,
            reduction=loss.reduction,
            label_weight=loss.label_weight,
            center_weight=loss.center_weight,
            alignment_weight=loss.alignment_weight,
            sigma=loss.sigma,
            noise_mean=loss.noise_mean,
            noise=loss.noise,
            squared=loss.squared,
            clean_weight=loss.clean_weight,
            noisy_weight=loss.noisy_weight,
        )

    def init(self, rng: jax.Array, batch: Batch) -> Variables:
        """Variables {'params', 'batch_stats'}; params also hold 'centers' [C, D], drawn from N(0, 1)."""
        params, statistics = {}, {}
        for key, name in zip(jax.random.split(rng, 3), MODALITIES, strict=True):
            variables = self.encoders[name].init(key, *_inputs(batch, name, first=1))
            params[name], statistics[name] = variables['params'], variables['batch_stats']
        keys = jax.random.split(jax.random.fold_in(rng, 1), 4)
        feature = jnp.zeros((1, self.dim))
        params['centers'] = jax.random.normal(keys[0], (self.classes, self.dim))
        params['classifier'] = self.classifier.init(keys[1], feature)['params']
        if self.alignment == 'simsiam':
            params['projector'] = self.projector.init(keys[2], feature)['params']
            params['predictor'] = self.predictor.init(keys[3], feature)['params']
        return {'params': params, 'batch_stats': statistics}

    def loss(
        self,
        variables: Variables,
        batch: Batch,
        *,
        rng: jax.Array,
        step: jax.Array,
        train: bool,
        axis_name: str | None = None,
    ) -> tuple[jax.Array, tuple[dict[str, Any], dict[str, jax.Array]]]:
        """label_weight * cross-entropy + center_weight * center loss + alignment_weight * (SimSiam or MSE).

        Report: label_loss, center_loss, alignment_loss, and label_accuracy (mean over modalities).
        """
        del step
        point_key, mesh_key, noise_key = jax.random.split(rng, 3)
        if train:
            objects = _global_objects(batch['label'].shape[0], axis_name)
            batch = {
                **batch,
                'points': _each(augment_points, point_key, objects, batch['points']),
                'faces': _each(jitter_faces, mesh_key, objects, batch['faces']),
            }
        features, statistics = [], {}
        for name in MODALITIES:
            feature, statistics[name] = self._apply(variables, name, _inputs(batch, name), train)
            features.append(feature)
        features = jnp.stack(features)  # [M, B, D]
        labels, valid = batch['label'], batch['valid']
        if axis_name is not None:  # features and labels cross devices, in rank order
            features = jax.lax.all_gather(features, axis_name, axis=1, tiled=True)
            labels, valid = jax.lax.all_gather((labels, valid), axis_name, tiled=True)
        params = variables['params']
        logits = self.classifier.apply({'params': params['classifier']}, features)
        label_loss = cross_modal_cross_entropy(logits, labels, valid=valid)
        center_loss = self._center_loss(features, labels, params['centers'], noise_key, valid)
        alignment_loss = self._alignment_loss(features, params, valid)
        hits = jnp.mean(jnp.argmax(logits, axis=-1) == labels[None, :], axis=0)  # [M, B] -> [B]
        total = (
            self.label_weight * label_loss + self.center_weight * center_loss + self.alignment_weight * alignment_loss
        )
        report = {
            'label_loss': label_loss,
            'center_loss': center_loss,
            'alignment_loss': alignment_loss,
            'label_accuracy': masked_mean(hits, valid),
        }
        return total, ({'batch_stats': statistics}, report)

    def embed(self, variables: Variables, inputs: Batch, modality: str) -> jax.Array:
        """Unit embeddings [B, D] of one modality in evaluation mode.

        Args:
          variables: of `init` or training.
          inputs: 'image' [B, V, S, S, C] (uint8) for 'image'; 'faces' [B, F, 15] and 'neighbors' [B, F, 3] for 'mesh';
            'points' [B, N, 3] for 'point'.
          modality: 'image', 'mesh' or 'point'.
        """
        if modality not in MODALITIES:
            raise ValueError(f'embeds {", ".join(MODALITIES)}, not {modality!r}')
        return l2_normalize(self._apply(variables, modality, _inputs(inputs, modality), False)[0])

    def score(self, variables: Variables, queries: jax.Array, gallery: jax.Array) -> jax.Array:
        """Cosine [Q, G] of unit embeddings [Q, D] and [G, D]."""
        del variables
        return similarity_matrix(queries, gallery)

    def _center_loss(
        self, features: jax.Array, labels: jax.Array, centers: jax.Array, key: jax.Array, valid: jax.Array
    ) -> jax.Array:
        if self.center == 'center':
            return cross_modal_center_loss(features, labels, centers, reduction=self.reduction, valid=valid)
        return noisy_center_loss(
            features,
            labels,
            centers,
            key=key,
            sigma=self.sigma,
            mean=self.noise_mean,
            clean_weight=self.clean_weight,
            noisy_weight=self.noisy_weight,
            squared=self.squared,
            noise=self.noise,
            reduction=self.reduction,
            valid=valid,
        )

    def _alignment_loss(self, features: jax.Array, params: dict[str, Any], valid: jax.Array) -> jax.Array:
        if self.alignment == 'none':
            return jnp.zeros(())
        if self.alignment == 'mse':
            return pairwise_mse(features, valid=valid)
        projected = self.projector.apply({'params': params['projector']}, features)
        predicted = self.predictor.apply({'params': params['predictor']}, projected)
        return cross_modal_simsiam(predicted, projected, valid=valid)

    def _apply(
        self, variables: Variables, name: str, inputs: tuple[jax.Array, ...], train: bool
    ) -> tuple[jax.Array, Any]:
        """Features of one modality, and its batch statistics after this batch."""
        own = {'params': variables['params'][name], 'batch_stats': variables['batch_stats'][name]}
        if not train:
            return self.encoders[name].apply(own, *inputs, train=False), own['batch_stats']
        features, state = self.encoders[name].apply(own, *inputs, train=True, mutable=['batch_stats'])
        return features, state['batch_stats']


def _inputs(batch: Batch, modality: str, *, first: int | None = None) -> tuple[jax.Array, ...]:
    """What a modality's encoder takes, of the first objects only where asked; images in [-1, 1]."""
    if modality == 'image':
        return (batch['image'][:first].astype(jnp.float32) / 127.5 - 1,)
    if modality == 'mesh':
        return batch['faces'][:first], batch['neighbors'][:first]
    return (batch['points'][:first],)


def _global_objects(local: int, axis_name: str | None) -> tuple[jax.Array, int]:
    """Places of this device's objects in the global batch, and its size."""
    if axis_name is None:
        return jnp.arange(local), local
    return jax.lax.axis_index(axis_name) * local + jnp.arange(local), jax.lax.axis_size(axis_name) * local


def _each(
    change: Callable[[jax.Array, jax.Array], jax.Array],
    key: jax.Array,
    objects: tuple[jax.Array, int],
    values: jax.Array,
) -> jax.Array:
    """`change` of every object with a key of its own, the same however the batch is split over devices."""
    mine, total = objects
    return jax.vmap(lambda own, value: change(own, value[None])[0])(jax.random.split(key, total)[mine], values)
