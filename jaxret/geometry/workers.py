"""A function applied to many files in separate processes, one bad file costing only itself.

Unlike the standard pools, a process that crashes or hangs takes only its current item with it, and the processes are
fresh interpreters that import the function's module alone: never the caller's script, JAX or TensorFlow.
"""

import contextlib
import os
import pickle
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from multiprocessing import Pipe
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

import jaxret
from jaxret.errors import DataError, Problem

_START = 'import sys; from jaxret.geometry.workers import serve; serve(int(sys.argv[1]))'
_START_SECONDS = 120.0


def map_files(
    function: Callable[[Any], Any],
    files: Sequence[Any],
    *,
    processes: int | None = None,
    timeout: float = 300.0,
    progress: str | None = None,
) -> Iterator[tuple[int, Any | DataError]]:
    """Applies a function to every file, in parallel, in order of completion.

    Args:
      function: of one file; importable by name (or a `functools.partial` of such a function).
      files: paths (or other values that can be pickled).
      processes: how many; None takes one per usable core; 1 runs in this process, without protection from crashes.
      timeout: seconds after which a file is given up and its process ended.
      progress: title of a progress bar on standard error, None for no bar.

    Yields:
      (index into `files`, result), or (index, DataError) where the function failed, crashed or ran out of time.

    Raises:
      RuntimeError: if a process cannot start at all.
    """
    if processes is None:
        processes = len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count() or 1
    if processes < 1:
        raise ValueError(f'processes must be at least 1, not {processes}')
    processes = min(processes, len(files))
    if processes <= 1:
        results = ((index, _attempt(function, file)) for index, file in enumerate(files))
    else:
        results = _run(function, files, processes, timeout)
    with contextlib.closing(results), _bar(progress, len(files)) as advance:
        for result in results:
            advance()
            yield result


def serve(descriptor: int) -> None:
    """What a process does: receive the function, then items until the pipe closes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the parent, which closes the pipe
    connection = Connection(descriptor)
    with contextlib.suppress(EOFError, OSError):
        function = pickle.loads(connection.recv_bytes())  # from our own parent
        connection.send(None)
        while True:
            connection.send(_attempt(function, connection.recv()))


def _attempt(function: Callable[[Any], Any], file: Any) -> Any | DataError:
    try:
        return function(file)
    except DataError as error:
        return error
    except Exception as error:
        return _given_up(file, f'{type(error).__name__}: {error}')


def _given_up(file: Any, found: str) -> DataError:
    return DataError(Problem(str(file), found, 'export the file again, or take it out of the data set'))


class _Worker:
    """One process and the item it works on (`index`; None while it starts or has nothing left to do)."""

    def __init__(self, function: bytes):
        self.connection, theirs = Pipe()
        environment = dict(os.environ, OMP_NUM_THREADS='1', OPENBLAS_NUM_THREADS='1')
        roots = [str(Path(jaxret.__file__).resolve().parents[1]), environment.get('PYTHONPATH')]
        environment['PYTHONPATH'] = os.pathsep.join(filter(None, roots))
        self.process = subprocess.Popen(
            [sys.executable, '-c', _START, str(theirs.fileno())],
            pass_fds=(theirs.fileno(),), env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
        )  # fmt: skip
        theirs.close()
        self.index: int | None = None
        self.deadline: float | None = time.monotonic() + _START_SECONDS
        with contextlib.suppress(OSError):  # if it died at once, `collect` says so
            self.connection.send_bytes(function)

    def start(self, index: int, file: Any, seconds: float) -> None:
        self.index, self.deadline = index, time.monotonic() + seconds
        with contextlib.suppress(OSError):
            self.connection.send(file)

    def rest(self) -> None:
        self.index = self.deadline = None

    def collect(self) -> tuple[Any, str | None]:
        """What the process sent, or what became of it."""
        try:
            return self.connection.recv(), None
        except (EOFError, OSError):
            code = self.process.wait()
            if code < 0:
                return None, f'the process that read it crashed ({signal.Signals(-code).name})'
            return None, f'the process that read it ended with code {code}'

    def stop(self) -> None:
        self.connection.close()
        self.process.kill()
        self.process.wait()


def _run(
    function: Callable[[Any], Any], files: Sequence[Any], processes: int, timeout: float
) -> Iterator[tuple[int, Any | DataError]]:
    payload = pickle.dumps(function)
    queue, done = deque(range(len(files))), 0
    workers: list[_Worker] = []
    try:
        while done < len(files):
            while len(workers) < min(processes, len(files) - done):
                workers.append(_Worker(payload))
            busy = [worker for worker in workers if worker.deadline is not None]
            soonest = min(worker.deadline for worker in busy)
            answered = wait([worker.connection for worker in busy], max(0.0, soonest - time.monotonic()))
            for worker in busy:
                if worker.connection in answered:
                    answer, fault = worker.collect()
                elif time.monotonic() > worker.deadline:
                    answer, fault = None, f'no result after {timeout:g} seconds'
                else:
                    continue
                index = worker.index
                if fault is not None:
                    worker.stop()
                    workers.remove(worker)
                    if index is None:
                        raise RuntimeError(f'a worker process could not start: {fault}; its own message is above')
                    answer = _given_up(files[index], fault)
                elif queue:  # before the caller spends time on this answer
                    following = queue.popleft()
                    worker.start(following, files[following], timeout)
                else:
                    worker.rest()
                if index is not None:
                    done += 1
                    yield index, answer
    finally:
        for worker in workers:
            worker.stop()


@contextlib.contextmanager
def _bar(title: str | None, total: int) -> Iterator[Callable[[], None]]:
    if title is None:
        yield lambda: None
        return
    columns = (TextColumn('{task.description}'), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task(title, total=total)
        yield lambda: bar.advance(task)
