"""A real server under many clients at once: none lost, a bounded number at work, silent clients let go."""

import asyncio
import resource
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip('fastapi', reason="needs the extra 'serve'")
httpx2 = pytest.importorskip('httpx2')
from small_service import LIMITS, ColorModel, answer_on, listening, png, service

PHOTO = png(np.random.default_rng(0).integers(256, size=(150, 200, 3)).astype(np.uint8))  # 90 kB


class CountingModel(ColorModel):
    """Notes how many queries it is asked for at a time."""

    def __init__(self):
        super().__init__()
        self.inside, self.most, self.lock = 0, 0, threading.Lock()

    def embed_photos(self, photos, **how):
        with self.lock:
            self.inside += 1
            self.most = max(self.most, self.inside)
        try:
            time.sleep(0.002)
            return super().embed_photos(photos, **how)
        finally:
            with self.lock:
                self.inside -= 1


async def ask_all(address, count):
    limits = httpx2.Limits(max_connections=None)
    async with httpx2.AsyncClient(base_url='http://{}:{}'.format(*address), timeout=60, limits=limits) as client:

        async def ask(number):
            # every fourth request is broken, and must spoil none of the others
            content = b'broken' if number % 4 == 3 else PHOTO
            return await client.post('/search', files={'file': ('photo.png', content)}, data={'top': 1 + number % 5})

        return await asyncio.gather(*map(ask, range(count)))


def test_two_hundred_at_once(tmp_path):
    model = CountingModel()
    made = service(tmp_path, model=model)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with listening(made.app) as address:
        answers = asyncio.run(ask_all(address, 200))
    assert [answer.status_code for answer in answers] == [422 if number % 4 == 3 else 200 for number in range(200)]
    assert [len(answer.json()['results']) for answer in answers if answer.status_code == 200] == [
        1 + number % 5 for number in range(200) if number % 4 != 3
    ]
    assert model.most == 1
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200 * 1024  # kB


def test_beyond_the_queue_clients_are_told_to_come_back(tmp_path):
    made = service(tmp_path, limits=replace(LIMITS, active=1, waiting=3))
    with listening(made.app) as address:
        answers = asyncio.run(ask_all(address, 40))
        after = asyncio.run(ask_all(address, 1))
    busy = [answer for answer in answers if answer.status_code == 503]
    assert busy and len(busy) < 40
    assert all(answer.headers['retry-after'] == '5' and 'busy' in answer.json()['message'] for answer in busy)
    assert after[0].status_code == 200


def test_clients_that_stop_sending_lose_their_turn(tmp_path):
    made = service(tmp_path, limits=replace(LIMITS, active=2, upload_seconds=0.5))
    with listening(made.app) as address:
        stuck = [socket.create_connection(address) for _ in range(2)]
        for connection in stuck:
            connection.sendall(
                b'POST /search HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n'
                b'Content-Type: multipart/form-data; boundary=x\r\n\r\n--x\r\n'
            )
        gone = socket.create_connection(address)
        gone.sendall(b'POST /search HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\n')
        gone.close()
        time.sleep(0.1)
        assert asyncio.run(ask_all(address, 1))[0].status_code == 200
        with ThreadPoolExecutor(2) as pool:
            refusals = list(pool.map(answer_on, stuck))
        for connection in stuck:
            connection.close()
    assert all(refusal.startswith(b'HTTP/1.1 408') and b'took over 0.5 s' in refusal for refusal in refusals)
