"""The table of scores that a run prints."""

from collections.abc import Mapping
from typing import Any

from console import console
from rich.table import Table

from jaxret.metrics.shrec_scores import SCORES
from jaxret.reports.domain_adaptation import TITLES, untrained_scores


def print_scores(metrics: Mapping[str, Any]) -> None:
    """Prints every score in both modes, with interval, class mean and chance."""
    table = Table(title=f'test: {metrics["queries"]} photos against {metrics["gallery"]} shapes')
    mode = ('95 % interval', 'class mean', 'chance')
    for column in ('', 'official', *mode, 'standard', *mode):
        table.add_column(column, justify='right' if column else 'left')
    for name in SCORES:
        cells = []
        for key in (name, f'standard_{name}'):
            value, low, high, macro, chance = (
                metrics[key + suffix] for suffix in ('', '_low', '_high', '_macro', '_chance')
            )
            shown = ['' if number is None else f'{number:.3f}' for number in (value, macro, chance)]
            cells += [shown[0], '' if value is None else f'{low:.3f} - {high:.3f}', *shown[1:]]
        table.add_row(TITLES[name][0], *cells)
    console.print(table)
    for name, text in untrained_scores(metrics):
        console.print(f'{name}: {text}', soft_wrap=True)
    if metrics['queries_without_relevant']:
        console.print(
            f'{metrics["queries_without_relevant"]} photos have no shape of their class in the gallery; they '
            f'are in no score'
        )
