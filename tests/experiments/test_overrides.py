"""From the command line to a config: names, presets, overrides, and a clear error for every mistake."""

import re
import tokenize
from pathlib import Path

import pytest
from overrides import FOLDER, apply_overrides, check_keys, config_names, load_config, split_overrides

from jaxret.errors import ConfigError
from jaxret.runs.config import changed_keys, flatten, unflatten

ROOT = Path(__file__).parents[2]
PRESETS = ('small', 'paper', 'smoke')
OWN_CONFIG = """
from ml_collections import ConfigDict

PRESETS = ('only',)


def get_config(preset):
    return ConfigDict({'experiment': 'photo_to_shape', 'group': {'sizes': (1, 2), 'names': ('a', 'b')}})
"""


def overridden(**overrides):
    config, _ = load_config('pix3d')
    apply_overrides(config, {key.replace('__', '.'): value for key, value in overrides.items()})
    return config


def test_a_bare_name_means_a_config_of_this_repository(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'pix3d.py').write_text(
        'raise SystemExit'
    )  # such as data_pipelines/photo_to_shape/pix3d.py, seen from that folder
    (tmp_path / 'mine.py').write_text(OWN_CONFIG)
    assert load_config('mine.py')[1] == 'mine-only'
    assert 'pix3d.py' in config_names()
    assert load_config('pix3d.py')[1] == load_config('pix3d')[1] == 'pix3d-small'
    assert load_config('pix3d.py:smoke')[1] == load_config('pix3d:smoke')[1] == 'pix3d-smoke'


@pytest.mark.parametrize('preset', PRESETS)
def test_presets_have_the_same_keys_and_types(preset):
    config, default = (flatten(load_config(f'pix3d:{name}')[0]) for name in (preset, 'small'))
    assert config.keys() == default.keys()
    assert [type(value) for value in config.values()] == [type(value) for value in default.values()]


def test_a_path_means_an_own_config_file(tmp_path):
    path = tmp_path / 'mine.py'
    path.write_text(OWN_CONFIG)
    config, name = load_config(str(path))
    assert name == 'mine-only'
    apply_overrides(config, {'group.sizes': '3,4', 'group.names': 'c,d'})
    assert flatten(config) == {'experiment': 'photo_to_shape', 'group.sizes': (3, 4), 'group.names': ('c', 'd')}
    with pytest.raises(ConfigError, match=r"no preset 'other'. mine.py has only"):
        load_config(f'{path}:other')


def test_an_own_config_starts_from_one_of_these(tmp_path):
    path = tmp_path / 'mine.py'
    text = "from configs import modelnet40\ndef get_config():\n    config = modelnet40.get_config('smoke')\n"
    path.write_text(f'{text}    config.seed = 3\n    return config\n')
    config, name = load_config(str(path))
    assert (config.seed, name) == (3, 'mine')
    check_keys(flatten(config), 'here')
    path.write_text(f'{text}    config.seeed = 3\n    return config\n')
    with pytest.raises(ConfigError, match='^here: unknown keys seeed; modelnet40.py has every key.*Did you mean seed'):
        check_keys(flatten(load_config(str(path))[0]), 'here')
    with pytest.raises(ConfigError, match="no preset 'smoke'. mine.py has none"):
        load_config(f'{path}:smoke')


@pytest.mark.parametrize(
    'text',
    [
        'PRESETS = (',
        'PRESETS = ()',
        'x = 1',
        'import nothing_of_this_name',
        "PRESETS, get_config = ('a',), lambda preset: {}",
    ],
)
def test_a_file_that_is_no_config(tmp_path, text):
    path = tmp_path / 'mine.py'
    path.write_text(text)
    with pytest.raises(ConfigError, match='mine.py is not a config file'):
        load_config(str(path))


def test_unknown_names_list_the_valid_ones(tmp_path):
    (tmp_path / 'folder.py').mkdir()
    for name in ('pix4d', 'pix4d.py:small', str(tmp_path / 'folder.py')):
        with pytest.raises(ConfigError, match=r'no such config\..* Use one of .*pix3d.py'):
            load_config(name)
    with pytest.raises(ConfigError, match="no preset 'large'. pix3d.py has small, .*, triplet, .*paper, .*smoke"):
        load_config('pix3d:large')


