"""Search by views, silhouettes and references together, against loops over all shapes."""

import math
from functools import partial

import numpy as np
import pytest

from jaxret.search import fusion as fused
from jaxret.search import gallery as galleries
from jaxret.search.fusion import fused_search
from jaxret.search.gallery import SearchGallery
from jaxret.search.outlines import Outlines
from jaxret.search.references import Evidence, Fusion

COUNT, VIEWS, WIDTH, CELLS = 70, 3, 12, 64
FUSION = Fusion(weight=0.6, temperature=0.2, view_temperature=0.3, standardized_from=None)


def space(photos, centre):
    """The first half of a photo, less what photos have in common."""
    own = photos[..., : len(centre)] - centre
    return own / np.linalg.norm(own, axis=-1, keepdims=True)


def iou(one, other):
    return float(np.count_nonzero(one & other) / np.count_nonzero(one | other))


def slow(case, number, allowed, *, photo_share=1.0):
    """Of every allowed shape (S, s, index, view) for one query, best first."""
    queries, photos, seen = (case[name][number] for name in ('queries', 'photos', 'seen'))
    shapes, scored = np.flatnonzero(allowed), []
    known = [photo for photo in seen if photo.any()]
    near = [dict.fromkeys(shapes, 0.0) for _ in photos]
    for sums, photo in zip(near, photos, strict=True):
        for reference, owner in zip(case['references'], case['owner'], strict=True):
            if owner in sums:
                cosine = float(
                    space(photo.astype(float), case['centre']) @ space(reference.astype(float), case['centre'])
                )
                sums[owner] += math.exp((cosine - FUSION.background) / FUSION.temperature)
    for shape in shapes:
        best = []
        for query in queries:
            fits = sorted(
                math.fsum(float(a) * float(b) for a, b in zip(query, view, strict=True))
                for view in case['gallery'][shape]
            )
            best.append(float(np.float32((fits[-1] + fits[-2]) / 2)))
        view = int(np.argmax(case['gallery'][shape].astype(float) @ queries[0].astype(float)))
        overlaps = [[iou(photo, outline) for outline in case['outlines'][shape]] for photo in known]
        covered = math.fsum(map(max, overlaps)) / len(known) if known else 0.0
        views = math.fsum(best) / len(best) + photo_share * case['weight'] * covered
        score = views
        if any(near[0].values()):
            weight = photo_share * FUSION.weight
            logs = [math.log(1 + sums[shape]) for sums in near]
            score = (1 - weight) * views / FUSION.view_temperature + weight * math.fsum(logs) / len(logs)
        scored.append((score, views, shape, view))
    return sorted(scored, key=lambda item: (-item[0], -item[1], item[2]))


def make_case(photos, references, seed):
    rng = np.random.default_rng(seed)
    gallery = rng.normal(size=(COUNT, VIEWS, WIDTH)).astype(np.float16)
    outlines = rng.random((COUNT, 4, CELLS)) < 0.4
    for one, other in ((7, 5), (40, 41)):  # of these all is equal
        gallery[one], outlines[one] = gallery[other], outlines[other]
    case = {
        'gallery': gallery,
        'outlines': outlines,
        'weight': 0.8,
        'queries': [rng.normal(size=(photos, WIDTH)).astype(np.float32) for _ in range(3)],
        'photos': [rng.normal(size=(photos, 2 * WIDTH)).astype(np.float32) for _ in range(3)],
        'seen': [rng.random((photos, CELLS)) < 0.4 for _ in range(3)],
        'references': rng.normal(size=(references, 2 * WIDTH)).astype(np.float32),
        'owner': rng.integers(0, 9, references) * 7,
        'centre': rng.normal(size=WIDTH).astype(np.float32),
    }
    case['seen'][0][0] = False  # the first photo has no silhouette
    case['seen'][1][:] = False  # no photo has one
    case['seen'][2][-1] = outlines[5, 2]
    case['queries'][2][:] = case['gallery'][5, 0] / 2
    return case


def ask(case, k, *, of=(0, 1, 2), dtype=np.float16, **options):
    gallery = SearchGallery(case['gallery'].astype(dtype), 'best_views')
    evidence = None
    if len(case['references']):
        own = {'space': partial(space, centre=case['centre']), 'centre': case['centre']}
        evidence = Evidence(case['references'], case['owner'], COUNT, FUSION, **own)
    bits = [np.packbits(case['seen'][number], axis=-1) for number in of]
    outlines = Outlines(np.packbits(case['outlines'], axis=-1)), bits, case['weight']
    queries, photos = ([case[name][number] for number in of] for name in ('queries', 'photos'))
    return fused_search(gallery, queries, k, evidence=evidence, photos=photos, outlines=outlines, **options)


