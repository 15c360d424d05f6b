"""Batches as a pure function of (seed, step): who is in them, in which order, and from any step on."""

import dataclasses
import io
import itertools
import time
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from data_pipelines.batching import Share, picture_reader, steps_per_epoch
from data_pipelines.photo_to_shape import batches as pipeline
from data_pipelines.photo_to_shape.prepare import GalleryTable, QueryTable
from data_pipelines.random_crops import Augmentation
from jaxret.errors import ConfigError

SIZE, VIEWS, PHOTOS, SHAPES, BATCH = 6, 2, 23, 15, 5
STILL = Augmentation()
LIVELY = Augmentation(translate=0.1, area=(0.5, 0.9), aspect=(0.75, 4 / 3), flip=0.5)


def png(pixels):
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, 'PNG')
    return buffer.getvalue()


def photo_pixels(index):
    """Red tells the index; the other channels and the mask are noise of that index."""
    pixels = np.random.default_rng(index).integers(0, 256, (SIZE, SIZE, 3), np.uint8)
    pixels[..., 0] = index
    return pixels


def mask_pixels(index):
    return np.full((SIZE, SIZE), 255 - index, np.uint8)


def tables(photos=PHOTOS, shapes=SHAPES):
    """Photo i shows shape i^2 mod 7, so seven shapes at most have photos, some of them many; shape g looks grey g."""
    shape = (np.arange(photos) ** 2 % min(7, shapes)).astype(np.int32)
    category = (np.arange(shapes) % 4).astype(np.int32)
    queries = QueryTable(
        [png(photo_pixels(i)) for i in range(photos)],
        [png(mask_pixels(i)) for i in range(photos)],
        category[shape],
        shape,
        [f'img/{i}.png' for i in range(photos)],
    )
    views = np.arange(shapes, dtype=np.uint8).reshape(shapes, 1, 1, 1, 1) * np.ones((1, VIEWS, SIZE, SIZE, 1), np.uint8)
    names = [f'model/{g}.obj' for g in range(shapes)]
    return queries, GalleryTable(views, category, names, [Path(name) for name in names])


QUERIES, GALLERY = tables()
AN_EPOCH = PHOTOS // BATCH


def batches(start, stop, *, seed=0, batch_size=BATCH, augmentation=STILL, data=(QUERIES, GALLERY), **options):
    return pipeline.training_batches(
        *data,
        size=SIZE,
        batch_size=batch_size,
        seed=seed,
        start=start,
        stop=stop,
        photo_augmentation=augmentation,
        view_augmentation=augmentation,
        **options,
    )


def orders(steps, *, photos=PHOTOS, shapes=SHAPES, batch_size=BATCH, seed=0):
    """Photos and shapes [steps, B] of many steps, without pixels."""
    shape_of_query = tf.constant(tables(8, shapes)[0].shape[np.arange(photos) % 8])

    def one(step):
        return pipeline.batch_indices(
            step, shape_of_query=shape_of_query, shapes=shapes, batch_size=batch_size, seed=seed
        )[:2]

    kind = tf.TensorSpec([batch_size], tf.int32)
    found = tf.function(lambda: tf.map_fn(one, tf.range(steps, dtype=tf.int64), fn_output_signature=(kind, kind)))()
    return [x.numpy() for x in found]


def assert_same(one, other):
    assert one.keys() == other.keys()
    for name in one:
        assert one[name].dtype == other[name].dtype and one[name].tobytes() == other[name].tobytes(), name


