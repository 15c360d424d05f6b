"""From where a photo was taken, between known cameras."""

import math

import numpy as np
import pytest

from jaxret.search.viewpoint import refined_poses

RING = np.array([(azimuth, 10.0) for azimuth in range(0, 360, 30)])
OPTIONS = {'reach': 40.0, 'temperature': 0.1}


def slow_pose(scores, poses, reach, temperature):
    """By loops over cameras, with angles from dot products."""

    def direction(azimuth, elevation):
        a, e = math.radians(azimuth), math.radians(elevation)
        return (math.cos(e) * math.sin(a), math.sin(e), math.cos(e) * math.cos(a))

    best = max(range(len(scores)), key=lambda v: scores[v])
    total = [0.0, 0.0, 0.0]
    for score, pose in zip(scores, poses, strict=True):
        dot = sum(a * b for a, b in zip(direction(*pose), direction(*poses[best]), strict=True))
        if math.degrees(math.acos(min(1, dot))) <= reach:
            total = [t + math.exp(score / temperature) * x for t, x in zip(total, direction(*pose), strict=True)]
    return math.degrees(math.atan2(total[0], total[2])) % 360, math.degrees(
        math.asin(total[1] / math.sqrt(sum(t * t for t in total)))
    )


def test_between_two_cameras_of_equal_score_and_across_the_front():
    scores = np.full((3, 12), -9.0)
    scores[0, [2, 3]] = 1.0
    scores[1, [0, 11]] = 0.5  # 330 and 0 degrees
    scores[2, [2, 8]] = 1.0  # opposite ones: the first alone
    found = refined_poses(scores, RING, **OPTIONS)
    np.testing.assert_allclose(found[:, 0], [75, 345, 60], atol=1e-6)
    # The mean of two directions at an angle lies higher than both.
    high = math.degrees(math.atan(math.tan(math.radians(10)) / math.cos(math.radians(15))))
    np.testing.assert_allclose(found[:, 1], [high, high, 10], atol=1e-6)


def test_against_loops():
    rng = np.random.default_rng(0)
    poses = np.stack([rng.uniform(0, 360, 15), rng.uniform(-20, 80, 15)], axis=1)
    scores = rng.normal(size=(6, 15)).astype(np.float32)
    found = refined_poses(scores, poses, reach=70.0, temperature=0.5)
    wanted = [slow_pose(row.tolist(), poses.tolist(), 70.0, 0.5) for row in scores]
    np.testing.assert_allclose(found, wanted, rtol=1e-6)
    assert ((found[:, 0] >= 0) & (found[:, 0] < 360)).all()


@pytest.mark.parametrize('pose', [(0.0, 0.0), (350.0, -15.0), (123.0, 60.0)])
def test_a_single_camera(pose):
    np.testing.assert_allclose(refined_poses(np.zeros((2, 1)), np.array([pose]), **OPTIONS), [pose, pose], atol=1e-9)
    assert refined_poses(np.zeros((0, 1)), np.array([pose]), **OPTIONS).shape == (0, 2)
