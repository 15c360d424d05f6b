"""The tables command with a stand-in for run.py: finished, damaged, failed, stopped and waiting runs, and starts."""

import json
import shutil
import signal
from pathlib import Path

import pytest
import tables
from fake_table_runs import CONFIGS, MAP, A, B, metrics_of, results_of, rows_of
from interruption import Terminated
from paper_tables import runs
from paper_tables.rows.paper import Paper, Row, Table

from jaxret.runs.workdir import locked


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


def test_only_one_command_at_a_time(fake, command, tmp_path, capsys):
    with locked(tmp_path / 'out'):
        assert command() == 1
    assert 'name another --out' in capsys.readouterr().err and fake.calls == []
