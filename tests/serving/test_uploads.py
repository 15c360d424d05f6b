"""Uploads on their way to arrays: names that open nothing, files that name others, and ones that eat time or memory."""

import base64
import gzip
import io
import json
import time
import zipfile
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import trimesh
from step_files import step_box

from jaxret.errors import DataError
from jaxret.inference.query_files import SUFFIXES
from jaxret.preprocessing.points import point_arrays
from jaxret.preprocessing.shapes import ShapeInputs
from jaxret.serving.limits import Limits
from jaxret.serving.uploads import arrays_apart, parse_box, shape_query_arrays, shown_name, store

INPUTS = ShapeInputs('points', points=16)
BOX = trimesh.creation.box((1, 2, 3))
read_mesh = partial(shape_query_arrays, kind='mesh', inputs=INPUTS, max_faces=100)


@pytest.mark.parametrize(
    ('name', 'suffix'),
    [
        ('chair.obj', '.obj'),
        ('CHAIR.OBJ', '.obj'),
        ('../../etc/cron.d/x.png', '.png'),
        ('/etc/passwd', ''),
        ('', ''),
        ('a.png.exe', ''),
        ('x.obj/../../y', ''),
        ('a' * 5000 + '.ply', '.ply'),
        ('a.obj\x00.txt', ''),
        ('.off', ''),
        ('Part.STEP', '.step'),
        ('bolt.STL.gz', '.stl.gz'),
        ('photos.tar.gz', ''),
        ('a.stpz', '.stpz'),
        ('library.ZIP', '.zip'),
    ],
)
def test_stored_under_a_name_of_our_own(tmp_path, name, suffix):
    path = store(io.BytesIO(b'content'), name, tmp_path / 'file')
    assert path == tmp_path / 'file' / f'upload{suffix}'
    assert path.read_bytes() == b'content'
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]
    assert path.parent.stat().st_mode & 0o777 == 0o700


def test_a_step_file_is_read_where_nothing_else_can_be_written(tmp_path):
    pytest.importorskip('cascadio')
    path = tmp_path / 'upload.step'
    path.write_text(step_box((1, 2, 3)))
    assert arrays_apart(read_mesh, path, limits=Limits())['points'].shape == (16, 3)


def test_shown_names():
    assert shown_name('C:\\photos\\../cat.png') == 'cat.png'
    assert shown_name('a\n\x1b[31m\u202eb') == 'a[31mb'
    assert shown_name('x' * 500) == 'x' * 80
    assert shown_name('') == shown_name('a/') == 'the upload'


def test_boxes():
    assert parse_box('1,2.5, 3 ,1e2') == (1, 2.5, 3, 100)
    for text in ('', '1,2,3', '1,2,3,4,5', 'a,b,c,d', '3,0,1,1', '0,3,1,1', '0,0,inf,1', '0,0,0,1'):
        with pytest.raises(DataError, match='left,top,right,bottom'):
            parse_box(text)


@pytest.mark.parametrize(
    'address',
    [
        '../secret.bin',
        '{folder}/secret.bin',
        'file://{folder}/secret.bin',
        '%2e%2e/secret.bin',
        'http://127.0.0.1:1/secret.bin',
        'upload.gltf',
        '/dev/zero',
    ],
)
def test_gltf_reads_no_other_file(tmp_path, address):
    files = BOX.export(file_type='gltf')
    header = json.loads(files['model.gltf'])
    contents = [files[buffer['uri']] for buffer in header['buffers']]
    for buffer, content in zip(header['buffers'], contents, strict=True):
        buffer['uri'] = f'data:application/octet-stream;base64,{base64.b64encode(content).decode()}'
    whole = store(io.BytesIO(json.dumps(header).encode()), 'whole.gltf', tmp_path / 'whole')
    assert read_mesh(whole)['points'].shape == (16, 3)
    (tmp_path / 'secret.bin').write_bytes(contents[0])  # what is read from there would be a mesh, too
    header['buffers'][0]['uri'] = address.format(folder=tmp_path)
    path = store(io.BytesIO(json.dumps(header).encode()), 'spy.gltf', tmp_path / 'file')
    with pytest.raises(DataError):
        read_mesh(path)


