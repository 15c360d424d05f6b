"""Average precision, its chance level, interval and curve against loop oracles, all orders and simulation."""

import itertools

import numpy as np
import pytest
import references_metrics as oracle
from sklearn.metrics import average_precision_score

from jaxret.errors import DataError
from jaxret.metrics import ranking
from jaxret.metrics.average_precision import average_precision, expected_average_precision
from jaxret.metrics.intervals import mean_interval


def oracle_rows(scores, query_labels, gallery_labels, exclude_self):
    return [
        oracle.ranked_relevance(list(row), list(gallery_labels), label, q if exclude_self else None)
        for q, (row, label) in enumerate(zip(scores, query_labels, strict=True))
    ]


def assert_equals_oracle(result, rows, levels=11):
    expected = [oracle.average_precision(row) for row in rows]
    np.testing.assert_allclose(result.values, [np.nan if ap is None else ap for ap in expected], rtol=1e-12)
    assert result.relevant.tolist() == [sum(row) for row in rows]
    known = [ap for ap in expected if ap is not None]
    assert result.mean == (pytest.approx(sum(known) / len(known), rel=1e-12) if known else None)
    assert result.defined.tolist() == [ap is not None for ap in expected]
    assert result.gallery == len(rows[0])
    if known:
        curves = [oracle.interpolated_precision(row, levels) for row in rows if any(row)]
        np.testing.assert_allclose(result.precision, np.mean(curves, axis=0), rtol=1e-12)
    np.testing.assert_allclose(result.recall, [t / (levels - 1) for t in range(levels)])


@pytest.mark.parametrize('exclude_self', [False, True])
@pytest.mark.parametrize('block', [1, 100, 10**6])
def test_embeddings_with_duplicates_and_zeros_equal_the_oracle(monkeypatch, exclude_self, block):
    monkeypatch.setattr(ranking, '_BLOCK_ELEMENTS', block)
    rng = np.random.default_rng(1)
    x = rng.standard_normal((30, 7)).astype(np.float32)
    x[5:9] = x[4]  # copies of different classes, one of another length
    x[8] *= 4
    x[10:13] = 0
    labels = rng.integers(0, 4, size=30)
    labels[29] = 7
    scores = [[oracle.cosine(a, b) for b in x.tolist()] for a in x.tolist()]
    result = average_precision(x, x, labels, labels, exclude_self=exclude_self, recall_levels=8)
    assert_equals_oracle(result, oracle_rows(scores, labels, labels, exclude_self), levels=8)
    assert np.isnan(result.values[29]) == exclude_self


def test_different_sizes_and_no_ties_equal_scikit_learn():
    rng = np.random.default_rng(2)
    x, y = rng.standard_normal((40, 16)), rng.standard_normal((90, 16))
    query_labels, gallery_labels = rng.integers(0, 6, size=40), rng.integers(0, 6, size=90)
    result = average_precision(x, y, query_labels, gallery_labels)
    cosine = (x / np.linalg.norm(x, axis=1)[:, None]) @ (y / np.linalg.norm(y, axis=1)[:, None]).T
    expected = [average_precision_score(gallery_labels == c, row) for c, row in zip(query_labels, cosine, strict=True)]
    np.testing.assert_allclose(result.values, expected, rtol=1e-10)


def test_length_of_embeddings_does_not_matter():
    rng = np.random.default_rng(3)
    x, labels = rng.standard_normal((20, 5)), rng.integers(0, 3, size=20)
    stretched = x * np.logspace(-200, 200, 20)[:, None]
    expected = average_precision(x, x, labels, labels).values
    np.testing.assert_array_equal(average_precision(stretched, stretched, labels, labels).values, expected)


def test_perfect_worst_and_collapsed_orders():
    labels = np.repeat([0, 1], 5)
    apart = np.eye(2)[labels]
    assert average_precision(apart, apart, labels, labels, exclude_self=True).mean == 1.0
    # All at one place: the five irrelevant items come before the relevant ones at ranks 6..10.
    same = average_precision(np.full((10, 300), 0.1, np.float32), np.full((10, 300), 0.1, np.float32), labels, labels)
    np.testing.assert_allclose(same.values, np.mean([j / (5 + j) for j in range(1, 6)]))
    assert same.mean < expected_average_precision(np.array([5]), 10)[0]


