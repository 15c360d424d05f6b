"""The cross-modal experiment end to end on its smallest preset: trained, stopped, resumed, evaluated, reported."""

import json
import os
import re
import shutil
import signal

import pytest
import run
from cross_modal import task
from run_command import NUMBERS, ONE, evaluation_of, logged, metrics_of

from data_pipelines.cross_modal.sample import write_modelnet_sample

KEYS = [f'map_{query}_{gallery}' for query in ('image', 'mesh', 'point') for gallery in ('image', 'mesh', 'point')]


@pytest.fixture(scope='module')
def place(tmp_path_factory):
    """A folder for cache and work directories."""
    return tmp_path_factory.mktemp('cross_modal')


def command(place, workdir, *arguments, config='modelnet40.py:smoke'):
    """Exit status of the command in this process, on one device."""
    return run.main(
        [
            f'--config={config}',
            f'--config.cache_dir={place}/cache',
            ONE,
            '--config.processes=1',
            '--config.model.point_encoder=pointnet',  # compiles faster
            f'--workdir={place / workdir}',
            *arguments,
        ]
    )


def evaluate(place, workdir, *arguments):
    return run.main(['--mode=eval', f'--workdir={place / workdir}', *arguments])


@pytest.fixture(scope='module')
def trained(place):
    """The work directory of an uninterrupted run."""
    assert command(place, 'whole') == 0
    return place / 'whole'


def test_metrics_of_the_nine_directions_and_a_report(trained, capsys):
    metrics = metrics_of(trained)
    assert metrics['step'] == 6 and metrics['synthetic'] is True and metrics['seed'] == 0 and metrics['queries'] == 24
    assert sum(metrics[key] for key in KEYS) / 9 == pytest.approx(metrics['mean_map'])
    for key in KEYS:
        assert 0 < metrics[f'{key}_chance'] < metrics[f'{key}_high'] <= 1
    for name in ('image', 'mesh', 'point'):
        key = f'map_{name}_{name}'
        assert metrics[f'{key}_excluding_self'] < metrics[key]
    page = (trained / 'report' / 'index.html').read_text()
    assert 'Synthetic data' in page and 'mesh \u2192 point' in page and 'http' not in page
    for picture in ('embedding.png', 'precision_recall.png', 'curves.png'):
        assert (trained / 'report' / picture).stat().st_size > 1000
    shown = set(re.findall(r'src="(images/[^"]+)"', page))
    assert shown and all((trained / 'report' / name).exists() for name in shown)
    assert page.count('<article') == 9 * 6
    assert page.count('class="answers true"') + page.count('class="answers wrong"') == 9 * 6


def test_a_stopped_run_resumes_to_the_same_numbers(place, trained, monkeypatch, capsys):
    batches = task.training_batches

    def stopping(*arguments, **options):
        for place_in_run, batch in enumerate(batches(*arguments, **options)):
            if place_in_run == 2:
                os.kill(os.getpid(), signal.SIGTERM)
            yield batch

    with monkeypatch.context() as patched:
        patched.setattr(task, 'training_batches', stopping)
        assert command(place, 'stopped') == 0
    assert 'stopped at step 4' in capsys.readouterr().out
    assert not (place / 'stopped' / 'metrics.json').exists()
    assert command(place, 'stopped', NUMBERS) == 0
    out = capsys.readouterr().out
    assert 'mean of the nine' in out and 'SYNTHETIC sample data' in out
    assert logged(place / 'stopped') == logged(trained)
    assert metrics_of(place / 'stopped') == metrics_of(trained)


def test_a_run_begun_with_a_key_that_is_refused_now_goes_on(place, trained, capsys):
    folder, changed = place / 'older', '--config.data.points_up_axis=z'
    shutil.copytree(trained, folder, ignore=shutil.ignore_patterns('report', 'tensorboard'))
    config = json.loads((folder / 'config.json').read_text())
    (folder / 'config.json').write_text(json.dumps(config | {'data.points_up_axis': 'z'}))
    assert command(place, 'older', changed, NUMBERS) == 0
    assert command(place, 'older') == 1
    assert "data.points_up_axis: 'z' there, 'y' now" in capsys.readouterr().err
    shutil.rmtree(folder / 'checkpoints')  # nothing to go on from
    assert command(place, 'older', changed) == 1
    assert "config.data.points_up_axis: 'z' needs --config.data_dir=DIR" in capsys.readouterr().err


