"""A CMIC system that compiles in seconds, and random batches for it."""

from dataclasses import asdict, replace

import numpy as np
from ml_collections import ConfigDict

from jaxret.encoders.heads import image_encoder
from jaxret.encoders.view_pooling import ViewAttention, ViewEncoder
from jaxret.systems.cmic import CMIC
from jaxret.systems.cmic_color import ColorAugmentation
from jaxret.systems.cmic_losses import MatchingLoss

SIZE, VIEWS, DIM = 16, 3, 8


def small_cmic(*, axis_name: str | None = None, **changes) -> CMIC:
    """CMIC with encoders of one block of width 4 on 16 x 16 images; `changes` replace fields, such as `color_mode`."""

    def encoder():
        return image_encoder('resnet_small', DIM, axis_name=axis_name, width=4, stage_sizes=(1,))

    fields = {
        'query_encoder': encoder(),
        'view_encoder': ViewEncoder(encoder()),
        'attention': ViewAttention(),
        'embedding_dim': DIM,
        'pooling': 'attention',
        'mask': 'channel',
        'matching': MatchingLoss('contrastive', 0.1, 0.2, 'mean', 'included', False, 0.2, 'all'),
        'color': ColorAugmentation('lab', 'style_over_content', 'other', 1.0, (0.1, 0.3, 0.3)),
    }
    for group in ('matching', 'color'):
        own = {name: changes.pop(f'{group}_{name}') for name in asdict(fields[group]) if f'{group}_{name}' in changes}
        fields[group] = replace(fields[group], **own)
    return CMIC(**(fields | changes))


def random_batch(batch_size: int, *, seed: int = 0, categories: int = 3) -> dict[str, np.ndarray]:
    """Random images; photo i shows shape positive[i], several photos may share one."""
    rng = np.random.default_rng(seed)
    shape_category = rng.integers(categories, size=batch_size).astype(np.int32)
    positive = rng.integers(batch_size, size=batch_size).astype(np.int32)
    return {
        'image': rng.integers(256, size=(batch_size, SIZE, SIZE, 3), dtype=np.uint8),
        'mask': rng.integers(256, size=(batch_size, SIZE, SIZE, 1), dtype=np.uint8),
        'views': rng.integers(256, size=(batch_size, VIEWS, SIZE, SIZE, 1), dtype=np.uint8),
        'positive': positive,
        'query_category': shape_category[positive],
        'shape_category': shape_category,
        'query_valid': np.ones(batch_size, bool),
        'shape_valid': np.ones(batch_size, bool),
    }


def optimizer_config(**changes) -> ConfigDict:
    """Plain SGD; `changes` replace keys."""
    keys = {
        'name': 'sgd',
        'learning_rate': 0.05,
        'schedule': 'constant',
        'warmup': 0.0,
        'decay_every': 3,
        'decay_factor': 0.1,
        'b1': 0.9,
        'b2': 0.999,
        'momentum': 0.0,
        'nesterov': False,
        'weight_decay': 0.0,
        'clip_norm': 0.0,
    }
    return ConfigDict(keys | changes)
