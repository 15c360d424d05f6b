"""Reading Stanford Cars 3D and CompCars 3D: layouts, masks, and every kind of bad input, reported together."""

import copy
import dataclasses
import os
import pickle
import shutil
from collections import Counter

import numpy as np
import pytest
from car_folders import POSE, model_id, write_annotations, write_cars

from data_pipelines.photo_to_shape import car_masks
from data_pipelines.photo_to_shape.cars import count_note, read_cars
from jaxret.errors import ConfigError, DataError
from jaxret.preprocessing.photo_files import read_mask

DATASETS = ('stanford_cars', 'comp_cars')


def read(root, layout='comp_cars', **options):
    common = {'check_processes': 1, 'progress': False, 'cache_dir': root.parent / 'cache', 'masks': 'pose_test'}
    options = common | options
    return read_cars(root, layout=layout, **options)


def problems_of(root, layout='comp_cars', **options):
    with pytest.raises(DataError) as caught:
        read(root, layout, **options)
    assert all(problem.where and problem.found and problem.action for problem in caught.value.problems)
    return caught.value.problems


@pytest.fixture
def root(tmp_path):
    return tmp_path / 'data'


@pytest.mark.parametrize('version', [1, 2])
@pytest.mark.parametrize('layout', DATASETS)
def test_both_layouts(root, layout, version):
    annotations = write_cars(root, layout, version=version)
    dataset = read(root, layout, val_fraction=0.2)
    assert dataset.categories == ('car',) and dataset.skipped == () and dataset.up_axis == 'y'
    assert [shape.model for shape in dataset.shapes] == [f'02958343/{model_id(number)}' for number in (1, 2, 3)]
    assert Counter(photo.split for photo in dataset.photos) == {'train': 6, 'val': 1, 'test': 3}
    for photo in dataset.photos:
        top, key = photo.name.split('/', 1)
        split = 'test' if photo.split == 'test' else 'train'
        assert top == ('image' if layout == 'comp_cars' else f'cars_{split}')
        assert photo.image == root / photo.name and photo.image.is_file()
        assert photo.model == f'02958343/{annotations[split][key]["model_id"]}' and photo.bbox is None
        mask = read_mask(photo.mask)
        assert mask.shape == (20, 30) and 0.1 < (mask > 0).mean() < 0.9
        assert photo.mask.is_relative_to(root.parent / 'cache')
    assert len(read(root, layout, gallery='folder').shapes) == 4


def test_parts_in_the_places_of_their_release(root, tmp_path):
    write_cars(root, 'stanford_cars')
    plain = read(root, 'stanford_cars')
    shutil.copytree(root, tmp_path / 'models')
    for part in ('Anno3D/StanfordCars', 'Image/StanfordCars', 'CAD'):
        (root / part).mkdir(parents=True)
    for name, place in (('train_anno.pkl', 'Anno3D/StanfordCars'), ('test_anno.pkl', 'Anno3D/StanfordCars'),
                        ('cars_train', 'Image/StanfordCars'), ('cars_test', 'Image/StanfordCars'),
                        ('02958343', 'CAD')):  # fmt: skip
        (root / name).rename(root / place / name)
    released = read(root, 'stanford_cars')
    assert released.split_table() == plain.split_table()
    assert [shape.model for shape in released.shapes] == [shape.model for shape in plain.shapes]
    shutil.rmtree(root / 'CAD')
    (problem,) = problems_of(root, 'stanford_cars')
    assert problem.where.endswith('02958343') and problem.found == 'missing' and 'shapenet_dir' in problem.action
    elsewhere = read(root, 'stanford_cars', shapenet_dir=tmp_path / 'models')
    assert elsewhere.shapes[0].path.is_relative_to(tmp_path / 'models')
    (root / '02958343').symlink_to(tmp_path / 'models' / '02958343')
    assert len(read(root, 'stanford_cars').shapes) == 3