@pytest.mark.parametrize('batch_size', [1, BATCH, 11, SHAPES])
def test_batch_holds_photos_their_shapes_and_other_shapes(batch_size):
    kinds = {
        'image': ((SIZE, SIZE, 3), np.uint8),
        'mask': ((SIZE, SIZE, 1), np.uint8),
        'views': ((VIEWS, SIZE, SIZE, 1), np.uint8),
        'positive': ((), np.int32),
        'query_category': ((), np.int32),
        'shape_category': ((), np.int32),
        'query_index': ((), np.int32),
        'shape_index': ((), np.int32),
        'query_valid': ((), np.bool_),
        'shape_valid': ((), np.bool_),
        'shape_inclusion': ((), np.float32),
    }
    inclusion = pipeline.inclusion_probability(QUERIES.shape, SHAPES, batch_size)
    for batch in batches(0, 8, batch_size=batch_size):
        assert {name: (value.shape, value.dtype) for name, value in batch.items()} == {
            name: ((batch_size, *shape), dtype) for name, (shape, dtype) in kinds.items()
        }
        photos, shapes = batch['query_index'], batch['shape_index']
        assert len(set(photos)) == len(set(shapes)) == batch_size
        assert photos.min() >= 0 and photos.max() < PHOTOS and shapes.min() >= 0 and shapes.max() < SHAPES
        np.testing.assert_array_equal(shapes[batch['positive']], QUERIES.shape[photos])
        own = list(dict.fromkeys(QUERIES.shape[photos]))  # first come, first served; photos of a shape share its column
        assert list(shapes[: len(own)]) == own and not set(shapes[len(own) :]) & set(own)
        assert batch['positive'].max() == len(own) - 1
        np.testing.assert_array_equal(batch['query_category'], QUERIES.category[photos])
        np.testing.assert_array_equal(batch['shape_category'], GALLERY.category[shapes])
        np.testing.assert_array_equal(batch['shape_inclusion'], inclusion[shapes])
        assert batch['query_valid'].all() and batch['shape_valid'].all()
        np.testing.assert_array_equal(batch['image'], np.stack([photo_pixels(i) for i in photos]))
        np.testing.assert_array_equal(batch['mask'][..., 0], np.stack([mask_pixels(i) for i in photos]))
        np.testing.assert_array_equal(batch['views'], GALLERY.views[shapes])


def test_photo_and_mask_of_a_batch_move_together_and_views_by_themselves():
    queries, gallery = tables()
    pixels = [np.repeat(np.random.default_rng(i).integers(0, 256, (SIZE, SIZE, 1), np.uint8), 3, 2) for i in range(23)]
    queries = QueryTable(
        [png(p) for p in pixels], [png(p[..., 0]) for p in pixels], queries.category, queries.shape, queries.names
    )
    ramp = np.random.default_rng(0).integers(0, 256, (1, 1, SIZE, SIZE, 1), np.uint8)
    gallery = GalleryTable(
        np.repeat(np.repeat(ramp, SHAPES, 0), VIEWS, 1), gallery.category, gallery.names, gallery.paths
    )
    moved = 0
    for batch in batches(0, 4, augmentation=LIVELY, data=(queries, gallery)):
        np.testing.assert_array_equal(batch['image'], np.repeat(batch['mask'], 3, axis=3))
        moved += sum((batch['image'][i] != pixels[photo]).any() for i, photo in enumerate(batch['query_index']))
        assert len({view.tobytes() for view in batch['views'].reshape(-1, SIZE * SIZE)}) == BATCH * VIEWS
    assert moved == 4 * BATCH


def test_an_epoch_shows_each_photo_at_most_once_and_the_next_one_has_another_order():
    photos, _ = orders(30 * AN_EPOCH)
    epochs = photos.reshape(30, -1)
    assert all(len(set(epoch)) == AN_EPOCH * BATCH for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) == 30
    # What one epoch leaves out is shown by others: over 30 epochs no photo is far from 20/23 of the epochs.
    counts = np.bincount(epochs.ravel(), minlength=PHOTOS)
    assert np.abs(counts - 30 * 20 / 23).max() < 5 * np.sqrt(30 * 20 / 23 * 3 / 23)
    # Who is with whom changes too.
    assert len({frozenset(batch) for batch in photos}) > 0.95 * len(photos)


