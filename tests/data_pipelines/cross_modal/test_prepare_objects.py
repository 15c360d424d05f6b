"""Prepared objects: what is stored is what the geometry gives, once, whatever the processes, and never half."""

import hashlib

import numpy as np
import pytest
from modelnet_folders import CLASSES, write_collection

from data_pipelines import records
from data_pipelines.cross_modal.modelnet import read_modelnet
from data_pipelines.cross_modal.prepare import load_objects, prepare_modelnet
from jaxret.errors import ConfigError, DataError, StorageError
from jaxret.geometry.mesh import load_mesh, normalize_mesh
from jaxret.geometry.mesh_features import face_features, face_neighbors
from jaxret.geometry.points import sample_surface
from jaxret.geometry.render import ViewRing, render_views
from jaxret.geometry.simplify import weld_mesh

RING = ViewRing(views=3, size=16)


def read(root, **options):
    return read_modelnet(root, **({'check_processes': 1, 'progress': False} | options))


def prepare(dataset, cache_dir, **options):
    options = {'points': 64, 'max_faces': 40, 'processes': 1, 'progress': False} | options
    return prepare_modelnet(dataset, RING, cache_dir=cache_dir, **options)


def folders(cache_dir):
    return sorted(path.name for path in cache_dir.iterdir() if path.is_dir())


def test_round_trip_is_exact_and_silent(tmp_path, capfd):
    write_collection(tmp_path / 'data')
    dataset = read(tmp_path / 'data', val_fraction=0.2)
    prepared = prepare(dataset, tmp_path / 'cache')
    total = 0
    for split in ('train', 'val', 'test'):
        table, chosen = load_objects(prepared, split), dataset.split_objects(split)
        assert table.names == [entry.name for entry in chosen] and len(table) == len(chosen)
        assert table.categories == CLASSES and table.size == 16
        assert [table.categories[label] for label in table.label] == [entry.category for entry in chosen]
        for row, entry in enumerate(chosen):
            mesh = normalize_mesh(load_mesh(entry.mesh, up_axis='z'), mode='sphere')
            np.testing.assert_array_equal(table.views([row], range(3))[0, ..., 0], render_views(mesh, RING))
            seed = int(hashlib.sha256(entry.name.encode()).hexdigest()[:8], 16)
            np.testing.assert_array_equal(table.points[row], sample_surface(mesh, 64, seed=seed))
            if len(mesh.faces) <= 40:
                welded = weld_mesh(mesh)
                count = len(welded.faces)
                np.testing.assert_array_equal(table.faces[row, :count], face_features(welded))
                np.testing.assert_array_equal(table.neighbors[row, :count], face_neighbors(welded.faces))
            total += 1
        assert table.neighbors.dtype == np.int32 and table.label.dtype == np.int32
        assert table.points.dtype == table.faces.dtype == np.float32
        assert np.isfinite(table.faces).all() and (table.neighbors >= 0).all() and (table.neighbors < 40).all()
        assert np.linalg.norm(table.points, axis=-1).max() <= 1 + 1e-6
    assert total == 15
    assert capfd.readouterr() == ('', '')


def test_up_is_y_after_loading(tmp_path):
    """The higher a body's number, the longer it is along z in its file."""
    write_collection(tmp_path / 'data', train=6, classes=('box',))
    table = load_objects(prepare(read(tmp_path / 'data', val_fraction=0), tmp_path / 'cache'), 'train')
    for cloud in (table.points, table.faces[..., :3]):
        extent = np.ptp(cloud, axis=1)
        assert (np.diff(extent[:, 1] / extent[:, 0]) > 0).all() and extent[-1, 1] > extent[-1, [0, 2]].max()


