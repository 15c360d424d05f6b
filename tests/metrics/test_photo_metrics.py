"""Ranks, Top-k, chance, prior and intervals against loop oracles and published values."""

import json
import math

import numpy as np
import pytest
import references_metrics as oracle

from jaxret.errors import DataError
from jaxret.metrics.intervals import wilson_interval
from jaxret.metrics.photo_to_shape import (
    add_shape_metrics,
    most_frequent_weights,
    positive_ranks,
    retrieval_metrics,
    top_k_indices,
)

NAMES = ('bed', 'chair', 'sofa')


def tied_case(seed, queries=40, gallery=6, absent=True, nan=True):
    """Scores with many ties, some NaN and infinite, uneven categories, some absent true shapes."""
    rng = np.random.default_rng(seed)
    scores = rng.integers(-2, 3, size=(queries, gallery)).astype(np.float32)
    if nan:
        scores[rng.random(scores.shape) < 0.1] = np.nan
        scores[rng.random(scores.shape) < 0.05] = -np.inf
        scores[0] = np.nan
    gallery_category = rng.integers(0, len(NAMES), size=gallery)
    gallery_category[:3] = [0, 1, 2]
    positive = rng.integers(-1 if absent else 0, gallery, size=queries)
    query_category = np.where(positive < 0, 1, gallery_category[np.maximum(positive, 0)])
    return scores, positive, query_category, gallery_category


@pytest.mark.parametrize('seed', range(4))
def test_ranks_with_ties_and_nan_equal_the_oracle(seed):
    scores, positive, _, _ = tied_case(seed)
    expected = [oracle.rank(row, p) for row, p in zip(scores, positive, strict=True)]
    ranks = positive_ranks(scores, positive)
    assert ranks.dtype == np.int64
    assert ranks.tolist() == expected


@pytest.mark.parametrize('seed', range(4))
@pytest.mark.parametrize('k', [1, 3, 10])
def test_top_k_equals_the_oracle(seed, k):
    scores, positive, query_category, gallery_category = tied_case(seed)
    plain = [oracle.order(row)[:k] for row in scores]
    assert top_k_indices(scores, k).tolist() == plain
    pessimistic = [oracle.order(row, positive=p)[:k] for row, p in zip(scores, positive, strict=True)]
    assert top_k_indices(scores, k, positive).tolist() == pessimistic
    rows = zip(scores, query_category, positive, strict=True)
    full = [oracle.order(row, gallery_category, c, p)[:k] for row, c, p in rows]
    answer = top_k_indices(scores, k, positive, query_category=query_category, gallery_category=gallery_category)
    assert answer.tolist() == full


def test_top_k_does_not_depend_on_the_block_size(monkeypatch):
    scores, positive, _, _ = tied_case(0)
    whole = top_k_indices(scores, 3, positive)
    monkeypatch.setattr('jaxret.metrics.ranking._BLOCK_ELEMENTS', 13)
    np.testing.assert_array_equal(top_k_indices(scores, 3, positive), whole)


def test_rank_is_the_place_in_the_top_k_list():
    scores, positive, _, _ = tied_case(7, absent=False)
    full = top_k_indices(scores, scores.shape[1], positive)
    places = np.argmax(full == positive[:, None], axis=1) + 1
    np.testing.assert_array_equal(positive_ranks(scores, positive), places)


def test_constant_scores_are_a_miss_everywhere():
    queries, gallery = 9, 12
    category = np.arange(gallery) % 3
    positive = np.arange(queries)
    metrics = retrieval_metrics(
        np.zeros((queries, gallery)), positive, category[positive], category, category_names=NAMES
    )
    assert metrics['top1'] == metrics['top10'] == metrics['category_top1'] == 0
    assert metrics['median_rank'] == gallery
    nan = retrieval_metrics(
        np.full((queries, gallery), np.nan), positive, category[positive], category, category_names=NAMES
    )
    assert nan['top1'] == nan['category_top1'] == 0


def test_gallery_of_one_shape_is_always_found_and_chance_says_so():
    one = np.ones(1, int)
    metrics = retrieval_metrics(np.ones((4, 1)), np.zeros(4, int), np.ones(4, int), one, category_names=NAMES)
    for key in ('top1', 'top10', 'category_top1', 'top1_chance', 'top10_chance', 'category_top1_chance', 'top1_macro'):
        assert metrics[key] == 1
    assert metrics['gallery'] == 1


