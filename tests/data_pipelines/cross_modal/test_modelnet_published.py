"""The published preprocessed files: the same table, objects without a modality dropped, bad files named."""

import json
import pickle

import h5py
import numpy as np
import pytest
from modelnet_folders import CLASSES, body, picture, published_faces, write_published

from data_pipelines.cross_modal.modelnet_published import read_modelnet_files
from data_pipelines.cross_modal.objects import read_meshnet, relative_corners
from data_pipelines.cross_modal.prepare import load_objects, prepare_modelnet
from jaxret.errors import ConfigError, DataError
from jaxret.geometry.mesh_features import face_neighbors
from jaxret.geometry.render import ViewRing


def read(root, **options):
    folders = {f'{kind}_dir': root / kind for kind in ('images', 'points', 'meshes')}
    defaults = {'view_ids': (0, 1, 2), 'val_fraction': 0, 'points': 32, 'check_processes': 1, 'progress': False}
    return read_modelnet_files(**folders | defaults | options)


def tables(dataset, cache_dir, **options):
    options = {'points': 32, 'max_faces': 100, 'processes': 1, 'progress': False} | options
    prepared = prepare_modelnet(dataset, ViewRing(size=16), cache_dir=cache_dir, **options)
    return {split: load_objects(prepared, split) for split in ('train', 'test')}


def problems(function, *arguments, **options):
    with pytest.raises(DataError) as caught:
        function(*arguments, **options)
    return [(problem.where.rpartition('/')[2], problem.found) for problem in caught.value.problems]


@pytest.mark.parametrize('keys', [('face', 'neighbor_index'), ('faces', 'neighbors')])
def test_tables_hold_what_the_files_hold(tmp_path, keys):
    write_published(tmp_path, keys=keys)
    dataset = read(tmp_path, view_ids=(2, 0))
    assert dataset.published and dataset.categories == CLASSES and not dataset.skipped
    for split, table in tables(dataset, tmp_path / 'cache').items():
        assert len(table) == {'train': 9, 'test': 6}[split]
        for row, name in enumerate(table.names):
            category, number = name.rsplit('_', 1)
            label, number = CLASSES.index(category), int(number)
            assert table.label[row] == label and (number < 3) == (split == 'train')
            cloud = np.random.default_rng([label, number]).normal(size=(32, 3)).astype(np.float32)
            np.testing.assert_array_equal(table.points[row], cloud)  # +y up already
            for position, view in enumerate((2, 0)):
                value = 50 * label + 10 * number + view
                pixels = table.views([row], [position])[0, 0, :, :, 0]
                assert (pixels[8:] == value).all() and (pixels[:8] == 255 - value).all()
            faces, neighbors = published_faces(category, number)
            count = len(faces)
            np.testing.assert_array_equal(table.neighbors[row, :count], neighbors)
            x, y, z = faces[:, :3].T
            np.testing.assert_allclose(table.faces[row, :count, :3], np.stack([x, z, -y], 1), atol=1e-6)
            np.testing.assert_allclose(table.faces[row, :, 3:12].reshape(100, 3, 3).sum(1), 0, atol=1e-5)
            x, y, z = faces[:, 12:].T
            np.testing.assert_allclose(table.faces[row, :count, 12:], np.stack([x, z, -y], 1), atol=1e-6)


def test_neighbors_of_the_fixture_are_edge_neighbors():
    """The test's own neighbours come from trimesh; ours give the same sets."""
    mesh = body('ball', 1)
    _, expected = published_faces('ball', 1)
    np.testing.assert_array_equal(np.sort(face_neighbors(np.asarray(mesh.faces)), 1), np.sort(expected, 1))


def test_corners_become_relative_once():
    faces, _ = published_faces('cone', 2)
    relative = relative_corners(faces)
    np.testing.assert_allclose(relative[:, 3:12].reshape(-1, 3, 3) + relative[:, None, :3],
                               faces[:, 3:12].reshape(-1, 3, 3), atol=1e-6)  # fmt: skip
    np.testing.assert_array_equal(relative_corners(relative), relative)


def test_an_object_that_lacks_a_modality_is_dropped_and_listed(tmp_path):
    ids = write_published(tmp_path)
    (tmp_path / f'meshes/ball/test/{ids["ball"][3]}.npz').unlink()
    folder = tmp_path / 'images/box' / ids['box'][0]
    folder.rename(folder.with_name('box_0099'))
    dataset = read(tmp_path)
    assert [(problem.where, problem.found) for problem in dataset.skipped] == [
        ('ball/ball_0003', 'has no mesh features'),
        ('box/box_0000', 'has no views'),
        ('box/box_0099', 'has no points and no mesh features'),
    ]
    assert len(dataset.objects) == 13
    found = tables(dataset, tmp_path / 'cache')
    assert len(found['test']) == 5 and 'ball_0003' not in found['test'].names
    assert len(found['train']) == 8 and 'box_0000' not in found['train'].names