def test_orders_do_not_repeat_in_a_long_run():
    """A period of 256 steps once went unnoticed: neither order nor top-up may come back."""
    photos, shapes = orders(2000, photos=40, shapes=60, batch_size=40)  # an epoch is one step
    assert len({row.tobytes() for row in photos}) == len({row.tobytes() for row in shapes}) == 2000
    # The first place is every photo's as often as any other's (chi-squared, 39 degrees of freedom, p about 1e-5).
    counts = np.bincount(photos[:, 0], minlength=40)
    assert ((counts - 50) ** 2 / 50).sum() < 85


def test_top_up_reaches_the_whole_gallery():
    own = 7  # shapes 0 .. 6 have photos
    _, shapes = orders(400, shapes=60)
    counts = np.bincount(shapes.ravel(), minlength=60)
    assert counts.min() > 0
    without = counts[own:]  # only ever topped up, each as often as the others but for chance
    assert np.abs(without - without.mean()).max() < 5 * np.sqrt(without.mean())


def test_inclusion_is_the_share_of_all_possible_draws():
    """Against every set of 3 photos of 7; a shape with photos that are not drawn shares the free places."""
    shape_of_query, gallery, drawn = np.array([0, 0, 0, 0, 1, 1, 2]), 5, 3
    sets = list(itertools.combinations(shape_of_query, drawn))
    shown = np.array([np.mean([g in chosen for chosen in sets]) for g in range(gallery)])
    free = drawn - np.mean([len(set(chosen)) for chosen in sets])  # places to top up, on average
    expected = shown + (1 - shown) * free / (1 - shown).sum()
    found = pipeline.inclusion_probability(shape_of_query, gallery, drawn)
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    np.testing.assert_allclose(found.sum(), drawn, rtol=1e-6)
    assert (np.diff(found) < 1e-7).all() and found.dtype == np.float32


@pytest.mark.parametrize('photos,shapes,batch_size', [(40, 60, 5), (40, 60, 30), (24, 8, 8), (8, 60, 1)])
def test_inclusion_is_how_often_shapes_are_in_batches(photos, shapes, batch_size):
    steps = 3000
    _, found = orders(steps, photos=photos, shapes=shapes, batch_size=batch_size)
    frequency = np.bincount(found.ravel(), minlength=shapes) / steps
    shape_of_query = tables(8, shapes)[0].shape[np.arange(photos) % 8]
    expected = pipeline.inclusion_probability(shape_of_query, shapes, batch_size)
    assert (expected >= 0).all() and (expected <= 1).all()
    # The top-up's share is a ratio of means, hence the 2 %.
    error = np.sqrt(expected * (1 - expected) / steps)
    assert (np.abs(frequency - expected) <= 5 * error + 0.02 * expected + 1e-6).all()


@pytest.mark.parametrize('views_per_step', [1, 2, 5])
def test_random_subset_of_the_views(views_per_step):
    queries, gallery = tables()
    numbers = (10 * np.arange(SHAPES)[:, None] + np.arange(5)[None, :]).astype(np.uint8)
    views = numbers[:, :, None, None, None] * np.ones((1, 1, SIZE, SIZE, 1), np.uint8)
    data = queries, GalleryTable(views, gallery.category, gallery.names, gallery.paths)
    counts, sets = np.zeros(5), set()
    for batch in batches(0, 60, data=data, views_per_step=views_per_step):
        assert batch['views'].shape == (BATCH, views_per_step, SIZE, SIZE, 1)
        shown = batch['views'][:, :, 0, 0, 0].astype(int) - 10 * batch['shape_index'][:, None]
        assert (np.diff(shown, axis=1) > 0).all()  # no view twice, in the order of the ring
        counts += np.bincount(shown.ravel(), minlength=5)
        sets.add(shown.tobytes())
    assert len(sets) > 55 or views_per_step == 5
    expected = 60 * BATCH * views_per_step / 5
    assert np.abs(counts - expected).max() <= 5 * np.sqrt(expected * (1 - views_per_step / 5))
    late = list(batches(58, 60, data=data, views_per_step=views_per_step))
    assert_same(late[-1], batch)


