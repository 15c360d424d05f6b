"""Search by views all around: against a slow oracle, whatever the blocks."""

import numpy as np
import pytest

from jaxret.errors import ConfigError, DataError
from jaxret.geometry.view_ring import turns_of
from jaxret.search.gallery import SearchGallery
from jaxret.search.turned import search_headings, search_turned

# Of a shape four cameras at 10 degrees, two at 30, one from above; of a query as many at each as in all there are.
POSES = np.array([(0, 10), (90, 10), (180, 10), (270, 10), (45, 30), (225, 30), (0, 90)], float)
ASKED = np.array([(45 * number, up) for up in (10, 30, 90) for number in range(8)], float)
CAMERAS = {'asked': ASKED, 'poses': POSES}


def slow(query, shape):
    """(score, turn) by loops over turns and views."""
    best = (-np.inf, None)
    for turn in range(8):
        total = 0.0
        for view, (azimuth, up) in enumerate(POSES):
            (other,) = [n for n, (a, e) in enumerate(ASKED) if e == up and a == (azimuth + 45 * turn) % 360]
            total += float(query[other].astype(np.float64) @ shape[view].astype(np.float64))
        if total / 7 > best[0]:
            best = (total / 7, turn)
    return best


def test_finds_what_a_slow_search_finds_whatever_the_blocks():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(23, 7, 6)).astype(np.float16)
    x[5] = x[9]  # a tie
    queries = rng.normal(size=(2, 24, 6)).astype(np.float32)
    turns, angles = turns_of(ASKED, POSES)
    assert angles.tolist() == [45.0 * turn for turn in range(8)]
    queries[0, turns[2]] = x[9]  # turned by 90 degrees
    queries += 0.3 * rng.normal(size=queries.shape).astype(np.float32)
    gallery, allowed = SearchGallery(x, 'best_views'), rng.random(23) < 0.8
    allowed[[5, 9]] = True
    for candidates in (None, allowed):
        ids = [number for number in range(23) if candidates is None or candidates[number]]
        found = search_turned(gallery, queries, 6, candidates=candidates, **CAMERAS)
        for row, query in enumerate(queries):
            scored = sorted((-float(np.float32(slow(query, x[n])[0])), n, slow(query, x[n])[1]) for n in ids)[:6]
            assert found.indices[row].tolist() == [number for _, number, _ in scored]
            np.testing.assert_allclose(found.scores[row], [-score for score, _, _ in scored], rtol=1e-6)
            assert found.poses[row].tolist() == [[(0 - 45 * turn) % 360, 10] for _, _, turn in scored]
        for block in (1, 5, 100):
            other = search_turned(gallery, queries, 6, candidates=candidates, block=block, **CAMERAS)
            assert other.scores.tobytes() == found.scores.tobytes()
            np.testing.assert_array_equal(other.indices, found.indices)
    assert found.indices[0, :2].tolist() == [5, 9] and found.scores[0, 0] == found.scores[0, 1]
    assert found.views[0, 0] == 3  # at 270 degrees, what the query shows at 0


def test_turns_take_the_nearest_view_of_the_elevation():
    turns, angles = turns_of(np.array([(0, 10), (120, 10), (240, 10), (0, 40)], float), np.array([(100, 10), (0, 40)]))
    assert angles.tolist() == [0, 120, 240]
    assert turns.tolist() == [[1, 3], [2, 3], [0, 3]]


def test_few_shapes_and_bad_arguments():
    x = np.ones((2, 7, 3), np.float32)
    gallery, query = SearchGallery(x, 'best_views'), np.ones((1, 24, 3), np.float32)
    assert search_turned(gallery, query, 9, **CAMERAS).indices.tolist() == [[0, 1]]
    nothing = search_turned(gallery, query, 9, candidates=np.zeros(2, bool), **CAMERAS)
    assert nothing.indices.shape == (1, 0)
    with pytest.raises(ConfigError, match='k = 0'):
        search_turned(gallery, query, 0, **CAMERAS)
    for bad in (query[:, :6], np.full_like(query, np.nan)):
        with pytest.raises(DataError, match='queries'):
            search_turned(gallery, bad, 1, **CAMERAS)
