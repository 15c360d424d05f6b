"""Runs the jobs of a table one after the other, each by run.py in a process of its own; what is finished stays so."""

import json
import math
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from machine import machine, source
from paper_tables.plan import PASSING, Job
from paper_tables.progress import progress
from pretrained_start import FILE as PRETRAINED

from jaxret.files import storage_errors, write_atomically
from jaxret.reports.tables import duration
from jaxret.runs.config import changed_keys
from jaxret.runs.workdir import FREE, has_checkpoints

RUN = Path(__file__).parents[1] / 'run.py'
STATES = ('finished', 'failed', 'not possible', 'stopped')
ERROR_LINES = 20  # kept of an error that has more

COMPARATORS = 'comparators'  # key of metrics.json


def run_jobs(
    jobs: Mapping[str, Job],
    seeds: int,
    *,
    metrics: Mapping[str, Sequence[str]],
    after: Callable[[], None] = lambda: None,
) -> None:
    """Runs every job that is not finished once a seed, seed by seed, so that early results compare all rows.

    Args:
      jobs: {row name: job}.
      seeds: 0 .. seeds - 1.
      metrics: {row name: keys that metrics.json must have}.
      after: called after every run.

    Raises:
      KeyboardInterrupt: stopped, after the run under way has saved and ended.
      StorageError: a folder cannot be written.
    """
    rows: dict[str, list[str]] = {}
    for name, job in jobs.items():
        rows.setdefault(job.key, []).append(name)
    order = [(seed, jobs[names[0]], names) for seed in range(seeds) for names in rows.values()]
    records = [read_record(job, seed) for seed, job, _ in order]
    todo = [(*one, record) for one, record in zip(order, records, strict=True) if not _finished(record)]
    if not todo:
        return
    impossible: dict[str, dict] = {}
    environment = machine()
    with progress(records) as show:
        for seed, job, names, before in todo:
            title = f'{names[0]}, seed {seed}'
            show(title, None)
            record = _known_before(job, seed, impossible)
            if record is None:
                take_weights(jobs.values(), job, seed)
                needed = [key for name in names for key in metrics[name]]
                record = _run(job, seed, needed=needed, environment=environment, before=before)
            else:
                write_record(job, seed, record)
            if record['state'] == 'not possible':
                impossible[job.key] = record
            reason = f': {record["error"].splitlines()[0]}' if record.get('error') else ''
            seconds = f'{duration(record["wall_seconds"])}; {job.workdir(seed)}'
            show(f'{title}: {record["state"]}{reason} ({seconds})', record)
            after()


def _finished(record: Mapping[str, Any]) -> bool:
    return record.get('state') == 'finished'


def _known_before(job: Job, seed: int, impossible: Mapping[str, Mapping[str, Any]]) -> dict[str, Any] | None:
    """The record of a run that need not be tried; None for one that must be."""
    if job.key in impossible:
        cause = impossible[job.key]
    elif job.start and not _finished(read_record(job.start, seed)):
        cause = {'state': 'failed', 'error': f'starts from {job.start.workdir(seed)}, which is not finished'}
    else:
        return None
    return {**cause, 'seed': seed, 'config': job.config_of(seed), 'wall_seconds': 0.0}


def read_record(job: Job, seed: int) -> dict[str, Any]:
    """What is known of a run, `result.json`; {} where it is missing, damaged or of another config.

    A run whose record is lost is not trained again: run.py finds its checkpoints and only evaluates.
    """
    try:
        record = json.loads((job.workdir(seed) / 'result.json').read_text())
        known = (
            record['state'] in STATES
            and math.isfinite(record['wall_seconds'])
            and (
                record['state'] != 'finished'
                or isinstance(record['metrics'], dict)
                and {'commit', 'dirty', 'hardware', 'versions'} <= record.keys()
            )
        )
        same = not changed_keys(
            record['config'], job.config_of(seed), free=(*PASSING, 'data_dir', job.start_key)
        )  # folders may have moved
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return {}
    return record if known and same else {}


