"""Metrics of scans against CAD models, of every split, the table that a run prints, and what was found."""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
from console import console
from predictions import Ranking
from rich.table import Table
from scan_to_cad.data import ScanData

from data_pipelines.scan_to_cad.dataset import PUBLISHED_COLUMNS
from jaxret.metrics.scan_to_cad import Annotations, pool_metrics, scan_cad_metrics
from jaxret.reports.scan_to_cad import RATES
from jaxret.reports.tables import metric_name


class Found(NamedTuple):
    """What is evaluated: embeddings [Q, D] of the scans of each split and [G, D] of the gallery, and between them
    distances [Q, G] of each split, of which lower is closer.
    """

    scans: Mapping[str, np.ndarray]
    cads: np.ndarray
    distances: Mapping[str, np.ndarray]


def all_metrics(data: ScanData, found: Found) -> dict[str, dict]:
    """Metrics of every split that has scans, and of all annotations together (key 'all')."""
    splits, together = {}, []
    for split, embeddings in found.scans.items():
        table, pools = data.scans[split], data.pools[split]
        if not len(table):
            continue
        annotations = None
        if data.annotated:
            annotations = Annotations(
                found.distances[split][pools.scan[:, None], pools.pool], pools.rank, pools.category, pools.pool_valid
            )
            together.append(annotations)
        splits[split] = scan_cad_metrics(
            embeddings,
            found.cads,
            distances=found.distances[split],
            scan_category=table.category,
            cad_category=data.cads.category,
            category_names=data.dataset.category_names,
            columns=PUBLISHED_COLUMNS,
            true_cad=table.instance,
            annotations=annotations,
        )
    if len(together) > 1:
        parts = (
            np.concatenate(column)
            for column in zip(*((a.distances, a.rank, a.category, a.valid) for a in together), strict=True)
        )
        splits['all'] = pool_metrics(
            Annotations(*parts), category_names=data.dataset.category_names, columns=PUBLISHED_COLUMNS
        )
    return splits


def flat_metrics(splits: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Keys of metrics.json: those of the test split as they are, of the others behind their name ('val_', ...)."""
    return {
        key if split == 'test' else f'{split}_{key}': value
        for split, metrics in splits.items()
        for key, value in metrics.items()
    }


def print_rates(splits: Mapping[str, Mapping[str, Any]]) -> None:
    """Prints every rate, of every split beside its chance level; of test also interval and class mean."""
    test, others = splits['test'], [split for split in splits if split != 'test']
    table = Table(title=f'{test["scans"]} test scans against {test["gallery"]} CADs of all categories')
    chances = [title for split in others for title in (split, 'chance')]
    for column in ('', 'test', '95 %', 'classes', 'chance', *chances):
        table.add_column(column, justify='right' if column else 'left')
    for key in filter(test.__contains__, RATES):
        value, macro, chance = (_three_digits(test[key + suffix]) for suffix in ('', '_macro', '_chance'))
        interval = f'{test[f"{key}_low"]:.2f}-{test[f"{key}_high"]:.2f}' if value else ''
        more = (splits[split].get(name) for split in others for name in (key, f'{key}_chance'))
        table.add_row(metric_name(key), value, interval, macro, chance, *map(_three_digits, more))
    console.print(table)
    console.print(
        f'domain confusion, {test["domain_confusion_neighbors"]} neighbours: '
        f'{test["domain_confusion"]:.3f} (mixed domains: {test["domain_confusion_expected"]:.3f})'
        + ('; all: the annotations of all splits together, those of training scans too' if 'all' in splits else ''),
        soft_wrap=True,
    )


def scan_rankings(data: ScanData, found: Found) -> Iterator[Ranking]:
    """What was found for every scan of every split. Scores are negative distances."""
    for split, distances in found.distances.items():
        table, labels = data.scans[split], np.arange(len(data.cads))
        truths = [data.cads.names[row] if row >= 0 else '' for row in table.instance.tolist()]
        yield Ranking(f'{split} scans', table.names, truths, data.cads.names, -distances, table.instance, labels)


def _three_digits(value: float | None) -> str:
    return '' if value is None else f'{value:.3f}'
