"""Scan-to-CAD metrics against loop-written ones, chance levels of the published benchmark, and bad input."""

import json

import numpy as np
import pytest
import references_scan_metrics as oracle
from references_metrics import wilson

from jaxret.errors import DataError
from jaxret.metrics.domain_confusion import domain_confusion
from jaxret.metrics.scan_to_cad import Annotations, pool_metrics, scan_cad_metrics

NAMES = ('bin', 'bed', 'chair', 'sofa')
BENCHMARK = ('instance_top1', 'ranking_quality', 'ranking_overlap')


def make_annotations(seed=0, count=40, pool=6, *, missing=0.15, steps=5):
    """Pools with 0-3 ranked CADs, many equal distances, and some CADs missing."""
    rng = np.random.default_rng(seed)
    rank = np.zeros((count, pool), int)
    for row in rank:
        n = rng.integers(0, 4)
        row[rng.permutation(pool)[:n]] = np.arange(1, n + 1)
    return Annotations(
        distances=rng.integers(steps, size=(count, pool)) / 4.0,
        rank=rank,
        category=rng.integers(3, size=count),
        valid=rng.random((count, pool)) >= missing,
    )


def make_case(seed=0, scans=17, cads=9, dim=3):
    """Embeddings on a coarse lattice, so that equal distances are common."""
    rng = np.random.default_rng(seed)
    cad_category = rng.integers(3, size=cads)
    true_cad = np.where(rng.random(scans) < 0.2, -1, rng.integers(cads, size=scans))
    scan_category = np.where(true_cad < 0, rng.integers(4, size=scans), cad_category[true_cad])
    return {
        'scans': rng.integers(3, size=(scans, dim)).astype(float),
        'cads': rng.integers(3, size=(cads, dim)).astype(float),
        'scan_category': scan_category,
        'cad_category': cad_category,
        'true_cad': true_cad,
        'category_names': NAMES,
    }


@pytest.mark.parametrize('seed', range(3))
def test_pools_equal_the_oracle(seed):
    annotations = make_annotations(seed)
    metrics = pool_metrics(annotations, category_names=NAMES)
    rows = (annotations.distances.tolist(), annotations.rank.tolist(), annotations.valid.tolist())
    for suffix in ('', '_filtered'):
        expected = oracle.benchmark(*rows, filtered=bool(suffix))
        for name in BENCHMARK:
            key = name + suffix
            assert (metrics[key], metrics[f'{key}_chance']) == pytest.approx(expected[name])
    values = [oracle.pool_values(*row) for row in zip(*rows, strict=True)]
    assert metrics['annotations_without_ranked'] == values.count(None) > 0
    assert metrics['annotations'] == 40 - values.count(None)
    ranked = [value[2] for value in values if value]
    assert metrics['annotations_filtered'] == ranked.count(3) > 0
    interval = wilson(round(metrics['instance_top1'] * len(ranked)), len(ranked))
    assert (metrics['instance_top1_low'], metrics['instance_top1_high']) == pytest.approx(interval)
    interval = wilson(round(metrics['ranking_quality'] * sum(ranked)), sum(ranked))
    assert (metrics['ranking_quality_low'], metrics['ranking_quality_high']) == pytest.approx(interval)


def test_class_average_is_the_mean_over_classes():
    annotations = make_annotations(5)
    metrics = pool_metrics(annotations, category_names=NAMES)
    for name in BENCHMARK:
        expected = []
        for c in range(3):
            mine = annotations.category == c
            rows = (annotations.distances[mine], annotations.rank[mine], annotations.valid[mine])
            expected.append(oracle.benchmark(*(row.tolist() for row in rows))[name])
        mean, chance = np.mean(expected, axis=0)
        assert (metrics[f'{name}_macro'], metrics[f'{name}_macro_chance']) == pytest.approx((mean, chance))
        assert metrics[f'{name}_macro_low'] < mean < metrics[f'{name}_macro_high']
        assert mean != pytest.approx(metrics[name])


def test_categories_without_a_column_are_one_together():
    annotations = make_annotations(5)
    plain = pool_metrics(annotations, category_names=NAMES)
    metrics = pool_metrics(annotations, category_names=NAMES, columns=(NAMES[1], 'file cabinet'))
    assert plain.items() <= metrics.items() and not any('_of_' in key for key in plain)
    for name in ('instance_top1', 'ranking_quality'):
        expected = []
        for mine in (annotations.category == 1, annotations.category != 1):
            rows = (annotations.distances[mine], annotations.rank[mine], annotations.valid[mine])
            expected.append(oracle.benchmark(*(row.tolist() for row in rows))[name])
        keys = [f'{name}_of_{NAMES[1]}', f'{name}_of_other']
        assert [(metrics[key], metrics[f'{key}_chance']) for key in keys] == [pytest.approx(pair) for pair in expected]
        assert metrics[f'{name}_eleven_macro'] == pytest.approx(np.mean(expected, axis=0)[0])
        assert metrics[f'{name}_of_file_cabinet'] is None


