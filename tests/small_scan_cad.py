"""A config of scan-CAD whose networks compile in seconds, random batches for it, and stand-ins for its networks."""

import dataclasses
from functools import cache

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from jaxret.encoders.batch_norm import MaskedBatchNorm
from jaxret.systems.scan_cad import ScanCad

CELLS, POOL, BLOCKS, DIM = 32, 6, 4, 6
STILL = {'augmentation__rotations': 1, 'augmentation__flip': 0.0, 'augmentation__jitter': 0}


def small_config(**changes) -> ConfigDict:
    """All groups that the system reads; `changes` are 'group.key' (with '__' for the dot)."""
    config = ConfigDict(
        {
            'model': {
                'variant': 'hourglass',
                'stem': 'coarse',
                'skip': False,
                'width': 0.125,
                'embedding_dim': 6,
                'points': 16,
                'input_sigmoid': False,
                'normalize': False,
                'dtype': 'float32',
                'convolution': 'auto',
                'train': 'all',
            },
            'loss': {
                'metric': 'contrastive',
                'negatives': 'random',
                'repulsion': False,
                'margin_negative': 1.25,
                'margin_same_class': 0.2,
                'margin_positive': 0.0,
                'margin_second': 0.5,
                'squared': False,
                'reduction': 'mean_all',
                'foreground_weight': 1.0,
                'background_weight': 0.5,
                'completion_weight': 0.25,
                'metric_weight': 2.0,
                'occupied_weight': 1.0,
                'finetune': 'none',
                'easy_positive': False,
            },
            'augmentation': {'rotations': 12, 'flip': 0.5, 'jitter': 1},
            'start_from': '',
        }
    )
    for key, value in changes.items():
        *group, name = key.split('__')
        (config[group[0]] if group else config)[name] = value
    return config


def random_batch(pairs: int, *, seed: int = 0, pool: bool = False) -> dict[str, np.ndarray]:
    """Boxes in clutter: every CAD model is a box of its class's height, the scan a part of it with other cells."""
    rng = np.random.default_rng(seed)
    category = rng.integers(3, size=pairs).astype(np.int32)
    instance = (10 * category + rng.integers(2, size=pairs)).astype(np.int32)
    cad = np.stack([_box(label, number % 10) for label, number in zip(category, instance, strict=True)])
    seen = rng.random(cad.shape) < 0.6
    mask = cad & seen
    scan = mask | (rng.random(cad.shape) < 0.02)
    batch = {
        'scan': scan.astype(np.uint8),
        'mask': mask.astype(np.uint8),
        'cad': cad.astype(np.uint8),
        'category': category,
        'instance': instance,
        'valid': np.ones(pairs, bool),
    }
    if pool:
        shapes = [[_box(label, other) for other in range(POOL)] for label in category]
        batch |= {
            'pool': np.array(shapes, np.uint8),
            'pool_valid': rng.random((pairs, POOL)) < 0.9,
            'rank': rng.permuted(np.tile([1, 2, 3, 0, 0, 0], (pairs, 1)), axis=1).astype(np.int32),
        }
    return batch


def _box(label: int, number: int) -> np.ndarray:
    grid = np.zeros((CELLS,) * 3, bool)
    grid[4 + number : 14 + 3 * number, 2 : 8 + 9 * label, 6:20] = True
    return grid


class FlatHourglass(nn.Module):
    """Stands in for `Hourglass`: logits that are linear in coarse grids, through batch norm."""

    decoders: int = 1
    axis_name: str | None = None

    @nn.compact
    def __call__(self, grids, *, train=False, valid=None):
        x = nn.Dense(self.decoders * BLOCKS**3, name='linear')(_coarse(grids))
        x = MaskedBatchNorm(axis_name=self.axis_name, name='bn')(x, train=train, valid=valid)
        x = x.reshape(-1, self.decoders, *(BLOCKS,) * 3)
        for axis in (2, 3, 4):
            x = jnp.repeat(x, CELLS // BLOCKS, axis=axis)
        return tuple(x[:, index] for index in range(self.decoders))


class FlatEncoder(nn.Module):
    """Stands in for `VoxelEncoder`: embeddings that are linear in coarse grids, through batch norm."""

    axis_name: str | None = None

    @nn.compact
    def __call__(self, grids, *, train=False, valid=None):
        x = nn.Dense(DIM, name='linear')(_coarse(grids))
        return MaskedBatchNorm(axis_name=self.axis_name, name='bn')(x, train=train, valid=valid)


def flat_system(*, axis_name: str | None = None, **changes) -> ScanCad:
    """The system of `small_config` with stand-ins for its networks."""
    system = ScanCad.from_config(small_config(**changes))
    networks = {
        'separation': FlatHourglass(2, axis_name),
        'completion': FlatHourglass(1, axis_name),
        'embedding': FlatEncoder(axis_name),
    }
    return dataclasses.replace(system, networks={name: networks[name] for name in system.networks})


@cache
def flat_variables():
    """Random variables of `flat_system`."""
    return jax.device_get(jax.jit(flat_system().init)(jax.random.key(0), random_batch(1)))


def _coarse(grids):
    step = CELLS // BLOCKS
    x = grids[..., 0].reshape(-1, BLOCKS, step, BLOCKS, step, BLOCKS, step)
    return 2 * x.mean(axis=(2, 4, 6)).reshape(-1, BLOCKS**3)
