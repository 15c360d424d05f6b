"""What the config of scan-CAD decides: its checks and its networks."""

from typing import Any

import jax.numpy as jnp
from flax import linen as nn
from ml_collections import ConfigDict

from jaxret.encoders.convolution3d import FORMS
from jaxret.encoders.hourglass import STEMS, Hourglass, VoxelEncoder
from jaxret.encoders.pointwise import scaled
from jaxret.encoders.voxel_baselines import OccupancyPointNet, VoxelCNN
from jaxret.errors import ConfigError
from jaxret.losses import metric_learning, negatives
from jaxret.systems.checks import check_values

CHOICES = {
    'model.variant': ('hourglass', 'cnn3d', 'pointnet', 'cells'),
    'model.stem': STEMS,
    'model.train': ('all', 'embedding'),
    'model.dtype': ('float32', 'bfloat16'),
    'model.convolution': FORMS,
    'loss.metric': ('contrastive', 'triplet', 'quadruplet', 'none'),
    'loss.negatives': negatives.RULES,
    'loss.reduction': metric_learning.REDUCTIONS,
    'loss.finetune': ('none', 'push', 'push_pull'),
}
RANGES = {
    'above 0': ('model.width', 'model.embedding_dim', 'model.points', 'augmentation.rotations', 'loss.occupied_weight'),
    '0 or above': (
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
    ),
}


def check_config(config: ConfigDict) -> None:
    """Raises ConfigError for values that are not one of their choices, out of range, or do not go together."""
    check_values(config, choices=CHOICES, ranges=RANGES)
    loss, variant, flip = config.loss, config.model.variant, config.augmentation.flip
    faults = (
        (flip > 1, f'augmentation.flip: {flip!r} is a chance, at most 1'),
        (
            loss.metric == 'none' and variant != 'hourglass',
            f"loss.metric: 'none' leaves config.model.variant={variant!r} without a loss",
        ),
        (
            config.model.train == 'embedding' and (variant != 'hourglass' or loss.metric == 'none'),
            f"model.train: 'embedding' leaves config.model.variant={variant!r} with config.loss.metric={loss.metric!r} "
            f'nothing to train or to freeze',
        ),
        (
            config.model.train == 'embedding' and not config.start_from,
            "model.train: 'embedding' keeps hourglasses that another run trained, and config.start_from names none; "
            'set --config.start_from=WORKDIR',
        ),
        (
            variant == 'cells' and loss.finetune != 'none',
            f"loss.finetune: {loss.finetune!r} does not go with config.model.variant='cells'",
        ),
        (
            loss.metric == 'quadruplet' and loss.negatives not in negatives.SINGLE_RULES,
            f"loss.negatives: {loss.negatives!r} does not go with config.loss.metric='quadruplet', which takes one "
            f'negative a scan; use one of {", ".join(negatives.SINGLE_RULES)}',
        ),
        (
            loss.finetune != 'none' and loss.metric != 'contrastive',
            f"loss.finetune: {loss.finetune!r} needs config.loss.metric='contrastive', not {loss.metric!r}",
        ),
        (
            loss.repulsion and loss.finetune != 'none',
            f'loss.repulsion: is between the CAD models of a batch, which config.loss.finetune={loss.finetune!r} does '
            f'not compare',
        ),
    )
    for fault, message in faults:
        if fault:
            raise ConfigError(f'config.{message}')


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
