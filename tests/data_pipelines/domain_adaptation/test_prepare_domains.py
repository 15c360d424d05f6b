"""Prepared domains: the pixels are those of the files, made once; no record holds a label."""

import numpy as np
import pytest
from mi3dor_folders import CLASSES, write_meshes, write_photos, write_views
from PIL import Image

from data_pipelines import records
from data_pipelines.domain_adaptation.mi3dor import read_mi3dor
from data_pipelines.domain_adaptation.prepare import (
    PHOTOS,
    SHAPES,
    load_photos,
    load_shapes,
    prepare_mi3dor,
    shape_labels,
)
from data_pipelines.records import tfds
from jaxret.errors import ConfigError, DataError, StorageError
from jaxret.geometry.mesh import load_mesh
from jaxret.geometry.render import ViewRing, render_views
from jaxret.preprocessing.framing import square_picture
from jaxret.preprocessing.photo_files import read_photo

RING = ViewRing(views=4, size=16)


def read(root, **options):
    return read_mi3dor(root, **({'views': 4, 'check_processes': 1, 'progress': False} | options))


def prepare(dataset, cache_dir, **options):
    return prepare_mi3dor(dataset, RING, cache_dir=cache_dir, **({'processes': 1, 'progress': False} | options))


def test_pictures_become_square():
    picture = np.zeros((10, 30, 3), np.uint8)
    picture[:, 10:20, 0], picture[:, 20:, 1], picture[:, :10, 2] = 200, 200, 200
    cover = square_picture(picture, size=8, fit='cover')
    np.testing.assert_allclose(cover, np.broadcast_to([200, 0, 0], (8, 8, 3)), atol=8)  # the filter reaches outside
    high = square_picture(picture.transpose(1, 0, 2), size=8, fit='cover')
    np.testing.assert_allclose(high, cover.transpose(1, 0, 2), atol=1)
    stretched = square_picture(picture, size=30, fit='stretch')
    assert stretched.shape == (30, 30, 3) and (stretched[:, 15] == [200, 0, 0]).all()
    assert (stretched[:, 2] == [0, 0, 200]).all() and (stretched[:, -2] == [0, 200, 0]).all()
    padded = square_picture(picture, size=30, fit='pad')
    assert (padded[:10] == 255).all() and (padded[20:] == 255).all()
    np.testing.assert_array_equal(padded[10:20], picture)
    with pytest.raises(ValueError, match='crop'):
        square_picture(picture, size=8, fit='crop')


def test_photos_and_rendered_shapes(tmp_path, capfd):
    write_photos(tmp_path / 'data')
    write_meshes(tmp_path / 'data')
    dataset = read(tmp_path / 'data', val_fraction=0.25)
    prepared = prepare(dataset, tmp_path / 'cache')
    for split, count in (('train', 9), ('val', 3), ('test', 6)):
        table, entries = load_photos(prepared, split), dataset.split_photos(split)
        assert len(table) == count and table.names == [entry.name for entry in entries] and table.size == 16
        assert [CLASSES[label] for label in table.label] == [entry.category for entry in entries]
        assert table.categories == CLASSES and table.label.dtype == np.int32
        wanted = [square_picture(read_photo(entry.path), size=16, fit='cover') for entry in entries]
        np.testing.assert_array_equal(table.pictures(range(count)), wanted)
    for part, count in (('train', 9), ('gallery', 6)):
        table, entries = load_shapes(prepared, part), dataset.part_shapes(part)
        assert len(table) == count and table.names == [entry.name for entry in entries]
        assert (table.size, table.channels, table.views_encoded.shape) == (16, 1, (count, 4))
        labels = shape_labels(prepared, part)
        assert [CLASSES[label] for label in labels] == [entry.category for entry in entries]
        assert labels.dtype == np.int32
        wanted = [render_views(load_mesh(entry.mesh, up_axis='z'), RING) for entry in entries]
        np.testing.assert_array_equal(table.views(range(count), range(4))[..., 0], wanted)
    assert capfd.readouterr() == ('', '')


@pytest.mark.parametrize('colored', [False, True])
def test_views_are_kept_grey_or_coloured_as_found(tmp_path, colored):
    write_photos(tmp_path / 'data')
    write_views(tmp_path / 'data', colored=colored)
    dataset = read(tmp_path / 'data', val_fraction=0)
    assert dataset.channels == (3 if colored else 1)
    table = load_shapes(prepare(dataset, tmp_path / 'cache', fit='stretch'), 'gallery')
    assert table.channels == dataset.channels
    for row, entry in enumerate(dataset.part_shapes('gallery')):
        for view, path in enumerate(entry.views):
            pixels = np.asarray(Image.open(path))
            stored = table.views([row], [view])[0, 0]
            np.testing.assert_array_equal(stored, pixels if colored else pixels[..., :1])


