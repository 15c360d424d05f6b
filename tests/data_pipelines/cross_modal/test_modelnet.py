"""The reader of ModelNet's layout: splits by hash, and everything that is wrong found first and reported together."""

from collections import Counter

import pytest
from modelnet_folders import CLASSES, write_collection

from data_pipelines.cross_modal.modelnet import read_modelnet
from data_pipelines.splits import draw_per_class
from jaxret.errors import ConfigError, DataError


def read(root, **options):
    return read_modelnet(root, **({'check_processes': 1, 'progress': False, 'val_fraction': 0} | options))


def splits(dataset):
    return {split: {entry.name for entry in dataset.split_objects(split)} for split in ('train', 'val', 'test')}


def problems(root, **options):
    with pytest.raises(DataError) as caught:
        read(root, **options)
    return [(problem.where, problem.found) for problem in caught.value.problems]


def test_published_splits_and_classes(tmp_path):
    names = write_collection(tmp_path)
    (tmp_path / 'README.txt').write_text('about')
    (tmp_path / '__MACOSX').mkdir()
    (tmp_path / 'ball/train/.hidden.off').write_text('no mesh')
    (tmp_path / 'ball/train/notes.txt').write_text('no mesh')
    dataset = read(tmp_path)
    assert [entry.name for entry in dataset.objects] == sorted(names)
    assert dataset.categories == CLASSES and dataset.up_axis == 'z' and not dataset.skipped and not dataset.published
    for entry in dataset.objects:
        category, split, file = entry.name.split('/')
        assert (entry.category, entry.split, entry.mesh) == (category, split, dataset.root / entry.name)
    assert read(tmp_path, classes=('cone', 'ball')).categories == ('ball', 'cone')


@pytest.mark.parametrize('suffix', ['.obj', '.ply', '.stl', '.glb'])
def test_other_mesh_files(tmp_path, suffix):
    assert len(read(tmp_path if write_collection(tmp_path, suffix=suffix) else None).objects) == 15


def test_val_is_held_out_of_train_whatever_is_drawn(tmp_path):
    write_collection(tmp_path, train=5)
    whole = splits(read(tmp_path))
    held = splits(read(tmp_path, val_fraction=0.2))
    assert len(held['val']) == 3 and held['train'] | held['val'] == whole['train'] and held['test'] == whole['test']
    assert splits(read(tmp_path, val_fraction=0.2)) == held
    assert splits(read(tmp_path, val_fraction=0.2, seed=1))['val'] != held['val']
    for count in (1, 2, 9):
        drawn = splits(read(tmp_path, val_fraction=0.2, train_per_class=count))
        assert drawn['val'] == held['val'] and drawn['test'] == held['test'] and drawn['train'] <= held['train']
        per_class = Counter(name.split('/')[0] for name in held['train'])
        assert Counter(name.split('/')[0] for name in drawn['train']) == {
            name: min(count, there) for name, there in per_class.items()
        }
    # never the last one of a class
    assert len(splits(read(tmp_path, val_fraction=0.99))['train']) == 3


def test_draws_are_nested_and_depend_on_names_only():
    class_of = {f'{number}': str(number % 3) for number in range(30)}
    two, five = (draw_per_class(class_of, count=count, seed=0) for count in (2, 5))
    assert len(two) == 6 and len(five) == 15 and two < five
    assert draw_per_class(dict(reversed(class_of.items())), count=2, seed=0) == two
    assert draw_per_class(class_of, count=2, seed=1) != two
    assert draw_per_class(class_of, count=99, seed=0) == set(class_of)


def test_split_of_an_earlier_run(tmp_path):
    write_collection(tmp_path, train=4)
    first = read(tmp_path, val_fraction=0.2, train_per_class=2)
    write_collection(tmp_path, train=6, test=1)  # the folder has grown
    again = read(tmp_path, split_table=first.split_table())
    assert again.split_table() == first.split_table()
    (tmp_path / first.objects[0].name).unlink()
    ((where, found),) = problems(tmp_path, split_table=first.split_table())
    assert where == str(tmp_path.resolve()) and found.startswith('1 objects of the stored split are not here')


