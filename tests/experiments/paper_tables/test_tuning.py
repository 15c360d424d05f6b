"""Equal tuning, with a stand-in for the runs: what is tried, what chooses, what the table's runs get."""

import json
from pathlib import Path

import pytest
import tables
from paper_tables import records, runs, tuning
from paper_tables.rows.paper import Metric, Paper, Row, Table, Tuning
from paper_tables.workers import Ended

CONFIG = {'small': 'modelnet40.py:smoke'}
A, B = Row('a', CONFIG, {'batch_size': 4}), Row('b', CONFIG, {'batch_size': 8})
LIKE_A = Row('like a', CONFIG, {'batch_size': 4, 'evaluation.batch_size': 3})  # trains as a
UNTRAINED = Row('untrained', CONFIG, {'batch_size': 6}, tuned=False)
SECOND = Row('second', CONFIG, {'batch_size': 16}, starts_from='a', start_key='data.images_dir')
KEYS = ('optimizer.learning_rate', 'center_optimizer.learning_rate')
TUNING = Tuning('val_x', {'data.val_fraction': 0.25}, KEYS, rates=(0.5, 1.0), lengths=(1.0, 3.0), seeds=(1000, 1001))
PAPER = Paper('P', (Table('T', (Metric('mean_map', 'mAP'),), (A, LIKE_A, B, UNTRAINED, SECOND)),), tuning=TUNING)


class Runs:
    """Every run writes its held-out score, by its own table, and metrics."""

    free, running = True, 0

    def __init__(self, score):
        self.score, self.calls, self.waiting = score, [], []

    def __call__(self, count):
        return self

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def start(self, key, arguments, log):
        options = dict(part.removeprefix('--config.').removeprefix('--').split('=', 1) for part in arguments)
        log.touch()
        self.calls.append(options)
        self.waiting.append((key, options))
        self.free, self.running = False, 1

    def next(self):
        key, options = self.waiting.pop()
        self.free, self.running = True, 0
        score = self.score(int(options['batch_size']), float(options.get(KEYS[0], 1)), options)
        if score is None:
            return Ended(key, 1, 0.0)
        folder = Path(options['workdir'])
        lines = [{'step': 1, 'val_x': 9.0}, {'step': 2, 'val_x': score}, {'step': 3}]
        (folder / 'metrics.jsonl').write_text(''.join(json.dumps(line) + '\n' for line in lines))
        (folder / 'metrics.json').write_text('{"mean_map": 0.5}')
        return Ended(key, 0, 1.0)


@pytest.fixture
def run(monkeypatch, tmp_path):
    """The command with runs that reach what a function says; gives the options of the runs and the results."""

    def command(score, *arguments, paper=PAPER):
        pool = Runs(score)
        monkeypatch.setattr(runs, 'Workers', pool)
        machine = {'hardware': {'devices': '1 x cpu'}, 'versions': {}}
        monkeypatch.setattr(runs, 'machine', lambda: machine)
        monkeypatch.setattr(tables, 'load_paper', lambda name: paper)
        monkeypatch.setattr(tables, '_report', lambda results, out, shown: 0)
        assert tables.main(['t', '--tune', '--seeds=2', f'--out={tmp_path}/out', *arguments]) == 0
        return pool.calls, json.loads((tmp_path / 'out' / 'results.json').read_text())['tables'][0]['rows']

    return command


def score_of(size, rate, options):
    """Best with half the rate for size 4, with three times the epochs for size 8, and always the same for 16."""
    long = options.get('epochs') == '3'
    return {4: 1 - rate, 8: 0.5 + 0.1 * long, 6: 0.0, 16: 0.7}[size]


