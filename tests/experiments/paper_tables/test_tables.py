"""The tables command with a stand-in for run.py: what is run, what is kept, what is reported, how it stops."""

import json

import pytest
import tables
from fake_table_runs import CONFIGS, MAP, A, metrics_of, results_of, rows_of
from paper_tables.plan import Job
from paper_tables.rows.paper import Paper, Row, Table
from paper_tables.summary import _without_path
from result_text import one_line_a_row


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
