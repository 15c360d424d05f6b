"""The one command, as a user runs it: train, stop, kill, resume, evaluate, and a full disk.

What is killed, stopped or short of space is a real process; the rest runs in this one.
"""

import contextlib
import io
import json
import re
import shutil
import signal
from pathlib import Path

import jax
import numpy as np
import orbax.checkpoint as ocp
import pytest
import run
from run_command import (
    NUMBERS,
    ONE,
    SERIAL,
    Place,
    checkpoint_steps,
    evaluation_of,
    finish,
    logged,
    metrics_of,
    wait_for_checkpoint,
)

from data_pipelines.photo_to_shape.sample_pix3d import write_pix3d_sample

# Long enough to be interrupted: 5 steps an epoch. The coarse network compiles in half the time.
LONG = (
    '--config.epochs=24',
    '--config.log_every=10',
    '--config.checkpoint_every=20',
    '--config.model.query_encoder=resnet_coarse',
    ONE,
    SERIAL,
)
STEPS = 120
FLAT_KEYS = {
    'top1', 'top10', 'category_top1', 'hausdorff', 'iou', 'top1_macro', 'top10_macro', 'top1_chance', 'top1_prior',
    'top10_prior', 'top1_low', 'top1_high', 'queries', 'gallery', 'step',
}  # fmt: skip


@pytest.fixture(scope='module')
def place(tmp_path_factory, cache, kept_programs):
    return Place(tmp_path_factory.mktemp('run'), cache, compiled=kept_programs, devices=jax.device_count())


@pytest.fixture(scope='module')
def uninterrupted(place):
    """A run from start to end: its work directory and what it printed."""
    workdir = place.root / 'uninterrupted'
    with contextlib.redirect_stdout(io.StringIO()) as out, contextlib.redirect_stderr(out):
        status = train(place, workdir)
    assert status == 0, out.getvalue()
    return workdir, out.getvalue()


def train(place, workdir, *arguments):
    """Exit status of the training in this process."""
    return run.main(
        ['--config=pix3d.py:smoke', f'--workdir={workdir}', f'--config.cache_dir={place.cache}', *LONG, *arguments]
    )


def evaluate(place, workdir, *arguments):
    """Exit status of the evaluation in this process alone, on one device."""
    options = [f'--workdir={workdir}', f'--config.cache_dir={place.cache}', ONE, SERIAL]
    return run.main(['--mode=eval', *options, *arguments])


@pytest.fixture(scope='module')
def killed(place, uninterrupted):
    """The work directory of a run that was killed in the middle of training, after a checkpoint."""
    workdir = place.root / 'killed'
    process = place.start(workdir, *LONG)
    wait_for_checkpoint(process, workdir)
    process.kill()
    assert finish(process)[0] == -signal.SIGKILL
    assert 0 < checkpoint_steps(workdir)[-1] < STEPS
    return workdir


@pytest.fixture(scope='module')
def stopped(place, killed):
    """The work directory of a run that got SIGTERM in the middle of training, and what it printed."""
    workdir = place.root / 'stopped'
    shutil.copytree(killed, workdir)
    before = checkpoint_steps(workdir)[-1]
    process = place.start(workdir, *LONG)
    wait_for_checkpoint(process, workdir, after=before)
    process.send_signal(signal.SIGTERM)
    return workdir, finish(process)


def final_arrays(workdir):
    folder = workdir / 'checkpoints' / str(checkpoint_steps(workdir)[-1]) / 'default'
    with ocp.PyTreeCheckpointer() as checkpointer:
        like = jax.tree.map(
            lambda _: ocp.RestoreArgs(restore_type=np.ndarray), checkpointer.metadata(folder).item_metadata.tree
        )
        tree = checkpointer.restore(folder, restore_args=like)
    return {jax.tree_util.keystr(path): leaf for path, leaf in jax.tree_util.tree_leaves_with_path(tree)}


def test_a_run_leaves_metrics_checkpoints_and_a_report(place, uninterrupted):
    workdir, out = uninterrupted
    assert 'Traceback' not in out
    assert {path.name for path in workdir.iterdir()} == {
        '.lock',
        'config.json',
        'split.json',
        'metrics.jsonl',
        'metrics.json',
        'predictions.csv',
        'predictions.json',
        'checkpoints',
        'tensorboard',
        'report',
    }
    metrics = json.loads((workdir / 'metrics.json').read_text())
    assert metrics.keys() >= FLAT_KEYS
    assert all(np.isfinite(metrics[key]) for key in FLAT_KEYS)
    assert metrics['synthetic'] is True
    assert metrics['top1_low'] <= metrics['top1'] <= metrics['top1_high']
    assert metrics['step'] in checkpoint_steps(workdir)
    assert checkpoint_steps(workdir)[-1] == STEPS
    lines = logged(workdir)
    assert [line['step'] for line in lines] == list(range(10, STEPS + 1, 10))
    assert [line['step'] for line in lines if 'val_top1' in line] == list(range(20, STEPS + 1, 20))
    assert all({'loss', 'gradient_norm', 'learning_rate'} <= line.keys() for line in lines)
    assert list((workdir / 'tensorboard').glob('events.out.tfevents.*'))
    assert (workdir / 'report' / 'contact_sheet.png').stat().st_size > 1000
    assert str(workdir / 'report' / 'index.html') in out


