"""The benchmarks of geometry, queries, metrics and growth at tiny size: they run and write what they promise."""

import importlib
import json
import sys
import types
from pathlib import Path

import numpy as np
import pytest
from ml_collections import ConfigDict

FOLDER = Path(__file__).parents[3] / 'experiments' / 'benchmarks'
ENVIRONMENT = {'hardware', 'versions', 'commit', 'dirty', 'rows'}
PROMISED = ENVIRONMENT | {'title', 'backend', 'load', 'settings', 'cores'}


@pytest.fixture
def benchmark(monkeypatch, tmp_path, quick_compilation):
    """Runs a script's main and returns what it wrote."""
    monkeypatch.syspath_prepend(str(FOLDER))

    def run(name, *arguments, promised=PROMISED):
        path = tmp_path / f'{name}.json'
        assert not importlib.import_module(name).main([*arguments, f'--json={path}'])
        written = json.loads(path.read_text())
        assert written.keys() >= promised
        return written

    return run


def test_geometry(benchmark):
    rows = benchmark('geometry', '--faces', '200', '--repeats=1', '--image_size=12', '--resolution=8', '--points=60')[
        'rows'
    ]
    assert [row['work'] for row in rows] == [
        'rendering',
        'voxelisation',
        'simplification',
        'sampling',
        'hausdorff',
        'iou',
    ]
    for row in rows:
        assert row['peer'] in ('trimesh', 'scipy', 'scikit-learn') and row['ratio'] > 0
        assert row['per_core_second'] == pytest.approx(1e3 / row['cpu_ms'])
    assert 150 <= rows[0]['faces'] <= 250


def test_rendering(benchmark, monkeypatch):
    monkeypatch.syspath_prepend(str(FOLDER))
    module = importlib.import_module('rendering')
    monkeypatch.setattr(module, 'FACES', (200,))
    rows = benchmark('rendering', '--repeats=1', promised=ENVIRONMENT)['rows']
    assert [row['shape'] for row in rows] == ['ball', 'table']
    assert all(row['rendered_per_core_second'] > row['per_core_second'] > 0 for row in rows)


@pytest.mark.parametrize('missing', [True, False])
def test_query(benchmark, monkeypatch, missing):
    if missing:
        monkeypatch.setitem(sys.modules, 'torch', None)
    else:
        pytest.importorskip('torch')
    rows = benchmark('query', '--config=pix3d.py:smoke', '--shapes', '7', '30', '--repeats=1')['rows']
    assert [row['shapes'] for row in rows] == [7, 30]
    for row in rows:
        assert row.keys() >= {
            f'{part}{unit}'
            for part in ('read', 'encode', 'search', 'score', 'sort', 'total')
            for unit in ('_ms', '_cpu_ms')
        }
        assert ('torch: not installed' in row['note']) == missing == ('ratio' not in row)


def test_torch_encodes_and_scores_as_jaxret(monkeypatch):
    torch = pytest.importorskip('torch')
    monkeypatch.syspath_prepend(str(FOLDER))
    query = importlib.import_module('query')
    config, _ = query.load_config('pix3d.py:smoke')
    arrays = {'image': np.full((32, 32, 3), 200, np.uint8), 'mask': np.full((32, 32, 1), 255, np.uint8)}
    views = query.random_gallery(9, config)
    calls, note = query.peer_calls(config, arrays, views)
    assert not note and calls['peer_encode']().shape == (1, config.model.embedding_dim)
    scores = calls['peer_score']()
    assert scores.shape == (9,) and calls['peer_sort']()[0] == int(torch.argmax(scores))


def test_metrics(benchmark):
    rows = benchmark('metrics', '--items=60', '--classes=4', '--width=8', '--peer_queries=9', promised=ENVIRONMENT)[
        'rows'
    ]
    assert rows.keys() == {'one direction', 'without itself', 'one direction, scikit-learn'}
    assert rows['one direction, scikit-learn']['ratio'] > 0


def test_growth(benchmark, tmp_path):
    written = benchmark(
        'growth',
        '--axes',
        'gallery',
        'faces',
        '--sizes',
        '300',
        '600',
        '1200',
        '--repeats=1',
        f'--out={tmp_path / "pictures"}',
    )
    curves = ['search, brute force', 'search, pruned', 'rendering', 'loading']
    assert [fit['curve'] for fit in written['fits']] == curves
    assert [row['size'] for row in written['rows'] if row['curve'] == 'loading'] == [300, 600, 1200]
    assert all(row['memory_mib'] > 0 and row['cpu_ms'] > 0 for row in written['rows'])
    for fit in written['fits']:
        assert isinstance(fit['time_exponent'], float) and fit['verdict']
    assert sorted(path.name for path in (tmp_path / 'pictures').iterdir()) == [
        'growth.json',
        'growth_faces.png',
        'growth_gallery.png',
    ]


def test_exponents(monkeypatch):
    monkeypatch.syspath_prepend(str(FOLDER))
    growth = importlib.import_module('growth')
    sizes = [10, 20, 40, 80, 160, 320]
    assert growth.exponent(sizes, [7, 7, 7, *(0.5 * size**2 for size in sizes[3:])]) == pytest.approx(2)
    assert growth.exponent(sizes[:3], [1, 2, 4]) == pytest.approx(1)
    assert growth.exponent(sizes[:2], [1, 2]) is None and growth.exponent(sizes[:3], [0, 0, 0]) is None


@pytest.mark.parametrize(('reason', 'power', 'expected'), [
    ('', 1, 'at most linear'), ('', 2, 'time and memory worse than linear: unexplained'),
    ('all pairs', 2, 'time and memory worse than linear: all pairs'),
])  # fmt: skip
def test_what_is_worse_than_linear_is_named(monkeypatch, reason, power, expected):
    monkeypatch.syspath_prepend(str(FOLDER))
    growth = importlib.import_module('growth')
    curve = growth.Curve('losses', 'batch', (1, 2, 4), None, reason)
    rows = [{'size': size, 'cpu_ms': size**power, 'memory_mib': size**power} for size in curve.sizes]
    assert growth.summary(curve, rows)['verdict'] == expected


@pytest.mark.parametrize('blocked', [True, False])
def test_losses_that_grow_are_the_same(monkeypatch, quick_compilation, blocked):
    monkeypatch.syspath_prepend(str(FOLDER))
    call, memory = importlib.import_module('growth_curves').losing(6, blocked=blocked)
    value, gradients = call()
    assert memory > 0 and np.isfinite(value) and len(gradients) == 3


def test_an_experiment_runs_up_to_its_training(monkeypatch):
    monkeypatch.syspath_prepend(str(FOLDER))
    pipeline = importlib.import_module('input_pipeline')
    experiment = types.ModuleType('some_experiment')
    monkeypatch.setitem(sys.modules, 'some_experiment', experiment)

    def run(config, workdir, *, train):
        assert train and workdir.is_dir()
        assert experiment.trained_state(config, workdir, batches=range) is None

    experiment.run, experiment.trained_state = run, len
    parts = pipeline.training_parts(ConfigDict({'experiment': 'some_experiment'}))
    assert parts == {'batches': range} and experiment.trained_state is len
    batches = iter(parts['batches'](0, 40))
    assert pipeline.measure_pipeline(batches, 10).keys() == {'pipeline_cpu_ms', 'pipeline_wall_ms'}
    assert next(batches) == 15  # five warm it up