def test_made_once_in_any_number_of_processes(tmp_path, monkeypatch):
    monkeypatch.setattr(records, 'SERIAL_BELOW', 1)
    write_collection(tmp_path / 'data', train=2, test=1)
    dataset = read(tmp_path / 'data', val_fraction=0)
    serial, parallel = (prepare(dataset, tmp_path / str(count), processes=count) for count in (1, 2))
    for split in ('train', 'test'):
        one, two = load_objects(serial, split), load_objects(parallel, split)
        assert one.names == two.names and (one.views_encoded == two.views_encoded).all()
        for key in ('points', 'faces', 'neighbors', 'label'):
            np.testing.assert_array_equal(getattr(one, key), getattr(two, key))
    stamp = (serial.folder / 'prepared.json').stat().st_mtime_ns
    assert prepare(dataset, tmp_path / '1').folder == serial.folder
    assert (serial.folder / 'prepared.json').stat().st_mtime_ns == stamp
    monkeypatch.setattr(records, 'complete_folder', lambda folder, write: {'dropped': []})
    others = [{'points': 32}, {'max_faces': 30}, {'on_bad_file': 'skip'}]
    assert len({prepare(dataset, tmp_path / '1', **other).folder for other in others} | {serial.folder}) == 4
    with pytest.raises(ConfigError, match='max_faces'):
        prepare(dataset, tmp_path / '1', max_faces=0)


def test_a_mesh_that_changes_after_the_check(tmp_path):
    names = write_collection(tmp_path / 'data')
    dataset = read(tmp_path / 'data', val_fraction=0)
    for name in (names[0], names[6]):
        (tmp_path / 'data' / name).write_text('OFF\n')
    with pytest.raises(DataError) as caught:
        prepare(dataset, tmp_path / 'cache')
    assert [problem.where for problem in caught.value.problems] == [
        str(dataset.root / name) for name in (names[0], names[6])
    ]
    assert folders(tmp_path / 'cache') == []
    for _ in range(2):  # written, and found again
        prepared = prepare(dataset, tmp_path / 'cache', on_bad_file='skip')
        assert len(prepared.dataset.skipped) == 2 and len(prepared.dataset.objects) == 13
        assert len(load_objects(prepared, 'train')) == 7


def test_a_class_that_loses_its_test_objects_goes(tmp_path):
    names = write_collection(tmp_path / 'data', test=1)
    dataset = read(tmp_path / 'data', val_fraction=0)
    (gone,) = [name for name in names if name.startswith('box/test')]
    (tmp_path / 'data' / gone).write_text('OFF\n')
    prepared = prepare(dataset, tmp_path / 'cache', on_bad_file='skip')
    assert {entry.category for entry in prepared.dataset.objects} == {'ball', 'cone'}
    table = load_objects(prepared, 'train')
    assert len(table) == 6 and table.categories == CLASSES and set(table.label.tolist()) == {0, 2}


def test_empty_and_unknown_splits_and_damage(tmp_path):
    write_collection(tmp_path / 'data', train=1, test=1)
    prepared = prepare(read(tmp_path / 'data'), tmp_path / 'cache')
    empty = load_objects(prepared, 'val')
    assert len(empty) == 0 and empty.points.shape == (0, 64, 3)
    with pytest.raises(ValueError, match='dev'):
        load_objects(prepared, 'dev')
    (records,) = prepared.folder.glob('model_net_objects/*/*-test.array_record*')
    records.write_bytes(records.read_bytes()[:50])
    with pytest.raises(StorageError, match='delete'):
        load_objects(prepared, 'test')
    (tmp_path / 'file').write_text('')
    with pytest.raises(StorageError, match='cannot be written'):
        prepare(read(tmp_path / 'data'), tmp_path / 'file')


def test_one_progress_bar(tmp_path, capfd):
    write_collection(tmp_path / 'data')
    prepare(read(tmp_path / 'data', val_fraction=0.2), tmp_path / 'cache', progress=True)
    shown = capfd.readouterr().err
    assert shown.count('Making views, points and faces') == 1 and '15/15' in shown
