"""A run on frozen features with the packaged weights: computed once, the same metrics again, references, a tool."""

import json
import shutil

import chex
import numpy as np
import pytest
import run
from overrides import load_config
from run_command import NUMBERS, evaluation_of, metrics_of

import jaxret
from jaxret.reports.tables import UNTRAINED
from jaxret.training.embedder import Embedder

ARGUMENTS = [
    '--config=pix3d.py:smoke',
    '--config.parallel.devices=1',
    '--config.processes=1',
    '--config.model.query_encoder=efficientnet_lite0',
    '--config.model.view_encoder=efficientnet_lite0',
    '--config.model.train=heads',
    '--config.model.taps=5,8',
    '--config.model.mask=white',
    '--config.model.normalization=published',
    '--config.pretrained.query=imagenet',
    '--config.pretrained.gallery=imagenet',
    '--config.frozen.photo_copies=2',
    '--config.frozen.view_copies=2',
    '--config.evaluation.references=0.5',
    '--config.evaluation.shape_metrics=False',
]


@pytest.fixture(scope='module')
def place(tmp_path_factory):
    return tmp_path_factory.mktemp('frozen')


def train(place, cache, name, *arguments):
    workdir = place / name
    assert run.main([*ARGUMENTS, f'--workdir={workdir}', f'--config.cache_dir={cache}', *arguments]) == 0
    return workdir, json.loads((workdir / 'metrics.json').read_text())


@pytest.fixture(scope='module')
def first(place, cache):
    return train(place, cache, 'first')


def stored(path):
    """Features of a file, by row."""
    with np.load(path) as file:
        return dict(zip(file['rows'].tolist(), file['features'], strict=True))


def features_of(monkeypatch):
    """Modalities of which features are computed from now on."""
    computed, features = [], Embedder.features

    def counted(self, variables, batches, modality, **options):
        computed.append(modality)
        return features(self, variables, batches, modality, **options)

    monkeypatch.setattr(Embedder, 'features', counted)
    return computed


def test_what_nobody_trained_stands_beside_the_metrics(first):
    _, metrics = first
    assert set(metrics['comparators']) == set(UNTRAINED)
    for values in metrics['comparators'].values():
        assert 0 <= values['top1_low'] <= values['top1'] <= values['top10'] <= 1
    page = (first[0] / 'report' / 'index.html').read_text()
    assert all(title in page for title in UNTRAINED.values())


def test_only_damaged_features_are_computed_anew(place, cache, first, monkeypatch, capsys):
    """Another head on the same features."""
    files = sorted((cache / 'features').glob('*.npz'))
    assert len(files) == 6  # photos and views, as they are and changed, and by the built-in model
    before = stored(files[0])
    files[0].write_bytes(files[0].read_bytes()[:-100])
    computed = features_of(monkeypatch)
    _, other = train(place, cache, 'narrower', '--config.model.embedding_dim=8', NUMBERS)
    assert len(set(computed)) == 1 and 'damaged' in capsys.readouterr().out
    chex.assert_trees_all_close(stored(files[0]), before, rtol=1e-5)
    assert other['comparators'] == first[1]['comparators']


def test_a_run_is_evaluated_without_stored_features(place, cache, first):
    workdir = place / 'copy'
    shutil.copytree(first[0], workdir)
    (cache / 'features').rename(place / 'features')
    arguments = ['--mode=eval', f'--workdir={workdir}', f'--config.cache_dir={cache}']
    assert run.main([*arguments, '--config.parallel.devices=1', NUMBERS]) == 0
    found = metrics_of(evaluation_of(workdir))
    assert found['top1'] == first[1]['top1'] and found['comparators'] == first[1]['comparators']


def test_a_run_is_evaluated_on_other_data(place, cache, first):
    """None of these photos is one that the run knows: there are no references."""
    other = place / 'other'
    shutil.copytree(next(cache.glob('sample-pix3d-*')), other)
    entries = json.loads((other / 'pix3d.json').read_text())
    for entry in entries:
        new = entry['img'].replace('img/', 'img/other/', 1)
        (other / new).parent.mkdir(parents=True, exist_ok=True)
        (other / entry['img']).rename(other / new)
        entry['img'] = new
    (other / 'pix3d.json').write_text(json.dumps(entries))
    arguments = ['--mode=eval', f'--workdir={first[0]}', f'--config.cache_dir={cache}', f'--config.data_dir={other}']
    assert run.main([*arguments, '--config.parallel.devices=1']) == 0
    page = (evaluation_of(first[0]) / 'report' / 'index.html').read_text()
    assert 'views score alone, without references' in page
    found = metrics_of(evaluation_of(first[0]))
    assert set(found['comparators']) == {'light_field', 'zero_shot'} and found['queries'] > first[1]['queries']
    assert 'by_views' not in found


def test_a_finished_run_is_a_tool_of_its_own(cache, first):
    workdir, metrics = first
    model = jaxret.load(workdir)
    data = next(cache.glob('sample-pix3d-*'))
    photo = sorted((data / 'img').rglob('*.*'))[0]
    embedding = np.asarray(model.embed_photos([photo]))
    assert embedding.shape == (1, 16)
    np.testing.assert_allclose(np.linalg.norm(embedding), 1, rtol=1e-5)


def test_frozen_weights_are_not_trained_and_kept(first):
    variables = jaxret.load(first[0])._variables
    assert set(variables['params']['query']) == {'head'}
    assert 'conv_stem' in variables['frozen']['params']['query']['backbone']


def test_published_pairs_ask_for_their_files(tmp_path, capsys):
    arguments = ['--config=pix3d.py:paper', f'--workdir={tmp_path / "run"}', '--config.parallel.devices=1']
    assert run.main(arguments) == 1
    said = 'config.pretrained.query: the published system starts from ImageNet weights of resnet50'
    assert said in capsys.readouterr().err


def test_the_default_is_pretrained_and_random_start_is_what_it_was():
    default, random = (load_config(f'pix3d.py:{preset}')[0] for preset in ('small', 'random_start'))
    assert default.model.train == 'heads' and default.pretrained.query == 'imagenet'
    assert random.model.train == 'all' and random.pretrained.query == ''
    assert random.model.query_encoder == 'resnet_small' and random.evaluation.references == 0
