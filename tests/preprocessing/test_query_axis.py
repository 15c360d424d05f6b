"""Which axis points up in a shape that is asked with."""

import numpy as np
import pytest
import trimesh
from upright_shapes import CUBE, TABLE, as_z_up, write_obj

from jaxret.geometry.points import sample_surface
from jaxret.preprocessing.headings import query_up_axis
from jaxret.preprocessing.inputs import ShapeInputs

Z_UP = ShapeInputs('views', up_axis='z')  # of a run whose meshes are z up


@pytest.mark.parametrize(('up_axis', 'expected'), [(None, 'z'), ('y', 'y'), ('auto', 'y')])
def test_meshes(tmp_path, up_axis, expected):
    write_obj(tmp_path / 'table.obj', TABLE)
    assert query_up_axis(tmp_path / 'table.obj', kind='mesh', up_axis=up_axis, inputs=Z_UP) == expected


def test_what_tells_nothing_is_as_in_training(tmp_path):
    write_obj(tmp_path / 'cube.obj', CUBE)
    assert query_up_axis(tmp_path / 'cube.obj', kind='mesh', up_axis='auto', inputs=Z_UP) == 'z'


def test_formats_and_scans_say_it_themselves(tmp_path):
    trimesh.Trimesh(CUBE.vertices, CUBE.faces).export(tmp_path / 'cube.glb')
    for up_axis in (None, 'z', 'auto'):
        assert query_up_axis(tmp_path / 'cube.glb', kind='mesh', up_axis=up_axis, inputs=Z_UP) == 'y'
        assert query_up_axis(tmp_path / 'scan.sdf', kind='scan', up_axis=up_axis, inputs=Z_UP) == 'y'


def test_clouds(tmp_path):
    cloud = sample_surface(as_z_up(TABLE), 5000, seed=0)
    np.save(tmp_path / 'cloud.npy', cloud)
    for shape in (cloud, tmp_path / 'cloud.npy'):
        assert query_up_axis(shape, kind='points', up_axis='auto', inputs=ShapeInputs('views')) == 'z'
        assert query_up_axis(shape, kind='points', up_axis=None, inputs=ShapeInputs('views')) == 'y'