def test_faults_are_reported_together(tmp_path):
    ids = write_published(tmp_path)
    with h5py.File(tmp_path / 'points/ply_data_test0.h5', 'a') as file:
        del file['label']
    (tmp_path / 'images/ball' / ids['ball'][1] / f'{ids["ball"][1]}.2.png').unlink()
    mesh = tmp_path / f'meshes/box/train/{ids["box"][0]}.npz'
    np.savez(mesh, face=np.array([{'run': 'me'}], object), neighbor_index=1)
    np.savez(tmp_path / f'meshes/cone/train/{ids["cone"][1]}.npz', corners=np.zeros((4, 15)))
    found = problems(read, tmp_path)
    assert ('ply_data_test0.h5', 'no key label (it has data)') in found
    assert ('ball_0001', '1 of 3 views are missing (ball_0001.2.png, ...)') in found
    assert ('box_0000.npz', 'an object array, which could run code when loaded; it is not read') in found
    assert ('cone_0001.npz', 'keys corners') in found
    assert ('points', 'no objects in split test') in found
    assert ('box_0003', 'has no points') in found  # left out, as it is listed nowhere


@pytest.mark.parametrize(
    'damage, expected',
    [
        (lambda file: file.unlink(), 'no ply_data_train*.h5'),
        (lambda file: file.write_bytes(b'no HDF5'), 'not a readable HDF5 file'),
        (lambda file: file.write_bytes(file.read_bytes()[:900]), 'not a readable HDF5 file'),
        (lambda file: file.with_name('ply_data_train_0_id2file.json').unlink(), 'the id list is missing'),
        (lambda file: file.with_name('ply_data_train_0_id2file.json').write_text('{'), 'cannot be read as JSON'),
        (lambda file: file.with_name('ply_data_train_0_id2file.json').write_text('{}'), 'not a list of names'),
        (lambda file: file.with_name('ply_data_train_0_id2file.json').write_text('["a/b.ply"]'), '9 objects, but its'),
    ],
)
def test_damaged_point_files(tmp_path, damage, expected):
    write_published(tmp_path)
    damage(tmp_path / 'points/ply_data_train0.h5')
    assert any(expected in found for _, found in problems(read, tmp_path))


def test_labels_lists_and_shapes_that_disagree(tmp_path):
    write_published(tmp_path)
    listed = tmp_path / 'points/ply_data_train_0_id2file.json'
    names = json.loads(listed.read_text())
    names[1], names[4] = names[0], 'ball/box_0001.ply'
    listed.write_text(json.dumps(names))
    found = [text for _, text in problems(read, tmp_path)]
    assert "row 1 is 'ball/ball_0000.ply' in the id list, but has label 1" in found
    assert "row 4 is 'ball/box_0001.ply' in the id list, but has label 1" in found
    with h5py.File(tmp_path / 'points/ply_data_test0.h5', 'w') as file:
        file['data'], file['label'] = np.zeros((6, 32, 2), np.float32), np.zeros((6, 1), np.uint8)
    assert any('data float32 [6, 32, 2]' in text for _, text in problems(read, tmp_path))


@pytest.mark.parametrize('on_bad_file', ['error', 'skip'])
def test_sizes_that_do_not_fit_are_one_problem_found_first(tmp_path, on_bad_file):
    write_published(tmp_path)  # boxes have 12 faces, cones 16, balls 80
    assert problems(read, tmp_path, max_faces=14, on_bad_file=on_bad_file) == [
        ('meshes', '10 objects have more than 14 faces, up to 80')
    ]
    assert len(read(tmp_path, max_faces=80).objects) == 15
    assert problems(read, tmp_path, points=33, on_bad_file=on_bad_file)[:2] == [
        (f'ply_data_{split}0.h5', '32 points an object where 33 are needed') for split in ('test', 'train')
    ]


def test_names_without_class_folders(tmp_path):
    write_published(tmp_path)
    for path in (tmp_path / 'points').glob('*.json'):
        path.write_text(json.dumps([name.split('/')[1][:-4] for name in json.loads(path.read_text())]))
    assert len(read(tmp_path).objects) == 15


FACES, NEIGHBORS = published_faces('box', 0)


