"""What results point at, and that no address reaches a file which the index does not name."""

import base64
import io
import json
import os
import re
import zipfile

import numpy as np
import pytest
import trimesh
from PIL import Image

pytest.importorskip('fastapi', reason="needs the extra 'serve'")
from small_service import COLORS, service
from starlette.testclient import TestClient
from step_files import step_box, step_of_files

from jaxret.geometry.mesh import Mesh, load_mesh
from jaxret.geometry.render import ViewRing, render_views
from jaxret.index.model_files import file_mark
from jaxret.serving import downloads
from jaxret.serving.viewer import viewer_page


@pytest.fixture
def made(tmp_path):
    return service(tmp_path)


@pytest.fixture
def client(made):
    return TestClient(made.app, base_url='http://localhost', raise_server_exceptions=False)


def glb_of(page):
    data = base64.b64decode(re.search(r'base64_data="([^"]+)"', page)[1])
    return json.loads(data[20 : 20 + int.from_bytes(data[12:16], 'little')]), data


def test_description(client):
    described = client.get('/index').json()
    assert described.pop('suffixes')[:2] == ['.jpg', '.jpeg']
    assert described.pop('finds_objects') in (True, False)
    assert described == {
        'system': 'colors',
        'query_kinds': ['photo', 'mesh'],
        'takes_text': True,
        'purposes': [],
        'shapes': 6,
        'teaches': True,
        'photos': 8,
        'upload_bytes': 200_000,
        'top': 5,
        'categories': [{'name': name, 'shapes': 2} for name in ('cold', 'none', 'warm')],
    }


def test_health_and_a_shape(client):
    assert client.get('/health').json() == {'status': 'ok', 'shapes': 6, 'model': 'colors', 'fingerprint': 'colors'}
    shape = client.get('/shapes/1').json()
    assert (shape['number'], shape['id'], shape['category']) == (1, 'cold/green.off', 'cold')
    measured = {'name': '', 'unit': None, 'size': [1, 2, 2], 'size_mm': None, 'area': 16, 'volume': 4}
    assert shape['facts'] == measured | {'triangles': 12, 'watertight': True, 'colors': []}
    assert shape['viewer'] == 'shapes/1/viewer'
    assert client.get('/shapes/6').status_code == 404


def test_thumbnails(client):
    for number, color in enumerate(COLORS.values()):
        answer = client.get(f'/shapes/{number}/thumbnail')
        assert answer.headers['content-type'] == 'image/png'
        assert Image.open(io.BytesIO(answer.content)).getpixel((0, 0)) == color


def test_thumbnails_from_where_a_photo_was_taken(client, made, monkeypatch):
    answer = client.get('/shapes/1/thumbnail?azimuth=91&elevation=-14')
    ring = ViewRing(views=1, first_azimuth=90.0, elevation=-15.0, size=192, supersample=2)  # the nearest of 5 degrees
    expected = render_views(load_mesh(made.index.model_path('cold/green.off')), ring)[0]
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(answer.content))), expected)
    as_indexed = made.index.thumbnail('cold/green.off')
    assert client.get('/shapes/1/thumbnail?azimuth=91').content == as_indexed
    made.index.model_path('cold/green.off').write_text(trimesh.creation.box((9, 2, 1)).export(file_type='off'))
    assert client.get('/shapes/1/thumbnail?azimuth=20&elevation=0').content == as_indexed
    assert client.get('/shapes/1/thumbnail?azimuth=20&elevation=91').status_code == 422
    monkeypatch.setattr(made.index, 'facts', lambda shape: None)
    assert client.get('/shapes/0/thumbnail?azimuth=20&elevation=0').content == made.index.thumbnail('warm/red.off')


def test_model_is_the_file_itself(client, made):
    answer = client.get('/shapes/3/model')
    assert answer.content == made.index.model_path(made.index.ids[3]).read_bytes()
    assert answer.headers['content-disposition'] == 'attachment; filename="warm_yellow.off"'
    assert answer.headers['content-type'] == 'application/octet-stream'


def test_letters_of_other_languages_stay_in_the_name(client, made):
    path = made.index.folder / 'st\u00fchle' / 'gr\u00fcn 1.off'
    path.parent.mkdir()
    path.write_text(trimesh.creation.box((1, 2, 3)).export(file_type='off'))
    made.index.ids = (*made.index.ids[:-1], 'stu\u0308hle/gr\u00fcn 1.off')  # as some file systems spell it
    made.index.model_path = lambda id: path
    made.index.marks = {made.index.ids[5]: file_mark(path, textured=False)}
    expected = 'attachment; filename="st_hle_gr_n_1.off"; filename*=UTF-8\'\'st%C3%BChle_gr%C3%BCn_1.off'
    assert client.get('/shapes/5/model').headers['content-disposition'] == expected