def test_every_row_tries_the_same_and_the_table_runs_what_was_best(run):
    calls, rows = run(score_of)
    tries = [call for call in calls if int(call['seed']) >= 1000]
    assert {call['data.val_fraction'] for call in tries} == {'0.25'}
    tried = {}
    for call in tries:
        key = call['batch_size'], call.get(KEYS[0]), call.get(KEYS[1]), call.get('epochs')
        tried.setdefault(call['batch_size'], []).append((key[1:], call['seed']))
    grid = {(rate, rate, length) for rate in (None, '0.0015') for length in (None, '3')}
    for size in ('4', '8', '16'):
        assert {key for key, _ in tried[size]} == grid
        assert len(tried[size]) == len(set(tried[size])) == 8  # 'like a' trains as a does: no tries of its own
    assert '6' not in tried
    final = {call['batch_size'] + call.get('evaluation.batch_size', ''): call for call in calls if call['seed'] == '0'}
    assert 'data.val_fraction' not in final['4'] and final['4'][KEYS[0]] == final['43'][KEYS[1]] == '0.0015'
    assert final['8']['epochs'] == '3' and KEYS[0] not in final['8']
    assert KEYS[0] not in final['16'] and 'epochs' not in final['16']  # all equal: its own values
    assert KEYS[0] not in final['6']
    assert '/runs/' in final['16']['data.images_dir'] and '-seed-0' in final['16']['data.images_dir']
    starts = {call['data.images_dir'] for call in tries if call['batch_size'] == '16'}
    assert all('/tuning/' in start for start in starts) and len(starts) == 2
    named = {row['name']: row['tuned'] for row in rows}
    assert named['untrained'] is None and named['a']['factors'] == [0.5, 1.0] == named['like a']['factors']
    assert named['b']['processor_seconds'] == 8.0 and named['like a']['processor_seconds'] == 0.0
    assert {key: named['b'][key] for key in ('values', 'factors', 'scores')} == {
        'values': {'epochs': 3},
        'factors': [1.0, 3.0],
        'scores': {'0.5 x 1': 0.5, '0.5 x 3': pytest.approx(0.6), '1 x 1': 0.5, '1 x 3': pytest.approx(0.6)},
    }
    again, _ = run(score_of)
    assert again == []  # nothing is tried or run twice


def test_tries_start_from_the_one_run_of_all_seeds(run):
    first = Row('first', CONFIG, {'batch_size': 6}, tuned=False, seed=0)
    second = Row('second', CONFIG, {'batch_size': 16}, starts_from='first', start_key='data.images_dir')
    table = Table('T', (Metric('mean_map', 'mAP'),), (second,))
    calls, rows = run(score_of, paper=Paper('P', (table,), tuning=TUNING, starts=(first,)))
    assert [call['seed'] for call in calls if call['batch_size'] == '6'] == ['0']
    assert [row['name'] for row in rows] == ['second']
    starts = {call['data.images_dir'] for call in calls if call['batch_size'] == '16'}
    assert len(starts) == 1 and '/runs/' in next(iter(starts))


def test_a_try_that_fails_is_not_chosen(run):
    def score(size, rate, options):
        return None if rate < 0.1 and int(options['seed']) == 1001 and size != 6 else score_of(size, rate, options)

    _, rows = run(score, '--rows=b')
    assert rows[0]['tuned']['scores'] == {'0.5 x 1': None, '0.5 x 3': None, '1 x 1': 0.5, '1 x 3': pytest.approx(0.6)}


def test_the_best_checkpoint_counts_where_it_is_evaluated(tmp_path):
    job = runs.Job('k', tmp_path / 'x', {'experiment': 'x', 'select': 'x', 'data_dir': ''}, (), frozenset())
    facts = {
        'seed': 1000,
        'wall_seconds': 1.0,
        'commit': '',
        'dirty': False,
        'hardware': {},
        'versions': {},
        'metrics': {},
    }
    one = Tuning('val_x', seeds=(1000,))
    assert tuning._score(job, one) is None
    records.write_record(job, 1000, facts | {'state': 'finished', 'config': job.config_of(1000)})
    assert tuning._score(job, one) is None
    (job.workdir(1000) / 'metrics.jsonl').write_text('{"val_x": 0.5}\n{"val_x": 0.25}\n')
    assert tuning._score(job, one) == 0.5
