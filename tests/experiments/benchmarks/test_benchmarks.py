"""The benchmarks at tiny size: they run, write what they promise, and name missing peers. No time is asserted."""

import importlib
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from quick_compilation import quick_compilation

ROOT = Path(__file__).parents[3]
PROMISED = {'title', 'hardware', 'versions', 'commit', 'dirty', 'backend', 'load', 'settings', 'rows'}
TINY_GRIDS = (
    '--config.model.variant=pointnet',
    '--config.model.points=8',
    '--config.batch_size=2',
    '--config.parallel.devices=1',
)


@pytest.fixture
def benchmark(written):
    """The rows that a script writes."""

    def run(name, *arguments):
        found = written(name, *arguments, '--repeats=1')
        assert {'jax', 'numpy', 'tensorflow-cpu'} <= found['versions'].keys()
        return found['rows']

    return run


@pytest.fixture
def without_peers(monkeypatch):
    """No peer can be imported, whatever is installed."""
    for name in ('torch', 'torchvision', 'pytorch_metric_learning'):
        monkeypatch.setitem(sys.modules, name, None)


def test_losses(benchmark):
    rows = benchmark(
        'losses',
        '--batches',
        '9',
        '--cases',
        'info_nce',
        'supervised_contrastive',
        'triplet_batch_hard',
        'contrastive',
        'hardest_triplet',
        'norm',
    )
    for row in rows:
        if 'needs' in row['form'] or 'not installed' in row['form'] or 'no equivalent' in row['form']:
            assert 'seconds' not in row
            continue
        assert {'case', 'batch', 'milliseconds', 'cpu_ms', 'value'} <= row.keys()
        if row['form'] == 'jaxret':
            assert row['temporary_mib'] >= 0
        else:  # the merge-first form, and pytorch-metric-learning where it is installed, compute the same
            assert {'ratio', 'cpu_ratio'} <= row.keys()
            assert row['difference'] < 1e-4
    merged = [row['case'] for row in rows if row['form'] == 'merge first']
    assert merged == ['info_nce', 'supervised_contrastive', 'triplet_batch_hard', 'contrastive', 'hardest_triplet']


def test_every_loss_has_a_gradient():
    import jax
    from loss_cases import CASES, random_arrays

    def total(arrays, labels):
        return {name: case(arrays, labels) for name, case in CASES.items()}

    values = jax.eval_shape(total, *random_arrays(6))
    assert all(value.shape == () and value.dtype == np.float32 for value in values.values())


def test_losses_too_large_are_not_run(benchmark):
    rows = benchmark('losses', '--batches', '16', '--cases', 'contrastive', '--limit_gib=1e-7')
    assert all('needs' in row['form'] or 'not installed' in row['form'] for row in rows)


def test_missing_peers_are_named(benchmark, without_peers):
    (first, *_), (last,) = (
        benchmark('losses', '--batches', '4', '--cases', 'norm'),
        benchmark('losses', '--batches', '4', '--cases', 'norm')[1:],
    )
    assert first['form'] == 'jaxret'
    assert last['form'].startswith('pytorch-metric-learning: ') and 'not installed (pip install' in last['form']
    rows = benchmark('encoders', '--encoders', 'resnet_coarse', '--batch=2', '--image_size=16')
    assert [row['form'][:8] for row in rows] == ['jaxret', 'PyTorch:']
    assert 'not installed' in rows[1]['form']


def test_losses_of_attention(benchmark):
    rows = benchmark('losses', '--batches', '3', '4', '--cases', 'attention_info_nce', 'attention_triplet_all')
    ours = [row for row in rows if row['form'] == 'jaxret']
    assert [(row['case'], row['batch']) for row in ours] == [
        ('attention_info_nce', 3),
        ('attention_info_nce', 4),
        ('attention_triplet_all', 3),
        ('attention_triplet_all', 4),
    ]
    assert all({'temporary_mib', 'resident_mib', 'milliseconds', 'value'} <= row.keys() for row in ours)
    plain = [row for row in rows if row['form'] == 'all at once']
    assert len(plain) == 4 and all(row['difference'] < 1e-5 for row in plain)


def test_training_of_encoders(benchmark, capsys):
    rows = benchmark('encoders', '--encoders', 'efficientnet_lite0', '--batch=2', '--image_size=16', '--train')
    assert rows[0]['form'] == 'jaxret' and {'cpu_ms', 'gflop', 'temporary_mib'} <= rows[0].keys()
    assert len(rows) == 2 and rows[1]['form'].startswith(('timm', 'PyTorch: '))
    with pytest.raises(SystemExit):
        benchmark('encoders', '--encoders', 'resnet18', 'pointnet', '--train')
    assert '--train: of resnet18,' in capsys.readouterr().err


def test_encoders(benchmark):
    rows = benchmark(
        'encoders',
        '--encoders',
        'resnet_coarse',
        'pointnet',
        'occupancy_pointnet',
        'meshnet',
        'dgcnn',
        '--batch=2',
        '--image_size=16',
        '--points=24',
        '--faces=8',
        '--width=0.1',
    )
    ours = [row for row in rows if row['form'] == 'jaxret']
    assert [row['items'] for row in ours] == ['image', 'cloud', 'grid', 'mesh', 'cloud']
    assert all({'per_second', 'parameters', 'gflop', 'temporary_mib', 'cpu_ms'} <= row.keys() for row in ours)
    assert len(rows) == 2 * len(ours)  # a peer, or why there is none


