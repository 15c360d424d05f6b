"""What the benchmarks refuse before they measure anything, and how they say so."""

import importlib
import sys

import pytest

WITH_MEASURING = (
    'accelerator',
    'encoders',
    'first_step',
    'geometry',
    'growth',
    'input_pipeline',
    'losses',
    'opening',
    'search',
    'train_step',
)
SIZES = [
    *((name, '--repeats') for name in WITH_MEASURING),
    ('accelerator', '--batch'),
    ('accelerator', '--shapes'),
    ('damage', '--files'),
    ('encoders', '--batch'),
    ('encoders', '--image_size'),
    ('geometry', '--faces'),
    ('geometry', '--items'),
    ('geometry', '--points'),
    ('geometry', '--resolution'),
    ('growth', '--sizes'),
    ('input_pipeline', '--steps'),
    ('losses', '--batches'),
    ('opening', '--shapes'),
    ('search', '--shapes'),
    ('search', '--views'),
    ('search', '--queries'),
    ('train_step', '--batches'),
    ('serving', '--clients'),
    ('serving', '--rounds'),
]
WITH_CONFIG = {'first_step': '--configs', 'input_pipeline': '--config', 'search': '--config', 'train_step': '--configs'}


@pytest.fixture
def script(monkeypatch):
    """Imports a benchmark, whose own main then reads the arguments of the process."""

    def run(name, *arguments):
        monkeypatch.setattr(sys, 'argv', [f'{name}.py', *arguments])
        return importlib.import_module(name).main()

    return run


@pytest.fixture
def refused(script, capsys):
    """Runs a benchmark that must end with status 2; returns its message."""

    def run(name, *arguments):
        with pytest.raises(SystemExit) as ended:
            script(name, *arguments)
        out, err = capsys.readouterr()
        assert ended.value.code == 2 and not out
        return err.splitlines()[-1]

    return run


@pytest.fixture
def error(script, capsys):
    """Runs a benchmark that must end with status 1 and one line; returns it."""

    def run(name, *arguments):
        assert script(name, *arguments) == 1
        out, err = capsys.readouterr()
        assert not out and err.startswith('error: ') and err.count('\n') == 1
        return err

    return run


@pytest.mark.parametrize(('name', 'option'), SIZES)
def test_sizes_below_one(refused, name, option):
    for value, message in (
        ('0', '0: must be at least 1'),
        ('-3', '-3: must be at least 1'),
        ('x', "invalid int value: 'x'"),
    ):
        assert refused(name, f'{option}={value}') == f'{name}.py: error: argument {option}: {message}'


@pytest.mark.parametrize(('name', 'option'), [
    ('damage', '--seed'), ('input_pipeline', '--skip'), ('search', '--hnsw-most'), ('search', '--seed'),
    ('train_step', '--chunk'),
])  # fmt: skip
def test_numbers_below_zero(refused, name, option):
    assert refused(name, f'{option}=-1').endswith(f'argument {option}: -1: must be at least 0')


@pytest.mark.parametrize(
    ('name', 'option'),
    [('train_step', '--limit_gib'), ('losses', '--limit_gib'), ('growth', '--limit_s'), ('search', '--decay')],
)
def test_numbers_that_are_none_or_below_zero(refused, name, option):
    for value in ('nan', '-1'):
        assert refused(name, f'{option}={value}').endswith(f'argument {option}: {value}: must be at least 0')


@pytest.mark.parametrize('name', WITH_MEASURING)
def test_a_file_that_cannot_be_written(refused, tmp_path, name):
    for path in (tmp_path / 'nothing' / 'out.json', tmp_path):
        assert refused(name, f'--json={path}').endswith(f'{path}: must be a file in a folder that exists')
    path = tmp_path / ('x' * 300)
    assert refused(name, f'--json={path}').endswith(f'{path}: cannot be written (File name too long)')


def test_a_file_is_only_tried_before_it_is_written(tmp_path):
    output_file = importlib.import_module('measuring').output_file
    assert output_file(str(tmp_path / 'new.json')) == tmp_path / 'new.json' and list(tmp_path.iterdir()) == []
    (tmp_path / 'old.json').write_text('{}')
    output_file(str(tmp_path / 'old.json'))
    assert (tmp_path / 'old.json').read_text() == '{}'


def test_a_file_where_a_folder_should_be(refused, tmp_path):
    (tmp_path / 'file').touch()
    for path, message in ((tmp_path / 'file', 'File exists'), (tmp_path / 'file' / 'out', 'Not a directory')):
        assert refused('growth', f'--out={path}').endswith(f'argument --out: {path}: {message}')
    (tmp_path / 'out' / 'growth.json').mkdir(parents=True)
    assert refused('growth', f'--out={tmp_path / "out"}').endswith(f'--out: {tmp_path / "out"}: Is a directory')


