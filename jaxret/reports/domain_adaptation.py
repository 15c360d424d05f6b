"""The report of photos to shapes across domains: scores in both modes, curves, t-SNE before and after, sheets."""

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Unpack

import numpy as np

from jaxret.metrics.shrec_scores import SCORES, ordered_relevance, per_query_scores, ranked_shapes
from jaxret.reports.cards import Shown, class_card, drawn_rows
from jaxret.reports.curves import draw_curves
from jaxret.reports.domain_plots import draw_domains, draw_pooled_curves
from jaxret.reports.page import Facts, report_folder, write_page
from jaxret.reports.tables import number, tiles

ANSWERS, DRAWN, WORST = 10, 12, 6
TITLES = {
    'nn': ('NN', 'first shape has the class of the photo'),
    'ft': ('FT', 'first tier: recall among the first N shapes'),
    'st': ('ST', 'second tier: recall among the first 2N'),
    'f': ('F', 'F-measure of the first 20'),
    'dcg': ('DCG', 'discounted cumulative gain'),
    'anmrr': ('ANMRR', 'retrieval rank, lower is better'),
    'auc': ('AUC', 'area under the precision-recall curve'),
}
HEADLINES = ('nn', 'ft', 'anmrr')
# What is measured beside a trained system, by name in its metrics.
UNTRAINED = {
    'zero_shot': 'Frozen features, not trained',
    'references': 'Training photos as references, not trained',
    'initial_weights': 'Initial weights, not trained',
}


def write_domain_report(
    folder: Path,
    *,
    metrics: Mapping,
    photos: np.ndarray,
    shapes: np.ndarray,
    before: tuple[str, np.ndarray, np.ndarray] | None,
    photo_labels: np.ndarray,
    shape_labels: np.ndarray,
    class_names: Sequence[str],
    photo_names: Sequence[str],
    shape_names: Sequence[str],
    photo_of: Callable[[int], np.ndarray],
    view_of: Callable[[int], np.ndarray],
    history: Sequence[Mapping],
    **facts: Unpack[Facts],
) -> Path:
    """Writes index.html, its figures and its thumbnails into `folder`.

    Args:
      folder: made if it is missing; the pictures of an earlier report in it are replaced.
      metrics: result of `benchmark_metrics`.
      photos, shapes: [Q, D], [G, D] as given to that.
      before: (name, photos [Q, E], shapes [G, E]) of the embedding to compare with, or None.
      photo_labels, shape_labels: [Q], [G] class ids.
      class_names: name of every class id.
      photo_names, shape_names: [Q], [G].
      photo_of: row -> uint8 [S, S, 3].
      view_of: row -> uint8 [S, S] or [S, S, 3], the picture by which a shape is shown.
      history: lines of metrics.jsonl.
      **facts: title, config, skipped, notes and provenance.

    Returns:
      The path of index.html.

    Raises:
      StorageError: the folder cannot be written.
    """
    folder, photo_labels, shape_labels = Path(folder), np.asarray(photo_labels), np.asarray(shape_labels)
    stages = ({before[0]: before[1:]} if before else {}) | {'after': (photos, shapes)}
    pictures = {
        'embedding': draw_domains(stages, photo_labels, shape_labels, class_names),
        'precision_recall': draw_pooled_curves(metrics),
        'curves': draw_curves(history),
    }
    values = {
        'tiles': tiles(metrics, {name: ': '.join(TITLES[name]) for name in HEADLINES}),
        'scores': [
            {
                'title': TITLES[name][0],
                'meaning': TITLES[name][1],
                'modes': [_table_cells(metrics, prefix + name) for prefix in ('', 'standard_')],
            }
            for name in SCORES
        ],
        'measures': _measures(metrics),
        'score_names': [TITLES[name][0] for name in SCORES],
        'classes': [
            {
                'name': name,
                'queries': row['queries'],
                'relevant': row['relevant'],
                'values': [number(row.get(score), 3) for score in SCORES],
            }
            for name, row in metrics['per_class'].items()
        ],
        'before': before[0] if before else '',
    }
    chosen = sheet_rows(photos, shapes, photo_labels, shape_labels)
    rows = np.concatenate(list(chosen.values()))
    answers = ranked_shapes(photos[rows], shapes, photo_labels[rows], shape_labels, mode='official', count=ANSWERS)
    found = dict(zip(rows.tolist(), answers, strict=True))
    with report_folder(folder) as thumbnails:

        @cache
        def shape(row: int) -> Shown:
            picture = view_of(row)
            kind = 'photo' if picture.ndim == 3 and picture.shape[-1] == 3 else 'view'
            return Shown(thumbnails.store(picture, kind), shape_names[row], class_names[shape_labels[row]])

        def photo(row: int) -> Shown:
            return Shown(thumbnails.store(photo_of(row), 'photo'), photo_names[row], class_names[photo_labels[row]])

        sheet = {
            heading: [
                class_card(
                    photo(row),
                    [shape(g) for g in found[row].tolist()],
                    (shape_labels[found[row]] == photo_labels[row]).tolist(),
                    there=int(np.count_nonzero(shape_labels == photo_labels[row])),
                    nothing='no shape of its class',
                )
                for row in indices.tolist()
            ]
            for heading, indices in chosen.items()
            if len(indices)
        }
        return write_page(
            folder, 'domain_adaptation.html', pictures=pictures, real='photos', sheets=[sheet], values=values, **facts
        )


