"""The tables command with a stand-in for run.py: what is run, what is kept, what is reported, how it stops."""

import contextlib
import json
import random
import shutil
import signal
from pathlib import Path

import pytest
import tables
from interruption import Terminated
from paper_tables import runs
from paper_tables.plan import Job
from paper_tables.rows.paper import Claim, Metric, Paper, Row, Table
from paper_tables.summary import _without_path
from paper_tables.workers import Ended
from result_text import one_line_a_row

from jaxret.files import write_atomically
from jaxret.reports import paper_tables as table_report
from jaxret.runs.workdir import locked

CONFIGS = {'small': 'modelnet40.py:smoke', 'clf': 'modelnet40.py:clf'}
MAP, MIXING = (
    Metric('mean_map', 'Mean mAP'),
    Metric('domain_mixing', 'Mixing', scale=1.0, digits=3, higher_is_better=False, chance='domain_mixing_expected'),
)
A = Row('a', CONFIGS, {'batch_size': 4}, {'mean_map': 50.5})
B = Row('b', CONFIGS, {'batch_size': 8}, {'mean_map': 50.0})
SAME = Row('a again', CONFIGS, {'batch_size': 4}, {'mean_map': 50.5})
PAPER = Paper(
    'Somebody (2024)',
    notes=('A note.',),
    tables=(Table('Table 1: this', (MAP, MIXING), (A, B)), Table('Table 2: that', (MAP,), (SAME, B))),
    claims=(
        Claim('a is better than b', better='a', worse='b', metric='mean_map'),
        Claim('b mixes less', better='b', worse='a', metric='domain_mixing', difference=0.1),
    ),
)


class FakeRuns:
    """Stands in for the processes that run run.py: writes metrics.json, or does what `faults` says for a (batch size,
    seed). Runs end in the order in which they began."""

    def __init__(self):
        self.calls, self.faults, self.most, self.ended, self.order, self.signals = [], {}, 1, [], [], []

    def __call__(self, count):
        self.count = count
        return contextlib.nullcontext(self)

    @property
    def free(self):
        return len(self.ended) < self.most

    @property
    def running(self):
        return len(self.ended)

    def start(self, key, arguments, log):
        options = dict(part.removeprefix('--').split('=', 1) for part in arguments)
        workdir, seed, size = Path(options['workdir']), int(options['config.seed']), int(options['config.batch_size'])
        self.calls.append((size, seed))
        assert workdir.parent.name == 'runs' and not (workdir / 'metrics.json').exists()
        assert options['report'] == 'no'
        self.ended.append((key, workdir, log, size, seed))

    def next(self):
        key, workdir, log, size, seed = self.ended[0]
        fault = self.faults.get((size, seed))
        if isinstance(fault, BaseException):
            del self.faults[size, seed]
            self.faults[size, seed] = 143, ''
            raise fault
        del self.ended[0]
        self.order.append((size, seed))
        if isinstance(fault, tuple):
            status, text = fault
            with log.open('a') as file:
                file.write(text)
            return Ended(key, status, 1.5)
        write_atomically(workdir / 'metrics.json', json.dumps(fault or metrics_of(size, seed)))
        return Ended(key, 0, 1.5)

    def interrupt(self, number):
        self.signals.append(number)


def metrics_of(size, seed):
    """What a run of this batch size and seed 'reaches'."""
    value = random.Random(seed).uniform(0.4, 0.6) + (0.1 if size == 4 else 0.0) + 0.01 * seed
    return {
        'mean_map': value,
        'mean_map_chance': 0.25,
        'domain_mixing': 0.3,
        'domain_mixing_expected': 0.5,
        'queries': 24,
        'synthetic': True,
        'per_class': {'chair': {}},
    }


@pytest.fixture
def fake(monkeypatch):
    """The stand-in; the papers of the command are the one above, and the machine is not asked."""
    runner = FakeRuns()
    for name in ('draw_table', 'draw_claims'):  # which take longer than all the rest
        monkeypatch.setattr(table_report, name, lambda rows: None)
    monkeypatch.setattr(runs, 'Workers', runner)
    monkeypatch.setattr(
        runs,
        'machine',
        lambda: {'hardware': {'cores': 2, 'processor': 'p', 'devices': '1 x cpu'}, 'versions': {'jax': '1'}},
    )
    monkeypatch.setattr(tables, 'load_paper', lambda name: PAPER)
    return runner


