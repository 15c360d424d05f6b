"""Tables with real processes: signals that reach the run under way, and a real training."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import machine
import pytest
import tables
from interruption import Terminated, terminated_as_interrupted
from paper_tables import runs
from paper_tables.plan import Job
from paper_tables.results import collect
from paper_tables.rows.paper import Metric, Paper, Row, Table
from paper_tables.summary import summarize
from quick_compilation import quick_compilation

CHILD = """
import signal, sys, time
got = []
signal.signal(signal.SIGTERM, lambda number, frame: got.append('term'))
signal.signal(signal.SIGINT, lambda number, frame: got.append('int'))
print('ready', flush=True)
end = time.monotonic() + 60
while {until} and time.monotonic() < end:
    time.sleep(0.01)
print(*got, 'end', flush=True)
sys.exit({status})
"""


def child(until='not got', status=0):
    return [sys.executable, '-c', CHILD.format(until=until, status=status)]


def signals_after(log, *numbers):
    """Sends signals to this process: the first once the log says 'ready', the others half a second later each."""

    def send():
        while not (log.exists() and 'ready' in log.read_text()):
            time.sleep(0.01)
        for number in numbers:
            os.kill(os.getpid(), number)
            time.sleep(0.5)

    thread = threading.Thread(target=send, daemon=True)
    thread.start()
    return thread


@pytest.fixture
def interruptible():
    """SIGINT raises KeyboardInterrupt, also where the tests run in the background with SIGINT ignored."""
    old = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, old)


@pytest.mark.parametrize(
    ('numbers', 'until', 'got'),
    [
        ([signal.SIGINT], 'not got', 'term end'),
        ([signal.SIGTERM], 'not got', 'term end'),
        ([signal.SIGINT, signal.SIGINT], 'len(got) < 2', 'term int end'),
    ],
)
def test_an_interruption_is_passed_on_and_waited_for(tmp_path, interruptible, numbers, until, got):
    log = tmp_path / 'log.txt'
    thread = signals_after(log, *numbers)
    with terminated_as_interrupted(), pytest.raises(KeyboardInterrupt) as caught:
        runs.run_command(child(until), log)
    thread.join()
    assert isinstance(caught.value, Terminated) == (numbers[0] == signal.SIGTERM)
    assert log.read_text().splitlines() == ['ready', got]


def test_output_is_added_and_the_status_returned(tmp_path):
    log = tmp_path / 'log.txt'
    log.write_text('before\n')
    assert runs.run_command(child('False', 3), log) == 3
    assert log.read_text() == 'before\nready\nend\n'
    killed = [sys.executable, '-c', 'import os; os.kill(os.getpid(), 9)']
    assert runs.run_command(killed, log) == -signal.SIGKILL


def test_the_commit_is_that_of_the_repository(monkeypatch):
    known = subprocess.run(['git', 'rev-parse', 'HEAD'], cwd=runs.RUN.parent, capture_output=True, text=True)
    found = machine.source()
    assert found['commit'] == (known.stdout.strip() or None) and found.keys() == {'commit', 'dirty'}
    monkeypatch.setenv('PATH', '')
    assert machine.source() == {'commit': None, 'dirty': None}


# The smallest that the experiment can be.
TINY = (
    'parallel.devices=1',
    'processes=1',
    'epochs=1',
    'sample.train_per_class=1',
    'sample.test_per_class=1',
    'data.image_size=32',
    'data.points=64',
    'data.faces=64',
    'render.views=4',
    'render.supersample=1',
    'model.point_encoder=pointnet',
    'model.point_width=0.1',
    'model.mesh_width=0.1',
    'model.embedding_dim=16',
)


def test_a_real_row_and_one_that_is_not_possible(tmp_path, monkeypatch, capsys):
    monkeypatch.delenv('JAX_COMPILATION_CACHE_DIR', raising=False)  # an earlier test's command has set it
    monkeypatch.setenv('XLA_FLAGS', quick_compilation()['XLA_FLAGS'])  # one device
    command = [
        'ncf',
        '--rows=CLF*12,CLF*48',
        '--seeds=1',
        f'--out={tmp_path}/out',
        f'--config.cache_dir={tmp_path}/cache',
        *(f'--config.{part}' for part in TINY),
    ]
    assert tables.main(command) == 0
    results = json.loads((tmp_path / 'out' / 'results.json').read_text())
    real, impossible = results['tables'][0]['rows']
    run = real['runs'][0]
    stored = json.loads((Path(run['folder']) / 'metrics.json').read_text())
    assert real['values']['map_mesh_point']['mean'] == pytest.approx(100 * stored['map_mesh_point'])
    assert real['values']['mean_map']['chance'] == pytest.approx(100 * stored['mean_map_chance'])
    assert run['metrics']['queries'] == stored['queries'] == 12 and run['hardware']['devices'] == '1 x cpu'
    assert impossible['state'] == (
        'not possible: config.batch_size: 48, but there are 12 training objects; set --config.batch_size to at most 12'
    )
    assert any((tmp_path / 'cache' / 'compiled').rglob('*'))
    assert 'report:' in (Path(run['folder']) / 'log.txt').read_text()
    assert (
        f'{os.path.relpath(run["folder"], tmp_path / "out")}/report/index.html'
        in (tmp_path / 'out' / 'index.html').read_text()
    )
    assert (tmp_path / 'out' / 'table_1.png').stat().st_size > 1000
    out = capsys.readouterr().out
    assert 'CLF at batch 48: not possible' in out and '26.19' in out


@pytest.mark.parametrize(('differs', 'taken'), [({'evaluation.alignment': 'meda'}, True), ({'epochs': 2}, False)])
def test_weights_of_a_run_that_differs_in_its_evaluation_are_taken(tmp_path, differs, taken):
    config = {'epochs': 1, 'evaluation.alignment': 'none', 'data_dir': ''}
    first, second = (
        Job(key, tmp_path / key, config | change, (), frozenset())
        for key, change in (('first', {}), ('second', differs))
    )
    source, folder = first.workdir(0), second.workdir(0)
    (source / 'checkpoints' / '7').mkdir(parents=True)
    for name in ('split.json', 'metrics.jsonl', 'checkpoints/7/weights', 'metrics.json'):
        (source / name).write_text(name)
    runs.take_weights([first, second], second, 0)
    assert not folder.exists()  # the first is not finished
    runs.write_record(
        first,
        0,
        {
            'state': 'finished',
            'wall_seconds': 1.0,
            'metrics': {},
            'commit': '',
            'dirty': False,
            'hardware': {},
            'versions': {},
            'config': first.config_of(0),
        },
    )
    runs.take_weights([first, second], second, 0)
    found = {str(path.relative_to(folder)) for path in folder.rglob('*') if path.is_file()}
    assert found == ({'split.json', 'metrics.jsonl', 'checkpoints/7/weights'} if taken else set())
    if taken:
        (folder / 'checkpoints' / '7' / 'weights').write_text('its own')
        runs.take_weights([first, second], second, 0)
        assert (folder / 'checkpoints' / '7' / 'weights').read_text() == 'its own'
        assert (source / 'checkpoints' / '7' / 'weights').read_text() == 'checkpoints/7/weights'


def test_what_nobody_trained_stands_below_the_rows(tmp_path):
    config = {'epochs': 1, 'data_dir': ''}
    job = Job('a', tmp_path / 'a', config, (), frozenset())
    facts = {'wall_seconds': 1.0, 'commit': '', 'dirty': False, 'hardware': {}, 'versions': {}}
    for seed, share in enumerate((0.5, 0.7)):
        (tmp_path / f'a-seed-{seed}').mkdir()
        compared = {'zero_shot': {'top1': share - 0.4}, 'references_views': {'top1': share + 0.1, 'top10': 0.9}}
        metrics = {'top1': share, 'comparators': compared}
        runs.write_record(job, seed, facts | {'state': 'finished', 'metrics': metrics, 'config': job.config_of(seed)})
    top1 = Metric('top1', 'Top-1')
    paper = Paper('Somebody', tables=(Table('Table 1', (top1,), (Row('a', {}),)),), claims=(), notes=())
    found = collect(paper, {'a': job}, {'data_dir': '', 'preset': '', 'overrides': {}}, names=['a'], seeds=2)
    rows = {row['name']: row['values']['top1'] for row in found['tables'][0]['rows']}
    assert list(rows) == ['a', 'not trained: zero shot', 'not trained: references views']
    wanted = {'a': 60, 'not trained: zero shot': 20, 'not trained: references views': 70}
    assert {name: round(values['mean'], 6) for name, values in rows.items()} == wanted
    assert all(values['n'] == 2 and values['paper'] is None for values in rows.values())
    assert [row['name'] for row in summarize(found)['rows']] == list(rows)
