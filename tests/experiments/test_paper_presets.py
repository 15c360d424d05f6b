"""Paper presets train: 20 steps with their own losses, optimizers and groups, on small pictures and small batches.

Networks of the published kind, narrow where they may be; HIFA's AlexNet keeps its widths, which decide whether its norm
loss explodes.
"""

import jax
import numpy as np
import pytest
from experiment import task_class
from overrides import apply_overrides, load_config
from paper_tables.plan import load_paper
from small_cmic import random_batch as photo_batch

from jaxret.systems.cmic import CMIC
from jaxret.systems.cross_modal_center import CrossModalCenter
from jaxret.systems.hifa import Hifa
from jaxret.systems.scan_cad import ScanCad
from jaxret.training.optimizers import make_grouped_optimizer
from jaxret.training.state import create_state
from jaxret.training.step import make_train_step

pytestmark = pytest.mark.usefixtures('quick_compilation')
STEPS, CLASSES, SIDE, CELLS = 20, 4, 64, 32
HIFA_ROWS = ('HIFA-GL (with MI)', 'HIFA-GL', 'HIFA-G', 'HIFA with lambda 1 and beta 0.05', 'DLEA')


def blocks(rng, *shape):
    """Pictures uint8 [..., SIDE, SIDE, 3] of 8 x 8 random blocks: unlike noise they differ in what a network sees."""
    return np.repeat(np.repeat(rng.integers(256, size=(*shape, 8, 8, 3)), SIDE // 8, -3), SIDE // 8, -2).astype(
        np.uint8
    )


def losses_of(config, system, batch_of):
    """The loss of every step."""
    groups = task_class(config.experiment).from_config(config).parameter_groups
    optimizer, schedule = make_grouped_optimizer(config.optimizer, 20_000, groups)
    variables = jax.jit(system.init)(jax.random.key(0), batch_of(np.random.default_rng(0)))
    state = create_state(variables, optimizer, seed=0, average=config.optimizer.average_decay > 0)
    step = jax.jit(make_train_step(system, optimizer, learning_rate=schedule), donate_argnums=0)
    found = []
    for number in range(STEPS):
        state, metrics = step(state, batch_of(np.random.default_rng(number)))
        assert np.isfinite(metrics['gradient_norm']), f'step {number}: {metrics}'
        found.append(float(metrics['loss']))
    return np.array(found)


@pytest.mark.parametrize('row', HIFA_ROWS)
def test_hifa_and_its_comparators(row):
    config, _ = load_config('mi3dor.py:paper')
    apply_overrides(config, {key: str(value) for key, value in load_paper('hifa').rows[row].overrides.items()})

    def batch_of(rng):
        return {
            'photo': blocks(rng, 4),
            'label': rng.integers(CLASSES, size=4).astype(np.int32),
            'valid': np.ones(4, bool),
            'views': blocks(rng, 4, 2),
            'shape_valid': np.ones(4, bool),
        }

    losses = losses_of(config, Hifa.from_config(config, classes=CLASSES, steps=20_000), batch_of)
    assert losses.max() < 2 * losses[0] + 10
    if config.loss.norm != 'none' and config.loss.norm_weight == 1:
        assert losses[-1] < losses[0] / 2  # mostly the norms' distance to 25


@pytest.mark.parametrize('preset', ['paper', 'paper_clf'])
def test_cross_modal_centers(preset):
    config, _ = load_config(f'modelnet40.py:{preset}')
    apply_overrides(
        config,
        {
            'model.image_encoder': 'resnet_coarse',
            'model.point_width': '0.1',
            'model.mesh_width': '0.1',
            'model.neighbors': '4',
        },
    )

    def batch_of(rng):
        return {
            'image': blocks(rng, 4, 2)[:, :, ::2, ::2, :1],
            'points': rng.normal(size=(4, 32, 3)).astype(np.float32),
            'faces': rng.normal(size=(4, 32, 15)).astype(np.float32),
            'neighbors': rng.integers(32, size=(4, 32, 3)).astype(np.int32),
            'label': rng.integers(CLASSES, size=4).astype(np.int32),
            'valid': np.ones(4, bool),
        }

    losses = losses_of(config, CrossModalCenter.from_config(config, classes=CLASSES), batch_of)
    assert losses.max() < 2 * losses[0]


@pytest.mark.parametrize('preset', ['paper', 'paper_finetune'])
def test_scan_to_cad(preset):
    config, _ = load_config(f'scan_cad.py:{preset}')
    apply_overrides(config, {'model.width': '0.125', 'model.embedding_dim': '16'})

    def batch_of(rng):
        grids = np.repeat(np.repeat(np.repeat(rng.random((2, 9, 4, 4, 4)) < 0.3, 8, -1), 8, -2), 8, -3).astype(np.uint8)
        return {
            'scan': np.maximum(grids[:, 0], grids[:, 1]),
            'mask': grids[:, 0],
            'cad': grids[:, 2],
            'category': np.arange(2, dtype=np.int32),
            'instance': np.arange(2, dtype=np.int32),
            'index': np.arange(2, dtype=np.int32),
            'valid': np.ones(2, bool),
            'pool': grids[:, 3:],
            'pool_valid': np.ones((2, 6), bool),
            'rank': np.tile(np.array([1, 2, 3, 0, 0, 0], np.int32), (2, 1)),
        }

    losses = losses_of(config, ScanCad.from_config(config), batch_of)
    assert losses.max() < 2 * losses[0]


def test_photo_to_shape():
    config, _ = load_config('pix3d.py:paper')
    apply_overrides(config, {'model.query_encoder': 'resnet_coarse', 'model.view_encoder': 'resnet_coarse'})
    losses = losses_of(
        config, CMIC.from_config(config, shapes=8), lambda rng: photo_batch(6, seed=int(rng.integers(2**31)))
    )
    assert losses.max() < 2 * losses[0]