@pytest.mark.parametrize('seed', range(3))
def test_micro_macro_chance_and_prior_equal_brute_force(seed):
    scores, positive, query_category, gallery_category = tied_case(seed, queries=25)
    train = np.random.default_rng(seed + 50).integers(-1, 6, size=9)
    metrics = retrieval_metrics(
        scores, positive, query_category, gallery_category, train_positive=train, ks=(1, 2, 10), category_names=NAMES
    )
    known = [int(t) for t in train if t >= 0]
    expected = oracle.evaluation(
        scores.tolist(), positive.tolist(), query_category.tolist(), gallery_category.tolist(), known, (1, 2, 10)
    )
    expected.pop('mean_reciprocal_rank_macro')
    for key, value in expected.items():
        assert metrics[key] == pytest.approx(value, abs=1e-12), key
    assert metrics['queries'] == 25 and metrics['queries_without_positive'] == int((positive < 0).sum())
    for name in NAMES:
        row = metrics['per_category'][name]
        rows = query_category == NAMES.index(name)
        assert row['queries'] == rows.sum()
        assert row['top1_low'] <= row['top1'] <= row['top1_high']


def test_macro_and_micro_differ_with_uneven_categories():
    # 8 beds all found, 2 chairs never: micro 0.8, macro 0.5. No query is a sofa: it does not count.
    category = np.array([0, 1, 2])
    positive = np.array([0] * 8 + [1] * 2)
    scores = np.tile([3.0, 1.0, 2.0], (10, 1))
    metrics = retrieval_metrics(scores, positive, category[positive], category, category_names=NAMES)
    assert metrics['top1'] == pytest.approx(0.8)
    assert metrics['top1_macro'] == pytest.approx(0.5)
    assert set(metrics['per_category']) == {'bed', 'chair'}
    assert 0 <= metrics['top1_macro_low'] < 0.5 < metrics['top1_macro_high'] <= 1


def test_macro_interval_of_one_category_is_its_wilson_interval():
    scores, positive, _, gallery_category = tied_case(3, nan=False)
    metrics = retrieval_metrics(scores, positive, np.zeros(len(scores), int), gallery_category, category_names=NAMES)
    assert metrics['top1_macro_low'] == pytest.approx(metrics['top1_low'])
    assert metrics['top1_macro_high'] == pytest.approx(metrics['top1_high'])


def test_prior_by_hand_and_without_training_queries():
    category = np.array([0, 0, 1])
    positive = np.array([0, 0, 1, 2])
    arguments = (np.eye(3)[positive], positive, category[positive], category)
    # Shape 2 is the most frequent in training; shapes 0 and 1 share the second place.
    metrics = retrieval_metrics(*arguments, train_positive=[2, 2, 0, 1], ks=(1, 2), category_names=NAMES)
    assert metrics['top1_prior'] == pytest.approx(1 / 4)
    assert metrics['top2_prior'] == pytest.approx((0.5 + 0.5 + 0.5 + 1) / 4)
    # Categories are seen twice each in training, so each is answered half of the time.
    assert metrics['category_top1_prior'] == pytest.approx(0.5)
    for train in (None, [], [-1, -1]):
        metrics = retrieval_metrics(*arguments, train_positive=train, category_names=NAMES)
        assert metrics['top1_prior'] is metrics['top1_macro_prior'] is metrics['category_top1_prior'] is None
        assert json.loads(json.dumps(metrics, allow_nan=False))['top10_prior'] is None


def test_most_frequent_weights_fill_the_places():
    train = np.array([0, 0, 0, 1, 1, 2, 2, 5])
    for k in (1, 2, 3, 4, 6, 9):
        weights = most_frequent_weights(train, 6, k)
        assert weights.sum() == pytest.approx(min(k, 6))
        expected = [oracle.prior_hit(train.tolist(), g, 6, k) for g in range(6)]
        np.testing.assert_allclose(weights, expected, atol=1e-12)


def test_absent_true_shapes_are_misses_even_when_k_exceeds_the_gallery():
    metrics = retrieval_metrics(
        np.ones((2, 3)), np.array([-1, -1]), np.array([0, 1]), np.array([0, 1, 2]), category_names=NAMES
    )
    assert metrics['top1'] == metrics['top10'] == metrics['top10_chance'] == metrics['mean_reciprocal_rank'] == 0
    assert metrics['median_rank'] == 4 and metrics['queries_without_positive'] == 2


@pytest.mark.parametrize(
    ('hits', 'n', 'low', 'high'),
    [  # R. G. Newcombe, Stat. Med. 17 (1998) 857, Table I, method 3 (score)
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ],
)
def test_wilson_equals_published_values(hits, n, low, high):
    assert wilson_interval(hits, n) == pytest.approx((low, high), abs=5e-5)


