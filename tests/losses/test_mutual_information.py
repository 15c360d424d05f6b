"""Bounds on mutual information against loop-written oracles, forward and backward, and the running average."""

from functools import cache, partial

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import references_adaptation as oracles
from references import numeric_gradient

from jaxret.errors import ConfigError
from jaxret.losses import mutual_information as information

LOSSES = {
    information.binary_cross_entropy: oracles.binary_cross_entropy,
    information.jensen_shannon: oracles.jensen_shannon,
    information.donsker_varadhan: oracles.donsker_varadhan,
}
OWNERS = np.array([0, 0, 1, 2, 2], np.int32)  # views of three shapes
ALL, KEPT = np.ones(5, bool), np.array([1, 1, 0, 1, 0], bool)
ONE_OWNER, NONE = np.array([1, 1, 0, 0, 0], bool), np.zeros(5, bool)


def _scores(*shape, seed=0):
    return (2 * np.random.default_rng(seed).normal(size=shape)).astype(np.float32)


@cache
def _compiled(loss):
    """Value and gradient of (scores, valid)."""

    def of(scores, valid):
        return loss(scores, information.negative_pairs(OWNERS, valid=valid), valid=valid)

    return jax.jit(jax.value_and_grad(of))


@pytest.mark.parametrize('loss', LOSSES, ids=lambda loss: loss.__name__)
def test_losses_and_gradients(loss):
    scores, run = _scores(5, 5), _compiled(loss)
    for valid in (ALL, KEPT):
        value, gradient = run(scores, valid)
        np.testing.assert_allclose(value, LOSSES[loss](scores, OWNERS, valid), rtol=1e-5)
        expected = numeric_gradient(lambda x, v=valid: LOSSES[loss](x, OWNERS, v), scores)
        np.testing.assert_allclose(gradient, expected, rtol=1e-4, atol=1e-6)
        assert gradient[0, 1] == 0 and gradient[3, 4] == 0  # views of the same shape
    for valid in (ONE_OWNER, NONE):  # no negative pair
        value, gradient = run(scores, valid)
        assert value == 0 and not np.any(gradient)


@partial(jax.jit, static_argnums=3)
@partial(jax.value_and_grad, has_aux=True)
def _unbiased(scores, valid, average, decay):
    return information.donsker_varadhan_unbiased(
        scores, information.negative_pairs(OWNERS, valid=valid), average, decay=decay, valid=valid
    )


@pytest.mark.parametrize('loss', LOSSES, ids=lambda loss: loss.__name__)
def test_cells_are_averaged_and_invalid_rows_may_hold_anything(loss):
    scores = _scores(3, 5, 5)
    expected = np.mean([LOSSES[loss](cell, OWNERS, KEPT) for cell in scores])
    scores[:, ~KEPT], scores[:, :, ~KEPT] = np.nan, np.inf
    value, gradient = _compiled(loss)(scores, KEPT)
    np.testing.assert_allclose(value, expected, rtol=1e-5)
    chex.assert_tree_all_finite(gradient)


def test_known_values():
    chex.assert_trees_all_equal(information.negative_pairs(np.arange(4)), ~np.eye(4, dtype=bool))
    ignorant, knowing = np.zeros((5, 5), np.float32), 50 * np.eye(5, dtype=np.float32) - 25

    def value(loss, scores):
        return _compiled(loss)(scores, ALL)[0]

    bce, jsd, dv = (partial(value, loss) for loss in LOSSES)
    np.testing.assert_allclose(bce(ignorant), 2 * np.log(2), rtol=1e-6)
    np.testing.assert_allclose([jsd(ignorant), dv(ignorant), dv(ignorant + 7)], 0, atol=1e-5)
    np.testing.assert_allclose(jsd(knowing), -2 * np.log(2), rtol=1e-5)
    np.testing.assert_allclose(dv(knowing), -50, rtol=1e-6)


@pytest.mark.parametrize('size', [300.0, 1e6])
def test_huge_scores_stay_finite(size):
    scores = np.float32(size) * np.sign(_scores(5, 5))
    for loss, oracle in LOSSES.items():
        value, gradient = _compiled(loss)(scores, ALL)
        np.testing.assert_allclose(value, oracle(scores, OWNERS, ALL), rtol=1e-5)
        chex.assert_tree_all_finite(gradient)
    chex.assert_tree_all_finite(_unbiased(scores, ALL, information.start_average(1), 0.9))


def test_unbiased_form_divides_by_the_running_average():
    decay, average = 0.8, information.start_average(2)
    total, weight = np.zeros(2), 0.0  # of exp(T-), by cell
    for seed, valid in enumerate((ALL, KEPT, ALL)):
        scores = _scores(2, 5, 5, seed=seed)
        (value, average), gradient = _unbiased(scores, valid, average, decay)
        weight = decay * weight + (1 - decay)
        for cell, matrix in enumerate(scores):
            _, product = oracles.joint_and_product(matrix, OWNERS, valid)
            total[cell] = decay * total[cell] + (1 - decay) * np.mean(np.exp(product))
            expected = oracles.mine_gradient(matrix, OWNERS, valid, total[cell] / weight)
            np.testing.assert_allclose(gradient[cell], expected / 2, rtol=1e-4, atol=1e-6)
        np.testing.assert_allclose(average['log_average'], np.log(total / weight), rtol=1e-5)
        np.testing.assert_allclose(average['weight'], weight, rtol=1e-6)
        expected = np.mean([oracles.donsker_varadhan(matrix, OWNERS, valid) for matrix in scores])
        np.testing.assert_allclose(value, expected, rtol=1e-5)
    for valid in (ONE_OWNER, NONE):
        (value, kept), gradient = _unbiased(scores, valid, average, decay)
        assert value == 0 and not np.any(gradient)
        chex.assert_trees_all_equal(kept, average)


def test_without_memory_the_unbiased_form_is_the_biased_one():
    scores, negatives = _scores(5, 5), information.negative_pairs(OWNERS)
    old = {'log_average': jnp.full(1, 9.0), 'weight': jnp.ones(())}
    (value, _), gradient = _unbiased(scores, ALL, old, 0.0)
    chex.assert_trees_all_close((value, gradient), _compiled(information.donsker_varadhan)(scores, ALL), rtol=1e-5)
    with pytest.raises(ConfigError, match='decay is 1.0'):
        information.donsker_varadhan_unbiased(scores, negatives, old, decay=1.0)


def test_wrong_arguments_are_refused():
    scores, negatives = _scores(5, 5), information.negative_pairs(OWNERS)
    for loss in LOSSES:
        for wrong in (
            (scores[:4], negatives),
            (scores, negatives[:4]),
            (scores.astype(int), negatives),
            (scores, negatives.astype(np.float32)),
        ):
            with pytest.raises(AssertionError):
                loss(*wrong)
        with pytest.raises(AssertionError):
            loss(scores, negatives, valid=np.ones(4, bool))
    with pytest.raises(AssertionError):
        information.negative_pairs(OWNERS.astype(np.float32))