def test_everything_wrong_is_reported_together(tmp_path):
    write_collection(tmp_path, classes=(*CLASSES,))
    (tmp_path / 'ball/train/ball_0000.off').write_text('OFF\n3 1 0\n0 0 0\n1 0 0\n')
    (tmp_path / 'box/test/box_0004.off').write_text('OFF\n3 1 0\n0 0 0\n1 0 0\n0 nan 0\n3 0 1 2\n')
    for file in (tmp_path / 'cone/test').iterdir():
        file.unlink()
    (tmp_path / 'loose').mkdir()
    (tmp_path / 'box/train/box_0000.off').rename(tmp_path / 'loose/box.off')
    (tmp_path / 'ball/test/more/a/b').mkdir(parents=True)
    for name in ('ball.off', 'ball.STL', '.ball.off', 'notes.txt'):
        (tmp_path / 'ball/test/more/a/b' / name).write_text('not read')
    (tmp_path / 'cube/train/empty').mkdir(parents=True)
    (tmp_path / 'cube/test').mkdir()
    found = problems(tmp_path, classes=())
    root = tmp_path.resolve()
    misplaced = [
        (str(root / 'ball/test/more'), '2 meshes in a folder below test'),
        (str(root / 'cube'), 'no meshes in train and test'),
        (str(root / 'loose'), '1 meshes, but no train or test folder'),
    ]
    assert found == [
        *misplaced,
        (str(root / 'ball/train/ball_0000.off'),
         'cut off: the header names 3 vertices and 1 faces, 2 lines follow'),
        (str(root / 'box/test/box_0004.off'), '1 of 3 vertices are not finite (NaN or infinite)'),
        (str(root), "class 'cone' has no test object"),
    ]  # fmt: skip
    skipped = read(tmp_path, on_bad_file='skip').skipped
    assert [(problem.where, problem.found) for problem in skipped] == found
    # what is not used is not looked at
    assert problems(tmp_path, classes=('box',)) == found[-2:-1]


def test_links_are_followed(tmp_path):
    write_collection(tmp_path / 'data')
    (tmp_path / 'data/box').rename(tmp_path / 'box')
    (tmp_path / 'data/box').symlink_to(tmp_path / 'box')
    (tmp_path / 'data/disc').symlink_to(tmp_path / 'data/cone')
    assert read(tmp_path / 'data').categories == ('ball', 'box', 'cone', 'disc')


def test_skipping_leaves_out_bad_files_and_classes_without_test(tmp_path):
    write_collection(tmp_path)
    (tmp_path / 'ball/train/ball_0000.off').write_text('OFF\n')
    for file in sorted((tmp_path / 'cone/test').iterdir()):
        file.write_text('OFF\n')
    dataset = read(tmp_path, on_bad_file='skip')
    assert dataset.categories == ('ball', 'box') and len(dataset.objects) == 9
    assert [problem.where.rpartition('/')[2] for problem in dataset.skipped[:3]] == [
        'ball_0000.off', 'cone_0003.off', 'cone_0004.off'
    ]  # fmt: skip
    assert dataset.skipped[3].found == "class 'cone' has no test object"
    for category in ('ball', 'box'):
        for file in (tmp_path / category / 'test').iterdir():
            file.unlink()
    assert 'no objects in split test' in [found for _, found in problems(tmp_path, on_bad_file='skip')]


def test_folders_and_classes_that_are_not_there(tmp_path):
    assert problems(tmp_path / 'nowhere')[0][1] == 'data_dir does not exist'
    (tmp_path / 'file').write_text('')
    assert problems(tmp_path / 'file')[0][1] == 'data_dir is not a folder'
    assert 'no meshes in class folders' in [found for _, found in problems(tmp_path)]
    write_collection(tmp_path / 'data')
    assert problems(tmp_path / 'data', classes=('ball', 'bowl')) == [
        (str((tmp_path / 'data').resolve()), "no objects of class 'bowl'")
    ]


def test_options_out_of_range(tmp_path):
    write_collection(tmp_path, train=1, test=1)
    for wrong in ({'train_per_class': -1}, {'val_fraction': 1.0}, {'on_bad_file': 'ignore'}, {'up_axis': 'x'}):
        with pytest.raises(ConfigError, match=next(iter(wrong))):
            read(tmp_path, **wrong)


def test_test_objects_alone_will_do_for_an_evaluation(tmp_path):
    write_collection(tmp_path, train=0)
    assert len(read(tmp_path, required_splits=('test',)).objects) == 6
    assert "class 'box' has no train object" in [found for _, found in problems(tmp_path)]


def test_fingerprint_changes_with_files_and_splits(tmp_path):
    write_collection(tmp_path, train=4)
    prints = {read(tmp_path).fingerprint, read(tmp_path, up_axis='y').fingerprint}
    prints.add(read(tmp_path, val_fraction=0.2).fingerprint)
    assert read(tmp_path).fingerprint in prints
    (tmp_path / 'box/train/box_0000.off').write_bytes((tmp_path / 'cone/train/cone_0000.off').read_bytes())
    prints.add(read(tmp_path).fingerprint)
    assert len(prints) == 4
