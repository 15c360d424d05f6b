"""Scores by silhouettes against loops over cells."""

import numpy as np
import pytest

from jaxret.errors import DataError
from jaxret.search import outlines as search_outlines
from jaxret.search.outlines import Outlines

CELLS = 128


def slow_scores(shapes, photos):
    """Mean over photos with an object of the best intersection over union."""
    known = [photo for photo in photos if any(photo)]
    return [sum(max(slow_overlaps(shape, photo)) for photo in known) / max(len(known), 1) for shape in shapes]


def slow_overlaps(shape, photo):
    """Intersection over union with every view."""
    overlaps = []
    for view in shape:
        both = sum(1 for a, b in zip(view, photo, strict=True) if a and b)
        either = sum(1 for a, b in zip(view, photo, strict=True) if a or b)
        overlaps.append(both / either)
    return overlaps


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
        found = outlines.scores(bits[chosen], ids)
        np.testing.assert_allclose(found, slow_scores(shapes[ids], photos[chosen]), rtol=1e-12)
    overlaps = outlines.overlaps(bits[1], ids)
    np.testing.assert_allclose(overlaps, [slow_overlaps(shape, photos[1]) for shape in shapes[ids]], rtol=1e-12)
    assert outlines.scores(bits[[2]], ids)[4] == 1
    assert outlines.scores(bits[[1]], ids[:0]).shape == (0,)


@pytest.mark.parametrize(
    'bits', [np.zeros((2, 3, 8), np.int64), np.zeros((2, 8), np.uint8), np.zeros((2, 3, 9), np.uint8)]
)
def test_what_is_no_silhouette_is_refused(bits):
    with pytest.raises(DataError, match='outlines of the index: .*--rebuild'):
        Outlines(bits)
