"""Exact search: against a slow oracle, brute force against pruning bit by bit, ties, blocks, devices, bad input."""

import jax
import numpy as np
import pytest
import references_search as oracle
from search_cases import EMBEDDINGS, embeddings, same
from small_cmic import small_cmic
from small_hifa import small_hifa

from jaxret.errors import ConfigError, DataError
from jaxret.search import blocks as row_blocks
from jaxret.search import bound_codes
from jaxret.search import pruned as pruned_search
from jaxret.search.exact import search
from jaxret.search.gallery import SearchGallery
from jaxret.search.similarity import KINDS, VIEW_KINDS, exact_scores
from jaxret.systems.cross_modal_center import CrossModalCenter
from jaxret.systems.scan_cad import ScanCad


@pytest.mark.parametrize('method', ['brute', 'pruned'])
@pytest.mark.parametrize('kind', KINDS)
@pytest.mark.parametrize('name', ['random', 'duplicates', 'zeros', 'half'])
def test_is_what_a_slow_search_finds(kind, method, name):
    x, q, p = embeddings(name, kind, 37, 4)
    allowed = np.random.default_rng(1).random(37) < 0.7
    found = search(SearchGallery(x, kind), q, 9, projected=p, candidates=allowed, method=method)
    indices, scores, views = oracle.search(kind, q, p, x, 9, allowed)
    np.testing.assert_array_equal(found.indices, indices)
    np.testing.assert_array_equal(found.scores, np.float32(scores))
    if kind in VIEW_KINDS:
        np.testing.assert_array_equal(found.views, views)
    else:
        assert found.views is None


@pytest.mark.parametrize('kind', KINDS)
@pytest.mark.parametrize('name', EMBEDDINGS)
def test_every_way_gives_the_same_bits(kind, name, monkeypatch):
    monkeypatch.setattr(pruned_search, '_FIRST', 16)
    monkeypatch.setattr(bound_codes, '_BLOCK_ROWS', 60)  # five blocks, the last cut
    x, q, p = embeddings(name, kind, 300, 5)
    gallery = SearchGallery(x, kind)
    expected = [exact_scores(kind, q[i], None if p is None else p[i], x, np.arange(300)) for i in range(5)]
    for k in (1, 7, 400):
        order = [np.argsort(-scores, kind='stable')[:k] for scores, _ in expected]
        brute = search(gallery, q, k, projected=p, method='brute')
        np.testing.assert_array_equal(brute.indices, order)
        np.testing.assert_array_equal(brute.scores, [scores[o] for (scores, _), o in zip(expected, order, strict=True)])
        same(brute, search(gallery, q, k, projected=p, method='pruned'))
    for method in ('brute', 'pruned'):
        same(brute, search(gallery, q, k, projected=p, method=method, block=41, devices=jax.devices()[:3]))
        one = search(gallery, q[2:3], k, projected=None if p is None else p[2:3], method=method)
        np.testing.assert_array_equal(one.scores[0], brute.scores[2])
        np.testing.assert_array_equal(one.indices[0], brute.indices[2])


@pytest.mark.parametrize('kind', KINDS)
def test_more_shapes_than_a_block_keeps_can_tie(kind):
    """All equal: the lowest indices win, whatever the blocks keep."""
    x, q, p = embeddings('equal', kind, 300, 2)
    for method in ('brute', 'pruned'):
        found = search(SearchGallery(x, kind), q, 3, projected=p, method=method, block=41, devices=jax.devices()[:3])
        np.testing.assert_array_equal(found.indices, [[0, 1, 2]] * 2)
        np.testing.assert_array_equal(found.fully_scored, 1)


@pytest.mark.parametrize('seed', range(len(KINDS)))
def test_random_shapes_sizes_and_masks(seed):
    rng = np.random.default_rng(seed)
    kind, name = KINDS[seed], EMBEDDINGS[rng.integers(len(EMBEDDINGS))]
    x, q, p = embeddings(name, kind, int(rng.integers(1, 400)), int(rng.integers(1, 7)), width=8, seed=seed)
    allowed = rng.random(len(x)) < rng.choice([0.1, 0.9])
    allowed[rng.integers(len(x))] = True
    k, gallery = int(rng.integers(1, 40)), SearchGallery(x, kind)
    arguments = {'projected': p, 'candidates': allowed, 'devices': jax.devices()[: int(rng.integers(1, 9))]}
    brute = search(gallery, q, k, method='brute', **arguments)
    assert brute.indices.shape == (len(q), min(k, allowed.sum()))
    assert allowed[brute.indices].all()
    same(brute, search(gallery, q, k, method='pruned', block=int(rng.integers(5, 60)), **arguments))


def test_the_best_views_of_one_or_two():
    x, q, _ = embeddings('half', 'best_views', 20, 2)
    for views, pooled in ((1, np.max), (2, np.mean)):
        rows = x[:, :views].astype(np.float64)
        scores = pooled((rows[:, None] * q.astype(np.float64)[None, :, None]).sum(-1), axis=-1)  # [G, Q]
        for method in ('brute', 'pruned'):
            found = search(SearchGallery(x[:, :views], 'best_views'), q, 20, method=method)
            np.testing.assert_array_equal(found.scores, -np.sort(-scores.astype(np.float32), axis=0).T)


