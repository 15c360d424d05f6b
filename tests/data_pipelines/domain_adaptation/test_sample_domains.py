"""The sample in MI3DOR's layout: complete, deterministic, its domains apart, its objects never in both."""

import json

import numpy as np
import pytest
from PIL import Image

from data_pipelines.domain_adaptation import sample as mi3dor_layout
from data_pipelines.domain_adaptation.mi3dor import read_mi3dor
from data_pipelines.domain_adaptation.sample import CLASSES, make_object, write_mi3dor_sample
from jaxret.errors import ConfigError, StorageError
from jaxret.geometry.mesh import load_mesh

TINY = {'train_photos': 1, 'test_photos': 1, 'train_shapes': 1, 'test_shapes': 1, 'photo_size': 24, 'processes': 1,
        'progress': False}  # fmt: skip


def contents(root):
    return {str(path.relative_to(root)): path.read_bytes() for path in sorted(root.rglob('*')) if path.is_file()}


@pytest.fixture(scope='module')
def sample(tmp_path_factory):
    return write_mi3dor_sample(tmp_path_factory.mktemp('sample') / 'mi3dor', **TINY | {'train_shapes': 2})


def test_the_reader_finds_everything(sample):
    dataset = read_mi3dor(sample, val_fraction=0, check_processes=1, progress=False, unmatched_classes='error')
    assert dataset.categories == CLASSES and len(CLASSES) >= 8 and dataset.skipped == () and dataset.rendered
    assert len(dataset.photos) == 2 * len(CLASSES) and len(dataset.shapes) == 3 * len(CLASSES)
    assert len(dataset.part_shapes('gallery')) == len(CLASSES)
    marker = json.loads((sample / 'complete.json').read_text())
    assert marker['synthetic'] is True and marker['files'] == 5 * len(CLASSES)
    assert [path.name for path in sample.parent.iterdir()] == ['mi3dor']


def test_photos_are_coloured_and_full_to_the_border(sample):
    for path in sample.rglob('*.jpg'):
        pixels = np.asarray(Image.open(path)).astype(int)
        assert pixels.shape == (24, 24, 3)
        border = np.concatenate([pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]])
        assert pixels.std() > 3 and border.std() > 2 and np.ptp(pixels, axis=-1).mean() > 1


def test_meshes_stand_upright_and_differ(sample):
    for path in sample.rglob('*.off'):
        vertices = load_mesh(path, up_axis='z').vertices
        assert np.ptp(vertices, axis=0).max() == pytest.approx(1, abs=1e-4)
    ladder = load_mesh(next(sample.rglob('ladder_0001.off')), up_axis='z').vertices
    assert np.ptp(ladder, axis=0).argmax() == 1  # +y up once loaded


@pytest.mark.parametrize('category', CLASSES)
def test_objects_differ_and_are_turned(category):
    made = [make_object(category, index, seed=0) for index in (0, 1, 23, 24)]
    other = make_object(category, 0, seed=mi3dor_layout._PHOTOGRAPHED)
    assert len({item.vertices.tobytes() for item in (*made, other)}) == 5
    again = make_object(category, 24, seed=0)
    np.testing.assert_array_equal(again.vertices, made[-1].vertices)
    for item in made:
        low, high = item.vertices.min(axis=0), item.vertices.max(axis=0)
        np.testing.assert_allclose(low + high, 0, atol=1e-9)
        assert (high - low).max() == pytest.approx(1) and item.face_parts.max() < len(item.part_names)


def test_same_seed_same_bytes_whatever_the_processes(tmp_path, monkeypatch, sample):
    monkeypatch.setattr(mi3dor_layout, '_FEW', 1)
    smaller = contents(write_mi3dor_sample(tmp_path / 'a', **TINY | {'processes': 2}))
    large = contents(sample)
    same = [name for name in smaller if name != 'complete.json' and 'model/test' not in name]
    assert len(same) == 3 * len(CLASSES) and all(smaller[name] == large[name] for name in same)
    other = contents(write_mi3dor_sample(tmp_path / 'b', **TINY, seed=1))
    assert [name for name in smaller if smaller[name] == other[name]] == []


def test_kept_and_refused(tmp_path, sample):
    stamp = (sample / 'complete.json').stat().st_mtime_ns
    assert write_mi3dor_sample(sample, **TINY | {'train_shapes': 2}) == sample
    assert (sample / 'complete.json').stat().st_mtime_ns == stamp
    (tmp_path / 'thesis.tex').write_text('precious')
    with pytest.raises(StorageError):
        write_mi3dor_sample(tmp_path, **TINY)
    for wrong in ({'train_photos': 0}, {'test_shapes': 0}, {'seed': -1}, {'processes': 0}, {'photo_size': 8}):
        with pytest.raises(ConfigError, match=next(iter(wrong))):
            write_mi3dor_sample(tmp_path / 'x', **TINY | wrong)
