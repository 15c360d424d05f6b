"""Grids turned about the vertical, cell by cell against a loop; what a scan saw at a voxel."""

import numpy as np
import pytest

from jaxret.geometry.distance_grids import FREE, NEAR, SURFACE, DistanceGrid
from jaxret.geometry.grid_turns import turned_grids


@pytest.mark.parametrize('degrees,middle', [(0, 4), (90, 4), (37, 4), (-200, 3.5), (15, 3.5)])
def test_every_cell_comes_from_where_it_was(degrees, middle):
    grids = np.random.default_rng(0).integers(0, 9, size=(2, 8, 3, 8)).astype(np.uint8)
    cos, sin = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    wanted = np.zeros_like(grids)
    for x in range(8):
        for z in range(8):
            a, b = x - middle, z - middle
            before = (round(cos * a - sin * b + middle, 6), round(sin * a + cos * b + middle, 6))
            column, row = (int(np.rint(place)) for place in before)
            if 0 <= column < 8 and 0 <= row < 8:
                wanted[:, x, :, z] = grids[:, column, :, row]
    found = turned_grids(grids, degrees, middle=middle)
    np.testing.assert_array_equal(found, wanted)
    assert found.dtype == np.uint8


def test_what_was_seen():
    values = np.array([-3, -1, 0.5, 1, 1.5, 3, 3.5, np.inf, -np.inf]).reshape(9, 1, 1).astype(np.float32) / 2
    seen = DistanceGrid(values, 0.5, np.eye(4)).seen()
    assert seen.ravel().tolist() == [0, SURFACE, SURFACE, SURFACE, NEAR, NEAR, FREE, 0, 0] and seen.dtype == np.uint8
