"""Loading, checking and normalising mesh files; what damaged ones give."""

import json
import logging
import os
import time
from dataclasses import replace

import numpy as np
import pytest
import trimesh

from jaxret.errors import DataError
from jaxret.geometry.formats import MESH_SUFFIXES
from jaxret.geometry.mesh import Mesh, load_mesh, normalize_mesh

KINDS = ['.obj', '.off', '.ply', '.ply text', '.stl', '.stl text', '.glb', '.gltf']


def prism():
    """An asymmetric closed mesh: a box of 1 x 2 x 3 with a pyramid on +x."""
    box = trimesh.creation.box((1, 2, 3))
    top = trimesh.creation.cone(0.4, 1.0, sections=4)
    top.apply_transform(trimesh.transformations.rotation_matrix(np.pi / 2, (0, 1, 0)))
    top.apply_translation((0.5, 0.3, 0.2))
    return trimesh.util.concatenate([box, top])


def encode(mesh, kind):
    """The bytes of a mesh in one format."""
    suffix, _, text = kind.partition(' ')
    if suffix == '.gltf':
        data = mesh.export(file_type='gltf', embed_buffers=True)['model.gltf']
    elif suffix == '.stl' and text:
        data = mesh.export(file_type='stl_ascii')
    elif suffix == '.ply' and text:
        data = mesh.export(file_type='ply', encoding='ascii')
    else:
        data = mesh.export(file_type=suffix[1:])
    return data.encode() if isinstance(data, str) else data


def write(folder, kind, data):
    path = folder / f'shape{kind.partition(" ")[0]}'
    path.write_bytes(data.encode() if isinstance(data, str) else data)
    return path


def problem(path, **options):
    """The one problem that loading a file reports; it must name the file and say what to do."""
    with pytest.raises(DataError) as caught:
        load_mesh(path, **options)
    (found,) = caught.value.problems
    assert found.where == str(path) and found.found and found.action
    return found.found


def check_valid(mesh):
    assert mesh.vertices.dtype == np.float64 and mesh.faces.dtype == np.int64
    assert mesh.vertices.shape[1:] == (3,) and mesh.faces.shape[1:] == (3,) and len(mesh.faces) > 0
    assert np.isfinite(mesh.vertices).all()
    assert mesh.faces.min() >= 0 and mesh.faces.max() < len(mesh.vertices)
    assert np.ptp(mesh.vertices, axis=0).max() > 0


@pytest.mark.parametrize('kind', KINDS)
def test_every_format_gives_the_same_surface(tmp_path, kind):
    source = prism()
    mesh = load_mesh(write(tmp_path, kind, encode(source, kind)))
    check_valid(mesh)
    assert len(mesh.faces) == len(source.faces)
    loaded = np.sort(mesh.vertices[mesh.faces].reshape(len(mesh.faces), 9).round(4), axis=0)
    expected = np.sort(source.triangles.reshape(len(source.faces), 9).round(4), axis=0)
    np.testing.assert_allclose(loaded, expected, atol=2e-4)


def test_suffix_in_capitals(tmp_path):
    path = tmp_path / 'SHAPE.OFF'
    path.write_bytes(encode(prism(), '.off'))
    check_valid(load_mesh(path))


@pytest.mark.parametrize('header', ['OFF\n4 4 0', 'OFF4 4 0', 'OFF 4 4 0', '# made by hand\nOFF\n\n4 4 6'])
def test_off_headers_of_modelnet(tmp_path, header):
    body = '\n0 0 0\n1 0 0\n0 1 0\n0 0 1\n3 0 1 2\n3 0 1 3\n3 0 2 3\n3 1 2 3\n'
    mesh = load_mesh(write(tmp_path, '.off', header + body))
    assert mesh.vertices.shape == (4, 3) and mesh.faces.shape == (4, 3)


def test_obj_with_polygons_groups_and_missing_material(tmp_path, caplog, capfd):
    path = write(
        tmp_path,
        '.obj',
        (
            'mtllib missing.mtl\nv 0 0 0\nv 1 0 0\nv 1 1 0\nv 0 1 0\nv 0 0 1\nvt 0 0\nvn 0 0 1\n'
            'g one\nusemtl wood\nf 1/1/1 2/1/1 3/1/1 4/1/1\ng two\nusemtl steel\nf -5//1 -4//1 -1//1\n'
        ),
    )
    mesh = load_mesh(path)
    assert len(mesh.faces) == 3
    a, b, c = np.moveaxis(mesh.vertices[mesh.faces], 1, 0)
    assert np.linalg.norm(np.cross(b - a, c - a), axis=1).sum() / 2 == pytest.approx(1.5)
    assert not caplog.records and capfd.readouterr() == ('', '')


def test_names_in_latin_1(tmp_path):
    check_valid(load_mesh(write(tmp_path, '.obj', b'# Schr\xe4gbank\n' + encode(prism(), '.obj'))))


