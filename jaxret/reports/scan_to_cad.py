"""The report of scan-to-CAD retrieval: tables of every split, pictures of scans and answers, t-SNE of both domains."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Unpack

import numpy as np

from jaxret.reports.curves import draw_curves
from jaxret.reports.embedding_plots import draw_embedding
from jaxret.reports.page import Facts, report_folder, write_page
from jaxret.reports.scan_cards import ScanCard, draw_scan_sheet, page_cards
from jaxret.reports.tables import accuracy, percent, tiles

RATES = {
    'category_top1': 'Category of the nearest CAD',
    'exact_top1': 'Own model, among the CADs of its category',
    'instance_top1': 'Nearest of the pool is a ranked one',
    'instance_top1_filtered': 'Nearest of the pool, of pools with 3 ranked CADs',
    'ranking_quality': 'Exact order of the pool',
    'ranking_quality_filtered': 'Exact order, of pools with 3 ranked CADs',
    'ranking_overlap': 'Overlap with the ranked CADs of the pool',
    'ranking_overlap_filtered': 'Overlap, of pools with 3 ranked CADs',
}
HEADLINES = ('category_top1', 'exact_top1', 'instance_top1', 'ranking_quality')


def write_scan_report(
    folder: Path,
    *,
    splits: Mapping[str, Mapping],
    embeddings: Mapping[str, np.ndarray],
    labels: np.ndarray,
    category_names: Sequence[str],
    cards: Mapping[str, Sequence[ScanCard]],
    history: Sequence[Mapping],
    **facts: Unpack[Facts],
) -> Path:
    """Writes index.html, scans.png, its figures and its thumbnails into `folder`.

    Args:
      folder: made if it is missing; the pictures of an earlier report in it are replaced.
      splits: {heading: result of `scan_cad_metrics`}; the first one is also shown in tiles and by category.
      embeddings: {'scan': [N, D], 'CAD': [N, D]} for the t-SNE, row by row of one model.
      labels: [N] category ids of those.
      category_names: name of every id.
      cards: {heading: cards}.
      history: lines of metrics.jsonl.
      **facts: title, config, skipped, notes and provenance.

    Returns:
      The path of index.html.

    Raises:
      StorageError: the folder cannot be written.
    """
    folder = Path(folder)
    main = next(iter(splits.values()))
    headlines = {key: RATES[key] for key in HEADLINES if main.get(key) is not None}
    pictures = {
        'embedding': draw_embedding(embeddings, labels, category_names),
        'curves': draw_curves(history),
        'scans': draw_scan_sheet(cards, title=facts['title']),
    }
    values = {
        'tiles': tiles(main, headlines),
        'splits': {heading: rate_rows(metrics) for heading, metrics in splits.items()},
        'measures': _measures(splits),
        'untrained': 'comparators' in main,
        'has_pools': 'annotations' in main,
        'class_columns': list(headlines.values()),
        'classes': [
            {
                'name': name,
                'scans': row['scans'],
                'annotations': row.get('annotations'),
                'accuracies': [accuracy(row, key) for key in headlines],
            }
            for name, row in main['per_category'].items()
        ],
    }
    with report_folder(folder) as thumbnails:
        sheets = [page_cards(cards, thumbnails)]
        return write_page(
            folder, 'scan_to_cad.html', pictures=pictures, real='scans', sheets=sheets, values=values, **facts
        )


def rate_rows(metrics: Mapping) -> list[dict]:
    """Rows of the table of one split: texts, and fractions to draw, of the rates that were measured.

    Where all pools have 3 ranked CADs, the rates of these alone are left out.
    """
    same = metrics.get('annotations') == metrics.get('annotations_filtered')
    return [
        {
            'title': title,
            'count': metrics[_count_key(key)],
            **accuracy(metrics, key),
            'macro': percent(metrics[f'{key}_macro']),
            'macro_chance': percent(metrics[f'{key}_macro_chance']),
        }
        for key, title in RATES.items()
        if metrics.get(key) is not None and not (same and key.endswith('_filtered'))
    ]


def _count_key(rate: str) -> str:
    """Key of the number of items that a rate is over."""
    if rate in ('category_top1', 'exact_top1'):
        return 'scans'
    return 'annotations_filtered' if rate.endswith('_filtered') else 'annotations'


def _measures(splits: Mapping[str, Mapping]) -> list[tuple[str, str]]:
    measures = [('CADs in the gallery, of all categories', str(next(iter(splits.values()))['gallery']))]
    for heading, metrics in splits.items():
        k = metrics.get('domain_confusion_neighbors')
        if k is None:  # annotations of several splits together
            continue
        for suffix, items in (('', 'scans and CADs'), ('_scans', 'scans'), ('_cads', 'CADs')):
            title = f'{heading}: neighbours of {items} that are of the other domain ({k} nearest); expected if mixed'
            key = f'domain_confusion{suffix}'
            measures.append((title, f'{percent(metrics[key])}; {percent(metrics[f"{key}_expected"])}'))
        without = metrics.get('annotations_without_ranked')
        if without:
            measures.append((f'{heading}: annotations without a ranked CAD, left out', str(without)))
    return measures
