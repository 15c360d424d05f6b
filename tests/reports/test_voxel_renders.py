"""Pictures of voxel grids against rays followed in tiny steps."""

import math

import numpy as np
import pytest

from jaxret.reports.voxel_renders import _PALETTE, _SHADES, CLUTTER, OBJECT, draw_voxels


def march(grid, pixels, row, column, azimuth, elevation):
    """Colour of one ray of an orthographic camera, found by small steps: the kind of cell and the axis it came across.

    None where the ray runs along an edge, where rounding decides.
    """
    side = len(grid)
    a, e = math.radians(azimuth), math.radians(elevation)
    right = (math.cos(a), 0.0, -math.sin(a))
    back = (math.cos(e) * math.sin(a), math.sin(e), math.cos(e) * math.cos(a))
    up = (-math.sin(e) * math.sin(a), math.cos(e), -math.sin(e) * math.cos(a))
    half = side / 2 * max(sum(map(abs, right)), sum(map(abs, up)))
    y = -((row + 0.5) / pixels * 2 - 1) * half
    x = ((column + 0.5) / pixels * 2 - 1) * half
    before = None
    for step in range(20 * 200):
        t = 10 - step / 200
        point = [side / 2 + x * r + y * u + t * b for r, u, b in zip(right, up, back, strict=True)]
        cell = [math.floor(p) for p in point]
        if all(0 <= c < side for c in cell) and grid[tuple(cell)]:
            changed = [axis for axis in range(3) if cell[axis] != before[axis]]
            return (int(grid[tuple(cell)]), changed[0]) if len(changed) == 1 else None
        before = cell
    return 0, None


@pytest.mark.parametrize(('azimuth', 'elevation'), [(35.0, 25.0), (200.0, -15.0), (0.0, 0.0)])
def test_every_ray_meets_what_small_steps_meet(azimuth, elevation, monkeypatch):
    monkeypatch.setattr('jaxret.reports.voxel_renders._SAMPLES', 1)
    rng = np.random.default_rng(0)
    grid = rng.integers(0, 3, size=(5, 5, 5)) * (rng.random((5, 5, 5)) < 0.3)
    picture = draw_voxels(grid[None], size=7, azimuth=azimuth, elevation=elevation)[0]
    compared = 0
    for row in range(7):
        for column in range(7):
            found = march(grid, 7, row, column, azimuth, elevation)
            if found is None:
                continue
            kind, axis = found
            colour = np.rint(_PALETTE[kind] * (_SHADES[axis] if kind else 1))
            np.testing.assert_array_equal(picture[row, column], colour)
            compared += kind > 0
    assert compared > 12


def test_up_is_up_and_colours_tell_object_from_clutter():
    grids = np.zeros((3, 8, 8, 8), np.uint8)
    grids[0, :, 7] = OBJECT
    grids[1, :, 0] = CLUTTER
    pictures = draw_voxels(grids, size=40).astype(int)
    assert pictures.shape == (3, 40, 40, 3)
    rows = [np.flatnonzero((picture != picture[0, 0]).any(axis=(1, 2))) for picture in pictures]
    assert rows[0].mean() < 18 and rows[1].mean() > 22 and not len(rows[2])
    middle = [picture[int(found.mean()), 20] for picture, found in zip(pictures, rows[:2], strict=False)]
    assert middle[0][2] > middle[0][0] and middle[1][0] > middle[1][2]
