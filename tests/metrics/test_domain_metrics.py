"""The image-to-shape benchmark scores against loop oracles, all orders, simulation and hand-made cases."""

import itertools
import json
import time

import numpy as np
import pytest
import references_benchmark_metrics as oracle

from jaxret.errors import DataError
from jaxret.metrics import ranking as blocks
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
    ranked_shapes,
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


@pytest.mark.parametrize('mode', MODES)
@pytest.mark.parametrize(('block', 'gallery'), [(1, 61), (200, 61), (10**6, 61), (10**6, 13)])
def test_every_score_equals_the_oracle(monkeypatch, mode, block, gallery):
    monkeypatch.setattr(blocks, '_BLOCK_ELEMENTS', block)
    case = make_case(block + gallery, gallery=gallery)
    lists = oracle.ranked(*(part.tolist() for part in case), mode == 'official')
    ordered = ordered_relevance(*case, mode=mode)
    assert ordered.tolist() == lists
    largest = largest_class(case[2], case[3], mode=mode)
    assert largest == oracle.largest(case[2].tolist(), case[3].tolist(), mode == 'official')
    found = per_query_scores(ordered, mode=mode, largest=largest)
    assert set(found) == set(SCORES)
    for name in SCORES:
        assert np.isnan(found[name]).tolist() == [not any(row) for row in lists]
    for q, row in enumerate(lists):
        for name, value in (oracle.query_scores(row, mode == 'official', largest) or {}).items():
            assert found[name][q] == pytest.approx(value, rel=1e-12, abs=1e-12), (name, q)
    for name, value in oracle.set_scores(lists, mode == 'official', largest).items():
        assert np.nanmean(found[name]) == pytest.approx(value, rel=1e-12), name


@pytest.mark.parametrize('mode', MODES)
def test_ranked_shapes_are_in_the_order_of_the_scores(monkeypatch, mode):
    monkeypatch.setattr(blocks, '_BLOCK_ELEMENTS', 300)
    case = make_case(8)
    ranked = ranked_shapes(*case, mode=mode, count=100)
    assert np.sort(ranked, axis=1).tolist() == [list(range(61))] * 23
    relevance = case[3][ranked] == case[2][:, None]
    assert relevance.tolist() == ordered_relevance(*case, mode=mode).tolist()
    assert ranked_shapes(*case, mode=mode, count=7).tolist() == ranked[:, :7].tolist()


def test_the_modes_differ_where_they_should():
    case = make_case(1)
    metrics = benchmark_metrics(*case, NAMES)
    for name in SCORES:
        assert metrics[name] != metrics[f'standard_{name}']
    # On the same order: without what sets the modes apart, only NN and FT are the same.
    ordered = ordered_relevance(*case, mode='standard')
    means = [
        {name: np.nanmean(v) for name, v in per_query_scores(ordered, mode=mode, largest=30).items()} for mode in MODES
    ]
    assert {name for name in SCORES if means[0][name] == pytest.approx(means[1][name])} == {'nn', 'ft'}


def test_official_features_lose_their_negative_entries():
    gallery, labels = np.array([[-5.0, 1.0], [1.0, 0.0]]), np.array([0, 1])
    query = np.array([[-5.0, 0.1]])  # (0, 1) once negative entries are gone, which is where shape 0 then is
    assert ordered_relevance(query, gallery, [0], labels, mode='official').tolist() == [[True, False]]
    assert ordered_relevance(query[:, ::-1], gallery, [0], labels, mode='official').tolist() == [[False, True]]
    query = np.array([[0.5, 2.0]])
    far = np.array([[-5.0, 1.0], [2.0, 1.0]])
    assert ordered_relevance(query, far, [0], labels, mode='official').tolist() == [[True, False]]
    assert ordered_relevance(query, far, [0], labels, mode='standard').tolist() == [[False, True]]