def test_masks_are_kept_and_made_anew_when_something_changes(root, monkeypatch):
    annotations = write_cars(root, 'comp_cars')
    first = {photo.name: photo.mask for photo in read(root).photos}
    monkeypatch.setattr(car_masks, 'silhouette', None)
    assert {photo.name: photo.mask for photo in read(root).photos} == first
    monkeypatch.undo()
    key = sorted(annotations['train'])[0]
    annotations['train'][key]['elevation'] = 0.3
    write_annotations(root, 'train', annotations['train'])
    second = {photo.name: photo.mask for photo in read(root).photos}
    assert [name for name in first if first[name] != second[name]] == [f'image/{key}']
    os.utime(root / '02958343' / model_id(2) / 'model.obj', ns=(1, 1))
    third = {photo.name: photo.mask for photo in read(root).photos}
    assert sum(second[name] != third[name] for name in second) == 3  # its photos


class Callable:
    def __reduce__(self):
        return os.system, ('touch /tmp/this-must-not-run-jaxret',)


@pytest.mark.parametrize('protocol', [0, 2, 4])
def test_an_annotation_with_a_callable_is_refused_by_name(root, protocol):
    annotations = write_cars(root, 'comp_cars')
    entry = next(iter(annotations['train'].values()))
    entry['f'] = Callable()
    (root / 'train_anno.pkl').write_bytes(pickle.dumps(annotations['train'], protocol=protocol))
    for mode in ('error', 'skip'):
        problem = problems_of(root, on_bad_file=mode)[0]
        assert problem.where == str(root / 'train_anno.pkl') and 'posix.system' in problem.found
    assert not os.path.exists('/tmp/this-must-not-run-jaxret')


@pytest.mark.parametrize(('content', 'found'), [
    (b'', 'damaged'), (pickle.dumps({'a.jpg': {}}, 0)[:-1], 'damaged'), (b'not a pickle', 'damaged'),
    (pickle.dumps([1, 2]), 'a list, not a dictionary'), (pickle.dumps({}), 'an empty dictionary'),
    (pickle.dumps(np.float64(1.0)), 'numpy'),
])  # fmt: skip
def test_annotation_files_that_are_none(root, content, found):
    write_cars(root, 'stanford_cars')
    (root / 'test_anno.pkl').write_bytes(content)
    problems = problems_of(root, 'stanford_cars', on_bad_file='skip')
    assert problems[0].where == str(root / 'test_anno.pkl') and found in problems[0].found


def test_missing_parts_are_reported_together(root):
    root.mkdir()
    assert [problem.where for problem in problems_of(root, 'stanford_cars')] == [
        str(root / name) for name in ('train_anno.pkl', 'cars_train', 'test_anno.pkl', 'cars_test', '02958343')
    ]
    assert 'Anno3D/StanfordCars' in problems_of(root, 'stanford_cars')[0].action
    write_cars(root, 'comp_cars')
    (root / 'test_anno.pkl').unlink()
    (root / 'test_anno.pkl').mkdir()
    assert [problem.found for problem in problems_of(root)] == ['not a regular file']
    assert 'does not exist' in problems_of(root / 'none')[0].found


BAD_ENTRIES = {
    'no_model': ({'model_id': None}, '.model_id', 'missing'),
    'number_model': ({'model_id': 5}, '.model_id', 'a int, not a text'),
    'path_model': ({'model_id': '../../etc'}, '.model_id', 'not the id'),
    'nested_model': ({'model_id': 'a/b'}, '.model_id', 'not the id'),
    'no_angle': ({'azimuth': None}, '.azimuth', 'missing'),
    'text_angle': ({'elevation': '0.1'}, '.elevation', 'a str, not a number'),
    'bool': ({'theta': True}, '.theta', 'a bool, not a number'),
    'nan': ({'u': float('nan')}, '.u', 'nan is out of range'),
    'infinite': ({'v': float('-inf')}, '.v', '-inf is out of range'),
    'huge': ({'f': 1e300}, '.f', '1e+300 is out of range'),
    'behind': ({'distance': -1.0}, '.distance', '-1.0 is not positive'),
    'flat': ({'f': 0}, '.f', '0 is not positive'),
}


