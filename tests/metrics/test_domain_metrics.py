"""All metrics of photos to shapes across domains: keys, intervals, chance, class means, curves and odd input."""

import json
import time

import numpy as np
import pytest
import references_benchmark_metrics as oracle

from jaxret.errors import DataError
from jaxret.metrics.domain_adaptation import benchmark_metrics
from jaxret.metrics.intervals import mean_interval
from jaxret.metrics.shrec_chance import chance_scores
from jaxret.metrics.shrec_scores import (
    MODES,
    SCORES,
    largest_class,
    ordered_relevance,
    per_query_scores,
    pooled_precision_recall,
)

NAMES = ('bed', 'chair', 'desk', 'sofa', 'tree')


def make_case(seed, queries=23, gallery=61, noise=1.0):
    """Features near a centre a class with ties, zero and wholly negative rows; class 4 has no shapes, 3 no photos."""
    rng = np.random.default_rng(seed)
    query_labels = rng.choice([0, 1, 2, 4], size=queries)
    gallery_labels = rng.choice(4, size=gallery, p=[0.5, 0.1, 0.3, 0.1])
    gallery_labels[:4] = range(4)
    query_labels[:2] = [4, 1]
    centres = rng.standard_normal((5, 6))
    x = (centres[query_labels] + noise * rng.standard_normal((queries, 6))).astype(np.float32)
    y = (centres[gallery_labels] + noise * rng.standard_normal((gallery, 6))).astype(np.float32)
    y[5:9] = y[4]
    y[8] *= 3
    y[9] = 0
    y[10] = -np.abs(y[10])
    x[3] = 0
    x[4] = -np.abs(x[4])
    return x, y, query_labels, gallery_labels


def test_random_features_reach_chance():
    rng = np.random.default_rng(4)
    gallery_labels, query_labels = rng.integers(5, size=400), rng.integers(5, size=300)
    metrics = benchmark_metrics(
        rng.standard_normal((300, 64)), rng.standard_normal((400, 64)), query_labels, gallery_labels, NAMES
    )
    for name in ('ft', 'st', 'f', 'dcg', 'anmrr', 'auc'):
        for key in (name, f'standard_{name}'):
            assert metrics[key] == pytest.approx(metrics[f'{key}_chance'], abs=0.02), key


@pytest.mark.parametrize('mode', MODES)
def test_intervals_cover_as_often_as_they_say(mode):
    rng = np.random.default_rng(5)
    relevant = np.full(60, 30)
    chance = chance_scores(relevant, 150, mode=mode, largest=30)
    inside = dict.fromkeys(SCORES, 0)
    for _ in range(300):
        ordered = rng.permuted(np.arange(150)[None, :] < relevant[:, None], axis=1)
        for name, values in per_query_scores(ordered, mode=mode, largest=30).items():
            low, high = mean_interval(values)
            inside[name] += low <= chance[name] <= high
    for name, count in inside.items():
        assert 0.91 < count / 300 < 0.985, name


def test_keys_are_flat_and_the_rest_follows_from_the_scores():
    case = make_case(4)
    metrics = benchmark_metrics(*case, NAMES, train_labels=np.array([1, 1, 0, 2]))
    assert json.loads(json.dumps(metrics, allow_nan=False)) == metrics
    assert {name for name, value in metrics.items() if not isinstance(value, int | float)} == {
        'per_class',
        'precision_recall',
    }
    query_labels, gallery_labels = case[2], case[3]
    assert metrics['queries_without_relevant'] == np.count_nonzero(query_labels == 4) > 0
    assert (metrics['queries'], metrics['gallery']) == (23, 61)
    present = [c for c in np.unique(query_labels) if c != 4]
    for mode, prefix in (('official', ''), ('standard', 'standard_')):
        lists = oracle.ranked(*(part.tolist() for part in case), mode == 'official')
        limit = oracle.largest(query_labels.tolist(), gallery_labels.tolist(), mode == 'official')
        mine = {c: [row for row, k in zip(lists, query_labels, strict=True) if k == c] for c in present}
        by_class = {c: oracle.set_scores(rows, mode == 'official', limit) for c, rows in mine.items()}
        for name in SCORES:
            key = prefix + name
            assert metrics[f'{key}_macro'] == pytest.approx(np.mean([row[name] for row in by_class.values()]))
            assert metrics[f'{key}_low'] < metrics[key] < metrics[f'{key}_high']
            assert 0 < metrics[f'{key}_chance'] < 1 and 0 < metrics[f'{key}_macro_chance'] < 1
            for c in present:
                assert metrics['per_class'][NAMES[c]][key] == pytest.approx(by_class[c][name])
        share = np.mean([np.mean(gallery_labels == c) for c in present])
        assert metrics[f'{prefix}nn_macro_chance'] == pytest.approx(share)
        counted = query_labels[query_labels != 4]
        assert metrics[f'{prefix}nn_prior'] == pytest.approx(np.mean(counted == 1))
    assert metrics['per_class']['tree'] == {'queries': metrics['queries_without_relevant'], 'relevant': 0}
    assert 'sofa' not in metrics['per_class']  # shapes, but no photos


