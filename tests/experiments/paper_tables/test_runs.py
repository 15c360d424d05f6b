"""Tables with real processes: signals that reach the run under way, and a real training."""

import dataclasses
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import machine
import pytest
import tables
from paper_tables import records, workers
from paper_tables.plan import Job
from paper_tables.results import collect
from paper_tables.rows.paper import UNTRAINED, Claim, Metric, Paper, Row, Table
from paper_tables.summary import summarize
from quick_compilation import quick_compilation

STAND_IN = """
import os, signal, sys, time

def main(arguments):
    print(arguments[0], sys.argv[1], len(os.sched_getaffinity(0)), flush=True)
    print('to stderr', file=sys.stderr)
    if arguments[0] == 'raise':
        raise ValueError('nonsense')
    if arguments[0] == 'kill':
        os.kill(os.getpid(), signal.SIGKILL)
    if arguments[0] == 'wait':
        got = []
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda number, frame: got.append(signal.Signals(number).name))
        end = time.monotonic() + 60
        print('ready', flush=True)
        while len(got) < int(arguments[1]) and time.monotonic() < end:
            time.sleep(0.01)
        print(*got)
        return 143
    return int(arguments[1])
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Of logs; the processes run a stand-in for run.py."""
    (tmp_path / 'paper_tables').mkdir()
    shutil.copy(workers.WORKER, tmp_path / 'paper_tables' / 'worker.py')
    (tmp_path / 'run.py').write_text(STAND_IN)
    monkeypatch.setattr(workers, 'WORKER', tmp_path / 'paper_tables' / 'worker.py')
    return tmp_path


def test_a_process_runs_one_after_the_other_and_is_replaced_after_a_failure(folder):
    log, ids = folder / 'log.txt', []
    log.write_text('before\n')
    with workers.Workers(1) as pool:
        for arguments, status in ((('a', '0'), 0), (('b', '0'), 0), (('c', '3'), 3), (('raise',), 1), (('kill',), -9)):
            pool.start(arguments, arguments, log)
            assert not pool.free and pool.running == 1
            ids.append(pool._workers[0].process.pid)
            ended = pool.next()
            assert (ended.key, ended.status, pool.running) == (arguments, status, 0)
    assert ids[0] == ids[1] == ids[2] and len(set(ids)) == 3
    text = log.read_text()
    cores = len(os.sched_getaffinity(0))  # all, for a single process
    assert text.startswith(f'before\na a {cores}\nto stderr\nb b {cores}\nto stderr\nc c {cores}\nto stderr\nraise')
    assert text.count('ValueError: nonsense') == 1 and f'kill kill {cores}' in text


def test_processes_keep_to_a_core_and_signals_reach_what_runs(folder):
    logs = [folder / 'first.txt', folder / 'second.txt']
    with workers.Workers(2) as pool:
        for log in logs:
            pool.start(log.name, ['wait', '2'], log)
        assert not pool.free
        for number in (signal.SIGTERM, signal.SIGINT):
            while not all(log.exists() and 'ready' in log.read_text() for log in logs):
                time.sleep(0.01)
            pool.interrupt(number)
            time.sleep(0.3)
        assert {pool.next().key for _ in logs} == {log.name for log in logs}
    for log in logs:
        assert log.read_text() == 'wait wait 1\nto stderr\nready\nSIGTERM SIGINT\n'


def test_a_run_ends_with_the_command_that_gave_it(folder):
    log, code = folder / 'log.txt', 'import sys; sys.path.insert(0, sys.argv[1]); '
    code += 'from paper_tables.workers import Worker; from pathlib import Path; import paper_tables.workers as w; '
    code += 'w.WORKER = Path(sys.argv[2]); w.Worker(None).start("x", ["wait", "1"], Path(sys.argv[3])); '
    code += 'import time; time.sleep(60)'
    arguments = [str(Path(tables.__file__).parent), str(workers.WORKER), str(log)]
    with subprocess.Popen([sys.executable, '-c', code, *arguments]) as command:
        while not (log.exists() and 'ready' in log.read_text()):
            time.sleep(0.01)
        command.kill()
    end = time.monotonic() + 20
    while 'SIGTERM' not in log.read_text() and time.monotonic() < end:
        time.sleep(0.01)
    assert log.read_text().endswith('ready\nSIGTERM\n')