def test_synthetic_data_is_said_in_one_line(uninterrupted):
    lines = [line for line in uninterrupted[1].splitlines() if 'SYNTHETIC' in line]
    assert len(lines) == 1
    assert '--config.data_dir=DIR' in lines[0]


def test_the_report_opens_offline(uninterrupted):
    page = (uninterrupted[0] / 'report' / 'index.html').read_text()
    split = json.loads((uninterrupted[0] / 'split.json').read_text())['split']
    assert f'best mean reciprocal rank on {list(split.values()).count("val")} held-out training photos' in page
    assert 'synthetic' in page.lower()
    assert 'src="http' not in page
    assert 'href="http' not in page


def test_nothing_is_written_outside_workdir_and_cache(place, stopped):
    place.assert_untouched()


def test_a_killed_and_stopped_run_resumes_bit_exactly(place, uninterrupted, stopped):
    reference, _ = uninterrupted
    workdir = place.root / 'resumed'
    shutil.copytree(stopped[0], workdir)
    assert train(place, workdir, NUMBERS) == 0
    assert logged(workdir) == logged(reference)
    found, expected = final_arrays(workdir), final_arrays(reference)
    assert found.keys() == expected.keys()
    assert len(expected) > 50
    for name, value in expected.items():
        assert value.dtype == found[name].dtype
        np.testing.assert_array_equal(found[name], value, err_msg=name)
    assert checkpoint_steps(workdir) == checkpoint_steps(reference)
    assert (workdir / 'metrics.json').read_text() == (reference / 'metrics.json').read_text()
    assert not list((workdir / 'checkpoints').glob('*tmp*'))


def test_the_same_command_after_the_end_only_evaluates(place, uninterrupted, capsys):
    reference, _ = uninterrupted
    workdir = place.root / 'again'
    shutil.copytree(reference, workdir)
    (workdir / 'metrics.json').unlink()
    shutil.rmtree(workdir / 'report')
    assert train(place, workdir) == 0
    assert 'step 20:' not in capsys.readouterr().out
    for name in ('metrics.json', 'metrics.jsonl', 'config.json', 'split.json'):
        assert (workdir / name).read_text() == (reference / name).read_text(), name
    assert checkpoint_steps(workdir) == checkpoint_steps(reference)
    assert (workdir / 'report' / 'index.html').exists()


def test_sigterm_saves_and_ends(stopped, killed):
    workdir, (status, out, err) = stopped
    assert status == 0, err
    assert 'Traceback' not in err
    last = checkpoint_steps(workdir)[-1]
    assert checkpoint_steps(killed)[-1] < last < STEPS
    assert f'stopped at step {last}; the same command goes on from there' in out
    assert logged(workdir)[-1]['step'] == last
    assert not (workdir / 'metrics.json').exists()


def test_a_full_disk_leaves_the_last_checkpoint(place, killed):
    """Also shows that a killed run goes on: it logs later steps before it finds that it cannot save them."""
    workdir = place.root / 'full'
    shutil.copytree(killed, workdir)
    last = checkpoint_steps(workdir)[-1]
    before = final_arrays(workdir)
    status, _, err = finish(place.start(workdir, *LONG, largest_file=100))
    assert status == 1
    messages = [line for line in err.splitlines() if line.startswith('error: ')]
    assert len(messages) == 1
    assert 'checkpoint could not be written' in messages[0]
    assert f'the last good checkpoint is {workdir / "checkpoints" / str(last)}' in messages[0]
    assert logged(workdir)[-1]['step'] > last
    assert checkpoint_steps(workdir)[-1] == last
    for name, value in final_arrays(workdir).items():
        np.testing.assert_array_equal(before[name], value, err_msg=name)


def test_another_config_is_refused_with_the_keys_named(uninterrupted, capsys):
    workdir, _ = uninterrupted
    before = (workdir / 'config.json').read_text()
    assert (
        run.main(
            ['--config=pix3d.py:smoke', f'--workdir={workdir}', *LONG, '--config.seed=1', '--config.loss.kind=triplet']
        )
        == 1
    )
    message = capsys.readouterr().err
    assert 'was made with another config' in message
    assert 'config.seed: 0 there, 1 now' in message
    assert "config.loss.kind: 'contrastive' there, 'triplet' now" in message
    assert 'config.epochs' not in message
    assert (workdir / 'config.json').read_text() == before