def test_scene_is_flattened_with_transforms_and_mirrors(tmp_path):
    scene = trimesh.Scene()
    box = trimesh.creation.box((1, 1, 1))
    scene.add_geometry(box, transform=trimesh.transformations.translation_matrix((5, 0, 0)))
    scene.add_geometry(box.copy(), transform=np.diag([-1.0, 2, 1, 1]))
    path = tmp_path / 'scene.glb'
    path.write_bytes(scene.export(file_type='glb'))
    mesh = load_mesh(path)
    assert len(mesh.faces) == 24
    np.testing.assert_allclose(mesh.vertices.min(axis=0), (-0.5, -1, -0.5), atol=1e-6)
    np.testing.assert_allclose(mesh.vertices.max(axis=0), (5.5, 1, 0.5), atol=1e-6)
    a, b, c = np.moveaxis(mesh.vertices[mesh.faces], 1, 0)
    assert (np.cross(b, c) * a).sum() / 6 == pytest.approx(1 + 2)  # signed volume: both boxes face outwards


def test_z_up_becomes_y_up(tmp_path):
    path = write(tmp_path, '.off', 'OFF\n3 1 0\n0 0 0\n1 0 0\n2 3 4\n3 0 1 2\n')
    np.testing.assert_array_equal(load_mesh(path).vertices[2], (2, 3, 4))
    np.testing.assert_array_equal(load_mesh(path, up_axis='z').vertices[2], (2, 4, -3))
    with pytest.raises(ValueError, match='up_axis'):
        load_mesh(path, up_axis='x')


def test_vertices_of_no_face_are_dropped(tmp_path):
    path = write(tmp_path, '.off', 'OFF\n5 1 0\n9e9 9 9\n0 0 0\n1 0 0\nnan 0 0\n0 1 0\n3 1 2 4\n')
    mesh = load_mesh(path)
    np.testing.assert_array_equal(mesh.vertices, [(0, 0, 0), (1, 0, 0), (0, 1, 0)])
    np.testing.assert_array_equal(mesh.faces, [(0, 1, 2)])


def test_the_unit_follows_what_is_done_to_a_mesh(tmp_path):
    path = tmp_path / 'a.stl'
    trimesh.creation.box((1, 2, 4)).export(path)
    mesh = load_mesh(path, up_axis='z')
    assert (mesh.millimetres, mesh.name) == (None, '')
    mesh = replace(mesh, millimetres=10.0, name='box')
    cube = normalize_mesh(mesh, mode='cube')
    assert (cube.millimetres, cube.name) == (40, 'box')
    assert normalize_mesh(replace(mesh, millimetres=None), mode='cube').millimetres is None


def test_normalize_mesh():
    mesh = Mesh(np.array([[2.0, 0, 0], [6, 0, 0], [2, 2, 1]]), np.array([[0, 1, 2]]))
    cube = normalize_mesh(mesh, mode='cube')
    np.testing.assert_allclose(cube.vertices.max(axis=0), (0.5, 0.25, 0.125))
    np.testing.assert_allclose(cube.vertices.min(axis=0), (-0.5, -0.25, -0.125))
    sphere = normalize_mesh(mesh, mode='sphere')
    assert np.linalg.norm(sphere.vertices, axis=1).max() == pytest.approx(1)
    np.testing.assert_allclose(sphere.vertices.max(axis=0) + sphere.vertices.min(axis=0), 0, atol=1e-12)
    assert normalize_mesh(mesh, mode='none') is mesh
    with pytest.raises(ValueError, match='mode'):
        normalize_mesh(mesh, mode='box')


def test_files_that_are_no_meshes(tmp_path):
    assert 'not exist' in problem(tmp_path / 'nothing.obj')
    assert 'format' in problem(write(tmp_path, '.txt', 'v 0 0 0'))
    assert 'empty' in problem(write(tmp_path, '.obj', ''))
    (tmp_path / 'folder.obj').mkdir()
    assert 'regular' in problem(tmp_path / 'folder.obj')
    os.mkfifo(tmp_path / 'pipe.obj')
    assert 'regular' in problem(tmp_path / 'pipe.obj')
    for kind in MESH_SUFFIXES:
        problem(write(tmp_path, kind, bytes(range(256)) * 9))
        problem(write(tmp_path, kind, bytes(3000)))


def test_size_limits(tmp_path):
    path = write(tmp_path, '.obj', encode(prism(), '.obj'))
    assert 'bytes' in problem(path, max_bytes=100)
    assert 'faces' in problem(path, max_faces=10)


@pytest.mark.parametrize(
    ('vertices', 'faces', 'message'),
    [
        ('0 0 0|1 0 0|nan 1 0', '3 0 1 2', 'not finite'),
        ('0 0 0|1 0 0|inf 1 0', '3 0 1 2', 'not finite'),
        ('0 0 0|1 0 0|1e200 1 0', '3 0 1 2', 'as large as'),
        ('0 0 0|1 0 0|0 1 0', '3 0 1 3', 'out'),
        ('0 0 0|1 0 0|0 1 0', '3 0 1 -1', 'out'),
        ('5 5 5|5 5 5|5 5 5', '3 0 1 2', 'one point'),
        ('0 0 0|1 1 1|2 2 2', '3 0 1 2', 'no area'),
        ('0 0 0|1 0 0|0 1 0', '3 0 0 1', 'no area'),
    ],
)
def test_unusable_geometry(tmp_path, vertices, faces, message):
    path = write(tmp_path, '.off', f'OFF\n3 1 0\n{vertices}\n{faces}\n'.replace('|', '\n'))
    assert message in problem(path)


