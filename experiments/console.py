"""What a run prints: a banner at its start, a table of metrics at its end."""

from collections.abc import Mapping
from importlib.metadata import version
from typing import Any

from rich.console import Console
from rich.table import Table

from jaxret.retrieval.report_tables import unseen_table

console = Console(markup=False, emoji=False)  # paths may look like markup
if not console.is_terminal:  # a log file has no width of its own
    console = Console(width=120, markup=False, emoji=False)


def print_banner(title: str, rows: Mapping[str, str]) -> None:
    """Prints what is about to run, one line a row."""
    table = Table(show_header=False, title=f'jaxret {version("jaxret")}: {title}')
    for name, value in rows.items():
        table.add_row(name, value)
    console.print(table)


def print_metrics(metrics: Mapping[str, Any]) -> None:
    """Prints the accuracies of `retrieval_metrics` by category, their means, and what guessing gives."""
    table = Table(title=f'test: {metrics["queries"]} photos against {metrics["gallery"]} shapes')
    for column in ('', 'queries', 'Top-1', '95 % interval', 'Top-10', 'category', 'Hausdorff', 'IoU'):
        table.add_column(column, justify='right' if column else 'left')

    def row(name: str, values: dict[str, Any], suffix: str = '') -> None:
        def show(key: str, digits: int) -> str:
            value = values.get(key + suffix)
            return '' if value is None else f'{value:.{digits}f}'
        interval = '' if values.get(f'top1{suffix}_low') is None else (
            f'{values[f"top1{suffix}_low"]:.3f} - {values[f"top1{suffix}_high"]:.3f}')
        table.add_row(name, str(values.get('queries', '')), show('top1', 3), interval, show('top10', 3),
                      show('category_top1', 3), show('hausdorff', 4), show('iou', 4))

    for name, values in metrics['per_category'].items():
        row(name, values)
    table.add_section()
    row('all queries', metrics)
    row('category mean', {**metrics, 'queries': ''}, '_macro')
    row('chance', {**metrics, 'queries': ''}, '_chance')
    row('prior', {**metrics, 'queries': ''}, '_prior')
    console.print(table)
    if 'unseen_gallery' in metrics:
        _print_unseen(metrics)


def _print_unseen(metrics: Mapping[str, Any]) -> None:
    """Prints how far the best shapes of an unseen gallery are from the true ones, beside random ones."""
    table = Table(title=f'test: {metrics["unseen_queries"]} photos against {metrics["unseen_gallery"]} unseen shapes')
    for column in ('', 'queries', 'shapes', 'Hausdorff', 'chance', 'IoU', 'chance'):
        table.add_column(column, justify='right' if column else 'left')
    for row in unseen_table(metrics):
        if row['kind'] == 'total':
            table.add_section()
        table.add_row(row['name'], *(str(row[key]) for key in (
            'queries', 'gallery', 'hausdorff', 'hausdorff_chance', 'iou', 'iou_chance')))
    console.print(table)