def test_a_process_that_holds_too_much_memory_is_replaced(folder, monkeypatch):
    monkeypatch.setattr(workers, '_MEMORY_SHARE', 1e-9)
    with workers.Workers(1) as pool:
        pool.start('x', ['a', '0'], folder / 'log.txt')
        assert pool.next().status == 0 and not pool._workers


def test_devices_that_are_no_processors_are_for_one_run_at_a_time():
    assert workers.default_count('1 x cpu') == len(os.sched_getaffinity(0))
    assert workers.default_count('2 x NVIDIA H200') == 1


def test_the_commit_is_that_of_the_repository(monkeypatch):
    known = subprocess.run(
        ['git', 'rev-parse', 'HEAD'], cwd=Path(machine.__file__).parent, capture_output=True, text=True
    )
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
        '--preset=random_start',
        '--rows=CLF*12,CLF*48',
        '--seeds=1',
        '--processes=1',
        f'--out={tmp_path}/out',
        f'--config.cache_dir={tmp_path}/cache',
        *(f'--config.{part}' for part in TINY),
    ]
    assert tables.main(command) == 0
    results = json.loads((tmp_path / 'out' / 'results.json').read_text())
    real, impossible = results['tables'][0]['rows'][:2]
    run = real['runs'][0]
    stored = json.loads((Path(run['folder']) / 'metrics.json').read_text())
    assert real['values']['map_mesh_point']['mean'] == pytest.approx(100 * stored['map_mesh_point'])
    assert real['values']['mean_map']['chance'] == pytest.approx(100 * stored['mean_map_chance'])
    assert run['metrics']['queries'] == stored['queries'] == 12 and run['hardware']['devices'] == '1 x cpu'
    assert impossible['state'] == (
        'not possible: config.batch_size: 48, but there are 12 training objects; set --config.batch_size to at most 12'
    )
    assert any((tmp_path / 'cache' / 'compiled').rglob('*'))
    assert not (Path(run['folder']) / 'report').exists() and run['processor_seconds'] > 1
    assert (tmp_path / 'out' / 'table_1.png').stat().st_size > 1000
    out = capsys.readouterr().out
    assert 'CLF at batch 48: not possible' in out and '26.19' in out