@pytest.fixture
def command(tmp_path):
    """Exit status of the command in this process."""
    return lambda *arguments: tables.main(
        ['test', f'--out={tmp_path}/out', f'--config.cache_dir={tmp_path}/cache', '--seeds=2', *arguments]
    )


def results_of(tmp_path):
    return json.loads((tmp_path / 'out' / 'results.json').read_text())


def rows_of(tmp_path):
    """{name: row}, with the values of all tables that it stands in."""
    rows = {}
    for row in (row for table in results_of(tmp_path)['tables'] for row in table['rows']):
        rows[row['name']] = row | {'values': rows.get(row['name'], {}).get('values', {}) | row['values']}
    return rows


def test_every_row_and_seed_is_run_once_and_reported(fake, command, tmp_path, capsys):
    assert command() == 0
    assert fake.calls == [(4, 0), (8, 0), (4, 1), (8, 1)]  # seed by seed; 'a again' shares the runs of 'a'
    results = results_of(tmp_path)
    a, b = rows_of(tmp_path)['a'], rows_of(tmp_path)['b']
    assert a['values']['mean_map']['seeds'] == {
        str(seed): pytest.approx(100 * metrics_of(4, seed)['mean_map']) for seed in (0, 1)
    }
    assert a['values']['mean_map']['paper'] == 50.5 and a['values']['mean_map']['chance'] == 25.0
    assert b['values']['domain_mixing']['mean'] == 0.3 and b['values']['domain_mixing']['chance'] == 0.5
    assert b['values']['domain_mixing']['paper'] is None
    run = a['runs'][1]
    assert run['state'] == 'finished' and run['seed'] == 1 and run['config']['batch_size'] == 4
    assert run['config']['seed'] == 1 and run['hardware']['cores'] == 2 and run['versions'] == {'jax': '1'}
    assert run['metrics']['queries'] == 24 and 'per_class' not in run['metrics'] and run['wall_seconds'] >= 0
    assert run['processor_seconds'] == 1.5
    assert {'commit', 'dirty', 'command', 'started'} <= run.keys()
    assert [row['name'] for row in results['tables'][1]['rows']] == ['a again', 'b']
    assert rows_of(tmp_path)['a again']['runs'][0]['folder'] == a['runs'][0]['folder']

    claim, other = results['claims']
    expected = [100 * (metrics_of(4, seed)['mean_map'] - metrics_of(8, seed)['mean_map']) for seed in (0, 1)]
    assert claim['mean'] == pytest.approx(sum(expected) / 2) == pytest.approx(10.0)
    assert claim['paper'] == 0.5 and claim['verdict'] == 'unknown'  # the same difference for both seeds: no spread
    assert other['paper'] == 0.1 and other['mean'] == 0.0 and other['verdict'] == 'undecided'
    out = capsys.readouterr().out
    assert 'A is better than b (paper +0.50; here +10.00 with standard deviation 0.00, ' in out
    assert (
        '2 seeds): cannot be said: two seeds that agree have no spread.' in out
        and 'undecided (more than 1,000 seeds would decide).' in out
    )
    assert 'Table 2: that' in out and '50.50' in out
    page = (tmp_path / 'out' / 'index.html').read_text()
    for text in (
        'Somebody (2024)',
        'A note.',
        'Synthetic data',
        'Table 1: this',
        'lower is better',
        '0.300',
        '25.00',
        'seeds would decide',
        '2 of 2',
    ):
        assert text in page


