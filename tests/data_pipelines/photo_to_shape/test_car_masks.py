"""Silhouettes of annotated poses, against the annotations' projection written out vertex by vertex."""

from math import cos, sin

import numpy as np
import pytest
from car_folders import box_vertices
from PIL import Image, ImageDraw
from pix3d_folders import QUADS
from scipy.spatial import ConvexHull

from data_pipelines.photo_to_shape.car_annotations import CarPose
from data_pipelines.photo_to_shape.car_masks import first_version, silhouette
from jaxret.geometry.rays import build_scene

POSES = {
    'front right': CarPose(0.9, 0.15, 0.0, 1.4, 0.0, 0.0, 346.4),
    'rolled': CarPose(2.3, 0.05, 0.2, 1.2, 20.0, -12.0, 300.0),
    'rear, from above': CarPose(4.1, 0.6, -0.1, 2.5, -15.5, 30.0, 700.0),
    'far': CarPose(5.5, -0.05, 0.01, 40.0, 3.0, 2.0, 12000.0),
    'out of the frame': CarPose(0.4, 0.1, 0.0, 1.3, 130.0, 60.0, 330.0),
}
FACES = np.array([triangle for a, b, c, d in QUADS for triangle in ((a, b, c), (a, c, d))]) - 1


def projected(vertices, pose, width, height):
    """x, y of every vertex in a photo of width x height pixels: rotate about y, x, z, then project, step by step."""
    pixels = []
    for x, y, z in vertices:
        x, z = cos(pose.azimuth) * x - sin(pose.azimuth) * z, sin(pose.azimuth) * x + cos(pose.azimuth) * z
        y, z = cos(pose.elevation) * y - sin(pose.elevation) * z, sin(pose.elevation) * y + cos(pose.elevation) * z
        x, y = cos(pose.theta) * x - sin(pose.theta) * y, sin(pose.theta) * x + cos(pose.theta) * y
        scale = width / 300  # the annotations are for photos 300 pixels wide
        across = pose.f * x / (z - pose.distance) + pose.u + 150
        down = pose.f * y / (z - pose.distance) + pose.v + height / scale / 2
        pixels.append((across * scale, down * scale))
    return np.array(pixels)


def outline(vertices, pose, width, height):
    """Mask of a convex body, drawn four times as large."""
    pixels = 4 * projected(vertices, pose, width, height)
    picture = Image.new('L', (4 * width, 4 * height))
    ImageDraw.Draw(picture).polygon([tuple(pixels[i]) for i in ConvexHull(pixels).vertices], fill=255)
    return np.asarray(picture.resize((width, height), Image.Resampling.BOX)) >= 128


@pytest.mark.parametrize('size', [(300, 200), (157, 211), (640, 427)])
@pytest.mark.parametrize('name', POSES)
def test_silhouette_of_a_box(name, size):
    pose, (width, height) = POSES[name], size
    vertices = box_vertices(np.array([0.8, 0.3, 0.4])) + [0.03, -0.02, 0.05]  # not about the origin
    mask = silhouette(build_scene(vertices, FACES, watertight=False), pose, width=width, height=height)
    assert mask.shape == (height, width) and mask.dtype == np.uint8 and set(np.unique(mask)) <= {0, 255}
    expected = outline(vertices, pose, width, height)
    assert expected.any()
    overlap = (expected & (mask > 0)).sum() / (expected | (mask > 0)).sum()
    assert overlap > 0.97
    # another pose would not do
    moved = outline(vertices, CarPose(pose.azimuth + 0.35, *list(vars(pose).values())[1:]), width, height)
    assert (moved & (mask > 0)).sum() / (moved | (mask > 0)).sum() < overlap - 0.01


def test_a_pose_that_shows_nothing_gives_an_empty_mask():
    pose = CarPose(0.0, 0.0, 0.0, 2.0, 5000.0, 0.0, 300.0)
    assert not silhouette(build_scene(box_vertices(), FACES, watertight=False), pose, width=30, height=20).any()


def test_models_of_the_second_version_are_turned_to_the_first(tmp_path):
    rng = np.random.default_rng(0)
    first = rng.uniform(-1, 1, (50, 3)) * [3, 1, 1.5]
    low, high = first.min(axis=0), first.max(axis=0)
    first = (first - (low + high) / 2) / np.linalg.norm(high - low)
    front = int(first[:, 0].argmax())
    second = np.stack([first[:, 2], first[:, 1], -first[:, 0]], axis=1)
    assert second[:, 2].argmin() == front  # the front at -z
    assert np.linalg.det(np.linalg.lstsq(first, second, rcond=None)[0]) > 0  # no mirror
    second = second - second.mean(axis=0)
    path = tmp_path / 'models/model_normalized.obj'
    np.testing.assert_allclose(first_version(second, path), first, atol=1e-12)
    np.testing.assert_allclose(first_version(1.7 * second, path), first, atol=1e-12)
    assert first_version(second, tmp_path / 'model.obj') is second