def test_gltf_of_several_files_is_given_as_one(client, made):
    box = trimesh.creation.box((1, 2, 3))
    path = made.index.folder / 'parts' / 'chair.gltf'
    path.parent.mkdir()
    for name, content in box.export(file_type='gltf').items():
        (path.with_name(name) if name != 'model.gltf' else path).write_bytes(content)
    made.index.ids = (*made.index.ids[:-1], 'parts/chair.gltf')
    answer = client.get('/shapes/5/model')
    assert answer.headers['content-disposition'] == 'attachment; filename="parts_chair.glb"'
    loaded = trimesh.load_mesh(trimesh.util.wrap_as_stream(answer.content), file_type='glb')
    np.testing.assert_allclose(loaded.extents, (1, 2, 3))


def test_members_and_assemblies_of_several_files_are_given_as_they_are(client, made):
    folder, box = made.index.folder, trimesh.creation.box((1, 2, 3)).export(file_type='stl')
    with zipfile.ZipFile(folder / 'parts.zip', 'w') as archive:
        archive.writestr('sub/bolt.stl', box)
    (folder / 'parts').mkdir()
    files = {'toy.step': step_of_files([('pin', 'parts/pin.stp', (0, 0, 0))]), 'parts/pin.stp': step_box((1, 2, 3))}
    for name, text in files.items():
        (folder / name).write_text(text)
    made.index.ids = (*made.index.ids[:-2], 'parts.zip/sub/bolt.stl', 'toy.step')
    made.index.marks = {name: file_mark(folder / name, textured=False) for name in made.index.ids}
    answer = client.get('/shapes/4/model')
    assert answer.content == box
    assert answer.headers['content-disposition'] == 'attachment; filename="parts.zip_sub_bolt.stl"'
    answer = client.get('/shapes/5/model')
    assert answer.headers['content-disposition'] == 'attachment; filename="toy.zip"'
    with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
        assert {name: archive.read(name).decode() for name in archive.namelist()} == files


def test_a_gltf_that_names_other_files_gives_none_of_them(client, made, tmp_path):
    (tmp_path / 'secret.bin').write_bytes(b'secret' * 100)
    path = made.index.folder / 'spy.gltf'
    path.write_text(json.dumps({'asset': {'version': '2.0'}, 'buffers': [{'uri': '../secret.bin', 'byteLength': 600}]}))
    made.index.ids = (*made.index.ids[:-1], 'spy.gltf')
    for part in ('model', 'viewer'):
        answer = client.get(f'/shapes/5/{part}')
        assert answer.status_code == 404
        assert b'secretsecret' not in answer.content
        assert str(tmp_path) not in answer.text


def test_viewer_shows_the_model(client):
    answer = client.get('/shapes/1/viewer')
    assert answer.headers['content-security-policy'].startswith("sandbox allow-scripts; default-src 'none'")
    header, _ = glb_of(answer.text)
    assert sum(accessor['count'] for accessor in header['accessors'] if accessor['type'] == 'SCALAR') == 36
    assert header['materials'][0]['doubleSided']
    addresses = set(re.findall(r'(?:src|href)\s*=\s*["\'](?!data:)([^"\']+)', answer.text))
    assert not addresses, 'the viewer loads something from elsewhere'


def test_viewer_simplifies_large_meshes():
    ball = trimesh.creation.icosphere(subdivisions=4)
    header, small = glb_of(viewer_page(Mesh(ball.vertices, ball.faces), max_faces=500))
    assert sum(accessor['count'] for accessor in header['accessors'] if accessor['type'] == 'SCALAR') <= 1500
    _, whole = glb_of(viewer_page(Mesh(ball.vertices, ball.faces), max_faces=10_000))
    assert len(whole) > 5 * len(small)


@pytest.mark.parametrize('address', ['/shapes/6/{}', '/shapes/-1/{}', '/shapes/99999999999999999999999/{}'])
@pytest.mark.parametrize('part', ['thumbnail', 'viewer', 'model'])
def test_numbers_that_are_no_shape(client, address, part):
    answer = client.get(address.format(part))
    assert answer.status_code == 404
    assert 'the index has 6' in answer.json()['message']


@pytest.mark.parametrize(
    'address',
    [
        '/shapes/%2e%2e%2f%2e%2e%2fetc%2fpasswd/model',
        '/shapes/0/../../../../etc/passwd',
        '/shapes/warm%2Fred.off/model',
        '/page/../app.py',
        '/page/..%2fapp.py',
        '/page/%2e%2e/app.py',
        '/page//etc/passwd',
        '/page/....//app.py',
        '/page/..%5capp.py',
        '/page/%00',
        '/page/',
        '/file=/etc/passwd',
        '//etc/passwd',
        '/page/search.js/../../app.py',
    ],
)
def test_addresses_that_name_files_reach_none(client, address):
    answer = client.get(address)
    assert answer.status_code in (400, 404, 422)
    assert b'root:' not in answer.content and b'create_app' not in answer.content
    assert answer.json()['message']