def test_rows_that_use_the_answer_are_marked(fake, command, tmp_path):
    fake.faults = {(8, seed): metrics_of(8, seed) | {'uses_answer': 'chosen on test'} for seed in (0, 1)}
    fake.faults[4, 0] = metrics_of(4, 0) | {'uses_answer': ''}
    assert command() == 0
    assert {name: row['uses_answer'] for name, row in rows_of(tmp_path).items()} == {
        'a': [],
        'a again': [],
        'b': ['chosen on test'],
    }
    note = 'USES THE ANSWER: chosen on test (rows: b).'
    assert results_of(tmp_path)['notes'] == ['A note.', note]
    page = (tmp_path / 'out' / 'index.html').read_text()
    assert note in page and page.count('uses the answer') == 2  # b stands in both tables
    summary = json.loads((tmp_path / 'out' / 'summary.json').read_text())
    assert [row['uses_answer'] for row in summary['rows'] if row['name'] == 'b'] == [['chosen on test']]


def test_the_summary_has_what_the_tables_show_and_no_path_of_this_machine(fake, command, tmp_path):
    fake.faults = {(8, 1): (1, f'error: {tmp_path}/photo.png: damaged\n')}
    assert command(f'--config.data.features_dir={tmp_path}/features', '--config.epochs=2') == 1
    text = (tmp_path / 'out' / 'summary.json').read_text()
    assert str(tmp_path) not in text
    summary, results = json.loads(text), results_of(tmp_path)
    assert summary['data'] == 'synthetic sample' and summary['notes'] == ['A note.']
    assert summary['overrides'] == {'data.features_dir': 'features', 'epochs': '2'}
    assert summary['hardware']['cores'] == 2 and summary['versions'] == {'jax': '1'}
    assert summary['tables'] == [
        {'title': 'Table 1: this', 'metrics': ['mean_map', 'domain_mixing'], 'rows': ['a', 'b']},
        {'title': 'Table 2: that (percent)', 'metrics': ['mean_map'], 'rows': ['a again', 'b']},
    ]
    assert [(row['name'], row['state']) for row in summary['rows']] == [
        ('a', 'finished'),
        ('b', '1 finished, 1 failed'),
        ('a again', 'finished'),
    ]
    assert summary['columns'] == ['paper', 'mean', 'sd', 'low', 'high', 'chance', 'prior', 'seeds']
    a, b, again = (row['values'] for row in summary['rows'])
    expected = [pytest.approx(100 * metrics_of(4, seed)['mean_map'], rel=1e-3) for seed in (0, 1)]
    paper, mean, *_, chance, prior, seeds = a['mean_map']
    assert (paper, mean, chance, prior, seeds) == (50.5, pytest.approx(sum(seeds) / 2, rel=1e-3), 25.0, None, expected)
    assert a['domain_mixing'] == [None, 0.3, 0.0, 0.3, 0.3, 0.5, None, [0.3, 0.3]]
    assert b['mean_map'][2:5] == [None] * 3 and len(b['mean_map'][-1]) == 1  # one seed has no spread
    assert again == a  # in every metric, whatever its own table shows
    assert all(row['counts'] == {'queries': 24} and len(row['commits']) == 1 for row in summary['rows'])
    assert [claim['verdict'] for claim in summary['claims']] == [claim['verdict'] for claim in results['claims']]
    assert text.count('\n') < 40  # a line a row


@pytest.mark.parametrize(
    ('value', 'kept'),
    [
        ('/home/me/a', 'a'),
        ('../me/x/', 'x'),
        ('~/x', 'x'),
        ('/home/me/a,/home/me/b', 'a,b'),
        ('pix3d.py:small', 'pix3d.py:small'),
        ('', ''),
    ],
)
def test_paths_of_a_summary_are_names(value, kept):
    assert _without_path(value) == kept


def test_text_of_results_has_a_line_a_row():
    content = {
        'title': 'T',
        'limit': float('inf'),
        'rows': [{'x': 1 / 3, 'y': (1, 2)}, {'x': 12345678.0, 'z': {'a': None}}],
        'data': [{'name': 'd', 'rows': [{'x': 1}, {'x': True}]}],
    }
    text = one_line_a_row(content)
    assert text.splitlines() == [
        '{',
        ' "title": "T",',
        ' "limit": null,',
        ' "rows": [',
        '  {"x": 0.3333, "y": [1, 2]},',
        '  {"x": 12350000.0, "z": {"a": null}}',
        ' ],',
        ' "data": [',
        '  {',
        '   "name": "d",',
        '   "rows": [',
        '    {"x": 1},',
        '    {"x": true}',
        '   ]',
        '  }',
        ' ]',
        '}',
    ]
    assert json.loads(text)['rows'][1]['z'] == {'a': None}


