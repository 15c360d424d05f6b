"""Bounds of pruned search: they hold, leave most shapes out where they can, and are tried where they pay."""

import jax
import numpy as np
import pytest
from search_cases import EMBEDDINGS, concentrated, embeddings, same

from jaxret.search import bounds as bounds_module
from jaxret.search import exact as search_module
from jaxret.search import similarity
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
    monkeypatch.setattr(bounds_module, '_BLOCK_ROWS', 30)
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
            for queries in (fast, fast[:1]):  # two programs
                upper = bounds.upper(queries, range(bounds.blocks), jax.devices()).reshape(len(queries), -1)[:, :60]
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


def test_wide_galleries_are_bounded_by_few_axes(monkeypatch):
    # Fewer rows than numbers in one.
    for name, value in (('_WIDEST', 31), ('_WIDE_SAMPLE', 24), ('_FIRST_AXES', (8, 4, 4)), ('_SECOND_AXES', (4, 5, 5))):
        monkeypatch.setattr(bounds_module, name, value)
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
    monkeypatch.setattr(search_module, '_LEFT', 1e-9)
    assert pruned() and pruned(q[:1])
    monkeypatch.setattr(search_module, '_LEFT', 1e9)
    assert not pruned()  # tried, and given up
    monkeypatch.setattr(search_module, '_LEFT', 1e-9)
    assert [pruned() for _ in range(search_module._SEARCHES)] == [False] * (search_module._SEARCHES - 1) + [True]
    monkeypatch.setattr(search_module, '_EACH', 1e9)
    assert not pruned()