def test_no_record_and_no_table_of_shapes_holds_a_label(tmp_path):
    write_photos(tmp_path / 'data')
    write_meshes(tmp_path / 'data')
    prepared = prepare(read(tmp_path / 'data'), tmp_path / 'cache')
    folder = prepared.folder / SHAPES / records.VERSION
    assert set(tfds.builder_from_directory(folder).info.features) == {'views', 'name'}
    assert set(vars(load_shapes(prepared, 'train'))) == {'views_encoded', 'names', 'size', 'channels'}


def test_made_once_for_files_and_options(tmp_path, monkeypatch):
    monkeypatch.setattr(records, 'SERIAL_BELOW', 5)
    write_photos(tmp_path / 'data', train=2, test=1)
    write_views(tmp_path / 'data', train=1, test=1)
    dataset = read(tmp_path / 'data', val_fraction=0)
    one, two = (prepare(dataset, tmp_path / str(count), processes=count) for count in (1, 2))
    for split in ('train', 'test'):
        assert (load_photos(one, split).images_encoded == load_photos(two, split).images_encoded).all()
    assert (load_shapes(one, 'train').views_encoded == load_shapes(two, 'train').views_encoded).all()
    stamp = (one.folder / 'prepared.json').stat().st_mtime_ns
    assert prepare(dataset, tmp_path / '1').folder == one.folder
    assert (one.folder / 'prepared.json').stat().st_mtime_ns == stamp
    every = read(tmp_path / 'data', val_fraction=0, train_shapes='all')  # the same files in other roles
    assert prepare(every, tmp_path / '1').folder == one.folder
    assert len(load_shapes(prepare(every, tmp_path / '1'), 'train')) == 6
    monkeypatch.setattr(records, 'complete_folder', lambda folder, write: {'dropped': []})
    folders = {prepare(dataset, tmp_path / '1', **other).folder for other in ({'fit': 'pad'}, {'on_bad_file': 'skip'})}
    ring = ViewRing(views=4, size=16, elevation=10)  # of no matter for pictures that are read
    assert len(folders | {one.folder}) == 3
    assert prepare_mi3dor(dataset, ring, cache_dir=tmp_path / '1').folder == one.folder
    with pytest.raises(ConfigError, match='fit'):
        prepare(dataset, tmp_path / '1', fit='crop')


def test_files_that_change_after_the_check(tmp_path):
    photos, shapes = write_photos(tmp_path / 'data'), write_views(tmp_path / 'data')
    dataset = read(tmp_path / 'data', val_fraction=0)
    (tmp_path / 'data' / photos[0]).write_bytes(b'')
    (tmp_path / 'data' / shapes[3] / '2.png').unlink()
    Image.new('RGB', (16, 16), (9, 9, 200)).save(tmp_path / 'data' / shapes[0] / '1.png')
    with pytest.raises(DataError) as caught:
        prepare(dataset, tmp_path / 'cache')
    found = [problem.found for problem in caught.value.problems]
    assert sorted(found) == ['coloured, where all views were grey', 'empty file', 'missing']
    assert [path for path in (tmp_path / 'cache').iterdir() if path.is_dir()] == []
    for _ in range(2):  # written, and found again
        prepared = prepare(dataset, tmp_path / 'cache', on_bad_file='skip')
        assert len(prepared.dataset.skipped) == 3
        assert len(load_photos(prepared, 'train')) == 11 and len(load_shapes(prepared, 'train')) == 8
        assert len(load_shapes(prepared, 'gallery')) == len(shape_labels(prepared, 'gallery')) == 5


def test_a_class_that_loses_its_gallery_goes(tmp_path):
    write_photos(tmp_path / 'data')
    names = write_meshes(tmp_path / 'data', test=1)
    dataset = read(tmp_path / 'data', val_fraction=0)
    (gone,) = [name for name in names if name.startswith('model/test/box')]
    (tmp_path / 'data' / gone).write_text('OFF\n')
    prepared = prepare(dataset, tmp_path / 'cache', on_bad_file='skip')
    assert prepared.dataset.skipped[-1].found == "class 'box' has no gallery shape"
    assert set(load_photos(prepared, 'test').label.tolist()) == {0, 2}  # labels stay what they were
    assert len(load_shapes(prepared, 'train')) == 6 and prepared.dataset.categories == CLASSES


def test_damaged_records_and_unknown_parts(tmp_path):
    write_photos(tmp_path / 'data')
    write_views(tmp_path / 'data')
    prepared = prepare(read(tmp_path / 'data', val_fraction=0), tmp_path / 'cache')
    assert len(load_photos(prepared, 'val')) == 0
    with pytest.raises(ValueError, match='split'):
        load_photos(prepared, 'gallery')
    for load in (load_shapes, shape_labels):
        with pytest.raises(ValueError, match='part'):
            load(prepared, 'test')
    for file in (prepared.folder / PHOTOS).rglob('*train*'):
        file.write_bytes(b'')
    with pytest.raises(StorageError):
        load_photos(prepared, 'train')
