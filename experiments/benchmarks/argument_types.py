"""Types of the benchmarks' arguments: a wrong one ends the process with status 2 before anything is measured."""

import argparse
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any


def at_least(least: int, kind: type = int) -> Callable[[str], Any]:
    """A number that is not below `least`."""

    def number(text: str) -> Any:
        value = kind(text)
        if not value >= least:  # nor is nan
            raise argparse.ArgumentTypeError(f'{text}: must be at least {least}')
        return value

    number.__name__ = kind.__name__  # as argparse calls it where the text is no number
    return number


positive = at_least(1)


def output_file(text: str) -> Path:
    """A file to write, in a folder that exists."""
    path = Path(text)
    try:
        if path.is_dir() or not path.parent.is_dir():
            raise argparse.ArgumentTypeError(f'{text}: must be a file in a folder that exists')
        check_writable(path)
    except OSError as error:
        raise argparse.ArgumentTypeError(f'{text}: cannot be written ({error.strerror})') from None
    return path


def check_writable(path: Path) -> None:
    """Raises OSError where a file cannot be written; changes none, and leaves none behind."""
    new = not os.path.lexists(path)
    path.open('a').close()
    if new:
        path.unlink()
