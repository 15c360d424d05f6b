"""Teaching over HTTP, on a real index: who may, what it changes, what it refuses."""

import io
import os

import numpy as np
import pytest
from PIL import Image

pytest.importorskip('fastapi', reason="needs the extra 'serve'")
from small_index import PlainModel, write_models
from small_service import png, two_colors
from starlette.testclient import TestClient

import jaxret
from jaxret.index.build import update_index
from jaxret.serving.app import LOOPBACK, create_app
from jaxret.serving.limits import Limits
from jaxret.serving.searcher import Searcher

LIMITS = Limits(photos=2, queries=3, references=5)
ME, OTHER = 'session-me', 'session-other'


@pytest.fixture(scope='module')
def made(tmp_path_factory):
    folder, model = tmp_path_factory.mktemp('index'), PlainModel()
    write_models(folder / 'models', 4)
    update_index(folder / 'index', model, folder / 'models', processes=1, progress=False)
    return folder / 'index', model


@pytest.fixture
def index(made):
    with jaxret.Index.open(made[0]) as index:
        yield index
    (made[0] / 'references.sqlite').unlink(missing_ok=True)


@pytest.fixture
def client(made, index):
    with client_of(index, made[1]) as client:
        yield client


def client_of(index, model, **options):
    app = create_app(index, Searcher(index, model, limits=LIMITS), limits=LIMITS, **options)
    return TestClient(app, base_url='http://localhost:8000')


def color(*values):
    return png(np.full((20, 30, 3), values, np.uint8))


RED, BLUE = color(250, 10, 10), color(10, 10, 250)


def search(client, *photos, **fields):
    answer = client.post('/search', files=[('file', ('photo.png', photo)) for photo in photos], data=fields)
    assert answer.status_code == 200, answer.text
    return answer.json()


def teach(client, photo, shape, session=ME, **options):
    fields = {'query': search(client, photo)['query'], 'session': session} | ({} if shape is None else {'shape': shape})
    return client.post('/references', data=fields, **options)


def best(client, photo):
    return search(client, photo)['results'][0]['number']


def test_a_taught_photo_counts_until_it_is_taken_back(client, index):
    before = search(client, RED)['results']
    last, first = before[-1]['number'], before[0]['number']
    assert teach(client, RED, last).json() == {'new': 1, 'references': 1}
    assert teach(client, BLUE, first, OTHER).json() == {'new': 1, 'references': 1}
    assert teach(client, RED, last).json() == {'new': 0, 'references': 1}
    results = search(client, RED)['results']
    assert results[0]['number'] == last
    counts = {result['number']: result['references'] for result in results}
    assert counts == dict.fromkeys(range(4), 0) | {last: 1, first: 1}
    assert best(client, BLUE) == first

    (known,) = client.get(f'/shapes/{last}/references').json()
    assert known['photo'] == 'photo.png'
    picture = Image.open(io.BytesIO(client.get('/' + known['picture']).content))
    assert picture.size == (30, 20) and np.abs(np.subtract(picture.getpixel((9, 9)), (250, 10, 10))).max() < 8

    assert client.post('/references/undo', data={'session': ME}).json() == {'shapes': [last]}
    assert client.post('/references/undo', data={'session': ME}).json() == {'shapes': []}
    assert client.delete(f'/references/{known["number"]}').status_code == 404
    assert client.get('/' + known['picture']).status_code == 404
    (known,) = client.get(f'/shapes/{first}/references').json()
    assert client.delete(f'/references/{known["number"]}').json() == {'removed': known['number']}
    assert search(client, RED)['results'] == before


def test_none_of_these_is_noted_alone(client, index):
    before = search(client, RED)['results']
    assert teach(client, RED, None).json() == {'new': 1, 'references': 0}
    assert search(client, RED)['results'] == before
    assert [row.model for row in index.references.rows()] == [None]
    assert client.post('/references/undo', data={'session': ME}).json() == {'shapes': [None]}


def test_none_of_these_takes_the_place_of_what_was_taught(client, index):
    before = search(client, RED)['results']
    teach(client, RED, 2)
    teach(client, RED, None)
    assert search(client, RED)['results'] == before
    assert client.post('/references/undo', data={'session': ME}).json() == {'shapes': [None]}
    assert best(client, RED) == 2


def test_what_was_searched_for_is_shown(client):
    left = np.zeros((40, 60), np.uint8)
    left[:, :20] = 255
    files = {'file': ('a.png', png(two_colors())), 'mask': ('m.png', png(left))}
    for answer in (
        client.post('/search', files=files),
        client.post('/search', files={'file': files['file']}, data={'box': '0,0,20,40'}),
    ):
        (address,) = answer.json()['searched']
        shown = np.asarray(Image.open(io.BytesIO(client.get('/' + address).content))).astype(int)
        assert shown.shape == (40, 20, 3) and (shown[..., 0] > 200).mean() > 0.9
    name = answer.json()['query']
    assert client.get(f'/queries/{name}/1').status_code == 404
    assert client.get('/queries/nothing/0').status_code == 404


