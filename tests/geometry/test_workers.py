"""Parallel processes: one bad item costs only itself. `eval` stands for a function that can do anything."""

import subprocess
import sys
import time

import pytest

from jaxret.errors import DataError
from jaxret.geometry.workers import map_files

CRASH = "__import__('os').abort()"
EXIT = "__import__('os')._exit(3)"
HANG = "__import__('time').sleep(600)"


def only_here(item):
    return item


def test_crash_exit_hang_and_exception_become_errors():
    items = ['1 + 1', CRASH, '2 + 2', HANG, EXIT, '1 / 0', '[3] * 300_000', 'print("noise")']
    results = dict(map_files(eval, items, processes=2, timeout=2.0))
    assert sorted(results) == list(range(8))
    assert results[0] == 2 and results[2] == 4 and results[6] == [3] * 300_000 and results[7] is None
    for index, message in ((1, 'SIGABRT'), (3, 'no result after 2 seconds'), (4, 'code 3'), (5, 'ZeroDivisionError')):
        assert isinstance(results[index], DataError)
        assert message in str(results[index]) and results[index].problems[0].where == items[index]


def test_one_process_runs_here():
    assert list(map_files(only_here, ['a', 'b'], processes=1)) == [(0, 'a'), (1, 'b')]
    (failed,) = map_files(eval, ['1 / 0'], processes=4)
    assert failed[0] == 0 and isinstance(failed[1], DataError)
    assert list(map_files(eval, [])) == []


def test_function_that_the_processes_cannot_import():
    with pytest.raises(RuntimeError, match='could not start'):
        list(map_files(only_here, ['a', 'b'], processes=2))


def test_leaving_early_ends_the_processes():
    results = map_files(eval, ['__import__("os").getpid()', HANG, HANG], processes=2, timeout=60)
    index, process = next(results)
    assert index == 0
    start = time.monotonic()
    results.close()
    assert time.monotonic() - start < 5
    assert subprocess.run(['kill', '-0', str(process)], capture_output=True).returncode != 0


def test_script_without_a_main_guard():
    code = (
        'from jaxret.geometry.workers import map_files\n'
        "print(sorted(map_files(eval, ['1', '2', \"'jax' in __import__('sys').modules\"], processes=2)))"
    )
    done = subprocess.run([sys.executable, '-'], input=code, capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == '[(0, 1), (1, 2), (2, False)]', done.stderr


def test_wrong_number_of_processes():
    with pytest.raises(ValueError, match='processes'):
        list(map_files(eval, ['1'], processes=0))