def sheet_rows(
    photos: np.ndarray,
    shapes: np.ndarray,
    photo_labels: np.ndarray,
    shape_labels: np.ndarray,
    *,
    count: int = DRAWN,
    worst: int = WORST,
    seed: int = 0,
) -> dict[str, np.ndarray]:
    """Which photos the sheets show: some drawn at random, of different classes first, and those of the lowest FT.

    Args:
      photos, shapes: [Q, D], [G, D].
      photo_labels, shape_labels: [Q], [G] class ids.
      count: photos drawn.
      worst: photos of the lowest official first tier; never one that is drawn, or that has no relevant shape.
      seed: of the draw.

    Returns:
      {heading: rows}; rows may be none.
    """
    labels = np.asarray(photo_labels)
    drawn = drawn_rows(labels, count, seed=seed)
    ordered = ordered_relevance(photos, shapes, labels, shape_labels, mode='official')
    tier = per_query_scores(ordered, mode='official', largest=1)['ft']
    tier[drawn] = np.nan
    lowest = np.argsort(tier, kind='stable')[: min(worst, int(np.count_nonzero(~np.isnan(tier))))]
    return {f'{len(drawn)} photos drawn at random': drawn, 'Photos of the lowest first tier': lowest}


def _table_cells(metrics: Mapping, key: str) -> dict[str, str]:
    known = {end: metrics.get(f'{key}_{end}') for end in ('low', 'high', 'macro', 'chance')}
    if metrics.get(key) is None:
        known |= {'low': None, 'high': None}
    texts = {name: number(value, 3) for name, value in known.items()}
    return texts | {'value': number(metrics.get(key), 3), 'interval': f'{texts["low"]}\u2013{texts["high"]}'}


def _measures(metrics: Mapping) -> list[tuple[str, str]]:
    measures = {'Queries (test photos)': str(metrics['queries']), 'Gallery shapes': str(metrics['gallery'])}
    without, prior = metrics['queries_without_relevant'], metrics.get('nn_prior')
    if without:
        measures['Queries whose class the gallery lacks, left out of every score'] = str(without)
    if prior is not None:
        measures['NN of always answering the class most frequent in training'] = number(prior, 3)
    return [*measures.items(), *untrained_scores(metrics)]


def untrained_scores(metrics: Mapping) -> list[tuple[str, str]]:
    """(name, text) of the comparators that nobody trained, where the metrics have any; official mode."""
    return [
        (UNTRAINED[name], ', '.join(f'{TITLES[key][0]} {number(row[key], 3)}' for key in SCORES))
        for name, row in metrics.get('comparators', {}).items()
    ]
