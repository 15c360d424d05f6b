"""Queries that show nothing find nothing, in the other three systems (photo_to_shape/test_blind_photos.py: CMIC).

The files of the test queries are replaced by one constant file; names, order, labels, splits and the gallery are as
before. Networks are random: a query then gets one answer whatever it is, and every score is what one fixed order of the
gallery reaches. Where the gallery is blind too, all scores are equal, and ties count against the system.
"""

import shutil
from itertools import permutations, product

import jax
import numpy as np
import pytest
from experiment import task_class
from overrides import apply_overrides, load_config
from PIL import Image
from scan_cad_folders import write_collection

from data_pipelines.cross_modal.sample import write_modelnet_sample
from data_pipelines.domain_adaptation.sample import write_mi3dor_sample
from jaxret.metrics.shrec_scores import SCORES
from jaxret.training.embedder import Embedder
from jaxret.training.parallel import make_parallel


@pytest.fixture(scope='module')
def place(tmp_path_factory):
    return tmp_path_factory.mktemp('blind')


def evaluated(place, name, data, **overrides):
    """The task, its data, and the metrics of random weights on a data folder."""
    config, _ = load_config(f'{name}.py:smoke')
    options = {'data_dir': str(data), 'cache_dir': str(place / 'cache'), 'processes': '1', **overrides}
    apply_overrides(config, {key.replace('__', '.'): value for key, value in options.items()})
    task = task_class(config.experiment).from_config(config)
    workdir = place / f'{name}-{data.name}'
    workdir.mkdir()
    task.start(workdir, train=True)
    loaded = task.load(workdir, train=True)
    system = task.system(loaded, steps=1)
    embedder = Embedder(system, make_parallel('jit', devices=1, divided=task.divided))
    variables = jax.jit(system.init)(jax.random.key(0), task.example(loaded))
    return loaded, task.evaluate(loaded, embedder, variables, workdir).metrics


def repeated(data, target, pattern):
    """A copy of a data folder in which all files of a pattern are the first of them."""
    shutil.copytree(data, target)
    first, *others = sorted(target.glob(pattern))
    for path in others:
        shutil.copy(first, path)
    assert others
    return target


def best_order(labels):
    """Mean AP over all queries of the order of the gallery that no other order beats: class after class."""
    counts = np.unique(labels, return_counts=True)[1]
    before = np.cumsum(counts) - counts
    hits = [np.arange(1, count + 1) for count in counts]
    values = [np.mean(own / (start + own)) for own, start in zip(hits, before, strict=True)]
    return float(np.sum(counts * values) / counts.sum())


def best_of_pools(table):
    """Top-1 in pools of the order of each category's CADs that no other order beats. A pool lacks one CAD at most."""
    hits = 0
    for category in np.unique(table.category):
        pools, ranks = table.pool[table.category == category], table.rank[table.category == category]
        ranked = [dict(zip(pool, rank > 0, strict=True)) for pool, rank in zip(pools, ranks, strict=True)]
        hits += max(
            sum(of.get(first, of.get(second)) for of in ranked) for first, second in permutations(np.unique(pools), 2)
        )
    return hits / len(table)


@pytest.fixture(scope='module')
def objects(place):
    return write_modelnet_sample(place / 'objects', train_per_class=1, test_per_class=3, processes=1, progress=False)


@pytest.mark.parametrize('blind', ['image', 'mesh', 'point'])
def test_a_blind_modality_finds_what_one_fixed_order_finds(place, objects, blind, monkeypatch):
    from cross_modal import task

    batches, data = task.modality_batches, shutil.copytree(objects, place / f'blind-{blind}')

    def constant(config, table, modality):
        first = next(iter(batches(config, table, modality)))
        for batch in batches(config, table, modality):
            if modality == blind:
                same = {name: np.broadcast_to(first[name][:1], array.shape) for name, array in batch.items()}
                batch = same | {'valid': batch['valid']}
            yield batch

    monkeypatch.setattr(task, 'modality_batches', constant)
    loaded, metrics = evaluated(place, 'modelnet40', data)
    labels = loaded.tables['test'].label
    assert metrics['queries'] == len(labels) == 36
    for gallery in {'image', 'mesh', 'point'} - {blind}:
        assert metrics[f'map_{blind}_{gallery}'] <= best_order(labels) + 1e-6
        assert metrics[f'map_{gallery}_{blind}'] <= metrics[f'map_{gallery}_{blind}_chance'] + 1e-6  # all ties
    key = f'map_{blind}_{blind}_excluding_self'
    assert metrics[key] <= metrics[f'{key}_chance'] + 1e-6


def test_one_mesh_for_all_objects_is_found_by_nothing(place, objects):
    """Cut faces and rendered views are equal, and tie; points are drawn by name, at random."""
    loaded, metrics = evaluated(place, 'modelnet40', repeated(objects, place / 'one-mesh', '*/test/*.off'))
    table = loaded.tables['test']
    for query, gallery in product(('image', 'mesh', 'point'), repeat=2):
        key = f'map_{query}_{gallery}' + ('_excluding_self' if query == gallery else '')
        drawn = 0.05 if 'point' in (query, gallery) else 1e-6
        assert metrics[key] <= metrics[f'{key}_chance'] + drawn, key
    assert len(set(table.names)) == len(table.names) == 36


def test_blind_photos_find_shapes_at_chance(place):
    data = write_mi3dor_sample(
        place / 'photos', train_photos=4, test_photos=1, train_shapes=2, test_shapes=2, photo_size=48, processes=1,
        progress=False,
    )  # fmt: skip
    for path in (data / 'image' / 'test').rglob('*.jpg'):
        Image.fromarray(np.full((48, 48, 3), 128, np.uint8)).save(path)
    loaded, metrics = evaluated(place, 'mi3dor', data)
    classes = len(loaded.classes)
    assert metrics['queries'] == classes == 8 and sorted(loaded.photos['test'].label) == list(range(8))
    for name in ('nn', 'ft'):  # one order of a gallery with as many shapes of each class
        assert name in SCORES and metrics[name] <= 1 / classes + 1e-6
    same = repeated(data, place / 'one-shape', 'model/test/*/*.off')
    assert evaluated(place, 'mi3dor', same)[1]['nn'] == 0


def test_blind_scans_find_cad_models_at_chance(place):
    write_collection(place / 'scans', side=32)
    data = place / 'one-scan'
    repeated(repeated(place / 'scans', place / 'one-mask', 'scan/*.mask'), data, 'scan/*.sdf')
    small = {'model__variant': 'cnn3d', 'model__width': '0.04'}
    loaded, metrics = evaluated(place, 'scan_cad', data, **small)
    assert metrics['scans'] == metrics['gallery'] == 14
    assert metrics['category_top1'] == 0.5 and metrics['exact_top1'] <= 1 / 7 + 1e-6
    assert metrics['instance_top1'] <= best_of_pools(loaded.pools['test']) + 1e-6
    assert evaluated(place, 'scan_cad', repeated(data, place / 'one-cad', 'cad/*.df'), **small)[1]['exact_top1'] == 0
