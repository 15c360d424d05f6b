"""POST /search: answers, masks and boxes, filters, and every kind of bad request, each followed by a good one."""

import io

import numpy as np
import pytest
import trimesh
from PIL import Image

pytest.importorskip('fastapi', reason="needs the extra 'serve'")
from small_service import CRASH, ColorModel, png, service, two_colors
from starlette.testclient import TestClient

RED = png(np.full((20, 30, 3), (250, 10, 10), np.uint8))


@pytest.fixture(scope='module')
def running(tmp_path_factory):
    made = service(tmp_path_factory.mktemp('service'))
    with TestClient(made.app, base_url='http://localhost', raise_server_exceptions=False) as client:
        yield made, client


@pytest.fixture
def client(running):
    return running[1]


def search(client, content, name='photo.png', *, mask=None, **fields):
    files = {'file': (name, content)} | ({} if mask is None else {'mask': ('mask.png', mask)})
    return client.post('/search', files=files, data=fields)


def best(answer):
    assert answer.status_code == 200, answer.text
    return answer.json()['results'][0]['id']


def refused(client, answer, status=422):
    """The message of a refusal, after a good request has been answered."""
    assert answer.status_code == status, answer.text
    assert best(search(client, RED)) == 'warm/red.off'
    message = answer.json()['message']
    assert '/tmp' not in message and 'Traceback' not in message
    return message


def test_answer(client):
    answer = search(client, RED, top=3).json()
    assert (answer['kind'], answer['shapes'], len(answer['results'])) == ('photo', 6, 3)
    assert 0 < answer['seconds'] < 60
    first = answer['results'][0]
    assert first.pop('score') == pytest.approx(-15, abs=0.1)  # (5, 10, 10) away
    assert first == {
        **dict.fromkeys(('distance', 'mean_distance', 'scale', 'mirrored')),
        'copy_of': '',
        'rank': 1,
        'number': 0,
        'id': 'warm/red.off',
        'category': 'warm',
        'view': 0,
        'azimuth': 0.0,
        'elevation': 30.0,
        'references': 0,
        'chance': None,
        'present': None,
        'thumbnail': 'shapes/0/thumbnail?azimuth=0&elevation=30',
        'viewer': 'shapes/0/viewer?azimuth=0&elevation=30',
        'download': 'shapes/0/model',
        'facts': client.get('/shapes/0').json()['facts'],
    }
    assert [result['rank'] for result in answer['results']] == [1, 2, 3]


def test_how_sure_the_first_is(running, monkeypatch):
    made, client = running
    monkeypatch.setattr(made.index, 'certainty', {'chance': 0.625, 'present': 0.25}, raising=False)
    first, second, *_ = search(client, RED).json()['results']
    assert (first['chance'], first['present'], second['chance'], second['present']) == (0.625, 0.25, None, None)


def test_words_alone_and_with_a_photo(client):
    answer = client.post('/search', data={'text': ' green '})
    assert best(answer).endswith('green.off') and answer.json()['kind'] == 'text'
    both = search(client, RED, text='green')
    distance = np.linalg.norm([250 / 2, 10 / 2 + 255 / 2 - 255, 10 / 2])
    assert both.json()['kind'] == 'photo' and best(both).endswith('green.off')
    assert both.json()['results'][0]['score'] == pytest.approx(-distance, abs=0.1)
    assert 'send a file, or words' in refused(client, client.post('/search', data={'text': ' '}))
    assert 'words with a query of kind' in refused(client, search(client, b'OFF', 'a.off', kind='mesh', text='green'))
    assert 'text: String should have at most 1000' in refused(client, client.post('/search', data={'text': 'a' * 1001}))


def test_an_index_without_words(tmp_path):
    model = ColorModel()
    model.takes_text = False
    with TestClient(service(tmp_path, model=model).app, base_url='http://localhost') as client:
        assert client.get('/index').json()['takes_text'] is False
        message = refused(client, client.post('/search', data={'text': 'red'}))
        assert message.startswith('text: the model of this index has no words')


def test_what_is_searched_for(running, monkeypatch):
    made, client = running
    monkeypatch.setattr(made.index, 'purposes', ('mixed', 'class'), raising=False)
    tall = trimesh.creation.box((1, 4, 1)).export(file_type='stl')
    for fields, purpose in (({}, None), ({'purpose': ''}, None), ({'purpose': 'class'}, 'class')):
        for content, name in ((tall, 'tall.stl'), (RED, 'photo.png')):
            made.index.purpose = 'none'
            assert (
                best(search(client, content, name, align=False, **fields)) == 'warm/red.off'
                and made.index.purpose == purpose
            )
        assert best(client.post('/search', data={'text': 'green', **fields})) == 'cold/green.off'
        assert made.index.purpose == purpose