@pytest.mark.parametrize('views_per_step', [-1, VIEWS + 1])
def test_more_views_than_there_are_is_refused(views_per_step):
    with pytest.raises(ConfigError, match=f'views_per_step: {views_per_step}, but a shape has {VIEWS} views'):
        batches(0, 1, views_per_step=views_per_step)


@pytest.mark.parametrize('start', [1, 3, AN_EPOCH, 7])
def test_starting_later_gives_the_same_bytes(start):
    whole = list(batches(0, 9, augmentation=LIVELY))
    rest = list(batches(start, 9, augmentation=LIVELY, prefetch=1))
    assert len(whole) == 9 and len(rest) == 9 - start
    for one, other in zip(whole[start:], rest, strict=True):
        assert_same(one, other)


def test_nothing_is_skipped_to_start_late():
    begin = time.process_time()
    late = next(iter(batches(10**9, 10**9 + 3)))
    assert time.process_time() - begin < 10  # a billion steps would take days
    assert set(late['query_index']) != set(next(iter(batches(0, 1)))['query_index'])


def test_seed_decides_everything():
    def drawn(seed):
        return list(batches(0, 3, seed=seed, augmentation=LIVELY))

    first, again, other = drawn(0), drawn(0), drawn(1)
    for one, two, three in zip(first, again, other, strict=True):
        assert_same(one, two)
        for name in ('query_index', 'shape_index', 'image', 'views'):
            assert one[name].tobytes() != three[name].tobytes()


def test_augmentation_differs_between_epochs_and_steps():
    """A photo that comes again looks different."""
    looks = {}
    for batch in batches(0, 8 * AN_EPOCH, augmentation=LIVELY):
        for index, image in zip(batch['query_index'], batch['image'], strict=True):
            looks.setdefault(int(index), []).append(image.tobytes())
    assert all(len(set(images)) == len(images) for images in looks.values())


def test_extreme_seeds():
    seen = {}
    for seed in (0, 1, -1, 2**31 - 1, -(2**31)):
        (batch,) = batches(0, 1, seed=seed, augmentation=LIVELY)
        seen[seed] = batch['image'].tobytes()
    assert len(set(seen.values())) == len(seen)
    for seed in (2**31, -(2**31) - 1, 10**30):
        with pytest.raises(ConfigError, match=f'config.seed: {seed} is not within 32 bits'):
            batches(0, 1, seed=seed)


def test_gallery_of_just_the_batch_and_data_of_just_one_batch():
    data = tables(photos=BATCH, shapes=BATCH)
    for batch in batches(0, 4, data=data):
        assert sorted(batch['query_index']) == sorted(batch['shape_index']) == list(range(BATCH))
        np.testing.assert_array_equal(batch['shape_index'][batch['positive']], data[0].shape[batch['query_index']])
    assert steps_per_epoch(BATCH, BATCH) == 1


@pytest.mark.parametrize('photos,shapes,batch_size', [(4, 9, 5), (9, 4, 5), (3, 3, 4), (9, 9, 0), (9, 9, -2)])
def test_too_little_data_is_refused_with_the_numbers(photos, shapes, batch_size):
    with pytest.raises(ConfigError) as caught:
        batches(0, 1, batch_size=batch_size, data=tables(photos, shapes))
    assert (
        f'config.batch_size: {batch_size}' in str(caught.value)
        and f'there are {photos})' in str(caught.value)
        and f'there are {shapes})' in str(caught.value)
        and f'at most {min(photos, shapes)}' in str(caught.value)
    )


def test_no_steps_are_no_batches():
    assert list(batches(3, 3)) == []