def test_obj_reads_no_material(tmp_path):
    (tmp_path / 'secret.mtl').write_text('newmtl a\nmap_Kd secret.png\n')
    text = f'mtllib ../secret.mtl\nmtllib {tmp_path}/secret.mtl\nmtllib /etc/passwd\nusemtl a\n'
    plain = store(io.BytesIO(BOX.export(file_type='obj').encode()), 'a.obj', tmp_path / 'plain')
    spying = store(io.BytesIO(text.encode() + BOX.export(file_type='obj').encode()), 'a.obj', tmp_path / 'spying')
    for made in (read_mesh(plain), read_mesh(spying)):
        assert made['points'].shape == (16, 3)


def test_too_many_faces(tmp_path):
    ball = trimesh.creation.icosphere(subdivisions=2).export(file_type='ply')
    with pytest.raises(DataError, match='more than 100 faces'):
        read_mesh(store(io.BytesIO(ball), 'ball.ply', tmp_path / 'file'))


def test_packed_meshes(tmp_path):
    box = BOX.export(file_type='stl')
    packed = store(io.BytesIO(gzip.compress(box)), 'box.stl.gz', tmp_path / 'packed')
    expected = read_mesh(store(io.BytesIO(box), 'box.stl', tmp_path / 'plain'))['points']
    for names, models in ((['a/box.stl', 'read.me'], 1), (['a.stl', 'b.stl'], 2), (['read.me'], 0)):
        content = io.BytesIO()
        with zipfile.ZipFile(content, 'w') as archive:
            for name in names:
                archive.writestr(name, box)
        content.seek(0)
        path = store(content, 'models.zip', tmp_path / f'archive{models}')
        if models == 1:
            np.testing.assert_allclose(np.ptp(read_mesh(path)['points'], axis=0), np.ptp(expected, axis=0), rtol=0.2)
        else:
            with pytest.raises(DataError, match=f'upload.zip: {models} models in the archive; send one'):
                read_mesh(path)
    assert read_mesh(packed)['points'].shape == expected.shape
    damaged = store(io.BytesIO(gzip.compress(box)[:50]), 'box.stl.gz', tmp_path / 'damaged')
    with pytest.raises(DataError) as caught:
        read_mesh(damaged)
    assert [problem.where for problem in caught.value.problems] == [str(damaged)]


def test_a_step_file(tmp_path):
    pytest.importorskip('cascadio')
    path = store(io.BytesIO(step_box((10, 20, 30)).encode()), 'box.step', tmp_path / 'file')
    points = arrays_apart(partial(read_mesh, up_axis='y'), path, limits=Limits())['points']
    assert points.shape == (16, 3) and (np.ptp(points, axis=0) <= (10.001, 20.001, 30.001)).all()


def test_pickled_points_are_not_loaded(tmp_path):
    content = io.BytesIO()
    np.save(content, np.array([Path], object), allow_pickle=True)
    content.seek(0)
    with pytest.raises(DataError, match='npy'):
        point_arrays(store(content, 'a.npy', tmp_path / 'file'), count=16)


def sleeps(path):
    time.sleep(60)


def test_a_slow_file_is_given_up(tmp_path):
    path = store(io.BytesIO(b'x'), 'a.obj', tmp_path / 'file')
    started = time.monotonic()
    with pytest.raises(DataError, match='no result after 0.2 seconds'):
        arrays_apart(sleeps, path, limits=Limits(mesh_seconds=0.2))
    assert time.monotonic() - started < 50


def test_a_file_that_asks_for_memory_gets_no_more(tmp_path):
    header = io.BytesIO()  # of 800 GB of numbers
    np.lib.format.write_array_header_1_0(header, {'descr': '<f8', 'fortran_order': False, 'shape': (10**11, 1)})
    path = store(io.BytesIO(header.getvalue() + bytes(100)), 'a.npy', tmp_path / 'file')
    with pytest.raises(DataError) as caught:
        arrays_apart(partial(point_arrays, count=16), path, limits=Limits())
    assert 'MemoryError' in str(caught.value)


def writes(path):
    Path(path).with_name('trace').write_text('x' * 10)
    return {}


def test_the_process_that_reads_cannot_write(tmp_path):
    path = store(io.BytesIO(b'x'), 'a.obj', tmp_path / 'file')
    with pytest.raises(DataError):
        arrays_apart(writes, path, limits=replace(Limits(), mesh_seconds=30))
    assert not (tmp_path / 'file' / 'trace').exists() or not (tmp_path / 'file' / 'trace').read_text()


def test_kinds_have_suffixes():
    assert all(suffix == suffix.lower() and suffix[0] == '.' for suffixes in SUFFIXES.values() for suffix in suffixes)
