"""A real server with clients that send or read slowly, or not at all: the others are answered meanwhile."""

import contextlib
import json
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip('fastapi', reason="needs the extra 'serve'")
from small_service import LIMITS, ColorModel, answer_on, listening, png, service

from jaxret.serving.server import Server, settings

PHOTO = png(np.full((20, 30, 3), (250, 10, 10), np.uint8))
BODY = b'--x\r\nContent-Disposition: form-data; name="file"; filename="a.png"\r\n\r\n' + PHOTO + b'\r\n--x--\r\n'
HEAD = b'POST /search HTTP/1.1\r\nHost: localhost\r\nContent-Type: multipart/form-data; boundary=x\r\n'


class SlowModel(ColorModel):
    seconds = 1.0

    def embed_photos(self, photos, **how):
        time.sleep(self.seconds)
        return super().embed_photos(photos, **how)


def post(length=None):
    length = len(BODY) if length is None else length
    return HEAD + f'Content-Length: {length}\r\n\r\n'.encode()


@contextlib.contextmanager
def serving(tmp_path, **limits):
    limits = replace(LIMITS, **limits)
    with listening(service(tmp_path, limits=limits).app, limits) as address:
        yield address


@contextlib.contextmanager
def connections(address, count, content):
    """Connections that have sent something, and what then comes on them."""
    with contextlib.ExitStack() as stack:
        made = []
        for _ in range(count):
            made.append(stack.enter_context(socket.create_connection(address)))
            with contextlib.suppress(ConnectionError):  # it may have been refused already
                made[-1].sendall(content)
        yield made


def search(address, seconds=5):
    """Best shape of a search that must be answered soon."""
    request = urllib.request.Request('http://{}:{}/search'.format(*address), BODY)
    request.add_header('Content-Type', 'multipart/form-data; boundary=x')
    with urllib.request.urlopen(request, timeout=seconds) as answer:
        return json.load(answer)['results'][0]['id']


@pytest.mark.parametrize('length', [b'Content-Length: 5000\r\n', b'Transfer-Encoding: chunked\r\n'])
def test_slow_bodies_take_no_turns(tmp_path, length):
    with serving(tmp_path) as address, connections(address, 100, HEAD + length + b'\r\n'):
        for _ in range(3):
            assert search(address) == 'warm/red.off'


def test_a_body_below_the_least_rate_is_given_up(tmp_path):
    limits = {'upload_grace': 0.4, 'upload_rate': 2048.0, 'upload_seconds': 20.0}
    with serving(tmp_path, **limits) as address, connections(address, 1, post()) as (slow,):
        started = time.monotonic()
        for byte in BODY[:10]:
            slow.sendall(bytes([byte]))
            time.sleep(0.02)
        answer = answer_on(slow)
        assert answer.startswith(b'HTTP/1.1 408') and b'the upload came at under 2 KiB a second' in answer
        assert 0.3 < time.monotonic() - started < 5
    with serving(tmp_path, **limits) as address, connections(address, 1, post()) as (steady,):
        for start in range(0, len(BODY), 20):  # longer than the grace, fast enough
            steady.sendall(BODY[start : start + 20])
            time.sleep(0.005)
        assert answer_on(steady).startswith(b'HTTP/1.1 200')


def test_where_too_many_bodies_arrive_the_oldest_makes_room(tmp_path):
    with serving(tmp_path, waiting=3) as address, connections(address, 4, post()) as made:
        assert b'503' in answer_on(made[0]) and search(address) == 'warm/red.off'
        made[-1].sendall(BODY)
        assert answer_on(made[-1]).startswith(b'HTTP/1.1 200')


def test_bodies_take_no_more_room_than_they_may(tmp_path):
    with serving(tmp_path, held_bytes=100_000) as address:
        with connections(address, 1, post(150_000) + bytes(120_000)):
            time.sleep(0.5)
            with connections(address, 1, post()) as (refused,):
                assert b'the server is busy' in answer_on(refused)
        time.sleep(0.5)
        assert search(address) == 'warm/red.off'


def test_half_a_header_is_given_up(tmp_path):
    with serving(tmp_path, header_seconds=0.5) as address:
        halves = [b'', b'GET /index HT', b'GET /index HTTP/1.1\r\nHost: localhost\r\n']
        for half in halves:
            with connections(address, 1, half) as (slow,):
                answer = answer_on(slow)
                assert answer == b'' or json.loads(answer.partition(b'\r\n\r\n')[2])['message'].startswith('the header')
        with connections(address, 1, b'GET /index HTTP/1.1\r\nHost: localhost\r\n\r\n') as (slow,):
            assert b'200 OK' in slow.recv(65536)
            slow.sendall(b'GET /index HTTP/1.1\r\nHo')  # on a connection that is kept
            for _ in range(20):
                time.sleep(0.1)
                with contextlib.suppress(ConnectionError):
                    slow.sendall(b'x')
            with pytest.raises(ConnectionError):
                [slow.sendall(b'x' * 65536) for _ in range(100)]


