"""Photos that show nothing find nothing: what a test photo tells must come from its pixels and its mask.

A run is trained on the sample, its checkpoint chosen on the test photos (which is marked). Then every photo and mask is
replaced by a constant: names, order, splits, sizes, annotations and shapes are as before.
"""

import json
import shutil

import numpy as np
import pytest
import run
from overrides import apply_overrides, load_config
from photo_to_shape import data as photo_data
from photo_to_shape.task import PhotoToShape
from PIL import Image
from run_command import NUMBERS, evaluation_of, metrics_of

from data_pipelines.photo_to_shape.batches import query_batches
from data_pipelines.photo_to_shape.sample_cars import write_car_sample
from data_pipelines.photo_to_shape.sample_pix3d import write_pix3d_sample


@pytest.fixture(scope='module')
def place(tmp_path_factory):
    return tmp_path_factory.mktemp('blind')


def blinded(source, target, *, masks=True):
    """A copy of a data folder whose photos are one grey picture and, with `masks`, its masks one white one."""
    shutil.copytree(source, target)
    for path in target.rglob('*'):
        if path.suffix == '.jpg':
            Image.fromarray(np.full((60, 80, 3), 128, np.uint8)).save(path)
        elif path.suffix == '.png':
            Image.fromarray(np.full((60, 80), 255, np.uint8)).save(path)
    if not masks and (target / 'mask').exists():
        shutil.rmtree(target / 'mask')
    return target


@pytest.fixture(scope='module')
def trained(place):
    """The data, and the work directory of a run that trains on all training photos and chooses on the test photos."""
    data = write_pix3d_sample(place / 'data', shapes_per_category=2, photos_per_shape=6, processes=1, progress=False)
    options = {
        'data_dir': data,
        'cache_dir': place / 'cache',
        'processes': 1,
        'parallel.devices': 1,
        'select': 'test_top1',
        'checkpoint_every': 6,
        'data.val_fraction': 0,
        'model.query_encoder': 'resnet_coarse',
        'evaluation.shape_metrics': False,
    }
    arguments = [f'--config.{key}={value}' for key, value in options.items()]
    assert run.main(['--config=pix3d.py:smoke', f'--workdir={place / "run"}', *arguments]) == 0
    return data, place / 'run'


def evaluate(trained, folder, data):
    shutil.copytree(trained[1], folder, ignore=shutil.ignore_patterns('report', 'tensorboard'))
    assert run.main(['--mode=eval', f'--workdir={folder}', f'--config.data_dir={data}', NUMBERS]) == 0
    return metrics_of(evaluation_of(folder))


def test_a_checkpoint_chosen_on_the_test_photos_is_marked(trained):
    workdir, metrics = trained[1], metrics_of(trained[1])
    split = json.loads((workdir / 'split.json').read_text())['split']
    assert {*split.values()} == {'train', 'test'} and metrics['queries'] == [*split.values()].count('test')
    lines = [json.loads(line) for line in (workdir / 'metrics.jsonl').read_text().splitlines()]
    scores = {line['step']: line['test_top1'] for line in lines if 'test_top1' in line}
    assert len(scores) > 1 and scores[metrics['step']] == max(scores.values()) == metrics['top1']
    assert not any('val_top1' in line for line in lines)
    assert metrics['uses_answer'] == 'the checkpoint is chosen on the test photos'
    assert metrics['masks'] == {'train': 'files', 'test': 'files'}
    page = (workdir / 'report' / 'index.html').read_text()
    assert 'USES THE ANSWER: the checkpoint is chosen on the test photos.' in page and 'best Top-1 on the TEST' in page


def test_photos_that_show_nothing_fall_to_the_prior(trained, place):
    seen, metrics = metrics_of(trained[1]), evaluate(trained, place / 'grey', blinded(trained[0], place / 'grey-data'))
    assert metrics['queries'] == seen['queries'] and metrics['gallery'] == seen['gallery'] == 8
    split = json.loads((trained[1] / 'split.json').read_text())
    shapes = [split['shape'][photo] for photo, part in split['split'].items() if part == 'test']
    largest = sorted((shapes.count(shape) for shape in set(shapes)), reverse=True)
    assert metrics['top1'] in {count / len(shapes) for count in (0, *largest)}  # one answer to every photo
    assert metrics['top1'] <= largest[0] / len(shapes) and metrics['top1'] <= 2 * metrics['top1_prior']
    assert metrics['category_top1'] == pytest.approx(0.25, abs=0.05)
    assert metrics['mean_reciprocal_rank'] <= sum(n / rank for rank, n in enumerate(largest, 1)) / len(shapes) + 1e-6


def test_shapes_that_are_all_alike_are_never_found(trained, place):
    """Names and order of the gallery tell nothing either: all scores are equal, and ties count against the system."""
    data = shutil.copytree(trained[0], place / 'same-data')
    models = sorted(data.rglob('*.obj'))
    for path in models[1:]:
        shutil.copy(models[0], path)
    metrics = evaluate(trained, place / 'same', data)
    assert metrics['top1'] == 0 and metrics['mean_reciprocal_rank'] == pytest.approx(1 / 8)


@pytest.mark.parametrize(('masks', 'tell'), [('frame', False), ('pose', False), ('auto', False), ('pose_test', True)])
@pytest.mark.parametrize('layout', ['stanford_cars', 'comp_cars'])
def test_grey_photos_of_cars_are_all_alike_unless_the_answer_is_asked_for(place, layout, masks, tell):
    source = place / layout
    write_car_sample(source, layout=layout, shapes=2, photos_per_shape=6, processes=1, progress=False)
    data = blinded(source, place / f'{layout}-{masks}', masks=masks == 'auto')
    config, _ = load_config(f'{layout}.py:smoke')
    apply_overrides(config, {'data_dir': str(data), 'cache_dir': str(place / 'cache'), 'processes': '1',
                             'data.masks': masks, 'batch_size': '2'})  # fmt: skip
    workdir = place / f'run-{layout}-{masks}'
    workdir.mkdir()
    found = PhotoToShape.from_config(config).load(workdir, train=True)
    (batch,) = query_batches(
        found.queries['test'], size=config.data.image_size, batch_size=len(found.queries['test'].names)
    )
    alike = all((batch[name] == batch[name][:1]).all() for name in ('image', 'mask'))
    assert alike is not tell
    assert photo_data.POSE in found.dataset.masks or masks in ('auto', 'frame')
