"""Two queries as one, each measured by how far its scores spread."""

import numpy as np
import pytest

from jaxret.search.exact import search
from jaxret.search.gallery import SearchGallery
from jaxret.search.joined import joined_queries


def best_two(query, views):
    return np.mean(sorted(float(np.dot(query, view)) for view in views)[-2:])


@pytest.mark.parametrize('count', [1, 9, 150])
def test_weights_go_by_the_spread_of_the_scores(count):
    rng = np.random.default_rng(0)
    shapes = rng.normal(size=(count, 3, 8)).astype(np.float16)
    gallery = SearchGallery(shapes, 'best_views')
    first, second = rng.normal(size=(2, 2, 8)).astype(np.float32)
    second[0] /= 50
    second[1, :] = 0  # scores without a spread
    found = joined_queries(gallery, first, second, weight=0.25)
    sample = [int(place) for place in np.linspace(0, count - 1, min(64, count))]
    spreads = [np.std([best_two(query, shapes[number]) for number in sample]) for query in (first[0], second[0])]
    ratio = spreads[0] / spreads[1] if count > 1 else 1
    np.testing.assert_allclose(found[0], 0.75 * first[0] + 0.25 * ratio * second[0], rtol=1e-4)
    np.testing.assert_allclose(found[1], 0.75 * first[1], rtol=1e-6)
    for weight, query in ((0, first[:1]), (1, second[:1])):
        order = search(gallery, joined_queries(gallery, first[:1], second[:1], weight=weight), count).indices
        np.testing.assert_array_equal(order, search(gallery, query, count).indices)