def test_intervals_of_means_are_student_and_that_of_pooled_f_is_the_bootstraps():
    rng = np.random.default_rng(5)
    gallery_labels, query_labels = rng.integers(4, size=120), rng.integers(4, size=80)
    gallery_labels[gallery_labels == 0] = np.where(rng.random(np.sum(gallery_labels == 0)) < 0.7, 1, 0)
    centres = np.abs(rng.standard_normal((4, 6)))
    x, y = (centres[labels] + 0.8 * rng.standard_normal((len(labels), 6)) for labels in (query_labels, gallery_labels))
    metrics = benchmark_metrics(x, y, query_labels, gallery_labels, NAMES)
    ordered = ordered_relevance(x, y, query_labels, gallery_labels, mode='official')
    largest = largest_class(query_labels, gallery_labels, mode='official')
    ft = per_query_scores(ordered, mode='official', largest=largest)['ft']
    assert (metrics['ft_low'], metrics['ft_high']) == mean_interval(ft)
    draws = [per_query_scores(ordered[rng.integers(80, size=80)], mode='official', largest=largest) for _ in range(400)]
    for name in ('f', 'auc'):
        spread = np.std([np.mean(draw[name]) for draw in draws])
        assert (metrics[f'{name}_high'] - metrics[f'{name}_low']) / 2 == pytest.approx(1.99 * spread, rel=0.15), name


def test_curves():
    case = make_case(6)
    metrics = benchmark_metrics(*case, NAMES)
    lists = [row for row in oracle.ranked(*(part.tolist() for part in case), True) if any(row)]
    curve = metrics['precision_recall']['official']
    points = oracle.pooled_curve(lists)
    assert list(zip(curve['recall'], curve['precision'], strict=True)) == [pytest.approx(point) for point in points]
    assert metrics['precision_recall']['standard']['recall'] == pytest.approx([t / 10 for t in range(11)])
    recall, precision = pooled_precision_recall(np.zeros((3, 4), bool))
    assert recall.tolist() == precision.tolist() == [0] * 4


def test_collapsed_features_are_worst_and_nothing_relevant_is_no_score():
    labels = np.repeat([0, 1], 6)
    metrics = benchmark_metrics(np.ones((12, 3)), np.ones((12, 3)), labels, labels, NAMES)
    for name in ('nn', 'ft', 'standard_nn', 'standard_ft'):
        assert metrics[name] == 0
    assert metrics['anmrr'] == 1 and metrics['standard_auc'] < metrics['standard_auc_chance']
    nothing = benchmark_metrics(np.ones((2, 3)), np.ones((3, 3)), [0, 0], [1, 1, 2], NAMES, train_labels=[0])
    assert nothing['nn'] is nothing['f'] is nothing['auc'] is nothing['st_macro'] is nothing['nn_prior'] is None
    assert nothing['f_chance'] is None and nothing['queries_without_relevant'] == 2
    one = benchmark_metrics(np.ones((1, 3)), np.ones((1, 3)), [0], [0], NAMES)
    assert (one['nn'], one['anmrr'], one['standard_anmrr'], one['f']) == (1, 0, 0, 1)
    json.dumps([nothing, one], allow_nan=False)


def test_a_large_gallery_is_done_in_blocks():
    rng = np.random.default_rng(7)
    labels = rng.integers(5, size=2500)
    x = rng.standard_normal((2500, 16)).astype(np.float32)
    started = time.process_time()
    metrics = benchmark_metrics(x, x + 0.5, labels, labels, NAMES)
    assert time.process_time() - started < 30
    assert len(metrics['precision_recall']['official']['recall']) == 100


@pytest.mark.parametrize(
    ('change', 'found'),
    [
        ({'queries': np.zeros((0, 4)), 'query_labels': np.zeros(0, int)}, 'queries'),
        ({'gallery': np.zeros((5, 3))}, 'lengths'),
        ({'gallery': np.full((5, 4), -np.inf)}, 'not finite'),
        ({'query_labels': np.zeros(2, int)}, 'one class id'),
        ({'query_labels': np.zeros((3, 1), int)}, 'one class id'),
        ({'gallery_labels': np.array([0, 1, 2, 3, 5])}, 'class names'),
        ({'query_labels': np.array([0, -1, 0])}, 'class names'),
    ],
)
def test_bad_input(change, found):
    good = {
        'queries': np.ones((3, 4)),
        'gallery': np.ones((5, 4)),
        'query_labels': np.zeros(3, int),
        'gallery_labels': np.zeros(5, int),
        'class_names': NAMES,
    }
    with pytest.raises(DataError, match=found):
        benchmark_metrics(**good | change)
