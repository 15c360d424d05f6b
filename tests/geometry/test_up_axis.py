"""Which axis points up: the two measures against slow ones, shapes whose axis is known, and the vote of a folder."""

import itertools

import numpy as np
import pytest
from scipy.spatial import ConvexHull
from upright_shapes import CHAIR, CUBE, TABLE, as_z_up

from jaxret.geometry.up_axis import _alike, _cells, _foot, folder_axes, guess_up_axis


@pytest.mark.parametrize('mesh', [TABLE, CHAIR], ids=['table', 'chair'])
def test_known_axes(mesh):
    axis, certainty = guess_up_axis(mesh)
    assert axis == 'y' and certainty > 0.85
    axis, certainty = guess_up_axis(as_z_up(mesh, scale=1e-3, shift=1e3))  # far off its origin, in other units
    assert axis == 'z' and certainty > 0.85


def test_a_cube_tells_nothing():
    assert guess_up_axis(CUBE)[1] < 0.6


def test_measures_against_loops():
    unit = np.random.default_rng(0).random((400, 3)) * [1, 1, 0.5]
    cells = {tuple(int(16 * c) for c in point) for point in unit}
    near = {tuple(np.add(cell, step)) for cell in cells for step in itertools.product((-1, 0, 1), repeat=3)}
    found = _cells(unit)
    assert {tuple(cell) for cell in np.argwhere(found)} == {c for c in near if max(c) < 16 and min(c) >= 0}
    for axis, other in ((1, 2), (2, 1)):
        hits = 0
        for point in unit:
            for mirrored in ((point[other], point[0]), (1 - point[other], 1 - point[0])):
                place = point.copy()
                place[0], place[other] = mirrored
                hits += bool(found[tuple(np.minimum(16 * place, 15).astype(int))])
        assert _alike(unit, found, axis) == hits / 800
        low = unit[unit[:, axis] <= 0.03][:, [0, other]]
        assert _foot(unit, axis) == pytest.approx(ConvexHull(low).volume, rel=0.03)


def test_votes():
    y, z, weak = ('y', 0.92), ('z', 0.92), ('z', 0.7)
    # two agree: all of the folder, also those that do not tell
    assert folder_axes(['a', 'b', 'c', 'd'], [y, y, None, weak]) == ['y'] * 4
    # three to one is agreement, two to one is not, and one alone counts only where it is sure
    assert folder_axes(['a', 'b', 'c', 'd'], [z, z, z, y]) == ['z'] * 4
    assert folder_axes(['a', 'b', 'c'], [z, z, ('y', 0.99)]) == [None, None, 'y']
    assert folder_axes(['a', 'b'], [z, None]) == [None, None]
    assert folder_axes([], []) == []
    # a folder that disagrees is looked at folder by folder
    names = ['in/p/a', 'in/p/b', 'in/q/a', 'in/q/b', 'in/r', 'out']
    assert folder_axes(names, [y, y, z, z, ('z', 0.99), None]) == ['y', 'y', 'z', 'z', 'z', None]
    # below a folder that agrees, another axis takes three folders that agree on it: not one kind of models
    names = [f'{top}/{kind}/{number}' for top in 'ab' for kind in 'pqr' for number in (0, 1, 2)] + ['a/s/0'] * 20
    most = [y] * 9 + [z] * 9 + [y] * 20
    assert folder_axes(names, most) == ['y'] * 9 + ['z'] * 9 + ['y'] * 20
    assert folder_axes(names, [y] * 9 + [z] * 6 + [None] * 3 + [y] * 20) == ['y'] * 38
