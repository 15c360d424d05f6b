"""Bounds of pruned search: they hold, leave most shapes out where they can, and are tried where they pay."""

import jax
import numpy as np
import pytest
from search_cases import EMBEDDINGS, concentrated, embeddings, same

from jaxret.search import bound_codes, similarity
from jaxret.search import bounds as bounds_module
from jaxret.search import exact as search_module
from jaxret.search import pruned as pruned_module
from jaxret.search.bound_programs import in_digits
from jaxret.search.bounds import GalleryBounds, prepare
from jaxret.search.exact import search
from jaxret.search.gallery import SearchGallery
from jaxret.search.similarity import KINDS, exact_scores


def test_pruning_leaves_most_shapes_and_is_exact():
    x, q = concentrated()
    gallery, one = SearchGallery(x, 'attention'), jax.devices()[:1]
    pruned = search(gallery, q, 5, projected=20 * q, method='pruned', devices=one)
    assert pruned.fully_scored.max() < 0.3
    same(search(gallery, q, 5, projected=20 * q, method='brute', devices=one), pruned)


def test_bounds_hold_and_keys_are_within_their_error(monkeypatch):
    monkeypatch.setattr(bound_codes, '_BLOCK_ROWS', 30)
    for kind in KINDS:
        for name in EMBEDDINGS:
            x, q, p = embeddings(name, kind, 60, 3)
            gallery = SearchGallery(x, kind)
            fast = similarity.unit64(q).astype(np.float32) if kind == 'cosine' else q
            keys = np.array(
                [exact_scores(kind, q[i], None if p is None else p[i], x, np.arange(60))[0] for i in range(3)],
                np.float64,
            )
            if kind == 'euclidean':
                keys = (np.sum((fast.astype(np.float64) - gallery.centre) ** 2, axis=1)[:, None] - keys**2) / 2
            error = similarity.key_error(kind, fast - gallery.centre[None], p, gallery.radius, gallery.views)
            found = np.asarray(similarity.fast_keys(kind, fast, p, gallery.rows, gallery.centre), np.float64)
            assert (np.abs(found - keys) <= error[:, None]).all(), (kind, name)
            bounds = GalleryBounds(gallery)
            for queries in (fast, fast[:1]):  # two ways
                upper = np.stack(bounds.upper(queries, jax.devices()))
                assert upper.shape == (len(queries), 60)
                assert (upper + error[: len(queries), None] >= keys[: len(queries)]).all(), (kind, name)
            for i in range(3):
                second = bounds.second(fast[i : i + 1], None if p is None else p[i : i + 1], jax.devices()[0])
                assert (second(np.arange(60)) + error[i] >= keys[i]).all(), (kind, name)


@pytest.mark.parametrize('sharpness', [0, 1, 30, 1e4])
def test_bounds_of_attention_hold_however_sharp_it_is_and_prune_where_it_is_even(sharpness):
    x, q = concentrated()
    p = sharpness * (q[::-1] + q)
    gallery = SearchGallery(x, 'attention')
    found = search(gallery, q, 5, projected=p, method='pruned')
    same(search(gallery, q, 5, projected=p, method='brute'), found)
    second = prepare(gallery).second(q[:1], p[:1], jax.devices()[0])(np.arange(4000))
    scores = exact_scores('attention', q[0], p[0], x, np.arange(4000))[0]
    assert (second >= scores).all()
    if sharpness == 0:  # means of the views, which the best of them are far from
        assert np.max(second - scores) < 0.1 < np.max((x @ q[0]).max(axis=1) - scores)


@pytest.mark.parametrize('kind', ['attention', 'best_views', 'dot', 'euclidean'])
@pytest.mark.parametrize('rest', [0, 1e-3])
def test_rows_that_no_sampled_row_is_like_are_found(kind, rest, monkeypatch):
    monkeypatch.setattr(bound_codes, '_SAMPLE', 10)
    monkeypatch.setattr(bound_codes, '_BLOCK_ROWS', 60)
    x = np.zeros((400, 3, 8) if kind in similarity.VIEW_KINDS else (400, 8), np.float32)
    x[..., 0] = rest * np.arange(400).reshape(-1, *[1] * (x.ndim - 2))
    x[[1, 7, 390]] = 1e6 * np.arange(-2, 6) * np.array([1, 2, 4]).reshape(-1, *[1] * (x.ndim - 1))
    gallery = SearchGallery(x, kind)
    assert np.ptp(bound_codes._sample(gallery), axis=0).max() < 1
    q = np.stack([np.ones(8), -np.arange(8), x[7].reshape(-1, 8)[0]]).astype(np.float32)
    p = q[::-1] / 1e6 if kind == 'attention' else None
    found = search(gallery, q, 3, projected=p, method='pruned')
    for i in range(3):
        scores = exact_scores(kind, q[i], None if p is None else p[i], x, np.arange(400))[0]
        np.testing.assert_array_equal(found.indices[i], np.argsort(-scores, kind='stable')[:3])