@pytest.mark.parametrize('batch_size', [1, 4, PHOTOS, 40])
def test_photos_to_embed_come_in_order_once_and_fill_the_last_batch(batch_size):
    found = list(pipeline.query_batches(QUERIES, size=SIZE, batch_size=batch_size))
    assert len(found) == -(-PHOTOS // batch_size)
    for batch in found:
        assert {name: value.shape for name, value in batch.items()} == {
            'image': (batch_size, SIZE, SIZE, 3),
            'mask': (batch_size, SIZE, SIZE, 1),
            'valid': (batch_size,),
        }
    valid = np.concatenate([batch['valid'] for batch in found])
    np.testing.assert_array_equal(valid, np.arange(len(valid)) < PHOTOS)
    image, mask = (np.concatenate([batch[name] for batch in found]) for name in ('image', 'mask'))
    np.testing.assert_array_equal(image[:PHOTOS], np.stack([photo_pixels(i) for i in range(PHOTOS)]))
    np.testing.assert_array_equal(mask[:PHOTOS, :, :, 0], np.stack([mask_pixels(i) for i in range(PHOTOS)]))
    np.testing.assert_array_equal(image[PHOTOS:], np.repeat(image[PHOTOS - 1 : PHOTOS], len(image) - PHOTOS, axis=0))


@pytest.mark.parametrize('batch_size', [1, 4, SHAPES, 40])
def test_shapes_to_embed_come_in_order_once_and_fill_the_last_batch(batch_size):
    found = list(pipeline.gallery_batches(GALLERY, batch_size=batch_size))
    assert len(found) == -(-SHAPES // batch_size)
    assert all(
        batch['views'].shape == (batch_size, VIEWS, SIZE, SIZE, 1) and batch['views'].dtype == np.uint8
        for batch in found
    )
    valid = np.concatenate([batch['valid'] for batch in found])
    views = np.concatenate([batch['views'] for batch in found])
    np.testing.assert_array_equal(valid, np.arange(len(valid)) < SHAPES)
    np.testing.assert_array_equal(views[:SHAPES], GALLERY.views)
    np.testing.assert_array_equal(views[SHAPES:], np.repeat(GALLERY.views[-1:], len(views) - SHAPES, axis=0))


def test_some_rows_in_an_order_of_ones_own_and_changed_copies():
    rows = np.array([7, 2, 2, 13])
    (plain,) = pipeline.query_batches(QUERIES, size=SIZE, batch_size=4, rows=rows)
    np.testing.assert_array_equal(plain['image'][..., 0].max(axis=(1, 2)), rows)
    options = {'batch_size': 4, 'rows': rows, 'augmentation': LIVELY}
    first, again, other = (
        next(iter(pipeline.query_batches(QUERIES, size=SIZE, copy=copy, **options))) for copy in (1, 1, 2)
    )
    assert_same(first, again)
    assert np.any(first['image'] != plain['image']) and np.any(first['image'] != other['image'])
    noisy = dataclasses.replace(GALLERY, views=np.random.default_rng(0).integers(0, 256, GALLERY.views.shape, np.uint8))
    views = [next(iter(pipeline.gallery_batches(noisy, copy=copy, **options))) for copy in (0, 1, 2)]
    np.testing.assert_array_equal(views[0]['views'], noisy.views[rows])
    assert np.any(views[1]['views'] != views[0]['views']) and np.any(views[1]['views'] != views[2]['views'])


FEATURES = {  # feature 0 tells the row, 1 the copy, 2 the view
    'photo_features': np.stack(np.meshgrid(np.arange(PHOTOS), np.arange(3), indexing='ij'), -1).astype(np.float32),
    'views_features': np.stack(
        np.meshgrid(np.arange(SHAPES), np.arange(2), np.arange(VIEWS), indexing='ij'), -1
    ).astype(np.float32),
}


@pytest.mark.parametrize('views_per_step', [0, 1])
def test_features_take_the_place_of_pictures(views_per_step):
    options = {'augmentation': LIVELY, 'views_per_step': views_per_step}
    copies = set()
    for batch, pictures in zip(batches(0, 8, features=FEATURES, **options), batches(0, 8, **options), strict=True):
        assert 'image' not in batch and 'views' not in batch
        for name in ('query_index', 'shape_index', 'positive', 'query_category'):
            np.testing.assert_array_equal(batch[name], pictures[name])
        photos, views = batch['photo_features'], batch['views_features']
        np.testing.assert_array_equal(photos[:, 0], batch['query_index'])
        assert views.shape == (BATCH, views_per_step or VIEWS, 3)
        np.testing.assert_array_equal(views[..., 0], np.repeat(batch['shape_index'][:, None], views.shape[1], axis=1))
        if not views_per_step:
            np.testing.assert_array_equal(views[..., 2], np.tile(np.arange(VIEWS), (BATCH, 1)))
        copies |= {('photo', copy) for copy in photos[:, 1]} | {
            ('view', *cell) for cell in views[..., 1:].reshape(-1, 2)
        }
    assert len(copies) == 3 + 2 * VIEWS


def test_shares_have_the_features_of_the_whole():
    data = tables(PHOTOS, SHAPES)
    whole = list(batches(0, 3, features=FEATURES, batch_size=4, data=data))
    parts = [list(batches(0, 3, features=FEATURES, batch_size=4, data=data, share=Share(i, 2))) for i in range(2)]
    for step, batch in enumerate(whole):
        for name in FEATURES:
            np.testing.assert_array_equal(np.concatenate([part[step][name] for part in parts]), batch[name])


def test_no_photos_are_no_batches():
    empty = QueryTable([], [], np.zeros(0, np.int32), np.zeros(0, np.int32), [])
    assert list(pipeline.query_batches(empty, size=SIZE, batch_size=4)) == []


def test_batches_are_made_ahead_without_end():
    """An iterator that is left early stops quietly, as after a signal."""
    assert len(list(itertools.islice(batches(0, 10**9), 3))) == 3


def test_shares_together_are_the_batch_and_read_nothing_else():
    options = {'augmentation': LIVELY, 'batch_size': 6, 'views_per_step': 1}
    whole = list(batches(0, 4, **options))
    for index in range(3):
        share = Share(index, 3)
        mine = [{name: share.of(value) for name, value in batch.items()} for batch in whole]
        needed = {int(photo) for batch in mine for photo in batch['query_index']}
        encoded = [image if photo in needed else b'unreadable' for photo, image in enumerate(QUERIES.images_encoded)]
        assert b'unreadable' in encoded
        queries = dataclasses.replace(QUERIES, images_encoded=encoded)
        for expected, found in zip(mine, batches(0, 4, **options, data=(queries, GALLERY), share=share), strict=True):
            assert len(found['image']) == 2
            assert_same(found, expected)


@pytest.mark.parametrize('channels', [1, 3])
def test_pictures_decoded_once_and_in_every_batch_are_the_same(channels):
    rng = np.random.default_rng(0)
    pictures = rng.integers(256, size=(2, 3, 5, 5, channels), dtype=np.uint8)
    encoded = np.empty((2, 3), object)
    for place in np.ndindex(2, 3):
        encoded[place] = tf.io.encode_png(pictures[place]).numpy()
    rows = tf.constant([5, 0, 3, 3])
    once = picture_reader(encoded, channels, 5, limit=pictures.size)
    each = picture_reader(encoded, channels, 5, limit=pictures.size - 1)
    others = picture_reader(encoded, channels, 5, share=Share(0, 2))
    for read in (once, each, others):
        np.testing.assert_array_equal(read(rows), pictures.reshape(6, 5, 5, channels)[rows.numpy()])
    operations = [
        {op.type for op in tf.function(read).get_concrete_function(rows).graph.get_operations()}
        for read in (once, each, others)
    ]
    assert ['StatelessWhile' in names or 'While' in names for names in operations] == [False, True, True]
