"""The report of scan-to-CAD retrieval: tables of every split, pictures of scans and answers, t-SNE of both domains."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from jaxret.files import storage_errors
from jaxret.reports.contact_sheet import empty_thumbnails
from jaxret.reports.curves import draw_curves
from jaxret.reports.embedding_plots import draw_embedding
from jaxret.reports.page import save_picture, write_page
from jaxret.reports.scan_cards import ScanCard, draw_scan_sheet, store_cards
from jaxret.reports.tables import accuracy, percent

RATES = {
    'category_top1': 'Category of the nearest CAD', 'exact_top1': 'Own model, among the CADs of its category',
    'instance_top1': 'Nearest of the pool is a ranked one',
    'instance_top1_filtered': 'The same, pools with 3 ranked CADs',
    'ranking_quality': 'Exact order of the pool', 'ranking_quality_filtered': 'The same, pools with 3 ranked CADs',
    'ranking_overlap': 'Overlap with the ranked CADs of the pool',
    'ranking_overlap_filtered': 'The same, pools with 3 ranked CADs'}  # fmt: skip
HEADLINES = ('category_top1', 'exact_top1', 'instance_top1', 'ranking_quality')


def write_scan_report(
    folder: Path,
    *,
    title: str,
    splits: Mapping[str, Mapping],
    embeddings: Mapping[str, np.ndarray],
    labels: np.ndarray,
    category_names: Sequence[str],
    cards: Mapping[str, Sequence[ScanCard]],
    config: Mapping,
    history: Sequence[Mapping],
    skipped: Sequence[str],
    notes: Sequence[str],
    provenance: Mapping,
) -> Path:
    """Writes index.html, scans.png, its figures and its thumbnails into `folder`.

    Args:
      folder: made if it is missing; the pictures of an earlier report in it are replaced.
      title: heading of the page.
      splits: {heading: result of `scan_cad_metrics`}; the first one is also shown in tiles and by category.
      embeddings: {'scan': [N, D], 'CAD': [N, D]} for the t-SNE, row by row of one model.
      labels: [N] category ids of those.
      category_names: name of every id.
      cards: {heading: cards}.
      config, history, skipped, notes, provenance: as in `jaxret.reports.photo_to_shape.write_report`.

    Returns:
      The path of index.html.

    Raises:
      StorageError: the folder cannot be written.
    """
    folder = Path(folder)
    main = next(iter(splits.values()))
    headlines = {key: title for key, title in RATES.items() if key in HEADLINES and main.get(key) is not None}
    figures = {'embedding': draw_embedding(embeddings, labels, category_names), 'curves': draw_curves(history)}
    with storage_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        empty_thumbnails(folder / 'images')
        for name, figure in {**figures, 'scans': draw_scan_sheet(cards, title=title)}.items():
            save_picture(figure, folder / f'{name}.png')
        every = [card for group in cards.values() for card in group]
        return write_page(
            folder,
            'scan_to_cad.html',
            title=title,
            config=config,
            skipped=skipped,
            notes=notes,
            provenance=provenance,
            real='scans',
            questions=max((len(card.stages) for card in every), default=0),
            answers=max((len(card.results) for card in every), default=0),
            tiles=[{'title': text, **accuracy(main, key)} for key, text in headlines.items()],
            splits={heading: rate_rows(metrics) for heading, metrics in splits.items()},
            measures=_measures(splits),
            has_pools='annotations' in main,
            class_columns=list(headlines.values()),
            classes=[
                {'name': name, 'scans': row['scans'], 'annotations': row.get('annotations'),
                 'accuracies': [_accuracy(row, key) for key in headlines]}
                for name, row in main['per_category'].items()
            ],
            sections=store_cards(folder / 'images', cards),
            figures=[name for name, figure in figures.items() if figure is not None],
        )  # fmt: skip


def rate_rows(metrics: Mapping) -> list[dict]:
    """Rows of the table of one split: texts, and fractions to draw, of the rates that were measured."""
    return [
        {
            'title': title,
            'count': metrics[count_key(key)],
            **accuracy(metrics, key),
            'macro': percent(metrics[f'{key}_macro']),
            'macro_chance': percent(metrics[f'{key}_macro_chance']),
        }
        for key, title in RATES.items()
        if metrics.get(key) is not None
    ]


def count_key(rate: str) -> str:
    """Key of the number of items that a rate is over."""
    if rate in ('category_top1', 'exact_top1'):
        return 'scans'
    return 'annotations_filtered' if rate.endswith('_filtered') else 'annotations'


def _accuracy(row: Mapping, key: str) -> dict:
    """As `accuracy`; dashes where nothing counts."""
    return accuracy(row, key) if row[key] is not None else accuracy({key: float('nan')}, key)


def _measures(splits: Mapping[str, Mapping]) -> list[tuple[str, str]]:
    measures = [('CADs in the gallery, of all categories', str(next(iter(splits.values()))['gallery']))]
    for heading, metrics in splits.items():
        k = metrics.get('domain_confusion_neighbors')
        if k is None:  # annotations of several splits together
            continue
        for suffix, items in (('', 'scans and CADs'), ('_scans', 'scans'), ('_cads', 'CADs')):
            measures.append((
                f'{heading}: neighbours of {items} that are of the other domain ({k} nearest); expected if mixed',
                f'{percent(metrics[f"domain_confusion{suffix}"])}; '
                f'{percent(metrics[f"domain_confusion{suffix}_expected"])}'))  # fmt: skip
        if metrics.get('annotations_without_ranked'):
            measures.append((f'{heading}: annotations without a ranked CAD, left out',
                             str(metrics['annotations_without_ranked'])))  # fmt: skip
    return measures
