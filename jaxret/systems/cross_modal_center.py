"""Images, meshes and point clouds in one space: the cross-modal center loss and its noisy, self-predicting successor.

Baseline ("CLF"): a shared label head, one center a class for all modalities, and the mean squared difference of the
modalities (Jing et al., CVPR 2021). Successor: label prediction, noisy centers and cross-modal SimSiam (Choo et al.,
KSII TIIS 2024). Each object is encoded by every modality's own network to D features that are not negative; retrieval
compares them by cosine, in all ordered pairs of modalities.

Ours, in neither paper: meshes that are stretched and turned in training, and smaller turns (`shape_augmentation`).

Letters: M modalities, B objects, V views, S image side, N points, F faces, D embedding, C classes.

Differs from the papers in (config values, the other choice in brackets):
  - center losses are means over the 3B features, without the printed 1/2 and sum ('half_sum'): `loss.reduction`;
  - the loss weights, the noise and the widths of the MLPs are not printed by Choo et al.: they are config values;
  - SimSiam's sum has the minus sign and j > i that its printed equation lacks;
  - retrieval uses the features before the projection, as the baseline does; the paper does not say;
  - weight decay leaves biases and batch norm alone, the baseline's public code does not; it crops 224 of a view's
    picture, in evaluation the middle, and shows that at 112, where here a random part and in evaluation all is shown;
  - noise on meshes is on corners relative to their centre ('absolute': before): `model.mesh_noise`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from flax import linen as nn
from ml_collections import ConfigDict

from jaxret.encoders.heads import MLP
from jaxret.losses.center import NOISE_DRAWS, REDUCTIONS, cross_modal_center_loss, noisy_center_loss
from jaxret.losses.classification import cross_modal_cross_entropy
from jaxret.losses.contrastive import masked_mean
from jaxret.losses.scores import l2_normalize, similarity_matrix
from jaxret.losses.siamese import cross_modal_simsiam, pairwise_mse
from jaxret.preprocessing.inputs import PhotoInputs, ShapeInputs, spaced, view_ring
from jaxret.systems import cross_modal_augmentation, cross_modal_encoders, image_towers
from jaxret.systems.base import Backbone, Batch, LossAndState, QueryKind, Run, TrainedSystem, Variables, shape_queries
from jaxret.systems.checks import check_values
from jaxret.systems.cross_modal_augmentation import ShapeAugmentation
from jaxret.systems.cross_modal_encoders import BACKBONES, IMAGES, MODALITIES, encoder_inputs, make_encoders
from jaxret.systems.encoding import apply_network
from jaxret.systems.image_towers import ImageTower, frozen_collection

CHOICES = {
    **cross_modal_encoders.CHOICES,
    **cross_modal_augmentation.CHOICES,
    'loss.center': ('center', 'noisy_center'),
    'loss.alignment': ('mse', 'simsiam', 'none'),
    'loss.reduction': REDUCTIONS,
    'loss.noise': NOISE_DRAWS,
}
RANGES = {
    'above 0': tuple(
        f'model.{name}'
        for name in ('embedding_dim', 'neighbors', 'point_width', 'mesh_width', 'label_hidden', 'projection_hidden')
    ),
    '0 or above': tuple(
        f'loss.{name}'
        for name in ('label_weight', 'center_weight', 'alignment_weight', 'sigma', 'clean_weight', 'noisy_weight')
    )
    + cross_modal_augmentation.RANGES['0 or above'],
}
_LOSS_FIELDS = (
    'center', 'alignment', 'reduction', 'label_weight', 'center_weight', 'alignment_weight', 'sigma', 'noise_mean',
    'noise', 'squared', 'clean_weight', 'noisy_weight',
)  # fmt: skip


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
    augmentation: ShapeAugmentation = ShapeAugmentation()
    tower: ImageTower = IMAGES

    TASK: ClassVar[str] = 'cross_modal'
    LATER: ClassVar[Mapping[str, Any]] = {**cross_modal_augmentation.LATER, **image_towers.LATER}
    GALLERIES: ClassVar[tuple[str, ...]] = ('views', 'faces', 'points')
    similarity: ClassVar[str] = 'dot'
    BACKBONES: ClassVar[Mapping[str, Backbone]] = BACKBONES

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
        check_values(config, choices=CHOICES, ranges=RANGES)
        model, (tower, encoders) = config.model, make_encoders(config, axis_name)
        return cls(
            encoders=encoders,
            tower=tower,
            classifier=MLP(model.label_hidden, classes),
            projector=MLP(model.projection_hidden, model.embedding_dim),
            predictor=MLP(model.projection_hidden, model.embedding_dim),
            classes=classes,
            dim=model.embedding_dim,
            augmentation=ShapeAugmentation.from_config(config),
            **{name: config.loss[name] for name in _LOSS_FIELDS},
        )

    @classmethod
    def trained(cls, run: Run, gallery: str) -> TrainedSystem:
        """See `System.trained`: photos find shapes by one of their modalities, and shapes by the same."""
        config, data = run.config, run.config.data
        system = cls.from_config(config, classes=len(run.categories))
        ring = view_ring(config.render, size=data.image_size)
        shapes = ShapeInputs(
            gallery,
            ring=ring,
            view_ids=spaced(min(config.evaluation.views, ring.views), ring.views),
            side=data.image_size,
            unit_sphere=True,
            points=data.points,
            faces=data.faces,
            up_axis=data.up_axis,
        )
        note = (
            'It was trained on rendered views: a photo is cut out by its mask and made grey, and finds less than a '
            'view would.'
        )
        modality = dict(zip(cls.GALLERIES, MODALITIES, strict=True))[gallery]
        photo = QueryKind(PhotoInputs('view', size=data.image_size), 'image')
        queries = {'photo': photo, **shape_queries(shapes, modality, one_by_one=False)}
        embed = partial(_embed_views, system)
        return TrainedSystem('cross_modal_center', embed, shapes, modality, queries, cls.similarity, notes=(note,))

    def init(self, rng: jax.Array, batch: Batch) -> Variables:
        """Variables {'params', 'batch_stats'}; params also hold 'centers' [C, D], drawn from N(0, 1)."""
        params, statistics = {}, {}
        batch = {name: value[:1] for name, value in batch.items()}
        frozen, images = self.tower.init(jax.random.fold_in(rng, 2), self.tower.normalized(batch['image']))
        batch[self.tower.features_name] = images
        for key, name in zip(jax.random.split(rng, 3), MODALITIES, strict=True):
            variables = self.encoders[name].init(key, *encoder_inputs(self.tower, {}, batch, name))
            params[name], statistics[name] = variables['params'], variables['batch_stats']
        keys = jax.random.split(jax.random.fold_in(rng, 1), 4)
        feature = jnp.zeros((1, self.dim))
        params['centers'] = jax.random.normal(keys[0], (self.classes, self.dim))
        params['classifier'] = self.classifier.init(keys[1], feature)['params']
        if self.alignment == 'simsiam':
            params['projector'] = self.projector.init(keys[2], feature)['params']
            params['predictor'] = self.predictor.init(keys[3], feature)['params']
        return {'params': params, 'batch_stats': statistics, **frozen_collection(frozen)}

    def loss(
        self,
        variables: Variables,
        batch: Batch,
        *,
        rng: jax.Array,
        step: jax.Array,
        train: bool,
        axis_name: str | None = None,
    ) -> LossAndState:
        """label_weight * cross-entropy + center_weight * center loss + alignment_weight * (SimSiam or MSE).

        Report: label_loss, center_loss, alignment_loss, and label_accuracy (mean over modalities).
        """
        del step
        point_key, mesh_key, noise_key = jax.random.split(rng, 3)
        if train:
            batch = self.augmentation(batch, point_key, mesh_key, axis_name)
        features, statistics = [], {}
        for name in MODALITIES:
            feature, statistics[name] = self._apply(variables, batch, name, train)
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
        return l2_normalize(self._apply(variables, inputs, modality, False)[0])

    def features(
        self, variables: Variables, inputs: Batch, modality: str, *, rng: jax.Array | None = None
    ) -> jax.Array:
        """What the trained part of the image network takes, which batches may hold in place of images."""
        del rng
        return encoder_inputs(self.tower, variables, inputs, modality)[0]

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

    def _apply(self, variables: Variables, batch: Batch, name: str, train: bool) -> tuple[jax.Array, Any]:
        """Features of one modality, and its batch statistics after this batch."""
        inputs = encoder_inputs(self.tower, variables, batch, name)
        return apply_network(self.encoders[name], variables, name, *inputs, train=train)


def _embed_views(system: CrossModalCenter, variables: Variables, batch: Batch, modality: str) -> jax.Array:
    """As `embed`, images under the name that rendered views have."""
    return system.embed(variables, {'image': batch['views']} if modality == 'image' else batch, modality)
