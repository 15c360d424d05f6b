"""Spreads jobs over fresh processes that end with their parent."""

import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import connection, get_context, parent_process
from typing import TypeVar

from jaxret.errors import JaxretError

Job = TypeVar('Job')
Result = TypeVar('Result')


def map_unordered(
    function: Callable[[Job], Result], jobs: Sequence[Job], *, processes: int
) -> Iterator[tuple[int, Result]]:
    """Yields (index, function(job)) as the jobs finish.

    Args:
      function: a module-level function; jobs and results travel between processes.
      jobs: what to do.
      processes: with 1 everything runs here, in order; with more in spawned processes.

    Raises:
      JaxretError: a worker was ended from outside. What `function` raises is raised here.
    """
    if processes == 1:
        for number, job in enumerate(jobs):
            yield number, function(job)
        return
    pool = ProcessPoolExecutor(processes, mp_context=get_context('spawn'), initializer=_start)
    try:
        futures = {pool.submit(function, job): number for number, job in enumerate(jobs)}
        for future in as_completed(futures):
            yield futures[future], future.result()
    except BrokenProcessPool as error:
        raise JaxretError('a worker process was ended from outside (out of memory?); start again') from error
    finally:
        pool.shutdown(cancel_futures=True)


def _start() -> None:
    """A worker leaves Ctrl-C to its parent, and ends when the parent is gone (also by SIGKILL)."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    sentinel = parent_process().sentinel

    def watch() -> None:
        connection.wait([sentinel])
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