def test_train_step(benchmark):
    ours, missing = benchmark('train_step', '--configs', 'scan_cad.py:smoke', *TINY_GRIDS)
    assert {'seconds', 'cpu_seconds', 'per_second', 'parameters', 'forward_gflop', 'temporary_mib'} <= ours.keys()
    assert missing['step'].startswith('PyTorch: ')


def test_train_step_at_several_batches_and_in_chunks(monkeypatch, tmp_path):
    module = importlib.import_module('train_step')

    def measure(short, config, *, repeats, limit_mib):
        assert limit_mib == 2048
        return [{'config': short, 'batch': config.batch_size, 'chunk': config.model.chunk}]

    monkeypatch.setattr(module, 'measure', measure)
    path = tmp_path / 'out.json'
    assert (
        module.main(['--configs', 'pix3d.py', '--batches', '2', '8', '--chunk=2', '--limit_gib=2', f'--json={path}'])
        == 0
    )
    rows = json.loads(path.read_text())['rows']
    assert [(row['batch'], row['chunk']) for row in rows] == [(2, 0), (8, 0), (8, 2)]


def test_steps_too_large_are_not_run(benchmark):
    (row,) = benchmark('train_step', '--configs', 'scan_cad.py:smoke', '--limit_gib=1e-7', *TINY_GRIDS)
    assert row['step'].startswith('needs ') and 'seconds' not in row and row['temporary_mib'] > 0


def test_bad_arguments(benchmark, capsys):
    import losses
    import train_step

    assert train_step.main(['--configs', 'nothing.py']) == 1
    assert 'no such config' in capsys.readouterr().err
    for arguments, message in ((['--threads=4096'], 'this process may use'), (['--config.seed=1'], 'unrecognized')):
        with pytest.raises(SystemExit, match='2'):
            losses.main(arguments)
        assert message in capsys.readouterr().err


def test_interleaved_times():
    import measuring

    order = []
    times = measuring.interleave({'a': lambda: order.append('a'), 'b': lambda: order.append('b')}, repeats=2)
    assert set(times) == {'a', 'b'}
    assert all(time['seconds'] >= time['least_seconds'] > 0 for time in times.values())
    turns = [name for name, before in zip(order, [None, *order], strict=False) if name != before]
    assert turns == ['a', 'b'] * 3  # warm-up, then two rounds


def test_profile_groups():
    from accelerator import operations

    program = """
  %add.1 = f32[] add(%a, %b), metadata={op_name="jit(step)/jvp(Net)/conv1/add" stack_frame_id=2}
  ROOT fusion.2 = f32[] fusion(x), kind=kLoop, metadata={op_name="jit(step)/transpose(jvp(Net))/conv1/mul"}
  copy.3 = f32[] copy(x), metadata={op_name="jit(step)/sqrt" stack_frame_id=3}
"""
    assert operations(program) == {'add.1': 'forward add', 'fusion.2': 'backward mul', 'copy.3': 'sqrt'}


ACCELERATOR = """
import sys

for name in ('tensorflow', 'tensorflow_datasets', 'trimesh', 'embreex', 'fast_simplification', 'array_record', 'clu',
             'torch'):
    sys.modules[name] = None  # as if it were not installed
sys.path.insert(0, 'experiments/benchmarks')
import accelerator
sys.exit(accelerator.main(['--repeats=1', '--batch=2', '--large_batch=4', '--chunk=2', '--shapes=40', '--queries=3',
                           '--json=' + sys.argv[1]]))
"""


def test_accelerator_without_tensorflow_and_mesh_tools(tmp_path):
    path = tmp_path / 'out.json'
    done = subprocess.run(
        [sys.executable, '-c', ACCELERATOR, str(path)],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={'PATH': '', 'HOME': str(tmp_path)} | quick_compilation(),
        timeout=900,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    written = json.loads(path.read_text())
    assert written.keys() >= PROMISED
    rows = {
        part: [row for row in written['rows'] if row['part'] == part]
        for part in ('step', 'chunked', 'search', 'profile')
    }
    assert [row['what'].split(', ')[-1][:7] for row in rows['step']] == ['jaxret', 'PyTorch']
    assert 'not installed' in rows['step'][1]['what']
    assert rows['chunked'][0]['milliseconds'] > 0 and rows['search'][0]['milliseconds'] > 0
    assert len(rows['profile']) == 3 and all(0 < row['share'] < 1 for row in rows['profile'])


def test_first_step(benchmark):
    rows = benchmark('first_step', '--configs', 'scan_cad.py:smoke', *TINY_GRIDS)
    assert [row['cache'] for row in rows] == ['no cache', 'cold', 'warm']
    assert all(0 < row['imported_s'] < row['compiled_s'] < row['seconds'] for row in rows)
    assert rows[2]['cache_mib'] > 0
