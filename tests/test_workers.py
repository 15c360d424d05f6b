"""Parallel processes: one bad item costs only itself. `eval` stands for a function that can do anything."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from jaxret.errors import DataError, JaxretError
from jaxret.workers import default_processes, map_parallel, reading_memory

CRASH = "__import__('os').abort()"
EXIT = "__import__('os')._exit(3)"
HANG = "__import__('time').sleep(600)"
FOREIGN = "(_ for _ in ()).throw(type('Local', (Exception,), {})('of no module'))"


def only_here(item):
    return item


def start_script(code):
    script = subprocess.Popen(
        [sys.executable, '-'], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    script.stdin.write(code)
    script.stdin.close()
    script.stdin = None
    return script


def test_crash_exit_hang_and_exception_become_errors():
    items = ['1 + 1', CRASH, '2 + 2', HANG, EXIT, '1 / 0', '[3] * 300_000', 'print("noise")', FOREIGN]
    results = dict(map_parallel(eval, items, processes=2, timeout=2.0))
    assert sorted(results) == list(range(9))
    assert results[0] == 2 and results[2] == 4 and results[6] == [3] * 300_000 and results[7] is None
    messages = {1: 'SIGABRT', 3: 'no result after 2 seconds', 4: 'code 3', 5: 'ZeroDivisionError', 8: 'Local: of no'}
    for index, message in messages.items():
        assert isinstance(results[index], DataError)
        assert message in str(results[index]) and results[index].problems[0].where == items[index]


def test_an_item_gets_no_more_memory_than_it_may():
    items = ['len(bytearray(3 * 2**30))', '1 + 1', 'len(bytearray(10**6))']
    results = dict(map_parallel(eval, items, processes=2, memory=2 * 2**30))
    assert results[1] == 2 and results[2] == 10**6
    assert isinstance(results[0], DataError) and 'MemoryError' in str(results[0])
    assert results[0].problems[0].where == items[0]
    assert reading_memory(10**6) == 4 * 2**30 <= reading_memory(1)


@pytest.mark.parametrize('ordered', [False, True])
def test_order_of_completion_or_of_the_items(tmp_path, ordered):
    waits = f"[None for _ in iter(lambda: __import__('os').path.exists({str(tmp_path / 'made')!r}), True)]"
    items = [waits, '1', '1 / 0', f"open({str(tmp_path / 'made')!r}, 'w').close()"]
    results = list(map_parallel(eval, items, processes=2, ordered=ordered))
    if ordered:
        assert [index for index, _ in results] == [0, 1, 2, 3]
    else:
        assert [index for index, _ in results][:2] == [1, 2]
    results = dict(results)
    assert results[1] == 1 and isinstance(results[2], DataError) and results[3] is None


@pytest.mark.parametrize('processes', [1, 2])
def test_errors_are_raised_where_asked(processes):
    options = {'processes': processes, 'raises': True}
    assert dict(map_parallel(eval, ['3 + 3', '4 + 4'], **options)) == {0: 6, 1: 8}
    for bad, kind in (('open("/nowhere/file")', FileNotFoundError), ('int("file")', ValueError)):
        with pytest.raises(kind, match='file') as caught:
            dict(map_parallel(eval, [bad, '1'], **options))
        assert processes == 1 or '<string>' in caught.value.__notes__[0]  # where it happened in the other process
    if processes == 2:
        with pytest.raises(JaxretError, match='SIGABRT'):
            dict(map_parallel(eval, [CRASH, '1'], **options))


def test_an_item_is_named_by_its_paths():
    (failed,) = map_parallel(int, [(Path('a.jpg'), Path('a.png'), 'y')])
    assert failed[1].problems[0].where == 'a.jpg, a.png'


def test_one_process_and_few_items_run_here():
    assert list(map_parallel(only_here, ['a', 'b'], processes=1)) == [(0, 'a'), (1, 'b')]
    here = "__import__('os').getpid()"
    assert dict(map_parallel(eval, [here, here], processes=2, serial_below=3)) == {0: os.getpid(), 1: os.getpid()}
    (failed,) = map_parallel(eval, ['1 / 0'], processes=4)
    assert failed[0] == 0 and isinstance(failed[1], DataError)
    assert list(map_parallel(eval, [])) == []


def test_function_that_the_processes_cannot_import(monkeypatch):
    monkeypatch.setattr(only_here, '__module__', '__main__')
    monkeypatch.setattr(sys.modules['__main__'], 'only_here', only_here, raising=False)
    with pytest.raises(RuntimeError, match='could not start'):
        list(map_parallel(only_here, ['a', 'b'], processes=2))


def test_leaving_early_ends_the_processes():
    results = map_parallel(eval, ['__import__("os").getpid()', HANG, HANG], processes=2, timeout=60)
    index, process = next(results)
    assert index == 0
    start = time.monotonic()
    results.close()
    assert time.monotonic() - start < 5
    assert subprocess.run(['kill', '-0', str(process)], capture_output=True).returncode != 0


def test_processes_end_with_a_killed_parent():
    script = start_script(
        'from jaxret.workers import map_parallel\n'
        f'for index, _ in map_parallel(eval, ["1", {HANG!r}, {HANG!r}], processes=2):\n'
        '    print(index, flush=True)\n'
    )
    assert script.stdout.readline() == '0\n'
    script.kill()
    script.communicate(timeout=20)  # their standard error is the script's: it closes with the last of them


def test_script_without_a_main_guard():
    script = start_script(
        'from jaxret.workers import map_parallel\n'
        "print(sorted(map_parallel(eval, ['1', '2', \"'jax' in __import__('sys').modules\"], processes=2)))"
    )
    out, err = script.communicate(timeout=60)
    assert out.strip() == '[(0, 1), (1, 2), (2, False)]', err


def test_what_the_processes_import_needs_neither_jax_nor_tensorflow():
    code = (
        'import sys\n'
        'import jaxret.geometry.render, jaxret.geometry.voxels, jaxret.geometry.distances\n'
        'import jaxret.metrics.shape_distances, data_pipelines.file_checks\n'
        'import data_pipelines.photo_to_shape.sample_pix3d\n'
        "heavy = {'jax', 'flax', 'tensorflow', 'tensorflow_datasets', 'matplotlib'}\n"
        "heavy.add('data_pipelines.photo_to_shape.pix3d')\n"
        'sys.exit(sorted(heavy & set(sys.modules)) or None)'
    )
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr


def test_number_of_processes():
    assert 1 <= default_processes() <= os.cpu_count()
    with pytest.raises(ValueError, match='processes'):
        list(map_parallel(eval, ['1'], processes=0))
