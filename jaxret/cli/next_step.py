"""The command to type next, as the last line of what a command prints for people."""

import shlex
from pathlib import Path


def tell_next(*commands: str) -> None:
    """Prints them on one line. Not to be called where the output is JSON or CSV."""
    print(f'next: {"   or   ".join(commands)}')


def quoted(path: Path | str) -> str:
    """A path as a shell takes it."""
    return shlex.quote(str(path))