def test_wilson_solves_its_equation_and_stays_in_range():
    for n in (1, 2, 7, 50, 2470):
        for hits in sorted({0, 1, n // 3, n // 2, n - 1, n}):
            assert wilson_interval(hits, n) == pytest.approx(oracle.wilson(hits, n), abs=1e-9)
            low, high = wilson_interval(hits, n)
            assert 0 <= low <= hits / n <= high <= 1
    assert wilson_interval(0, 0) == (0.0, 1.0)
    narrow, wide = wilson_interval(5, 10, 0.5), wilson_interval(5, 10, 0.99)
    assert wide[0] < narrow[0] < 0.5 < narrow[1] < wide[1]
    for bad in ((3, 2), (-1, 2)):
        with pytest.raises(DataError):
            wilson_interval(*bad)


def test_score_type_does_not_change_the_ranks():
    scores, positive, _, _ = tied_case(1, nan=False)
    expected = positive_ranks(scores, positive)
    for dtype in (np.float16, np.float64, np.int32):
        np.testing.assert_array_equal(positive_ranks(scores.astype(dtype), positive), expected)
    assert positive_ranks(scores.tolist(), positive.tolist()).tolist() == expected.tolist()


@pytest.mark.parametrize(
    ('scores', 'positive', 'word'),
    [
        (np.zeros((0, 3)), np.zeros(0, int), 'queries'),
        (np.zeros((2, 0)), np.zeros(2, int), 'gallery'),
        (np.zeros((2, 3)), np.array([0, 3]), 'positive'),
        (np.zeros((2, 3)), np.array([0, -2]), 'positive'),
        (np.zeros((2, 3)), np.zeros(3, int), 'scores'),
        (np.zeros(3), np.zeros(3, int), 'scores'),
    ],
)
def test_unusable_input_is_refused(scores, positive, word):
    categories = np.zeros(len(positive), int), np.zeros(scores.shape[-1], int)
    for call in (
        lambda: positive_ranks(scores, positive),
        lambda: top_k_indices(scores, 1, positive),
        lambda: retrieval_metrics(scores, positive, *categories, category_names=NAMES),
    ):
        with pytest.raises(DataError, match=word):
            call()


def test_categories_without_a_name_and_unknown_training_shapes_are_refused():
    scores, positive = np.eye(2), np.arange(2)
    with pytest.raises(DataError, match='query_category'):
        retrieval_metrics(scores, positive, np.array([0, 3]), np.array([0, 1]), category_names=NAMES)
    with pytest.raises(DataError, match='gallery_category'):
        retrieval_metrics(scores, positive, np.array([0, 1]), np.array([0]), category_names=NAMES)
    with pytest.raises(DataError, match='train_positive'):
        retrieval_metrics(scores, positive, positive, positive, train_positive=[2], category_names=NAMES)
    with pytest.raises(DataError, match='k'):
        top_k_indices(scores, 0)


def test_shape_metrics_are_averaged_over_the_queries_that_have_them():
    category = np.array([0, 0, 0, 1, 2])
    metrics = {'top1': 0.5, 'per_category': {'bed': {'queries': 3}}}
    merged = add_shape_metrics(
        metrics,
        hausdorff=np.array([0.0, 0.3, np.nan, 0.5, np.nan]),
        iou=np.array([1.0, 0.5, np.nan, 0.1, np.nan]),
        query_category=category,
        category_names=NAMES,
    )
    assert metrics == {'top1': 0.5, 'per_category': {'bed': {'queries': 3}}}  # not changed in place
    assert merged['hausdorff'] == pytest.approx(0.8 / 3)
    assert merged['hausdorff_macro'] == pytest.approx((0.15 + 0.5) / 2)
    assert merged['iou_macro'] == pytest.approx((0.75 + 0.1) / 2)
    assert merged['shape_metric_queries'] == 3
    assert merged['per_category']['bed'] == {'queries': 3, 'hausdorff': pytest.approx(0.15), 'iou': pytest.approx(0.75)}
    assert merged['per_category']['sofa']['iou'] is None
    empty = add_shape_metrics(
        metrics, hausdorff=np.full(1, math.nan), iou=np.full(1, math.nan), query_category=[0], category_names=NAMES
    )
    assert empty['hausdorff'] is empty['iou_macro'] is None
    with pytest.raises(DataError):
        add_shape_metrics(metrics, hausdorff=np.zeros(2), iou=np.zeros(3), query_category=[0, 0], category_names=NAMES)
