"""Which requests are let in, and when: a queue of bounded length before anything of a request is read."""

import asyncio
import time

from fastapi import HTTPException
from fastapi.responses import JSONResponse
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from jaxret.serving.limits import Limits


class Admission:
    """Lets a bounded number of POST requests in at a time, each of a bounded size and duration of arrival.

    A request that waits for its turn costs its connection and what the sockets hold of its body, no more.

    Args:
      app: what answers the requests.
      limits: the bounds.
    """

    def __init__(self, app: ASGIApp, *, limits: Limits):
        self._app = app
        self._limits = limits
        self._turns = asyncio.Semaphore(limits.active)
        self._inside = 0  # waiting for a turn, or having one

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope['type'] != 'http' or scope['method'] != 'POST':
            await self._app(scope, receive, send)
            return
        refusal = self._refusal(Headers(scope=scope))
        if refusal is not None:
            await refusal(scope, receive, send)
            return
        self._inside += 1
        try:
            async with self._turns:
                await self._app(scope, self._guarded(receive), send)
        finally:
            self._inside -= 1

    def _refusal(self, headers: Headers) -> JSONResponse | None:
        """The answer to a request that is not worth reading."""
        if headers.get('sec-fetch-site') == 'cross-site':  # a page elsewhere has the user's browser work for it
            return _message(403, 'searches from other web sites are refused')
        length = headers.get('content-length', '')
        if length.isdecimal() and int(length) > self._limits.upload_bytes:
            return _message(413, too_large(self._limits))
        if self._inside >= self._limits.active + self._limits.waiting:
            return _message(503, 'the server is busy; try again in a moment', {'Retry-After': '5'})
        return None

    def _guarded(self, receive: Receive) -> Receive:
        deadline = time.monotonic() + self._limits.upload_seconds
        received, complete = 0, False

        async def guarded() -> Message:
            nonlocal received, complete
            if complete:  # from here on it only waits for the client to leave
                return await receive()
            try:
                async with asyncio.timeout(max(deadline - time.monotonic(), 0)):
                    message = await receive()
            except TimeoutError:
                raise HTTPException(408, f'the upload took over {self._limits.upload_seconds:g} s') from None
            received += len(message.get('body', b''))
            if received > self._limits.upload_bytes:
                raise HTTPException(413, too_large(self._limits))
            complete = not message.get('more_body', False)
            return message

        return guarded


class SecurityHeaders:
    """Adds headers to every answer that keep a browser from running or fetching anything from elsewhere.

    Args:
      app: what answers the requests; a `Content-Security-Policy` that it sets itself stays.
    """

    HEADERS = {
        'Content-Security-Policy': "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; "
        "connect-src 'self'; frame-src 'self'; base-uri 'none'; form-action 'none'; "
        "frame-ancestors 'none'",
        'Cache-Control': 'no-cache',
        'Cross-Origin-Resource-Policy': 'same-origin',
        'Referrer-Policy': 'no-referrer',
        'X-Content-Type-Options': 'nosniff',
    }

    def __init__(self, app: ASGIApp):
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def with_headers(message: Message) -> None:
            if message['type'] == 'http.response.start':
                headers = MutableHeaders(scope=message)
                for name, value in self.HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        await self._app(scope, receive, with_headers)


def too_large(limits: Limits) -> str:
    """What a client is told whose upload is too large."""
    return f'the upload is larger than {limits.upload_bytes / 2**20:g} MiB'


def _message(status: int, text: str, headers: dict[str, str] | None = None) -> JSONResponse:
    return JSONResponse({'message': text}, status, headers)
