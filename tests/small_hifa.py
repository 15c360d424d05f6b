"""A HIFA system that compiles in seconds, and random batches for it."""

import flax.linen as nn
import numpy as np

from jaxret.encoders.discriminators import DomainDiscriminator, PairDiscriminator
from jaxret.encoders.heads import LinearHead
from jaxret.encoders.image_backbones import ConvMaps
from jaxret.encoders.layers import drop_units
from jaxret.encoders.resnet import resnet
from jaxret.encoders.shared_views import SharedViews
from jaxret.systems.hifa import Hifa
from jaxret.systems.hifa_config import Weighting

CLASSES, DIM, SIZE, VIEWS, STEPS = 4, 6, 24, 3, 10
NOTHING = {
    'mutual_information': 'none',
    'norm': 'none',
    'centroid': 'none',
    'adversarial': 'none',
    'mmd': 'none',
    'coral_weight': 0.0,
}
EVERYTHING = {
    'mutual_information': 'dv_unbiased',
    'norm': 'fixed',
    'centroid': 'running',
    'adversarial': 'revgrad',
    'mmd': 'jan',
    'coral_weight': 0.3,
}


class Flat(nn.Module):
    """Stands in for a backbone: a 2 x 2 map of some pixels, and one layer with dropout of it."""

    dropout: float

    def setup(self):
        self.cell, self.full = nn.Dense(4), nn.Dense(12)

    def __call__(self, images, *, train=False):
        maps = self.maps(images)
        return maps, self.features(maps)

    def maps(self, images, *, train=False):
        return nn.relu(self.cell(images[:, 3 :: SIZE // 2, 5 :: SIZE // 2]))

    def features(self, maps, *, train=False, keys=None):
        x = maps.reshape(maps.shape[0], -1)
        return nn.relu(self.full(drop_units(x, keys if train else None, rate=self.dropout, layer=0)))


def small_hifa(
    *,
    backbone: str = 'flat',
    dropout: float = 0.0,
    view_pooling: str = 'embedding',
    local: bool = False,
    hidden: tuple[int, ...] = (5,),
    axis_name: str | None = None,
    **weights,
) -> Hifa:
    """The system with a stand-in or a narrow ResNet; HIFA's losses, unless `weights` say otherwise."""
    if backbone == 'flat':
        network = Flat(dropout)
    else:
        network = ConvMaps(resnet('resnet_coarse', width=4, stage_sizes=(1,), axis_name=axis_name, pooled=False))
    fields = {
        'label_weight': 1.0,
        'warmup': 0.0,
        'mutual_information': 'bce',
        'mutual_information_weight': 0.4,
        'mutual_information_decay': 0.9,
        'norm': 'fixed',
        'norm_weight': 0.3,
        'norm_radius': 3.0,
        'norm_step': 0.5,
        'centroid': 'batch',
        'centroid_weight': 0.7,
        'centroid_reduction': 'sum',
        'centroid_momentum': 0.7,
        'pseudo_confidence': 0.0,
        'adversarial': 'none',
        'adversarial_weight': 0.6,
        'adversarial_ramp': 0,
        'mmd': 'none',
        'mmd_weight': 0.9,
        'coral_weight': 0.0,
    }
    return Hifa(
        encoder=SharedViews(network, LinearHead((DIM,)), view_pooling),
        classifier=LinearHead((*hidden, CLASSES)),
        discriminator=PairDiscriminator(7, local=local),
        domain=DomainDiscriminator(8, dropout),
        classes=CLASSES,
        dim=DIM,
        steps=STEPS,
        weighting=Weighting(**(fields | weights)),
    )


def random_batch(photos: int, shapes: int, *, seed: int = 0) -> dict[str, np.ndarray]:
    """Random photos and shapes with grey views, all valid."""
    rng = np.random.default_rng(seed)
    return {
        'photo': rng.integers(256, size=(photos, SIZE, SIZE, 3), dtype=np.uint8),
        'label': rng.integers(CLASSES, size=photos).astype(np.int32),
        'valid': np.ones(photos, bool),
        'views': rng.integers(256, size=(shapes, VIEWS, SIZE, SIZE, 1), dtype=np.uint8),
        'shape_valid': np.ones(shapes, bool),
    }
