"""The scores of the image-to-shape benchmarks and their chance levels against loops and exhaustive orders."""

import itertools

import numpy as np
import pytest
import references_benchmark_metrics as oracle
from test_domain_metrics import make_case

from jaxret.metrics import ranking as blocks
from jaxret.metrics.domain_adaptation import benchmark_metrics
from jaxret.metrics.shrec_chance import chance_scores
from jaxret.metrics.shrec_scores import MODES, SCORES, largest_class, ordered_relevance, per_query_scores, ranked_shapes

NAMES = ('bed', 'chair', 'desk', 'sofa', 'tree')


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
