"""glTF files in the forms that programs write; their colours."""

import base64
from urllib.parse import quote

import numpy as np
import pytest
from box_files import BOX, check_box, loaded, measures
from gltf_files import CODES, FACES, Builder, built

from jaxret.geometry.materials import load_surface


@pytest.mark.parametrize('kind', ['u1', 'u2', 'u4'])
def test_indices_of_every_type(tmp_path, kind):
    check_box(loaded(tmp_path / 'a.glb', built(kind=kind).glb()))


def test_without_indices(tmp_path):
    check_box(loaded(tmp_path / 'a.glb', built(positions=BOX[FACES].reshape(-1, 3), faces=None).glb()))


def test_strips_and_fans(tmp_path):
    strip = [0, 1, 2, 3, 6, 7, 4, 5, 0, 1]
    builder = built(faces=strip, mode=5)
    builder.part(faces=[0, 2, 6, 4], mode=6)
    builder.part(positions=BOX[[1, 5, 7, 3]], faces=None, mode=6)
    for mode in range(4):  # points and lines
        builder.part(faces=[0, 1, 2], mode=mode)
    check_box(loaded(tmp_path / 'a.glb', builder.glb()))
    builder = built(positions=BOX[strip], faces=None, mode=5)
    builder.part(faces=[[0, 2, 6], [0, 6, 4], [1, 5, 7], [1, 7, 3]])
    check_box(loaded(tmp_path / 'a.glb', builder.glb()))


def test_interleaved_values(tmp_path):
    builder = Builder()
    rows = np.concatenate([np.full((8, 2), 9), BOX, np.full((8, 1), 9)], axis=1).astype('<f4')
    view = builder.view(b'\7' * 16 + rows.tobytes()[:-4], byteStride=24)
    builder.accessors.append({'bufferView': view, 'byteOffset': 24, 'componentType': 5126, 'count': 8, 'type': 'VEC3'})
    builder.part(positions=0)
    check_box(loaded(tmp_path / 'a.glb', builder.glb()))


@pytest.mark.parametrize(
    'encode',
    [
        lambda data: 'data:application/octet-stream;base64,' + base64.b64encode(data).decode(),
        lambda data: 'data:,' + quote(data),
    ],
)
@pytest.mark.parametrize('mark', ['', '\ufeff'])
def test_buffers_in_the_json(tmp_path, encode, mark):
    builder = built()
    check_box(loaded(tmp_path / 'a.gltf', mark + builder.gltf(encode(builder.data))))


def test_byte_order_mark_in_a_glb(tmp_path):
    check_box(loaded(tmp_path / 'a.glb', built().glb(mark=b'\xef\xbb\xbf')))


@pytest.mark.parametrize(('kind', 'largest'), [('i1', 127), ('u1', 255), ('i2', 32767), ('u2', 65535)])
@pytest.mark.parametrize('matrix', [False, True])
def test_quantized_positions_in_parts_of_several_scales(tmp_path, kind, largest, matrix):
    builder = Builder()
    low = 1 if kind[0] == 'u' else 2
    values = np.rint((BOX / BOX.max(axis=0) * low - (low - 1)) * largest)
    raw = np.rint(BOX / 3 * 100)
    builder.part(positions=builder.accessor(values, kind, normalized=True))
    builder.part(positions=builder.accessor(raw, kind))
    parts, builder.parts = builder.parts, builder.parts[:1]
    builder.extra = {
        'extensionsUsed': ['KHR_mesh_quantization'],
        'extensionsRequired': ['KHR_mesh_quantization'],
        'meshes': [{'primitives': parts[:1]}, {'primitives': parts[1:]}],
    }
    scale = np.array([2, 1, 3]) / low
    place = {'scale': scale.tolist(), 'translation': (scale * (low - 1)).tolist()}
    if matrix:
        place = {
            'matrix': (np.diag([*scale, 1]) + np.pad(np.outer(scale * (low - 1), [0]), ((0, 1), (0, 3)))).T.tolist()
        }
        place['matrix'] = (
            np.block([[np.diag(scale), (scale * (low - 1))[:, None]], [np.zeros(3), 1]]).T.ravel().tolist()
        )
    nodes = [{'children': [1, 2]}, {'mesh': 0, **place}, {'mesh': 1, 'scale': [0.03] * 3, 'translation': [10, 0, 0]}]
    area, volume, extents = measures(loaded(tmp_path / 'a.glb', builder.glb(nodes)))
    np.testing.assert_allclose([area, volume, *extents], [44, 12, 12, 1, 3], rtol=0.03 if kind.endswith('1') else 0.02)


def test_normalized_values_are_exact(tmp_path):
    builder = Builder()
    values = np.where(BOX > 0, 32767, -32768)
    builder.part(positions=builder.accessor(values, 'i2', normalized=True))
    check_box(loaded(tmp_path / 'a.glb', builder.glb()), (2, 2, 2))