def test_several_photos_of_one_object(client, index, made):
    masks = [('mask', ('none', b'')), ('mask', ('m.png', png(np.full((20, 30), 255, np.uint8))))]
    files = [('file', ('a.png', RED)), ('file', ('b.png', BLUE)), *masks]
    answer = client.post('/search', files=files, data={'box': ['0,0,9,9', '']}).json()
    embedded = made[1].embed_photos([np.full((1, 1, 3), c, np.uint8) for c in ((250, 10, 10), (10, 10, 250))])
    hits = index.search_together(embedded, top_k=4)
    assert [result['id'] for result in answer['results']] == [hit.id for hit in hits]
    assert len(answer['searched']) == 2
    data = {'query': answer['query'], 'session': ME, 'shape': 3}
    assert client.post('/references', data=data).json() == {'new': 2, 'references': 2}
    assert client.post('/references/undo', data={'session': ME}).json() == {'shapes': [3, 3]}
    for files, data, found in (
        ([('file', ('a.png', RED))] * 3, {}, 'at most 2 photos'),
        ([('file', ('a.png', RED))] * 2, {'box': '0,0,1,1'}, '1 for 2 files'),
        ([('file', ('a.png', RED)), masks[0], masks[1]], {}, '2 for 1 files'),
        ([('file', ('a.png', RED)), masks[0]], {}, 'empty file'),
        ([('file', ('a.png', RED)), ('file', ('b.png', b'x'))], {}, 'b.png: not an image'),
    ):
        answer = client.post('/search', files=files, data=data)
        assert answer.status_code == 422 and found in answer.json()['message']


@pytest.mark.parametrize(
    'headers',
    [
        {'Origin': 'http://evil.example'},
        {'Origin': 'http://localhost:3000'},
        {'Origin': 'null'},
        {'Origin': 'http://[broken'},
        {'Sec-Fetch-Site': 'same-site'},
        {'Sec-Fetch-Site': 'cross-site', 'Origin': 'http://localhost:8000'},
    ],
    ids=str,
)
def test_pages_from_elsewhere_may_not_teach(client, index, headers):
    assert teach(client, RED, 1, headers=headers).status_code == 403
    assert client.post('/references/undo', data={'session': ME}, headers=headers).status_code == 403
    teach(client, RED, 1)
    assert client.delete('/references/1', headers=headers).status_code == 403
    assert len(index.references.rows()) == 1


def test_the_page_itself_may_teach_also_behind_a_named_proxy(client, index, made):
    own = {'Origin': 'http://localhost:8000', 'Sec-Fetch-Site': 'same-origin'}
    assert teach(client, RED, 1, headers=own).status_code == 200
    with client_of(index, made[1], hosts=(*LOOPBACK, 'cad.example.org', '*.below.org')) as client:
        assert teach(client, RED, 2, headers={'Origin': 'https://cad.example.org'}).status_code == 200
        assert teach(client, RED, 2, headers={'Origin': 'https://a.below.org'}).status_code == 200
        assert teach(client, RED, 3, headers={'Origin': 'http://localhost'}).status_code == 403
        assert teach(client, RED, 3, headers={'Origin': 'https://example.org'}).status_code == 403


def test_a_read_only_server_is_taught_nothing(index, made):
    with client_of(index, made[1], read_only=True) as client:
        assert client.get('/index').json()['teaches'] is False
        for answer in (
            teach(client, RED, 1),
            teach(client, RED, None),
            client.post('/references/undo', data={'session': ME}),
            client.delete('/references/1'),
        ):
            assert answer.status_code == 403 and 'read-only' in answer.json()['message']
        assert client.get('/shapes/1/references').json() == []
    assert not os.path.exists(made[0] / 'references.sqlite')


def test_requests_that_cannot_be(client, index):
    name = search(client, RED)['query']
    for data, status in (
        ({'query': name, 'session': ME, 'shape': 4}, 404),
        ({'query': name, 'session': ME, 'shape': -1}, 404),
        ({'query': name, 'session': ME, 'shape': 'x'}, 422),
        ({'query': name, 'session': '../x', 'shape': 1}, 422),
        ({'query': name, 'shape': 1}, 422),
        ({'query': 'x' * 22, 'session': ME, 'shape': 1}, 404),
    ):
        answer = client.post('/references', data=data)
        assert answer.status_code == status and answer.json()['message']
    for number in (0, -1, 2**70, 'x'):
        assert client.delete(f'/references/{number}').status_code in (404, 422)
        assert client.get(f'/references/{number}/picture').status_code in (404, 422)
    for _ in range(LIMITS.queries):
        search(client, BLUE)
    answer = client.post('/references', data={'query': name, 'session': ME, 'shape': 1})
    assert answer.status_code == 404 and 'not remembered any more' in answer.json()['message']
    for value in range(LIMITS.references):
        assert teach(client, color(value, 0, 0), 1).json()['new'] == 1
    assert 'takes no more' in teach(client, RED, 1).json()['message']


def test_photos_that_cannot_be_written_name_no_path(client, made, capsys):
    (made[0] / 'references.sqlite').mkdir()
    answer = client.get('/shapes/1/references')
    assert answer.status_code == 503 and str(made[0]) not in answer.text
    assert 'references.sqlite: cannot be read' in capsys.readouterr().err
    answer = client.post('/search', files={'file': ('photo.png', RED)})
    assert answer.status_code == 503 and str(made[0]) not in answer.text
    assert 'references.sqlite: cannot be read' in capsys.readouterr().err
    (made[0] / 'references.sqlite').rmdir()


def test_the_viewer_opens_where_the_view_was_taken(client):
    pages = [client.get(f'/shapes/0/viewer{pose}').content for pose in ('', '?azimuth=90&elevation=10', '?azimuth=91')]
    assert len(set(pages)) == 3
    assert client.get('/shapes/0/viewer?azimuth=nan').status_code == 422
    assert client.get('/shapes/0/viewer?elevation=91').status_code == 422