def test_sizes_of_growth(refused, tmp_path):
    out = tmp_path / 'out'
    for sizes in (('300', '100'), ('100', '100')):
        assert refused('growth', f'--out={out}', '--sizes', *sizes).endswith(
            f'argument --sizes: {" ".join(sizes)}: must be ascending'
        )
    assert refused('growth', f'--out={out}', '--axes', 'views', '--sizes', '3', '2000').endswith(
        'argument --sizes: views must lie in [1, 1000], not 2000'
    )
    assert not out.exists()


def test_pictures_that_cannot_be_rendered(refused):
    assert refused('geometry', '--image_size=5000', '--work', 'sampling', 'rendering').endswith(
        'argument --image_size: must lie in [1, 4096], not 5000'
    )


@pytest.mark.parametrize('name', WITH_MEASURING)
def test_too_many_threads(refused, name):
    assert 'this process may use' in refused(name, '--threads=4096')


def test_unknown_losses(refused):
    assert "invalid choice: 'bogus'" in refused('losses', '--cases', 'info_nce', 'bogus')
    assert 'unrecognized arguments: --config.seed=1' in refused('losses', '--config.seed=1')


@pytest.mark.parametrize('name', WITH_CONFIG)
def test_bad_configs(error, tmp_path, name):
    option = WITH_CONFIG[name]
    unknown = error(name, '--nope=1')
    assert unknown.startswith('error: --nope=1: unknown argument; use --config.KEY=VALUE, ')
    assert f'{option}, ' in unknown and '--workdir' not in unknown
    assert 'nope.py: no such config' in error(name, f'{option}=nope.py')
    assert 'config.sede: unknown key. Did you mean seed' in error(name, '--config.sede=1')
    for key in ('batch_size', 'data.image_size', 'render.views'):
        assert f'config.{key}: 0 must be above 0' in error(name, f'--config.{key}=0')
    assert 'config.data.views_per_step: -1 must be 0 or above' in error(name, '--config.data.views_per_step=-1')
    assert "config.optimizer.name: 'lion' is not one of" in error(name, '--config.optimizer.name=lion')
    own = tmp_path / 'own.py'
    own.write_text(
        'from ml_collections import ConfigDict\nPRESETS = ("only",)\n\n\n'
        'def get_config(preset):\n    return ConfigDict({"experiment": "other", "batch_size": 1})\n'
    )
    assert "config.experiment: 'other' is not one of cross_modal, " in error(name, f'{option}={own}')


@pytest.mark.parametrize('name', ['first_step', 'train_step'])
def test_the_last_config_is_looked_at_before_the_first_is_measured(error, monkeypatch, tmp_path, name):
    monkeypatch.setattr(importlib.import_module(name), 'measure', None)
    own = tmp_path / 'own.py'
    own.write_text(
        'from overrides import load_config\n\nPRESETS = ("only",)\n\n\ndef get_config(preset):\n'
        '    config, _ = load_config("pix3d.py:smoke")\n    config.model.query_encoder = "bogus"\n'
        '    return config\n'
    )
    assert "config.model.query_encoder: 'bogus'" in error(name, '--configs', 'pix3d.py:smoke', str(own))


@pytest.mark.parametrize(
    ('name', 'arguments'),
    [
        ('train_step', ('--configs', 'pix3d.py:smoke', '--batches', '4', '6', '--chunk=4')),
        ('accelerator', ('--config=pix3d.py:smoke', '--parts', 'step', 'chunked', '--large_batch=6', '--chunk=4')),
    ],
)
def test_chunks_are_looked_at_before_anything_is_measured(error, monkeypatch, name, arguments):
    monkeypatch.setattr(importlib.import_module('random_steps').RandomStep, '__init__', None)
    assert 'config.model.chunk: 4 does not divide config.batch_size, 6' in error(name, *arguments)


def test_bad_values_of_the_accelerator_are_found_before_its_search(error, monkeypatch):
    monkeypatch.setattr(importlib.import_module('accelerator'), 'measure_search', None)
    for argument, message in (('--dtype=bogus', "config.model.dtype: 'bogus'"), ('--config=nope', 'nope: no such')):
        assert message in error('accelerator', '--parts', 'search', 'step', argument)


def test_only_cmic_has_chunks(error):
    assert '--chunk=4: scan_to_cad has no gradient caching' in error(
        'train_step', '--configs', 'scan_cad.py:smoke', '--chunk=4'
    )


def test_a_query_needs_attention(error):
    assert "config.model.pooling: 'mean'; this benchmark is for 'attention'" in error(
        'search', '--part=query', '--config=pix3d.py:smoke', '--config.model.pooling=mean'
    )


@pytest.mark.parametrize(
    ('name', 'arguments'), [('search', ('--part=query',)), ('accelerator', ('--parts', 'profile'))]
)
def test_configs_of_another_experiment(error, name, arguments):
    assert 'its experiment is cross_modal; this benchmark is for photo_to_shape' in error(
        name, '--config=modelnet40.py', *arguments
    )


def test_tables_show_brackets(capsys):
    importlib.import_module('measuring').show('[title]', (('form', ''),), [{'form': "pip install 'jaxret[bench]'"}])
    out = capsys.readouterr().out
    assert '[title]' in out and "'jaxret[bench]'" in out
