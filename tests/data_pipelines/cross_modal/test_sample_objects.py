"""The sample in ModelNet's layout: complete, deterministic, sound, and its classes not told apart by extents."""

import json

import numpy as np
import pytest
import trimesh
from sklearn.ensemble import RandomForestClassifier

from data_pipelines.cross_modal import sample as modelnet_layout
from data_pipelines.cross_modal.modelnet import read_modelnet
from data_pipelines.cross_modal.sample import write_modelnet_sample
from data_pipelines.synthetic.shapes.solids import SOLIDS, make_solid
from jaxret.errors import ConfigError, StorageError
from jaxret.geometry.mesh import load_mesh

TINY = {'train_per_class': 1, 'test_per_class': 1, 'processes': 1, 'progress': False}


def contents(root):
    return {str(path.relative_to(root)): path.read_bytes() for path in sorted(root.rglob('*')) if path.is_file()}


@pytest.fixture(scope='module')
def sample(tmp_path_factory):
    return write_modelnet_sample(tmp_path_factory.mktemp('sample') / 'modelnet', progress=False)


@pytest.fixture(scope='module')
def dataset(sample):
    return read_modelnet(sample, val_fraction=0, check_processes=1, progress=False)


def test_the_reader_finds_every_class_and_split(sample, dataset):
    assert dataset.categories == tuple(sorted(SOLIDS)) and len(dataset.categories) >= 8
    for split, count in (('train', 12), ('test', 6)):
        counts = np.unique([entry.category for entry in dataset.split_objects(split)], return_counts=True)[1]
        assert (counts == count).all()
    marker = json.loads((sample / 'complete.json').read_text())
    assert marker['synthetic'] is True and marker['meshes'] == len(dataset.objects) == 18 * len(SOLIDS)
    assert [path.name for path in sample.parent.iterdir()] == ['modelnet']


def test_extents_do_not_tell_the_classes_apart(dataset):
    """A forest on width, depth, height, and their order and ratios; chance is 1 in 12."""
    features, labels, parts = [], [], []
    for entry in dataset.objects:
        extents = np.ptp(load_mesh(entry.mesh, up_axis='z').vertices, axis=0)
        unit = extents / extents.max()
        features.append([*unit, *np.sort(unit), unit[1] / unit[0], unit[2] / unit[0], np.log(extents.max())])
        labels.append(entry.category)
        parts.append(entry.split)
    features, labels, test = np.array(features), np.array(labels), np.array(parts) == 'test'
    forest = RandomForestClassifier(200, random_state=0).fit(features[~test], labels[~test])
    assert forest.score(features[test], labels[test]) < 0.4


@pytest.mark.parametrize('category', SOLIDS)
def test_solids_are_closed_and_differ(category):
    made = [make_solid(category, np.random.default_rng(seed)) for seed in range(12)]
    for vertices, faces in made:
        mesh = trimesh.Trimesh(vertices, faces, process=False)
        assert mesh.is_watertight and mesh.is_winding_consistent and mesh.volume > 0
        assert 12 <= len(faces) < 5000 and mesh.area_faces.min() > 0
    assert len({vertices.tobytes() for vertices, _ in made}) == 12


def test_same_seed_same_bytes_whatever_the_processes(tmp_path, monkeypatch):
    first = contents(write_modelnet_sample(tmp_path / 'a', **TINY))
    monkeypatch.setattr(modelnet_layout, '_FEW', 1)
    assert contents(write_modelnet_sample(tmp_path / 'b', **TINY | {'processes': 2})) == first
    other = contents(write_modelnet_sample(tmp_path / 'c', **TINY, seed=1))
    assert {name for name in first if first[name] == other[name]} == set()


def test_a_larger_sample_begins_with_the_same_meshes(tmp_path):
    small, large = (
        contents(write_modelnet_sample(tmp_path / str(count), **TINY | {'train_per_class': count})) for count in (1, 3)
    )
    assert all(large[name] == data for name, data in small.items() if '/train/' in name)


def test_kept_replaced_and_refused(tmp_path):
    root = write_modelnet_sample(tmp_path / 's', **TINY)
    stamp = (root / 'complete.json').stat().st_mtime_ns
    assert write_modelnet_sample(root, **TINY) == root
    assert (root / 'complete.json').stat().st_mtime_ns == stamp
    write_modelnet_sample(root, **TINY, seed=3)
    assert json.loads((root / 'complete.json').read_text())['seed'] == 3
    foreign = tmp_path / 'mine'
    foreign.mkdir()
    (foreign / 'thesis.tex').write_text('precious')
    with pytest.raises(StorageError, match='mine'):
        write_modelnet_sample(foreign, **TINY)
    assert sorted(path.name for path in tmp_path.iterdir()) == ['mine', 's']
    for wrong in ({'train_per_class': 0}, {'test_per_class': 0}, {'seed': -1}, {'processes': 0}):
        with pytest.raises(ConfigError):
            write_modelnet_sample(tmp_path / 'x', **TINY | wrong)
