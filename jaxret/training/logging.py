"""Metrics on disk (one JSON line a log step) and a progress bar."""

import json
import os
from collections.abc import Mapping
from pathlib import Path

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from jaxret.errors import StorageError


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
        try:
            with self.path.open('a') as file:
                file.write(json.dumps({'step': step, **metrics}) + '\n')
        except OSError as error:
            raise StorageError(f'{self.path}: cannot be written ({error}); free some space, then run the same command '
                               f'again') from error


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


def write_atomically(path: Path, text: str) -> None:
    """Replaces a file in one step, so that a reader or a killed run never sees half of it.

    Raises:
      StorageError: it cannot be written.
    """
    temporary = path.with_name(path.name + '.part')
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_text(text)
        os.replace(temporary, path)
    except OSError as error:
        raise StorageError(f'{path}: cannot be written ({error.strerror or error}); free some space or name another '
                           f'folder') from error


def training_progress() -> Progress:
    """A progress bar with loss, examples a second and time left."""
    return Progress(TextColumn('{task.description}'), BarColumn(), MofNCompleteColumn(),
                    TextColumn('loss {task.fields[loss]:.3f}'), TextColumn('{task.fields[rate]:.0f} photos/s'),
                    TimeElapsedColumn(), TextColumn('left'), TimeRemainingColumn())
