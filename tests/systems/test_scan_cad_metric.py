"""The loss between embeddings of scans and CAD models that a config asks for, against loops; awkward batches."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import references_scan_cad as oracle
from small_scan_cad import DIM, POOL, small_config

from jaxret.systems.scan_cad_losses import MetricLoss

PAIRS = 9
RNG = np.random.default_rng(0)
SCANS, CADS = RNG.normal(size=(2, PAIRS, DIM)).astype(np.float32)
POOLS = RNG.normal(size=(PAIRS, POOL, DIM)).astype(np.float32)
# Rows 1 and 5 show one CAD model; class 2 has one model alone.
LABELS = {
    'category': np.array([0, 1, 0, 2, 1, 1, 0, 1, 0], np.int32),
    'instance': np.array([3, 7, 4, 9, 8, 7, 5, 6, 3], np.int32),
}
RANKS = {
    'rank': RNG.permuted(np.tile([1, 2, 3, 0, 0, 0], (PAIRS, 1)), axis=1).astype(np.int32),
    'pool_valid': RNG.random((PAIRS, POOL)) < 0.8,
}
KEYS = tuple(jax.random.split(jax.random.key(5)))


def make(**changes):
    return MetricLoss.from_config(small_config(**{f'loss__{key}': value for key, value in changes.items()}).loss)


def compiled(metric, transform=lambda run: jax.value_and_grad(run, argnums=(0, 1), has_aux=True)):
    """(loss, active share), and the gradient of the loss, of scans and CAD models or pools."""

    def run(scans, others, labels, valid):
        if metric.finetune != 'none':
            return metric.of_pools(scans, others, labels, valid)
        return metric.of_pairs(scans, others, labels, valid, *KEYS)

    return jax.jit(transform(run))


@pytest.mark.parametrize(
    'changes',
    [
        {'margin_negative': 5.0, 'margin_positive': 0.5},
        {'negatives': 'adaptive', 'squared': True, 'margin_negative': 20.0, 'margin_same_class': 15.0},
        {'negatives': 'all', 'reduction': 'mean_nonzero', 'margin_negative': 4.0, 'margin_same_class': 2.5},
        {'negatives': 'same_class', 'margin_same_class': 5.0, 'repulsion': True},
        {'negatives': 'hardest', 'repulsion': True, 'margin_negative': 4.0},
        {'repulsion': True, 'margin_negative': 5.0},
        {'metric': 'triplet', 'negatives': 'semi_hard', 'margin_negative': 3.0},
        {'metric': 'triplet', 'reduction': 'mean_nonzero'},
        {'metric': 'triplet', 'negatives': 'adaptive', 'margin_same_class': 1.5},
        {'metric': 'quadruplet', 'margin_second': 2.0, 'repulsion': True, 'margin_negative': 3.0},
    ],
)
def test_losses_of_pairs(changes):
    metric = make(**changes)
    run = compiled(metric, lambda run: run)
    for padded in (False, True):
        valid, labels, scans = np.ones(PAIRS, bool), dict(LABELS), SCANS
        if padded:  # what padding holds does not matter
            valid[7:] = False
            labels['category'] = np.where(valid, labels['category'], -7)
            scans = np.where(valid[:, None], scans, np.nan)
        found = run(scans, CADS, labels, valid)
        expected, share = oracle.pair_loss(metric, np.where(valid[:, None], SCANS, 0), CADS, labels, valid, *KEYS)
        assert expected > 0 and share > 0
        np.testing.assert_allclose(found, [expected, share], rtol=1e-4)


@pytest.mark.parametrize(
    'changes',
    [
        {'finetune': 'push', 'margin_negative': 4.0, 'easy_positive': True},
        {'finetune': 'push_pull', 'margin_negative': 15.0, 'squared': True},
        {'finetune': 'push_pull', 'margin_negative': 4.0, 'margin_positive': 0.5, 'easy_positive': True},
    ],
)
def test_losses_of_pools(changes):
    metric = make(**changes)
    run = compiled(metric)
    for padded in (False, True):
        valid = np.arange(PAIRS) < (5 if padded else PAIRS)
        (value, active), (_, gradient) = run(SCANS, POOLS, RANKS, valid)
        expected, share = oracle.pool_loss(metric, SCANS, POOLS, RANKS, valid)
        assert expected > 0 and share > 0
        np.testing.assert_allclose([value, active], [expected, share], rtol=1e-4)
        pulled = np.any(np.asarray(gradient) != 0, axis=2) & (RANKS['rank'] > 0)
        there = (RANKS['rank'] > 0) & RANKS['pool_valid'] & valid[:, None]
        wanted = np.zeros(PAIRS) if metric.finetune == 'push' else there.sum(axis=1)
        np.testing.assert_array_equal(pulled.sum(axis=1), np.minimum(wanted, 1) if metric.easy_positive else wanted)
    nothing = dict(RANKS, rank=np.zeros_like(RANKS['rank']))
    (value, active), gradients = run(SCANS, POOLS, nothing, np.ones(PAIRS, bool))
    assert value == active == 0 and not any(np.any(gradient) for gradient in gradients)


@pytest.mark.parametrize(
    'changes',
    [
        {'repulsion': True},
        {'negatives': 'all', 'margin_same_class': 0.0},
        {'metric': 'triplet', 'negatives': 'hardest'},
        {'metric': 'quadruplet'},
    ],
)
def test_one_model_one_class_or_nothing(changes):
    """Random negatives of other classes do not exist: what is left is defined, with finite gradients."""
    run, everyone = compiled(make(margin_positive=0.5, **changes)), np.ones(PAIRS, bool)
    one_class = {'category': np.zeros(PAIRS, np.int32), 'instance': LABELS['instance']}
    one_model = {'category': np.zeros(PAIRS, np.int32), 'instance': np.zeros(PAIRS, np.int32)}
    distances = oracle.euclidean_distances(SCANS, CADS)
    pull = oracle.ref.pull(distances, [(i, i) for i in range(PAIRS)], margin=0.5)
    found = {
        'one model': run(SCANS, CADS, one_model, everyone),
        'collapsed': run(CADS, CADS, LABELS, everyone),
        'nothing': run(SCANS, CADS, LABELS, ~everyone),
        'one class': run(SCANS, CADS, one_class, everyone),
    }
    chex.assert_tree_all_finite(found)
    (value, active), gradients = found['nothing']
    assert value == active == 0 and not any(np.any(gradient) for gradient in gradients)
    (value, active), _ = found['one model']
    np.testing.assert_allclose(value, pull if 'metric' not in changes else 0, rtol=1e-4)
    assert active == 0
    if changes.get('negatives') != 'hardest':
        assert found['one class'][0] == found['one model'][0]


def test_without_a_metric_there_is_no_loss():
    (value, active), gradients = compiled(make(metric='none'))(SCANS, CADS, LABELS, np.ones(PAIRS, bool))
    assert value == active == 0 and not any(jnp.any(gradient) for gradient in gradients)