def test_mask_and_box_choose_the_object(client):
    photo = png(two_colors())
    left = np.zeros((40, 60), np.uint8)
    left[:, :20] = 255
    assert best(search(client, photo)) == 'cold/blue.off'
    assert best(search(client, photo, mask=png(left))) == 'warm/red.off'
    assert best(search(client, photo, mask=png(255 - left))) == 'cold/blue.off'
    assert best(search(client, photo, box='0,0,20,40')) == 'warm/red.off'
    assert best(search(client, photo, box='20, 0, 60.5, 40')) == 'cold/blue.off'


def test_categories_are_filtered_and_top_is_kept(client):
    answer = search(client, RED, category=['cold', 'none'], top=5).json()
    assert {result['category'] for result in answer['results']} == {'cold', 'none'}
    assert len(answer['results']) == 4
    assert best(search(client, RED, category='cold')) != 'warm/red.off'


def test_meshes_in_every_way_a_name_can_be_written(client):
    tall = trimesh.creation.box((1, 4, 1))
    for kind, name in (('stl', 'TALL.STL'), ('obj', '..\\..\\tall.obj')):
        content = tall.export(file_type=kind)
        answer = search(client, content if isinstance(content, bytes) else content.encode(), name)
        assert answer.json()['kind'] == 'mesh'
        assert answer.json()['results'][0]['distance'] is not None  # laid on it


def test_the_up_axis_belongs_to_shapes(client):
    tall = trimesh.creation.box((1, 4, 1)).export(file_type='stl')  # of one that is taller than wide it makes red
    answers = {axis: search(client, tall, 'a.stl', align=False, up_axis=axis).json() for axis in ('', 'y', 'z')}
    first = {axis: answer['results'][0]['id'] for axis, answer in answers.items()}
    assert first[''] == first['y'] == 'warm/red.off' != first['z']
    assert "up_axis: with a query of kind 'photo'" in refused(client, search(client, RED, up_axis='z'))
    assert 'up_axis' in refused(client, search(client, tall, 'a.stl', up_axis='x'))


@pytest.mark.parametrize(
    ('fields', 'found'),
    [
        ({'top': 0}, 'top'),
        ({'top': 6}, 'top'),
        ({'top': 'many'}, 'top'),
        ({'category': 'purple'}, 'no category'),
        ({'box': '1,2,3'}, 'left,top,right,bottom'),
        ({'box': '5,5,1,1'}, 'left,top,right,bottom'),
        ({'box': 'nan,0,1,1'}, 'left,top,right,bottom'),
        ({'box': '100,100,200,200'}, 'box'),
        ({'kind': 'scan'}, 'scan'),
        ({'purpose': 'class'}, "purpose 'class': the model of this index leaves no choice"),
    ],
)
def test_fields_that_are_not_valid(client, fields, found):
    assert found in refused(client, search(client, RED, **fields))


@pytest.mark.parametrize(
    ('content', 'name', 'found'),
    [
        (b'no picture at all', 'cat.png', 'cat.png: not an image'),
        (b'', 'empty.png', 'empty.png: empty file'),
        (RED[:60], 'cut.png', 'cut.png: truncated or damaged'),
        (RED, 'photo.obj', 'photo.obj: '),
        (b'no mesh', 'chair.off', 'chair.off: '),
        (b'%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n', 'run.eps', 'run.eps: not an image'),
        (
            b'<svg xmlns="http://www.w3.org/2000/svg"><image href="file:///etc/passwd"/></svg>',
            'a.svg',
            'a.svg: not an im',
        ),
        (RED[:60], '../../../../etc/passwd', 'passwd: '),
        (RED[:60], 'a\nb\x00\x1b[31m' + 'x' * 300 + '.png', 'x.png: '),
    ],
)
def test_broken_uploads(client, content, name, found):
    message = refused(client, search(client, content, name))
    assert found in message
    assert 'etc/' not in message and '\x1b' not in message and len(message) < 400


