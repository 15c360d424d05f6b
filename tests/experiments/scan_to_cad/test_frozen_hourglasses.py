"""Runs of scans and CAD models whose hourglasses stay as another run left them: trained, fine-tuned, evaluated."""

import json
import shutil

import chex
import jax
import numpy as np
import pytest
import run
from run_command import NUMBERS, evaluation_of, metrics_of
from scan_cad_folders import write_collection
from small_scan_cad import FlatEncoder, FlatHourglass

from jaxret.runs.finished import read_run
from jaxret.systems import scan_cad

EMBEDDING = '--config.model.train=embedding'
FINETUNE = ('--config.loss.metric=contrastive', '--config.loss.finetune=push_pull')


@pytest.fixture(scope='module')
def place(tmp_path_factory):
    """A folder for data, cache and work directories; networks that compile in a second."""
    root = tmp_path_factory.mktemp('frozen_hourglasses')
    write_collection(root / 'data', side=32)
    networks = {'separation': FlatHourglass(2), 'completion': FlatHourglass(1), 'embedding': FlatEncoder()}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(scan_cad, 'make_networks', lambda model, axis_name: dict(networks))
        yield root


def command(place, workdir, *arguments, preset='smoke'):
    fixed = [f'--config.data_dir={place / "data"}', f'--config.cache_dir={place}/cache', '--config.processes=1']
    sizes = ['--config.parallel.devices=1', '--config.batch_size=6', '--config.epochs=1', '--config.log_every=1']
    size = ['--config.evaluation.batch_size=8', f'--workdir={place / workdir}', NUMBERS]
    return run.main([f'--config=scan_cad.py:{preset}', *fixed, *sizes, *size, *arguments])


@pytest.fixture(scope='module')
def hourglasses(place):
    assert command(place, 'hourglasses', preset='completion') == 0
    return f'--config.start_from={place / "hourglasses"}'


@pytest.fixture(scope='module')
def embedding(place, hourglasses):
    assert command(place, 'embedding', EMBEDDING, hourglasses) == 0
    return place / 'embedding'


def weights(folder):
    """Variables of the best checkpoint, hourglasses and the rest apart."""
    variables = read_run(folder).variables
    frozen = variables.get('frozen') or {
        name: {key: tree[key] for key in tree if key != 'embedding'} for name, tree in variables.items()
    }
    return jax.device_get(frozen), jax.device_get(variables['params']['embedding'])


def test_hourglasses_stay_and_scans_are_completed_once(place, hourglasses, embedding, monkeypatch):
    (before, untrained), (after, trained) = weights(place / 'hourglasses'), weights(embedding)
    chex.assert_trees_all_equal(before, after)
    moved = [float(np.abs(a - b).max()) for a, b in zip(*map(jax.tree.leaves, (untrained, trained)), strict=True)]
    assert max(moved) > 0
    features = list((place / 'cache' / 'features').glob('*.npz'))
    assert len(features) == 1 and len(np.load(features[0])['rows']) == 42  # scans of three splits
    history = [json.loads(line) for line in (embedding / 'metrics.jsonl').read_text().splitlines()]
    assert 'metric_loss' in history[0] and 'completion_loss' not in history[0]

    def never(*arguments, **options):
        raise AssertionError('completed again')

    monkeypatch.setattr('jaxret.training.embedder.Embedder.features', never)
    assert command(place, 'second', EMBEDDING, hourglasses, '--config.seed=1') == 0
    other, of_second = weights(place / 'second')
    chex.assert_trees_all_equal(before, other)
    start = [float(np.abs(a - b).max()) for a, b in zip(*map(jax.tree.leaves, (trained, of_second)), strict=True)]
    assert max(start) > 0.1  # an embedding of its own seed: nobody had trained that of the start


def test_evaluation_completes_scans_anew_and_finds_the_same(place, embedding):
    shutil.copytree(embedding, place / 'again', ignore=shutil.ignore_patterns('report', 'tensorboard'))
    assert run.main(['--mode=eval', f'--workdir={place / "again"}', NUMBERS]) == 0
    assert metrics_of(evaluation_of(place / 'again', 'data')) == metrics_of(embedding)
    shutil.rmtree(place / 'cache' / 'features')
    assert run.main(['--mode=eval', f'--workdir={place / "again"}', '--config.evaluation.headings=2']) == 0
    turned = metrics_of(evaluation_of(place / 'again', 'data'))
    assert turned['scans'] == metrics_of(embedding)['scans']


def test_fine_tuning_goes_on_from_an_embedding(place, embedding):
    assert command(place, 'tuned', EMBEDDING, f'--config.start_from={embedding}', *FINETUNE) == 0
    (before, _), (after, _) = weights(embedding), weights(place / 'tuned')
    chex.assert_trees_all_equal(before, after)
    assert command(place, 'all', f'--config.start_from={embedding}', '--config.optimizer.learning_rate=1e-9') == 0
    (whole, same), (_, trained) = weights(place / 'all'), weights(embedding)
    chex.assert_trees_all_close(whole['params'], before['params'], atol=1e-6)
    chex.assert_trees_all_close(same, trained, atol=1e-6)


def test_what_a_run_started_from_is_needed_no_more(place, embedding):
    shutil.copytree(embedding, place / 'alone')
    path = place / 'alone' / 'config.json'
    path.write_text(path.read_text().replace(str(place / 'hourglasses'), '/gone'))
    assert run.main(['--mode=eval', f'--workdir={place / "alone"}', NUMBERS]) == 0
    assert command(place, 'alone', EMBEDDING, '--config.start_from=/gone') == 0
    assert metrics_of(place / 'alone') == metrics_of(embedding)


def test_what_cannot_start_is_refused(place, embedding, monkeypatch, capsys):
    assert command(place, 'never', EMBEDDING) == 1
    assert 'config.start_from names none; set --config.start_from=WORKDIR' in capsys.readouterr().err
    monkeypatch.setattr(scan_cad, 'make_networks', lambda model, axis_name: {'embedding': FlatEncoder()})
    other = '--config.model.variant=cnn3d'
    assert command(place, 'never', other, f'--config.start_from={embedding}') == 1
    assert 'its network is another one' in capsys.readouterr().err
    assert command(place, 'never', '--config.select=exact_top1', preset='completion') == 1
    assert "config.loss.metric='none' does not train" in capsys.readouterr().err