def test_a_summary_without_any_run_is_written(fake, command, tmp_path):
    fake.faults = {(size, seed): (1, f'error: {tmp_path}/photo.png: damaged\n') for size in (4, 8) for seed in (0, 1)}
    assert command() == 1
    text = (tmp_path / 'out' / 'summary.json').read_text()
    assert '/photo.png' not in text and '/photo.png' in json.dumps(results_of(tmp_path)['claims'])
    summary = json.loads(text)
    assert summary['claims'][0]['verdict'] == 'unknown' and summary['claims'][0]['paper'] == 0.5
    assert summary['hardware'] == {} and summary['rows'][0]['state'] == 'failed'
    assert summary['rows'][0]['values'] == {}


def test_finished_runs_are_never_run_again(fake, command, tmp_path):
    assert command() == 0
    before, fake.calls = results_of(tmp_path)['tables'], []
    assert command() == 0 and fake.calls == []
    assert results_of(tmp_path)['tables'] == before
    assert command('--seeds=3') == 0 and fake.calls == [(4, 2), (8, 2)]
    fake.calls = []
    assert command('--seeds=2-3') == 0 and fake.calls == [(4, 3), (8, 3)]
    assert list(rows_of(tmp_path)['a']['values']['mean_map']['seeds']) == ['2', '3']
    assert results_of(tmp_path)['claims'][0]['n'] == 2 and results_of(tmp_path)['seeds'] == [2, 3]
    assert command() == 0
    fake.calls = []
    shutil.rmtree(rows_of(tmp_path)['b']['runs'][1]['folder'])
    assert command('--rows=A') == 0 and fake.calls == [] and set(rows_of(tmp_path)) == {'a'}
    assert results_of(tmp_path)['claims'] == []
    assert command('--config.processes=1', '--config.parallel.mode=pmap') == 0 and fake.calls == [(8, 1)]


@pytest.mark.parametrize(
    'text',
    [
        '',
        '{',
        '[]',
        '{}',
        '{"state": "finished"}',
        None,
        '{"state": "finished", "wall_seconds": 1.0, "config": {}, "metrics": {}}',
        '{"state": "done", "wall_seconds": 1.0, "config": {}}',
    ],
)
def test_a_damaged_record_costs_only_its_own_run(fake, command, tmp_path, text):
    assert command('--seeds=1') == 0
    before, fake.calls = rows_of(tmp_path), []
    record = Path(before['a']['runs'][0]['folder']) / 'result.json'
    record.unlink() if text is None else record.write_text(text)
    (tmp_path / 'out' / 'results.json').write_text('{')  # made anew from the records
    assert command('--seeds=1') == 0 and fake.calls == [(4, 0)]
    assert rows_of(tmp_path)['a']['values'] == before['a']['values']


def test_a_record_of_another_seed_or_config_is_not_taken(fake, command, tmp_path):
    assert command() == 0
    a, b = (Path(rows_of(tmp_path)[name]['runs'][0]['folder']) for name in 'ab')
    fake.calls = []
    shutil.copy(b / 'result.json', a / 'result.json')
    assert command() == 0 and fake.calls == [(4, 0)]


