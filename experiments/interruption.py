"""How a command ends early: errors in one line, SIGTERM like Ctrl-C, a reader of its output that has seen enough."""

import argparse
import contextlib
import functools
import signal
import sys
from collections.abc import Callable, Iterator

from jaxret.errors import JaxretError


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


def says_errors(main: Callable[[list[str]], int]) -> Callable[[list[str]], int]:
    """A command that says what is wrong, or that it was stopped, in one line, and returns the exit status."""

    @functools.wraps(main)
    def said(arguments: list[str]) -> int:
        try:
            with terminated_as_interrupted():
                return main(arguments)
        except (JaxretError, argparse.ArgumentError) as error:
            print(f'error: {error}', file=sys.stderr)
            return 1
        except KeyboardInterrupt as stop:
            print('stopped; the same command goes on', file=sys.stderr)
            return exit_status(stop)

    return said


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
