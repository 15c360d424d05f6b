"""What the config of scan-CAD decides: its checks, its networks, and the loss between embeddings."""

from dataclasses import dataclass, fields
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from ml_collections import ConfigDict

from jaxret.encoders.convolution3d import FORMS
from jaxret.encoders.hourglass import STEMS, Hourglass, VoxelEncoder
from jaxret.encoders.pointwise import scaled
from jaxret.encoders.voxel_baselines import OccupancyPointNet, VoxelCNN
from jaxret.errors import ConfigError
from jaxret.losses import metric_learning, negatives
from jaxret.losses.scores import euclidean_distances

CHOICES = {
    'model.variant': ('hourglass', 'cnn3d', 'pointnet'),
    'model.stem': STEMS,
    'model.dtype': ('float32', 'bfloat16'),
    'model.convolution': FORMS,
    'loss.metric': ('contrastive', 'triplet', 'quadruplet', 'none'),
    'loss.negatives': negatives.RULES,
    'loss.reduction': metric_learning.REDUCTIONS,
    'loss.finetune': ('none', 'push', 'push_pull'),
}
ABOVE_ZERO = ('model.width', 'model.embedding_dim', 'model.points', 'augmentation.rotations', 'loss.occupied_weight')
ZERO_OR_ABOVE = (
    'loss.margin_negative',
    'loss.margin_same_class',
    'loss.margin_positive',
    'loss.margin_second',
    'loss.foreground_weight',
    'loss.background_weight',
    'loss.completion_weight',
    'loss.metric_weight',
    'augmentation.flip',
    'augmentation.jitter',
)


def check_config(config: ConfigDict) -> None:
    """Raises ConfigError for values that are not one of their choices, out of range, or do not go together."""
    for key, choices in CHOICES.items():
        if _value(config, key) not in choices:
            raise ConfigError(f'config.{key}: {_value(config, key)!r} is not one of {", ".join(choices)}')
    for key in (*ABOVE_ZERO, *ZERO_OR_ABOVE):
        value = _value(config, key)
        if not (value > 0 or (value == 0 and key in ZERO_OR_ABOVE)):
            raise ConfigError(f'config.{key}: {value!r} must be {"above 0" if key in ABOVE_ZERO else "0 or above"}')
    if config.augmentation.flip > 1:
        raise ConfigError(f'config.augmentation.flip: {config.augmentation.flip!r} is a chance, at most 1')
    loss, variant = config.loss, config.model.variant
    if loss.metric == 'none' and variant != 'hourglass':
        raise ConfigError(f"config.loss.metric: 'none' leaves config.model.variant={variant!r} without a loss")
    if loss.metric == 'quadruplet' and loss.negatives not in negatives.SINGLE_RULES:
        raise ConfigError(
            f"config.loss.negatives: {loss.negatives!r} does not go with config.loss.metric='quadruplet'"
            f', which takes one negative a scan; use one of {", ".join(negatives.SINGLE_RULES)}'
        )
    if loss.finetune != 'none' and loss.metric != 'contrastive':
        raise ConfigError(
            f"config.loss.finetune: {loss.finetune!r} needs config.loss.metric='contrastive', not {loss.metric!r}"
        )
    if loss.repulsion and loss.finetune != 'none':
        raise ConfigError(
            f'config.loss.repulsion: is between the CAD models of a batch, which '
            f'config.loss.finetune={loss.finetune!r} does not compare'
        )


def make_networks(model: ConfigDict, axis_name: str | None) -> dict[str, nn.Module]:
    """The networks of a variant, by the name of their part; channels are the published ones times `model.width`.

    Args:
      model: the group `model`, checked.
      axis_name: device axis over which batch norm is synchronised.
    """
    shared: dict[str, Any] = {'dtype': jnp.dtype(model.dtype), 'axis_name': axis_name}
    if model.variant == 'pointnet':
        return {
            'embedding': OccupancyPointNet(points=model.points, dim=model.embedding_dim, width=model.width, **shared)
        }
    shared['convolution'] = model.convolution
    if model.variant == 'cnn3d':
        return {'embedding': VoxelCNN(dim=model.embedding_dim, width=model.width, **shared)}
    shared['stem'] = model.stem

    def channels(*published: int) -> tuple[int, ...]:
        return tuple(scaled(number, model.width) for number in published)

    grids = shared | {'skip': model.skip}
    latent, decoder = scaled(256, model.width), channels(64, 32, 16, 8, 8)
    return {
        'separation': Hourglass(
            encoder_channels=(*channels(16, 32, 64, 128), 2 * latent), decoder_channels=decoder, decoders=2, **grids
        ),
        'completion': Hourglass(encoder_channels=(*channels(8, 16, 32, 64), latent), decoder_channels=decoder, **grids),
        'embedding': VoxelEncoder(channels=(*channels(8, 16, 32, 64), model.embedding_dim), **shared),
    }