@pytest.mark.parametrize('face', ['f 2 3', 'f 2', 'f', '  f\t2/1/1  3//4 ', 'f 1 2 # 3', 'f 1 2\r', 'f 1 \\\n 3'])
def test_obj_faces_cut_short_are_refused(tmp_path, face):
    start = 'v 0 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 3\n'
    for end in ('', '\nf 3 2 1\n'):
        assert 'under three vertices' in problem(write(tmp_path, '.obj', start + face + end))
    whole = 'f 1 \\\n 2 3\nf 1//1 2//2 3//3  \r\nfo 1 3 2\n# f 1 2\n'
    assert len(load_mesh(write(tmp_path, '.obj', start + whole)).faces) == 4


@pytest.mark.parametrize('index', [-1, 3, 7])
def test_an_index_out_of_range_is_named(tmp_path, index):
    header = 'ply\nformat ascii 1.0\nelement vertex 3\nproperty float x\nproperty float y\nproperty float z\n'
    header += 'element face 2\nproperty list uchar int vertex_indices\nend_header\n'
    path = write(tmp_path, '.ply', f'{header}0 0 0\n1 0 0\n0 1 0\n3 0 1 2\n3 0 1 {index}\n')
    assert f'names vertex {index} of 3' in problem(path)


def test_points_without_faces(tmp_path):
    assert 'no triangles' in problem(write(tmp_path, '.obj', 'v 0 0 0\nv 1 0 0\nv 0 1 0\n'))
    assert 'no triangles' in problem(write(tmp_path, '.off', 'OFF\n3 0 0\n0 0 0\n1 0 0\n0 1 0\n'))


@pytest.mark.parametrize('kind', ['.off', '.stl', '.stl text', '.ply', '.ply text', '.glb', '.gltf'])
def test_files_cut_off_anywhere_are_refused(tmp_path, kind):
    data = encode(prism(), kind).rstrip()
    for length in np.linspace(10, len(data) - 12, 12).astype(int):
        problem(write(tmp_path, kind, data[:length]))


def gltf_with_buffer(folder, uri):
    files = prism().export(file_type='gltf', merge_buffers=True)
    header = json.loads(files['model.gltf'])
    header['buffers'][0]['uri'] = uri
    (folder / 'inside.bin').write_bytes(files['gltf_buffer.bin'])
    (folder.parent / 'outside.bin').write_bytes(files['gltf_buffer.bin'])
    return write(folder, '.gltf', json.dumps(header))


def test_gltf_buffers_stay_in_the_folder(tmp_path):
    folder = tmp_path / 'model'
    folder.mkdir()
    check_valid(load_mesh(gltf_with_buffer(folder, 'inside.bin')))
    assert 'outside its folder' in problem(gltf_with_buffer(folder, '../outside.bin'))
    assert 'outside its folder' in problem(gltf_with_buffer(folder, '%2e%2e/outside.bin'))
    assert 'outside its folder' in problem(gltf_with_buffer(folder, str(tmp_path / 'outside.bin')))
    (folder / 'link.bin').symlink_to(tmp_path / 'outside.bin')
    assert 'outside its folder' in problem(gltf_with_buffer(folder, 'link.bin'))
    assert 'missing' in problem(gltf_with_buffer(folder, 'https://example.org/inside.bin'))
    path = gltf_with_buffer(folder, 'inside.bin')
    size = path.stat().st_size
    assert 'limit' in problem(path, max_bytes=size + 10)


def test_broken_gltf_does_not_fall_back_to_its_neighbour(tmp_path):
    (tmp_path / 'model.gltf').write_bytes(encode(prism(), '.gltf'))
    assert 'JSON' in problem(write(tmp_path, '.gltf', '{"asset": '))
    assert 'JSON' in problem(write(tmp_path, '.gltf', '[1, 2]'))
    assert 'JSON' in problem(write(tmp_path, '.gltf', '[' * 100_000))


@pytest.mark.parametrize('kind', KINDS)
def test_damaged_files_give_one_error_or_a_valid_mesh(tmp_path, kind, caplog, capfd):
    data = encode(prism(), kind)
    caplog.set_level(logging.INFO)
    generator = np.random.default_rng(7)
    start = time.monotonic()
    refused = 0
    for trial in range(40):
        broken = bytearray(data)
        if trial % 2:
            broken = broken[: generator.integers(len(data))]
        else:
            for _ in range(generator.integers(1, 20)):
                broken[generator.integers(len(broken))] ^= 1 << int(generator.integers(8))
        try:
            check_valid(load_mesh(write(tmp_path, kind, bytes(broken))))
        except DataError as error:
            refused += 1
            assert 'shape' in str(error)
    assert refused > 10
    assert time.monotonic() - start < 20
    assert not caplog.records and capfd.readouterr() == ('', '')
