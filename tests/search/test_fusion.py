"""Soft nearest neighbours among references, similarity to views, and search by both, against loops."""

import math

import numpy as np
import pytest
from references_search import score as slow_score

from jaxret.errors import ConfigError
from jaxret.search.exact import search
from jaxret.search.fusion import fused_search
from jaxret.search.gallery import SearchGallery
from jaxret.search.references import (
    Evidence,
    Fusion,
    pooled_scores,
    reference_evidence,
    reference_probabilities,
    reference_space,
    view_scores,
)

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


def test_evidence_against_loops():
    owner, fusion = np.array([2, 0, 2, 3, 2]), Fusion(temperature=0.05, background=0.3)
    cosines = np.array([[0.9, 0.3, 0.5, -1.0, 0.2], [-1.0, -0.2, 0.3, 1.0, 0.3]])
    found = reference_evidence(cosines, owner, 5, fusion)
    for q in range(2):
        for g in range(5):
            odds = sum(math.exp((cosines[q, r] - 0.3) / 0.05) for r in range(5) if owner[r] == g)
            assert found[q, g] == pytest.approx(math.log(1 + odds), rel=1e-9)
    assert np.all(found[:, [1, 4]] == 0) and found[0, 0] == pytest.approx(math.log(2))  # at the background: one to one
    cold = reference_evidence(cosines, owner, 5, Fusion(temperature=1e-4))
    assert np.all(np.isfinite(cold)) and cold[0, 2] == pytest.approx(6000)


@pytest.mark.parametrize('views', [1, 2, 5])
def test_best_views_against_loops(views):
    queries, gallery = unit(3, 4), unit(2, views, 4)
    for q, row in enumerate(view_scores(queries, gallery)):
        for g in range(2):
            cosines = sorted((float(queries[q] @ view) for view in gallery[g]), reverse=True)[:2]
            assert row[g] == pytest.approx(sum(cosines) / len(cosines))


def test_standardized_rows_are_unit_and_lose_offset_and_scale():
    def standardized(features):
        return reference_space(features, standardize=True)(features)

    features = RNG.normal(size=(12, 3)) * [1.0, 100.0, 5.0] + [7.0, -3.0, 0.0]
    found = standardized(features)
    np.testing.assert_allclose(np.linalg.norm(found, axis=-1), 1.0)
    np.testing.assert_allclose(found, standardized(features * 10 + 4), atol=5e-3)
    assert np.all(np.isfinite(standardized(np.ones((2, 3)))))


def slow_fused(kind, photos, projected, gallery, allowed, references, owner, fusion):
    """Every allowed shape's (index, S, s) for one query of several photos, in a loop; best first."""
    shapes = np.flatnonzero(allowed)
    width = photos.shape[1]
    mean, spread = np.zeros(width), np.ones(width)
    if len(references) >= 20:
        mean, spread = references.astype(float).mean(axis=0), references.astype(float).std(axis=0) + 1e-3

    def unit(x):
        x = (x - mean) / spread
        return x / math.sqrt(math.fsum(x * x))

    scored = []
    for g in shapes:
        own = []
        for number, photo in enumerate(photos):
            side = None if projected is None else projected[number].tolist()
            own.append(float(np.float32(slow_score(kind, photo.tolist(), side, gallery[g].tolist())[0])))
        views = math.fsum(own) / len(own)
        said = 0.0
        for photo in photos:
            cosines = [float(unit(photo) @ unit(r)) for r, shape in zip(references, owner, strict=True) if shape == g]
            said += math.log(1 + sum(math.exp((c - fusion.background) / fusion.temperature) for c in cosines))
        pooled = (1 - fusion.weight) * views / fusion.view_temperature + fusion.weight * said / len(photos)
        scored.append((g, pooled if allowed[owner].any() else views, views))
    return sorted(scored, key=lambda item: (-item[1], -item[2], item[0]))


@pytest.mark.parametrize('kind', ['attention', 'dot'])
@pytest.mark.parametrize('photos', [1, 3])
@pytest.mark.parametrize(('references', 'background'), [(0, 0.3), (3, 0.3), (25, -0.1)])
def test_fused_search_against_loops_over_all_shapes(kind, photos, references, background):
    rng = np.random.default_rng(photos + references)
    count, width = 90, 6
    gallery = unit(count, *((2,) if kind == 'attention' else ()), width).astype(np.float32)
    gallery[7] = gallery[5]  # equal scores
    queries = [unit(photos, width).astype(np.float32) for _ in range(2)]
    projected = [query[:, ::-1].copy() for query in queries] if kind == 'attention' else None
    vectors = unit(references, width).astype(np.float32)
    owner = rng.integers(0, 12, references) * 7
    owner[:1] = 7
    allowed = rng.random(count) < 0.8
    allowed[5] = allowed[7] = True
    fusion = Fusion(weight=0.4, temperature=0.2, view_temperature=0.3, background=background)
    evidence = Evidence(vectors, owner, count, fusion) if references else None
    search_gallery = SearchGallery(gallery, kind)
    found = fused_search(search_gallery, queries, 10, projected=projected, candidates=allowed, evidence=evidence)
    for number, query in enumerate(queries):
        side = None if projected is None else projected[number]
        wanted = slow_fused(kind, query, side, gallery, allowed, vectors, owner, fusion)[:10]
        assert found.indices[number].tolist() == [g for g, _, _ in wanted]
        np.testing.assert_allclose(found.scores[number], [score for _, score, _ in wanted], rtol=1e-5)
    if photos == 1 and not references:  # as the search of views, bit for bit
        plain = search(
            search_gallery,
            np.concatenate(queries),
            10,
            projected=None if projected is None else np.concatenate(projected),
            candidates=allowed,
        )
        np.testing.assert_array_equal(plain.scores, found.scores)
        np.testing.assert_array_equal(plain.indices, found.indices)


def test_references_of_shapes_that_are_not_allowed_say_nothing():
    gallery, photo = SearchGallery(unit(4, 3).astype(np.float32), 'dot'), unit(1, 3).astype(np.float32)
    evidence = Evidence(photo, np.array([2]), 4, Fusion(weight=0.9))
    allowed = np.array([True, True, False, True])
    found = fused_search(gallery, [photo], 4, candidates=allowed, evidence=evidence)
    np.testing.assert_array_equal(found.scores, search(gallery, photo, 4, candidates=allowed).scores)
    assert fused_search(gallery, [photo], 1, evidence=evidence).indices.tolist() == [[2]]
    assert evidence.counts.tolist() == [0, 0, 1, 0]


def test_many_photos_of_one_object_in_a_gallery_of_which_few_shapes_are_looked_at():
    gallery, photos = SearchGallery(unit(3000, 5).astype(np.float32), 'dot'), unit(4, 5).astype(np.float32)
    found = fused_search(gallery, [photos], 3)
    every = np.stack([gallery.score(photo, None, np.arange(3000))[0] for photo in photos]).astype(float).mean(axis=0)
    assert found.indices[0].tolist() == np.argsort(-every, kind='stable')[:3].tolist()


@pytest.mark.parametrize(
    'values', [{'weight': 1.0}, {'weight': -0.1}, {'temperature': 0.0}, {'view_temperature': -1.0}]
)
def test_fusion_of_values_that_cannot_be(values):
    with pytest.raises(ConfigError, match='weight must be in'):
        Fusion(**values)


def test_a_background_that_is_no_number():
    with pytest.raises(ConfigError, match='background must be finite'):
        Fusion(background=np.nan)