def test_model_that_is_gone_or_no_model(client, made, tmp_path):
    path = made.index.model_path(made.index.ids[0])
    path.unlink()
    for part in ('model', 'viewer'):
        assert 'warm/red.off: its model file is gone' in client.get(f'/shapes/0/{part}').json()['message']
    path.mkdir()
    assert client.get('/shapes/0/model').status_code == 404
    made.index.ids = ('../secret.txt', *made.index.ids[1:])  # of a manifest that somebody has changed
    (tmp_path / 'secret.txt').write_text('secret')
    assert client.get('/shapes/0/model').status_code == 404


@pytest.mark.parametrize('part', ['model', 'viewer'])
@pytest.mark.parametrize('swapped', ['link', 'folder above', 'content', 'touched', 'pipe'])
def test_what_took_the_place_of_a_model_is_given_to_nobody(client, made, tmp_path, part, swapped):
    path = made.index.model_path(made.index.ids[1])
    secret = tmp_path / 'secret' / path.name
    secret.parent.mkdir()
    secret.write_text(path.read_text().replace('0.5', '0.6'))
    if swapped == 'touched':
        os.utime(path, ns=(0, 0))
    elif swapped == 'folder above':
        path.parent.rename(tmp_path / 'away')
        path.parent.symlink_to(secret.parent)
    else:
        path.unlink()
        if swapped == 'link':
            path.symlink_to(secret)
        elif swapped == 'pipe':
            os.mkfifo(path)
        else:
            path.write_bytes(secret.read_bytes())
    answer = client.get(f'/shapes/1/{part}')
    assert answer.status_code == 404 and '0.6' not in answer.text and str(tmp_path) not in answer.text
    assert ('is gone' if swapped == 'pipe' else 'has changed since it was indexed') in answer.json()['message']


def test_a_model_swapped_while_it_is_sent_stays_what_was_opened(made, monkeypatch, tmp_path):
    path = made.index.model_path(made.index.ids[1])
    content = path.read_bytes()
    (tmp_path / 'secret').write_bytes(b'secret')
    real = downloads.FileResponse.__call__

    async def swap_first(self, *arguments):
        path.unlink()
        path.symlink_to(tmp_path / 'secret')
        await real(self, *arguments)

    monkeypatch.setattr(downloads.FileResponse, '__call__', swap_first)
    assert TestClient(made.app, base_url='http://localhost').get('/shapes/1/model').content == content


def test_swapped_buffers_of_a_gltf_are_given_to_nobody(client, made, tmp_path):
    path = made.index.folder / 'chair.gltf'
    for name, content in trimesh.creation.box((1, 2, 3)).export(file_type='gltf').items():
        (path.with_name(name) if name != 'model.gltf' else path).write_bytes(content)
    made.index.ids = (*made.index.ids[:-1], 'chair.gltf')
    assert client.get('/shapes/5/model').status_code == 200
    buffer = next(path.parent.glob('*.bin'))
    (tmp_path / 'secret.bin').write_bytes(buffer.read_bytes())
    buffer.unlink()
    buffer.symlink_to(tmp_path / 'secret.bin')
    for part in ('model', 'viewer'):
        assert 'has changed since' in client.get(f'/shapes/5/{part}').json()['message']


def test_members_and_parts_are_given(client, made):
    archive = made.index.folder / 'lib.zip'
    box = trimesh.creation.box((1, 2, 3))
    with zipfile.ZipFile(archive, 'w') as pack:
        pack.writestr('a/box.stl', box.export(file_type='stl'))
    scene = trimesh.Scene()
    scene.add_geometry(box, geom_name='box', node_name='box')
    scene.add_geometry(trimesh.creation.box((5, 5, 5)), geom_name='cube', node_name='cube')
    (made.index.folder / 'toy.glb').write_bytes(scene.export(file_type='glb'))
    made.index.ids = (*made.index.ids[:-2], 'lib.zip/a/box.stl', 'toy.glb/cube')
    answer = client.get('/shapes/4/model')
    assert answer.content == box.export(file_type='stl')
    assert 'filename="lib.zip_a_box.stl"' in answer.headers['content-disposition']
    answer = client.get('/shapes/5/model')
    assert answer.content == (made.index.folder / 'toy.glb').read_bytes()
    assert 'filename="toy.glb"' in answer.headers['content-disposition']
    assert all(client.get(f'/shapes/{number}/viewer').status_code == 200 for number in (4, 5))
    os.utime(archive, ns=(0, 0))
    assert 'has changed' in client.get('/shapes/4/model').json()['message']


def test_page_loads_nothing_from_elsewhere(client):
    page = client.get('/')
    assert page.headers['content-type'].startswith('text/html')
    described = client.get('/docs')
    for name in re.findall(r'(?:src|href)="(page/[^"]+)"', page.text + described.text):
        assert client.get(f'/{name}').status_code == 200
    scripts = ('search.js', 'marking.js', 'teaching.js', 'docs.js', 'style.css')
    texts = [page.text, described.text, *(client.get(f'/page/{name}').text for name in scripts)]
    assert not [address for text in texts for address in re.findall(r'(?:https?:)?//[a-z][\w.]*\.\w+', text)]
    assert client.get('/redoc').status_code == 404  # FastAPI's own would load from a CDN