@pytest.mark.parametrize('kind', BAD_ENTRIES)
def test_bad_entries(root, kind):
    change, field, found = BAD_ENTRIES[kind]
    annotations = write_cars(root, 'comp_cars')
    key = sorted(annotations['train'])[1]
    annotations['train'][key] |= change
    write_annotations(root, 'train', annotations['train'])
    for mode in ('error', 'skip'):
        (problem,) = problems_of(root, on_bad_file=mode)
        assert problem.where == f'train_anno.pkl[{key!r}]{field}' and found in problem.found


def test_bad_keys_and_duplicates(root):
    annotations = write_cars(root, 'comp_cars')
    good, entry = next(iter(annotations['train'].items()))
    bad = {'../secret.jpg': entry, '/etc/passwd': entry, 'a\n.jpg': entry, 7: entry, 'list.jpg': [1], '': entry}
    write_annotations(root, 'train', annotations['train'] | bad)
    assert [problem.found for problem in problems_of(root)] == [
        "path '../secret.jpg' leaves the folder", "path '/etc/passwd' leaves the folder",
        'characters that no file name can hold', 'its photo is not a text', 'a list, not a dictionary',
        "path '' leaves the folder",
    ]  # fmt: skip
    write_annotations(root, 'train', annotations['train'] | {good.replace('/', '//'): entry})
    assert [problem.found for problem in problems_of(root)] == [f'{good} is listed already']
    write_annotations(root, 'train', annotations['train'])
    write_annotations(root, 'test', annotations['test'] | {good: entry})
    (problem,) = problems_of(root, on_bad_file='skip')
    assert problem.where == f'test_anno.pkl[{good!r}]' and problem.found == 'is in test and in train'
    # in Stanford Cars every split numbers its photos from 1
    stanford = root.parent / 'stanford'
    annotations = write_cars(stanford, 'stanford_cars')
    first = sorted(annotations['train'])[0]
    shutil.copy(stanford / 'cars_train' / first, stanford / 'cars_test' / first)
    write_annotations(stanford, 'test', annotations['test'] | {first: annotations['train'][first]})
    assert len(read(stanford, 'stanford_cars').photos) == 11


def damage(root, annotations):
    """Damages photos, models and a pose; returns what is to be found, by place."""
    train = sorted(annotations['train'])
    images = [root / 'image' / key for key in train]
    images[0].unlink()
    images[1].write_bytes(images[1].read_bytes()[:200])
    annotations['train'][train[2]]['u'] = 4000.0
    write_annotations(root, 'train', annotations['train'])
    (root / '02958343' / model_id(2) / 'model.obj').write_text('v 0 0 0\nv 1 0 0\nv 0 nan 0\nf 1 2 3\n')
    shutil.rmtree(root / '02958343' / model_id(3))
    images[4].write_bytes(b'no image')  # of the broken model
    return {str(images[0]): 'missing', str(images[1]): 'damaged image',
            f'train_anno.pkl[{train[2]!r}]': 'nothing of the',
            str(root / '02958343' / model_id(2) / 'model.obj'): 'not finite',
            str(root / '02958343' / model_id(3)): 'missing', str(images[4]): 'not an image'}  # fmt: skip


def test_bad_files_are_reported_together(root):
    expected = damage(root, write_cars(root, 'comp_cars'))
    problems = problems_of(root)
    assert {problem.where for problem in problems} == expected.keys() and len(problems) == len(expected)
    for problem in problems:
        assert expected[problem.where] in problem.found


def test_skip_leaves_out_and_lists(root):
    expected = damage(root, write_cars(root, 'comp_cars', photos_of=(5, 3, 3)))
    dataset = read(root, on_bad_file='skip')
    assert [shape.model for shape in dataset.shapes] == [f'02958343/{model_id(1)}']
    assert {photo.model for photo in dataset.photos} == {f'02958343/{model_id(1)}'}
    assert Counter(photo.split for photo in dataset.photos) == {'test': 1, 'train': 1}
    lost = [problem for problem in dataset.skipped if 'cannot be used' in problem.found]
    assert len(lost) == 6 - 1 and len(dataset.skipped) == len(expected) + len(lost)
    with pytest.raises(DataError, match='1 usable shapes where 2 are needed'):
        read(root, on_bad_file='skip', min_shapes=2)
    with pytest.raises(DataError, match='no photos in split val'):
        read(root, on_bad_file='skip', required_splits=('train', 'val', 'test'), val_fraction=0)


