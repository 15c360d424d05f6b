"""Which requests are let in, and when: bodies arrive first, at a least rate, and only then wait for a turn."""

import asyncio
import contextlib
import tempfile
from collections.abc import AsyncIterator
from typing import BinaryIO

from fastapi import HTTPException
from fastapi.responses import JSONResponse
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from jaxret.serving.limits import Limits

_IN_MEMORY = 64 * 2**10  # of a body that arrives or waits; the rest is in a temporary file
_BLOCK = 64 * 2**10
_BUSY = 'the server is busy; try again in a moment'


class Admission:
    """Lets a bounded number of POST requests in at a time, once their bodies have arrived.

    A client that sends slowly, or not at all, holds its connection and no turn. Where too many bodies are on their way,
    the one that has been so for longest is given up.

    Args:
      app: what answers the requests.
      limits: the bounds.
    """

    def __init__(self, app: ASGIApp, *, limits: Limits):
        self._app = app
        self._limits = limits
        self._turns = asyncio.Semaphore(limits.active)
        self._inside = 0  # waiting for a turn, or having one
        self._held = 0  # bytes of all bodies, whole or not
        self._arriving: dict[object, asyncio.Timeout] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope['type'] != 'http' or scope['method'] != 'POST':
            await self._app(scope, receive, send)
            return
        try:
            self._check(Headers(scope=scope))
            async with self._place() as body:
                if not await self._arrived(receive, body):
                    return
                self._check_busy()
                self._inside += 1
                try:
                    async with self._turns:
                        if not await _has_left(receive):
                            await self._app(scope, _replayed(body, receive), send)
                finally:
                    self._inside -= 1
        except HTTPException as error:
            await JSONResponse({'message': error.detail}, error.status_code, error.headers)(scope, receive, send)

    def _check(self, headers: Headers) -> None:
        """Raises HTTPException for a request that is not worth reading."""
        if headers.get('sec-fetch-site') == 'cross-site':  # a page elsewhere has the user's browser work for it
            raise HTTPException(403, 'searches from other web sites are refused')
        length = headers.get('content-length', '')
        if length.isdecimal() and int(length) > self._limits.upload_bytes:
            raise self._too_large()
        self._check_busy()

    def _check_busy(self) -> None:
        if self._inside >= self._limits.active + self._limits.waiting or self._held >= self._limits.held_bytes:
            raise HTTPException(503, _BUSY, {'Retry-After': '5'})

    def _too_large(self) -> HTTPException:
        return HTTPException(413, f'the upload is larger than {self._limits.upload_bytes / 2**20:g} MiB')

    @contextlib.asynccontextmanager
    async def _place(self) -> AsyncIterator[BinaryIO]:
        """An empty file for a body; what it then holds counts as long as it is open."""
        with tempfile.SpooledTemporaryFile(_IN_MEMORY) as body:
            try:
                yield body
            finally:
                self._held -= body.seek(0, 2)

    async def _arrived(self, receive: Receive, body: BinaryIO) -> bool:
        """Writes a body to a file; False where the client leaves.

        Raises:
          HTTPException: it is too large or too slow, or so many others arrive that it is given up.
        """
        limits, key, received, started = self._limits, object(), 0, asyncio.get_running_loop().time()
        if len(self._arriving) >= min(limits.waiting, limits.connections // 2):  # so that connections are left
            self._arriving.pop(next(iter(self._arriving))).reschedule(started)
        try:
            async with asyncio.timeout(None) as clock:
                self._arriving[key] = clock
                more = True
                while more:
                    allowed = min(limits.upload_seconds, limits.upload_grace + received / limits.upload_rate)
                    clock.reschedule(started + allowed)
                    message = await receive()
                    if message['type'] == 'http.disconnect':
                        return False
                    content, more = message.get('body', b''), message.get('more_body', False)
                    received += len(content)
                    if received > limits.upload_bytes:
                        raise self._too_large()
                    self._check_busy()
                    body.write(content)
                    self._held += len(content)
            return True
        except TimeoutError:
            if key not in self._arriving:  # made room for another
                raise HTTPException(503, _BUSY, {'Retry-After': '5'}) from None
            slow = f'came at under {limits.upload_rate / 2**10:g} KiB a second'
            late = f'took over {limits.upload_seconds:g} s'
            raise HTTPException(408, f'the upload {late if allowed == limits.upload_seconds else slow}') from None
        finally:
            self._arriving.pop(key, None)


async def _has_left(receive: Receive) -> bool:
    """Whether the client of a request that has arrived is gone already."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(0):
            await receive()
            return True
    return False


def _replayed(body: BinaryIO, receive: Receive) -> Receive:
    """Gives a body that has arrived, then what the connection does."""
    body.seek(0)
    complete = False

    async def replayed() -> Message:
        nonlocal complete
        if complete:  # from here on it only waits for the client to leave
            return await receive()
        content = body.read(_BLOCK)
        complete = len(content) < _BLOCK
        return {'type': 'http.request', 'body': content, 'more_body': not complete}

    return replayed