def test_result_is_the_systems_own_ranking():
    rng = np.random.default_rng(3)
    for pooling in ('attention', 'mean', 'max'):
        system = small_cmic(pooling=pooling)
        variables = {'params': {'attention': {'projection': {'kernel': rng.standard_normal((8, 8))}}}}
        x, q, _ = embeddings('random', pooling, 50, 4)
        check_system(system, variables, q, x)
    x, q, _ = embeddings('lengths', 'dot', 50, 4)
    check_system(small_hifa(), {}, q, x)
    check_system(object.__new__(CrossModalCenter), {}, q, x)
    x, q, _ = embeddings('random', 'euclidean', 50, 4, seed=1)
    check_system(object.__new__(ScanCad), {}, q + np.float32(0.1), x)  # none at distance 0


def check_system(system, variables, queries, gallery):
    expected = np.asarray(system.score(variables, queries, gallery))
    projected = queries @ system.projection(variables) if system.similarity == 'attention' else None
    gallery = SearchGallery(gallery, system.similarity)
    found = search(gallery, queries, 50, projected=projected, devices=jax.devices()[:1])
    scale = np.abs(expected).max()
    np.testing.assert_allclose(found.scores, np.take_along_axis(expected, found.indices, axis=1), atol=2e-6 * scale)
    assert sorted(found.indices[0]) == list(range(50))


@pytest.mark.parametrize('method', ['auto', 'brute', 'pruned'])
def test_nothing_to_find(method):
    x, q, p = embeddings('random', 'attention', 5, 3)
    none = search(SearchGallery(x, 'attention'), q, 2, projected=p, candidates=np.zeros(5, bool), method=method)
    empty = search(SearchGallery(x[:0], 'attention'), q, 2, projected=p, method=method)
    for found in (none, empty):
        assert found.indices.shape == found.scores.shape == found.views.shape == (3, 0)
        np.testing.assert_array_equal(found.fully_scored, 0)
    assert search(SearchGallery(x, 'attention'), q[:0], 2, projected=p[:0], method=method).indices.shape == (0, 2)


def test_a_gallery_mapped_from_a_file_and_one_in_half_precision_on_it(tmp_path):
    x, q, _ = embeddings('random', 'dot', 100, 3)
    np.save(tmp_path / 'gallery.npy', x)
    mapped = np.load(tmp_path / 'gallery.npy', mmap_mode='r')
    gallery = SearchGallery(mapped, 'dot')
    assert gallery.rows is mapped
    for method in ('brute', 'pruned'):
        same(search(SearchGallery(x, 'dot'), q, 4), search(gallery, q, 4, method=method, block=7))


def test_resident_blocks_are_used_again_and_masked(monkeypatch):
    """What accelerators do, on a CPU that says it is one."""
    x, q, p = embeddings('clustered', 'attention', 90, 3)
    allowed = np.random.default_rng(0).random(90) < 0.4
    expected = search(SearchGallery(x, 'attention'), q, 6, projected=p, candidates=allowed)
    monkeypatch.setattr(row_blocks, 'on_host', lambda devices: False)
    monkeypatch.setattr(row_blocks, '_memory', lambda device: 2**30)
    gallery = SearchGallery(x, 'attention')
    for method in ('brute', 'pruned'):
        for _ in range(2):
            same(
                expected,
                search(
                    gallery, q, 6, projected=p, candidates=allowed, method=method, block=13, devices=jax.devices()[:2]
                ),
            )
    assert len(gallery.resident) == 4  # blocks of 24


@pytest.mark.parametrize(
    'change, error, message',
    [
        ({'k': 0}, ConfigError, 'k = 0'),
        ({'block': 0}, ConfigError, 'block = 0'),
        ({'method': 'fast'}, ConfigError, "'fast'"),
        ({'projected': None}, ConfigError, 'projected'),
        ({'projected': np.ones((2, 8), np.float32)}, DataError, 'one a query, 3'),
        ({'queries': np.ones((3, 7), np.float32)}, DataError, r'floats \[Q, 8\]'),
        ({'queries': np.full((3, 8), np.nan, np.float32)}, DataError, r'queries\[0\]: not finite'),
        ({'candidates': np.ones(4, bool)}, DataError, r'booleans \[5\]'),
        ({'candidates': np.ones(5, int)}, DataError, r'booleans \[5\]'),
    ],
)
def test_bad_arguments(change, error, message):
    x, q, p = embeddings('random', 'attention', 5, 3)
    arguments = {'queries': q, 'k': 2, 'projected': p} | change
    with pytest.raises(error, match=message):
        search(SearchGallery(x, 'attention'), **arguments)


def test_bad_galleries():
    x, _, _ = embeddings('random', 'attention', 5, 3)
    with pytest.raises(ConfigError, match='cosines'):
        SearchGallery(x, 'cosines')
    with pytest.raises(DataError, match='G, D'):
        SearchGallery(x, 'dot')
    with pytest.raises(DataError, match='float64'):
        SearchGallery(x.astype(np.float64), 'attention')
    for value in (np.nan, np.inf, 1e16):
        y = x.copy()
        y[3, 1, 2] = value
        for kind in VIEW_KINDS:
            with pytest.raises(DataError, match=r'embeddings\[3\]'):
                SearchGallery(y, kind)
