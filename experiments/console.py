"""What a run prints: a banner at its start, a table of metrics at its end."""

from collections.abc import Mapping
from importlib.metadata import version

from rich.console import Console
from rich.table import Table

console = Console(markup=False, emoji=False)  # paths may look like markup
if not console.is_terminal:  # a log file has no width of its own
    console = Console(width=120, markup=False, emoji=False)


def print_banner(title: str, rows: Mapping[str, str]) -> None:
    """Prints what is about to run, one line a row."""
    table = Table(show_header=False, title=f'jaxret {version("jaxret")}: {title}')
    for name, value in rows.items():
        table.add_row(name, value)
    console.print(table)
