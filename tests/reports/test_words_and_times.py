"""Keys and times as words, and tables in which no row stands twice."""

import pytest

from jaxret.reports.tables import category_table, duration, metric_name, tiles


@pytest.mark.parametrize(
    ('key', 'words'),
    [
        ('mean_reciprocal_rank', 'mean reciprocal rank'),
        ('val_mean_map', 'held-out mean mAP'),
        ('category_top1', 'category Top-1'),
        ('top10', 'Top-10'),
        ('standard_anmrr', 'standard ANMRR'),
        ('ndcg', 'NDCG'),
        ('loss', 'loss'),
    ],
)
def test_names_of_metrics(key, words):
    assert metric_name(key) == words


@pytest.mark.parametrize(
    ('seconds', 'text'),
    [
        (0.4, '0 s'),
        (59.4, '59 s'),
        (59.6, '1 min 0 s'),
        (212, '3 min 32 s'),
        (3599.7, '1 h 0 min'),
        (7500, '2 h 5 min'),
    ],
)
def test_durations(seconds, text):
    assert duration(seconds) == text


def test_a_single_category_has_one_row():
    row = {'queries': 4, 'top1': 0.5, 'top1_macro': 0.5}
    one, two = ({**row, 'per_category': dict.fromkeys(names, row)} for names in ('a', 'ab'))
    assert [line['name'] for line in category_table(one, ['top1'])] == ['a']
    names = [line['name'] for line in category_table(two, ['top1'])]
    assert names == ['a', 'b', 'All queries (micro)', 'Mean of categories (macro)']


def test_tiles_hold_what_is_reached_without_training():
    metrics = {'top1': 0.5, 'top1_chance': 0.1}
    assert [tile['untrained'] for tile in tiles(metrics, {'top1': 'Top-1'})] == ['']
    found = {'zero_shot': {'top1': 0.4}, 'references': {'top1': 0.2}, 'other': {}}
    (tile,) = tiles(metrics | {'comparators': found}, {'top1': 'Top-1'})
    assert (tile['ratio'], tile['untrained']) == ('5.0× chance', '20.0 % to 40.0 %')
    (tile,) = tiles(metrics | {'comparators': {'overlap': {'top1': 0.4}}}, {'top1': 'Top-1'})
    assert tile['untrained'] == '40.0 %'
