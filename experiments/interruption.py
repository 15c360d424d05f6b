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


def says_errors(main: Callable[[list[str]], int]) -> Callable[[list[str]], int]:
    """A command that says in one line what is wrong (status 1), or that Ctrl-C (130) or SIGTERM (143) ended it."""

    @functools.wraps(main)
    def said(arguments: list[str]) -> int:
        try:
            with terminated_as_interrupted():
                return main(arguments)
        except (JaxretError, argparse.ArgumentError) as error:
            print(f'error: {error}', file=sys.stderr)
            return 1
        except KeyboardInterrupt as stop:
            terminated = isinstance(stop, Terminated)
            print(f'{"terminated" if terminated else "interrupted"}; the same command goes on', file=sys.stderr)
            return 128 + (signal.SIGTERM if terminated else signal.SIGINT)

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
