"""MI3DOR's layout: photos and shapes in folders, what is wrong found together, classes of one domain alone."""

import shutil
from pathlib import Path

import pytest
from mi3dor_folders import CLASSES, write_meshes, write_photos, write_views

from data_pipelines.domain_adaptation.mi3dor import class_free_order, paper_note, read_mi3dor
from data_pipelines.domain_adaptation.mi3dor_folders import in_order, view_number
from jaxret.errors import ConfigError, DataError


def read(root, **options):
    return read_mi3dor(root, **({'views': 4, 'check_processes': 1, 'progress': False} | options))


def problems(root, **options):
    with pytest.raises(DataError) as caught:
        read(root, **options)
    return [str(problem).replace(str(Path(root).resolve()) + '/', '') for problem in caught.value.problems]


def test_photos_and_views_in_folders(tmp_path):
    photos, shapes = write_photos(tmp_path), write_views(tmp_path)
    dataset = read(tmp_path, val_fraction=0)
    assert dataset.categories == CLASSES and dataset.skipped == ()
    assert [photo.name for photo in dataset.photos] == sorted(photos)
    assert {photo.split for photo in dataset.photos if photo.path.parent.parent.name == 'test'} == {'test'}
    assert all(photo.category == photo.path.parent.name for photo in dataset.photos)
    assert sorted(shape.name for shape in dataset.shapes) == sorted(shapes)
    assert not dataset.rendered and dataset.views == 4 and dataset.channels == 1
    for shape in dataset.shapes:
        assert shape.category == Path(shape.name).parent.name and shape.split == Path(shape.name).parts[1]
        assert [view.stem for view in shape.views] == ['1', '2', '3', '4']
    assert len(dataset.part_shapes('train')) == 9 and len(dataset.part_shapes('gallery')) == 6


@pytest.mark.parametrize('separator', ['_', '.', '-'])
def test_flat_views_are_told_by_their_names(tmp_path, separator):
    write_photos(tmp_path)
    shapes = write_views(tmp_path, views=11, flat=separator)
    dataset = read(tmp_path, views=11)
    assert sorted(shape.name for shape in dataset.shapes) == sorted(shapes)
    for shape in dataset.shapes:
        assert [view_number(view.name)[1] for view in shape.views] == list(range(1, 12))  # 2 before 10


def test_numbers_of_views():
    assert view_number('chair_0003_07.png') == ('chair_0003', 7)
    assert view_number('chair_0003.12.jpg') == ('chair_0003', 12)
    assert view_number('007.png') == ('', 7) and view_number('top.png') == ('top', -1)
    assert in_order(['a_10.png', 'a_9.png', 'a_1.png']) == ['a_1.png', 'a_9.png', 'a_10.png']


def test_meshes_here_or_in_modelnets_layout(tmp_path):
    write_photos(tmp_path / 'data')
    names = write_meshes(tmp_path / 'data', suffix='.obj')
    dataset = read(tmp_path / 'data')
    assert sorted(shape.name for shape in dataset.shapes) == sorted(names)
    assert dataset.rendered and dataset.views == 0 and dataset.channels == 1
    other = write_meshes(tmp_path / 'meshes', pattern='{category}/{split}')
    dataset = read(tmp_path / 'data', shapes_dir=tmp_path / 'meshes')
    assert sorted(shape.name for shape in dataset.shapes) == sorted(other)
    assert {shape.split for shape in dataset.shapes if '/test/' in shape.name} == {'test'}


def test_what_trains_and_what_is_searched(tmp_path):
    write_photos(tmp_path)
    write_meshes(tmp_path)
    counts = {}
    for train in ('train', 'all'):
        for gallery in ('test', 'all'):
            dataset = read(tmp_path, train_shapes=train, gallery=gallery)
            counts[train, gallery] = len(dataset.part_shapes('train')), len(dataset.part_shapes('gallery'))
    assert counts == {('train', 'test'): (9, 6), ('train', 'all'): (9, 15), ('all', 'test'): (15, 6),
                      ('all', 'all'): (15, 15)}  # fmt: skip


def test_held_out_photos(tmp_path):
    write_photos(tmp_path, train=8)
    write_views(tmp_path)
    dataset, again, other = (read(tmp_path, val_fraction=0.25, seed=seed) for seed in (0, 0, 1))
    held = {photo.name for photo in dataset.split_photos('val')}
    assert len(held) == 6 and all('/train/' in name for name in held)
    assert dataset.split_table() == again.split_table() and dataset.fingerprint == again.fingerprint
    assert held != {photo.name for photo in other.split_photos('val')}
    assert len(dataset.split_photos('train')) == 18 and len(dataset.split_photos('test')) == 6
    assert set(dataset.split_table()['shapes'].values()) == {'train', 'test'}


