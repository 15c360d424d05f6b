"""The table of scores that a run prints, and what was found for every photo."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from console import console
from predictions import Ranking
from rich.table import Table

from data_pipelines.domain_adaptation.prepare import PhotoTable
from jaxret.metrics.average_precision import normalized_rows
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


def photo_rankings(
    queries: np.ndarray, shapes: np.ndarray, photos: PhotoTable, names: Sequence[str], labels: np.ndarray
) -> list[Ranking]:
    """What was found for every photo [Q, D] among the shapes [G, D] with their names and labels, by cosine."""
    truths = [photos.categories[label] for label in photos.label.tolist()]
    cosines = normalized_rows('photos', queries) @ normalized_rows('shapes', shapes).T
    return [Ranking('test photos', photos.names, truths, names, cosines, photos.label, labels)]
