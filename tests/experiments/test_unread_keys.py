"""Keys that a run would not read are refused where a command changes them, before the work directory exists."""

import json

import pytest
import run
from experiment import task_class
from overrides import apply_overrides, config_names, load_config

from jaxret.errors import ConfigError
from jaxret.runs.config import flatten, unflatten


def changed(name: str, **overrides: str) -> tuple[dict, dict]:
    """The flattened config before and after."""
    config, _ = load_config(name)
    before = flatten(config)
    apply_overrides(config, {key.replace('__', '.'): value for key, value in overrides.items()})
    return before, flatten(config)


def check_changes(before: dict, now: dict) -> None:
    """As a command does."""
    run._check_changes(before, unflatten(now))


@pytest.mark.parametrize('name', config_names())
def test_the_keys_are_keys_of_their_configs(name):
    flat = flatten(load_config(name)[0])
    task = task_class(flat['experiment'])
    assert {*task.OF_DATA_DIR} <= flat.keys()
    if 'data.layout' in flat:
        assert {*task.OF_LAYOUT[flat['data.layout']]} <= flat.keys()


@pytest.mark.parametrize(('name', 'argument'), [
    ('mi3dor.py', 'data.shapes_dir=models'), ('mi3dor2.py', 'data.photo_lists=a,b'),
    ('mi3dor.py', 'data.view_lists=a,b'), ('mi3dor.py', 'data.class_names=names.txt'),
    ('mi3dor.py', 'data.classes=chair'), ('mi3dor.py', 'data.up_axis=y'),
    ('modelnet40.py', 'data.classes=chair'), ('modelnet40.py', 'data.layout=published'),
    ('modelnet10.py', 'data.published_views=4'), ('modelnet10.py', 'data.up_axis=y'),
    ('scan_cad.py', 'simulate.scans_per_model=3'),
])  # fmt: skip
def test_keys_of_real_data_need_a_folder(tmp_path, monkeypatch, capsys, name, argument):
    monkeypatch.chdir(tmp_path)
    assert run.main([f'--config={name}:smoke', f'--config.{argument}']) == 1
    key, value = argument.split('=')
    before, now = changed(name, data_dir='somewhere', **{key: value})
    assert capsys.readouterr().err.startswith(f'error: config.{key}: {now[key]!r} needs --config.data_dir=DIR')
    assert list(tmp_path.iterdir()) == []
    if key not in task_class(now['experiment']).OF_LAYOUT.get(now.get('data.layout'), ()):
        check_changes(before, now)


def test_several_are_named_together():
    with pytest.raises(ConfigError, match=r'^config\.data\.classes: .*chair.*, config\.data\.shapes_dir: .*needs'):
        check_changes(*changed('mi3dor.py', data__shapes_dir='models', data__classes='chair'))


@pytest.mark.parametrize('name', config_names())
def test_what_the_preset_says_is_no_change(name):
    check_changes(*changed(name))
    before, _ = changed(name)
    check_changes(
        *changed(
            name,
            **{
                key: ','.join(value) if isinstance(value, tuple) else str(value)
                for key in task_class(before['experiment']).OF_DATA_DIR
                for value in (before[key],)
            },
        )
    )


@pytest.mark.parametrize(('name', 'argument'), [
    *((name, argument) for name in ('stanford_cars.py', 'comp_cars.py') for argument in (
        'data.categories=car', 'data.exclude_occluded=False', 'data.exclude_truncated=False', 'data.test_fraction=0.3',
        'data.up_axis=z')),
    ('pix3d.py', 'data.shapenet_dir=somewhere'), ('pix3d.py', 'data.masks=frame'),
])  # fmt: skip
def test_keys_of_another_layout_are_refused(tmp_path, monkeypatch, capsys, name, argument):
    monkeypatch.chdir(tmp_path)
    assert run.main([f'--config={name}:smoke', f'--config.{argument}']) == 1
    layout, (key, value) = name.removesuffix('.py'), argument.split('=')
    _, now = changed(name, **{key: value})
    assert capsys.readouterr().err.startswith(
        f'error: config.{key}: {now[key]!r} changes nothing where data.layout is {layout}'
    )
    other = 'pix3d.py' if layout != 'pix3d' else 'stanford_cars.py'
    check_changes(*changed(other, **{key: value}))


@pytest.mark.parametrize('name', ['modelnet40.py', 'modelnet10.py'])
@pytest.mark.parametrize(
    'argument',
    [
        'data.images_dir=views',
        'data.points_dir=points',
        'data.features_dir=features',
        'data.published_views=4',
        'data.points_up_axis=z',
    ],
)
def test_keys_of_published_files_are_refused_for_meshes(tmp_path, monkeypatch, capsys, name, argument):
    monkeypatch.chdir(tmp_path)
    assert run.main([f'--config={name}:smoke', '--config.data_dir=.', f'--config.{argument}']) == 1
    key, value = argument.split('=')
    _, now = changed(name, **{key: value})
    assert capsys.readouterr().err == (
        f'error: config.{key}: {now[key]!r} changes nothing where data.layout is meshes; leave it out, or give another '
        f'--config.data.layout\n'
    )
    assert list(tmp_path.iterdir()) == []
    check_changes(*changed(name, data_dir='somewhere', data__layout='published', **{key: value}))


def test_an_unknown_layout_is_left_to_the_experiment():
    check_changes(*changed('modelnet40.py', data_dir='somewhere', data__layout='zip', data__images_dir='views'))


def test_an_evaluation_is_asked_the_same(tmp_path, capsys):
    config = flatten(load_config('mi3dor.py:smoke')[0])
    (tmp_path / 'config.json').write_text(json.dumps(config | {'data_dir': str(tmp_path), 'data.shapes_dir': 'models'}))
    command = ['--mode=eval', f'--workdir={tmp_path}']
    assert run.main(command) == run.main([*command, '--config.data_dir=']) == 1
    assert capsys.readouterr().err.count('no checkpoints') == 2  # what it was trained with is no change
    assert run.main([*command, '--config.data_dir=', '--config.data.shapes_dir=others']) == 1
    assert "error: config.data.shapes_dir: 'others' needs --config.data_dir=DIR" in capsys.readouterr().err
