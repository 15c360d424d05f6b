"""Batches of two domains: a function of (seed, step), balanced, cropped, and blind to the labels of shapes."""

import io

import numpy as np
import pytest
import tensorflow as tf
from mi3dor_folders import write_photos, write_views
from PIL import Image

from data_pipelines.batching import Share
from data_pipelines.domain_adaptation.batches import balanced_rows, photo_batches, shape_batches, training_batches
from data_pipelines.domain_adaptation.mi3dor import read_mi3dor
from data_pipelines.domain_adaptation.prepare import (
    PhotoTable,
    ShapeTable,
    load_photos,
    load_shapes,
    prepare_mi3dor,
    shape_labels,
)
from data_pipelines.random_crops import Augmentation
from jaxret.errors import ConfigError
from jaxret.geometry.render import ViewRing

SIZE, VIEWS = 10, 5
LABEL = np.array([0, 0, 0, 0, 0, 0, 0, 1, 1, 3, 3, 3, 3], np.int32)  # class 2 has no photo


def png(pixels):
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, 'PNG')
    return buffer.getvalue()


def photo_pixels(row):
    """Told by its red; the left half has more green, the top half more blue, the border is dark."""
    pixels = np.full((SIZE, SIZE, 3), (10 + 15 * row, 50, 50), np.uint8)
    pixels[:, : SIZE // 2, 1], pixels[: SIZE // 2, :, 2] = 150, 150
    return pixels


def view_pixels(row, view):
    """Told by its grey; the left half is darker."""
    pixels = np.full((SIZE, SIZE), 20 + 20 * row + 2 * view, np.uint8)
    pixels[:, : SIZE // 2] -= 10
    return pixels


def photo_table(label=LABEL):
    images = np.empty(len(label), object)
    images[:] = [png(photo_pixels(row)) for row in range(len(label))]
    return PhotoTable(images, label, [str(row) for row in range(len(label))], ('a', 'b', 'c', 'd'), SIZE)


def shape_table(count=9):
    views = np.empty((count, VIEWS), object)
    for row in range(count):
        views[row] = [png(view_pixels(row, view)) for view in range(VIEWS)]
    return ShapeTable(views, [str(row) for row in range(count)], SIZE, 1)


PHOTOS, SHAPES = photo_table(), shape_table()


def batches(start, stop, *, seed=0, photos=PHOTOS, shapes=SHAPES, **options):
    options = {'batch_size': 6, 'shapes_per_step': 4} | options
    return list(training_batches(photos, shapes, seed=seed, start=start, stop=stop, **options))


def photo_rows(batch):
    return (batch['photo'][:, -1, -1, 0].astype(int) - 10) // 15


def shape_rows(batch):
    grey = batch['views'][..., -1, -1, 0].astype(int) - 20
    return grey // 20, grey % 20 // 2


def test_a_batch_is_what_the_contract_says():
    for batch in batches(0, 4, views_per_step=3):
        kinds = {key: (value.shape, value.dtype.name) for key, value in batch.items()}
        assert kinds == {
            'photo': ((6, SIZE, SIZE, 3), 'uint8'), 'label': ((6,), 'int32'), 'valid': ((6,), 'bool'),
            'views': ((4, 3, SIZE, SIZE, 1), 'uint8'), 'shape_valid': ((4,), 'bool'),
        }  # fmt: skip
        assert batch['valid'].all() and batch['shape_valid'].all()
        rows = photo_rows(batch)
        np.testing.assert_array_equal(batch['label'], LABEL[rows])
        np.testing.assert_array_equal(batch['photo'], PHOTOS.pictures(rows))
        row, view = shape_rows(batch)
        assert (row == row[:, :1]).all() and len(set(row[:, 0])) == 4
        assert all(len(set(one)) == 3 for one in view.tolist())
        np.testing.assert_array_equal(batch['views'][2, 1], SHAPES.views([row[2, 1]], [view[2, 1]])[0, 0])


def test_classes_are_balanced_and_photos_even_within_them():
    counts = np.zeros(len(LABEL))
    for batch in batches(0, 150, batch_size=7):
        present = np.bincount(batch['label'], minlength=4)
        assert present[2] == 0 and sorted(present[[0, 1, 3]]) == [2, 2, 3]
        rows = photo_rows(batch)
        for label, members in ((0, 7), (3, 4)):  # a class with enough photos shows none twice
            mine = rows[batch['label'] == label]
            assert len(set(mine)) == len(mine) <= members
        np.add.at(counts, rows, 1)
    of_class = np.bincount(LABEL, counts)[[0, 1, 3]]
    np.testing.assert_allclose(of_class, 350, rtol=0.06)
    expected = np.array([350 / np.sum(label == LABEL) for label in LABEL])
    np.testing.assert_allclose(counts, expected, rtol=0.35)


def test_a_class_with_fewer_photos_than_places_repeats_them():
    rows = balanced_rows(LABEL, 12, 5, tf.constant(3, tf.int64)).numpy()
    assert np.bincount(LABEL[rows]).tolist() == [4, 4, 0, 4]
    assert np.bincount(rows)[7:9].tolist() == [2, 2] and np.bincount(rows)[9:].tolist() == [1, 1, 1, 1]


def test_uniform_photos_and_shapes_come_once_an_epoch():
    seen = batches(0, 4, sampling='uniform')
    for epoch in (seen[:2], seen[2:]):
        assert len(set(np.concatenate([photo_rows(batch) for batch in epoch]))) == 12
        assert len(set(np.concatenate([shape_rows(batch)[0][:, 0] for batch in epoch]))) == 8
    assert (photo_rows(seen[0]) != photo_rows(seen[2])).any()
    many = batches(0, 120, sampling='uniform')
    assert np.bincount(np.concatenate([photo_rows(batch) for batch in many])).min() > 40
    assert np.bincount(np.concatenate([shape_rows(batch)[0][:, 0] for batch in many])).min() > 40


@pytest.mark.parametrize('sampling', ['balanced', 'uniform'])
def test_a_step_does_not_depend_on_where_one_starts(sampling):
    lively = Augmentation(area=(0.3, 0.9), aspect=(0.75, 4 / 3), flip=0.5)
    options = {'sampling': sampling, 'photo_augmentation': lively, 'view_augmentation': lively, 'views_per_step': 2}
    whole, rest = batches(0, 6, **options), batches(3, 6, **options)
    for one, two in zip(whole[3:], rest, strict=True):
        assert one.keys() == two.keys()
        for key in one:
            np.testing.assert_array_equal(one[key], two[key])
    (other,) = batches(3, 4, seed=1, **options)
    assert all((other[key] != rest[0][key]).any() for key in ('photo', 'views'))


def test_pictures_are_cropped_and_flipped_each_by_itself():
    flip = Augmentation(flip=0.5)
    seen = batches(0, 40, photo_augmentation=flip, view_augmentation=flip)
    photo = np.concatenate([batch['photo'] for batch in seen])
    mirrored = photo[:, 0, 0, 1] < photo[:, 0, -1, 1]
    assert 0.35 < mirrored.mean() < 0.65 and (photo[:, 0, 0, 2] > photo[:, -1, 0, 2]).all()
    views = np.concatenate([batch['views'] for batch in seen])[..., 0, :, 0]
    mirrored = views[..., 0] > views[..., -1]
    assert 0.4 < mirrored.mean() < 0.6 and (mirrored[:, 0] != mirrored[:, 1]).any()
    crop = Augmentation(area=(0.36, 0.36))
    for batch in batches(0, 3, photo_augmentation=crop, view_augmentation=crop, size=6):
        assert batch['photo'].shape == (6, 6, 6, 3) and batch['views'].shape == (4, 5, 6, 6, 1)
        share = (batch['photo'][:, 0, :, 1] > 100).mean(axis=1)  # of the left half: it moves
        assert len(set(share.tolist())) > 1
    (still,) = batches(0, 1, size=6)
    np.testing.assert_array_equal(still['photo'], batches(0, 1)[0]['photo'][:, 2:8, 2:8])


@pytest.mark.parametrize('size', [0, 4])
@pytest.mark.parametrize('batch_size', [4, 13, 20])
def test_evaluation_goes_through_everything_in_order(size, batch_size):
    side = size or SIZE
    inner = np.s_[..., (SIZE - side) // 2 : (SIZE + side) // 2, (SIZE - side) // 2 : (SIZE + side) // 2, :]
    seen = list(photo_batches(PHOTOS, batch_size=batch_size, size=size))
    assert all(set(batch) == {'photo', 'valid'} and len(batch['valid']) == batch_size for batch in seen)
    valid = np.concatenate([batch['valid'] for batch in seen])
    photo = np.concatenate([batch['photo'] for batch in seen])
    np.testing.assert_array_equal(photo[valid], PHOTOS.pictures(range(13))[inner])
    np.testing.assert_array_equal(photo[~valid], np.repeat(photo[valid][-1:], (~valid).sum(), axis=0))
    seen = list(shape_batches(SHAPES, batch_size=batch_size, views=(3, 1), size=size))
    assert all(set(batch) == {'views', 'valid'} and len(batch['valid']) == batch_size for batch in seen)
    valid = np.concatenate([batch['valid'] for batch in seen])
    views = np.concatenate([batch['views'] for batch in seen])[valid]
    np.testing.assert_array_equal(views, SHAPES.views(range(9), (3, 1))[inner])


def test_evaluation_of_nothing():
    assert list(photo_batches(photo_table(LABEL[:0]), batch_size=4)) == []
    assert list(shape_batches(shape_table(0), batch_size=4)) == []


@pytest.mark.parametrize(
    'wrong', [{'batch_size': 14}, {'batch_size': 0}, {'shapes_per_step': 10}, {'shapes_per_step': 0},
              {'views_per_step': 6}, {'views_per_step': -1}, {'sampling': 'even'}, {'seed': 2**31}],
)  # fmt: skip
def test_what_cannot_be_drawn(wrong):
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        batches(0, 1, **wrong)


def test_sizes_and_views_that_are_not_there():
    for size in (-1, SIZE + 1):
        with pytest.raises(ConfigError, match='image_size'):
            batches(0, 1, size=size)
        with pytest.raises(ConfigError, match='image_size'):
            photo_batches(PHOTOS, batch_size=2, size=size)
    for view in (-1, VIEWS):
        with pytest.raises(ConfigError, match=f'view {view}'):
            shape_batches(SHAPES, batch_size=2, views=(0, view))
    with pytest.raises(ConfigError, match='batch_size'):
        shape_batches(SHAPES, batch_size=0)


def from_folder(root, cache, **options):
    dataset = read_mi3dor(root, views=4, check_processes=1, progress=False, **options)
    ring = ViewRing(views=4, size=16)
    return prepare_mi3dor(dataset, ring, cache_dir=cache, processes=1, progress=False)


@pytest.mark.parametrize('same_names', [False, True])
def test_permuted_labels_of_shapes_change_no_training_batch(tmp_path, same_names):
    """The folders of classes change names, and single shapes change folders: only the labels differ then."""
    write_photos(tmp_path / 'data', train=6)
    for name in write_views(tmp_path / 'data', train=4):
        if same_names:  # every class calls its shapes 0000, 0001, ...
            path = tmp_path / 'data' / name
            path.rename(path.with_name(path.name.split('_')[1]))
    augmentation = Augmentation(area=(0.5, 1.0), flip=0.5)
    options = {'batch_size': 6, 'shapes_per_step': 5, 'seed': 3, 'start': 0, 'stop': 5, 'size': 12, 'views_per_step': 2,
               'photo_augmentation': augmentation, 'view_augmentation': augmentation}  # fmt: skip

    def run():
        prepared = from_folder(tmp_path / 'data', tmp_path / 'cache', train_shapes='all')
        shapes = load_shapes(prepared, 'train')
        made = list(training_batches(load_photos(prepared, 'train'), shapes, **options))
        return made, shape_labels(prepared, 'train')

    before, labels = run()
    folder = tmp_path / 'data' / 'view' / 'train'
    for one, two in (('ball', 'x'), ('box', 'ball'), ('cone', 'box'), ('x', 'cone')):
        (folder / one).rename(folder / two)
    name = '0001' if same_names else 'ball_0001'
    (folder / 'cone' / name).rename(folder / 'box' / ('moved' if same_names else name))
    if same_names:
        (folder / 'box' / 'moved').rename(folder / 'cone' / name)
    after, permuted = run()
    assert (labels != permuted).any()
    for one, two in zip(before, after, strict=True):
        assert one.keys() == two.keys() == {'photo', 'label', 'valid', 'views', 'shape_valid'}
        for key in one:
            np.testing.assert_array_equal(one[key], two[key])


@pytest.mark.parametrize('sampling', ['balanced', 'uniform'])
def test_shares_together_are_the_batch(sampling):
    lively = Augmentation(translate=0.2, flip=0.5)
    options = {'sampling': sampling, 'photo_augmentation': lively, 'view_augmentation': lively, 'views_per_step': 3}
    shares = [batches(0, 3, share=Share(index, 2), **options) for index in range(2)]
    for whole, *parts in zip(batches(0, 3, **options), *shares, strict=True):
        assert [(len(part['photo']), len(part['views'])) for part in parts] == [(3, 2), (3, 2)]
        for name, value in whole.items():
            np.testing.assert_array_equal(np.concatenate([part[name] for part in parts]), value)
