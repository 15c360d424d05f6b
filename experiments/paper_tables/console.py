"""Prints the results of a paper's tables: its values beside ours, then its claims."""

from collections.abc import Mapping
from typing import Any

from console import console
from paper_tables.summary import run_seconds
from rich.table import Table

from jaxret.reports.paper_tables import cells
from jaxret.reports.tables import duration

LINES = (('paper', 'paper'), ('mean', 'ours'), ('sd', 'sd'), ('chance', 'chance'))


def print_results(results: Mapping[str, Any]) -> None:
    """Prints every table, a line each for the paper, our mean, its standard deviation over seeds, and chance."""
    for table in results['tables']:
        shown = Table(title=table['title'], caption=results['warning'] or None)
        for column in ('', 'seeds', '', *(metric['title'] for metric in table['metrics'])):
            shown.add_column(column, justify='right' if shown.columns else 'left')
        for row in table['rows']:
            shown.add_section()
            texts = cells(row, table['metrics'])
            count = row['values'][table['metrics'][0]['key']]['n']
            for name, title in LINES:
                first = (row['name'], str(count)) if name == 'paper' else ('', '')
                shown.add_row(*first, title, *(text[name] for text in texts))
        console.print(shown)
    for name, state in {row['name']: row['state'] for table in results['tables'] for row in table['rows']}.items():
        if state != 'finished':
            console.print(f'{name}: {state}', soft_wrap=True)
    for name, row in {row['name']: row for table in results['tables'] for row in table['rows']}.items():
        if row['tuned']:
            console.print('{}: tuned, rate x {:.2g}, epochs x {:.2g}'.format(name, *row['tuned']['factors']))
    for claim in results['claims']:
        console.print(f'- {claim["sentence"]}', soft_wrap=True)
    console.print(time_text(results), soft_wrap=True)


def time_text(results: Mapping[str, Any]) -> str:
    """What it takes to run everything again."""
    runs, first = run_seconds(results)
    before = f' after {duration(first)} of tuning and of runs to start from' if first else ''
    return (
        f'to run all of it again: {duration(sum(runs) + first)} of one processor; {len(runs)} runs of '
        f'{sum(runs) / max(1, len(runs)):.0f} s{before}'
    )