@pytest.mark.parametrize('photos', [1, 3])
@pytest.mark.parametrize('references', [0, 1, 25])
@pytest.mark.parametrize('dtype', [np.float16, np.float32])
def test_all_that_counts_against_loops_over_all_shapes(photos, references, dtype):
    case = make_case(photos, references, seed=photos + references)
    allowed = np.random.default_rng(0).random(COUNT) < 0.85
    allowed[[0, 5, 7, 40, 41]] = True
    for k, share in ((6, 1.0), (COUNT + 9, 0.4)):
        found = ask(case, k, dtype=dtype, candidates=allowed, photo_share=share)
        for number in range(3):
            wanted = slow(case, number, allowed, photo_share=share)[:k]
            assert found.indices[number].tolist() == [item[2] for item in wanted]
            np.testing.assert_allclose(found.scores[number], [item[0] for item in wanted], rtol=1e-6, atol=1e-6)
            assert found.views[number].tolist() == [item[3] for item in wanted]


def test_one_query_is_answered_as_among_others():
    case = make_case(1, 25, seed=3)
    together = ask(case, 5)
    for number in range(3):
        alone = ask(case, 5, of=(number,))
        for name in ('indices', 'scores', 'views'):
            np.testing.assert_array_equal(getattr(alone, name)[0], getattr(together, name)[number])


def test_silhouettes_are_compared_of_the_best_by_views_and_of_shapes_with_references(monkeypatch):
    monkeypatch.setattr(fused, 'RESCORED', 10)
    case = make_case(1, 4, seed=1)
    case['seen'][0][0] = case['seen'][2][0]
    found = ask(case, 4)
    for number in range(3):
        every = slow(case, number, np.ones(COUNT, bool))
        views = {
            shape: s - case['weight'] * max(iou(case['seen'][number][0], o) for o in case['outlines'][shape])
            for _, s, shape, _ in every
        }
        near = {*sorted(views, key=lambda shape: (-views[shape], shape))[:10], *case['owner'].tolist()}
        assert found.indices[number].tolist() == [item[2] for item in every if item[2] in near][:4]


@pytest.mark.parametrize('block', [1, 2**25])
def test_scores_that_float32_cannot_tell_apart(monkeypatch, block):
    """Wide rows whose products with the query are equal but for rounding: exact scores decide, not float32."""
    monkeypatch.setattr(galleries, '_PART_ELEMENTS', block)
    rng = np.random.default_rng(0)
    query = rng.normal(size=(1, 3000)).astype(np.float32)
    rows = rng.normal(size=(80, 2, 3000))
    rows += ((60 - rows @ query[0]) / (query @ query.T)[0, 0])[..., None] * query[0]
    rows = rows.astype(np.float32)
    outlines = Outlines(np.full((80, 1, 8), 255, np.uint8))
    gallery = SearchGallery(rows, 'best_views')
    assert len(fused._can_be_best(gallery, query, np.arange(80), 7, 1.0, np.zeros(80))) > 20
    found = fused_search(gallery, [query], 7, outlines=(outlines, [np.full((1, 8), 255, np.uint8)], 1.0))
    exact = gallery.score(query[0], None, np.arange(80))[0].astype(float) + 1.0
    assert found.indices[0].tolist() == np.argsort(-exact, kind='stable')[:7].tolist()
    np.testing.assert_array_equal(found.scores[0], np.sort(exact)[::-1][:7])


@pytest.mark.parametrize('scale', [1e-3, 1.0, 50.0])
def test_few_shapes_are_left_and_the_best_among_them(scale):
    case = make_case(2, 0, seed=5)
    gallery, photos, ids = SearchGallery(case['gallery'], 'best_views'), case['queries'][0], np.arange(0, COUNT, 2)
    also = np.random.default_rng(1).normal(size=len(ids))
    kept = fused._can_be_best(gallery, photos, ids, 5, scale, also)
    exact = scale * np.mean([gallery.score(photo, None, ids)[0] for photo in photos], axis=0, dtype=float) + also
    assert set(np.argsort(-exact)[:5]) <= set(kept.tolist()) and len(kept) < 12
