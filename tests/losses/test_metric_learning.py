"""Contrastive, triplet and quadruplet losses against loops, forward and backward."""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import references_metric_learning as ref
from references import euclidean_distances as slow_distances
from references import numeric_gradient

from jaxret.errors import ConfigError
from jaxret.losses import metric_learning as losses
from jaxret.losses.scores import euclidean_distances

Q, G = 5, 7
RNG = np.random.default_rng(0)
DISTANCES = RNG.uniform(0, 2, (Q, G)).astype(np.float32)
GALLERY = RNG.uniform(0, 2, (G, G)).astype(np.float32)
POSITIVE = RNG.uniform(0, 2, Q).astype(np.float32)
MARGINS = RNG.choice([0.2, 1.25], (Q, G)).astype(np.float32)
POSITIVES, NEGATIVES = RNG.random((Q, G)) < 0.3, RNG.random((Q, G)) < 0.5
NEGATIVES[2] = False
SINGLE, SECOND = np.zeros((2, Q, G), bool)
SINGLE[[0, 1, 3, 4], [2, 5, 6, 0]] = True
SECOND[[0, 3, 4], [1, 2, 6]] = True
reductions = pytest.mark.parametrize('reduction', losses.REDUCTIONS)


def check(function, oracle, *arguments):
    """Value and gradient of every argument."""
    value, gradients = jax.jit(jax.value_and_grad(function, argnums=tuple(range(len(arguments)))))(*arguments)
    chex.assert_type(value, jnp.float32)
    np.testing.assert_allclose(value, oracle(*arguments), rtol=1e-5)
    for index, gradient in enumerate(gradients):

        def only(x, index=index):
            return oracle(*(x if i == index else np.float64(a) for i, a in enumerate(arguments)))

        np.testing.assert_allclose(gradient, numeric_gradient(only, arguments[index]), atol=1e-4)
    return float(value)


@reductions
@pytest.mark.parametrize('margin_positive', [0.0, 0.6])
def test_contrastive(reduction, margin_positive):
    def oracle(distances):
        return ref.pull(distances, ref.pairs_of(POSITIVES), margin=margin_positive, reduction=reduction) + ref.push(
            distances, ref.pairs_of(NEGATIVES), MARGINS, reduction=reduction
        )

    function = functools.partial(
        losses.contrastive,
        positives=POSITIVES,
        negatives=NEGATIVES,
        margin=MARGINS,
        margin_positive=margin_positive,
        reduction=reduction,
    )
    assert check(function, oracle, DISTANCES) > 0.3


@reductions
def test_triplet(reduction):
    def oracle(distances, positive):
        return ref.triplet(distances, positive, ref.pairs_of(NEGATIVES), MARGINS, reduction=reduction)

    function = functools.partial(losses.mined_triplet, negatives=NEGATIVES, margin=MARGINS, reduction=reduction)
    assert check(function, oracle, DISTANCES, POSITIVE) > 0.3


@reductions
def test_quadruplet(reduction):
    def oracle(distances, positive, gallery):
        return ref.quadruplet(
            distances, positive, gallery, ref.pairs_of(SINGLE), ref.pairs_of(SECOND), MARGINS, 0.4, reduction=reduction
        )

    function = functools.partial(
        losses.quadruplet, negatives=SINGLE, second=SECOND, margin=MARGINS, margin_second=0.4, reduction=reduction
    )
    assert check(function, oracle, DISTANCES, POSITIVE, GALLERY) > 0.3


@pytest.mark.parametrize('squared', [False, True])
def test_through_embeddings_with_twins_and_a_collapsed_pair(squared):
    rng = np.random.default_rng(1)
    x, y = rng.normal(size=(4, 3)).astype(np.float32), rng.normal(size=(5, 3)).astype(np.float32)
    x[1], y[2] = x[0], x[3]
    positives, negatives = np.eye(4, 5, dtype=bool), np.eye(4, 5, k=1, dtype=bool) | np.eye(4, 5, k=-1, dtype=bool)

    def function(x, y):
        return losses.contrastive(euclidean_distances(x, y, squared=squared), positives, negatives, margin=2.0)

    def oracle(x, y):
        distances = slow_distances(x, y, squared=squared)
        margins = np.full((4, 5), 2.0)
        return ref.pull(distances, ref.pairs_of(positives), margin=0.0) + ref.push(
            distances, ref.pairs_of(negatives), margins
        )

    check(function, oracle, x, y)


def test_without_pairs_everything_is_zero_whatever_padding_holds():
    none, junk = np.zeros((Q, G), bool), np.full((Q, G), np.nan, np.float32)
    anchors = np.full(Q, np.nan, np.float32)
    for function, arguments in (
        (functools.partial(losses.contrastive, positives=none, negatives=none, margin=1.0), (junk,)),
        (functools.partial(losses.mined_triplet, negatives=none, margin=1.0), (junk, anchors)),
        (
            functools.partial(losses.quadruplet, negatives=none, second=none, margin=1.0, margin_second=1.0),
            (junk, anchors, np.zeros((G, G), np.float32)),
        ),
    ):
        count = tuple(range(len(arguments)))
        value, gradients = jax.jit(jax.value_and_grad(function, argnums=count))(*arguments)
        assert value == 0 and not any(np.any(gradient) for gradient in gradients)


def test_padding_is_ignored_and_nan_in_use_is_not():
    distances = np.where(POSITIVES | NEGATIVES, DISTANCES, np.nan).astype(np.float32)
    function = jax.jit(functools.partial(losses.contrastive, margin=1.0))
    np.testing.assert_allclose(function(distances, POSITIVES, NEGATIVES), function(DISTANCES, POSITIVES, NEGATIVES))
    distances[tuple(np.argwhere(NEGATIVES)[0])] = np.nan
    assert np.isnan(function(distances, POSITIVES, NEGATIVES))


def test_active_share():
    pairs = ref.pairs_of(NEGATIVES)
    expected = np.mean([DISTANCES[pair] < MARGINS[pair] for pair in pairs])
    assert 0 < expected < 1
    np.testing.assert_allclose(losses.active_share(DISTANCES, NEGATIVES, reach=MARGINS), expected, rtol=1e-6)
    assert losses.active_share(DISTANCES, np.zeros((Q, G), bool), reach=MARGINS) == 0


def test_wrong_arguments_are_refused():
    with pytest.raises(ConfigError, match='median'):
        losses.pull(DISTANCES, POSITIVES, reduction='median')
    with pytest.raises(AssertionError):
        losses.push(DISTANCES, POSITIVES[:2], margin=1.0)
    with pytest.raises(AssertionError):
        losses.mined_triplet(DISTANCES, POSITIVE[:2], NEGATIVES, margin=1.0)
    with pytest.raises(AssertionError):
        losses.quadruplet(DISTANCES, POSITIVE, GALLERY[:3], SINGLE, SECOND, margin=1.0, margin_second=1.0)
