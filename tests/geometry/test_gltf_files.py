"""glTF files in the forms that programs write, and what is refused in them; their colours."""

import base64
import json
import subprocess
import sys
from urllib.parse import quote

import numpy as np
import pytest
from box_files import BOX, TRIANGLES, check_box, loaded, measures, refusal

from jaxret.errors import DataError
from jaxret.geometry.materials import load_surface
from jaxret.geometry.mesh import load_mesh

FACES = np.array(TRIANGLES)
CODES = {'i1': 5120, 'u1': 5121, 'i2': 5122, 'u2': 5123, 'u4': 5125, 'f4': 5126}
WIDTHS = {1: 'SCALAR', 3: 'VEC3', 4: 'VEC4', 16: 'MAT4'}


class Builder:
    """Puts a glTF file together: arrays into one buffer, the rest as JSON."""

    def __init__(self):
        self.data = b''
        self.views, self.accessors, self.parts, self.extra = [], [], [], {}

    def view(self, content, **options):
        self.data += b'\0' * (-len(self.data) % 4)
        self.views.append({'buffer': 0, 'byteOffset': len(self.data), 'byteLength': len(content), **options})
        self.data += content
        return len(self.views) - 1

    def accessor(self, values, kind='f4', **options):
        values = np.asarray(values).reshape(len(values), -1)
        view = self.view(values.astype('<' + kind).tobytes())
        form = {'componentType': CODES[kind], 'count': len(values), 'type': WIDTHS[values.shape[1]]}
        self.accessors.append({'bufferView': view, **form, **options})
        return len(self.accessors) - 1

    def part(self, positions=BOX, faces=FACES, kind='u2', **options):
        attributes = {'POSITION': positions if isinstance(positions, int) else self.accessor(positions)}
        part = {'attributes': attributes | options.pop('attributes', {}), **options}
        if faces is not None:
            part['indices'] = self.accessor(np.ravel(faces), kind)
        self.parts.append(part)
        return part

    def header(self, nodes=None):
        nodes = nodes or [{'mesh': 0}]
        return {
            'asset': {'version': '2.0'},
            'scenes': [{'nodes': [0]}],
            'nodes': nodes,
            'meshes': [{'primitives': self.parts}],
            'accessors': self.accessors,
            'bufferViews': self.views,
            'buffers': [{'byteLength': len(self.data)}],
        } | self.extra

    def glb(self, nodes=None, *, mark=b''):
        text = mark + json.dumps(self.header(nodes)).encode()
        text += b' ' * (-len(text) % 4)
        body = self.data + b'\0' * (-len(self.data) % 4)
        chunks = len(text).to_bytes(4, 'little') + b'JSON' + text + len(body).to_bytes(4, 'little') + b'BIN\0' + body
        return b'glTF' + (2).to_bytes(4, 'little') + (12 + len(chunks)).to_bytes(4, 'little') + chunks

    def gltf(self, uri, nodes=None):
        header = self.header(nodes)
        header['buffers'][0]['uri'] = uri
        return json.dumps(header)


def built(**options):
    builder = Builder()
    builder.part(**options)
    return builder


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
    builder.extra = {'scenes': [{'nodes': [0]}, {'nodes': [1]}], 'scene': 1}
    check_box(loaded(tmp_path / 'a.glb', builder.glb(nodes)))


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


def test_extensions(tmp_path):
    builder = built(extensions={'KHR_materials_variants': {}})
    builder.extra = {
        'extensionsUsed': ['A_other'],
        'extensionsRequired': ['KHR_texture_transform', 'KHR_materials_unlit'],
    }
    check_box(loaded(tmp_path / 'a.glb', builder.glb()))
    builder.extra = {'extensionsRequired': ['KHR_draco_mesh_compression', 'KHR_materials_unlit']}
    assert 'extension KHR_draco_mesh_compression, which' in refusal(tmp_path / 'a.glb', builder.glb())
    builder.extra = {}
    part = builder.part(extensions={'KHR_draco_mesh_compression': {'bufferView': 0}})
    assert len(loaded(tmp_path / 'a.glb', builder.glb()).faces) == 24  # plain values are beside
    for name in ('POSITION', 'indices'):
        accessor = builder.accessors[part['attributes']['POSITION'] if name == 'POSITION' else part['indices']]
        view = accessor.pop('bufferView')
        assert 'KHR_draco_mesh_compression' in refusal(tmp_path / 'a.glb', builder.glb())
        accessor['bufferView'] = view
    assert 'EXT_mesh_gpu_instancing' in refusal(
        tmp_path / 'a.glb', builder.glb([{'mesh': 0, 'extensions': {'EXT_mesh_gpu_instancing': {}}}])
    )


def test_a_buffer_that_an_extension_must_fill(tmp_path):
    builder = built()
    builder.views[0] |= {'buffer': 1, 'extensions': {'EXT_meshopt_compression': {'buffer': 0}}}
    builder.extra = {'buffers': [{'byteLength': len(builder.data)}, {'byteLength': 96}]}
    assert 'EXT_meshopt_compression' in refusal(tmp_path / 'a.glb', builder.glb())


def changed(change):
    builder = built()
    change(builder)
    return builder.glb()


