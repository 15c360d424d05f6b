"""A function applied to many items in separate processes, one bad item costing only itself.

Unlike the standard pools, a process that crashes or hangs takes only its current item with it; the processes are fresh
interpreters that import the function's module alone (never the caller's script), and end when their parent does.
"""

import contextlib
import os
import pickle
import queue
import resource
import signal
import subprocess
import sys
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from multiprocessing import Pipe
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.text import Text

from jaxret.errors import DataError, JaxretError, Problem

_START = 'import sys; sys.path[:] = sys.argv[2:]; from jaxret.workers import serve; serve(int(sys.argv[1]))'
_START_SECONDS = 120.0
_serving = False


def default_processes() -> int:
    """Number of cores that this process may use."""
    if hasattr(os, 'process_cpu_count'):  # Python 3.13
        return os.process_cpu_count() or 1
    return len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count() or 1


def reading_memory(processes: int | None = None) -> int:
    """Bytes of address space for each of some processes that read files of users.

    Args:
      processes: how many; None for `default_processes()`.

    Returns:
      4 GiB, or its share of the machine's memory where that is more.
    """
    installed = os.sysconf('SC_PHYS_PAGES') * os.sysconf('SC_PAGE_SIZE')
    return max(4 * 2**30, installed // (processes or default_processes()))


def apart() -> bool:
    """Whether this is a process of `map_parallel`, whose crash costs only its item."""
    return _serving


def map_parallel(
    function: Callable[[Any], Any],
    items: Sequence[Any],
    *,
    processes: int | None = None,
    serial_below: int = 2,
    ordered: bool = False,
    raises: bool = False,
    timeout: float = 300.0,
    memory: int | None = None,
    progress: str | None = None,
) -> Iterator[tuple[int, Any]]:
    """Applies a function to every item, in parallel.

    Args:
      function: of one item; importable by name (or a `functools.partial` of such a function). What its module imports,
        every process imports: for a quick start that is neither JAX nor TensorFlow.
      items: paths, tuples with paths in them, or other values that can be pickled.
      processes: how many; None takes `default_processes()`; 1 runs in this process, without protection from crashes.
      serial_below: fewer items than this run in this process (to start others takes about a second).
      ordered: yield in order of the items, not of completion.
      raises: raise what went wrong with an item, not yield it.
      timeout: seconds after which an item is given up and its process ended.
      memory: bytes of address space that a process may have; None for no limit. An item that needs more fails.
      progress: title of a progress bar on standard error, None for no bar.

    Yields:
      (index into `items`, result), or (index, DataError) where the function failed, crashed or ran out of time.

    Raises:
      RuntimeError: if a process cannot start at all.
    """
    if processes is None:
        processes = default_processes()
    if processes < 1:
        raise ValueError(f'processes must be at least 1, not {processes}')
    if processes == 1 or len(items) < serial_below:
        results = ((index, _attempt(function, item)) for index, item in enumerate(items))
    else:
        limited = function if memory is None else partial(_within_memory, function, memory)
        results = _run(limited, items, min(processes, len(items)), timeout)
    waiting: dict[int, Any] = {}
    following = 0
    with contextlib.closing(results), progress_bar(progress, len(items)) as advance:
        for index, result in results:
            advance()
            if isinstance(result, _Failure):
                if raises:
                    raise result.error
                result = result.as_data_error(items[index])
            if not ordered:
                yield index, result
                continue
            waiting[index] = result
            while following in waiting:
                yield following, waiting.pop(following)
                following += 1


@contextlib.contextmanager
def progress_bar(title: str | None, total: int) -> Iterator[Callable[[], None]]:
    """A progress bar on standard error, as a function to call after each item; no bar without a title or items."""
    if title is None or not total:
        yield lambda: None
        return
    columns = (TextColumn('{task.description}'), BarColumn(), MofNCompleteColumn(), _Rate(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task(title, total=total)
        yield lambda: bar.advance(task)


class _Rate(ProgressColumn):
    """How many items a second."""

    def render(self, task: Task) -> Text:
        rate = task.finished_speed or task.speed
        return Text('' if rate is None else f'{rate:,.0f}/s' if rate >= 100 else f'{rate:.3g}/s')


def serve(descriptor: int) -> None:
    """What a process does: receive the function, then items until the pipe closes, as it also does with the parent."""
    global _serving
    _serving = True
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the parent, which closes the pipe
    connection, received = Connection(descriptor), queue.SimpleQueue()

    def receive() -> None:  # a thread, to see the pipe close while an item is worked on
        with contextlib.suppress(EOFError, OSError):
            while True:
                received.put(connection.recv_bytes())
        os._exit(1)

    threading.Thread(target=receive, daemon=True).start()
    function = pickle.loads(received.get())  # from our own parent
    with contextlib.suppress(BrokenPipeError):
        connection.send(None)
        while True:
            result = _attempt(function, pickle.loads(received.get()))
            connection.send(result.portable() if isinstance(result, _Failure) else result)


@dataclass(frozen=True)
class _Failure:
    """What was raised in place of a result."""

    error: Exception

    def portable(self) -> '_Failure':
        """With its traceback as a note, and as another error if it would not survive the way to the parent."""
        self.error.add_note(''.join(traceback.format_exception(self.error)))
        try:
            pickle.loads(pickle.dumps(self.error))
        except Exception:
            return _Failure(JaxretError(f'{type(self.error).__name__}: {self.error}'))
        return self

    def as_data_error(self, item: Any) -> DataError:
        if isinstance(self.error, DataError):
            return self.error
        if isinstance(self.error, JaxretError):
            return _given_up(item, str(self.error))
        return _given_up(item, f'{type(self.error).__name__}: {self.error}')


def _attempt(function: Callable[[Any], Any], item: Any) -> Any | _Failure:
    try:
        return function(item)
    except Exception as error:
        return _Failure(error)


def _within_memory(function: Callable[[Any], Any], memory: int, item: Any) -> Any:
    """The function's result, in a process whose memory is limited from here on."""
    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    return function(item)


def _given_up(item: Any, found: str) -> DataError:
    paths = [str(part) for part in item if isinstance(part, Path)] if isinstance(item, tuple) else []
    action = 'export the file again or leave it out; where memory is short, use fewer processes'
    return DataError(Problem(', '.join(paths) or str(item), found, action))


class _Worker:
    """One process and the item it works on (`index`; None while it starts or has nothing left to do)."""

    def __init__(self, function: bytes):
        self.connection, theirs = Pipe()
        self.process = subprocess.Popen(
            [sys.executable, '-c', _START, str(theirs.fileno()), *map(str, sys.path)], pass_fds=(theirs.fileno(),),
            env=dict(os.environ, OMP_NUM_THREADS='1', OPENBLAS_NUM_THREADS='1'), stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
        )  # fmt: skip
        theirs.close()
        self.index: int | None = None
        self.deadline: float | None = time.monotonic() + _START_SECONDS
        with contextlib.suppress(OSError):  # if it died at once, `collect` says so
            self.connection.send_bytes(function)

    def start(self, index: int, item: Any, seconds: float) -> None:
        self.index, self.deadline = index, time.monotonic() + seconds
        with contextlib.suppress(OSError):
            self.connection.send(item)

    def rest(self) -> None:
        self.index = self.deadline = None

    def collect(self) -> tuple[Any, str | None]:
        """What the process sent, or what became of it."""
        try:
            return self.connection.recv(), None
        except (EOFError, OSError):
            code = self.process.wait()
            if code < 0:
                return None, f'the process that worked on it crashed ({signal.Signals(-code).name})'
            return None, f'the process that worked on it ended with code {code}'

    def stop(self) -> None:
        self.connection.close()
        self.process.kill()
        self.process.wait()


def _run(
    function: Callable[[Any], Any], items: Sequence[Any], processes: int, timeout: float
) -> Iterator[tuple[int, Any | _Failure]]:
    payload = pickle.dumps(function)
    remaining, done = deque(range(len(items))), 0
    workers: list[_Worker] = []
    try:
        while done < len(items):
            while len(workers) < min(processes, len(items) - done):
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
                    answer = _Failure(_given_up(items[index], fault))
                elif remaining:  # before the caller spends time on this answer
                    following = remaining.popleft()
                    worker.start(following, items[following], timeout)
                else:
                    worker.rest()
                if index is not None:
                    done += 1
                    yield index, answer
    finally:
        for worker in workers:
            worker.stop()
