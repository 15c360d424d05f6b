"""Files of what was found for every query, and the folders of evaluations."""

import csv
import json
from pathlib import Path

import numpy as np
from evaluations import evaluation_folder
from overrides import load_config
from predictions import SHOWN, Ranking, write_predictions


def slow_row(ranking, query):
    """Rank of the truth and the order, item by item: among equal scores the wrong ones first."""
    items = [item for item in range(len(ranking.gallery)) if not (ranking.alone and item == query)]

    def place(item):
        score = ranking.scores[query, item]
        return (-(score if np.isfinite(score) else -np.inf), ranking.labels[item] == ranking.wanted[query], item)

    order = sorted(items, key=place)
    right = [place for place, item in enumerate(order, 1) if ranking.labels[item] == ranking.wanted[query]]
    return right[0] if right else None, [ranking.gallery[item] for item in order[:SHOWN]]


def test_predictions_are_those_of_a_slow_order(tmp_path):
    rng = np.random.default_rng(0)
    names = [f'shape {number}' for number in range(13)]
    rankings = []
    for alone, queries in ((False, 5), (True, 13)):
        scores = rng.integers(0, 4, (queries, 13)).astype(float)
        scores[1, 3] = np.nan
        labels, wanted = rng.integers(0, 3, 13), rng.integers(0, 4, queries)  # of class 3 there is no shape
        rankings.append(
            Ranking('test', names[:queries], [f'class {c}' for c in wanted], names, scores, wanted, labels, alone)
        )
    write_predictions(tmp_path, rankings)
    found = json.loads((tmp_path / 'predictions.json').read_text())
    wanted = [(ranking, query) for ranking in rankings for query in range(len(ranking.queries))]
    assert len(found) == len(wanted) == 18
    for row, (ranking, query) in zip(found, wanted, strict=True):
        assert (row['search'], row['query'], row['truth']) == ('test', names[query], ranking.truths[query])
        assert (row['rank_of_truth'], [result['id'] for result in row['results']]) == slow_row(ranking, query)
    with (tmp_path / 'predictions.csv').open(newline='') as file:
        lines = list(csv.DictReader(file))
    for line, row in zip(lines, found, strict=True):
        assert line['rank_of_truth'] == str(row['rank_of_truth'] or '') and line['id_2'] == row['results'][1]['id']
        assert float(line['score_1']) == row['results'][0]['score']


def test_a_gallery_of_one_and_an_empty_one_of_others(tmp_path):
    one = Ranking('alone', ['a'], ['x'], ['a'], np.ones((1, 1)), np.zeros(1, int), np.zeros(1, int), alone=True)
    write_predictions(tmp_path, [one])
    (row,) = json.loads((tmp_path / 'predictions.json').read_text())
    assert row['rank_of_truth'] is None and row['results'] == []


def test_every_evaluation_has_a_folder_of_its_own(tmp_path):
    config, _ = load_config('pix3d.py:smoke')
    first = evaluation_folder(tmp_path, config, tmp_path / 'data')
    assert evaluation_folder(tmp_path, config, tmp_path / 'data' / 'image' / '..') == first  # has no name of its own
    assert first == tmp_path / 'evaluations' / 'data'
    config.processes = 7  # changes no number
    assert evaluation_folder(tmp_path, config, tmp_path / 'data') == first
    second = evaluation_folder(tmp_path, config, tmp_path / 'other' / 'data')
    assert second == tmp_path / 'evaluations' / 'data-2' == evaluation_folder(tmp_path, config, tmp_path / 'other/data')
    config.evaluation.photos = 'all'
    assert evaluation_folder(tmp_path, config, tmp_path / 'data').name == 'data-3'
    assert evaluation_folder(tmp_path, config, Path('/')).parent == tmp_path / 'evaluations'
