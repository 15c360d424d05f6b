"""What all answers of the server have in common: headers, refusals as JSON, and one when it is shut down."""

import asyncio
from http import HTTPStatus

from fastapi.responses import JSONResponse
from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

HEADERS = {
    'Content-Security-Policy': "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; "
    "connect-src 'self'; frame-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'",
    'Cache-Control': 'no-cache',
    'Cross-Origin-Resource-Policy': 'same-origin',
    'Referrer-Policy': 'no-referrer',
    'X-Content-Type-Options': 'nosniff',
}


class Answers:
    """Gives every answer the headers that keep a browser from running or fetching anything from elsewhere.

    A refusal in plain text, as Starlette writes it to a `Range` that it cannot serve, becomes {"message": ...}. A
    request that is cancelled, as uvicorn does at the end of its patience when it shuts down, gets status 503.

    Args:
      app: what answers the requests; a `Content-Security-Policy` that it sets itself stays.
    """

    def __init__(self, app: ASGIApp):
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        started, refusal = False, None

        async def finished(message: Message) -> None:
            nonlocal started, refusal
            if message['type'] == 'http.response.start':
                started = True
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
                if message['status'] >= 400 and headers.get('content-type', '').startswith('text/plain'):
                    refusal = message
                    return
            elif refusal is not None:
                text = message.get('body', b'').decode() or HTTPStatus(refusal['status']).phrase
                answer = JSONResponse({'message': text})
                headers = MutableHeaders(scope=refusal)
                for name in ('content-type', 'content-length'):
                    headers[name] = answer.headers[name]
                await send(refusal)
                message = {'type': 'http.response.body', 'body': answer.body}
            await send(message)

        try:
            await self._app(scope, receive, finished)
        except asyncio.CancelledError:
            if scope['type'] != 'http':
                raise
            if not started:
                text = 'the server shuts down; ask again when it is back'
                await JSONResponse({'message': text}, 503, {'Retry-After': '5'})(scope, receive, finished)
