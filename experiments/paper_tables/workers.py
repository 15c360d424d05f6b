"""Processes that run the commands of a table, a core each, and are replaced where a run fails or memory runs short."""

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jaxret.files import storage_errors
from jaxret.workers import default_processes

WORKER = Path(__file__).with_name('worker.py')
_MEMORY_SHARE = 0.5  # of its part of the machine's memory, beyond which a process is replaced


@dataclass(frozen=True)
class Ended:
    """A run that came to its end: its key, exit status (-N for signal N) and processor time, 0 where not known."""

    key: Any
    status: int
    processor_seconds: float


class Worker:
    """A process of `worker.py`.

    It has a session of its own, so that an interruption (Ctrl-C, SIGTERM) of this command does not reach it as well.

    Args:
      core: that it keeps to, with all its threads; None for all.
    """

    def __init__(self, core: int | None):
        self.key: Any = None
        self.process = subprocess.Popen(
            [sys.executable, str(WORKER)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,  # of its last moments; what runs print goes to their logs
            env={**os.environ, 'PYTHONUNBUFFERED': '1'} | ({} if core is None else {'OMP_NUM_THREADS': '1'}),
            start_new_session=True,
        )
        if core is not None:
            with contextlib.suppress(ProcessLookupError):
                os.sched_setaffinity(self.process.pid, {core})

    def start(self, key: Any, arguments: Sequence[str], log: Path) -> None:
        """Begins a run."""
        self.key = key
        with contextlib.suppress(BrokenPipeError):  # `end` says what became of the process
            self.process.stdin.write(json.dumps({'arguments': list(arguments), 'log': str(log)}).encode() + b'\n')
            self.process.stdin.flush()

    def end(self) -> Mapping[str, Any]:
        """What the process answered; {'status'} where it died, with status -N for signal N."""
        try:
            return json.loads(self.process.stdout.readline())
        except ValueError:
            return {'status': self.process.wait() or 1}

    def close(self) -> None:
        """Ends the process, whatever it does."""
        for stream in (self.process.stdin, self.process.stdout):
            with contextlib.suppress(OSError):
                stream.close()
        try:
            self.process.wait(0.5)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


class Workers:
    """At most so many runs at a time. A context manager, which ends the processes.

    Args:
      count: of processes. With more than one each keeps to a core of its own; a single one has all of them.
    """

    def __init__(self, count: int):
        cores = sorted(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else []
        self._cores = {place: cores[place % len(cores)] if cores and count > 1 else None for place in range(count)}
        self._workers: dict[int, Worker] = {}
        self._busy: set[int] = set()
        self._most = _MEMORY_SHARE * os.sysconf('SC_PHYS_PAGES') * os.sysconf('SC_PAGE_SIZE') / count

    def __enter__(self) -> 'Workers':
        return self

    def __exit__(self, *_: object) -> None:
        for worker in self._workers.values():
            worker.close()

    @property
    def free(self) -> bool:
        """Whether another run can start."""
        return len(self._busy) < len(self._cores)

    @property
    def running(self) -> int:
        """How many runs are under way."""
        return len(self._busy)

    def start(self, key: Any, arguments: Sequence[str], log: Path) -> None:
        """Begins a run of run.py.

        Args:
          key: by which `next` names it.
          arguments: of run.py.
          log: what it prints is added to this file.

        Raises:
          StorageError: the log cannot be written.
        """
        with storage_errors(log):
            log.open('a').close()
        place = min(set(self._cores) - self._busy, key=lambda place: place not in self._workers)
        if place not in self._workers:
            self._workers[place] = Worker(self._cores[place])
        self._workers[place].start(key, arguments, log)
        self._busy.add(place)

    def next(self) -> Ended:
        """Waits for a run to end. What interrupts the waiting leaves the runs under way."""
        streams = {self._workers[place].process.stdout: place for place in self._busy}
        place = streams[select.select(list(streams), [], [])[0][0]]
        worker = self._workers[place]
        answer = worker.end()
        self._busy.remove(place)
        if answer['status'] or answer.get('memory', 0) > self._most:  # the next run gets a process without a past
            worker.close()
            del self._workers[place]
        return Ended(worker.key, answer['status'], answer.get('processor_seconds', 0.0))

    def interrupt(self, number: int = signal.SIGTERM) -> None:
        """Asks the runs under way to save and end, by a signal; `next` tells when they have.

        A train loop answers SIGTERM by saving. SIGINT, which may be ignored in the background, ends a loop at once that
        was asked to before.
        """
        for place in self._busy:
            self._workers[place].process.send_signal(number)


def default_count(devices: str) -> int:
    """A process a core, as far as runs are computed there.

    Args:
      devices: of `machine.machine`, such as '1 x cpu'.
    """
    return default_processes() if devices.endswith('cpu') else 1
