"""The benchmarks of geometry, search, damage and growth at tiny size: they run and write what they promise."""

import importlib
import sys

import numpy as np
import pytest
from ml_collections import ConfigDict


def test_geometry(written):
    sizes = ('--image_size=12', '--resolution=8', '--points=60', '--items=50')
    rows = written('geometry', '--faces', '200', '400', '--repeats=1', *sizes)['rows']
    works = ['loading', 'rendering', 'voxelisation', 'simplification', 'sampling', 'hausdorff', 'iou']
    assert [row['work'] for row in rows] == [*(work for work in works for _ in range(2)), 'average_precision']
    for row in rows:
        assert row['peer'] in ('trimesh', 'scipy', 'scikit-learn') and row['ratio'] > 0
        assert row['per_core_second'] == pytest.approx(1e3 / row['cpu_ms'], rel=1e-3)
    assert 150 <= rows[0]['faces'] <= 250


def test_a_table_has_the_faces_that_are_asked_for():
    assert len(importlib.import_module('geometry').table(200).faces) >= 200


def test_damaged_files_are_refused_or_read(capsys):
    assert importlib.import_module('damage').main(['--files=2']) == 0
    shown = capsys.readouterr().out
    assert all(kind in shown for kind in ('photo JPEG', 'mask PNG', 'mesh STL text', 'mesh GLTF', 'pix3d.json'))


def test_exact_search(written):
    rows = written('search', '--shapes', '40', '--queries=3', '--decay', '2', '--repeats=1')['rows']
    assert [row['method'] for row in rows[:3]] == ['brute force', 'pruned', 'auto']
    for row in rows[:3]:
        assert row['recall'] == 1 and 0 < row['fully_scored'] <= 1 and row['batch_ms'] > 0 and row['single_cpu_ms'] > 0
    assert all('faiss' in row['method'] for row in rows[3:])


@pytest.mark.parametrize('missing', [True, False])
def test_query(written, monkeypatch, missing):
    if missing:
        monkeypatch.setitem(sys.modules, 'torch', None)
    else:
        pytest.importorskip('torch')
    rows = written('search', '--part=query', '--config=pix3d.py:smoke', '--shapes', '7', '30', '--repeats=1')['rows']
    assert [row['shapes'] for row in rows] == [7, 30]
    for row in rows:
        assert row.keys() >= {
            f'{part}{unit}'
            for part in ('read', 'encode', 'search', 'score', 'sort', 'total')
            for unit in ('_ms', '_cpu_ms')
        }
        assert ('torch: not installed' in row['note']) == missing == ('ratio' not in row)


def test_torch_encodes_and_scores_as_jaxret():
    torch = pytest.importorskip('torch')
    script, cases = (importlib.import_module(name) for name in ('search', 'random_galleries'))
    config, _ = script.read_query_config('pix3d.py:smoke', {})
    arrays = {'image': np.full((32, 32, 3), 200, np.uint8), 'mask': np.full((32, 32, 1), 255, np.uint8)}
    calls, note = script.peer_calls(config, arrays, cases.random_gallery(9, config))
    assert not note and calls['peer_encode']().shape == (1, config.model.embedding_dim)
    scores = calls['peer_score']()
    assert scores.shape == (9,) and calls['peer_sort']()[0] == int(torch.argmax(scores))


def test_growth(written, tmp_path):
    found = written(
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
    curves = ['search, brute force', 'search, pruned', 'indexing: shards and table', 'opening: read and checked']
    curves += ['duplicates: pairs to compare', 'fit of 100 photos', 'rendering', 'loading']
    assert [fit['curve'] for fit in found['fits']] == curves
    assert [row['size'] for row in found['rows'] if row['curve'] == 'loading'] == [300, 600, 1200]
    assert all(row['memory_mib'] > 0 and row['cpu_ms'] > 0 for row in found['rows'])
    for fit in found['fits']:
        assert isinstance(fit['time_exponent'], float) and fit['verdict']
    assert sorted(path.name for path in (tmp_path / 'pictures').iterdir()) == [
        'growth.json',
        'growth_faces.png',
        'growth_gallery.png',
    ]


def test_opening(written):
    (row,) = written('opening', '--shapes', '140', '--repeats=1')['rows']
    assert row['shapes'] == 140 and 0 < row['open_ms'] / 1e3 < row['whole_s']


def test_exponents():
    growth = importlib.import_module('growth')
    sizes = [10, 20, 40, 80, 160, 320]
    assert growth.exponent(sizes, [7, 7, 7, *(0.5 * size**2 for size in sizes[3:])]) == pytest.approx(2)
    assert growth.exponent(sizes[:3], [1, 2, 4]) == pytest.approx(1)
    assert growth.exponent(sizes[:2], [1, 2]) is None and growth.exponent(sizes[:3], [0, 0, 0]) is None


@pytest.mark.parametrize(('reason', 'power', 'expected'), [
    ('', 1, 'at most linear'), ('', 2, 'time and memory worse than linear: unexplained'),
    ('all pairs', 2, 'time and memory worse than linear: all pairs'),
])  # fmt: skip
def test_what_is_worse_than_linear_is_named(reason, power, expected):
    growth = importlib.import_module('growth')
    curve = growth.Curve('losses', 'batch', (1, 2, 4), None, reason)
    rows = [{'size': size, 'cpu_ms': size**power, 'memory_mib': size**power} for size in curve.sizes]
    assert growth.summary(curve, rows)['verdict'] == expected


@pytest.mark.parametrize('blocked', [True, False])
def test_losses_that_grow_are_the_same(blocked):
    call, memory = importlib.import_module('growth_curves').losing(6, blocked=blocked)
    value, gradients = call()
    assert memory > 0 and np.isfinite(value) and len(gradients) == 3


def test_the_batches_are_those_of_the_task(monkeypatch):
    pipeline = importlib.import_module('input_pipeline')

    class Task:
        @classmethod
        def from_config(cls, config):
            return cls()

        def load(self, workdir, *, train):
            assert train and workdir.is_dir()
            return 'data'

        def batches(self, data, start, stop):
            assert data == 'data'
            return range(start, stop)

    monkeypatch.setattr(pipeline, 'task_class', {'some_experiment': Task}.get)
    batches = iter(pipeline.training_batches(ConfigDict({'experiment': 'some_experiment'}))(0, 40))
    assert pipeline.measure_pipeline(batches, 10).keys() == {'pipeline_cpu_ms', 'pipeline_wall_ms'}
    assert next(batches) == 15  # five warm it up
