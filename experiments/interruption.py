"""SIGTERM that unwinds like Ctrl-C, so that what a command leaves unfinished is cleaned up."""

import contextlib
import signal
from collections.abc import Iterator


class Terminated(KeyboardInterrupt):
    """SIGTERM, where nobody waits for it."""


@contextlib.contextmanager
def terminated_as_interrupted() -> Iterator[None]:
    """SIGTERM raises `Terminated` within; a second one does not disturb what that unwinds."""

    def handle(number, frame) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        raise Terminated

    try:
        old = signal.signal(signal.SIGTERM, handle)
    except ValueError:  # not the main thread
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, old)


def exit_status(stop: KeyboardInterrupt) -> int:
    """What a command that was stopped this way ends with: 130 (Ctrl-C) or 143 (SIGTERM)."""
    return 128 + (signal.SIGTERM if isinstance(stop, Terminated) else signal.SIGINT)