def test_a_failed_run_is_recorded_and_tried_again_and_the_others_go_on(fake, command, tmp_path, capsys):
    fake.faults = {
        (4, 0): (1, 'Making views\nerror: config.loss.sigma: bad\n  more of it\n'),
        (4, 1): (1, 'Traceback (most recent call last):\n  File "x"\nValueError: nonsense\n\n'),
        (8, 0): (-signal.SIGKILL, 'train\n'),
        (8, 1): {'mean_map': 0.5},
    }
    assert command() == 1
    assert len(fake.calls) == 4
    errors = {name: [run['error'] for run in row['runs']] for name, row in rows_of(tmp_path).items()}
    assert errors['a'] == errors['a again'] == ['config.loss.sigma: bad\n  more of it', 'ValueError: nonsense']
    assert errors['b'] == ['ended by SIGKILL\ntrain', 'metrics.json has no domain_mixing']
    assert {run['state'] for run in rows_of(tmp_path)['a']['runs']} == {'failed'}
    out = capsys.readouterr().out
    assert 'a: failed: config.loss.sigma: bad' in out
    assert 'cannot be said: a is failed' in out
    assert 'ValueError: nonsense' in (tmp_path / 'out' / 'index.html').read_text()
    fake.faults, fake.calls = {(4, 0): (1, 'error: again\n')}, []
    assert command() == 1
    assert len(fake.calls) == 4
    assert rows_of(tmp_path)['a']['runs'][0]['error'] == 'again'  # not that of the first attempt in the same log
    assert rows_of(tmp_path)['a']['state'] == '1 of 2 failed: again'
    fake.faults, fake.calls = {}, []
    assert command() == 0 and fake.calls == [(4, 0)]


def test_a_row_that_the_data_does_not_allow_is_no_failure(fake, command, tmp_path, capsys):
    reason = 'config.batch_size: 8, but there are 6 training objects; set --config.batch_size to at most 6'
    fake.faults = {(8, 0): (1, f'error: {reason}\n')}
    assert command() == 0
    assert fake.calls == [(4, 0), (8, 0), (4, 1)]  # the other seed has as many objects
    row = rows_of(tmp_path)['b']
    assert row['state'] == f'not possible: {reason}' and [run['seed'] for run in row['runs']] == [0, 1]
    assert row['runs'][1]['processor_seconds'] == 0 and '--config.seed=1' in row['runs'][1]['command']
    assert row['values']['mean_map'] == {
        'paper': 50.0,
        'mean': None,
        'sd': None,
        'n': 0,
        'low': None,
        'high': None,
        'chance': None,
        'seeds': {},
    }
    claim = results_of(tmp_path)['claims'][0]
    assert claim['verdict'] == 'unknown' and claim['conclusion'] == f'cannot be said: b is not possible: {reason}'
    assert reason in capsys.readouterr().out


def test_values_that_are_not_numbers_are_left_out(fake, command, tmp_path):
    fake.faults = {(4, 0): metrics_of(4, 0) | {'mean_map': None}, (4, 1): metrics_of(4, 1) | {'mean_map': float('nan')}}
    assert command('--seeds=3') == 0
    value = rows_of(tmp_path)['a']['values']['mean_map']
    assert value['n'] == 1 and list(value['seeds']) == ['2'] and value['sd'] is None
    claim = results_of(tmp_path)['claims'][0]
    assert claim['n'] == 1 and claim['conclusion'] == 'cannot be said: one seed has no spread'


@pytest.mark.parametrize(('stop', 'status'), [(KeyboardInterrupt(), 130), (Terminated(), 143)])
def test_an_interruption_ends_cleanly_and_the_same_command_goes_on(fake, command, tmp_path, capsys, stop, status):
    fake.faults = {(8, 0): stop}
    assert command() == status
    assert 'the same command goes on' in capsys.readouterr().err
    rows = rows_of(tmp_path)
    assert [run['state'] for run in rows['a']['runs']] == ['finished', 'not run yet']
    assert [run['state'] for run in rows['b']['runs']] == ['stopped', 'not run yet']
    assert fake.signals == [signal.SIGTERM]
    assert (tmp_path / 'out' / 'index.html').exists()
    fake.faults, fake.calls = {}, []
    assert command() == 0 and fake.calls == [(8, 0), (4, 1), (8, 1)]


def test_a_run_stopped_by_somebody_else_goes_on_next_time(fake, command, tmp_path):
    fake.faults = {(4, 0): (0, 'stopped at step 4; the same command goes on from there\n'), (8, 0): (143, '')}
    assert command() == 1
    assert [rows_of(tmp_path)[name]['state'] for name in 'ab'] == ['1 of 2 stopped', '1 of 2 stopped']
    fake.faults, fake.calls = {}, []
    assert command() == 0 and fake.calls == [(4, 0), (8, 0)]


