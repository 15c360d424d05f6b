"""Discrepancies of two samples against loop-written oracles, forward and backward."""

from functools import cache

import chex
import jax
import numpy as np
import pytest
import references_adaptation as oracles
from references import numeric_gradient

from jaxret.errors import ConfigError
from jaxret.losses import discrepancy

FACTORS = (0.5, 2.0)
MASKS = {
    'all': (np.ones(5, bool), np.ones(4, bool)),
    'some': (np.array([1, 0, 1, 1, 0], bool), np.array([0, 1, 1, 0], bool)),
    'one': (np.ones(5, bool), np.array([0, 1, 0, 0], bool)),
    'none': (np.zeros(5, bool), np.ones(4, bool)),
}
SOURCE, TARGET = (
    np.random.default_rng(seed).normal(size=(n, 3)).astype(np.float32) + seed for seed, n in ((0, 5), (1, 4))
)
SOURCE_LABELS, TARGET_LABELS = (np.asarray(jax.nn.softmax(2 * x[:, :2])) for x in (SOURCE, TARGET))


def _width(valid, other):
    return oracles.width_of(oracles.rows_of(SOURCE, valid) + oracles.rows_of(TARGET, other))


def _oracle(name, source, target, valid, other):
    """The width of the kernels stays that of the given rows: it is constant to the gradient."""
    rows = oracles.rows_of(source, valid), oracles.rows_of(target, other)
    if name == 'linear_mmd':
        return oracles.linear_mmd(*rows)
    if name == 'coral':
        return oracles.coral(*rows)
    if name == 'multi_kernel_mmd':
        return oracles.multi_kernel_mmd(*rows, FACTORS, width=_width(valid, other))
    labels = oracles.rows_of(SOURCE_LABELS, valid), oracles.rows_of(TARGET_LABELS, other)
    pairs = [list(zip(x, y, strict=True)) for x, y in zip(rows, labels, strict=True)]
    return oracles.joint_mmd(*pairs, FACTORS, 0.7, width=_width(valid, other))


def _loss(name, source, target, valid, other):
    masks = {'source_valid': valid, 'target_valid': other}
    if name == 'multi_kernel_mmd':
        return discrepancy.multi_kernel_mmd(source, target, factors=FACTORS, **masks)
    if name == 'joint_mmd':
        return discrepancy.joint_mmd(
            source, target, SOURCE_LABELS, TARGET_LABELS, factors=FACTORS, label_sigma=0.7, **masks
        )
    return getattr(discrepancy, name)(source, target, **masks)


@cache
def _compiled(name):
    """Value and gradients of (source, target, and their masks)."""
    return jax.jit(jax.value_and_grad(lambda s, t, v, w: _loss(name, s, t, v, w), argnums=(0, 1)))


@pytest.mark.parametrize('name', ['linear_mmd', 'multi_kernel_mmd', 'joint_mmd', 'coral'])
def test_losses_and_gradients(name):
    run = _compiled(name)
    for kind, (valid, other) in MASKS.items():
        padded = [np.where(mask[:, None], x, np.float32(np.nan)) for x, mask in ((SOURCE, valid), (TARGET, other))]
        value, gradients = run(*padded, valid, other)
        np.testing.assert_allclose(value, _oracle(name, SOURCE, TARGET, valid, other), rtol=1e-4, atol=1e-6)
        expected = (
            numeric_gradient(lambda s, v=valid, w=other: _oracle(name, s, TARGET, v, w), SOURCE),
            numeric_gradient(lambda t, v=valid, w=other: _oracle(name, SOURCE, t, v, w), TARGET),
        )
        chex.assert_trees_all_close(gradients, jax.tree.map(np.float32, expected), rtol=1e-3, atol=1e-5)
        undefined = kind == 'none' or (kind == 'one' and name != 'linear_mmd')
        assert (value == 0) == undefined and undefined != any(np.any(gradient) for gradient in gradients)


def test_joint_discrepancy_reaches_the_labels():
    def of(source, target):
        return discrepancy.joint_mmd(SOURCE, TARGET, source, target, factors=FACTORS, label_sigma=0.7)

    def oracle(source, target):
        return oracles.joint_mmd(
            list(zip(SOURCE.astype(float), source, strict=True)),
            list(zip(TARGET.astype(float), target, strict=True)),
            FACTORS,
            0.7,
            width=_width(*MASKS['all']),
        )

    found = jax.jit(jax.grad(of, argnums=(0, 1)))(SOURCE_LABELS, TARGET_LABELS)
    expected = (
        numeric_gradient(lambda s: oracle(s, TARGET_LABELS), SOURCE_LABELS),
        numeric_gradient(lambda t: oracle(SOURCE_LABELS, t), TARGET_LABELS),
    )
    chex.assert_trees_all_close(found, jax.tree.map(np.float32, expected), rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize('name', ['multi_kernel_mmd', 'joint_mmd', 'coral', 'linear_mmd'])
def test_rows_that_are_all_alike(name):
    value, gradients = _compiled(name)(np.ones((5, 3), np.float32), np.ones((4, 3), np.float32), *MASKS['all'])
    chex.assert_tree_all_finite((value, gradients))
    if name != 'joint_mmd':  # whose labels differ
        np.testing.assert_allclose(value, 0, atol=1e-6)


def test_the_same_distribution_is_nearer_than_another():
    rng = np.random.default_rng(0)
    x, same, moved, wider = (rng.normal(size=(200, 4)).astype(np.float32) for _ in range(4))
    linear, kernels, correlation = (
        jax.jit(loss) for loss in (discrepancy.linear_mmd, discrepancy.multi_kernel_mmd, discrepancy.coral)
    )
    for loss, other in ((linear, moved + 1), (kernels, moved + 1), (correlation, 2 * wider), (kernels, 2 * wider)):
        assert loss(x, other) > 10 * abs(loss(x, same))


def test_wrong_arguments_are_refused():
    with pytest.raises(ConfigError, match='factors are \\(\\)'):
        discrepancy.multi_kernel_mmd(SOURCE, TARGET, factors=())
    with pytest.raises(ConfigError, match='all above 0'):
        discrepancy.multi_kernel_mmd(SOURCE, TARGET, factors=(1.0, 0.0))
    with pytest.raises(ConfigError, match='label_sigma is 0'):
        discrepancy.joint_mmd(SOURCE, TARGET, SOURCE_LABELS, TARGET_LABELS, label_sigma=0)
    for call in (
        lambda: discrepancy.coral(SOURCE, TARGET[:, :2]),
        lambda: discrepancy.linear_mmd(SOURCE[0], TARGET),
        lambda: discrepancy.joint_mmd(SOURCE, TARGET, SOURCE_LABELS[:3], TARGET_LABELS),
        lambda: discrepancy.multi_kernel_mmd(SOURCE, TARGET, source_valid=np.ones(4, bool)),
    ):
        with pytest.raises(AssertionError):
            call()
