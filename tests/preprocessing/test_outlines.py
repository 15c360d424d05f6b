"""Silhouettes as cells, against loops over cells and against masks whose cells are known."""

import numpy as np
import pytest
import trimesh

from jaxret.geometry.mesh import Mesh
from jaxret.geometry.view_ring import ViewRing
from jaxret.preprocessing.outlines import CELLS, mesh_outlines, outline_cells, packed


def slow_cells(mask):
    """One cell at a time: the mask's value at the cell's middle, of the four pixels around it by their distances."""
    cells = np.zeros((CELLS, CELLS), bool)
    places = np.argwhere(mask)
    if not len(places):
        return cells
    (top, left), (bottom, right) = places.min(axis=0), places.max(axis=0) + 1
    side = max(bottom - top, right - left)
    for i in range(CELLS):
        for j in range(CELLS):
            y = (top + bottom) / 2 + ((i + 0.5) / CELLS - 0.5) * side - 0.5
            x = (left + right) / 2 + ((j + 0.5) / CELLS - 0.5) * side - 0.5
            value = 0.0
            for row in (int(np.floor(y)), int(np.floor(y)) + 1):
                for column in (int(np.floor(x)), int(np.floor(x)) + 1):
                    if 0 <= row < mask.shape[0] and 0 <= column < mask.shape[1]:
                        value += mask[row, column] * (1 - abs(y - row)) * (1 - abs(x - column))
            cells[i, j] = value > 0.5
    return cells


def masks(side):
    rng = np.random.default_rng(side)
    made = np.zeros((6, side, side), bool)
    made[0, side // 2, side // 3] = True  # one pixel
    made[1, : side // 2] = True  # at the border
    made[2, 3 : side - 2, 4:7] = True  # narrow
    made[3] = rng.random((side, side)) < 0.5
    made[4] = True
    return made  # and one without an object


@pytest.mark.parametrize('side', [11, 37])
def test_cells_against_loops(side):
    found = outline_cells(masks(side))
    assert found.shape == (6, CELLS, CELLS) and found.dtype == bool and not found[5].any()
    for mask, cells in zip(masks(side), found, strict=True):
        np.testing.assert_array_equal(cells, slow_cells(mask))


def test_the_place_and_the_size_of_an_object_do_not_matter_but_its_proportions_do():
    made = np.zeros((3, 200, 200), bool)
    made[0, 10:74, 20:36] = True  # four times as high as wide
    made[1, 60:188, 100:132] = True
    rows, columns = np.mgrid[:200, :200] + 0.5
    made[2] = (rows - 90) ** 2 + (columns - 120) ** 2 < 64**2
    tall, same, disc = outline_cells(made)
    wanted = np.zeros((CELLS, CELLS), bool)
    wanted[:, 12:20] = True
    np.testing.assert_array_equal(tall, wanted)
    np.testing.assert_array_equal(same, wanted)
    middles = (np.arange(CELLS) + 0.5) / CELLS * 2 - 1
    radius = np.hypot(middles[:, None], middles[None])
    assert disc[radius < 0.98].all() and not disc[radius > 1.02].any()


def test_bits_are_those_of_the_cells_in_order():
    cells = np.random.default_rng(0).integers(0, 3, (2, 3, CELLS, CELLS))
    bits = packed(cells)
    assert bits.shape == (2, 3, CELLS * CELLS // 8) and bits.dtype == np.uint8
    for number, value in enumerate(cells[1, 2].ravel()):
        assert bool(bits[1, 2, number // 8] >> (7 - number % 8) & 1) == bool(value)


def test_silhouettes_of_a_mesh_from_every_camera():
    """A board, 2 wide, 1 high and 1 deep: twice as wide as high from the front, a square from the side."""
    box = trimesh.creation.box((2.0, 1.0, 1.0))
    bits = mesh_outlines(Mesh(box.vertices, box.faces), ViewRing.of(((0.0, 4, 0.0), (90.0, 1, 0.0)), size=90))
    cells = np.unpackbits(bits, axis=1).reshape(5, CELLS, CELLS)
    heights, widths = cells.any(axis=2).sum(axis=1), cells.any(axis=1).sum(axis=1)
    assert heights[[0, 2]] == pytest.approx(16, abs=1) and heights[[1, 3]] == pytest.approx(32, abs=1)
    assert widths.tolist() == [32] * 5 and heights[4] == pytest.approx(16, abs=1)  # from above
