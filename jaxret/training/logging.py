"""Metrics on disk (one JSON line a log step) and a progress bar."""

import json
from collections.abc import Mapping
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from jaxret.files import storage_errors, write_atomically


class MetricsFile:
    """`metrics.jsonl` of a work directory.

    Args:
      path: the file; continued where it exists.
      step: lines of later steps are dropped, since a resumed run writes them again.
    """

    def __init__(self, path: Path, *, step: int):
        self.path = path
        kept = [line for line in read_history(path) if line['step'] <= step]
        write_atomically(path, ''.join(json.dumps(line) + '\n' for line in kept))

    def write(self, step: int, metrics: Mapping[str, float]) -> None:
        """Appends one line: step, then the metrics.

        Raises:
          StorageError: the file cannot be written.
        """
        with storage_errors(self.path), self.path.open('a') as file:
            file.write(json.dumps({'step': step, **metrics}) + '\n')


def read_history(path: Path) -> list[dict[str, float]]:
    """Lines of a `metrics.jsonl`; a last line that a killed run left unfinished is dropped."""
    if not path.exists():
        return []
    history = []
    for line in path.read_text().splitlines():
        try:
            history.append(json.loads(line))
        except json.JSONDecodeError:
            break
    return history


def training_progress(*, quiet: bool = False) -> Progress:
    """A progress bar with what its field `told` says and the time left; `quiet` shows nothing."""
    return Progress(
        TextColumn('{task.description}'),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn('{task.fields[told]}'),
        TimeElapsedColumn(),
        TextColumn('left'),
        TimeRemainingColumn(),
        console=Console(quiet=True) if quiet else None,
    )
