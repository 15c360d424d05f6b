"""Runs the jobs of a table by run.py, several at a time in processes of their own; what is finished stays so."""

import json
import re
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from machine import machine, source
from paper_tables.plan import Job
from paper_tables.progress import Shown, progress
from paper_tables.records import is_finished, read_record, same_training, take_weights, write_record
from paper_tables.workers import Ended, Workers, default_count

from jaxret.files import storage_errors
from jaxret.reports.tables import duration

ERROR_LINES = 20  # kept of an error that has more
# Exit statuses of runs that were asked to end, the last before they could answer.
STOPPED = (0, 128 + signal.SIGINT, 128 + signal.SIGTERM, -signal.SIGTERM)

COMPARATORS = 'comparators'  # key of metrics.json


def run_jobs(
    jobs: Mapping[str, Job],
    seeds: Sequence[int],
    *,
    metrics: Mapping[str, Sequence[str]],
    processes: int = 0,
    after: Callable[[], None] = lambda: None,
) -> None:
    """Runs every job that is not finished once a seed, seed by seed, so that early results compare all rows.

    Args:
      jobs: {row name: job}.
      seeds: of the runs.
      metrics: {row name: keys that metrics.json must have}.
      processes: runs at a time, each on a core of its own; 1: one, on all cores; 0: one a core, or one where the
        devices are not CPUs.
      after: called after every run.

    Raises:
      KeyboardInterrupt: stopped, after the runs under way have saved and ended.
      StorageError: a folder cannot be written.
    """
    rows: dict[str, list[str]] = {}
    for name, job in jobs.items():
        rows.setdefault(job.key, []).append(name)
    pairs = dict.fromkeys((jobs[names[0]].seed(seed), names[0]) for seed in seeds for names in rows.values())
    order = [(seed, jobs[name], rows[jobs[name].key]) for seed, name in pairs]
    records = [read_record(job, seed) for seed, job, _ in order]
    todo = [
        Run(job, seed, names[0], tuple(key for name in names for key in metrics[name]), record)
        for (seed, job, names), record in zip(order, records, strict=True)
        if not is_finished(record)
    ]
    if not todo:
        return
    environment = machine() | source()  # the processes have the code of their start
    count = min(processes or default_count(environment['hardware']['devices']), len(todo))
    with Workers(count) as workers, progress(records, count) as show:
        _Schedule(todo, list(jobs.values()), environment, workers, show, after).run()


@dataclass(frozen=True, eq=False)
class Run:
    """A job with a seed, which is to be run.

    Attributes:
      job: it is of.
      seed: likewise.
      name: of its first row.
      needed: keys that metrics.json must have.
      before: what is known of earlier attempts.
    """

    job: Job
    seed: int
    name: str
    needed: tuple[str, ...]
    before: Mapping[str, Any]

    @property
    def title(self) -> str:
        """Of messages."""
        return f'{self.name}, seed {self.seed}'


@dataclass
class _Schedule:
    """Hands the runs out to workers in order; those that others must come before wait for these."""

    todo: list[Run]
    jobs: Sequence[Job]
    environment: Mapping[str, Any]
    workers: Workers
    show: Shown
    after: Callable[[], None]
    under_way: dict[Run, '_Attempt'] = field(default_factory=dict)
    impossible: dict[str, dict] = field(default_factory=dict)

    def run(self) -> None:
        """All of them. Raises KeyboardInterrupt as `run_jobs` says."""
        interrupted = None
        while self.todo or self.workers.running:
            try:
                if not interrupted:
                    self._start_free()
                if self.workers.running:
                    self._end(self.workers.next())
            except KeyboardInterrupt as stop:
                self.workers.interrupt(signal.SIGINT if interrupted else signal.SIGTERM)
                interrupted = interrupted or stop
            if interrupted and not self.workers.running:
                raise interrupted

    def _start_free(self) -> None:
        """Starts what can be started; what need not be tried is recorded at once."""
        while self.workers.free and (run := next(filter(self._ready, self.todo), None)):
            self.todo.remove(run)
            known = _known_before(run.job, run.seed, self.impossible)
            if known:
                write_record(run.job, run.seed, known)
                self._told(run, known)
                continue
            take_weights(self.jobs, run.job, run.seed)
            self.under_way[run] = attempt = _Attempt(run, self.environment)
            self.show.begin(run.title)
            self.workers.start(run, run.job.command(run.seed), attempt.log)

    def _ready(self, run: Run) -> bool:
        """Whether neither the run that it starts from, nor one whose weights it can take, is still to come."""
        pending = {(other.job.key, other.seed) for other in (*self.todo, *self.under_way) if other is not run}
        if run.job.start and (run.job.start.key, run.job.start.seed(run.seed)) in pending:
            return False
        return not any(
            other.seed == run.seed and same_training(other.job, run.job, run.seed) for other in self.under_way
        )

    def _end(self, ended: Ended) -> None:
        run = ended.key
        record = self.under_way.pop(run).record(ended)
        write_record(run.job, run.seed, record)
        if record['state'] == 'not possible':
            self.impossible[run.job.key] = record
        self._told(run, record)

    def _told(self, run: Run, record: Mapping[str, Any]) -> None:
        reason = f': {record["error"].splitlines()[0]}' if record.get('error') else ''
        seconds = f'{duration(record["wall_seconds"])}; {run.job.workdir(run.seed)}'
        self.show.end(run.title, f'{run.title}: {record["state"]}{reason} ({seconds})', record)
        self.after()