def test_chance_of_the_published_benchmark():
    # 5102 annotations with 13110 ranked CADs in pools of 6: 3 x 4004, 2 x 0, 1 x 1098 gives both numbers.
    ranked = np.r_[np.full(4004, 3), np.full(1098, 1)]
    assert (len(ranked), ranked.sum()) == (5102, 13110)
    rank = np.where(np.arange(6)[None, :] < ranked[:, None], np.arange(1, 7)[None, :], 0)
    distances = np.random.default_rng(0).random((5102, 6))
    metrics = pool_metrics(Annotations(distances, rank, np.zeros(5102, int)), category_names=NAMES)
    assert metrics['instance_top1_chance'] == pytest.approx(0.428, abs=5e-4)
    assert metrics['ranking_quality_chance'] == pytest.approx(0.167, abs=5e-4)
    assert metrics['instance_top1_filtered_chance'] == 0.5
    for name in ('instance_top1', 'ranking_quality', 'ranking_overlap'):
        assert abs(metrics[name] - metrics[f'{name}_chance']) < 0.02


def test_a_perfect_order_a_reversed_one_and_a_collapsed_one():
    rank = np.tile([0, 2, 0, 1, 3, 0], (4, 1))
    perfect = np.tile([4.0, 2.0, 6.0, 1.0, 3.0, 5.0], (4, 1))
    values = {}
    for name, distances in (
        ('perfect', perfect),
        ('reversed', -perfect),
        ('equal', np.ones((4, 6))),
        ('nan', np.full((4, 6), np.nan)),
    ):
        metrics = pool_metrics(Annotations(distances, rank, np.zeros(4, int)), category_names=NAMES)
        values[name] = [metrics[key] for key in BENCHMARK]
    assert values == {'perfect': [1, 1, 1], 'reversed': [0, 0, 0], 'equal': [0, 0, 0], 'nan': [0, 0, 0]}


def test_without_an_annotation_that_counts_nothing_is_made_up():
    for annotations in (
        Annotations(np.zeros((0, 6)), np.zeros((0, 6), int), np.zeros(0, int)),
        Annotations(np.zeros((2, 6)), np.zeros((2, 6), int), np.zeros(2, int)),
    ):
        metrics = pool_metrics(annotations, category_names=NAMES)
        assert metrics['annotations'] == metrics['annotations_filtered'] == 0
        for name in BENCHMARK:
            for suffix in ('', '_low', '_chance', '_macro', '_macro_high', '_filtered'):
                assert metrics[name + suffix] is None
        json.dumps(metrics, allow_nan=False)


def test_missing_cads_change_nothing_but_the_pool():
    annotations = make_annotations(2, missing=0.0)
    wide = Annotations(
        np.pad(annotations.distances, ((0, 0), (0, 2))),
        np.pad(annotations.rank, ((0, 0), (0, 2))),
        annotations.category,
        np.pad(annotations.valid, ((0, 0), (0, 2))),
    )
    assert pool_metrics(wide, category_names=NAMES) == pool_metrics(annotations, category_names=NAMES)


def test_distances_that_are_no_distances_of_embeddings():
    case = make_case(1)
    best = np.where(np.arange(9) == case['true_cad'][:, None], -1.0, 0.0)  # inner products may be below 0
    assert scan_cad_metrics(**case, distances=best)['exact_top1'] == np.mean(case['true_cad'] >= 0)
    with pytest.raises(DataError, match='17 scans x 9 CADs'):
        scan_cad_metrics(**case, distances=best[1:])


@pytest.mark.parametrize('seed', range(3))
def test_category_and_exact_model_equal_the_oracle(seed):
    case = make_case(seed)
    metrics = scan_cad_metrics(**case)
    hits, exact, chance, exact_chance = [], [], [], []
    cads = case['cad_category'].tolist()
    for scan, category, true_cad in zip(case['scans'].tolist(), case['scan_category'], case['true_cad'], strict=True):
        distances = [oracle.distance(scan, cad) for cad in case['cads'].tolist()]
        hits.append(oracle.category_hit(distances, cads, category))
        exact.append(oracle.exact_hit(distances, cads, category, true_cad))
        chance.append(cads.count(category) / len(cads))
        exact_chance.append(1 / cads.count(category) if true_cad >= 0 else 0.0)
    for name, values, guess in (('category_top1', hits, chance), ('exact_top1', exact, exact_chance)):
        assert metrics[name] == pytest.approx(np.mean(values)) and 0 < metrics[name] < 1
        assert metrics[f'{name}_chance'] == pytest.approx(np.mean(guess))
        assert (metrics[f'{name}_low'], metrics[f'{name}_high']) == pytest.approx(wilson(sum(values), len(values)))
        by_class = [
            np.mean([v for v, c in zip(values, case['scan_category'], strict=True) if c == k])
            for k in np.unique(case['scan_category'])
        ]
        assert metrics[f'{name}_macro'] == pytest.approx(np.mean(by_class))
        rows = metrics['per_category']
        assert [rows[NAMES[k]][name] for k in np.unique(case['scan_category'])] == pytest.approx(by_class)
    assert metrics['scans'] == sum(row['scans'] for row in metrics['per_category'].values()) == 17
    assert metrics['gallery'] == 9 and 'instance_top1' not in metrics
    assert json.loads(json.dumps(metrics, allow_nan=False)) == metrics


