"""Connections that wait for nobody for ever: what uvicorn has no setting for."""

import asyncio
import resource
import time
from dataclasses import replace
from typing import Any

import h11
from fastapi.responses import JSONResponse
from uvicorn.protocols.http.h11_impl import STATUS_PHRASES, H11Protocol

from jaxret.serving.limits import Limits

_OTHER_FILES = 128  # that the process has open beside those of connections
_EACH = 3  # descriptors that a connection may take: its own, its body's or its model's file, a second one of that


class BoundedConnection(H11Protocol):
    """uvicorn's connection, which is closed where a header or the rest of a refused body takes too long to arrive, or
    an answer is not taken; beyond a number of connections, the one that has waited longest for a request makes room.

    Args:
      limits: the bounds.
    """

    def __init__(self, *arguments: Any, limits: Limits, **options: Any):
        super().__init__(*arguments, **options)
        self._limits = limits
        self._idle_since = time.monotonic()
        self._late: asyncio.TimerHandle | None = None
        self._stalled: asyncio.TimerHandle | None = None

    @property
    def _waits(self) -> bool:
        """Whether no answer is owed."""
        return self.conn.our_state in (h11.IDLE, h11.DONE)

    def connection_made(self, transport: asyncio.Transport) -> None:
        """Called by the event loop."""
        super().connection_made(transport)
        open_ones = [other for other in self.connections if not other.transport.is_closing()]
        if len(open_ones) > self._limits.connections:
            idle = [other for other in open_ones if other is not self and other._waits]
            if not idle:
                self._refuse(503, 'the server has too many connections; try again in a moment')
                return
            min(idle, key=lambda other: other._idle_since).transport.abort()
        self._late = self.loop.call_later(self._limits.header_seconds, self._give_up)

    def connection_lost(self, exc: Exception | None) -> None:
        """Called by the event loop."""
        super().connection_lost(exc)
        self._end_timers()

    def data_received(self, data: bytes) -> None:
        """Called by the event loop."""
        super().data_received(data)
        self._watch()

    def on_response_complete(self) -> None:
        """Called by the cycle of a request."""
        super().on_response_complete()
        self._idle_since = time.monotonic()
        self._watch()

    def pause_writing(self) -> None:
        """Called by the event loop when what it shall send piles up."""
        super().pause_writing()
        self._stalled = self.loop.call_later(self._limits.stalled_seconds, self.transport.abort)

    def resume_writing(self) -> None:
        """Called by the event loop when most of that is sent."""
        super().resume_writing()
        if self._stalled is not None:
            self._stalled.cancel()
            self._stalled = None

    def send_400_response(self, msg: str) -> None:
        """Called for what is not HTTP."""
        self._refuse(400, msg)

    def _watch(self) -> None:
        """Has the time run in which a header, or the rest of a body that nobody reads, must arrive."""
        if not self._waits or self.transport.is_closing():
            if self._late is not None:
                self._late.cancel()
                self._late = None
        elif self._late is None and (self.conn.trailing_data[0] or self.conn.their_state is h11.SEND_BODY):
            self._late = self.loop.call_later(self._limits.header_seconds, self._give_up)

    def _give_up(self) -> None:
        if self.conn.our_state is h11.IDLE and self.conn.trailing_data[0]:
            self._refuse(408, f'the header took over {self._limits.header_seconds:g} s')
        else:
            self.transport.abort()

    def _refuse(self, status: int, text: str) -> None:
        """Answers without the application, as it would, unless it has begun to; and closes."""
        if self.conn.our_state not in (h11.IDLE, h11.SEND_RESPONSE):
            self.transport.close()
            return
        answer = JSONResponse({'message': text}, status, {'Connection': 'close'})
        start = h11.Response(status_code=status, headers=answer.raw_headers, reason=STATUS_PHRASES[status])
        for event in (start, h11.Data(data=answer.body), h11.EndOfMessage()):
            self.transport.write(self.conn.send(event))
        self.transport.close()

    def _end_timers(self) -> None:
        for timer in (self._late, self._stalled):
            if timer is not None:
                timer.cancel()


def within_descriptors(limits: Limits) -> Limits:
    """The limits, with fewer connections where this process may not open files for all; it raises its own limit first.

    Args:
      limits: of the server.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _EACH * limits.connections + _OTHER_FILES
    if soft != resource.RLIM_INFINITY and soft < wanted:
        wanted = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    return replace(limits, connections=max(2, (wanted - _OTHER_FILES) // _EACH))