def test_keys_that_another_config_of_the_experiment_does_not_have():
    config = flatten(load_config('pix3d')[0])
    check_keys(config, 'here')
    with pytest.raises(ConfigError, match="here: config.experiment: 'antigravity' is not one of cross_modal"):
        check_keys({'experiment': 'antigravity'}, 'here')
    without = {key: value for key, value in config.items() if key not in ('seed', 'loss.kind')}
    with pytest.raises(ConfigError, match='^here: missing keys loss.kind, seed; pix3d.py has every key'):
        check_keys(without, 'here')
    with pytest.raises(ConfigError, match='^here: unknown keys render.shadows; '):
        check_keys({**config, 'render.shadows': True}, 'here')
    with pytest.raises(ConfigError, match='^here: missing key experiment'):
        check_keys({}, 'here')


def test_an_unknown_key_lists_near_and_all_keys():
    for key in ('loss__temprature', 'temperature', 'loss', 'loss__temperature__x', ''):
        with pytest.raises(ConfigError, match='unknown key') as caught:
            overridden(**{key: '1'})
        assert set(flatten(load_config('pix3d')[0])) <= set(re.split(r'[ ,]+', str(caught.value)))
    with pytest.raises(ConfigError, match='Did you mean loss.temperature'):
        overridden(loss__temprature='1')


@pytest.mark.parametrize(('key', 'text', 'value'), [
    ('loss.temperature', '1', 1.0),
    ('optimizer.learning_rate', '3e-4', 3e-4),
    ('epochs', '7', 7),
    ('epochs', '1_000', 1000),
    ('seed', '-1', -1),
    ('data.exclude_occluded', 'false', False),
    ('data.exclude_occluded', 'True', True),
    ('data.exclude_occluded', '0', False),
    ('data.categories', 'bed,sofa', ('bed', 'sofa')),
    ('data.categories', "('bed', 'sofa')", ('bed', 'sofa')),
    ('data.categories', '["bed"]', ('bed',)),
    ('data.categories', 'bed', ('bed',)),
    ('data.categories', '', ()),
    ('data.categories', '()', ()),
    ('photo_augmentation.area', '0.5,1', (0.5, 1.0)),
    ('photo_augmentation.area', '(1, 1)', (1.0, 1.0)),
    ('data_dir', 'a=b c', 'a=b c'),
    ('data_dir', '', ''),
])  # fmt: skip
def test_values_take_the_type_of_the_default(key, text, value):
    config, _ = load_config('pix3d')
    apply_overrides(config, {key: text})
    found = flatten(config)[key]
    assert found == value
    assert type(found) is type(value)
    if isinstance(value, tuple):
        assert [type(part) for part in found] == [type(part) for part in value]


@pytest.mark.parametrize(('key', 'text'), [
    ('epochs', '1.5'), ('epochs', ''), ('epochs', 'many'), ('loss.temperature', 'warm'), ('loss.temperature', 'nan'),
    ('loss.temperature', 'inf'), ('data.exclude_occluded', '2'), ('data.exclude_occluded', 'maybe'),
    ('photo_augmentation.area', '0.5'), ('photo_augmentation.area', '(0.5)'), ('photo_augmentation.area', '1,2,3'),
    ('photo_augmentation.area', '(a, b)'), ('photo_augmentation.area', '0.5,nan'), ('photo_augmentation.area', '(1,'),
    ('data.categories', "('bed')"), ('data.categories', '[1, 2]'), ('data.categories', '[bed]'),
])  # fmt: skip
def test_values_of_another_type_are_refused(key, text):
    config, _ = load_config('pix3d')
    before = flatten(config)
    with pytest.raises(ConfigError, match=rf'--config\.{re.escape(key)}={re.escape(text)}: not .*; the default is '):
        apply_overrides(config, {key: text})
    assert flatten(config) == before


def test_arguments_become_overrides():
    arguments = ['--config.seed=3', '--config.data_dir', 'some where', '--config.loss.kind=a=b', '--config.seed=4']
    assert split_overrides(arguments) == {'seed': '4', 'data_dir': 'some where', 'loss.kind': 'a=b'}
    for wrong in (['--confg.seed=3'], ['-v'], ['word'], ['--config.seed=3', 'word']):
        with pytest.raises(ConfigError, match=r'unknown argument; use --config, .*--help'):
            split_overrides(wrong)
    for wrong in (['--config.seed'], ['--config.seed', '--config.epochs=3']):
        with pytest.raises(ConfigError, match='--config.seed: no value'):
            split_overrides(wrong)