@pytest.mark.parametrize(('differs', 'taken'), [({'evaluation.alignment': 'meda'}, True), ({'epochs': 2}, False)])
def test_weights_of_a_run_that_differs_in_its_evaluation_are_taken(tmp_path, differs, taken):
    config = {'experiment': 'x', 'epochs': 1, 'evaluation.alignment': 'none', 'data_dir': ''}
    first, second = (
        Job(key, tmp_path / key, config | change, (), frozenset())
        for key, change in (('first', {}), ('second', differs))
    )
    source, folder = first.workdir(0), second.workdir(0)
    (source / 'checkpoints' / '7').mkdir(parents=True)
    for name in ('split.json', 'metrics.jsonl', 'checkpoints/7/weights', 'metrics.json'):
        (source / name).write_text(name)
    records.take_weights([first, second], second, 0)
    assert not folder.exists()  # the first is not finished
    records.write_record(
        first,
        0,
        {
            'seed': 0,
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
    records.take_weights([first, second], second, 0)
    found = {str(path.relative_to(folder)) for path in folder.rglob('*') if path.is_file()}
    assert found == ({'split.json', 'metrics.jsonl', 'checkpoints/7/weights'} if taken else set())
    if taken:
        (folder / 'checkpoints' / '7' / 'weights').write_text('its own')
        records.take_weights([first, second], second, 0)
        assert (folder / 'checkpoints' / '7' / 'weights').read_text() == 'its own'
        assert (source / 'checkpoints' / '7' / 'weights').read_text() == 'checkpoints/7/weights'


def test_what_nobody_trained_stands_below_the_rows(tmp_path):
    config = {'experiment': 'x', 'epochs': 1, 'data_dir': ''}
    job = Job('a', tmp_path / 'a', config, (), frozenset())
    facts = {'wall_seconds': 1.0, 'commit': '', 'dirty': False, 'hardware': {}, 'versions': {}}
    for seed, share in enumerate((0.5, 0.7), start=5):
        (tmp_path / f'a-seed-{seed}').mkdir()
        compared = {'zero_shot': {'top1': share - 0.4}, 'references_views': {'top1': share + 0.1, 'top10': 0.9}}
        metrics = {'top1': share, 'comparators': compared}
        records.write_record(
            job, seed, facts | {'seed': seed, 'state': 'finished', 'metrics': metrics, 'config': job.config_of(seed)}
        )
    top1 = Metric('top1', 'Top-1')
    claims = tuple(
        Claim(worse, 'a', f'{UNTRAINED}{worse}', 'top1') for worse in ('zero_shot', 'references_views', 'unknown')
    )
    paper = Paper('Somebody', tables=(Table('Table 1', (top1,), (Row('a', {}),)),), claims=claims, notes=())
    found = collect(paper, {'a': job}, {'data_dir': '', 'preset': '', 'overrides': {}}, names=['a'], seeds=range(5, 7))
    rows = {row['name']: row['values']['top1'] for row in found['tables'][0]['rows']}
    assert list(rows) == ['a', 'not trained: zero shot', 'not trained: references views']
    wanted = {'a': 60, 'not trained: zero shot': 20, 'not trained: references views': 70}
    assert {name: round(values['mean'], 6) for name, values in rows.items()} == wanted
    assert all(values['n'] == 2 and values['paper'] is None for values in rows.values())
    assert rows['a']['seeds'] == {5: pytest.approx(50), 6: pytest.approx(70)} and found['seeds'] == [5, 6]
    assert [row['name'] for row in summarize(found)['rows']] == list(rows)
    judged = {claim['text']: (claim['n'], claim['mean'], claim['paper']) for claim in found['claims']}
    assert judged['zero_shot'] == (2, pytest.approx(40), None) and judged['unknown'][0] == 0
    assert judged['references_views'] == (2, pytest.approx(-10), None)
    pinned = collect(
        paper,
        {'a': dataclasses.replace(job, only_seed=6)},
        {'data_dir': '', 'preset': '', 'overrides': {}},
        names=['a'],
        seeds=range(3),
    )
    assert pinned['tables'][0]['rows'][0]['values']['top1']['seeds'] == dict.fromkeys(range(3), pytest.approx(70))
    assert {run['folder'] for run in pinned['tables'][0]['rows'][0]['runs']} == {str(job.workdir(6))}


def test_untrained_rows_of_other_values_have_other_names(tmp_path):
    """As of other views or fewer labels."""
    facts = {'wall_seconds': 1.0, 'commit': '', 'dirty': False, 'hardware': {}, 'versions': {}}
    jobs, top1, config = {}, Metric('top1', 'Top-1'), {'experiment': 'x', 'epochs': 1, 'data_dir': ''}
    for name, value in (('a', 0.1), ('b', 0.2), ('c', 0.1)):
        jobs[name] = job = Job(name, tmp_path / name, config, (), frozenset())
        job.workdir(0).mkdir()
        metrics = {'top1': 0.5, 'comparators': {'zero_shot': {'top1': value}}}
        records.write_record(
            job, 0, facts | {'seed': 0, 'state': 'finished', 'metrics': metrics, 'config': job.config_of(0)}
        )
    paper = Paper('Somebody', tuple(Table(f'Table {name}', (top1,), (Row(name, {}),)) for name in jobs))
    settings = {'data_dir': '', 'preset': '', 'overrides': {}}
    found = collect(paper, jobs, settings, names=[*jobs], seeds=range(1))
    wanted = {'not trained: zero shot': 10, 'not trained: zero shot, beside b': 20}
    summary = {row['name']: row['values']['top1'][1] for row in summarize(found)['rows'] if row['name'] not in jobs}
    assert summary == {name: pytest.approx(value) for name, value in wanted.items()}