def test_numbers_worked_out_by_hand():
    # Three relevant shapes at ranks 1, 3 and 6 of eight; the largest class has three.
    ordered = np.array([[1, 0, 1, 0, 0, 1, 0, 0]], bool)
    official = per_query_scores(ordered, mode='official', largest=3)
    ideal = 1 + 1 + 1 / np.log2(3)
    assert [official[name][0] for name in ('nn', 'ft', 'st')] == pytest.approx([1, 2 / 3, 2 / 3])
    assert official['dcg'][0] == pytest.approx((1 + 1 / np.log2(3)) / ideal)
    # S = 6: ranks 1, 7, 3.
    assert official['anmrr'][0] == pytest.approx((11 / 3 - 2) / 5)
    assert official['f'][0] == pytest.approx(2 * (3 / 8) / (3 / 8 + 1))
    standard = per_query_scores(ordered, mode='standard', largest=3)
    assert standard['st'][0] == 1
    assert standard['dcg'][0] == pytest.approx((1 + 1 / np.log2(3) + 1 / np.log2(6)) / ideal)
    assert standard['anmrr'][0] == pytest.approx((10 / 3 - 2) / (7.5 - 2))
    assert standard['auc'][0] == pytest.approx((1 + 2 / 3 + 1 / 2) / 3)


def test_best_and_worst_orders():
    best = np.arange(12)[None, :] < np.array([[3], [5]])
    for mode in MODES:
        scores = {name: np.mean(v) for name, v in per_query_scores(best, mode=mode, largest=5).items()}
        assert [scores[name] for name in ('nn', 'ft', 'st', 'dcg', 'anmrr')] == pytest.approx([1, 1, 1, 1, 0])
        worst = {name: np.mean(v) for name, v in per_query_scores(best[:, ::-1], mode=mode, largest=2).items()}
        assert [worst[name] for name in ('nn', 'ft', 'anmrr')] == pytest.approx([0, 0, 1])


def test_f_is_the_first_tier_with_twenty_shapes_a_class():
    rng = np.random.default_rng(2)
    gallery_labels, query_labels = np.repeat(np.arange(5), 20), rng.integers(5, size=30)
    x, y = rng.standard_normal((30, 8)), rng.standard_normal((100, 8))
    metrics = benchmark_metrics(x, y, query_labels, gallery_labels, NAMES)
    assert metrics['f'] == pytest.approx(metrics['ft']) and metrics['f_chance'] == pytest.approx(metrics['ft_chance'])


@pytest.mark.parametrize('mode', MODES)
@pytest.mark.parametrize(('gallery', 'depth'), [(1, 20), (4, 2), (5, 20)])
def test_chance_is_the_mean_over_all_orders(mode, gallery, depth):
    for relevant in range(1, gallery + 1):
        lists = [list(row) for row in itertools.permutations([g < relevant for g in range(gallery)])]
        for largest in (relevant, relevant + 2):
            expected = [oracle.query_scores(row, mode == 'official', largest, depth) for row in lists]
            chance = chance_scores(np.array([relevant]), gallery, mode=mode, largest=largest, depth=depth)
            for name in expected[0]:
                assert chance[name] == pytest.approx(np.mean([row[name] for row in expected]), rel=1e-12), name
            if mode == 'official':
                rows = [oracle.set_scores([row], True, largest, depth) for row in lists]
                for name in ('f', 'auc'):
                    assert chance[name] == pytest.approx(np.mean([row[name] for row in rows]), rel=1e-12), name


def test_chance_of_pooled_scores_is_the_mean_over_all_orders_of_two_queries():
    counts = (1, 3)
    orders = [list({tuple(row) for row in itertools.permutations([g < n for g in range(4)])}) for n in counts]
    rows = [oracle.set_scores(pair, True, 3, 2) for pair in itertools.product(*orders)]
    chance = chance_scores(np.array(counts), 4, mode='official', largest=3, depth=2)
    for name in SCORES:
        assert chance[name] == pytest.approx(np.mean([row[name] for row in rows]), rel=1e-12), name


@pytest.mark.parametrize('mode', MODES)
def test_random_orders_reach_chance(mode):
    rng = np.random.default_rng(3)
    relevant, shapes = np.repeat([40, 5, 17, 60, 1], 8000), 152
    ordered = rng.permuted(np.arange(shapes)[None, :] < relevant[:, None], axis=1)
    found = per_query_scores(ordered, mode=mode, largest=60)
    chance = chance_scores(relevant, shapes, mode=mode, largest=60)
    for name in SCORES:
        error = found[name].std() / np.sqrt(len(relevant))
        assert abs(found[name].mean() - chance[name]) < 4 * error, name
        assert error < 0.003


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
