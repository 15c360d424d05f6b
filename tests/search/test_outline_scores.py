"""Scores by silhouettes against loops over cells."""

import numpy as np
import pytest

from jaxret.errors import DataError
from jaxret.search import outlines as search_outlines
from jaxret.search.outlines import Outlines

CELLS = 128


def slow_scores(shapes, photos):
    """Mean over photos with an object of the best intersection over union, and the first such photo's best view."""
    known = [photo for photo in photos if any(photo)]
    scores, views = [], []
    for shape in shapes:
        best = []
        for photo in known:
            overlaps = []
            for view in shape:
                both = sum(1 for a, b in zip(view, photo, strict=True) if a and b)
                either = sum(1 for a, b in zip(view, photo, strict=True) if a or b)
                overlaps.append(both / either)
            best.append((max(overlaps), overlaps.index(max(overlaps))))
        scores.append(sum(score for score, _ in best) / len(best) if best else 0.0)
        views.append(best[0][1] if best else -1)
    return scores, views


@pytest.mark.parametrize('block', [1, 2**26])
def test_scores_against_loops(monkeypatch, block):
    monkeypatch.setattr(search_outlines, '_BLOCK_BYTES', block)
    rng = np.random.default_rng(0)
    shapes, photos = rng.random((6, 3, CELLS)) < 0.4, rng.random((4, CELLS)) < 0.3
    shapes[2, 0] = False  # a view that shows nothing
    shapes[3, 1] = shapes[3, 2]  # equal ones
    photos[0] = False
    photos[2] = shapes[4, 1]
    outlines, bits, ids = (
        Outlines(np.packbits(shapes, axis=-1)),
        np.packbits(photos, axis=-1),
        np.array([5, 0, 2, 3, 4]),
    )
    for chosen in ([0], [1], [0, 1], [1, 2, 3], [0, 2, 0]):
        found, views = outlines.scores(bits[chosen], ids)
        wanted = slow_scores(shapes[ids], photos[chosen])
        np.testing.assert_allclose(found, wanted[0], rtol=1e-12)
        assert views.tolist() == wanted[1]
    assert outlines.scores(bits[[2]], ids)[0][4] == 1
    assert [array.shape for array in outlines.scores(bits[[1]], ids[:0])] == [(0,), (0,)]


@pytest.mark.parametrize(
    'bits', [np.zeros((2, 3, 8), np.int64), np.zeros((2, 8), np.uint8), np.zeros((2, 3, 9), np.uint8)]
)
def test_what_is_no_silhouette_is_refused(bits):
    with pytest.raises(DataError, match='outlines of the index: .*--rebuild'):
        Outlines(bits)
