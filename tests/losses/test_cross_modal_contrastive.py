"""Supervised contrast over modalities against loops, forward and backward."""

import chex
import jax
import numpy as np
import pytest
import references

from jaxret.errors import ConfigError
from jaxret.losses.cross_modal_contrastive import cross_modal_contrastive_loss

LABELS = np.array([2, 0, 2, 1], np.int32)  # one class met twice, two once


def oracle(features, valid, temperature):
    rows = [row / np.linalg.norm(row) for modality in features for row in modality]
    labels, counted = [*LABELS] * len(features), [*valid] * len(features)
    total, anchors = 0.0, 0
    for a, row in enumerate(rows):
        if not counted[a]:
            continue
        others = [j for j in range(len(rows)) if j != a and counted[j]]
        weights = {j: np.exp(row @ rows[j] / temperature) for j in others}
        own = [-np.log(weights[j] / sum(weights.values())) for j in others if labels[j] == labels[a]]
        total, anchors = total + (sum(own) / len(own) if own else 0.0), anchors + 1
    return total / max(anchors, 1)


@pytest.mark.parametrize('valid', [[True] * 4, [True, False, True, True]])
@pytest.mark.parametrize('modalities', [1, 3])
def test_loss_and_gradient_equal_the_oracle(modalities, valid):
    features = np.random.default_rng(modalities).normal(size=(modalities, 4, 5)).astype(np.float32)

    def loss(x):
        return cross_modal_contrastive_loss(x, LABELS, temperature=0.3, valid=np.array(valid))

    value, gradient = jax.value_and_grad(loss)(features)
    expected = references.numeric_gradient(lambda x: oracle(x, valid, 0.3), features.astype(np.float64))
    np.testing.assert_allclose(value, oracle(features.astype(np.float64), valid, 0.3), rtol=1e-5)
    np.testing.assert_allclose(gradient, expected, rtol=1e-3, atol=1e-5)


def test_nothing_valid_what_padding_holds_and_a_wrong_temperature():
    features = np.ones((3, 4, 5), np.float32)
    features[:, 3] = np.nan
    kept = np.array([True, True, True, False])
    for valid in (kept, np.zeros(4, bool)):
        value, gradient = jax.value_and_grad(cross_modal_contrastive_loss)(
            features, LABELS, temperature=0.1, valid=valid
        )
        chex.assert_tree_all_finite((value, gradient))
    assert value == 0 and not np.any(gradient)
    with pytest.raises(ConfigError, match='above 0'):
        cross_modal_contrastive_loss(features, LABELS, temperature=0.0)