@pytest.mark.parametrize('kind', ['u1', 'u2', 'u4'])
@pytest.mark.parametrize('base', [True, False])
def test_sparse_values(tmp_path, kind, base):
    builder = Builder()
    changed = np.flatnonzero(BOX[:, 0] > 0) if base else np.flatnonzero(BOX.any(axis=1))
    values = BOX * (2, 1, 1) if base else BOX
    sparse = {
        'count': len(changed),
        'indices': {'bufferView': builder.view(changed.astype('<' + kind).tobytes()), 'componentType': CODES[kind]},
        'values': {'bufferView': builder.view(values[changed].astype('<f4').tobytes())},
    }
    place = builder.accessor(BOX, sparse=sparse)
    if not base:
        del builder.accessors[place]['bufferView']
    builder.part(positions=place)
    check_box(loaded(tmp_path / 'a.glb', builder.glb()), (4, 1, 3) if base else (2, 1, 3))


def test_morph_targets_in_the_pose_of_the_file(tmp_path):
    builder = Builder()
    longer, wider = (builder.accessor(BOX * axis) for axis in ((1, 0, 0), (0, 1, 0)))
    builder.part(targets=[{'POSITION': longer}, {'POSITION': wider}])
    for mesh, node, extents in (
        ({}, {}, (2, 1, 3)),
        ({'weights': [1, 0]}, {}, (4, 1, 3)),
        ({'weights': [1, 0]}, {'weights': [0, 0.5]}, (2, 1.5, 3)),
    ):
        builder.extra = {'meshes': [{'primitives': builder.parts, **mesh}]}
        check_box(loaded(tmp_path / 'a.glb', builder.glb([{'mesh': 0, **node}])), extents)


def test_skins_in_the_pose_of_the_file(tmp_path):
    builder = Builder()
    upper = BOX[:, 0] > 0
    held = np.stack([upper, upper * 0, upper * 0, upper * 0], axis=1)
    builder.part(
        attributes={
            'JOINTS_0': builder.accessor(held, 'u1'),
            'WEIGHTS_0': builder.accessor(np.eye(4)[:1].repeat(8, axis=0) * 255, 'u1', normalized=True),
        }
    )
    back = np.eye(4)
    back[0, 3] = -1
    inverse = builder.accessor([np.eye(4).ravel(), back.T.ravel()])
    builder.extra = {'skins': [{'joints': [2, 3], 'inverseBindMatrices': inverse}]}
    nodes = [
        {'children': [1, 2]},
        {'mesh': 0, 'skin': 0, 'translation': [50, 0, 0], 'scale': [9, 9, 9]},  # does not count
        {'children': [3]},
        {'translation': [4, 0, 0]},
    ]
    mesh = loaded(tmp_path / 'a.glb', builder.glb(nodes))
    check_box(mesh, (5, 1, 3))
    assert mesh.vertices[:, 0].min() == 0


def test_nodes(tmp_path):
    turned = {'rotation': [0, 0, np.sqrt(0.5), np.sqrt(0.5)], 'translation': [10, 0, 0]}
    nodes = [
        {'name': 'world', 'camera': 0, 'children': [1, 3]},
        {'name': 'a', 'children': [2], 'scale': [2, 2, 2]},
        {'name': 'a', 'mesh': 0, 'camera': 0, **turned},
        {'name': 'a', 'mesh': 0, 'scale': [-1, 1, 1]},
        {'mesh': 0, 'scale': [100, 1, 1]},  # in no scene
    ]
    builder = built()
    builder.extra = {'cameras': [{'type': 'perspective', 'perspective': {'yfov': 1, 'znear': 1}}]}
    mesh = loaded(tmp_path / 'a.glb', builder.glb(nodes))
    area, volume, _ = measures(mesh)
    np.testing.assert_allclose([area, volume], [22 * 5, 6 * 9], rtol=1e-6)
    np.testing.assert_allclose(mesh.vertices.min(axis=0), (-2, 0, 0), atol=1e-6)
    np.testing.assert_allclose(mesh.vertices.max(axis=0), (20, 4, 6), atol=1e-6)


def test_the_default_scene_of_several(tmp_path):
    nodes = [{'mesh': 0, 'scale': [9, 9, 9]}, {'mesh': 0}]
    builder = built()
    builder.extra = {'scenes': [{'nodes': [0]}, {'nodes': [1], 'name': 'The\nbox'}], 'scene': 1}
    mesh = loaded(tmp_path / 'a.glb', builder.glb(nodes))
    check_box(mesh)
    assert (mesh.millimetres, mesh.name) == (1000, 'Thebox')


def test_vertices_shared_by_many_parts(tmp_path):
    builder = Builder()
    place = builder.accessor(np.concatenate([BOX, np.full((100, 3), 9)]))
    for side in np.split(FACES, 12):
        builder.part(positions=place, faces=side)
    mesh = loaded(tmp_path / 'a.glb', builder.glb())
    check_box(mesh)
    assert len(mesh.vertices) == 36


@pytest.mark.parametrize(
    ('kind', 'scale', 'normalized'), [('f4', 1, False), ('u1', 255, True), ('u2', 65535, True), ('u2', 65535, False)]
)
@pytest.mark.parametrize('width', [3, 4])
def test_vertex_colours(tmp_path, kind, scale, normalized, width):
    color = np.tile([1, 0.2, 0, 1][:width], (8, 1)) * scale
    builder = Builder()
    options = {'normalized': True} if normalized else {}
    builder.part(attributes={'COLOR_0': builder.accessor(color, kind, **options)})
    path = tmp_path / 'a.glb'
    np.testing.assert_allclose(load_surface(path, loaded(path, builder.glb())).color, [[1, 0.2, 0]] * 12, atol=0.003)
