"""The report of retrieval between modalities: tables, curves, t-SNE, and Top-10 sheets of every direction."""

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from itertools import product
from pathlib import Path
from typing import Unpack

import numpy as np

from jaxret.metrics.average_precision import average_precision, cosine_steps, normalized_rows
from jaxret.reports.cards import Shown, class_card, drawn_rows
from jaxret.reports.curves import draw_curves
from jaxret.reports.embedding_plots import draw_embedding, draw_precision_recall
from jaxret.reports.page import Facts, report_folder, write_page
from jaxret.reports.tables import accuracy, percent, tiles

ANSWERS, DRAWN = 10, 4  # answers to a query, and queries that all directions share
HEADLINES = {'mean_map': 'Mean mAP', 'mean_map_excluding_self': 'Mean mAP without the query itself'}


def write_cross_modal_report(
    folder: Path,
    *,
    metrics: Mapping,
    embeddings: Mapping[str, np.ndarray],
    labels: np.ndarray,
    class_names: Sequence[str],
    names: Sequence[str],
    view_of: Callable[[int], np.ndarray],
    history: Sequence[Mapping],
    **facts: Unpack[Facts],
) -> Path:
    """Writes index.html, its figures and its thumbnails into `folder`.

    Args:
      folder: made if it is missing; the pictures of an earlier report in it are replaced.
      metrics: result of `cross_modal_metrics`.
      embeddings: {modality: [N, D]}, as given to that.
      labels: [N] class ids.
      class_names: name of every class id.
      names: [N] names of the objects.
      view_of: object -> uint8 [S, S], the picture by which it is shown.
      history: lines of metrics.jsonl.
      **facts: title, config, skipped, notes and provenance.

    Returns:
      The path of index.html.

    Raises:
      StorageError: the folder cannot be written.
    """
    folder, labels = Path(folder), np.asarray(labels)
    pairs = list(product(embeddings, repeat=2))
    pictures = {
        'precision_recall': draw_precision_recall(metrics),
        'embedding': draw_embedding(embeddings, labels, class_names),
        'curves': draw_curves(history),
    }
    values = {
        'tiles': tiles(metrics, HEADLINES),
        'directions': direction_table(metrics, pairs),
        'measures': _measures(metrics),
        'class_columns': [(f'{q[0].upper()}\u2192{g[0].upper()}', f'{q} \u2192 {g}') for q, g in pairs],
        'classes': [
            {
                'name': name,
                'queries': row['queries'],
                **accuracy(row, 'mean_map'),
                'alone': percent(row['mean_map_excluding_self']),
                'values': [percent(row[f'map_{query}_{gallery}']) for query, gallery in pairs],
            }
            for name, row in metrics['per_class'].items()
        ],
        'drawn': min(DRAWN, len(labels)),
    }
    with report_folder(folder) as thumbnails:

        @cache
        def item(row: int) -> Shown:
            return Shown(thumbnails.store(view_of(row), 'view'), names[row], class_names[labels[row]])

        sheet = {
            f'{query} \u2192 {gallery}': [
                class_card(
                    item(row),
                    [item(found) for found in rows.tolist()],
                    (labels[rows] == labels[row]).tolist(),
                    there=int(np.count_nonzero(labels == labels[row])) - (query == gallery),
                    nothing='alone in its class',
                )
                for row, rows in queries
            ]
            for (query, gallery), queries in ranked_sheets(embeddings, labels).items()
        }
        return write_page(
            folder, 'cross_modal.html', pictures=pictures, real='objects', sheets=[sheet], values=values, **facts
        )


def ranked_sheets(
    embeddings: Mapping[str, np.ndarray], labels: np.ndarray, *, count: int = DRAWN, worst: int = 2, seed: int = 0
) -> dict[tuple[str, str], list[tuple[int, np.ndarray]]]:
    """Which queries the sheet of each direction shows, and the ten best answers to each, without the query itself.

    The first `count` queries are the same objects in all directions, drawn at random, of different classes as far as
    there are, and rather of classes with several objects; then follow those of the lowest average precision in that
    direction.

    Args:
      embeddings: {modality: [N, D]}.
      labels: [N] class ids.
      count: queries drawn.
      worst: queries of lowest average precision.
      seed: of the draw.

    Returns:
      {(query modality, gallery modality): [(object, its answers, best first)]}; equal cosines as in
      `average_precision`, irrelevant ones first.
    """
    labels = np.asarray(labels)
    drawn = drawn_rows(labels, count, seed=seed, single_last=True)
    unit = {name: normalized_rows(name, x) for name, x in embeddings.items()}
    sheets = {}
    for query, gallery in product(unit, repeat=2):
        values = average_precision(unit[query], unit[gallery], labels, labels, exclude_self=query == gallery).values
        order = np.argsort(np.where(np.isnan(values), np.inf, values), kind='stable')
        sheet = []
        for row in (*drawn, *order[~np.isin(order, drawn)][:worst]):
            steps = cosine_steps(unit[query][row : row + 1], unit[gallery])[0]
            ranked = np.lexsort((labels == labels[row], -steps))
            sheet.append((int(row), ranked[ranked != row][:ANSWERS] if query == gallery else ranked[:ANSWERS]))
        sheets[query, gallery] = sheet
    return sheets


def direction_table(metrics: Mapping, pairs: Sequence[tuple[str, str]]) -> list[dict]:
    """Rows of the table of all directions and their mean: texts, and fractions to draw."""
    keys = {f'{query} \u2192 {gallery}': f'map_{query}_{gallery}' for query, gallery in pairs}
    rows = []
    for title, key in (keys | {'mean of all directions': 'mean_map'}).items():
        first = f'{key}_chance_self_first'
        differs = key == 'mean_map' or first in metrics  # between modalities there is no itself
        rows.append(
            {
                'title': title,
                'kind': 'total' if key == 'mean_map' else 'direction',
                **accuracy(metrics, key),
                'macro': percent(metrics.get(f'{key}_macro')),
                'alone': accuracy(metrics, f'{key}_excluding_self') if differs else None,
                'self_first': percent(metrics.get(first)),
            }
        )
    return rows


def _measures(metrics: Mapping) -> list[tuple[str, str]]:
    mixing = f'Domain mixing: {metrics["domain_mixing_neighbors"]} nearest neighbours that are of another modality'
    measures = {
        'Objects, each a query and a gallery item in every modality': str(metrics['queries']),
        mixing: percent(metrics['domain_mixing']),
        'Domain mixing expected of modalities that cannot be told apart': percent(metrics['domain_mixing_expected']),
    }
    alone = metrics['queries_without_relevant_excluding_self']
    if alone:
        measures['Objects alone in their class, left out of "without itself"'] = str(alone)
    return list(measures.items())
