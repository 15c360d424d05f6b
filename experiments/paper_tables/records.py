"""What is known of the runs of a table: `result.json` of each work directory; and weights that one takes of another."""

import json
import math
import shutil
from collections.abc import Iterable, Mapping
from typing import Any

from paper_tables.plan import PASSING, Job
from pretrained_start import FILE as PRETRAINED

from jaxret.files import storage_errors, write_atomically
from jaxret.runs.config import changed_keys, with_later_keys
from jaxret.runs.workdir import FREE, has_checkpoints

STATES = ('finished', 'failed', 'not possible', 'stopped')


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
                and {'seed', 'commit', 'dirty', 'hardware', 'versions'} <= record.keys()
            )
        )
        same = not changed_keys(
            with_later_keys(record['config']), job.config_of(seed), free=(*PASSING, 'data_dir', job.start_key)
        )  # folders may have moved
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return {}
    return record if known and same else {}


def write_record(job: Job, seed: int, record: Mapping[str, Any]) -> None:
    """Stores what is known of a run."""
    write_atomically(job.workdir(seed) / 'result.json', json.dumps(dict(record), indent=2) + '\n')


def is_finished(record: Mapping[str, Any]) -> bool:
    """Whether a record is of a run that need not be run again."""
    return record.get('state') == 'finished'


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
        if (
            same_training(other, job, seed)
            and is_finished(read_record(other, seed))
            and has_checkpoints(other.workdir(seed))
        ):
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


def same_training(one: Job, other: Job, seed: int) -> bool:
    """Whether two jobs differ, but in their evaluation alone."""
    return one.key != other.key and not changed_keys(one.config_of(seed), other.config_of(seed), free=FREE)
