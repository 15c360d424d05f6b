"""Shape distances against loops over all pairs."""

import numpy as np
import pytest
import references_geometry as reference

from jaxret.geometry.distances import modified_hausdorff, voxel_iou


@pytest.mark.parametrize(('n', 'm'), [(1, 1), (30, 30), (7, 41)])
def test_modified_hausdorff_equals_loops(n, m):
    generator = np.random.default_rng(n)
    x, y = generator.normal(size=(n, 3)), generator.normal(size=(m, 3)).astype(np.float32)
    assert modified_hausdorff(x, y) == pytest.approx(reference.modified_hausdorff(x, y), rel=1e-9)
    assert modified_hausdorff(x, y) == pytest.approx(modified_hausdorff(y, x))


def test_modified_hausdorff_by_hand():
    x, y = np.array([[0.0, 0, 0], [1, 0, 0]]), np.array([[0.0, 3, 0]])
    assert modified_hausdorff(x, y) == pytest.approx((3 + np.sqrt(10) + 3) / 3)  # the mean over all three points
    assert modified_hausdorff(x, x[::-1]) == 0
    assert modified_hausdorff(np.repeat(x, 5, axis=0), x) == 0


@pytest.mark.parametrize('wrong', [np.zeros((0, 3)), np.zeros((4, 2)), np.zeros(3), np.full((2, 3), np.nan)])
def test_modified_hausdorff_refuses(wrong):
    with pytest.raises(ValueError, match='y'):
        modified_hausdorff(np.zeros((2, 3)), wrong)


def test_voxel_iou_equals_loops():
    generator = np.random.default_rng(0)
    a, b = generator.random((2, 5, 6, 7)) < 0.4
    assert voxel_iou(a, b) == pytest.approx(reference.voxel_iou(a, b))
    assert voxel_iou(a.astype(np.uint8), b.astype(np.uint8)) == voxel_iou(a, b)


def test_voxel_iou_edges():
    full, empty = np.ones((3, 3, 3), bool), np.zeros((3, 3, 3), bool)
    half = full.copy()
    half[0] = False
    assert voxel_iou(full, full) == 1 and voxel_iou(empty, empty) == 1
    assert voxel_iou(full, empty) == 0 and voxel_iou(empty, full) == 0
    assert voxel_iou(full, half) == pytest.approx(2 / 3)
    with pytest.raises(ValueError, match='shapes'):
        voxel_iou(full, np.ones((3, 3)))
