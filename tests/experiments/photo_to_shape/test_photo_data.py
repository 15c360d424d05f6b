"""The layouts of the photo-to-shape experiment: configs of the cars, their samples, and the split of a run."""

import json

import pytest
from overrides import apply_overrides, load_config
from photo_to_shape import data as photo_data
from photo_to_shape import task as photo_to_shape

from jaxret.errors import ConfigError
from jaxret.runs.config import flatten
from jaxret.runs.split import PhotoSplit
from jaxret.runs.workdir import store_config

CARS = ('stanford_cars', 'comp_cars')


@pytest.fixture
def config_of(tmp_path):
    def make(name, **overrides):
        config, _ = load_config(f'{name}.py:smoke')
        apply_overrides(
            config,
            {
                'cache_dir': str(tmp_path / 'cache'),
                'processes': '1',
                'batch_size': '2',
                'sample.shapes_per_category': '2',
                'sample.photos_per_shape': '6',
            }
            | overrides,
        )
        return config

    return make


@pytest.mark.parametrize('name', CARS)
@pytest.mark.parametrize('preset', ['small', 'paper', 'smoke'])
def test_configs_of_the_cars_differ_where_cars_do(name, preset):
    config, _ = load_config(f'{name}.py:{preset}')
    reference = flatten(load_config(f'pix3d.py:{preset}')[0])
    found = flatten(config)
    assert found.keys() == reference.keys()
    assert found['data.layout'] == name and found['loss.category_weight'] == 0 and found['data.categories'] == ()
    differing = {key for key in found if found[key] != reference[key]}
    assert differing <= {
        'data.layout',
        'data.gallery',
        'data.categories',
        'loss.category_weight',
        'batch_size',
        'checkpoint_every',
        'sample.shapes_per_category',
        'sample.photos_per_shape',
    }
    photo_to_shape.PhotoToShape.from_config(config)


@pytest.mark.parametrize('name', CARS)
def test_a_run_on_the_sample_keeps_its_split(config_of, tmp_path, capsys, name):
    config = config_of(name)
    folder, synthetic = photo_data._folder(config)
    assert synthetic and folder.name == f'sample-{name}-2x6'
    assert 'SYNTHETIC' in capsys.readouterr().out
    workdir = tmp_path / 'run'
    (workdir / 'checkpoints' / '1').mkdir(parents=True)
    (workdir / 'checkpoints').rename(tmp_path / 'later')
    layout, split = photo_data.read_photos(config, folder, workdir, train=True)
    assert (
        PhotoSplit.read(workdir) == split and len(layout.photos) == 12 and list(split.split.values()).count('val') > 0
    )
    assert json.loads((workdir / 'split.json').read_text())['gallery'] == [shape.model for shape in layout.shapes]
    (tmp_path / 'later').rename(workdir / 'checkpoints')
    config.seed = 7  # of other held-out photos
    again, same = photo_data.read_photos(config, folder, workdir, train=False)
    assert again.split_table() == layout.split_table() and same == split
    expected = {'stanford_cars': 'train 6 (8144), test 6 (8041)', 'comp_cars': 'train 8 (3798), test 4 (1898)'}[name]
    assert expected in photo_data._count_note(name, layout)
    config.data_dir = str(folder)
    assert photo_data._folder(config) == (folder, False)


def test_what_uses_the_answer_is_said(config_of, tmp_path):
    config = config_of('comp_cars', **{'data.masks': 'pose'})
    folder, _ = photo_data._folder(config)
    workdir = tmp_path / 'run'
    workdir.mkdir()

    def said(**overrides):
        evaluated = config_of('comp_cars', **{key.replace('__', '.'): value for key, value in overrides.items()})
        dataset, _ = photo_data.read_photos(evaluated, folder, tmp_path / 'none', train=True)
        return photo_data.uses_answer(evaluated, dataset, workdir)

    (tmp_path / 'none').mkdir()
    store_config(config, workdir)
    of_train = 'masks of the training photos are silhouettes of the true shapes in their annotated poses'
    of_test = of_train.replace('training', 'test')
    assert said() == [of_train]  # evaluated with files, but trained with silhouettes
    assert said(data__masks='pose_test') == [of_train, of_test]
    store_config(config_of('comp_cars'), workdir)
    assert said() == said(data__masks='frame') == []
    assert said(select='test_top1') == ['the checkpoint is chosen on the test photos']


def test_what_cars_refuse(config_of, tmp_path):
    config = config_of('comp_cars', **{'data.crop': 'bbox'})
    with pytest.raises(ConfigError, match='crop'):
        photo_data.read_photos(config, tmp_path, tmp_path, train=True)
    for key, value in (('data.layout', 'aircraft'), ('data.masks', 'guess')):
        with pytest.raises(ConfigError, match=key):
            photo_to_shape.PhotoToShape.from_config(config_of('comp_cars', **{key: value}))
