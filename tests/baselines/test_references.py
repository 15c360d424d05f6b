"""Soft nearest neighbours among references, and untrained similarity to views, against loops."""

import math

import numpy as np
import pytest

from jaxret.baselines.references import pooled_scores, reference_probabilities, standardized, view_scores

RNG = np.random.default_rng(0)


def unit(*shape):
    x = RNG.normal(size=shape)
    return x / np.linalg.norm(x, axis=-1, keepdims=True)


@pytest.mark.parametrize('temperature', [0.02, 0.5])
def test_probabilities_against_loops(temperature):
    queries, references, owner = unit(3, 5), unit(7, 5), np.array([2, 0, 2, 3, 2, 0, 3])
    found = reference_probabilities(queries, references, owner, 5, temperature=temperature)
    for q, query in enumerate(queries):
        sums = [0.0] * 5
        for reference, shape in zip(references, owner, strict=True):
            sums[shape] += math.exp(float(query @ reference) / temperature)
        np.testing.assert_allclose(found[q], np.array(sums) / sum(sums), rtol=1e-9)
    assert np.all(found[:, [1, 4]] == 0)


def test_a_cold_temperature_is_the_nearest_neighbour():
    queries, references = unit(4, 3), unit(6, 3)
    found = reference_probabilities(queries, references, np.arange(6), 6, temperature=1e-4)
    np.testing.assert_array_equal(found.argmax(axis=1), (queries @ references.T).argmax(axis=1))
    assert np.all(np.isfinite(found))


def test_pool_against_loops():
    scores, probabilities = RNG.normal(size=(2, 4)), RNG.dirichlet(np.ones(4), size=2)
    probabilities[0, 1] = 0
    found = pooled_scores(scores, probabilities, weight=0.3, temperature=0.2)
    for q in range(2):
        logits = [math.exp(score / 0.2) for score in scores[q]]
        for g in range(4):
            smooth = 0.99 * probabilities[q, g] + 0.01 / 4
            assert found[q, g] == pytest.approx(0.7 * math.log(logits[g] / sum(logits)) + 0.3 * math.log(smooth))
    alone = pooled_scores(scores, probabilities, weight=1.0, temperature=0.2)
    np.testing.assert_array_equal(alone.argsort(axis=1), probabilities.argsort(axis=1))
    views = pooled_scores(scores, probabilities, weight=0.0, temperature=0.2)
    np.testing.assert_array_equal(views.argsort(axis=1), scores.argsort(axis=1))


@pytest.mark.parametrize('views', [1, 2, 5])
def test_best_views_against_loops(views):
    queries, gallery = unit(3, 4), unit(2, views, 4)
    for q, row in enumerate(view_scores(queries, gallery)):
        for g in range(2):
            cosines = sorted((float(queries[q] @ view) for view in gallery[g]), reverse=True)[:2]
            assert row[g] == pytest.approx(sum(cosines) / len(cosines))


def test_standardized_rows_are_unit_and_lose_offset_and_scale():
    features = RNG.normal(size=(6, 2, 3)) * [1.0, 100.0, 5.0] + [7.0, -3.0, 0.0]
    found = standardized(features, features)
    np.testing.assert_allclose(np.linalg.norm(found, axis=-1), 1.0)
    moved = standardized(features * 10 + 4, features * 10 + 4)
    np.testing.assert_allclose(found, moved, atol=5e-3)
    assert np.all(np.isfinite(standardized(np.ones((2, 3)), np.ones((2, 3)))))
