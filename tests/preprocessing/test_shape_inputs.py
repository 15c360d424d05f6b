"""Shapes as inputs: points, grids, records of meshes, the sheet of answers."""

import io

import numpy as np
import pytest
import trimesh
from PIL import Image
from small_index import write_box

from jaxret.errors import DataError
from jaxret.geometry.distance_grids import SURFACE, write_distances
from jaxret.geometry.grid_meshes import grid_from_mesh
from jaxret.geometry.mesh import load_mesh
from jaxret.geometry.render import ViewRing, render_file
from jaxret.geometry.signatures import Signatures
from jaxret.preprocessing.inputs import ShapeInputs, spaced
from jaxret.preprocessing.points import point_arrays, read_points
from jaxret.preprocessing.shapes import file_checksum, shape_arrays, shape_record


def test_points_of_files_stand_in_the_unit_sphere(tmp_path):
    cloud = np.random.default_rng(0).uniform(-1, 1, size=(300, 3)) * [1, 2, 5] + 10
    np.save(tmp_path / 'a.npy', np.concatenate([cloud, cloud], axis=1))
    np.savetxt(tmp_path / 'a.xyz', np.concatenate([cloud, np.ones((300, 2))], axis=1), fmt='%.6f')
    trimesh.PointCloud(cloud).export(tmp_path / 'a.ply')
    for name in ('a.npy', 'a.xyz', 'a.ply'):
        np.testing.assert_allclose(read_points(tmp_path / name)[:, :3], cloud, atol=1e-5)
    arrays = point_arrays(tmp_path / 'a.npy', count=200)['points']
    assert arrays.shape == (200, 3) and arrays.dtype == np.float32 and len(np.unique(arrays, axis=0)) == 200
    middle = (cloud.min(axis=0) + cloud.max(axis=0)) / 2
    unit = (cloud - middle) / np.linalg.norm(cloud - middle, axis=1).max()
    nearest = np.linalg.norm(arrays[:, None] - unit[None], axis=-1)
    assert (nearest.min(axis=1) < 1e-5).all()
    turned = point_arrays(cloud, count=200, up_axis='z')['points']
    np.testing.assert_allclose(turned, np.stack([arrays[:, 0], arrays[:, 2], -arrays[:, 1]], axis=1), atol=1e-6)
    more = point_arrays(cloud, count=700)['points']  # all, and some of them again
    assert len(more) == 700 and len(np.unique(more, axis=0)) == 300


@pytest.mark.parametrize(
    'content,found',
    [
        (np.zeros((20, 3)), 'all points lie at one place'),
        (np.ones((3, 3)), '3 points'),
        (np.ones((20, 2)), 'give numbers'),
        (np.full((20, 3), np.nan), '20 points are not finite'),
        (np.array([{}] * 20), 'Object arrays cannot be loaded'),
        (b'nothing', 'not a readable npy file'),
    ],
)
def test_points_that_cannot_be_used(tmp_path, content, found):
    if isinstance(content, bytes):
        (tmp_path / 'a.npy').write_bytes(content)
    else:
        np.save(tmp_path / 'a.npy', content, allow_pickle=True)
    with pytest.raises(DataError, match=found):
        point_arrays(tmp_path / 'a.npy', count=10)


def test_shape_records_are_functions_of_the_content(tmp_path):
    write_box(tmp_path / 'a.obj', 1, 2, 3)
    write_box(tmp_path / 'b/c.obj', 1, 2, 3)
    write_box(tmp_path / 'd.obj', 1, 2, 4)
    ring = ViewRing(views=4, size=20)
    inputs = {
        'views': ShapeInputs('views', ring=ring, view_ids=(1, 3), side=16),
        'points': ShapeInputs('points', points=50, unit_sphere=True),
        'faces': ShapeInputs('faces', faces=30, unit_sphere=True),
        'grid': ShapeInputs('grid'),
    }
    shapes = {
        'views': {'views': (2, 16, 16, 1)},
        'points': {'points': (50, 3)},
        'faces': {'faces': (30, 15), 'neighbors': (30, 3)},
        'grid': {'grid': (32, 32, 32)},
    }
    for kind, one in inputs.items():
        assert ShapeInputs.from_json(one.to_json()) == one
        same, again, other = (
            shape_record(tmp_path / name, inputs=one, up_axis='y') for name in ('a.obj', 'b/c.obj', 'd.obj')
        )
        assert {name: value.shape for name, value in same.arrays.items()} == shapes[kind]
        assert same.checksum == again.checksum == file_checksum(tmp_path / 'a.obj') != other.checksum
        assert same.thumbnail == again.thumbnail != other.thumbnail
        assert Image.open(io.BytesIO(same.thumbnail)).size == (192, 192)
        for name, value in same.arrays.items():
            np.testing.assert_array_equal(value, again.arrays[name])
    np.testing.assert_array_equal(
        shape_arrays(tmp_path / 'a.obj', inputs=inputs['views'], up_axis='y')['views'][..., 0],
        render_file(tmp_path / 'a.obj', ring)[[1, 3], 2:18, 2:18],
    )
    assert inputs['views'].azimuth(1) == 270
    assert spaced(0, 5) == (0, 1, 2, 3, 4) and spaced(2, 12) == (0, 6)


def test_the_buffers_of_a_gltf_file_belong_to_its_content(tmp_path):
    for name, file in trimesh.creation.box().export(file_type='gltf').items():
        (tmp_path / name).write_bytes(file)
    before = file_checksum(tmp_path / 'model.gltf')
    buffer = next(tmp_path.glob('*.bin'))
    buffer.write_bytes(buffer.read_bytes()[::-1])
    assert file_checksum(tmp_path / 'model.gltf') != before


def test_grids_as_shapes(tmp_path):
    write_box(tmp_path / 'a.obj', 1, 2, 3)
    mesh = load_mesh(tmp_path / 'a.obj')
    write_distances(tmp_path / 'a.vox', grid_from_mesh(mesh))
    write_distances(tmp_path / 'small.df', grid_from_mesh(mesh, resolution=16, extent=12))
    inputs = ShapeInputs('grid', placement='published')
    assert '.vox' in inputs.suffixes and '.vox' not in ShapeInputs('points').suffixes
    one, other = (shape_record(tmp_path / name, inputs=inputs, up_axis='y') for name in ('a.obj', 'a.vox'))
    occupied = one.arrays['grid'] == SURFACE
    np.testing.assert_array_equal(occupied, other.arrays['grid'] == SURFACE)
    assert one.arrays['grid'].dtype == other.arrays['grid'].dtype == np.uint8 and 0 < occupied.mean() < 1
    assert np.asarray(Image.open(io.BytesIO(other.thumbnail))).min() < 200  # something is to be seen
    with pytest.raises(DataError, match='16 x 16 x 16 voxels, not 32'):
        shape_arrays(tmp_path / 'small.df', inputs=inputs, up_axis='y')


def test_the_triangles_of_a_file_are_the_same_whichever_axis_points_up(tmp_path):
    write_box(tmp_path / 'a.obj', 1, 2, 3)
    records = [shape_record(tmp_path / 'a.obj', inputs=ShapeInputs('grid'), up_axis=axis) for axis in 'yz']
    one, other = (Signatures.of(record.extras['signature'][None]).digests for record in records)
    assert one == other