def test_the_order_of_shapes_does_not_know_their_classes(tmp_path):
    """Folders change their names; the files in them do not."""
    write_photos(tmp_path)
    write_views(tmp_path)
    before = [shape.key for shape in read(tmp_path).shapes]
    labels = [shape.category for shape in read(tmp_path).shapes]
    assert labels != sorted(labels)
    for split in ('train', 'test'):
        folder = tmp_path / 'view' / split
        for one, two in (('ball', 'x'), ('box', 'ball'), ('x', 'box')):
            (folder / one).rename(folder / two)
    dataset = read(tmp_path)
    assert [shape.key for shape in dataset.shapes] == before
    swapped = {'ball': 'box', 'box': 'ball', 'cone': 'cone'}
    assert [shape.category for shape in dataset.shapes] == [swapped[label] for label in labels]


def test_shapes_of_one_name_are_ordered_by_content(tmp_path):
    """Every class names its shapes 0, 1, ...: the order follows the pictures."""
    write_photos(tmp_path)
    for name in write_views(tmp_path):
        source = tmp_path / name
        source.rename(source.with_name(source.name.split('_')[1]))
    first = [shape.views[0].read_bytes() for shape in read(tmp_path).shapes]
    assert len(set(first)) == 15
    folder = tmp_path / 'view' / 'train'
    for one, two in (('ball', 'x'), ('cone', 'ball'), ('x', 'cone')):
        (folder / one).rename(folder / two)
    assert [shape.views[0].read_bytes() for shape in read(tmp_path).shapes] == first
    assert class_free_order(read(tmp_path).shapes[::-1]) == read(tmp_path).shapes


def test_classes_of_one_domain_alone(tmp_path):
    write_photos(tmp_path, classes=('ball', 'box', 'dog'))
    write_photos(tmp_path, classes=('cat',), test=0)
    write_meshes(tmp_path, classes=('ball', 'box', 'cone'))
    dataset = read(tmp_path)
    assert dataset.categories == ('ball', 'box')
    assert {item.category for item in (*dataset.photos, *dataset.shapes)} == {'ball', 'box'}
    found = [problem.found for problem in dataset.skipped]
    assert found == ["class 'cat' has no shape", "class 'cone' has no photo", "class 'dog' has no shape"]
    assert len(problems(tmp_path, unmatched_classes='error')) == 3
    assert read(tmp_path, classes=('box',)).categories == ('box',)
    assert read(tmp_path, classes=('box',), unmatched_classes='error').skipped == ()
    assert problems(tmp_path, classes=('box', 'bax'))[0].startswith(
        f"{tmp_path.resolve()}: no photo or shape of class 'bax'; choose from: ball, box"
    )


def test_classes_without_queries_or_gallery(tmp_path):
    write_photos(tmp_path)
    write_views(tmp_path)
    shutil.rmtree(tmp_path / 'image' / 'test' / 'ball')
    shutil.rmtree(tmp_path / 'view' / 'test' / 'cone')
    dataset = read(tmp_path)
    assert dataset.categories == ('box',)
    assert [problem.found for problem in dataset.skipped] == [
        "class 'ball' has no test photo", "class 'cone' has no gallery shape"]  # fmt: skip
    assert read(tmp_path, gallery='all').categories == ('box', 'cone')
    shutil.rmtree(tmp_path / 'view' / 'train' / 'box')  # which classes training shapes have must not matter
    assert read(tmp_path, gallery='all', train_shapes='all').categories == ('box', 'cone')
    assert read(tmp_path, gallery='all').categories == ('box', 'cone')


def test_an_evaluation_needs_no_training_files(tmp_path):
    write_photos(tmp_path, train=0)
    write_views(tmp_path, train=0)
    assert 'no class has both' in problems(tmp_path)[0]
    dataset = read(tmp_path, required_splits=('test',))
    assert len(dataset.photos) == 6 and len(dataset.part_shapes('gallery')) == 6
    (tmp_path / 'image' / 'train' / 'box').mkdir(parents=True)
    (tmp_path / 'image' / 'train' / 'box' / 'bad.jpg').write_bytes(b'nothing')
    assert len(read(tmp_path, required_splits=('test',)).photos) == 6  # not looked at


def test_bad_files_are_found_together_or_left_out(tmp_path):
    photos, shapes = write_photos(tmp_path), write_views(tmp_path)
    (tmp_path / photos[0]).write_bytes(b'no picture')
    (tmp_path / photos[7]).write_bytes(b'')
    (tmp_path / shapes[0] / '3.png').unlink()
    (tmp_path / shapes[6] / '2.png').write_bytes((tmp_path / shapes[6] / '2.png').read_bytes()[:-30])
    found = problems(tmp_path)
    assert len(found) == 4
    assert any('image/train/ball/photo_00.png: not an image' in line for line in found)
    assert any('image/train/box/photo_01.png: empty file' in line for line in found)
    assert any('3 views of shape view/train/ball/ball_0000, where 4 are wanted' in line for line in found)
    assert any('view/train/box/box_0001/2.png: truncated' in line for line in found)
    dataset = read(tmp_path, on_bad_file='skip')
    assert len(dataset.skipped) == 4 and len(dataset.photos) == 16 and len(dataset.shapes) == 13
    assert len(problems(tmp_path, views=5)) == 2 + 15 + 1


