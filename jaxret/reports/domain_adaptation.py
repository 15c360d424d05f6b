"""The report of photos to shapes across domains: scores in both modes, curves, t-SNE before and after, sheets."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

from jaxret.files import storage_errors
from jaxret.metrics.shrec_scores import SCORES, ordered_relevance, per_query_scores, ranked_shapes
from jaxret.reports.contact_sheet import empty_thumbnails, store_thumbnail
from jaxret.reports.curves import draw_curves
from jaxret.reports.domain_plots import draw_domains, draw_pooled_curves
from jaxret.reports.page import save_picture, write_page
from jaxret.reports.tables import accuracy, number

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


def write_domain_report(
    folder: Path,
    *,
    title: str,
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
      metrics: result of `benchmark_metrics`.
      photos, shapes: [Q, D], [G, D] as given to that.
      before: (name, photos [Q, E], shapes [G, E]) of the embedding to compare with, or None.
      photo_labels, shape_labels: [Q], [G] class ids.
      class_names: name of every class id.
      photo_names, shape_names: [Q], [G].
      photo_of: row -> uint8 [S, S, 3].
      view_of: row -> uint8 [S, S] or [S, S, 3], the picture by which a shape is shown.
      config, history, skipped, notes, provenance: as in `jaxret.reports.photo_to_shape.write_report`.

    Returns:
      The path of index.html.

    Raises:
      StorageError: the folder cannot be written.
    """
    folder, photo_labels, shape_labels = Path(folder), np.asarray(photo_labels), np.asarray(shape_labels)
    stages = ({before[0]: before[1:]} if before else {}) | {'after': (photos, shapes)}
    figures = {
        'embedding': draw_domains(stages, photo_labels, shape_labels, class_names),
        'precision_recall': draw_pooled_curves(metrics),
        'curves': draw_curves(history),
    }
    with storage_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        empty_thumbnails(folder / 'images')
        for name, figure in figures.items():
            save_picture(figure, folder / f'{name}.png')
        thumbnails: dict[int, str] = {}

        def shape(row: int) -> dict[str, str]:
            if row not in thumbnails:
                thumbnails[row] = _thumbnail(folder / 'images', view_of(row))
            return {'picture': thumbnails[row], 'name': shape_names[row], 'category': class_names[shape_labels[row]]}

        def photo(row: int) -> dict[str, str]:
            return {
                'picture': store_thumbnail(folder / 'images', photo_of(row), 'photo'),
                'name': photo_names[row],
                'category': class_names[photo_labels[row]],
            }

        chosen = sheet_rows(photos, shapes, photo_labels, shape_labels)
        rows = np.concatenate(list(chosen.values()))
        answers = ranked_shapes(photos[rows], shapes, photo_labels[rows], shape_labels, mode='official', count=ANSWERS)
        found = dict(zip(rows.tolist(), answers.tolist(), strict=True))
        return write_page(
            folder,
            'domain_adaptation.html',
            title=title,
            config=config,
            skipped=skipped,
            notes=notes,
            provenance=provenance,
            real='photos',
            questions=1,
            answers=answers.shape[1],
            tiles=[
                {'title': f'{TITLES[name][0]}: {TITLES[name][1]}', **_score(metrics, name)}
                for name in ('nn', 'ft', 'anmrr')
            ],
            scores=[
                {
                    'title': TITLES[name][0],
                    'meaning': TITLES[name][1],
                    'modes': [_table_cells(metrics, prefix + name) for prefix in ('', 'standard_')],
                }
                for name in SCORES
            ],
            measures=_measures(metrics),
            score_names=[TITLES[name][0] for name in SCORES],
            classes=[
                {
                    'name': name,
                    'queries': row['queries'],
                    'relevant': row['relevant'],
                    'values': [number(row.get(score), 3) for score in SCORES],
                }
                for name, row in metrics['per_class'].items()
            ],
            figures=[name for name, figure in figures.items() if figure is not None],
            before=before[0] if before else '',
            sheets={
                heading: [
                    {
                        'query': photo(row),
                        'there': int(np.count_nonzero(shape_labels == photo_labels[row])),
                        'results': [
                            shape(g) | {'is_true': bool(shape_labels[g] == photo_labels[row])} for g in found[row]
                        ],
                    }
                    for row in indices.tolist()
                ]
                for heading, indices in chosen.items()
                if len(indices)
            },
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
    order = np.random.default_rng(seed).permutation(len(labels))
    first = {int(c): place for place, c in reversed(list(enumerate(labels[order])))}  # place of each class's first
    drawn = order[sorted(range(len(order)), key=lambda place: first[int(labels[order[place]])] != place)[:count]]
    ordered = ordered_relevance(photos, shapes, labels, shape_labels, mode='official')
    tier = per_query_scores(ordered, mode='official', largest=1)['ft']
    tier[drawn] = np.nan
    lowest = np.argsort(tier, kind='stable')[: min(worst, int(np.count_nonzero(~np.isnan(tier))))]
    return {f'{len(drawn)} photos drawn at random': drawn, 'Photos of the lowest first tier': lowest}


def _thumbnail(folder: Path, picture: np.ndarray) -> str:
    """Grey views as views, coloured ones as photos."""
    return store_thumbnail(folder, picture, 'photo' if picture.ndim == 3 and picture.shape[-1] == 3 else 'view')


def _score(metrics: Mapping, key: str) -> dict:
    """As `accuracy`; dashes where no query counts."""
    return accuracy(metrics, key) if metrics.get(key) is not None else accuracy({key: float('nan')}, key)


def _table_cells(metrics: Mapping, key: str) -> dict[str, str]:
    low, high = (
        number(metrics.get(f'{key}_{end}') if metrics.get(key) is not None else None, 3) for end in ('low', 'high')
    )
    return {
        'value': number(metrics.get(key), 3),
        'interval': f'{low}\u2013{high}',
        'macro': number(metrics.get(f'{key}_macro'), 3),
        'chance': number(metrics.get(f'{key}_chance'), 3),
    }


def _measures(metrics: Mapping) -> list[tuple[str, str]]:
    measures = [('Queries (test photos)', str(metrics['queries'])), ('Gallery shapes', str(metrics['gallery']))]
    if metrics['queries_without_relevant']:
        measures.append(
            ('Queries whose class the gallery lacks, left out of every score', str(metrics['queries_without_relevant']))
        )
    if metrics.get('nn_prior') is not None:
        measures.append(('NN of always answering the class most frequent in training', number(metrics['nn_prior'], 3)))
    return measures