@dataclass(frozen=True)
class MetricLoss:
    """The loss between embeddings; fields are the keys of the config group `loss` of the same name."""

    metric: str
    negatives: str
    repulsion: bool
    margin_negative: float
    margin_same_class: float
    margin_positive: float
    margin_second: float
    squared: bool
    reduction: str
    finetune: str
    easy_positive: bool

    @classmethod
    def from_config(cls, loss: ConfigDict) -> 'MetricLoss':
        """From the group `loss`, checked."""
        return cls(**{field.name: loss[field.name] for field in fields(cls)})

    def of_pairs(
        self,
        scans: jax.Array,
        cads: jax.Array,
        labels: dict[str, jax.Array],
        valid: jax.Array,
        negative_key: jax.Array,
        second_key: jax.Array,
    ) -> tuple[jax.Array, jax.Array]:
        """Loss, and share of the chosen negatives whose loss is not 0, of a batch of pairs.

        Args:
          scans: [B, D].
          cads: [B, D], the CAD model of each scan.
          labels: 'category' and 'instance', int [B].
          valid: [B] bool.
          negative_key: of the random choice of negatives.
          second_key: of the quadruplet's second negatives.
        """
        if self.metric == 'none':
            return jnp.zeros(()), jnp.zeros(())
        distances = euclidean_distances(scans, cads, squared=self.squared)
        own = jnp.eye(valid.shape[0], dtype=bool) & valid[:, None]
        positive = jnp.sum(jnp.where(own, distances, 0.0), axis=1)
        other, same = negatives.negative_kinds(labels['category'], labels['instance'], valid)
        relative = self.metric != 'contrastive'
        chosen, margins = negatives.select_negatives(
            distances,
            positive,
            other,
            same,
            rule=self.negatives,
            margin=self.margin_negative,
            margin_same_class=self.margin_same_class,
            relative=relative,
            key=negative_key,
        )
        reach = margins + positive[:, None] if relative else margins
        share = metric_learning.active_share(distances, chosen, reach=reach)
        between = euclidean_distances(cads, cads, squared=self.squared)
        if self.metric == 'contrastive':
            loss = metric_learning.contrastive(
                distances, own, chosen, margin=margins, reduction=self.reduction, margin_positive=self.margin_positive
            )
        elif self.metric == 'triplet':
            loss = metric_learning.mined_triplet(distances, positive, chosen, margin=margins, reduction=self.reduction)
        else:
            second = negatives.second_negatives(second_key, labels['category'], chosen, valid)
            loss = metric_learning.quadruplet(
                distances,
                positive,
                between,
                chosen,
                second,
                margin=margins,
                margin_second=self.margin_second,
                reduction=self.reduction,
            )
        if self.repulsion:  # the scan's own CAD model, of the same row, keeps as far from the negative as the scan
            loss += metric_learning.push(between, chosen, margin=margins, reduction=self.reduction)
        return loss, share

    def of_pools(
        self, scans: jax.Array, pools: jax.Array, labels: dict[str, jax.Array], valid: jax.Array
    ) -> tuple[jax.Array, jax.Array]:
        """Loss, and share of the negatives whose loss is not 0, of scans and the CAD models people ranked for them.

        Args:
          scans: [B, D].
          pools: [B, P, D].
          labels: 'rank' int [B, P] (0 is not ranked) and 'pool_valid' bool [B, P].
          valid: [B] bool.
        """
        distances = jax.vmap(lambda scan, pool: euclidean_distances(scan[None], pool, squared=self.squared)[0])(
            scans, pools
        )
        ranked, unranked = negatives.ranked_pool(labels['rank'], labels['pool_valid'], valid)
        loss = metric_learning.push(distances, unranked, margin=self.margin_negative, reduction=self.reduction)
        if self.finetune == 'push_pull':
            if self.easy_positive:
                ranked = negatives.nearest_positives(distances, ranked)
            loss += metric_learning.pull(distances, ranked, margin=self.margin_positive, reduction=self.reduction)
        reach = jnp.full_like(distances, self.margin_negative)
        return loss, metric_learning.active_share(distances, unranked, reach=reach)


def _value(config: ConfigDict, key: str) -> Any:
    group, name = key.split('.')
    return config[group][name]