def test_a_row_that_starts_from_another_gets_its_work_directory(fake, command, tmp_path, monkeypatch):
    second = Row('second', CONFIGS, {'batch_size': 16}, starts_from='a', start_key='data.images_dir')
    monkeypatch.setattr(tables, 'load_paper', lambda name: Paper('P', (Table('T', (MAP,), (second, A)),)))
    assert command('--rows=second') == 0
    assert fake.calls == [(4, 0), (16, 0), (4, 1), (16, 1)]
    assert set(rows_of(tmp_path)) == {'second'}
    run = rows_of(tmp_path)['second']['runs'][1]
    start = run['config']['data.images_dir']
    assert f'--config.data.images_dir={start}' in run['command']
    record = json.loads((Path(start) / 'result.json').read_text())
    assert record['config']['batch_size'] == 4 and record['seed'] == 1
    fake.calls, fake.faults = [], {(4, 2): (1, 'error: no\n')}
    assert command('--seeds=3') == 1 and fake.calls == [(4, 2)]
    assert 'which is not finished' in rows_of(tmp_path)['second']['runs'][2]['error']
    fake.calls, fake.faults = [], {}
    assert command('--seeds=3') == 0 and fake.calls == [(4, 2), (16, 2)]


def test_rows_of_a_preset_start_from_one_run_for_all_seeds(fake, command, tmp_path, monkeypatch):
    first = Row('first', CONFIGS, {'batch_size': 2}, seed=7)
    options = {'starts_from': {'small': 'first'}, 'start_key': 'data.images_dir'}
    second, third = (Row(f'of {size}', CONFIGS, {'batch_size': size}, **options) for size in (16, 8))
    paper = Paper('P', (Table('T', (MAP,), (second, third, A)),), starts=(first,))
    monkeypatch.setattr(tables, 'load_paper', lambda name: paper)
    assert command() == 0
    assert fake.calls == [(2, 7), (16, 0), (8, 0), (4, 0), (16, 1), (8, 1), (4, 1)]
    assert set(rows_of(tmp_path)) == {'of 16', 'of 8', 'a'}
    starts = {run['config']['data.images_dir'] for name in ('of 16', 'of 8') for run in rows_of(tmp_path)[name]['runs']}
    assert len(starts) == 1 and next(iter(starts)).endswith('-seed-7') and (Path(next(iter(starts)))).is_dir()
    (start,) = results_of(tmp_path)['starts']['first']
    assert start['config']['batch_size'] == 2 and start['processor_seconds'] == 1.5
    assert json.loads((tmp_path / 'out' / 'summary.json').read_text())['processor_seconds'] == round(1.5 * 7)
    fake.calls = []
    assert command('--seeds=3') == 0 and fake.calls == [(16, 2), (8, 2), (4, 2)]
    assert command('--preset=clf', f'--out={tmp_path / "other"}', '--rows=of 8') == 0
    assert fake.calls[3:] == [(8, 0), (8, 1)]  # in this preset they start anew


def test_what_the_command_line_gives_is_above_a_preset_and_below_a_start(fake, command, tmp_path, monkeypatch):
    first, short = Row('first', CONFIGS, {'batch_size': 2}, seed=0), {'small': {'batch_size': 4, 'epochs': 7}}
    second = Row('second', CONFIGS, starts_from='first', start_key='data.images_dir', in_presets=short)
    paper = Paper('P', (Table('T', (MAP,), (second,)),), starts=(first,))
    monkeypatch.setattr(tables, 'load_paper', lambda name: paper)
    assert command('--seeds=1') == 0 and fake.calls == [(2, 0), (4, 0)]
    assert rows_of(tmp_path)['second']['config']['epochs'] == 7
    fake.calls = []
    changed = ['--config.batch_size=16', '--config.epochs=3', f'--out={tmp_path}/changed/out']
    assert command('--seeds=1', *changed) == 0 and fake.calls == [(2, 0), (16, 0)]
    assert rows_of(tmp_path / 'changed')['second']['config']['epochs'] == 3
    assert results_of(tmp_path / 'changed')['starts']['first'][0]['config']['epochs'] == 3


