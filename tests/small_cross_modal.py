"""A cross-modal system that compiles in seconds, random batches for it, and a stand-in for its encoders."""

import flax.linen as nn
import numpy as np

from jaxret.encoders.dgcnn import DGCNN
from jaxret.encoders.heads import MLP
from jaxret.encoders.meshnet import MeshNet
from jaxret.encoders.pointwise import FeatureHead
from jaxret.encoders.resnet import resnet
from jaxret.systems.cross_modal_center import CrossModalCenter
from jaxret.systems.cross_modal_encoders import ImageBranch

CLASSES, DIM, SIZE, VIEWS, POINTS, FACES = 3, 6, 8, 2, 8, 5


class Flat(nn.Module):
    """Stands in for any encoder: relu(bn(W x)) of the first input as one vector."""

    dim: int = DIM
    axis_name: str | None = None

    @nn.compact
    def __call__(self, first, *others, train=False):
        flat = first.reshape(first.shape[0], -1)
        return FeatureHead(self.dim, axis_name=self.axis_name)(flat, train=train)


def small_system(*, axis_name: str | None = None, flat: bool = False, **changes) -> CrossModalCenter:
    """The system with narrow encoders, or stand-ins; `changes` replace fields."""
    if flat:
        encoders = {name: Flat(axis_name=axis_name) for name in ('image', 'mesh', 'point')}
    else:
        trunk = resnet('resnet_coarse', width=4, stage_sizes=(1,), axis_name=axis_name)
        encoders = {
            'image': ImageBranch(trunk, DIM, axis_name),
            'mesh': MeshNet(dim=DIM, width=0.05, axis_name=axis_name),
            'point': DGCNN(dim=DIM, neighbors=3, widths=(4, 4), bottleneck=8, axis_name=axis_name),
        }
    fields = {
        'encoders': encoders,
        'classifier': MLP(4, CLASSES),
        'projector': MLP(5, DIM),
        'predictor': MLP(5, DIM),
        'classes': CLASSES,
        'dim': DIM,
        'center': 'noisy_center',
        'alignment': 'simsiam',
        'reduction': 'mean',
        'label_weight': 1.0,
        'center_weight': 0.5,
        'alignment_weight': 0.7,
        'sigma': 0.3,
        'noise_mean': 0.1,
        'noise': 'center',
        'squared': False,
        'clean_weight': 1.0,
        'noisy_weight': 0.4,
    }
    return CrossModalCenter(**(fields | changes))


def random_batch(objects: int, *, seed: int = 0) -> dict[str, np.ndarray]:
    """Random objects in three modalities, all valid."""
    rng = np.random.default_rng(seed)
    return {
        'image': rng.integers(256, size=(objects, VIEWS, SIZE, SIZE, 1), dtype=np.uint8),
        'points': rng.normal(size=(objects, POINTS, 3)).astype(np.float32),
        'faces': rng.normal(size=(objects, FACES, 15)).astype(np.float32),
        'neighbors': rng.integers(FACES, size=(objects, FACES, 3)).astype(np.int32),
        'label': rng.integers(CLASSES, size=objects).astype(np.int32),
        'index': np.arange(objects, dtype=np.int32),
        'valid': np.ones(objects, bool),
    }
