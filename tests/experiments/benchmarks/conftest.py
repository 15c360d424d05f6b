"""Benchmarks run in this process: they import each other as scripts of one folder do."""

import gc
import importlib
import json
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[3] / 'experiments' / 'benchmarks'
PROMISED = {'title', 'hardware', 'versions', 'commit', 'dirty', 'backend', 'load', 'settings', 'rows'}


@pytest.fixture(autouse=True)
def scripts(monkeypatch):
    """They can be imported."""
    monkeypatch.syspath_prepend(str(FOLDER))


@pytest.fixture
def written(tmp_path):
    """Runs a script's main and returns what it wrote."""

    def run(name, *arguments):
        gc.freeze()  # they collect garbage between the parts that they measure, and a session holds much that is none
        path = tmp_path / f'{name}.json'
        assert not importlib.import_module(name).main([*arguments, f'--json={path}'])
        found = json.loads(path.read_text())
        assert found.keys() >= PROMISED
        return found

    return run
