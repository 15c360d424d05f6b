"""glTF files that need what is not known, do not fit together, or claim more than they hold."""

import subprocess
import sys

import pytest
from box_files import check_box, loaded, refusal
from gltf_files import Builder, built

from jaxret.errors import DataError
from jaxret.geometry.mesh import load_mesh


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
