"""Work directories and an index that an earlier version wrote: read, evaluated, resumed, searched.

`fixtures/old_version` holds a finished run of a tiny scan_cad.py, the same run stopped at step 3 of 7, an index of
three boxes and its answers. @ROOT@ stands for the folder where they lie. `keys.json` holds the config keys that runs of
that version stored, by experiment.
"""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import run
from overrides import check_keys, config_names, load_config
from run_command import NUMBERS, evaluation_of, metrics_of

import jaxret
from jaxret.cli.main import main
from jaxret.runs.config import flatten, read_run_config
from jaxret.runs.workdir import stored_config
from jaxret.systems.by_task import system_classes
from jaxret.systems.cmic import CMIC

STORED = Path(__file__).parents[1] / 'fixtures' / 'old_version'
UNEQUAL = {'examples_per_second', 'data_dir'}


@pytest.fixture(scope='module')
def root(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp('old') / 'root'
    shutil.copytree(STORED, root)
    for path in root.rglob('*.json'):
        path.write_text(path.read_text().replace('@ROOT@', str(root)))
    return root


def assert_close(found: dict, stored: dict) -> None:
    assert found.keys() >= stored.keys()
    for key in stored.keys() - UNEQUAL:
        if isinstance(stored[key], float):
            np.testing.assert_allclose(found[key], stored[key], rtol=1e-4, atol=1e-6, err_msg=key)
        elif not isinstance(stored[key], dict):
            assert found[key] == stored[key], key


def test_an_old_index_answers_as_it_did(root, capsys, monkeypatch):
    monkeypatch.chdir(root)
    wanted = json.loads((root / 'answers.json').read_text())
    assert main(['search', '--index', 'index', '--json', 'models/cube.obj', 'models/rod.obj', '--no-align']) == 0
    for found, before in zip(json.loads(capsys.readouterr().out), wanted, strict=True):
        assert [hit['id'] for hit in found['hits']] == [hit['id'] for hit in before['hits']]
        now, then = ([hit['score'] for hit in part['hits']] for part in (found, before))
        assert now[0] == pytest.approx(then[0], abs=1e-5)  # itself
        assert (np.array(now) > np.array(then) - 1e-5).all()  # in the heading that fits best
    assert main(['index', '--checkpoint', 'finished', '--models', 'models', '--out', 'index', '--processes', '1']) == 0
    assert '0 embedded, 3 as before' in capsys.readouterr().out
    model = jaxret.load(root / 'finished')
    assert len(jaxret.Index.open(root / 'index').search(model.embed_meshes([root / 'models' / 'rod.obj']))[0]) == 3


def test_old_runs_are_evaluated_and_resumed(root):
    cache = f'--config.cache_dir={root / "cache"}'
    stored = json.loads((root / 'finished' / 'metrics.json').read_text())
    assert run.main(['--mode=eval', f'--workdir={root / "finished"}', cache, NUMBERS]) == 0
    assert_close(metrics_of(evaluation_of(root / 'finished')), stored)
    config = json.loads((root / 'stopped' / 'config.json').read_text())
    overrides = [
        f'--config.{key}={value}'
        for key, value in config.items()
        if key
        in ('model.variant', 'model.width', 'model.embedding_dim', 'model.points', 'parallel.devices', 'processes')
    ]
    overrides.append('--config.data.placement=centered')  # another default now
    assert run.main(['--config=scan_cad.py:smoke', f'--workdir={root / "stopped"}', cache, *overrides, NUMBERS]) == 0
    found, before = (
        [json.loads(line) for line in (root / name / 'metrics.jsonl').read_text().splitlines()]
        for name in ('stopped', 'finished')
    )
    for line, wanted in zip(found, before, strict=True):
        assert_close(line, wanted)


@pytest.mark.parametrize('name', config_names())
def test_every_key_that_was_added_later_has_the_value_of_the_time_before(name, tmp_path):
    config = flatten(load_config(name)[0])
    kind = config['experiment']
    later = system_classes()[kind].LATER
    keys = set(json.loads((STORED / 'keys.json').read_text())[kind])
    assert config.keys() - keys == later.keys(), f'add the new keys of {name} to LATER of its system'
    assert keys <= config.keys()
    assert all(type(config[key]) is type(value) for key, value in later.items())
    path = tmp_path / 'config.json'
    path.write_text(json.dumps({key: value for key, value in config.items() if key in keys}))
    check_keys(stored_config(path), str(path))
    for key, value in flatten(read_run_config(path)).items():
        assert value == (later[key] if key in later else config[key]), key


def test_a_key_that_was_added_later_is_read_and_resumed_with_its_old_value(tmp_path, monkeypatch, capsys):
    later = {'loss.kind': 'triplet', 'loss.margin': 0.2}
    monkeypatch.setattr(CMIC, 'LATER', later)
    config = flatten(load_config('pix3d.py:smoke')[0])
    (tmp_path / 'checkpoints' / '4').mkdir(parents=True)
    path = tmp_path / 'config.json'
    path.write_text(json.dumps({key: value for key, value in config.items() if key not in later}))
    assert read_run_config(path).loss.kind == 'triplet'
    assert run.main(['--config=pix3d.py:smoke', f'--workdir={tmp_path}']) == 1
    message = capsys.readouterr().err
    assert "config.loss.kind: 'triplet' there, 'contrastive' now" in message
    assert 'loss.margin' not in message