def test_records_of_earlier_versions_lack_later_keys(fake, command, tmp_path):
    assert command() == 0
    fake.calls = []
    for path in (tmp_path / 'out' / 'runs').glob('*/result.json'):
        record = json.loads(path.read_text())
        del record['config']['model.train']
        path.write_text(json.dumps(record))
    assert command() == 0 and fake.calls == []


def test_several_run_at_a_time_and_wait_for_those_that_must_come_before(fake, command, tmp_path, monkeypatch, capsys):
    second = Row('second', CONFIGS, {'batch_size': 16}, starts_from='a', start_key='data.images_dir')
    like = Row('like b', CONFIGS, {'batch_size': 8, 'evaluation.batch_size': 3})  # takes the weights of b
    monkeypatch.setattr(tables, 'load_paper', lambda name: Paper('P', (Table('T', (MAP,), (second, A, B, like)),)))
    fake.most = 3
    monkeypatch.setattr(runs, 'take_weights', lambda jobs, job, seed: fake.calls.append('weights'))
    assert command('--processes=3', '--seeds=1') == 0 and fake.count == 3
    calls = [call for call in fake.calls if call != 'weights']
    assert calls == [(4, 0), (8, 0), (16, 0), (8, 0)]  # the first of 8 before its like, the 4 before the 16
    assert fake.order == [(4, 0), (8, 0), (16, 0), (8, 0)]
    fake.faults, fake.calls, fake.order = {(8, 1): KeyboardInterrupt()}, [], []
    assert command('--seeds=2') == 130
    rows = rows_of(tmp_path)
    assert [rows[name]['runs'][1]['state'] for name in ('a', 'second', 'b', 'like b')] == [
        'finished',
        'finished',
        'stopped',
        'not run yet',
    ]  # those under way came to their end


def test_a_folder_holds_one_setting(fake, command, tmp_path, capsys):
    assert command() == 0
    fake.calls = []
    assert command('--config.epochs=2') == 1
    message = capsys.readouterr().err
    assert 'was made with other settings' in message and 'config.epochs: (not given) there, 2 now' in message
    assert command('--preset=clf') == 1
    assert 'preset: small there, clf now' in capsys.readouterr().err
    data = tmp_path / 'data'
    (data / 'chair').mkdir(parents=True)
    (data / 'chair' / 'x.off').write_text('OFF')
    assert command(f'--data_dir={data}') == 1
    assert 'data: ' in capsys.readouterr().err
    assert command(f'--data_dir={data}', f'--out={tmp_path}/other') == 0
    record = next((tmp_path / 'other' / 'runs').glob('*/result.json'))
    assert f'--config.data_dir={data}' in json.loads(record.read_text())['command']
    (data / 'chair' / 'x.off').write_text('OFF ')
    assert command(f'--data_dir={data}', f'--out={tmp_path}/other') == 1
    (tmp_path / 'out' / 'settings.json').write_text('[]')
    assert command() == 1
    assert 'settings.json: cannot be read' in capsys.readouterr().err


def test_a_changed_config_file_is_run_anew(fake, command, tmp_path, monkeypatch):
    """The defaults of a row's config are part of what is compared, also where the command line is the same."""
    assert command() == 0
    fake.calls = []
    other = Row('b', CONFIGS, {'batch_size': 8, 'loss.sigma': 0.5}, {'mean_map': 50.0})
    monkeypatch.setattr(tables, 'load_paper', lambda name: Paper('P', (Table('T', (MAP,), (A, other)),)))
    assert command() == 0 and fake.calls == [(8, 0), (8, 1)]


def test_only_one_command_at_a_time(fake, command, tmp_path, capsys):
    with locked(tmp_path / 'out'):
        assert command() == 1
    assert 'name another --out' in capsys.readouterr().err and fake.calls == []


