"""Codes of a product quantiser against loops, and search by codes against search of what they stand for."""

import numpy as np
import pytest

from jaxret.geometry.view_ring import Turns
from jaxret.search import codes
from jaxret.search.codes import Codebook, CodedViews
from jaxret.search.exact import search
from jaxret.search.gallery import SearchGallery
from jaxret.search.turned import search_turned

LAYOUT = [(4, 6), (1, 7)]  # a map of four places, and a vector of a prime number of channels
WIDTH = 31
SHAPES, VIEWS = 40, 3


@pytest.fixture(scope='module')
def views():
    return np.random.default_rng(0).normal(size=(SHAPES, VIEWS, WIDTH)).astype(np.float32)


@pytest.fixture(scope='module')
def codebook(views):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(codes, '_WIDEST', 4)
        return Codebook.learned(views.reshape(-1, WIDTH), LAYOUT)


@pytest.fixture(autouse=True)
def narrow(monkeypatch):
    monkeypatch.setattr(codes, '_WIDEST', 4)


def sub_vectors(vector):
    """(part, group, slice) of every byte in order, with sub-vectors of 3 and of 1 numbers."""
    for place in range(4):
        for group in range(2):
            start = 6 * place + 3 * group
            yield 0, group, slice(start, start + 3)
    for group in range(7):
        yield 1, group, slice(24 + group, 25 + group)


def test_codes_name_the_nearest_centroids(codebook, views, monkeypatch):
    assert [table.shape for table in codebook.centroids] == [(2, 256, 3), (7, 256, 1)]
    assert (codebook.bytes, codebook.width, codebook.layout) == (15, WIDTH, LAYOUT)
    monkeypatch.setattr(codes, '_PART_ELEMENTS', 15 * 256 * 7)  # seven vectors at a time
    coded = codebook.encode(views)
    assert coded.shape == (SHAPES, VIEWS, 15) and coded.dtype == np.uint8
    decoded = codebook.decode(coded)
    for shape in (0, 17, SHAPES - 1):
        for byte, (part, group, piece) in enumerate(sub_vectors(views[shape, 1])):
            table = codebook.centroids[part][group].astype(np.float64)
            distances = [np.square(centroid - views[shape, 1, piece]).sum() for centroid in table]
            assert distances[coded[shape, 1, byte]] <= min(distances) + 1e-6
            np.testing.assert_array_equal(
                decoded[shape, 1, piece], codebook.centroids[part][group, coded[shape, 1, byte]]
            )
    error = np.linalg.norm(decoded - views) / np.linalg.norm(views)
    assert error < 0.2 < np.linalg.norm(decoded[::-1] - views) / np.linalg.norm(views)


def test_few_vectors_are_kept_as_they_are():
    few = np.random.default_rng(1).normal(size=(5, WIDTH)).astype(np.float32)
    book = Codebook.learned(np.repeat(few, 3, axis=0), LAYOUT)
    np.testing.assert_allclose(book.decode(book.encode(few)), few, atol=1e-6)


def test_a_codebook_is_one_vector_and_back(codebook, views):
    again = Codebook.of_flat(codebook.flat(), codebook.layout)
    np.testing.assert_array_equal(again.encode(views), codebook.encode(views))
    for wrong in (codebook.flat()[:-1], np.append(codebook.flat(), 0)):
        with pytest.raises(ValueError):
            Codebook.of_flat(wrong, codebook.layout)


def test_products_are_those_of_what_codes_stand_for(codebook, views):
    coded = CodedViews(codebook, codebook.encode(views))
    decoded = codebook.decode(codebook.encode(views))
    queries = np.random.default_rng(2).normal(size=(5, WIDTH)).astype(np.float32)
    expected = np.einsum('qd,gvd->qgv', queries.astype(np.float64), decoded.astype(np.float64))
    np.testing.assert_allclose(coded.products(queries), expected, atol=1e-5)
    assert (coded.shape, coded.ndim, len(coded)) == (views.shape, 3, SHAPES)
    lengths = np.linalg.norm(decoded.astype(np.float64), axis=-1)
    assert lengths.max() <= coded.longest <= 1.01 * lengths.max()
    for rows in (3, slice(2, 9, 3), np.array([7, 0, 7])):
        np.testing.assert_array_equal(coded[rows], decoded[rows])
    gallery = SearchGallery(coded, 'best_views')
    for ids in (np.array([5, 2]), np.arange(3, 30), slice(None)):  # decoded, and looked up
        np.testing.assert_allclose(gallery.products(queries, ids), expected[:, ids], atol=1e-5)
    assert coded.products(queries[:0]).shape == (0, SHAPES, VIEWS)


@pytest.mark.parametrize('method', ['auto', 'brute', 'pruned'])
def test_search_is_exact_among_what_codes_stand_for(codebook, views, method):
    coded = codebook.encode(views)
    coded[9] = coded[4]  # equal scores are in the order of the gallery
    galleries = [SearchGallery(rows, 'best_views') for rows in (CodedViews(codebook, coded), codebook.decode(coded))]
    queries = np.random.default_rng(3).normal(size=(6, WIDTH)).astype(np.float32)
    allowed = np.random.default_rng(4).random(SHAPES) < 0.7
    for k, candidates in ((7, None), (100, allowed)):
        one, other = (search(rows, queries, k, candidates=candidates, method=method) for rows in galleries)
        np.testing.assert_array_equal(one.indices, other.indices)
        np.testing.assert_array_equal(one.scores, other.scores)
        np.testing.assert_array_equal(one.views, other.views)


def test_turned_search_of_codes(codebook, views):
    coded = codebook.encode(views)
    poses = np.array([(0.0, 0.0), (120.0, 0.0), (240.0, 0.0)])
    queries = np.random.default_rng(5).normal(size=(2, VIEWS, WIDTH)).astype(np.float32)
    turns = Turns(np.array([[0, 1, 2], [1, 2, 0], [2, 0, 1]]), (0, 1, 2), np.array([0.0, 120.0, 240.0]))
    galleries = [SearchGallery(rows, 'best_views') for rows in (CodedViews(codebook, coded), codebook.decode(coded))]
    assert galleries[1].longest <= galleries[0].longest <= 1.01 * galleries[1].longest  # what errors are bounded by
    found = [search_turned(gallery, queries, 5, turns=turns, poses=poses, block=7) for gallery in galleries]
    np.testing.assert_array_equal(found[0].indices, found[1].indices)
    np.testing.assert_array_equal(found[0].scores, found[1].scores)