@pytest.fixture(scope='module')
def other_data(tmp_path_factory) -> Path:
    """Other photos and shapes than trained on; no beds, chairs are called seats, and one test photo is damaged."""
    root = tmp_path_factory.mktemp('other') / 'data'
    write_pix3d_sample(root, seed=7, shapes_per_category=2, photos_per_shape=4, processes=1, progress=False)
    entries = json.loads((root / 'pix3d.json').read_text())
    shutil.rmtree(root / 'model' / 'bed')
    (root / 'model' / 'chair').rename(root / 'model' / 'seat')
    (root / 'img').rename(root / 'photos')  # other names than the photos trained on
    entries = [entry for entry in entries if entry['category'] != 'bed']
    for entry in entries:
        entry['split'], entry['img'] = 'test', entry['img'].replace('img/', 'photos/')
        if entry['category'] == 'chair':
            entry['category'], entry['model'] = 'seat', entry['model'].replace('model/chair/', 'model/seat/')
    (root / 'pix3d.json').write_text(json.dumps(entries))
    photo = root / next(entry['img'] for entry in entries if entry['category'] == 'sofa')
    photo.write_bytes(photo.read_bytes()[:500])
    return root


def test_other_shapes_and_categories_can_be_evaluated(place, uninterrupted, other_data, capsys):
    reference, _ = uninterrupted
    workdir = place.root / 'evaluated'
    shutil.copytree(reference, workdir)
    other = f'--config.data_dir={other_data}'
    damaged = next(path for path in (other_data / 'photos' / 'sofa').iterdir() if path.stat().st_size == 500)
    assert evaluate(place, workdir, other) == 1
    assert str(damaged) in capsys.readouterr().err
    assert evaluate(place, workdir, other, '--config.on_bad_file=skip') == 0
    folder = evaluation_of(workdir, other_data.name)
    metrics = metrics_of(folder)
    assert metrics.keys() >= FLAT_KEYS - {'top1_prior', 'top10_prior'}
    assert metrics['data_dir'] == str(other_data)
    assert metrics['synthetic'] is False
    assert set(metrics['per_category']) == {'seat', 'sofa', 'table'}
    assert metrics['gallery'] == 6
    assert metrics['top1_prior'] is None  # the run was trained on none of these shapes
    assert metrics['queries'] == 3 * 2 * 4 - 1
    assert metrics['step'] == json.loads((reference / 'metrics.json').read_text())['step']
    page = (folder / 'report' / 'index.html').read_text()
    assert 'seat' in page
    assert damaged.name in page
    rows = json.loads((folder / 'predictions.json').read_text())
    assert np.mean([row['rank_of_truth'] == 1 for row in rows]) == metrics['top1'] and len(rows) == metrics['queries']
    for name in ('config.json', 'split.json', 'metrics.json', 'metrics.jsonl', 'predictions.csv', 'report/index.html'):
        assert (workdir / name).read_text() == (reference / name).read_text(), name
    assert checkpoint_steps(workdir) == checkpoint_steps(reference)


def test_an_unseen_gallery_is_searched_with_a_trained_checkpoint(place, uninterrupted, capsys):
    reference, _ = uninterrupted
    workdir = place.root / 'unseen'
    shutil.copytree(reference, workdir)
    assert evaluate(place, workdir, '--config.evaluation.unseen_dir=sample') == 0
    out = capsys.readouterr().out
    folder = evaluation_of(workdir)
    before, metrics = metrics_of(reference), metrics_of(folder)
    assert {key: metrics[key] for key in before} == before
    assert metrics['unseen_queries'] == metrics['queries'] and metrics['unseen_gallery'] == 96
    assert set(metrics['unseen_per_category']) == {'bed', 'chair', 'sofa', 'table'}
    assert 0 < metrics['unseen_iou'] < 1 and 0 < metrics['unseen_hausdorff'] < 0.5
    assert metrics['unseen_iou_chance'] > 0
    assert '96 unseen shapes' in out and 'Unseen gallery' in (folder / 'report' / 'index.html').read_text()
    for name in ('unseen_sheet.png', 'category_planes.png'):
        assert (folder / 'report' / name).stat().st_size > 1000
    assert (workdir / 'config.json').read_text() == (reference / 'config.json').read_text()


def test_evaluation_without_a_checkpoint(place, killed, capsys):
    workdir = place.root / 'without'
    workdir.mkdir()
    shutil.copy(killed / 'config.json', workdir)
    assert run.main(['--mode=eval', f'--workdir={workdir}']) == 1
    assert re.search('no checkpoints?; train with this --workdir first', capsys.readouterr().err)
