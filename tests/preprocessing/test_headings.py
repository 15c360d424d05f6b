"""Shapes as queries in several headings: each as a gallery makes the shape that is turned so."""

from dataclasses import replace

import numpy as np
import pytest
import trimesh

from jaxret.geometry.distance_grids import DistanceGrid, write_distances
from jaxret.geometry.grid_turns import turned_grids
from jaxret.geometry.view_ring import ViewRing
from jaxret.preprocessing.headings import query_shape_arrays
from jaxret.preprocessing.inputs import ShapeInputs
from jaxret.preprocessing.shapes import shape_arrays

RING = ViewRing(views=4, size=24)
INPUTS = {
    'views': ShapeInputs('views', ring=RING, view_ids=(0, 1, 2, 3), side=24),
    'faces': ShapeInputs('faces', unit_sphere=True, faces=40),
    'points': ShapeInputs('points', unit_sphere=True, points=30),
    'grid': ShapeInputs('grid'),
}


def turned(mesh, degrees):
    """By a loop over vertices: anticlockwise seen from above, from +z to +x."""
    cos, sin = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    vertices = [(cos * x + sin * z, y, cos * z - sin * x) for x, y, z in mesh.vertices]
    return trimesh.Trimesh(vertices, mesh.faces, process=False)


@pytest.mark.parametrize('kind', INPUTS)
def test_every_heading_is_the_turned_shape(tmp_path, kind):
    mesh = trimesh.creation.cone(1, 2, sections=5)
    mesh.apply_transform(np.array([[1, 0, 0, 0], [0, 2, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]))
    mesh.export(tmp_path / 'a.off')
    mesh = trimesh.load(tmp_path / 'a.off', process=False)
    asked = replace(INPUTS[kind].all_around(one_by_one=False), headings=3)
    made = query_shape_arrays(tmp_path / 'a.off', kind='mesh', inputs=asked, up_axis='y')
    step = 90 if kind == 'views' else 0
    assert asked.heading_angles.tolist() == [0, (360 + step) / 3, (360 + step) / 3 * 2]
    assert {name: (value.shape, value.dtype) for name, value in made.items()} == dict(asked.arrays)
    for number, angle in enumerate(asked.heading_angles):
        turned(mesh, angle).export(tmp_path / 'turned.off', digits=12)
        wanted = shape_arrays(tmp_path / 'turned.off', inputs=INPUTS[kind], up_axis='y')
        for name, value in wanted.items():
            if kind == 'points':  # drawn at random: in the same box
                np.testing.assert_allclose(np.abs(made[name][number]).max(), np.abs(value).max(), atol=0.2)
            else:
                off = np.abs(made[name][number].astype(float) - value) > 1e-3 * max(1, value.max())
                assert off.mean() < 0.02


def test_how_many_headings_and_views():
    twelve = replace(INPUTS['views'], ring=ViewRing(views=12, size=24), view_ids=tuple(range(12)))
    assert [inputs.all_around(one_by_one=False).headings for inputs in (INPUTS['views'], twelve)] == [24, 8]
    asked = twelve.all_around(one_by_one=True)
    assert (asked.headings, asked.view_ids) == (24, (0, 3, 6, 9))
    turns = twelve.turns
    assert turns.views == (0, 3, 6, 9) and turns.angles.tolist() == [15.0 * n for n in range(24)]
    assert turns.rows.tolist() == [[4 * n, 4 * n + 1, 4 * n + 2, 4 * n + 3] for n in range(24)]
    placed = replace(twelve, margin=0.1)
    assert placed.all_around(one_by_one=True).headings is None and placed.turns.rows.shape == (12, 12)


def test_clouds_become_what_the_gallery_takes():
    cloud = trimesh.sample.sample_surface(trimesh.creation.box((1, 2, 3)), 2000, seed=0)[0]
    for kind, inputs in INPUTS.items():
        asked = replace(inputs.all_around(one_by_one=False), headings=2)
        made = query_shape_arrays(cloud, kind='points', inputs=asked, up_axis='z')
        assert {name: (value.shape, value.dtype) for name, value in made.items()} == dict(asked.arrays), kind


def test_scans_keep_what_they_saw_in_every_heading(tmp_path):
    values = np.random.default_rng(0).uniform(-3, 3, size=(32, 32, 32)).astype(np.float32)
    grid = DistanceGrid(values, 1.0, np.eye(4, dtype=np.float32))
    write_distances(tmp_path / 'a.sdf', grid)
    for placement, middle in (('published', 16), ('centered', 15.5)):
        asked = ShapeInputs('grid', placement=placement, headings=4)
        made = query_shape_arrays(tmp_path / 'a.sdf', kind='scan', inputs=asked, up_axis='y')['grid']
        assert (made.shape, made.dtype) == asked.arrays['grid']
        wanted = [turned_grids(grid.seen(), angle, middle=middle) for angle in (0, 90, 180, 270)]
        np.testing.assert_array_equal(made, wanted)
