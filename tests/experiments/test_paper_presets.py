"""Paper presets train: 20 steps with their own losses, optimizers and groups, on small pictures and small batches.

Networks of the published kind, narrow where they may be; HIFA's AlexNet keeps its widths, which decide whether its norm
loss explodes. Rows with a part of another row's losses, and those that other tests train at small size, are traced.
"""

from functools import partial

import chex
import jax
import numpy as np
import pytest
from experiment import task_class
from overrides import apply_overrides, load_config
from paper_tables.plan import load_paper
from references_encoders import random_variables
from small_cmic import random_batch as photo_batch

from jaxret.systems.cmic import CMIC
from jaxret.systems.cross_modal_center import CrossModalCenter
from jaxret.systems.hifa import Hifa
from jaxret.systems.scan_cad import ScanCad
from jaxret.training.optimizers import make_grouped_optimizer
from jaxret.training.state import create_state
from jaxret.training.step import make_train_step

STEPS, CLASSES, SIDE, CELLS = 20, 4, 64, 32
TRAINED = ('HIFA-GL (with MI)', 'HIFA with lambda 1 and beta 0.05', 'DLEA')
TRACED = ('HIFA-GL', 'HIFA-G')


def blocks(rng, *shape):
    """Pictures uint8 [..., SIDE, SIDE, 3] of 8 x 8 random blocks: unlike noise they differ in what a network sees."""
    return np.repeat(np.repeat(rng.integers(256, size=(*shape, 8, 8, 3)), SIDE // 8, -3), SIDE // 8, -2).astype(
        np.uint8
    )


def prepared(config, system):
    """What makes the first state of variables, and the train step."""
    groups = task_class(config.experiment).from_config(config).parameter_groups
    optimizer, schedule = make_grouped_optimizer(config.optimizer, 20_000, groups)
    start = partial(create_state, optimizer=optimizer, seed=0, average=config.optimizer.average_decay > 0)
    return start, make_train_step(system, optimizer, learning_rate=schedule)


def losses_of(config, system, batch_of, variables):
    """The loss of every step from some variables on."""
    start, step = prepared(config, system)
    state, step, found = jax.jit(start)(variables), jax.jit(step, donate_argnums=0), []
    for number in range(STEPS):
        state, metrics = step(state, batch_of(np.random.default_rng(number)))
        assert np.isfinite(metrics['gradient_norm']), f'step {number}: {metrics}'
        found.append(float(metrics['loss']))
    return np.array(found)


def check_training(config, system, batch_of):
    """The loss does not explode."""
    losses = losses_of(config, system, batch_of, random_variables(system, batch_of(np.random.default_rng(0))))
    assert losses.max() < 2 * losses[0]


def check_trace(config, system, batch_of):
    """The step keeps the state's shapes."""
    start, step = prepared(config, system)
    batch = batch_of(np.random.default_rng(0))
    state = jax.eval_shape(start, jax.eval_shape(system.init, jax.random.key(0), batch))
    found, metrics = jax.eval_shape(step, state, batch)
    chex.assert_trees_all_equal_shapes_and_dtypes(found, state)
    assert metrics['loss'].shape == ()


def hifa(row):
    """Config, system and batches of a row."""
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

    return config, Hifa.from_config(config, classes=CLASSES, steps=20_000), batch_of


@pytest.mark.parametrize('row', TRAINED)
def test_hifa_and_its_comparators(row):
    config, system, batch_of = hifa(row)
    variables = jax.jit(system.init)(jax.random.key(0), batch_of(np.random.default_rng(0)))
    losses = losses_of(config, system, batch_of, variables)
    assert losses.max() < 2 * losses[0] + 10
    if config.loss.norm != 'none' and config.loss.norm_weight == 1:
        assert losses[-1] < losses[0] / 2  # mostly the norms' distance to 25


@pytest.mark.parametrize('row', TRACED)
def test_hifa_with_fewer_losses(row):
    check_trace(*hifa(row))


@pytest.mark.parametrize('preset,check', [('paper', check_training), ('paper_clf', check_trace)])
def test_cross_modal_centers(preset, check):
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

    check(config, CrossModalCenter.from_config(config, classes=CLASSES), batch_of)


@pytest.mark.parametrize('preset,check', [('paper', check_training), ('paper_finetune', check_trace)])
def test_scan_to_cad(preset, check):
    config, _ = load_config(f'scan_cad.py:{preset}')
    apply_overrides(config, {'model.width': '0.05', 'model.embedding_dim': '16'})

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

    check(config, ScanCad.from_config(config), batch_of)


def test_photo_to_shape():
    config, _ = load_config('pix3d.py:paper')
    apply_overrides(config, {'model.query_encoder': 'resnet_coarse', 'model.view_encoder': 'resnet_coarse'})
    system = CMIC.from_config(config, shapes=8)
    check_training(config, system, lambda rng: photo_batch(6, seed=int(rng.integers(2**31))))