def take_weights(jobs: Iterable[Job], job: Job, seed: int) -> None:
    """Copies the training of a finished run that differs in its evaluation alone; run.py then only evaluates.

    Args:
      jobs: among which to look.
      job: whose work directory gets checkpoints, split and history, if it has no checkpoint.
      seed: of both.

    Raises:
      StorageError: the folder cannot be written.
    """
    folder = job.workdir(seed)
    if has_checkpoints(folder):
        return
    for other in jobs:
        same = other.key != job.key and not changed_keys(other.config_of(seed), job.config_of(seed), free=FREE)
        if same and read_record(other, seed).get('state') == 'finished' and has_checkpoints(other.workdir(seed)):
            with storage_errors(folder):
                folder.mkdir(parents=True, exist_ok=True)
                shutil.rmtree(folder / 'taken', ignore_errors=True)
                for name in ('split.json', 'metrics.jsonl', PRETRAINED):
                    (folder / name).unlink(missing_ok=True)
                    if (other.workdir(seed) / name).exists():
                        shutil.copyfile(other.workdir(seed) / name, folder / name)
                shutil.copytree(other.workdir(seed) / 'checkpoints', folder / 'taken')
                shutil.rmtree(folder / 'checkpoints', ignore_errors=True)
                (folder / 'taken').rename(folder / 'checkpoints')
            return


def write_record(job: Job, seed: int, record: Mapping[str, Any]) -> None:
    """Stores what is known of a run."""
    write_atomically(job.workdir(seed) / 'result.json', json.dumps(dict(record), indent=2) + '\n')


def _run(
    job: Job, seed: int, *, needed: Sequence[str], environment: Mapping[str, Any], before: Mapping[str, Any]
) -> dict[str, Any]:
    """Runs run.py and stores the record of the run, also where the command is interrupted, which then goes on."""
    folder = job.workdir(seed)
    log, results = folder / 'log.txt', folder / 'metrics.json'
    with storage_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        results.unlink(missing_ok=True)  # of an evaluation whose record was lost: only a new one says "finished"
        start = log.stat().st_size if log.exists() else 0
    record = {
        'seed': seed,
        'config': job.config_of(seed),
        'command': job.command(seed),
        **source(),
        **environment,
        'started': datetime.now(UTC).isoformat(timespec='seconds'),
    }
    clock, interrupted, status = time.monotonic(), None, None
    try:
        status = run_command([sys.executable, str(RUN), *job.command(seed)], log)
    except KeyboardInterrupt as stop:
        interrupted = stop
    seconds = time.monotonic() - clock + before.get('wall_seconds', 0.0)  # of all attempts
    metrics = _read_metrics(results)
    missing = [key for key in needed if key not in metrics]
    if metrics and not missing and status in (0, None):
        record |= {'state': 'finished', 'metrics': metrics}
    elif status in (None, 0, 128 + signal.SIGINT, 128 + signal.SIGTERM):
        lacks = {'state': 'failed', 'error': f'metrics.json has no {", ".join(missing)}'}
        record |= lacks if metrics and missing else {'state': 'stopped'}
    else:
        record |= _failure(_error(log, start, status), job)
    record['wall_seconds'] = round(seconds, 1)
    write_record(job, seed, record)
    if interrupted:
        raise interrupted
    return record


def _failure(error: str, job: Job) -> dict[str, str]:
    """What an error of run.py makes of a run: 'not possible' where it refuses a value that the row itself sets."""
    refused = re.match(r'config\.([\w.]+): ', error)
    return {'state': 'not possible' if refused and refused[1] in job.own_keys else 'failed', 'error': error}


def run_command(command: Sequence[str], log: Path) -> int:
    """Runs a command to its end, its output added to a file; returns its exit status, -N for signal N.

    It has a session of its own, so that an interruption (Ctrl-C, SIGTERM) reaches it once: as SIGTERM, which a train
    loop answers by saving (SIGINT may be ignored in the background). Its end is waited for. A further Ctrl-C is passed
    on as it is, which ends a train loop at once.

    Raises:
      KeyboardInterrupt: interrupted, after the command has ended.
    """
    interrupted = None
    with storage_errors(log):
        file = log.open('a')
    with (
        file,
        subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
            env={**os.environ, 'PYTHONUNBUFFERED': '1'},
            start_new_session=True,
        ) as process,
    ):
        while True:
            try:
                status = process.wait()
                break
            except KeyboardInterrupt as stop:
                process.send_signal(signal.SIGINT if interrupted else signal.SIGTERM)
                interrupted = interrupted or stop
    if interrupted:
        raise interrupted
    return status


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