def test_mask_that_does_not_fit(client):
    message = refused(client, search(client, RED, mask=png(np.full((5, 5), 255, np.uint8))))
    assert message == 'mask.png: mask of 5 x 5 pixels for a photo of 30 x 20; mend it, or send another file'
    assert 'empty' in refused(client, search(client, RED, mask=png(np.zeros((20, 30), np.uint8))))


def test_too_many_pixels_are_refused_before_they_are_decoded(client, monkeypatch):
    bomb = io.BytesIO()
    Image.new('1', (4000, 4000)).save(bomb, 'PNG')  # 16 million pixels in two kilobytes
    monkeypatch.setattr(ColorModel, 'embed_photos', None)
    answer = search(client, bomb.getvalue())
    monkeypatch.undo()
    assert '4000 x 4000, over 40,000 pixels' in refused(client, answer)
    monkeypatch.setattr(ColorModel, 'embed_photos', None)
    answer = search(client, RED, mask=bomb.getvalue())
    monkeypatch.undo()
    assert 'mask.png: 4000 x 4000' in refused(client, answer)


def test_too_many_bytes(client):
    assert '0.190735 MiB' in refused(client, search(client, bytes(300_000)), 413)


def test_body_of_unknown_length_is_counted(client):
    def chunks():
        yield b'--x\r\nContent-Disposition: form-data; name="file"; filename="a.png"\r\n\r\n'
        for _ in range(40):
            yield bytes(10_000)

    headers = {'Content-Type': 'multipart/form-data; boundary=x'}
    assert 'larger than' in refused(client, client.post('/search', content=chunks(), headers=headers), 413)


@pytest.mark.parametrize(
    ('content', 'content_type'),
    [
        (b'{}', 'application/json'),
        (b'file=/etc/passwd', 'application/x-www-form-urlencoded'),
        (b'', None),
        (b'--y\r\nno form', 'multipart/form-data; boundary=x'),
        (b'x', 'multipart/form-data'),
    ],
)
def test_bodies_that_are_no_form(client, content, content_type):
    headers = {'Content-Type': content_type} if content_type else {}
    answer = client.post('/search', content=content, headers=headers)
    assert refused(client, answer, answer.status_code)
    assert answer.status_code in (400, 422)


def test_a_path_in_place_of_a_file_is_not_opened(client):
    answer = client.post('/search', data={'file': '/etc/passwd', 'mask': '/etc/passwd'})
    assert 'root:' not in refused(client, answer)


def test_an_unforeseen_fault_costs_one_request(client):
    message = refused(client, search(client, png(np.full((4, 4, 3), CRASH, np.uint8))), 500)
    assert message == 'the server failed on this request; its terminal says why'


def test_index_without_meshes(tmp_path):
    made = service(tmp_path, model=ColorModel(('photo',)))
    with TestClient(made.app, base_url='http://localhost') as client:
        assert '.obj' not in client.get('/index').json()['suffixes']
        message = refused(client, search(client, b'OFF\n', 'chair.off'))
        assert message == 'chair.off: taken for mesh; this index is asked with photo'


def test_nothing_is_left_of_uploads(client, tmp_path, monkeypatch):
    monkeypatch.setattr('tempfile.tempdir', str(tmp_path))
    search(client, RED)
    search(client, b'broken')
    search(client, png(np.full((4, 4, 3), CRASH, np.uint8)))
    assert not list(tmp_path.iterdir())


def test_other_sites_may_not_search(client):
    answer = client.post('/search', files={'file': ('a.png', RED)}, headers={'Sec-Fetch-Site': 'cross-site'})
    assert 'other web sites' in refused(client, answer, 403)


def test_openapi_describes_the_endpoint(client):
    described = client.get('/openapi.json').json()
    operation = described['paths']['/search']['post']
    body = operation['requestBody']['content']['multipart/form-data']['schema']['$ref'].rsplit('/')[-1]
    assert set(described['components']['schemas'][body]['properties']) == {
        'align',
        'up_axis',
        'file',
        'mask',
        'text',
        'kind',
        'box',
        'find_object',
        'purpose',
        'top',
        'category',
        'where',
    }
    answer = operation['responses']['200']['content']['application/json']['schema']['$ref'].rsplit('/')[-1]
    assert set(described['components']['schemas'][answer]['properties']) == {
        'kind',
        'shapes',
        'seconds',
        'query',
        'searched',
        'masks',
        'left_out',
        'results',
    }
    assert set(operation['responses']) == {'200', '400', '403', '404', '408', '413', '422', '503'}
