"""Photos to unlabelled shapes end to end on the smallest preset: trained, stopped, resumed, evaluated, not peeking."""

import os
import re
import shutil
import signal

import jax
import numpy as np
import pytest
import run
from domain_adaptation import task as domain_adaptation
from overrides import load_config
from run_command import ONE, evaluation_of, logged, metrics_of

from data_pipelines.domain_adaptation.sample import write_mi3dor_sample
from jaxret.metrics.shrec_scores import SCORES
from jaxret.runs.config import flatten

METHODS = (
    'source_only',
    'global',
    'global_local',
    'revgrad',
    'jan',
    'dlea',
    'coral',
    'coral_features',
    'meda',
    'jgsa',
    'prototypes',
    'swap',
)


@pytest.fixture(scope='module')
def place(tmp_path_factory):
    """A folder for cache and work directories."""
    return tmp_path_factory.mktemp('domain_adaptation')


@pytest.fixture(scope='module')
def data(place):
    """Few photos and shapes in MI3DOR's layout."""
    return write_mi3dor_sample(
        place / 'data',
        train_photos=3,
        test_photos=1,
        train_shapes=2,
        test_shapes=2,
        photo_size=48,
        processes=1,
        progress=False,
    )


def command(place, data, workdir, *arguments, config='mi3dor.py:smoke'):
    """Exit status of the command in this process, on one device."""
    return run.main(
        [
            f'--config={config}',
            f'--config.cache_dir={place}/cache',
            ONE,
            '--config.processes=1',
            f'--config.data_dir={data}',
            '--config.select=source_accuracy',
            f'--workdir={place / workdir}',
            *arguments,
        ]
    )


def evaluate(place, workdir, *arguments):
    return run.main(['--mode=eval', f'--workdir={place / workdir}', *arguments])


def embeddings_of(folder):
    with np.load(folder / 'embeddings.npz', allow_pickle=False) as stored:
        return {name: stored[name] for name in stored}


@pytest.fixture
def without_report(monkeypatch):
    """Neither pictures nor embeddings of the initial weights, for runs of which only numbers are looked at."""
    monkeypatch.setattr(domain_adaptation, 'before_stage', lambda *arguments: ('nothing', None, None))
    monkeypatch.setattr(domain_adaptation, 'write_domain_report', lambda folder, **content: folder)


@pytest.fixture(scope='module')
def trained(place, data):
    """The work directory of an uninterrupted run."""
    assert command(place, data, 'whole') == 0
    return place / 'whole'


def test_metrics_in_both_modes_and_a_report(trained, capsys):
    metrics = metrics_of(trained)
    assert metrics['step'] in (4, 6) and metrics['synthetic'] is False and metrics['seed'] == 0
    assert (metrics['queries'], metrics['gallery'], metrics['queries_without_relevant']) == (8, 16, 0)
    for name in (*SCORES, *(f'standard_{name}' for name in SCORES)):
        assert metrics[f'{name}_low'] <= metrics[name] <= metrics[f'{name}_high']
        assert 0 < metrics[f'{name}_chance'] < 1
    assert metrics['nn_chance'] == pytest.approx(0.125)
    assert (
        'val_pseudo_confidence' in logged(trained)[0]
    )  # the warm-up ends with step 2 of 6; the checkpoint is step 4's
    logs = {*logged(trained)[-1]}
    assert {'val_source_accuracy', 'val_pseudo_classes', 'val_pseudo_largest_share', 'label_loss', 'norm_loss'} <= logs
    assert not {*SCORES} & logs
    page = (trained / 'report' / 'index.html').read_text()
    assert 'initial weights and after' in page and 'http' not in page
    for picture in ('embedding.png', 'precision_recall.png', 'curves.png'):
        assert (trained / 'report' / picture).stat().st_size > 1000
    shown = set(re.findall(r'src="(images/[^"]+)"', page))
    assert shown and all((trained / 'report' / name).exists() for name in shown)


