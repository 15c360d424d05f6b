"""Devices that the environment asks for and this machine lacks: one line, before anything is read."""

import os
import subprocess
import sys

import jax
import pytest
import run

from jaxret.cli import main as cli
from jaxret.errors import ConfigError
from jaxret.platforms import check_platforms


def test_what_jax_raises_is_one_clear_error(monkeypatch):
    def missing(error):
        monkeypatch.setattr(jax, 'devices', lambda: (_ for _ in ()).throw(error))

    monkeypatch.delenv('JAX_PLATFORM_NAME', raising=False)
    monkeypatch.setenv('JAX_PLATFORMS', 'cuda')
    missing(AssertionError())
    with pytest.raises(ConfigError) as caught:
        check_platforms()
    assert str(caught.value) == 'JAX_PLATFORMS=cuda: no such device here; unset it or install jaxret[cuda12]'
    missing(RuntimeError('No visible GPU devices.\nmore'))
    with pytest.raises(ConfigError, match=r'^JAX_PLATFORMS=cuda: no such device here \(No visible GPU devices\.\); u'):
        check_platforms()
    monkeypatch.delenv('JAX_PLATFORMS')
    check_platforms()
    monkeypatch.setenv('JAX_PLATFORM_NAME', 'gpu')
    with pytest.raises(ConfigError, match='^JAX_PLATFORM_NAME=gpu: no such device here'):
        check_platforms()


def test_a_device_that_is_there(monkeypatch):
    monkeypatch.setenv('JAX_PLATFORMS', jax.default_backend())
    check_platforms()


@pytest.mark.parametrize(
    'command',
    [
        ['index', '--models=.', '--out=index'],
        ['serve', '--index=gone'],
        ['export', '--checkpoint=gone', '--out=file'],
        ['--config=pix3d.py:smoke', '--config.data_dir=.', '--workdir=run'],
    ],
    ids=['index', 'serve', 'export', 'run'],
)
def test_commands_say_so_before_they_read_anything(tmp_path, monkeypatch, capsys, command):
    def missing():
        raise RuntimeError('No visible devices.')

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv('JAX_PLATFORMS', 'nonsense')
    monkeypatch.setattr(jax, 'devices', missing)
    main = run.main if command[0].startswith('--') else cli.main
    assert main(command) == 1
    out, err = capsys.readouterr()
    assert out == ''
    assert err == (
        'error: JAX_PLATFORMS=nonsense: no such device here (No visible devices.); unset it or install jaxret[cuda12]\n'
    )


def test_jax_itself_finds_no_such_device(tmp_path):
    env = os.environ | {'JAX_PLATFORMS': 'nonsense', 'XDG_CACHE_HOME': str(tmp_path / 'cache')}
    command = [sys.executable, '-m', 'jaxret.cli.main', 'index', '--models=.', '--out=index']
    done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, timeout=120)
    assert done.returncode == 1 and done.stdout == ''
    assert done.stderr.startswith('error: JAX_PLATFORMS=nonsense: no such device here (')
    assert done.stderr.endswith('; unset it or install jaxret[cuda12]\n') and done.stderr.count('\n') == 1
