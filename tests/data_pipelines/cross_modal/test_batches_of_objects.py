"""Batches of objects: a function of (seed, step), views and points drawn anew, evaluation in order."""

import io

import numpy as np
import pytest
from PIL import Image

from data_pipelines.batching import Share
from data_pipelines.cross_modal.batches import evaluation_batches, training_batches
from data_pipelines.cross_modal.prepare import ObjectTable
from data_pipelines.random_crops import Augmentation
from jaxret.errors import ConfigError

COUNT, VIEWS, SIZE, POINTS, FACES = 11, 5, 8, 40, 6


def view_pixels(row, view):
    """Every picture is told by its grey; its left half is darker."""
    pixels = np.full((SIZE, SIZE), 20 + 20 * row + 2 * view, np.uint8)
    pixels[:, : SIZE // 2] -= 10
    return pixels


def table(count=COUNT):
    views = np.empty((count, VIEWS), object)
    for row in range(count):
        for view in range(VIEWS):
            buffer = io.BytesIO()
            Image.fromarray(view_pixels(row, view)).save(buffer, 'PNG')
            views[row, view] = buffer.getvalue()
    points = np.arange(count * POINTS * 3, dtype=np.float32).reshape(count, POINTS, 3)
    faces = np.arange(count * FACES * 15, dtype=np.float32).reshape(count, FACES, 15)
    neighbors = (np.arange(count * FACES * 3, dtype=np.int32) % FACES).reshape(count, FACES, 3)
    label = (np.arange(count) % 3).astype(np.int32)
    names = [str(row) for row in range(count)]
    return ObjectTable(views, points, faces, neighbors, label, names, ('a', 'b', 'c'), SIZE)


TABLE = table()


def batches(start, stop, *, seed=0, **options):
    options = {'batch_size': 4, 'views_per_step': 2, 'points': 16} | options
    return list(training_batches(TABLE, seed=seed, start=start, stop=stop, **options))


def drawn_views(image):
    """Row and view of every still picture [B, K, S, S, 1]."""
    grey = image[..., -1, -1, 0].astype(int) - 20
    return grey // 20, grey % 20 // 2


def test_a_batch_holds_rows_of_the_table():
    for batch in batches(0, 6):
        rows = batch['index']
        assert len(set(rows.tolist())) == 4 and batch['valid'].all()
        for key in ('faces', 'neighbors', 'label'):
            assert batch[key].dtype == getattr(TABLE, key).dtype
            np.testing.assert_array_equal(batch[key], getattr(TABLE, key)[rows])
        assert batch['image'].shape == (4, 2, SIZE, SIZE, 1) and batch['image'].dtype == np.uint8
        assert batch['points'].shape == (4, 16, 3) and batch['points'].dtype == np.float32
        from_row, view = drawn_views(batch['image'])
        np.testing.assert_array_equal(from_row, np.repeat(rows[:, None], 2, axis=1))
        assert (view[:, 0] != view[:, 1]).all() and view.max() < VIEWS
        for row, pair, pictures in zip(rows, view, batch['image'], strict=True):
            for one, picture in zip(pair, pictures, strict=True):
                np.testing.assert_array_equal(picture[..., 0], view_pixels(row, one))
        for row, cloud in zip(rows, batch['points'], strict=True):
            chosen = (cloud[:, 0] - TABLE.points[row, 0, 0]) / 3
            np.testing.assert_array_equal(cloud, TABLE.points[row][chosen.astype(int)])
            assert len(set(chosen.tolist())) == 16


def test_an_epoch_shows_every_object_at_most_once_and_orders_change():
    first, second, third = (
        np.concatenate([batch['index'] for batch in batches(epoch * 2, epoch * 2 + 2)]) for epoch in range(3)
    )
    for epoch in (first, second, third):
        assert len(set(epoch.tolist())) == 8
    assert (first != second).any() and (second != third).any()
    many = np.concatenate([batch['index'] for batch in batches(0, 120)])
    assert np.bincount(many, minlength=COUNT).min() > 25


def test_a_step_does_not_depend_on_where_one_starts():
    lively = Augmentation(translate=0.1, area=(0.5, 0.9), aspect=(0.75, 4 / 3), flip=0.5)
    whole, rest = batches(0, 6, augmentation=lively), batches(3, 6, augmentation=lively)
    for one, two in zip(whole[3:], rest, strict=True):
        assert one.keys() == two.keys()
        for key in one:
            np.testing.assert_array_equal(one[key], two[key])
    (other,) = batches(3, 4, seed=1, augmentation=lively)
    assert all((other[key] != rest[0][key]).any() for key in ('index', 'image', 'points'))


def test_all_views_in_a_random_order_and_even_chances():
    _, view = drawn_views(np.concatenate([batch['image'] for batch in batches(0, 100)]))
    share = np.bincount(view.ravel(), minlength=VIEWS) / view.size
    np.testing.assert_allclose(share, 1 / VIEWS, atol=0.04)
    _, view = drawn_views(batches(0, 1, views_per_step=0)[0]['image'])
    np.testing.assert_array_equal(np.sort(view, axis=1), np.tile(np.arange(VIEWS), (4, 1)))


def test_views_are_cropped_flipped_and_resized_each_by_itself():
    flips = [batch['image'] for batch in batches(0, 20, augmentation=Augmentation(flip=0.5))]
    right_darker = np.concatenate(flips)[:, :, 0, 0, 0] > np.concatenate(flips)[:, :, 0, -1, 0]
    assert 0.35 < right_darker.mean() < 0.65 and (right_darker[:, 0] != right_darker[:, 1]).any()
    (batch,) = batches(0, 1, size=4, augmentation=Augmentation(area=(0.5, 0.5), aspect=(1, 1)))
    assert batch['image'].shape == (4, 2, 4, 4, 1)


def test_evaluation_goes_through_all_objects_in_order():
    for size, batch_size in ((0, 4), (4, 11), (0, 12), (0, 1)):
        seen = list(evaluation_batches(TABLE, batch_size=batch_size, views=(3, 1), points=7, size=size))
        valid = np.concatenate([batch['valid'] for batch in seen])
        index = np.concatenate([batch['index'] for batch in seen])
        assert all(len(batch['valid']) == batch_size for batch in seen)
        np.testing.assert_array_equal(index[valid], np.arange(COUNT))
        for key in ('faces', 'neighbors', 'label'):
            np.testing.assert_array_equal(np.concatenate([batch[key] for batch in seen])[valid], getattr(TABLE, key))
        np.testing.assert_array_equal(np.concatenate([batch['points'] for batch in seen])[valid], TABLE.points[:, :7])
        image = np.concatenate([batch['image'] for batch in seen])[valid]
        assert image.shape == (COUNT, 2, size or SIZE, size or SIZE, 1)
        rows, views = drawn_views(image)
        np.testing.assert_array_equal(views, np.tile([3, 1], (COUNT, 1)))
        np.testing.assert_array_equal(rows, np.repeat(np.arange(COUNT)[:, None], 2, axis=1))
    (batch,) = evaluation_batches(TABLE, batch_size=COUNT, points=POINTS)
    np.testing.assert_array_equal(batch['image'], TABLE.views(range(COUNT), range(VIEWS)))
    assert list(evaluation_batches(table(0), batch_size=4, points=7)) == []


@pytest.mark.parametrize(
    'wrong', [{'batch_size': 12}, {'batch_size': 0}, {'points': 41}, {'points': 0}, {'views_per_step': 6}, {'size': -1},
              {'seed': 2**31}],
)  # fmt: skip
def test_what_cannot_be_drawn(wrong):
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        batches(0, 1, **wrong)


def test_views_that_do_not_exist():
    for view in (-1, VIEWS):
        with pytest.raises(ConfigError, match=f'view {view}'):
            evaluation_batches(TABLE, batch_size=2, views=(0, view), points=7)


def test_shares_together_are_the_batch():
    options = {'augmentation': Augmentation(translate=0.2, flip=0.5), 'points': 16}
    shares = [batches(0, 3, share=Share(index, 2), **options) for index in range(2)]
    for whole, *parts in zip(batches(0, 3, **options), *shares, strict=True):
        assert [len(part['image']) for part in parts] == [2, 2]
        for name, value in whole.items():
            np.testing.assert_array_equal(np.concatenate([part[name] for part in parts]), value)