def test_labels_of_shapes_change_nothing_but_the_scores(place, data, trained, without_report):
    other = place / 'permuted'
    shutil.copytree(data, other)
    for split in ('train', 'test'):
        folders = sorted((other / 'model' / split).iterdir())
        files = [file for folder in folders for file in sorted(folder.iterdir())]
        order = np.random.default_rng(0).permutation(len(files))
        assert any(files[i].parent != file.parent for file, i in zip(files, order, strict=True))
        aside = [file.rename(other / f'{split}-{file.name}') for file in files]
        for i, file in zip(order, aside, strict=True):
            file.rename(files[i].parent / file.name.removeprefix(f'{split}-'))
    assert command(place, other, 'blind') == 0
    assert logged(place / 'blind') == logged(trained)
    blind, seeing = embeddings_of(place / 'blind'), embeddings_of(trained)
    for name in ('photos', 'shapes'):
        np.testing.assert_array_equal(blind[name], seeing[name])
    files = [[name.rsplit('/', 1)[-1] for name in part['shape_names'].tolist()] for part in (blind, seeing)]
    assert files[0] == files[1]
    scores = [metrics_of(folder) for folder in (place / 'blind', trained)]
    assert scores[0]['step'] == scores[1]['step'] and scores[0]['standard_auc'] != scores[1]['standard_auc']


def test_a_stopped_run_resumes_to_the_same_numbers(place, data, trained, without_report, monkeypatch, capsys):
    batches = domain_adaptation.training_batches

    def stopping(*arguments, **options):
        for place_in_run, batch in enumerate(batches(*arguments, **options)):
            assert set(batch) == {'photo', 'label', 'valid', 'views', 'shape_valid'}
            if place_in_run == 2:
                os.kill(os.getpid(), signal.SIGTERM)
            yield batch

    with monkeypatch.context() as patched:
        patched.setattr(domain_adaptation, 'training_batches', stopping)
        assert command(place, data, 'stopped') == 0
    assert 'stopped at step 4' in capsys.readouterr().out
    assert not (place / 'stopped' / 'metrics.json').exists()
    assert command(place, data, 'stopped') == 0
    assert logged(place / 'stopped') == logged(trained)
    expected = metrics_of(trained)
    assert expected.pop('comparators').keys() == {'initial_weights'}  # which `without_report` leaves out
    assert metrics_of(place / 'stopped') == expected


def test_evaluation_with_alignment_fewer_views_and_another_run_before(place, trained, capsys):
    shutil.copytree(trained, place / 'evaluated', ignore=shutil.ignore_patterns('report', 'tensorboard'))
    assert (
        evaluate(
            place,
            'evaluated',
            '--config.evaluation.alignment=jgsa',
            '--config.evaluation.views=1',
            f'--config.evaluation.before={trained}',
        )
        == 0
    )
    assert 'ANMRR' in capsys.readouterr().out
    folder = evaluation_of(place / 'evaluated')
    assert metrics_of(folder)['step'] == metrics_of(trained)['step'] and metrics_of(folder) != metrics_of(trained)
    assert embeddings_of(folder)['photos'].shape == (8, 30) != embeddings_of(trained)['photos'].shape
    page = (folder / 'report' / 'index.html').read_text()
    assert 'whole and after' in page
    assert 'jgsa, fitted on 12 of 12 training photos with labels and 16 of 16 training shapes without' in page
    assert evaluate(place, 'evaluated', f'--config.evaluation.before={place}/nowhere') == 1
    assert 'embeddings.npz' in capsys.readouterr().err


