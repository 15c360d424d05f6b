"""What the benchmarks refuse before they measure anything, and how they say so."""

import importlib
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[2] / 'experiments' / 'benchmarks'
WITH_MEASURING = ('accelerator', 'blocked_losses', 'encoders', 'first_step', 'geometry', 'gradient_caching', 'growth',
                  'input_pipeline', 'losses', 'query', 'train_step')
SIZES = [
    *((name, '--repeats') for name in WITH_MEASURING if name != 'blocked_losses'),
    ('accelerator', '--batch'), ('accelerator', '--shapes'), ('blocked_losses', '--batches'), ('damage', '--files'),
    ('encoders', '--batch'), ('encoders', '--image_size'), ('geometry', '--faces'), ('geometry', '--points'),
    ('geometry', '--resolution'), ('gradient_caching', '--batches'), ('gradient_caching', '--chunk'),
    ('growth', '--sizes'), ('input_pipeline', '--steps'), ('losses', '--batches'), ('metrics', '--items'),
    ('metrics', '--classes'), ('query', '--shapes'), ('rendering', '--count'), ('rendering', '--repeats'),
    ('search', '--shapes'), ('search', '--views'), ('search', '--queries'), ('serving', '--clients'),
    ('serving', '--rounds')]
WITH_CONFIG = {'first_step': '--configs', 'gradient_caching': '--config', 'input_pipeline': '--config',
               'query': '--config', 'train_step': '--configs'}


@pytest.fixture
def script(monkeypatch):
    """Imports a benchmark, whose own main then reads the arguments of the process."""
    monkeypatch.syspath_prepend(str(FOLDER))

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
    for value, message in (('0', '0: must be at least 1'), ('-3', '-3: must be at least 1'),
                           ('x', "invalid int value: 'x'")):
        assert refused(name, f'{option}={value}') == f'{name}.py: error: argument {option}: {message}'


@pytest.mark.parametrize(('name', 'option'), [
    ('blocked_losses', '--repeats'), ('damage', '--seed'), ('input_pipeline', '--skip'), ('metrics', '--peer_queries'),
    ('search', '--hnsw-most'), ('search', '--seed'),
])  # fmt: skip
def test_numbers_below_zero(refused, name, option):
    assert refused(name, f'{option}=-1').endswith(f'argument {option}: -1: must be at least 0')


@pytest.mark.parametrize('name', [*WITH_MEASURING, 'metrics', 'rendering', 'search'])
def test_a_file_that_cannot_be_written(refused, tmp_path, name):
    for path in (tmp_path / 'nothing' / 'out.json', tmp_path):
        assert refused(name, f'--json={path}').endswith(f'{path}: must be a file in a folder that exists')


def test_a_file_where_a_folder_should_be(refused, tmp_path):
    (tmp_path / 'file').touch()
    for path, message in ((tmp_path / 'file', 'File exists'), (tmp_path / 'file' / 'out', 'Not a directory')):
        assert refused('growth', f'--out={path}').endswith(f'argument --out: {path}: {message}')


@pytest.mark.parametrize('name', WITH_MEASURING)
def test_too_many_threads(refused, name):
    assert 'this process may use' in refused(name, '--threads=4096')


def test_too_few_items_for_their_classes(refused):
    assert refused('metrics', '--items=39', '--classes=4').endswith('39: must be at least 10 a class, of 4')


def test_unknown_losses(refused):
    assert "invalid choice: 'bogus'" in refused('blocked_losses', '--losses', 'info_nce', 'bogus')
    assert 'unrecognized arguments: --config.seed=1' in refused('blocked_losses', '--config.seed=1')


@pytest.mark.parametrize('name', WITH_CONFIG)
def test_bad_configs(error, tmp_path, name):
    option = WITH_CONFIG[name]
    unknown = error(name, '--nope=1')
    assert unknown.startswith('error: --nope=1: unknown argument; use --config.KEY=VALUE, ')
    assert f'{option}, ' in unknown and '--workdir' not in unknown
    assert 'nope.py: no such config' in error(name, f'{option}=nope.py')
    assert 'config.sede: unknown key. Did you mean seed' in error(name, '--config.sede=1')
    assert 'config.batch_size: 0 must be above 0' in error(name, '--config.batch_size=0')
    own = tmp_path / 'own.py'
    own.write_text('from ml_collections import ConfigDict\nPRESETS = ("only",)\n\n\n'
                   'def get_config(preset):\n    return ConfigDict({"experiment": "other", "batch_size": 1})\n')
    assert 'its experiment is other; this benchmark is for ' in error(name, f'{option}={own}')


@pytest.mark.parametrize(('name', 'arguments'), [
    ('query', ()), ('gradient_caching', ()), ('accelerator', ('--parts', 'profile'))])
def test_configs_of_another_experiment(error, monkeypatch, name, arguments):
    assert 'its experiment is cross_modal; this benchmark is for photo_to_shape' in error(
        name, '--config=modelnet40.py', *arguments)


def test_tables_show_brackets(monkeypatch, capsys):
    monkeypatch.syspath_prepend(str(FOLDER))
    importlib.import_module('measuring').show('[title]', (('form', ''),), [{'form': "pip install 'jaxret[bench]'"}])
    out = capsys.readouterr().out
    assert '[title]' in out and "'jaxret[bench]'" in out
