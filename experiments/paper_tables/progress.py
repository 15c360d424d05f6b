"""The line that says how far the runs of a table are, and how long they will still take."""

import contextlib
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
)
from rich.text import Text


class _TimeLeft(ProgressColumn):
    """From the mean time of the finished runs."""

    def render(self, task: Task) -> Text:
        if task.fields['finish'] is None:
            return Text('? left')
        seconds = max(0, round(task.fields['finish'] - time.monotonic()))
        return Text(f'{seconds // 3600}:{seconds // 60 % 60:02}:{seconds % 60:02} left')


class Shown:
    """The line, as what is to be told to it.

    Args:
      bar: it is drawn by.
      task: of the bar.
      times: wall seconds of the runs that are finished.
      processes: runs at a time.
    """

    def __init__(self, bar: Progress, task: TaskID, times: list[float], processes: int):
        self._bar, self._task, self._times, self._processes = bar, task, times, processes
        self._under_way: list[str] = []

    def begin(self, title: str) -> None:
        """A run begins."""
        self._under_way.append(title)
        self._update()

    def end(self, title: str, text: str, record: Mapping[str, Any]) -> None:
        """A run has ended, with a line to print and its record; one that was not tried never began."""
        if title in self._under_way:
            self._under_way.remove(title)
        if record.get('state') == 'finished':
            self._times.append(record['wall_seconds'])
        self._bar.advance(self._task)
        self._bar.console.print(text, soft_wrap=True)
        self._update()

    def _update(self) -> None:
        task, finish = self._bar.tasks[0], None
        if self._times:
            left = (task.total - task.completed) / self._processes
            finish = time.monotonic() + left * sum(self._times) / len(self._times)
        self._bar.update(self._task, description='; '.join(self._under_way), finish=finish)


@contextlib.contextmanager
def progress(records: Sequence[Mapping[str, Any]], processes: int) -> Iterator[Shown]:
    """The line on standard error.

    Args:
      records: of all runs, as they are before the first.
      processes: runs at a time.
    """
    columns = (
        TextColumn('{task.description}', markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn('runs,'),
        TimeElapsedColumn(),
        TextColumn('elapsed,'),
        _TimeLeft(),
    )
    console = Console(stderr=True, markup=False, emoji=False, highlight=False)
    if not console.is_terminal:  # a log file has no width of its own
        console = Console(stderr=True, markup=False, emoji=False, highlight=False, width=120)
    times = [record['wall_seconds'] for record in records if record.get('state') == 'finished']
    with Progress(*columns, console=console) as bar:
        yield Shown(bar, bar.add_task('', total=len(records), completed=len(times), finish=None), times, processes)
