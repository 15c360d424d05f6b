"""The report of retrieval between modalities: tables, curves, t-SNE, and Top-10 sheets of every direction."""

from collections.abc import Callable, Mapping, Sequence
from itertools import product
from pathlib import Path

import numpy as np

from jaxret.files import storage_errors
from jaxret.metrics.average_precision import average_precision, cosine_steps, normalized_rows
from jaxret.reports.contact_sheet import empty_thumbnails, store_thumbnail
from jaxret.reports.curves import draw_curves
from jaxret.reports.embedding_plots import draw_embedding, draw_precision_recall
from jaxret.reports.page import save_picture, write_page
from jaxret.reports.tables import accuracy, percent

ANSWERS, DRAWN = 10, 4  # answers to a query, and queries that all directions share


def write_cross_modal_report(
    folder: Path,
    *,
    title: str,
    metrics: Mapping,
    embeddings: Mapping[str, np.ndarray],
    labels: np.ndarray,
    class_names: Sequence[str],
    names: Sequence[str],
    view_of: Callable[[int], np.ndarray],
    config: Mapping,
    history: Sequence[Mapping],
    skipped: Sequence[str],
    notes: Sequence[str],
    provenance: Mapping,
) -> Path:
    """Writes index.html, its figures and its thumbnails into `folder`.

    Args:
      folder: made if it is missing; the pictures of an earlier report in it are replaced.
      title: heading of the page.
      metrics: result of `cross_modal_metrics`.
      embeddings: {modality: [N, D]}, as given to that.
      labels: [N] class ids.
      class_names: name of every class id.
      names: [N] names of the objects.
      view_of: object -> uint8 [S, S], the picture by which it is shown.
      config, history, skipped, notes, provenance: as in `jaxret.reports.photo_to_shape.write_report`.

    Returns:
      The path of index.html.

    Raises:
      StorageError: the folder cannot be written.
    """
    folder, labels = Path(folder), np.asarray(labels)
    figures = {
        'precision_recall': draw_precision_recall(metrics),
        'embedding': draw_embedding(embeddings, labels, class_names),
        'curves': draw_curves(history),
    }
    with storage_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        empty_thumbnails(folder / 'images')
        for name, figure in figures.items():
            save_picture(figure, folder / f'{name}.png')
        thumbnails: dict[int, str] = {}

        def item(row: int) -> dict[str, str]:
            if row not in thumbnails:
                thumbnails[row] = store_thumbnail(folder / 'images', view_of(row), 'view')
            return {'picture': thumbnails[row], 'name': names[row], 'category': class_names[labels[row]]}

        sheets = ranked_sheets(embeddings, labels)
        return write_page(
            folder,
            'cross_modal.html',
            title=title,
            config=config,
            skipped=skipped,
            notes=notes,
            provenance=provenance,
            real='objects',
            questions=1,
            answers=max((len(rows) for sheet in sheets.values() for _, rows in sheet), default=0),
            tiles=_tiles(metrics),
            directions=direction_table(metrics, list(embeddings)),
            measures=_measures(metrics),
            class_columns=[
                (f'{q[0].upper()}\u2192{g[0].upper()}', f'{q} \u2192 {g}') for q, g in product(embeddings, repeat=2)
            ],
            classes=_class_table(metrics, list(embeddings)),
            figures=[name for name, figure in figures.items() if figure is not None],
            drawn=min(DRAWN, len(labels)),
            sheets={
                f'{query} \u2192 {gallery}': [
                    {
                        'query': item(row),
                        'there': int(np.count_nonzero(labels == labels[row])) - (query == gallery),
                        'results': [item(found) | {'is_true': bool(labels[found] == labels[row])} for found in rows],
                    }
                    for row, rows in sheet
                ]
                for (query, gallery), sheet in sheets.items()
            },
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
    order = np.random.default_rng(seed).permutation(len(labels))
    first = {int(c): place for place, c in reversed(list(enumerate(labels[order])))}  # place of each class's first
    single = np.bincount(labels)[labels[order]] == 1
    repeated = [first[int(c)] != place for place, c in enumerate(labels[order])]
    drawn = order[np.lexsort((single, repeated))[:count]]
    unit = {name: normalized_rows(name, x) for name, x in embeddings.items()}
    sheets = {}
    for query, gallery in product(unit, repeat=2):
        values = average_precision(unit[query], unit[gallery], labels, labels, exclude_self=query == gallery).values
        lowest = [
            row for row in np.argsort(np.where(np.isnan(values), np.inf, values), kind='stable') if row not in drawn
        ][:worst]
        sheet = []
        for row in (*drawn, *lowest):
            steps = cosine_steps(unit[query][row : row + 1], unit[gallery])[0]
            ranked = np.lexsort((labels == labels[row], -steps))
            sheet.append((int(row), ranked[ranked != row][:ANSWERS] if query == gallery else ranked[:ANSWERS]))
        sheets[query, gallery] = sheet
    return sheets


def direction_table(metrics: Mapping, modalities: Sequence[str]) -> list[dict]:
    """Rows of the nine-direction table and their mean: texts, and fractions to draw."""
    rows = [
        _direction_row(metrics, f'{query} \u2192 {gallery}', f'map_{query}_{gallery}')
        for query, gallery in product(modalities, repeat=2)
    ]
    return [*rows, _direction_row(metrics, 'mean of all directions', 'mean_map') | {'kind': 'total'}]


def _direction_row(metrics: Mapping, title: str, key: str) -> dict:
    alone, first = f'{key}_excluding_self', metrics.get(f'{key}_chance_self_first')
    differs = key == 'mean_map' or f'{key}_chance_self_first' in metrics  # between modalities there is no itself
    return {
        'title': title,
        'kind': 'direction',
        **_accuracy(metrics, key),
        'macro': percent(metrics.get(f'{key}_macro')),
        'alone': _accuracy(metrics, alone) if differs else None,
        'self_first': percent(first),
    }


def _accuracy(metrics: Mapping, key: str) -> dict:
    """As `accuracy`; dashes where no query counts."""
    return accuracy(metrics, key) if metrics.get(key) is not None else accuracy({key: float('nan')}, key)


def _tiles(metrics: Mapping) -> list[dict]:
    names = {'mean_map': 'Mean mAP', 'mean_map_excluding_self': 'Mean mAP without the query itself'}
    return [{'title': title, **_accuracy(metrics, key)} for key, title in names.items()]


def _measures(metrics: Mapping) -> list[tuple[str, str]]:
    measures = [
        ('Objects, each a query and a gallery item in every modality', str(metrics['queries'])),
        (
            f'Domain mixing: {metrics["domain_mixing_neighbors"]} nearest neighbours that are of another modality',
            percent(metrics['domain_mixing']),
        ),
        ('Domain mixing expected of modalities that cannot be told apart', percent(metrics['domain_mixing_expected'])),
    ]
    alone = metrics['queries_without_relevant_excluding_self']
    if alone:
        measures.append(('Objects alone in their class, left out of "without itself"', str(alone)))
    return measures


def _class_table(metrics: Mapping, modalities: Sequence[str]) -> list[dict]:
    keys = [f'map_{query}_{gallery}' for query, gallery in product(modalities, repeat=2)]
    return [
        {
            'name': name,
            'queries': row['queries'],
            **_accuracy(row, 'mean_map'),
            'alone': percent(row['mean_map_excluding_self']),
            'values': [percent(row[key]) for key in keys],
        }
        for name, row in metrics['per_class'].items()
    ]