def _known_before(job: Job, seed: int, impossible: Mapping[str, Mapping[str, Any]]) -> dict[str, Any] | None:
    """The record of a run that need not be tried; None for one that must be."""
    if job.key in impossible:
        cause = impossible[job.key]
    elif job.start and not is_finished(read_record(job.start, seed)):
        cause = {'state': 'failed', 'error': f'starts from {job.start.workdir(seed)}, which is not finished'}
    else:
        return None
    facts = {'seed': seed, 'config': job.config_of(seed), 'command': job.command(seed)}
    return {**cause, **facts, 'wall_seconds': 0.0, 'processor_seconds': 0.0}


class _Attempt:
    """A run under way: what is known of it, and where it writes."""

    def __init__(self, run: Run, environment: Mapping[str, Any]):
        self._run, folder = run, run.job.workdir(run.seed)
        self.log, self._results = folder / 'log.txt', folder / 'metrics.json'
        with storage_errors(folder):
            folder.mkdir(parents=True, exist_ok=True)
            self._results.unlink(missing_ok=True)  # of an evaluation whose record was lost: only a new one counts
            self._start = self.log.stat().st_size if self.log.exists() else 0
        self._facts = {
            'seed': run.seed,
            'config': run.job.config_of(run.seed),
            'command': run.job.command(run.seed),
            **environment,
            'started': datetime.now(UTC).isoformat(timespec='seconds'),
        }
        self._clock = time.monotonic()

    def record(self, ended: Ended) -> dict[str, Any]:
        """The record of the run, once it has ended."""
        run, status, metrics = self._run, ended.status, _read_metrics(self._results)
        missing = [key for key in run.needed if key not in metrics]
        if metrics and not missing and status == 0:
            found = {'state': 'finished', 'metrics': metrics}
        elif status in STOPPED:
            lacks = {'state': 'failed', 'error': f'metrics.json has no {", ".join(missing)}'}
            found = lacks if metrics and missing else {'state': 'stopped'}
        else:
            found = _failure(_error(self.log, self._start, status), run.job)
        seconds = {  # of all attempts
            'wall_seconds': time.monotonic() - self._clock + run.before.get('wall_seconds', 0.0),
            'processor_seconds': ended.processor_seconds + run.before.get('processor_seconds', 0.0),
        }
        return self._facts | found | {name: round(value, 1) for name, value in seconds.items()}


def _failure(error: str, job: Job) -> dict[str, str]:
    """What an error of run.py makes of a run: 'not possible' where it refuses a value that the row itself sets."""
    refused = re.match(r'config\.([\w.]+): ', error)
    return {'state': 'not possible' if refused and refused[1] in job.own_keys else 'failed', 'error': error}


def _read_metrics(path: Path) -> dict[str, Any]:
    """The numbers of metrics.json (not its tables), and `comparators`, those that nobody trained; {} without them."""
    try:
        stored = json.loads(path.read_text())
        compared = stored.get(COMPARATORS)
        others = {name: _numbers(own) for name, own in compared.items()} if isinstance(compared, dict) else None
        return _numbers(stored) | ({} if others is None else {COMPARATORS: others})
    except (OSError, ValueError, AttributeError):
        return {}


def _numbers(stored: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in stored.items() if not isinstance(value, dict | list)}


def _error(log: Path, start: int, status: int) -> str:
    """What run.py said last: from its last 'error: ' on, else the last line."""
    text = log.read_bytes()[start:].decode(errors='replace').rstrip()
    messages = list(re.finditer(r'^error: ', text, re.MULTILINE))
    lines = text[messages[-1].end() :].splitlines() if messages else text.splitlines()[-1:]
    if status < 0:
        lines = [f'ended by {signal.Signals(-status).name}', *lines]
    return '\n'.join(lines[:ERROR_LINES]) or f'ended with status {status}'
