"""Cross-entropy of occupancy against loops."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import references_metric_learning as ref
from references import numeric_gradient

from jaxret.losses.occupancy import occupancy_cross_entropy

RNG = np.random.default_rng(0)
LOGITS = RNG.normal(0, 3, (3, 2, 2, 2)).astype(np.float32)
OCCUPIED = RNG.random((3, 2, 2, 2)) < 0.4


@pytest.mark.parametrize('weight', [1.0, 2.5])
def test_value_and_gradient(weight):
    function = functools.partial(occupancy_cross_entropy, occupied=OCCUPIED, occupied_weight=weight)

    def oracle(logits):
        return [ref.occupancy_cross_entropy(*grid, weight) for grid in zip(logits, OCCUPIED, strict=True)]

    np.testing.assert_allclose(jax.jit(function)(LOGITS), oracle(LOGITS), rtol=1e-5)
    gradient = jax.jit(jax.grad(lambda logits: jnp.sum(function(logits))))(LOGITS)
    np.testing.assert_allclose(gradient, numeric_gradient(lambda x: sum(oracle(x)), LOGITS), atol=1e-5)


def test_large_logits_stay_finite():
    logits = jnp.array([1e4, -1e4]).reshape(2, 1, 1, 1)
    occupied = jnp.array([False, True]).reshape(2, 1, 1, 1)
    np.testing.assert_allclose(occupancy_cross_entropy(logits, occupied), [1e4, 1e4])
    np.testing.assert_allclose(occupancy_cross_entropy(logits, ~occupied), 0)


def test_wrong_arguments_are_refused():
    with pytest.raises(AssertionError):
        occupancy_cross_entropy(LOGITS, OCCUPIED[:2])
    with pytest.raises(AssertionError):
        occupancy_cross_entropy(LOGITS, OCCUPIED.astype(np.float32))
