"""Runs that start from published weights: what a command makes of its files before it touches the data."""

import hashlib
import json
from pathlib import Path

import experiment
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import run
from cross_modal import task as cross_modal
from domain_adaptation import task as domain_adaptation
from photo_to_shape import task as photo_to_shape
from pretrained_files import tensors, write_pth
from pretrained_start import pretrained_facts, pretrained_start
from safetensors.numpy import save_file
from small_hifa import random_batch, small_hifa
from vit_cases import stored_cases, write_case

from jaxret.encoders import image_backbones
from jaxret.errors import CheckpointError
from jaxret.pretrained.vit_files import read_vision_transformer
from jaxret.systems.base import System

CONVOLUTIONS = {'resnet_small': 5, 'resnet_coarse': 7}  # side of the first kernel


def torch_weights(name, *, seed=0):
    """Weights of one of the small networks under torchvision's names, for RGB."""
    rng, shapes = np.random.default_rng(seed), {'conv1.weight': (16, 3, *[CONVOLUTIONS[name]] * 2)}
    norms = {'bn1': 16}
    for stage, width in enumerate((16, 32, 64, 128), start=1):
        block, before = f'layer{stage}.0', max(16, width // 2)
        shapes |= {f'{block}.conv1.weight': (width, before, 3, 3), f'{block}.conv2.weight': (width, width, 3, 3)}
        norms |= {f'{block}.bn1': width, f'{block}.bn2': width}
        if stage > 1:
            shapes[f'{block}.downsample.0.weight'] = (width, before, 1, 1)
            norms[f'{block}.downsample.1'] = width
    for norm, width in norms.items():
        shapes |= {f'{norm}.{leaf}': (width,) for leaf in ('weight', 'bias', 'running_mean', 'running_var')}
    shapes |= {'fc.weight': (10, 128), 'fc.bias': (10,)}
    return {name: rng.uniform(0.1, 1, shape).astype(np.float32) for name, shape in shapes.items()}


@pytest.fixture
def files(tmp_path):
    """One file for each of the two small networks, of both kinds."""
    save_file(torch_weights('resnet_small'), tmp_path / 'small.safetensors')
    write_pth(tmp_path / 'coarse.pth', {'state_dict': tensors(torch_weights('resnet_coarse', seed=1)), 'epoch': 1})
    return {name: tmp_path / name for name in ('small.safetensors', 'coarse.pth')}


class Reached(Exception):
    """Raised in the place of the data, which must not be touched before everything is checked."""


@pytest.fixture
def starts(monkeypatch):
    """What `pretrained_start` gave the experiments, with the system and the example; the data is never reached."""
    found = []

    def kept(config, workdir, system, example, **options):
        found.append((pretrained_start(config, workdir, system, example, **options), system, example))
        return found[-1][0]

    def load(self, workdir, *, train):
        raise Reached

    for module in (photo_to_shape, cross_modal):
        monkeypatch.setattr(module, 'pretrained_start', kept)
        monkeypatch.setattr(module.TASK, 'load', load)

    def last(*arguments, **options):  # where the data has been read
        kept(*arguments, **options)
        raise Reached

    monkeypatch.setattr(domain_adaptation, 'pretrained_start', last)
    return found


def command(workdir, config, **options):
    return run.main(
        [
            f'--config={config}',
            f'--workdir={workdir}',
            '--config.parallel.devices=1',
            *(f'--config.pretrained.{key}={value}' for key, value in options.items()),
        ]
    )


def zeros(system: System, example):
    shapes = jax.eval_shape(system.init, jax.random.key(0), example)
    return jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes)


def reached(workdir, config, **options):
    with pytest.raises(Reached):
        command(workdir, config, **options)


def assert_block(params, statistics, weights):
    """That some of a network's leaves are those of the file."""
    np.testing.assert_array_equal(
        params['layer2_0']['downsample_conv']['kernel'], weights['layer2.0.downsample.0.weight'].transpose(2, 3, 1, 0)
    )
    np.testing.assert_array_equal(params['layer4_0']['bn2']['scale'], weights['layer4.0.bn2.weight'])
    np.testing.assert_array_equal(
        statistics['layer2_0']['downsample_bn']['var'], weights['layer2.0.downsample.1.running_var']
    )