@pytest.mark.parametrize(
    'arrays, expected',
    [
        ({'face': FACES[:, :14], 'neighbor_index': NEIGHBORS}, 'face float32 [12, 14]'),
        ({'face': FACES, 'neighbor_index': NEIGHBORS[:5]}, 'neighbor_index int64 [5, 3]'),
        ({'faces': FACES[:0], 'neighbors': NEIGHBORS[:0]}, 'faces float32 [0, 15]'),
        ({'faces': FACES * np.nan, 'neighbors': NEIGHBORS}, 'not finite'),
        ({'faces': FACES, 'neighbors': NEIGHBORS + 1}, 'neighbors outside 0 .. 11'),
        ({'faces': FACES, 'neighbors': NEIGHBORS - 1}, 'neighbors outside 0 .. 11'),
        ({'faces': FACES.astype('U9'), 'neighbors': NEIGHBORS}, 'faces <U9 [12, 15]'),
        ({'faces': FACES, 'neighbor_index': NEIGHBORS}, 'keys faces, neighbor_index'),
        ({'faces': np.float32(1), 'neighbors': NEIGHBORS}, 'faces float32 []'),
    ],
)
def test_mesh_features_that_cannot_be_used(tmp_path, arrays, expected):
    np.savez(tmp_path / 'a.npz', **arrays)
    ((_, found),) = problems(read_meshnet, tmp_path / 'a.npz')
    assert expected in found


def test_files_that_are_no_mesh_features(tmp_path):
    path = tmp_path / 'a.npz'
    np.savez(path, face=FACES, neighbor_index=NEIGHBORS)
    whole, marker = path.read_bytes(), tmp_path / 'ran'
    for data in (whole[: len(whole) // 2], b'', b'PK\x03\x04 no archive', b'\x93NUMPY no array'):
        path.write_bytes(data)
        assert 'not a readable .npz file' in problems(read_meshnet, path)[0][1]
    with open(path, 'wb') as file:
        np.save(file, FACES)
    assert problems(read_meshnet, path) == [('a.npz', 'not a .npz file with several arrays')]

    class Payload:
        def __reduce__(self):
            return open, (str(marker), 'w')

    path.write_bytes(pickle.dumps(Payload()))
    assert 'could run code' in problems(read_meshnet, path)[0][1]
    np.savez(path, faces=np.array([Payload()], object), neighbors=NEIGHBORS)
    assert 'could run code' in problems(read_meshnet, path)[0][1]
    assert not marker.exists()
    assert 'not a readable .npz file' in problems(read_meshnet, tmp_path / 'none.npz')[0][1]


def test_pictures_are_checked_when_they_are_prepared(tmp_path):
    write_published(tmp_path)
    one, two = (tmp_path / f'images/ball/ball_000{number}/ball_000{number}.1.png' for number in (0, 3))
    one.write_bytes(picture(9, size=24))  # another size is resized
    two.write_bytes(picture(9)[:60])
    dataset = read(tmp_path)
    ((where, found),) = problems(tables, dataset, tmp_path / 'cache')
    assert where == 'ball_0003.1.png' and found.startswith('cannot be read as an image')
    table = tables(dataset, tmp_path / 'cache', on_bad_file='skip')
    assert len(table['test']) == 5
    assert (table['train'].views([0], [1])[0, 0, 9:, :, 0] == 9).all()
    boxes = read(tmp_path, classes=('box',), train_per_class=1)
    found = problems(tables, boxes, tmp_path / 'cache', points=99)
    assert [where for where, _ in found] == [f'ply_data_{split}0.h5' for split in ('train', 'test', 'test')]
    assert {text for _, text in found} == {'32 points a row where 99 are wanted'}


def test_choices(tmp_path):
    write_published(tmp_path)
    dataset = read(tmp_path, classes=('cone', 'box'), train_per_class=1)
    assert dataset.categories == ('box', 'cone') and len(dataset.split_objects('train')) == 2
    assert read(tmp_path, split_table=dataset.split_table()).split_table() == dataset.split_table()
    (tmp_path / 'images/ball/ball_0099').mkdir()  # of a class that is not used
    assert read(tmp_path, classes=('box',)).skipped == ()
    with pytest.raises(DataError, match="no objects of class 'bowl'; choose from: ball, box, cone"):
        read(tmp_path, classes=('box', 'bowl'))
    for wrong in ({'view_ids': ()}, {'view_ids': (1, 1)}, {'view_ids': (-1,)}, {'points_up_axis': 'x'}):
        with pytest.raises(ConfigError, match=next(iter(wrong))):
            read(tmp_path, **wrong)
    with pytest.raises(DataError, match=r'does not exist; .*data\.images_dir'):
        read(tmp_path, images_dir=tmp_path / 'nowhere')


@pytest.mark.parametrize('encoding', ['utf-8-sig', 'utf-16'])
def test_lists_with_a_byte_order_mark(tmp_path, encoding):
    write_published(tmp_path)
    plain = read(tmp_path)
    for file in (tmp_path / 'points').iterdir():
        if file.suffix != '.h5':
            file.write_text(file.read_text(), encoding=encoding, newline='\r\n')
    dataset = read(tmp_path)
    assert dataset.objects == plain.objects and dataset.categories == plain.categories
    (tmp_path / 'points' / 'shape_names.txt').write_bytes(b'caf\xe9')
    assert ('shape_names.txt, line 1', 'not UTF-8 (byte 0xe9)') in problems(read, tmp_path)