def test_half_headers_lock_nobody_out(tmp_path):
    with serving(tmp_path, connections=20) as address, connections(address, 100, b'GET /index HTTP/1.1\r\nHost:'):
        assert search(address) == 'warm/red.off'
        with connections(address, 100, b''):
            assert search(address) == 'warm/red.off'


def test_slow_bodies_leave_connections_to_others(tmp_path):
    with serving(tmp_path, connections=20) as address, connections(address, 100, post()):
        for _ in range(3):
            assert search(address) == 'warm/red.off'


def test_connections_beyond_those_at_work_are_refused(tmp_path):
    made = service(tmp_path, model=SlowModel())
    limits = replace(LIMITS, connections=4)
    with listening(made.app, limits) as address, connections(address, 4, post() + BODY) as at_work:
        time.sleep(0.3)
        with connections(address, 1, b'GET /index HTTP/1.1\r\nHost: localhost\r\n\r\n') as (further,):
            answer = answer_on(further)
            assert answer.startswith(b'HTTP/1.1 503') and b'{"message":"the server has too many conn' in answer
        assert all(answer_on(one).startswith(b'HTTP/1.1 200') for one in at_work)


@pytest.mark.parametrize('method', [b'GET /index', b'PUT /index', b'POST /index', b'GET /no'])
def test_bodies_that_nobody_reads_hold_no_connection(tmp_path, method):
    with serving(tmp_path, header_seconds=0.5, upload_grace=0.5) as address:
        content = method + b' HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100000\r\n\r\n'
        with connections(address, 1, content) as (slow,):
            assert slow.recv(65536)
            with pytest.raises(ConnectionError):
                for _ in range(50):
                    time.sleep(0.1)
                    slow.sendall(b'x')


@pytest.mark.parametrize('pause', [0, 0.3])
@pytest.mark.parametrize('address', [b'/index', b'/shapes/0/viewer', b'/shapes/0/model'])
def test_what_is_no_http_is_refused_quietly(tmp_path, caplog, address, pause):
    with serving(tmp_path) as server, connections(server, 3, b'nonsense\r\n\r\n') as made:
        for one in made:
            answer = answer_on(one)
            assert answer.startswith(b'HTTP/1.1 400') and answer.endswith(
                b'{"message":"Invalid HTTP request received."}'
            )
        start = b'GET ' + address + b' HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n'
        with connections(server, 3, start) as made:
            time.sleep(pause)
            for one in made:
                with contextlib.suppress(ConnectionError):
                    one.sendall(b'no chunk\r\n')
            assert all(answer_on(one) for one in made)
        assert search(server) == 'warm/red.off'
    assert not caplog.messages


def test_an_answer_that_nobody_takes_is_given_up(tmp_path):
    made = service(tmp_path, limits=LIMITS)
    path = made.index.model_path(made.index.ids[0])
    with path.open('ab') as file:
        file.truncate(30_000_000)
    made.index.marks.clear()
    limits = replace(LIMITS, stalled_seconds=0.5)
    with listening(made.app, limits) as address, socket.socket() as slow:
        slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        slow.connect(address)
        slow.sendall(b'GET /shapes/0/model HTTP/1.1\r\nHost: localhost\r\n\r\n')
        time.sleep(2)
        received = 0
        with contextlib.suppress(ConnectionResetError):
            while block := slow.recv(65536):
                received += len(block)
        assert received < 30_000_000


def test_fewer_connections_where_fewer_files_may_be_open():
    program = (
        'import resource; from jaxret.serving.connections import within_descriptors; '
        'from jaxret.serving.limits import Limits; '
        'resource.setrlimit(resource.RLIMIT_NOFILE, ({}, {})); '
        'print(within_descriptors(Limits(connections=2000)).connections, resource.getrlimit(resource.RLIMIT_NOFILE)[0])'
    )
    for soft, hard, most, files in ((256, 1024, 298, 1024), (256, 256, 42, 256), (1024, 9000, 2000, 6128)):
        command = [sys.executable, '-c', program.format(soft, hard)]
        assert subprocess.check_output(command, text=True) == f'{most} {files}\n'


@pytest.mark.parametrize('content', [post() + BODY[:10], post() + BODY], ids=['upload', 'search'])
def test_a_request_that_is_cancelled_at_the_end_is_told(tmp_path, caplog, content):
    model = SlowModel()
    model.seconds = 3.0
    configured = settings(service(tmp_path, model=model).app, LIMITS)
    configured.timeout_graceful_shutdown = 0.5
    server = Server(configured)
    with socket.create_server(('127.0.0.1', 0)) as listener:
        thread = threading.Thread(target=server.run, kwargs={'sockets': [listener]})
        thread.start()
        while not server.started:
            time.sleep(0.01)
        with connections(listener.getsockname(), 3, content) as made:
            time.sleep(0.5)
            server.should_exit = True
            answers = [answer_on(one) for one in made]
        thread.join()
    for answer in answers:
        assert answer.startswith(b'HTTP/1.1 503') and b'{"message":"the server shuts down' in answer
    assert len(caplog.messages) == 1 and 'Cancel 3 running task(s)' in caplog.messages[0]
    assert not caplog.records[0].exc_info