@pytest.mark.parametrize('first_convolution', ['random', 'mean', 'sum'])
def test_photos_and_views_start_from_their_files(tmp_path, files, starts, first_convolution):
    workdir, small, coarse = tmp_path / 'run', torch_weights('resnet_small'), torch_weights('resnet_coarse', seed=1)
    reached(
        workdir,
        'pix3d.py:smoke',
        query=files['small.safetensors'],
        gallery=files['coarse.pth'],
        first_convolution=first_convolution,
    )
    start, system, example = starts[0]
    before = zeros(system, example)
    after = start(before)
    assert jax.tree.structure(after) == jax.tree.structure(before)
    query, view = after['params']['query']['backbone'], after['params']['view']['encoder']['backbone']
    assert_block(query, after['batch_stats']['query']['backbone'], small)
    assert_block(view, after['batch_stats']['view']['encoder']['backbone'], coarse)
    photos, grey = query['conv1']['kernel'], view['conv1']['kernel']
    if first_convolution == 'random':
        assert not np.any(photos) and not np.any(grey)
    else:
        np.testing.assert_array_equal(photos[:, :, :3], small['conv1.weight'].transpose(2, 3, 1, 0))
        np.testing.assert_array_equal(photos[:, :, 3], 0)
        rgb = coarse['conv1.weight'].transpose(2, 3, 1, 0)
        np.testing.assert_allclose(grey[:, :, 0], getattr(rgb, first_convolution)(axis=2), rtol=1e-6)
    for name in ('attention', ('query', 'head'), ('view', 'encoder', 'head')):  # the rest stays as initialised
        part = after['params']
        for key in (name,) if isinstance(name, str) else name:
            part = part[key]
        assert not any(np.any(leaf) for leaf in jax.tree.leaves(part))


def test_the_image_encoder_starts_from_its_file(tmp_path, files, starts):
    reached(tmp_path / 'run', 'modelnet40.py:smoke', image=files['coarse.pth'], first_convolution='sum')
    start, system, example = starts[0]
    after, weights = start(zeros(system, example)), torch_weights('resnet_coarse', seed=1)
    assert_block(after['params']['image']['trunk'], after['batch_stats']['image']['trunk'], weights)
    assert np.all(after['params']['image']['trunk']['conv1']['kernel'] > 0)
    assert not any(np.any(leaf) for leaf in jax.tree.leaves(after['params']['mesh']))


@pytest.mark.parametrize(
    ('config', 'key', 'file'),
    [('pix3d.py:smoke', 'query', 'small.safetensors'), ('modelnet40.py:smoke', 'image', 'coarse.pth')],
)
def test_training_gets_the_start_and_the_banner_its_file(tmp_path, files, monkeypatch, config, key, file):
    found = []
    monkeypatch.setattr(experiment, 'trained_state', lambda *_, **options: found.append(options))
    cache = f'--config.cache_dir={tmp_path / "cache"}'
    status = run.main(
        [
            f'--config={config}',
            f'--workdir={tmp_path / "run"}',
            '--config.parallel.devices=1',
            cache,
            '--config.processes=1',
            '--config.sample.shapes_per_category=1' if key == 'query' else cache,
            f'--config.pretrained.{key}={files[file]}',
        ]
    )
    assert status == 0
    assert found[0]['start'] is not None
    assert str(files[file]) in found[0]['facts'][f'Pretrained {key}']
    after = found[0]['start'](zeros(found[0]['make_system'](), found[0]['example']))
    assert any(np.any(leaf) for leaf in jax.tree.leaves(after))


def test_hifas_shared_network_has_a_place():
    system = small_hifa(backbone='resnet')
    variables = jax.eval_shape(system.init, jax.random.key(0), random_batch(2, 2))
    ((_, scope),) = system.BACKBONES.values()
    assert 'conv1' in variables['params'][scope[0]] and 'conv1' not in variables['params']


@pytest.mark.parametrize('config', ['pix3d.py:smoke', 'modelnet40.py:smoke'])
def test_without_files_nothing_changes(tmp_path, starts, config):
    workdir = tmp_path / 'run'
    workdir.mkdir()
    (workdir / 'pretrained.json').write_text('of an earlier start that saved nothing')
    reached(workdir, config)
    assert starts[0][0] is None
    assert pretrained_facts(workdir) == {}


def test_fingerprints_are_kept_and_a_resumed_run_needs_no_file(tmp_path, files, starts):
    workdir, path = tmp_path / 'run', files['small.safetensors']
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    reached(workdir, 'pix3d.py:smoke', query=path)
    assert starts[0][0] is not None
    assert json.loads((workdir / 'pretrained.json').read_text()) == {'query': {'file': str(path), 'sha256': sha256}}
    assert json.loads((workdir / 'config.json').read_text())['pretrained.query'] == str(path)
    (workdir / 'checkpoints' / '4').mkdir(parents=True)
    path.unlink()
    reached(workdir, 'pix3d.py:smoke', query=path)
    assert starts[1][0] is None
    assert pretrained_facts(workdir) == {'Pretrained query': f'{path} (SHA-256 {sha256})'}
    assert command(workdir, 'pix3d.py:smoke', query=files['coarse.pth']) == 1  # of another start


