"""What nobody trained, beside a run: the same measures of its own answers, and of a prior's."""

import io
from types import SimpleNamespace

import numpy as np
import pytest
import trimesh
from overrides import load_config
from photo_to_shape.comparators import untrained_scores
from photo_to_shape.measures import seen_metrics
from PIL import Image

from data_pipelines.photo_to_shape.prepare import GalleryTable, QueryTable
from jaxret.runs.split import PhotoSplit

SIDES = (0.2, 0.5, 0.9)


@pytest.fixture
def data(tmp_path):
    """Three boxes seen as bars of their height; photos of 0, 1 and 2, of which training has shown 2 most often."""
    paths = [tmp_path / f'{number}.obj' for number in range(3)]
    views = np.full((3, 2, 20, 20, 1), 255, np.uint8)
    for path, side, own in zip(paths, SIDES, views, strict=True):
        trimesh.creation.box((1.0, side, 0.5)).export(path)
        own[0, 1 : 1 + round(18 * side), 1:19] = own[1, 1 : 1 + round(18 * side), 5:15] = 90
    gallery = GalleryTable(views, np.array([0, 0, 1], np.int32), list('abc'), paths)
    shape = np.array([0, 1, 2], np.int32)
    masks = [png(own[0, ..., 0] < 255) for own in views]
    test = QueryTable([], masks, np.array([0, 0, 1], np.int32), shape, ['0.jpg', '1.jpg', '2.jpg'])
    none = QueryTable([], [], np.zeros(0, np.int32), np.zeros(0, np.int32), [])
    of_photo = {'x': 'c', 'y': 'c', 'z': 'a', '0.jpg': 'a'}
    split = PhotoSplit({name: 'test' if name == '0.jpg' else 'train' for name in of_photo}, of_photo, [])
    return SimpleNamespace(
        gallery=gallery,
        queries={'test': test, 'train': none, 'val': none},
        split=split,
        dataset=SimpleNamespace(categories=('low', 'high')),
    )


def png(mask):
    stream = io.BytesIO()
    Image.fromarray(255 * mask.astype(np.uint8)).save(stream, format='png')
    return stream.getvalue()


def config_of(**changes):
    config, _ = load_config('pix3d.py:smoke')
    config.processes, config.evaluation.points, config.evaluation.voxels = 1, 300, 24
    config.evaluation.update(changes)
    return config


def iou(a, b):
    return min(a, b) / max(a, b)


def test_distances_of_a_run_of_others_and_of_the_prior(data):
    scores = np.eye(3)[[0, 0, 2]]  # the second photo is answered with the first shape
    others = {'light_field': np.eye(3)[[1, 1, 1]]}
    metrics, problems = seen_metrics(config_of(), data, scores, others, by_views=np.eye(3))
    assert metrics['by_views']['iou'] == metrics['by_views']['top1'] == 1 and list(metrics['comparators']) == [*others]
    assert problems == () and metrics['top1'] == pytest.approx(2 / 3)
    assert metrics['iou'] == pytest.approx((2 + iou(0.5, 0.2)) / 3, abs=0.05)
    other = metrics['comparators']['light_field']
    assert other['top1'] == pytest.approx(1 / 3) and 'top1_chance' not in other and 'top1_prior' not in other
    assert other['iou'] == pytest.approx((iou(0.5, 0.2) + 1 + iou(0.9, 0.5)) / 3, abs=0.05)
    assert other['per_category']['high']['iou'] == pytest.approx(iou(0.9, 0.5), abs=0.05)
    assert other['per_category']['low']['top1'] == 0.5
    # the prior answers c
    assert metrics['iou_prior'] == pytest.approx((iou(0.2, 0.9) + iou(0.5, 0.9) + 1) / 3, abs=0.05)
    assert metrics['per_category']['high']['iou_prior'] == 1 and metrics['per_category']['high']['hausdorff_prior'] == 0
    assert metrics['hausdorff_macro_prior'] == pytest.approx(metrics['per_category']['low']['hausdorff_prior'] / 2)


def test_accuracies_alone(data):
    metrics, _ = seen_metrics(config_of(shape_metrics=False), data, np.eye(3), {'light_field': np.eye(3)})
    assert (
        metrics['comparators']['light_field']['top10'] == 1
        and 'by_views' not in metrics
        and 'iou' not in metrics
        and 'iou_prior' not in metrics
    )


def test_masks_find_the_shape_of_their_outline(data):
    found = untrained_scores(data, None, 255)
    assert list(found) == ['light_field']
    np.testing.assert_array_equal(found['light_field'].argmax(axis=1), [0, 1, 2])
    np.testing.assert_allclose(found['light_field'].max(axis=1), 0, atol=1e-9)


def test_scores_that_nobody_trained_are_computed_once_for_the_same_pictures(data):
    found = untrained_scores(data, None, 255)
    assert untrained_scores(data, None, 255) is found
    data.queries['test'].masks_encoded.reverse()
    other = untrained_scores(data, None, 255)
    np.testing.assert_array_equal(other['light_field'].argmax(axis=1), [2, 1, 0])
    data.gallery.views[0] = data.gallery.views[1]
    assert untrained_scores(data, None, 255)['light_field'][2, 0] < other['light_field'][2, 0]