def test_the_default_folder_says_what_it_holds(fake, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert (
        tables.main(
            ['test', '--rows=a', '--seeds=1', '--config.epochs=2', '--config.processes=1', '--config.cache_dir=cache']
        )
        == 0
    )
    assert [path.name for path in (tmp_path / 'runs' / 'tables').iterdir()] == ['test-small-sample-epochs=2']
    assert tables.default_name('test', 'small', '/data/some set', {}).startswith('test-small-some_set-')
    long = tables.default_name('test', 'small', '', {'data.categories': 'x' * 500})
    assert len(long) < 130 and long != tables.default_name('test', 'small', '', {'data.categories': 'x' * 501})


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        ([], 'no paper named: use one of'),
        (['cmicc'], 'cmicc: use one of'),
        *(
            (
                ['ncf', f'--seeds={wrong}'],
                f'--seeds={wrong}: neither a number of seeds from 1 to 1000 nor FIRST-LAST below',
            )
            for wrong in ('0', 'two', '5-3', '-3', '3-', '1001', '7-1000', '9' * 20, '1-2-3', '1.5')
        ),
        (['ncf', '--processes=two'], '--processes=two: not a number of processes'),
        (['ncf', '--preset=huge'], '--preset=huge: use one of small'),
        (['ncf', '--rows=CLF*,table 3'], '--rows=table 3: no such row; the rows are'),
        (['ncf', '--verbose'], '--verbose: unknown argument; use PAPER, --seeds'),
        (['ncf', 'hifa'], 'hifa: unknown argument'),
        (['ncf', '--out'], '--out: expected one argument'),
        (['ncf', '--config.sede=1'], 'unknown key. Did you mean seed'),
        (['ncf', '--config.epochs=many'], '--config.epochs=many: not a whole number'),
        (['ncf', '--config.seed=1'], '--config.seed: use --seeds=N'),
        (['ncf', '--config.data_dir=x'], '--config.data_dir: use --data_dir=DIR'),
        (['ncf', '--config.batch_size=8'], "--config.batch_size: row 'CLF at batch 12' sets it itself"),
        (['ncf', '--data_dir=nowhere'], 'nowhere: does not exist'),
    ],
)
def test_wrong_arguments_are_one_error_and_leave_nothing(arguments, message, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert tables.main(arguments) == 1
    out, err = capsys.readouterr()
    assert err.startswith('error: ') and message in err and out == ''
    assert list(tmp_path.iterdir()) == []


def test_overrides_that_make_rows_equal_are_refused(fake, command, tmp_path, monkeypatch, capsys):
    rows = (Row('noisy', {'small': 'modelnet40.py:paper'}), Row('plain', {'small': 'modelnet40.py:paper_clf'}))
    monkeypatch.setattr(tables, 'load_paper', lambda name: Paper('P', (Table('T', (MAP,), rows),)))
    same = ('--config.loss.center=center', '--config.loss.alignment=mse', '--config.loss.alignment_weight=1')
    assert command(*same, '--config.loss.center_weight=1', '--config.center_optimizer.learning_rate=0.001') == 1
    assert "makes the rows 'plain' and 'noisy' the same" in capsys.readouterr().err.replace(
        "'noisy' and 'plain'", "'plain' and 'noisy'"
    )
    assert fake.calls == []


def test_help_names_everything(capsys):
    assert tables.main(['--help']) == tables.main(['-h']) == 0
    out = capsys.readouterr().out
    for text in (
        '--seeds',
        '--preset',
        '--data_dir',
        '--rows',
        '--config.KEY=VALUE',
        '--out',
        'ncf',
        'small, paper',
        'proposed at batch 48',
        'not possible',
    ):
        assert text in out


def test_a_job_without_a_start_has_the_seed_in_its_command(tmp_path):
    job = Job('key', tmp_path / 'x', {'seed': 0}, ('--config=c',), frozenset())
    assert job.command(3) == ['--config=c', '--config.seed=3', f'--workdir={tmp_path}/x-seed-3', '--report=no']
    assert job.config_of(3) == {'seed': 3}