def test_no_bound_leaves_a_shape_out_for_being_no_number(monkeypatch):
    x, q = concentrated()
    gallery = SearchGallery(x, 'best_views')
    brute = search(gallery, q, 5, method='brute')
    prepare(gallery)
    slack, second = bounds_module._Sides.slack, bounds_module.second_bounds
    changed = (
        (0, bounds_module, 'second_bounds', lambda *given: np.nan * second(*given)),
        (1, bounds_module._Sides, 'slack', lambda sides: np.nan * slack(sides)),
    )
    for scored, of, name, program in changed:
        monkeypatch.setattr(of, name, program)
        for queries in (slice(6), slice(1)):
            found = search(gallery, q[queries], 5, method='pruned')
            np.testing.assert_array_equal(found.indices, brute.indices[queries])
            assert found.fully_scored.min() >= scored


@pytest.mark.parametrize('scale', [0, 1e-30, 1, 1e30])
def test_weights_in_digits(scale):
    weights = scale * np.random.default_rng(0).standard_normal((5, 3, 7)) * [1, 1, 1, 1e-3, 1e-6, 0, -1]
    digits, step, off = in_digits(weights)
    assert digits.dtype == np.int8 and digits.shape == (5, 3, 2, 7)
    for place in np.ndindex(5, 3):
        made = [step[place] * (128 * int(high) + int(low)) for high, low in digits[place].T]
        np.testing.assert_allclose(off[place], 128 * np.abs(weights[place] - made).sum(), rtol=1e-6)
        assert off[place] <= 7 * 64 * 1.01 * np.abs(weights[place]).max() / (127 * 128)


def test_axes_are_found_from_all_views_alike(monkeypatch):
    monkeypatch.setattr(bound_codes, '_SAMPLE', 100)
    for shapes in (100, 150, 200):  # of 4 views; every 4th, 6th and 8th row would leave some out
        x = np.moveaxis(np.indices((shapes, 4)), 0, -1).astype(np.float32)
        sample = bound_codes._sample(SearchGallery(x, 'best_views'))
        assert len(sample) == 100 == len(set(map(tuple, sample)))
        assert np.bincount(sample[:, 1].astype(int)).min() >= 12
        assert np.bincount(sample[:, 0].astype(int) * 10 // shapes).tolist() == [10] * 10
    few = SearchGallery(x[:3], 'best_views')
    np.testing.assert_array_equal(bound_codes._sample(few), x[:3].reshape(-1, 2))


@pytest.mark.parametrize('length', [1e-3, 1e4, 1e14])
def test_distances_are_pruned_however_long_embeddings_are(length):
    x, q = concentrated()
    gallery = SearchGallery((length * x[:, 0]).astype(np.float32), 'euclidean')
    q = (length * q).astype(np.float32)
    pruned = search(gallery, q, 5, method='pruned')
    assert pruned.fully_scored.max() < 0.1
    same(search(gallery, q, 5, method='brute'), pruned)


def test_wide_galleries_are_bounded_by_few_axes(monkeypatch):
    # Fewer rows than numbers in one.
    for name, value in (('_WIDEST', 31), ('_WIDE_SAMPLE', 24), ('_FIRST_AXES', (8, 4, 4)), ('_SECOND_AXES', (4, 5, 5))):
        monkeypatch.setattr(bound_codes, name, value)
    x, q = concentrated()
    gallery, one = SearchGallery(x[:400], 'best_views'), jax.devices()[:1]
    pruned = search(gallery, q, 5, method='pruned', devices=one)
    assert gallery.bounds.nbytes == 4 * (5 * 448 + 6 * 400) and pruned.fully_scored.max() < 0.7
    same(search(gallery, q, 5, method='brute', devices=one), pruned)


def test_auto_prunes_where_it_pays(monkeypatch):
    x, q = concentrated()
    gallery, one = SearchGallery(x, 'attention'), jax.devices()[:1]

    def pruned(queries=q):
        return (search(gallery, queries, 3, projected=20 * queries, devices=one).fully_scored < 1).all()

    assert not pruned()  # not prepared
    prepare(gallery)
    for name in ('_CALL', '_EACH'):
        monkeypatch.setattr(search_module, name, 0.0)
    monkeypatch.setattr(pruned_module, '_LEAST', 8)
    monkeypatch.setattr(search_module, '_LEFT', 1e-9)
    assert pruned() and pruned(q[:1])
    monkeypatch.setattr(search_module, '_LEFT', 1e9)
    assert not pruned()  # tried, and given up
    monkeypatch.setattr(search_module, '_LEFT', 1e-9)
    assert [pruned() for _ in range(search_module._SEARCHES)] == [False] * (search_module._SEARCHES - 1) + [True]
    monkeypatch.setattr(search_module, '_EACH', 1e9)
    assert not pruned()


def test_auto_is_brute_force_where_views_have_no_strong_axes(monkeypatch):
    rng = np.random.default_rng(0)
    gallery, q = SearchGallery(rng.standard_normal((4000, 4, 32)).astype(np.float32), 'best_views'), np.eye(32)[:3]
    prepare(gallery)
    for name in ('_CALL', '_EACH'):
        monkeypatch.setattr(search_module, name, 0.0)
    assert search(gallery, q, 5, devices=jax.devices()[:1]).fully_scored.min() == 1
    monkeypatch.setattr(pruned_module, '_LEAST', 8)
    for few in (1, 10):  # the share is of those that are allowed
        begun = pruned_module._Search(gallery, gallery.bounds, np.arange(4000) % few == 0, 5, jax.devices()[:1]).begin(
            q, None
        )
        assert min(one.share() for one in begun) > 0.5
    assert search(gallery, q, 5, method='pruned').fully_scored.max() < 1