def test_other_data_is_refused_and_what_is_left_out_is_reported(place, data, trained, capsys):
    other = place / 'other'
    shutil.copytree(data, other)
    gone = sorted((other / 'model' / 'test').iterdir())[0]
    shutil.rmtree(gone)
    shutil.rmtree(other / 'model' / 'train' / gone.name)
    shutil.copytree(trained, place / 'resumed', ignore=shutil.ignore_patterns('report', 'tensorboard'))
    assert evaluate(place, 'resumed', f'--config.data_dir={other}') == 0
    folder = evaluation_of(place / 'resumed', 'other')
    assert metrics_of(folder)['queries'] == 7 and gone.name not in metrics_of(folder)['per_class']
    assert gone.name in (folder / 'report' / 'index.html').read_text()
    assert command(place, other, 'fresh', '--config.batch_size=99') == 1
    assert 'config.batch_size' in capsys.readouterr().err
    assert command(place, other, 'fresh', '--config.data.unmatched_classes=error') == 1
    assert gone.name in capsys.readouterr().err


def test_collapsed_pseudo_labels_are_told_once(place, data, without_report, monkeypatch, capsys):
    def collapsed(self, variables, embeddings):
        return jax.nn.one_hot(jax.numpy.full(embeddings.shape[0], 3), self.classes)

    monkeypatch.setattr(domain_adaptation.Hifa, 'predict', collapsed)
    assert command(place, data, 'collapsed') == 0
    out = capsys.readouterr().out
    assert out.count('warning:') == 1 and '16 training shapes are of 1 of 8 classes, 1.00 of them' in out
    assert {line.get('val_pseudo_classes', 1) for line in logged(place / 'collapsed')} == {1}


def test_each_method_is_hifa_with_the_difference_that_its_name_says():
    hifa, random = (flatten(load_config(f'mi3dor.py:{name}')[0]) for name in ('hifa', 'random_start'))
    assert hifa['pretrained.backbone'] == 'imagenet' and random['pretrained.backbone'] == ''
    for name in METHODS:
        method = flatten(load_config(f'mi3dor.py:{name}')[0])
        changed = {key: method[key] for key in hifa if method[key] != hifa[key]}
        assert changed and all(key.startswith('loss.') or key == 'evaluation.alignment' for key in changed)
        assert flatten(load_config(f'mi3dor.py:random_start_{name}')[0]) == random | changed
    assert flatten(load_config('mi3dor.py')[0]) == flatten(load_config('mi3dor.py:jan')[0])
    paper, second = (flatten(load_config(f'{name}:paper')[0]) for name in ('mi3dor.py', 'mi3dor2.py'))
    assert {key for key in paper if paper[key] != second[key]} == {'epochs'}
    assert round(paper['epochs'] * (10_500 // 6)) == round(second['epochs'] * (19_294 // 6)) == 20_000
    assert paper['data.fit'] == 'cover' and paper['loss.adversarial_weight'] == 2  # the sum of both domains


@pytest.mark.parametrize(
    'argument,message',
    [
        ('select=test', 'is not one of last, source_accuracy'),
        ('data.val_fraction=0', 'config.data.val_fraction above 0'),
        ('data.image_size=40', 'data.stored_size'),
        ('data.views_per_step=4', 'render.views=3'),
        ('evaluation.views=4', 'render.views=3'),
        ('evaluation.alignment=pca', 'none, coral, jgsa, meda, prototypes'),
        ('data.gallery=train', 'is not one of test, all'),
        ('loss.centroid=mean', 'config.loss.centroid'),
        ('model.backbone=vgg', 'config.model.backbone'),
        ('backbone_optimizer.name=lion', 'config.backbone_optimizer.name'),
        ('backbone_optimizer.learning_rate=0', 'config.backbone_optimizer.learning_rate'),
        ('photo_augmentation.flip=2', 'flip is 2'),
        ('shapes_per_step=0', 'config.shapes_per_step'),
        ('render.field_of_view=-1', 'config.render.field_of_view: must lie in'),
        ('data.stored_size=5000', 'config.data.stored_size: must lie in'),
    ],
)
def test_bad_values_are_refused_before_the_data_is_touched(tmp_path, capsys, argument, message):
    assert command(tmp_path, tmp_path, 'never', f'--config.{argument}') == 1
    assert message in capsys.readouterr().err
    assert not (tmp_path / 'cache').exists()
