"""The line that says how far the runs of a table are, and how long they will still take."""

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn, TimeElapsedColumn
from rich.text import Text


class _TimeLeft(ProgressColumn):
    """From the mean time of the finished runs."""

    def render(self, task: Task) -> Text:
        if task.fields['finish'] is None:
            return Text('? left')
        seconds = max(0, round(task.fields['finish'] - time.monotonic()))
        return Text(f'{seconds // 3600}:{seconds // 60 % 60:02}:{seconds % 60:02} left')


@contextlib.contextmanager
def progress(records: Sequence[Mapping[str, Any]]) -> Iterator[Callable[[str, Mapping[str, Any] | None], None]]:
    """The line on standard error.

    Args:
      records: of all runs, as they are before the first.

    Yields:
      What is to be called with the title of a run and None before it, and with a line to print and its record after it.
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
        task = bar.add_task('', total=len(records), completed=len(times), finish=None)

        def show(text: str, record: Mapping[str, Any] | None) -> None:
            if record is None:
                left = len(records) - bar.tasks[0].completed
                finish = time.monotonic() + left * sum(times) / len(times) if times else None
                bar.update(task, description=text, finish=finish)
                return
            if record.get('state') == 'finished':
                times.append(record['wall_seconds'])
            bar.advance(task)
            bar.console.print(text, soft_wrap=True)

        yield show