def test_what_was_seen_through_is_kept_and_told(tmp_path, starts):
    path, workdir = tmp_path / 'a.pth', tmp_path / 'run'
    weights = {f'module.encoder_q.{name}': array for name, array in torch_weights('resnet_small').items()}
    others = {f'module.{name}': np.zeros(2, np.float32) for name in ('queue', 'encoder_k.fc.bias', 'a.b', 'c')}
    write_pth(path, {'epoch': 3, 'state_dict': tensors(weights | others)})
    reached(workdir, 'pix3d.py:smoke', query=path)
    note = (
        "the entry 'state_dict'; names without 'encoder_q.'; 4 other entries left out "
        '(module.queue, module.encoder_k.fc.bias, module.a.b, ...)'
    )
    assert json.loads((workdir / 'pretrained.json').read_text())['query']['read_as'] == note
    assert pretrained_facts(workdir)['Pretrained query'].endswith(f'; {note}')


def test_all_that_is_wrong_is_told_before_the_data_is_touched(tmp_path, files, starts, capsys):
    workdir = tmp_path / 'run'
    assert command(workdir, 'pix3d.py:smoke', query=files['coarse.pth'], gallery=tmp_path / 'none.pth') == 1
    err = capsys.readouterr().err
    assert 'conv1.weight: [7, 7, 3, 16] there, [5, 5, 4, 16] here' in err
    assert '1 entries do not fit' in err
    assert 'none.pth: cannot be read (No such file' in err
    assert not (workdir / 'pretrained.json').exists()
    assert command(workdir, 'pix3d.py:smoke', query=files['small.safetensors'], first_convolution='median') == 1
    assert "config.pretrained.first_convolution: 'median' is not one of random, mean, sum" in capsys.readouterr().err


@pytest.mark.parametrize('text', ['{"query": 1}', '{"query": {}}', '[1]', '{'])
def test_damaged_facts_are_named(tmp_path: Path, text):
    (tmp_path / 'pretrained.json').write_text(text)
    with pytest.raises(CheckpointError, match='pretrained.json: damaged'):
        pretrained_facts(tmp_path)


@pytest.mark.parametrize(
    ('config', 'towers'),
    [
        ('pix3d.py:smoke', {'query': 'model.query_encoder', 'gallery': 'model.view_encoder'}),
        ('mi3dor.py:smoke', {'backbone': 'model.backbone'}),
        ('modelnet40.py:smoke', {'image': 'model.image_encoder'}),
    ],
)
def test_towers_are_a_vision_transformer_of_a_folder(tmp_path, starts, monkeypatch, config, towers):
    """One of width 8 in the place of DINOv2's smallest: read, frozen, and followed by heads."""
    folder = write_case(tmp_path / 'dinov2', 'hf_dinov2', stored_cases()['hf_dinov2'][0])
    network = read_vision_transformer(folder)
    family = image_backbones._FAMILIES['vit_s14',]
    tiny = family._replace(make=lambda name, *, axis_name=None, **options: network.module.clone(**options))
    monkeypatch.setitem(image_backbones._FAMILIES, ('vit_s14',), tiny)
    monkeypatch.setattr('pretrained_start.vision_transformer', lambda name: network.module)
    monkeypatch.setattr('pretrained_start.statistics', lambda name: (network.input.mean, network.input.std))
    values = {
        'model.train': 'heads', 'data.image_size': 20, 'parallel.devices': 1,
        **{key: 'vit_s14' for key in towers.values()}, **{f'pretrained.{name}': folder for name in towers},
        **({'model.mask': 'white'} if 'query' in towers else {}),
        **({} if 'backbone' in towers else {'model.normalization': 'published'}),  # which HIFA always has
    }  # fmt: skip
    options = [f'--config.{key}={value}' for key, value in values.items()]
    with pytest.raises(Reached):
        run.main([f'--config={config}', f'--workdir={tmp_path / "run"}', *options])
    start, system, example = starts[0]
    after = start(zeros(system, example))
    stored = [np.asarray(leaf) for leaf in jax.tree.leaves(network.variables)]
    assert len(after['frozen']['params']) == len(towers)
    for tower in after['frozen']['params'].values():
        found = [np.asarray(leaf) for leaf in jax.tree.leaves(tower)]
        assert all(any(np.array_equal(leaf, one) for one in stored) for leaf in found) and len(found) > 20
