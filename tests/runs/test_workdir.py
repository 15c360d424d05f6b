"""Work directories: one process at a time, the data of the start, and what is not a folder. In this process."""

import json
import os
import shutil
import signal
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import run
from console import console
from experiment import checkpoint_note
from overrides import load_config
from photo_to_shape import data as photo_data

from data_pipelines.photo_to_shape.pix3d import read_pix3d
from data_pipelines.photo_to_shape.sample_pix3d import write_pix3d_sample
from jaxret.errors import CheckpointError
from jaxret.runs.config import flatten
from jaxret.runs.split import PhotoSplit
from jaxret.runs.workdir import locked


@pytest.fixture(scope='module')
def sample(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp('sample') / 'data'
    return write_pix3d_sample(root, shapes_per_category=1, photos_per_shape=4, processes=1, progress=False)


@pytest.fixture
def data(sample, tmp_path) -> Path:
    return shutil.copytree(sample, tmp_path / 'data')


@pytest.fixture
def trained(sample, tmp_path) -> Path:
    """What a run on the sample has in its work directory after a checkpoint, as far as it matters here."""
    layout = read_pix3d(sample, check_processes=1, val_fraction=0.3, progress=False)
    workdir = tmp_path / 'workdir'
    (workdir / 'checkpoints' / '4').mkdir(parents=True)
    PhotoSplit(
        layout.split_table(),
        {photo.name: photo.model for photo in layout.photos},
        [shape.model for shape in layout.shapes],
    ).write(workdir)
    return workdir


def entries_of(root):
    return json.loads((root / 'pix3d.json').read_text())


def train(workdir, data, *arguments):
    return run.main(
        [
            '--config=pix3d.py:smoke',
            f'--workdir={workdir}',
            f'--config.data_dir={data}',
            f'--config.cache_dir={workdir.parent / "cache"}',
            '--config.processes=1',
            *arguments,
        ]
    )


def test_a_run_does_not_resume_on_other_data(trained, data, capsys):
    before = (trained / 'split.json').read_text()
    entries = entries_of(data)
    usable = [entry for entry in entries if not entry['occluded'] and not entry['truncated']]
    gone, renamed = usable[0]['img'], usable[1]['img']
    usable[1]['img'] = 'img/new.jpg'
    (data / renamed).rename(data / 'img' / 'new.jpg')
    entries.remove(usable[0])
    (data / 'pix3d.json').write_text(json.dumps(entries))
    (data / 'model' / 'bed' / 'more').mkdir()
    shutil.copy(data / usable[2]['model'], data / 'model' / 'bed' / 'more' / 'model.obj')
    assert train(trained, data) == 1
    message = capsys.readouterr().err
    assert f'{trained} was started on other data' in message
    assert "1 names of 'split' added: img/new.jpg" in message
    assert f"2 names of 'split' removed: {', '.join(sorted([gone, renamed]))}" in message
    assert "1 names of 'gallery' added: model/bed/more/model.obj" in message
    assert (trained / 'split.json').read_text() == before


@pytest.mark.parametrize(
    'text', [None, '', '{"split": {}}', '{"split": {"a": "x"}, "shape": {"a": "b"}, "gallery": []}']
)
def test_a_run_without_its_split_is_not_used(trained, data, capsys, text):
    (trained / 'split.json').unlink()
    if text is not None:
        (trained / 'split.json').write_text(text)
    assert train(trained, data) == 1
    assert f'{trained / "split.json"}: missing or damaged' in capsys.readouterr().err


def test_training_photos_are_never_scored_wherever_they_lie(trained, data, tmp_path):
    stored = PhotoSplit.read(trained)
    config, _ = load_config('pix3d.py:smoke')
    config.cache_dir, config.processes, config.data.exclude_occluded = str(tmp_path / 'cache'), 1, False
    config.data.exclude_truncated, config.seed = False, 3  # of another split
    layout, same = photo_data.read_photos(config, data, trained, train=False)
    assert same == stored
    found = layout.split_table()
    new = found.keys() - stored.split.keys()
    assert new  # occluded and truncated ones
    assert found == stored.split | dict.fromkeys(new, 'test')


def test_the_prior_is_of_the_runs_own_photos_by_the_name_of_their_shape():
    split = {'a': 'train', 'b': 'val', 'c': 'test', 'd': 'train'}
    stored = PhotoSplit(split, {'a': 'x', 'b': 'y', 'c': 'x', 'd': 'z'}, ['x', 'y', 'z'])
    assert photo_data.train_positive(stored, ['y', 'w', 'x']).tolist() == [2, 0, -1]


def test_one_process_trains_in_a_work_directory(trained, data, capsys):
    with locked(trained):
        assert train(trained, data) == 1
    assert f'{trained}: process {os.getpid()} is training there' in capsys.readouterr().err
    with locked(trained), pytest.raises(CheckpointError), locked(trained):
        pass


def test_what_killed_runs_left_half_written_goes_with_the_next_one(tmp_path):
    left = [f'.{name}.0123456789abcdef' for name in ('config.json', 'metrics.jsonl', 'split.json')]
    mine = ['config.json', '.config.json.backup', '.notes.txt.0123456789abcdef']
    for name in (*left, *mine):
        (tmp_path / name).write_text('half')
    with locked(tmp_path):
        assert sorted(path.name for path in tmp_path.iterdir()) == sorted([*mine, '.lock'])


@pytest.mark.parametrize('name', ['tensorboard', 'checkpoints', 'report'])
def test_a_file_in_the_place_of_a_folder(tmp_path, data, capsys, name):
    (tmp_path / 'workdir').mkdir()
    (tmp_path / 'workdir' / name).write_text('')
    assert train(tmp_path / 'workdir', data) == 1
    assert f'{tmp_path / "workdir" / name}: not a folder' in capsys.readouterr().err


def test_evaluation_looks_for_a_checkpoint_first(tmp_path, capsys):
    workdir = tmp_path / 'workdir'
    (workdir / 'checkpoints').mkdir(parents=True)
    (workdir / 'config.json').write_text(json.dumps(flatten(load_config('pix3d.py:smoke')[0])))
    for override in ('parallel.devices=1', 'parallel.mode=pmap', 'evaluation.points=9', f'data_dir={tmp_path}'):
        assert run.main(['--mode=eval', f'--workdir={workdir}', f'--config.{override}']) == 1
        assert 'no checkpoints; train with this --workdir first' in capsys.readouterr().err


def test_a_data_folder_that_is_a_circle_of_links(trained, tmp_path, capsys):
    (tmp_path / 'circle').symlink_to(tmp_path / 'circle')
    (trained / 'config.json').write_text(json.dumps(flatten(load_config('pix3d.py:smoke')[0])))
    assert run.main(['--mode=eval', f'--workdir={trained}', f'--config.data_dir={tmp_path / "circle"}']) == 1
    assert f'{tmp_path / "circle"}: data_dir' in capsys.readouterr().err


def test_a_signal_outside_of_training(tmp_path, monkeypatch, capsys):
    removed = []

    def work(config, workdir, *, train, report):
        try:
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(10)
        finally:
            removed.append(True)

    monkeypatch.setattr(run, '_run', work)
    before = signal.getsignal(signal.SIGTERM)
    assert run.main(['--config=pix3d.py:smoke', f'--workdir={tmp_path}']) == 143
    assert signal.getsignal(signal.SIGTERM) == before
    assert removed
    assert 'terminated; the same command goes on' in capsys.readouterr().err


def test_the_report_says_how_its_checkpoint_was_chosen(tmp_path):
    (tmp_path / 'metrics.jsonl').write_text('{"step": 2, "loss": 1.0}\n{"step": 4, "loss": 1.0, "val_top1": 0.5}\n')
    split = {'a': 'val', 'b': 'train', 'c': 'val', 'd': 'test'}
    (tmp_path / 'split.json').write_text(json.dumps({'split': split}))
    best, newest = (
        checkpoint_note(SimpleNamespace(select='top1'), tmp_path, step, held_out='photos') for step in (4, 2)
    )
    assert best == 'Checkpoint of step 4, best Top-1 on 2 photos.'
    assert newest == 'Checkpoint of step 2: the newest checkpoint, not evaluated on 2 photos.'


def test_paths_are_printed_as_they_are():
    with console.capture() as capture:
        console.print('/data/run[v2]/[/red]:smile:')
    assert capture.get() == '/data/run[v2]/[/red]:smile:\n'
