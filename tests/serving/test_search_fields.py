"""POST /search: conditions, masks that were found, and fields that nobody knows."""

import io

import numpy as np
import pytest
import trimesh
from PIL import Image

pytest.importorskip('fastapi', reason="needs the extra 'serve'")
from small_service import png, service, two_colors
from starlette.testclient import TestClient

RED = png(np.full((20, 30, 3), (250, 10, 10), np.uint8))


@pytest.fixture(scope='module')
def client(tmp_path_factory):
    with TestClient(service(tmp_path_factory.mktemp('service')).app, base_url='http://localhost') as client:
        yield client


def search(client, content, name='photo.png', *, mask=None, **fields):
    files = {'file': (name, content)} | ({} if mask is None else {'mask': ('mask.png', mask)})
    return client.post('/search', files=files, data=fields)


def refused(answer):
    """The message of a refusal."""
    assert answer.status_code == 422, answer.text
    return answer.json()['message']


def test_conditions_on_what_shapes_measure(client):
    answer = search(client, RED, where='watertight').json()
    assert (len(answer['results']), answer['left_out']) == (6, 0)
    answer = search(client, RED, where='size<20mm').json()
    assert (answer['results'], answer['left_out']) == ([], 6)
    assert len(search(client, RED, where=' ').json()['results']) == 6
    mesh = trimesh.creation.box((1, 4, 1)).export(file_type='off')
    assert search(client, mesh, 'box.off', where='size<20mm').json()['results'] == []
    assert "no field 'weight'; choose from size," in refused(search(client, RED, where='weight<3kg'))


def test_the_mask_that_was_found_is_given(client):
    photo = png(two_colors(60, 40))
    assert search(client, photo).json()['masks'] == [None]
    mask = np.zeros((40, 60), np.uint8)
    mask[10:30, 20:40] = 255
    answer = search(client, photo, mask=png(mask)).json()
    picture = Image.open(io.BytesIO(client.get(answer['masks'][0]).content))
    assert picture.mode == 'LA'
    np.testing.assert_array_equal(np.asarray(picture)[..., 0], 0)
    np.testing.assert_array_equal(np.asarray(picture)[..., 1] == 0, mask == 255)
    for address in (answer['masks'][0].replace('/0/', '/1/'), answer['masks'][0].replace('/0/', '/-1/')):
        assert client.get(address).status_code == 404


def test_fields_that_nobody_knows_are_refused(client):
    assert "no field 'upaxis'; choose from file, mask, text," in refused(search(client, RED, upaxis='z'))
    answer = client.post('/search?colour=1', files={'file': ('a.png', RED)})
    assert "no field 'colour'" in refused(answer)
    answer = client.post('/references/undo', data={'session': 'a' * 32, 'extra': 1})
    assert "no field 'extra'; choose from session" in refused(answer)
