"""Answers from a gallery without the true shapes: order, chance, means by category."""

import numpy as np
import pytest

from jaxret.errors import DataError
from jaxret.metrics.unseen_gallery import allowed_shapes, best_allowed, random_allowed, unseen_metrics
from jaxret.reports.tables import unseen_table

QUERY, GALLERY = np.array([0, 2, 2, 0, 1]), np.array([2, 0, 2, 0, 0, 2, 1])


def test_each_query_finds_what_it_may():
    allowed = allowed_shapes(QUERY, GALLERY, own=True)
    expected = [[QUERY[q] == GALLERY[g] for g in range(7)] for q in range(5)]
    np.testing.assert_array_equal(allowed, expected)
    assert allowed_shapes(QUERY, GALLERY, own=False).all()
    assert allowed_shapes(QUERY, GALLERY, own=False).shape == (5, 7)


@pytest.mark.parametrize('own', [True, False])
def test_order_is_that_of_a_loop(own):
    rng = np.random.default_rng(0)
    scores = rng.integers(4, size=(5, 7)).astype(float)  # with ties
    scores[1, 2], scores[2, 5] = np.nan, -np.inf
    allowed = allowed_shapes(QUERY, GALLERY, own=own)
    found = best_allowed(scores, allowed, 4)
    for q in range(5):
        mine = [g for g in range(7) if allowed[q, g]]
        mine.sort(key=lambda g, q=q: (-(-np.inf if np.isnan(scores[q, g]) else scores[q, g]), g))
        assert found[q].tolist() == (mine + [-1] * 4)[:4]
    assert best_allowed(scores, allowed, 99).shape == (5, 7)
    with pytest.raises(DataError, match='2 queries without a shape'):
        best_allowed(scores, allowed & (QUERY != 2)[:, None], 1)


def test_random_answers_are_allowed_even_and_the_same_again():
    allowed = np.tile(allowed_shapes(QUERY, GALLERY, own=True), (400, 1))
    drawn = random_allowed(allowed)
    assert allowed[np.arange(2000), drawn].all()
    counts = np.bincount(drawn[np.tile(QUERY, 400) == 0], minlength=7)
    assert counts[[0, 2, 5, 6]].sum() == 0 and counts[[1, 3, 4]].min() > 800 / 3 - 60
    np.testing.assert_array_equal(random_allowed(allowed), drawn)


def test_means():
    measured = {'hausdorff': np.array([0.1, 0.2, np.nan, 0.5, 0.3]), 'iou': np.array([1.0, 0.5, 0.25, 0.0, np.nan])}
    chance = {name: values / 2 for name, values in measured.items()}
    found = unseen_metrics(
        measured,
        chance,
        query_category=QUERY,
        gallery_category=GALLERY,
        category_names=('bed', 'chair', 'sofa', 'table'),
    )
    assert list(found['unseen_per_category']) == ['bed', 'chair', 'sofa']
    assert found['unseen_per_category']['bed'] == pytest.approx(
        {'queries': 2, 'gallery': 3, 'hausdorff': 0.3, 'iou': 0.5, 'hausdorff_chance': 0.15, 'iou_chance': 0.25}
    )
    assert found['unseen_per_category']['chair']['iou'] is None
    assert found['unseen_per_category']['sofa']['hausdorff'] == pytest.approx(0.2)
    assert (found['unseen_queries'], found['unseen_gallery']) == (5, 7)
    assert found['unseen_hausdorff'] == pytest.approx(1.1 / 4) and found['unseen_iou'] == pytest.approx(1.75 / 4)
    assert found['unseen_hausdorff_macro'] == pytest.approx((0.3 + 0.3 + 0.2) / 3)
    assert found['unseen_iou_macro'] == pytest.approx((0.5 + 0.375) / 2)
    assert found['unseen_iou_chance'] == pytest.approx(1.75 / 8)
    rows = unseen_table(found)
    assert [row['name'] for row in rows] == ['bed', 'chair', 'sofa', 'All queries']
    assert rows[1]['iou'] == '\u2013' and rows[3]['hausdorff'] == '0.2750' and rows[3]['gallery'] == 7