def test_evaluation_of_other_objects_lists_what_it_skips(place, trained, capsys):
    shutil.copytree(trained, place / 'evaluated', ignore=shutil.ignore_patterns('report', 'tensorboard'))
    other = write_modelnet_sample(place / 'other', seed=1, train_per_class=1, test_per_class=2, progress=False)
    shutil.rmtree(other / 'vase')
    (other / 'chair' / 'test' / 'chair_0002.off').write_text('OFF\n3 1 0\n0 0 0\n')
    assert evaluate(place, 'evaluated', f'--config.data_dir={other}') == 1
    message = capsys.readouterr().err
    assert 'chair_0002.off' in message and '1 lines follow' in message
    assert (
        evaluate(
            place, 'evaluated', f'--config.data_dir={other}', '--config.on_bad_file=skip', '--config.evaluation.views=1'
        )
        == 0
    )
    assert 'SYNTHETIC' not in capsys.readouterr().out
    folder = evaluation_of(place / 'evaluated', 'other')
    metrics = metrics_of(folder)
    assert metrics['queries'] == 21 and metrics['synthetic'] is False and 'vase' not in metrics['per_class']
    page = (folder / 'report' / 'index.html').read_text().replace('<wbr>', '')
    assert 'chair_0002.off' in page and 'the same 1 of 4 views' in page


def test_everything_wrong_with_the_data_is_told_at_once(place, capsys):
    root = write_modelnet_sample(place / 'broken', train_per_class=1, test_per_class=1, progress=False)
    (root / 'chair' / 'train' / 'chair_0001.off').write_text('OFF\n3 1 0\n0 0 0\n1 0 0\nnan 1 0\n3 0 1 2\n')
    (root / 'vase' / 'test' / 'vase_0002.off').write_text('OFF\n3 1 0\n0 0 0\n1 0 0\n0 1 0\n3 0 1 7\n')
    (root / 'table' / 'test' / 'table_0002.off').unlink()
    assert command(place, 'never', f'--config.data_dir={root}') == 1
    message = capsys.readouterr().err
    for part in ('chair_0001.off', 'vase_0002.off', "class 'table' has no test object"):
        assert part in message
    assert not (place / 'never' / 'checkpoints').exists()
    assert command(place, 'never', f'--config.data_dir={place}/nowhere') == 1
    assert 'nowhere' in capsys.readouterr().err


@pytest.mark.parametrize(
    'argument,message',
    [
        ('select=best', 'is not one of last, mean_map'),
        ('select=mean_map', 'set --config.data.val_fraction above 0'),
        ('data.layout=zip --config.data_dir=.', 'meshes, published'),
        ('data.layout=published', "config.data.layout: 'published' needs --config.data_dir=DIR"),
        ('render.field_of_view=-1', 'config.render.field_of_view: must lie in [1, 150], not -1'),
        ('data.image_size=5000', 'config.data.image_size: must lie in [1, 4096], not 5000'),
        ('render.ambient=0.9', 'config.render.ambient + diffuse: must be at most 1'),
        ('model.image_encoder=vgg', "config.model.image_encoder: 'vgg' is not one of resnet18, resnet34"),
        ('data.views_per_step=5', 'an object has 4'),
        ('evaluation.views=5', 'an object has 4'),
        ('data.points=4096', 'an object has 2048'),
        ('data.faces=3', 'config.data.faces: 3'),
        ('loss.center=none', 'config.loss.center'),
        ('model.point_encoder=gcn', 'dgcnn, pointnet'),
        ('center_optimizer.name=lion', 'config.center_optimizer.name'),
        ('center_optimizer.learning_rate=0', 'config.center_optimizer.learning_rate'),
        ('view_augmentation.flip=2', 'flip is 2'),
        ('batch_size=0', 'config.batch_size'),
    ],
)
def test_bad_values_are_refused_before_the_data_is_touched(place, tmp_path, capsys, argument, message):
    assert command(tmp_path, 'never', *f'--config.{argument}'.split(' ')) == 1
    assert message in capsys.readouterr().err
    assert not (tmp_path / 'cache').exists()


def test_a_batch_larger_than_the_training_set_is_refused_before_rendering(place, capsys):
    assert command(place, 'never', '--config.batch_size=25') == 1
    captured = capsys.readouterr()
    assert 'set --config.batch_size to at most 24' in captured.err and 'Making views' not in captured.out


def test_modelnet10_names_its_classes_but_takes_the_sample_as_it_is(place, capsys):
    root = write_modelnet_sample(place / 'classes', train_per_class=1, test_per_class=1, progress=False)
    assert command(place, 'ten', f'--config.data_dir={root}', config='modelnet10.py:smoke') == 1
    assert "no objects of class 'bathtub'" in capsys.readouterr().err
    assert command(place, 'ten', '--config.batch_size=25', config='modelnet10.py:smoke') == 1
    assert 'at most 24' in capsys.readouterr().err