@pytest.mark.parametrize(
    ('change', 'found'),
    [
        (lambda b: b.accessors[0].update(count=10**8), 'names 100000000 values of 12 bytes'),
        (lambda b: b.accessors[1].update(count=10**18), 'names 1000000000000000000 values'),
        (lambda b: b.accessors[0].update(count=-1), 'names -1 values'),
        (lambda b: b.accessors[0].update(byteOffset=4), 'names 8 values'),
        (lambda b: b.accessors[0].update(byteOffset=-4), 'names 8 values'),
        (lambda b: b.views[0].update(byteLength=10**9), 'names 8 values'),
        (lambda b: b.views[0].update(byteStride=4), 'names 8 values'),
        (lambda b: b.views[0].update(byteOffset=10**9), 'names 8 values'),
        (lambda b: b.accessors[0].update(count=8.5), 'not a readable GLB file'),
        (lambda b: b.accessors[0].update(bufferView=7), 'names bufferViews[7] of 2'),
        (lambda b: b.parts[0].update(indices=9), 'names accessors[9] of 2'),
        (lambda b: b.parts[0].update(mode=7), 'mode 7'),
        (lambda b: b.parts[0].update(attributes={}), 'no positions'),
        (lambda b: b.accessors[1].update(count=35), '35 indices, not three a triangle'),
        (lambda b: b.extra.update(buffers=[{'byteLength': 10**9}]), 'has 168 bytes'),
        (lambda b: b.extra.update(scenes=[]), 'no scene'),
        (lambda b: b.extra.update(scene=3), 'names scenes[3] of 1'),
        (lambda b: b.extra.update(nodes=[{'children': [1, 1]}, {'mesh': 0}]), 'node 1 of it has several places'),
        (lambda b: b.extra.update(nodes=[{'children': [0]}]), 'node 0 of it has several places'),
        (lambda b: b.extra.update(asset={'version': '1.0'}), 'version 1.0 of glTF'),
    ],
)
def test_what_does_not_fit_is_refused(tmp_path, change, found):
    assert found in refusal(tmp_path / 'a.glb', changed(change))


def sparse_alone(count):
    builder = Builder()
    indices, values = builder.view(b'\0\0\0\0'), builder.view(b'\0' * 12)
    sparse = {'count': 1, 'indices': {'bufferView': indices, 'componentType': 5125}, 'values': {'bufferView': values}}
    builder.accessors.append({'componentType': 5126, 'count': count, 'type': 'VEC3', 'sparse': sparse})
    builder.part(positions=0)
    return builder.glb()


def many_readings():
    builder = built()
    for _ in range(1000):
        builder.accessors.append(dict(builder.accessors[0]))
        builder.part(positions=len(builder.accessors) - 1, faces=None)
        builder.parts[-1]['indices'] = builder.parts[0]['indices']
    return builder.glb()


def test_what_small_files_claim_takes_no_memory(tmp_path):
    files = {'claim': changed(lambda b: b.accessors[0].update(count=10**8)), 'sparse': sparse_alone(10**8)}
    assert 'claims 100000000 values' in refusal(tmp_path / 'sparse.glb', files['sparse'])
    assert 'many times over' in refusal(tmp_path / 'many.glb', many_readings())
    (tmp_path / 'claim.glb').write_bytes(files['claim'])
    code = (
        'import resource, sys\nfrom jaxret.errors import DataError\nfrom jaxret.geometry.mesh import load_mesh\n'
        'before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n'
        'for path in sys.argv[1:]:\n    try:\n        load_mesh(path)\n    except DataError:\n        pass\n'
        'print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)\n'
    )
    command = [sys.executable, '-c', code, *(str(tmp_path / f'{name}.glb') for name in ('claim', 'sparse', 'many'))]
    grown = int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    assert grown < 30_000  # KiB


@pytest.mark.parametrize('name', ['a.glb', 'a.gltf'])
def test_deep_json(tmp_path, name):
    text = b'{"asset":' + b'[' * 100_000 + b']' * 100_000 + b'}'
    head = b'glTF' + b''.join(n.to_bytes(4, 'little') for n in (2, 20 + len(text), len(text))) + b'JSON'
    assert 'not valid JSON' in refusal(tmp_path / name, head + text if name == 'a.glb' else text)


def test_scenes_of_too_many_faces_are_not_made(tmp_path):
    builder = built()
    nodes = [{'children': list(range(1, 1001))}, *({'mesh': 0} for _ in range(1000))]
    (tmp_path / 'a.glb').write_bytes(builder.glb(nodes))
    assert len(load_mesh(tmp_path / 'a.glb', max_faces=12_000).faces) == 12_000
    with pytest.raises(DataError, match='more than 11,999 faces'):
        load_mesh(tmp_path / 'a.glb', max_faces=11_999)


@pytest.mark.parametrize('name', ['POSITION', 'indices'])
def test_values_of_a_wrong_type(tmp_path, name):
    builder = built()
    builder.accessors[0 if name == 'POSITION' else 1]['type'] = 'SCALAR' if name == 'POSITION' else 'VEC3'
    builder.accessors[0 if name == 'POSITION' else 1]['count'] //= 3
    assert 'of a wrong type' in refusal(tmp_path / 'a.glb', builder.glb())