def test_links_are_followed(root, tmp_path):
    annotations = write_cars(root, 'comp_cars')
    key = sorted(annotations['train'])[0]
    (root / 'image' / key).rename(tmp_path / 'outside.jpg')
    (root / 'image' / key).symlink_to(tmp_path / 'outside.jpg')
    model = root / '02958343' / model_id(2) / 'model.obj'
    model.rename(tmp_path / 'model.obj')
    model.symlink_to(tmp_path / 'model.obj')
    dataset = read(root)
    assert f'image/{key}' in dataset.split_table() and model in [shape.path for shape in dataset.shapes]


def test_a_stored_split_is_used_again(root):
    write_cars(root, 'comp_cars', photos_of=(6, 6))
    stored = read(root, val_fraction=0.3, seed=5).split_table()
    assert Counter(stored.values()) == {'train': 7, 'val': 3, 'test': 2}
    assert read(root, val_fraction=0.3, seed=6).split_table() != stored
    name = next(name for name, split in stored.items() if split == 'val')
    del stored[name]
    assert read(root, split_table=stored).split_table() == stored | {name: 'train'}


def test_fingerprint_follows_photos_poses_and_options(root):
    annotations = write_cars(root, 'comp_cars')
    first = read(root)
    assert read(root) == first
    found = {first.fingerprint, read(root, masks='frame').fingerprint, read(root, gallery='folder').fingerprint,
             read(root, val_fraction=0.5).fingerprint}  # fmt: skip
    os.utime(first.photos[0].image, ns=(1, 1))
    found.add(read(root).fingerprint)
    annotations['test'][sorted(annotations['test'])[0]] |= {'azimuth': 3.0}
    write_annotations(root, 'test', annotations['test'])
    found.add(read(root).fingerprint)
    assert len(found) == 6


def test_counts_beside_the_published_ones(root):
    write_cars(root, 'comp_cars')
    dataset = read(root)
    assert count_note(dataset, 'comp_cars') == (
        'counts here (in the CMIC paper): train 7 (3798), test 3 (1898), shapes 3 (94)'
    )
    photo = dataset.photos[0]

    def with_counts(train, test, shapes):
        photos = [dataclasses.replace(photo, split='test' if i < test else 'train', model=f'{i % shapes}')
                  for i in range(train + test)]  # fmt: skip
        return dataclasses.replace(dataset, photos=tuple(photos))

    assert count_note(with_counts(3798, 1898, 94), 'comp_cars') is None
    assert count_note(with_counts(8144, 8041, 134), 'stanford_cars') is None
    note = count_note(with_counts(3798, 1898, 98), 'comp_cars')
    assert 'train 3798 (3798), test 1898 (1898), shapes 98 (94)' in note and 'not known' in note


def test_options_are_checked(tmp_path):
    wrong = {'layout': 'aircraft', 'masks': 'guess', 'gallery': 'all', 'on_bad_file': 'ignore', 'crop': 'bbox',
             'val_fraction': 1}  # fmt: skip
    for name, value in wrong.items():
        with pytest.raises(ConfigError, match=name):
            read(tmp_path, **{name: value}) if name != 'layout' else read(tmp_path, value)


def test_numbers_may_be_whole(root):
    annotations = write_cars(root, 'comp_cars')
    before = copy.deepcopy(annotations['train'])
    key = sorted(before)[0]
    annotations['train'][key] |= {'distance': 2, 'u': 0, 'f': 400}
    assert annotations['train'][key] != before[key] and POSE['distance'] != 2
    write_annotations(root, 'train', annotations['train'])
    assert len(read(root).photos) == 10