def test_everything_together():
    annotations = make_annotations(1)
    metrics = scan_cad_metrics(**make_case(1), annotations=annotations)
    alone = pool_metrics(annotations, category_names=NAMES)
    assert alone.items() <= metrics.items()
    row = metrics['per_category']['bed']
    mine = annotations.category == 1
    expected = oracle.benchmark(
        *(x[mine].tolist() for x in (annotations.distances, annotations.rank, annotations.valid))
    )
    assert row['ranking_quality'] == pytest.approx(expected['ranking_quality'][0])
    assert row['annotations'] == sum(
        oracle.pool_values(*line) is not None
        for line in zip(annotations.distances[mine], annotations.rank[mine], annotations.valid[mine], strict=True)
    )


@pytest.mark.parametrize('k', [1, 4, 10, 100])
def test_confusion_equals_the_oracle(k):
    case = make_case(4, scans=11, cads=7)
    shares = oracle.confusion(case['scans'].tolist(), case['cads'].tolist(), k)
    found = domain_confusion(case['scans'], case['cads'], neighbors=k)
    for suffix, rows in (('', slice(None)), ('_scans', slice(11)), ('_cads', slice(11, None))):
        assert found[f'domain_confusion{suffix}'] == pytest.approx(np.mean(shares[rows]))
    assert found['domain_confusion_scans_expected'] == pytest.approx(7 / 17)
    assert found['domain_confusion_cads_expected'] == pytest.approx(11 / 17)
    assert found['domain_confusion_expected'] == pytest.approx((11 * 7 + 7 * 11) / 17 / 18)
    assert found['domain_confusion_neighbors'] == min(k, 17)


def test_confusion_at_its_ends(monkeypatch):
    rng = np.random.default_rng(0)
    x = rng.standard_normal((60, 8))
    assert domain_confusion(x, x + 100)['domain_confusion'] == 0.0
    assert domain_confusion(x, x, neighbors=1)['domain_confusion'] == 1.0
    assert domain_confusion(np.ones((20, 4)), np.ones((20, 4)))['domain_confusion'] == 0.0
    mixed = domain_confusion(rng.standard_normal((300, 8)), rng.standard_normal((100, 8)))
    assert abs(mixed['domain_confusion_scans'] - mixed['domain_confusion_scans_expected']) < 0.03
    monkeypatch.setattr('jaxret.metrics.domain_confusion._BLOCK', 250)  # several blocks of rows
    assert domain_confusion(x[:30], x[20:]) == pytest.approx(
        {**domain_confusion(x[:30], x[20:]), 'domain_confusion': np.mean(oracle.confusion(x[:30], x[20:], 10))}
    )


@pytest.mark.parametrize(
    ('change', 'found'),
    [
        ({'scans': np.ones((0, 3))}, 'scans'),
        ({'cads': np.ones((0, 3))}, 'cads'),
        ({'cads': np.ones((9, 2))}, 'one size'),
        ({'scans': np.full((17, 3), np.nan)}, '51 values that are not finite'),
        ({'scan_category': [0] * 16}, 'scan_category'),
        ({'cad_category': [4] * 9}, 'cad_category'),
        ({'true_cad': [9] * 17}, 'positive'),
        ({'true_cad': [0] * 17, 'scan_category': [3] * 17}, 'another category'),
        ({'neighbors': 0}, 'neighbors'),
    ],
)
def test_bad_input(change, found):
    with pytest.raises(DataError, match=found):
        scan_cad_metrics(**make_case() | change)


@pytest.mark.parametrize(
    ('rank', 'distances', 'category', 'found'),
    [
        ([[1, 1, 0]], np.zeros((1, 3)), [0], 'two CADs of a pool with one rank'),
        ([[1, -1, 0]], np.zeros((1, 3)), [0], '-1'),
        ([[1, 0]], np.zeros((1, 3)), [0], r'give distances, rank and valid as \[A, P\]'),
        ([[1, 0, 0]], np.zeros((1, 3)), [4], 'annotations.category'),
    ],
)
def test_bad_annotations(rank, distances, category, found):
    with pytest.raises(DataError, match=found):
        pool_metrics(Annotations(distances, np.array(rank), np.array(category)), category_names=NAMES)
