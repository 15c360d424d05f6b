"""How commands end whose output nobody reads."""

import io
import os
import sys

import pytest
from interruption import run_command


def says(arguments):
    print('x' * 100_000)
    return 3


def breaks_another(arguments):
    raise BrokenPipeError


def test_a_reader_that_has_seen_enough_ends_a_command_quietly(monkeypatch):
    reader, writer = os.pipe()
    os.close(reader)
    output, errors = os.fdopen(writer, 'w'), io.StringIO()
    with monkeypatch.context() as patched:
        patched.setattr(sys, 'stdout', output)
        patched.setattr(sys, 'stderr', errors)
        assert run_command(says) == 141 and errors.closed
    with pytest.raises(BrokenPipeError):
        output.close()


def test_other_ends_stay(capsys):
    assert run_command(says) == 3
    with pytest.raises(BrokenPipeError):
        run_command(breaks_another)