@pytest.mark.parametrize('preset', PRESETS)
def test_flatten_and_unflatten_are_inverse(preset):
    config, _ = load_config(f'pix3d:{preset}')
    flat = flatten(config)
    assert 'model.pooling' in flat
    again = unflatten({key: list(value) if isinstance(value, tuple) else value for key, value in flat.items()})
    assert flatten(again) == flat
    assert again.to_dict() == config.to_dict()


def test_changed_keys_names_what_differs():
    config = flatten(load_config('pix3d')[0])
    other = {**config, 'loss.kind': 'triplet', 'data.categories': ['bed'], 'cache_dir': 'elsewhere'}
    assert changed_keys(config, {**config, 'data.categories': []}, free=()) == []  # JSON has no tuples
    assert changed_keys(config, {**config, 'parallel.mode': 'pmap'}, free=('parallel',)) == []
    assert changed_keys(config, other, free=('cache_dir',)) == [
        "config.data.categories: [] there, ['bed'] now",
        "config.loss.kind: 'contrastive' there, 'triplet' now",
    ]
    without = {key: value for key, value in config.items() if key != 'seed'}
    assert changed_keys(config, without, free=()) == ["config.seed: 0 there, '(absent)' now"]
    assert changed_keys(without, config, free=()) == ["config.seed: '(absent)' there, 0 now"]


def test_no_default_hides_outside_the_config_files():
    sources = [path for folder in ('jaxret', 'data_pipelines', 'experiments') for path in (ROOT / folder).rglob('*.py')]
    assert len(sources) > 20
    assert [path for path in sources if re.search(r'config(\.\w+)*\.get\(', path.read_text())] == []


def _described_keys(path: Path, functions: dict[str, set[str]]) -> tuple[dict[str, set[str]], list[str]]:
    """Keys that a file sets on a line of their own, by function and with their group, and lines without a comment."""
    with path.open('rb') as file:
        comments = {token.start[0] for token in tokenize.tokenize(file.readline) if token.type == tokenize.COMMENT}
    keys, group_of, silent = {}, {}, []
    for number, line in enumerate(path.read_text().splitlines(), start=1):
        if match := re.match(r'def (\w+)\(', line):
            here, group_of = keys.setdefault(match[1], set()), {}
        elif match := re.match(r'    (?:config\.(\w+) = )?(?:(\w+) = )?ConfigDict\(\)', line):
            group_of[match[2]] = f'{match[1]}.' if match[1] else ''
        elif match := re.match(r'    (?:config\.(\w+) = )?(?:(\w+) = )?groups\.(\w+)\(', line):
            group = f'{match[1]}.' if match[1] else ''
            group_of[match[2]] = group
            here |= {group + key for key in functions[match[3]]}
        elif match := re.match(r'    config\.(\w+) = (\w+) = ConfigDict\((\w+)\.to_dict\(\)\)', line):  # a group copied
            copied, group_of[match[2]] = group_of[match[3]], f'{match[1]}.'
            here |= {f'{match[1]}.{key.removeprefix(copied)}' for key in here if key.startswith(copied)}
        elif (match := re.match(r'    (\w+)\.(\w+) = ', line)) and match[1] in group_of:
            here.add(group_of[match[1]] + match[2])
            silent += [] if number in comments else [line.strip()]
    return keys, silent


# These take their keys from modelnet40.py, mi3dor.py and pix3d.py.
DERIVED = ('modelnet10.py', 'mi3dor2.py', 'stanford_cars.py', 'comp_cars.py')


@pytest.mark.parametrize('name', [name for name in config_names() if name not in DERIVED])
def test_every_key_has_its_default_on_a_line_with_a_comment(name):
    functions, silent_groups = _described_keys(FOLDER / '_groups.py', {})
    keys, silent = _described_keys(FOLDER / name, functions)
    assert keys['get_config'] == set(flatten(load_config(name)[0]))
    assert silent_groups + silent == []
