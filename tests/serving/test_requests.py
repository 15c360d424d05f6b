"""Headers of all answers, names of the server, methods and ranges: what does not depend on what is asked for."""

import pytest

pytest.importorskip('fastapi', reason="needs the extra 'serve'")
from small_service import LIMITS, service
from starlette.testclient import TestClient

from jaxret.errors import ConfigError
from jaxret.serving.app import create_app
from jaxret.serving.server import allowed_hosts, is_loopback


@pytest.fixture
def made(tmp_path):
    return service(tmp_path)


@pytest.fixture
def client(made):
    return TestClient(made.app, base_url='http://localhost', raise_server_exceptions=False)


@pytest.mark.parametrize('address', ['/', '/index', '/page/search.js', '/shapes/0/thumbnail', '/shapes/9/model', '/no'])
def test_security_headers(client, address):
    headers = client.get(address).headers
    assert "default-src 'none'; script-src 'self'" in headers['content-security-policy']
    assert headers['x-content-type-options'] == 'nosniff'
    assert 'access-control-allow-origin' not in headers


@pytest.mark.parametrize(
    ('host', 'status'),
    [
        ('localhost:8000', 200),
        ('127.0.0.1', 200),
        ('[::1]:8000', 200),
        ('evil.example', 400),
        ('127.0.0.1.evil.example', 400),
    ],
)
def test_only_the_names_of_loopback(client, host, status):
    answer = client.get('/index', headers={'Host': host})
    assert answer.status_code == status
    assert status == 200 or 'not called by this name' in answer.json()['message']


def test_further_names_of_the_server(made):
    def status(host, *allowed, listening='127.0.0.1'):
        app = create_app(made.index, None, limits=LIMITS, hosts=allowed_hosts(listening, allowed))
        return TestClient(app).get('/', headers={'Host': host}).status_code

    assert status('cad.example.org', 'cad.example.org') == status('CAD.example.org:8443', 'cad.Example.org') == 200
    assert status('localhost', 'cad.example.org') == status('a.example.org', '*.example.org') == 200
    assert status('evil.example', 'cad.example.org') == status('cad.example.org') == 400
    assert status('evil.example', listening='0.0.0.0') == 200  # any, unless some are named
    assert status('evil.example', 'cad.example.org', listening='0.0.0.0') == 400
    assert status('cad.example.org', 'cad.example.org', listening='0.0.0.0') == 200
    for name in ('https://cad.example.org', 'cad.example.org:80', 'a*.example.org', '', 'a b', '*example.org'):
        with pytest.raises(ConfigError, match='--allow-host'):
            allowed_hosts('127.0.0.1', [name])


@pytest.mark.parametrize(
    'address',
    ['/', '/index', '/health', '/docs', '/openapi.json', '/page/search.js', '/shapes/0', '/shapes/0/thumbnail']
    + ['/shapes/0/viewer', '/shapes/0/model', '/queries/x/0', '/shapes/9/model', '/shapes/x/viewer', '/no', '/search'],
)
def test_head_is_answered_as_get_without_the_body(client, address):
    get, head = client.get(address), client.head(address)
    assert (head.status_code, head.content) == (get.status_code, b'')
    assert dict(head.headers) == dict(get.headers)


def test_head_is_described_nowhere(client):
    assert set(client.get('/openapi.json').json()['paths']['/index']) == {'get'}


@pytest.mark.parametrize('address', ['/shapes/0/model', '/page/search.js', '/'])
@pytest.mark.parametrize(
    ('given', 'status'), [('bytes=999999-', 416), ('bytes=5-2', 400), ('lines=1-2', 400), ('bytes=0-3', 206)]
)
def test_ranges(client, address, given, status):
    answer = client.get(address, headers={'Range': given})
    assert answer.status_code == status
    if status == 206:
        assert answer.content == client.get(address).content[:4]
    else:
        assert list(answer.json()) == ['message'] and answer.json()['message']
        assert answer.headers['content-type'] == 'application/json'
        assert answer.headers['x-content-type-options'] == 'nosniff'
        assert status == 400 or answer.headers['content-range'].startswith('bytes */')


@pytest.mark.parametrize('method', ['PUT', 'DELETE', 'PATCH', 'OPTIONS', 'TRACE', 'PROPFIND', 'POST'])
@pytest.mark.parametrize('address', ['/', '/index', '/shapes/0/model', '/page/search.js', '/openapi.json'])
def test_refused_methods(client, address, method):
    answer = client.request(method, address)
    assert answer.status_code == 405 and list(answer.json()) == ['message']


def test_loopback_addresses():
    assert [is_loopback(host) for host in ('127.0.0.1', '127.1.2.3', '::1', 'localhost')] == [True] * 4
    assert [is_loopback(host) for host in ('0.0.0.0', '::', '192.168.1.2', 'example.org', '')] == [False] * 5