def test_a_class_that_loses_its_gallery(tmp_path):
    write_photos(tmp_path)
    names = write_meshes(tmp_path)
    for name in names:
        if name.startswith('model/test/cone'):
            (tmp_path / name).write_text('OFF\n')
    dataset = read(tmp_path, on_bad_file='skip')
    assert dataset.categories == ('ball', 'box') and len(dataset.skipped) == 3
    assert dataset.skipped[-1].found == "class 'cone' has no gallery shape"
    with pytest.raises(DataError) as caught:
        dataset.without({shape.name for shape in dataset.shapes if shape.split == 'test'}, dataset.skipped[:1])
    assert caught.value.problems[0] == dataset.skipped[0] and 'no class' in caught.value.problems[-1].found


def test_nothing_there(tmp_path):
    assert [line.split(': ')[1].split(';')[0] for line in problems(tmp_path)] == ['no photos', 'no shapes']
    write_photos(tmp_path)
    write_meshes(tmp_path, train=0)
    assert 'no shapes to train on' in problems(tmp_path)[0]
    assert len(read(tmp_path, train_shapes='all').part_shapes('train')) == 6
    with pytest.raises(DataError, match='does not exist'):
        read(tmp_path / 'elsewhere')
    with pytest.raises(DataError, match='shapes_dir does not exist'):
        read(tmp_path, shapes_dir=tmp_path / 'elsewhere')


def test_one_error_where_every_shape_has_another_number_of_views(tmp_path):
    write_photos(tmp_path)
    write_views(tmp_path)
    for mode in ('error', 'skip'):
        assert problems(tmp_path, views=3, on_bad_file=mode) == [
            f'{tmp_path}: 4 views of every shape, where 3 are wanted; set --config.render.views=4'
        ]


def test_files_one_folder_too_deep(tmp_path):
    photos, shapes = write_photos(tmp_path), write_meshes(tmp_path)
    for name in (photos[0], shapes[0]):
        (tmp_path / name).parent.joinpath('deep').mkdir()
        (tmp_path / name).rename((tmp_path / name).parent / 'deep' / Path(name).name)
    (tmp_path / 'image' / 'train' / 'box' / 'notes').mkdir()
    (tmp_path / 'image' / 'train' / 'box' / 'notes.txt').write_text('of no matter')
    found = problems(tmp_path)
    assert [line.split(':')[0] for line in found] == ['image/train/ball/deep', 'model/train/ball/deep']
    assert all('1 files in a folder below the class' in line for line in found)


def test_links_are_followed(tmp_path):
    photos = write_photos(tmp_path / 'data')
    write_meshes(tmp_path / 'data')
    (tmp_path / 'data' / photos[0]).rename(tmp_path / 'outside.png')
    (tmp_path / 'data' / photos[0]).symlink_to(tmp_path / 'outside.png')
    assert photos[0] in [photo.name for photo in read(tmp_path / 'data').photos]


@pytest.mark.parametrize(
    'wrong',
    [{'photo_lists': ('a.txt',)}, {'view_lists': ('a', 'b', 'c')}, {'views': 0}, {'val_fraction': 1.0},
     {'train_shapes': 'test'}, {'gallery': 'train'}, {'unmatched_classes': 'skip'}, {'on_bad_file': 'drop'},
     {'up_axis': 'x'}, {'class_names': 'names.txt'}, {'shapes_dir': 'x', 'view_lists': ('a', 'b')}],
)  # fmt: skip
def test_options_with_no_such_value(tmp_path, wrong):
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        read(tmp_path, **wrong)


def test_counts_of_the_paper_are_noted(tmp_path):
    write_photos(tmp_path)
    write_meshes(tmp_path)
    dataset = read(tmp_path)
    assert paper_note(dataset) is None
    many = tuple(f'class_{label:02d}' for label in range(21))
    note = paper_note(type(dataset)(**{**vars(dataset), 'categories': many}))
    assert note.startswith('counts here (in the HIFA paper): train photos 12 (10500), test photos 6 (10500)')


def test_photos_of_every_split_can_be_tested_but_those_that_taught(tmp_path):
    photos = sorted(write_photos(tmp_path))
    write_views(tmp_path)
    taught = [name for name in photos if '/train/' in name][:2]
    dataset = read(tmp_path, all_photos_but=taught, required_splits=('test',))
    assert [photo.name for photo in dataset.photos] == [name for name in photos if name not in taught]
    assert {photo.split for photo in dataset.photos} == {'test'}
