"""How a command ends early: SIGTERM that unwinds like Ctrl-C, and a reader of its output that has seen enough."""

import contextlib
import signal
import sys
from collections.abc import Callable, Iterator


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


def run_command(main: Callable[[list[str]], int]) -> int:
    """Runs a command on the arguments of this process; returns its exit status, 141 where nobody reads its output."""
    try:
        status = main(sys.argv[1:])
        sys.stdout.flush()
        return status
    except BrokenPipeError:
        try:
            print(flush=True)
        except BrokenPipeError:  # such as `| head`
            sys.stderr.close()  # Python would complain when it flushes the output at exit
            return 141
        raise  # of another pipe