def test_one_class_one_item_and_nothing_relevant():
    x = np.random.default_rng(4).standard_normal((6, 3))
    one_class = average_precision(x, x, np.zeros(6, int), np.zeros(6, int), exclude_self=True)
    assert one_class.mean == 1.0
    assert one_class.precision.tolist() == [1.0] * 11
    one = average_precision(x[:1], x[:1], [0], [0])
    assert (one.mean, one.gallery) == (1.0, 1)
    alone = average_precision(x[:1], x[:1], [0], [0], exclude_self=True)
    assert (alone.mean, alone.gallery, alone.relevant.tolist()) == (None, 0, [0])
    assert np.isnan(alone.values).all()
    assert np.isnan(alone.precision).all()
    assert average_precision(x, x, np.arange(6), np.arange(6) + 10).mean is None


@pytest.mark.parametrize('self_first', [False, True])
def test_chance_is_the_mean_over_all_orders(self_first):
    for gallery in range(1, 7):
        for relevant in range(1, gallery + 1):
            items = [g < relevant for g in range(gallery)]
            orders = (
                ([items[0], *rest] for rest in itertools.permutations(items[1:]))
                if self_first
                else (itertools.permutations(items))
            )
            expected = np.mean([oracle.average_precision(list(order)) for order in orders])
            chance = expected_average_precision(np.array([relevant]), gallery, self_first=self_first)
            np.testing.assert_allclose(chance, [expected], rtol=1e-12)
    assert np.isnan(expected_average_precision(np.array([0]), 5, self_first=self_first)).all()
    assert np.isnan(expected_average_precision(np.array([0]), 0, self_first=self_first)).all()


def test_random_embeddings_reach_chance():
    rng = np.random.default_rng(5)
    labels = np.repeat(np.arange(12), rng.integers(2, 60, size=12))
    x, y = rng.standard_normal((2, len(labels), 200))
    between, within = average_precision(x, y, labels, labels), average_precision(x, x, labels, labels)
    alone = average_precision(x, x, labels, labels, exclude_self=True)
    for result, self_first in ((between, False), (within, True), (alone, False)):
        chance = expected_average_precision(result.relevant, result.gallery, self_first=self_first).mean()
        error = result.values.std() / np.sqrt(len(labels))
        assert abs(result.mean - chance) < 4 * error
    # Fifteen classes of four: the value known for the public collection of that size.
    assert expected_average_precision(np.array([4]), 60)[0] == pytest.approx(0.125, abs=5e-4)


def test_interval_covers_the_mean_as_often_as_it_says():
    rng = np.random.default_rng(6)
    intervals = [mean_interval(rng.beta(4, 2, size=25)) for _ in range(2000)]
    covered = np.mean([low <= 4 / 6 <= high for low, high in intervals])
    assert 0.93 < covered < 0.97
    assert mean_interval([0.5]) == mean_interval([]) == (0.0, 1.0)
    assert mean_interval([np.nan, 0.3, 0.3]) == (pytest.approx(0.3), pytest.approx(0.3))
    assert mean_interval([0.0, 1.0]) == (0.0, 1.0)
    low, high = mean_interval([0.2, 0.4, 0.6])
    assert (low, high) == (0.0, pytest.approx(0.4 + 4.30265 * 0.2 / 3**0.5, rel=1e-5))


@pytest.mark.parametrize(
    ('change', 'found'),
    [
        ({'queries': np.zeros((0, 4))}, 'queries'),
        ({'gallery': np.zeros((0, 4))}, 'gallery'),
        ({'gallery': np.zeros((5, 3))}, 'lengths'),
        ({'queries': np.zeros(4)}, 'shape'),
        ({'query_labels': np.zeros(2)}, 'label'),
        ({'gallery_labels': np.zeros((5, 1))}, 'label'),
        ({'gallery': np.full((5, 4), np.nan)}, 'not finite'),
        ({'exclude_self': True}, 'exclude_self'),
        ({'recall_levels': 1}, 'recall_levels'),
    ],
)
def test_bad_input(change, found):
    good = {
        'queries': np.ones((3, 4)),
        'gallery': np.ones((5, 4)),
        'query_labels': np.zeros(3),
        'gallery_labels': np.zeros(5),
    }
    with pytest.raises(DataError, match=found):
        average_precision(**good | change)


def test_bad_counts():
    with pytest.raises(DataError, match='relevant'):
        expected_average_precision(np.array([4]), 3)
    with pytest.raises(DataError, match='confidence'):
        mean_interval([0.1, 0.2], confidence=1.0)
