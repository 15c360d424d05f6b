"""Search by rings of views: against a slow oracle, whatever the blocks."""

import numpy as np
import pytest

from jaxret.errors import ConfigError, DataError
from jaxret.search.gallery import SearchGallery
from jaxret.search.turned import search_turned, turns_of

RINGS = (4, 2, 1)


def slow(query, shape):
    """(score, view of the shape that the query's first view fits) by loops over turns and views."""
    best = (-np.inf, None)
    for turn in range(4):
        pairs = [((view + turn) % 4, view) for view in range(4)]
        pairs += [(4 + (view + round(turn / 2)) % 2, 4 + view) for view in range(2)]
        pairs += [(6, 6)]
        score = sum(float(query[a].astype(np.float64) @ shape[b].astype(np.float64)) for a, b in pairs) / 7
        if score > best[0]:
            best = (score, next(b for a, b in pairs if a == 0))
    return best


def test_finds_what_a_slow_search_finds_whatever_the_blocks():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(23, 7, 6)).astype(np.float16)
    x[5] = x[9]  # a tie
    queries = np.stack([x[9][turns_of(RINGS)[1]], x[2]]).astype(np.float32)
    queries += 0.3 * rng.normal(size=queries.shape).astype(np.float32)
    gallery, allowed = SearchGallery(x, 'best_views'), rng.random(23) < 0.8
    allowed[[2, 5, 9]] = True
    for candidates in (None, allowed):
        ids = [number for number in range(23) if candidates is None or candidates[number]]
        found = search_turned(gallery, queries, 6, rings=RINGS, candidates=candidates)
        for row, query in enumerate(queries):
            scored = sorted((-float(np.float32(slow(query, x[n])[0])), n, slow(query, x[n])[1]) for n in ids)[:6]
            assert found.indices[row].tolist() == [number for _, number, _ in scored]
            np.testing.assert_allclose(found.scores[row], [-score for score, _, _ in scored], rtol=1e-6)
            assert found.views[row].tolist() == [view for _, _, view in scored]
        for block in (1, 5, 100):
            other = search_turned(gallery, queries, 6, rings=RINGS, candidates=candidates, block=block)
            assert other.scores.tobytes() == found.scores.tobytes()
            np.testing.assert_array_equal(other.indices, found.indices)
    assert found.indices[0, :2].tolist() == [5, 9] and found.scores[0, 0] == found.scores[0, 1]
    assert found.views[0, 0] == 1  # turned by one: the query's first view is the shape's second


def test_few_shapes_and_bad_arguments():
    x = np.ones((2, 7, 3), np.float32)
    gallery, query = SearchGallery(x, 'best_views'), np.ones((1, 7, 3), np.float32)
    assert search_turned(gallery, query, 9, rings=RINGS).indices.tolist() == [[0, 1]]
    nothing = search_turned(gallery, query, 9, rings=RINGS, candidates=np.zeros(2, bool))
    assert nothing.indices.shape == (1, 0)
    with pytest.raises(ConfigError, match='k = 0'):
        search_turned(gallery, query, 0, rings=RINGS)
    for bad in (query[:, :6], np.full_like(query, np.nan)):
        with pytest.raises(DataError, match='queries'):
            search_turned(gallery, bad, 1, rings=RINGS)
