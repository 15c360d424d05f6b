"""How queries of several parts are weighed and centred, against loops over the parts."""

import json

import numpy as np
import pytest

from jaxret.errors import ConfigError
from jaxret.search.parts import Parts, photos_centre, unit, views_centre

RNG = np.random.default_rng(0)
PARTS = Parts(
    {'middle': (0, 4), 'class': (4, 7)},
    {'mixed': {'middle': 3.0, 'class': 1.0}, 'instance': {'middle': 2.0, 'class': 0.0}},
    {'middle': 0.5, 'class': 2.0},
    cells=16,
    outline=1.5,
)
CENTRE = RNG.normal(size=7).astype(np.float32)


def photos(*shape):
    return RNG.normal(size=(*shape, 23)).astype(np.float32)


@pytest.mark.parametrize('centre', [CENTRE, None])
@pytest.mark.parametrize(('purpose', 'weights'), [(None, (0.75, 0.25)), ('mixed', (0.75, 0.25)), ('instance', (1, 0))])
def test_queries_of_views_against_loops(purpose, weights, centre):
    given = photos(2, 3)
    before = given.copy()
    found = PARTS.view_queries(given, purpose, centre)
    assert found.shape == (2, 3, 7) and found.dtype == np.float32
    for place in np.ndindex(2, 3):
        x = given[place][:7].astype(float) - (0 if centre is None else centre)
        parts = [weight * part / np.sqrt((part**2).sum()) for weight, part in zip(weights, (x[:4], x[4:]), strict=True)]
        np.testing.assert_allclose(found[place], np.concatenate(parts), atol=1e-6)
    np.testing.assert_array_equal(given, before)


def test_words_have_no_centre_and_count_in_full():
    both = np.zeros((2, 7), np.float32)
    both[:, 4:] = RNG.normal(size=(2, 3))
    both[1, :4] = 1
    words, photo = PARTS.view_queries(both, None, CENTRE)
    np.testing.assert_allclose(words, [0, 0, 0, 0, *unit(both[0, 4:])], atol=1e-6)
    np.testing.assert_allclose(photo[4:], 0.25 * unit(both[1, 4:] - CENTRE[4:]), atol=1e-6)
    assert not PARTS.view_queries(np.zeros((1, 7)), None, CENTRE).any()


def test_purposes():
    assert PARTS.purposes == ('mixed', 'instance') and PARTS.check_purpose(None) == 'mixed'
    with pytest.raises(ConfigError, match="purpose 'shape': choose one of mixed, instance"):
        PARTS.view_queries(photos(1), 'shape', None)
    words = np.zeros((1, 7), np.float32)
    words[:, 4:] = 1
    with pytest.raises(ConfigError, match="purpose 'instance': words say nothing of it; choose one of mixed"):
        PARTS.view_queries(words, 'instance', None)


def test_photos_are_compared_with_photos_by_their_own_weights():
    a, b = photos(2)
    found = PARTS.photo_vectors(np.stack([a, b]), CENTRE)
    cosine = 0.0
    for start, stop, weight in ((0, 4, 0.5), (4, 7, 2.0)):
        x, y = (row[start:stop].astype(float) - CENTRE[start:stop] for row in (a, b))
        cosine += weight**2 * float(x @ y) / np.sqrt((x @ x) * (y @ y))
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, atol=1e-6)
    assert float(found[0] @ found[1]) == pytest.approx(cosine / (0.5**2 + 2**2), abs=1e-6)
    alone = Parts(PARTS.slices, PARTS.weights, {'middle': 0.0, 'class': 1.0}).photo_vectors(a, CENTRE)
    np.testing.assert_allclose(alone, unit(a[4:7] - CENTRE[4:]), atol=1e-6)


def test_silhouettes_of_photos_are_the_cells_that_are_not_0():
    given = photos(2, 1)
    given[..., 7:] = RNG.random((2, 1, 16)) < 0.5
    bits = PARTS.outlines(given)
    np.testing.assert_array_equal(np.unpackbits(bits, axis=-1), given[..., 7:])
    given[..., 7:] = 0
    assert PARTS.outlines(given) is None and Parts(PARTS.slices, PARTS.weights, {}).outlines(photos(1)) is None


def test_centres():
    views = RNG.normal(size=(5, 3, 7)).astype(np.float16)
    start = views_centre(views)
    total = np.zeros(7)
    for shape in views.astype(float):
        for view in shape:
            total += view / 30
    np.testing.assert_allclose(start, total, atol=1e-6)
    known = photos(4)
    wanted = (10 * start.astype(float) + known[:, :7].astype(float).sum(axis=0)) / 14  # silhouettes have no centre
    np.testing.assert_allclose(photos_centre(start, known), wanted, atol=1e-6)
    np.testing.assert_allclose(photos_centre(start, known[:0]), start, atol=1e-7)


def test_json_keeps_everything():
    assert Parts.from_json(json.loads(json.dumps(PARTS.to_json()))) == PARTS
    for broken in ({'slices': {'middle': [1]}}, {'slices': {}}, {**PARTS.to_json(), 'more': 1}):
        with pytest.raises((TypeError, KeyError, ValueError)):
            Parts.from_json(broken)
