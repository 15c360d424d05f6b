"""What the report of a photo-to-shape run shows: cards of photos with their answers, and the gallery around a photo."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from console import console
from predictions import Ranking
from rich.table import Table

from data_pipelines.photo_to_shape.dataset import PhotoDataset, PhotoEntry
from data_pipelines.photo_to_shape.prepare import GalleryTable, QueryTable
from jaxret.metrics.ranking import positive_ranks, top_k_indices
from jaxret.preprocessing.framing import frame_photo
from jaxret.preprocessing.photo_files import read_pair
from jaxret.reports.attention_planes import QueryPlane
from jaxret.reports.contact_sheet import QueryCard, select_queries
from jaxret.reports.tables import UNTRAINED, unseen_table
from jaxret.systems.base import Variables
from jaxret.systems.cmic import CMIC

ANSWERS = 5
MAX_PLANES = 4


def query_cards(layout: PhotoDataset, scores: np.ndarray, test: QueryTable, gallery: GalleryTable) -> list[QueryCard]:
    """What the report shows of the best, the worst and some random queries, with the original photos."""
    ranks = positive_ranks(scores, test.shape)
    order = top_k_indices(scores, min(ANSWERS, scores.shape[1]), test.shape)
    true_scores = scores[np.arange(len(scores)), test.shape]
    others = np.where(np.arange(scores.shape[1])[None, :] == test.shape[:, None], -np.inf, scores)
    photos = {photo.name: photo for photo in layout.photos}
    front = front_views(gallery)
    cards = []
    for section, chosen in select_queries(ranks, true_scores - others.max(axis=1)).items():
        for query in chosen:
            results = [
                (front[g], short_name(gallery.names[g]), float(scores[query, g]), bool(g == test.shape[query]))
                for g in order[query]
            ]
            true = test.shape[query]
            cards.append(
                QueryCard(
                    **photo_of(photos[test.names[query]]),
                    true_view=front[true],
                    results=results,
                    true_name=short_name(gallery.names[true]),
                    rank=int(ranks[query]),
                    true_score=float(true_scores[query]),
                    section=section,
                )
            )
    return cards


def unseen_cards(
    layout: PhotoDataset,
    queries: np.ndarray,
    test: QueryTable,
    gallery: GalleryTable,
    unseen: GalleryTable,
    *,
    scores: np.ndarray,
    order: np.ndarray,
    distances: Mapping[str, np.ndarray],
) -> list[QueryCard]:
    """The same for a gallery without the true shapes (figure 2 of the paper).

    Args:
      layout: the photos.
      queries: [Q] rows of `test` that were asked.
      test: all test photos.
      gallery: of their true shapes.
      unseen: the gallery that was searched.
      scores: [Q, G].
      order: [Q, K] best answers, -1 where there are fewer.
      distances: {'hausdorff': [Q], 'iou': [Q]} of the first.
    """
    photos = {photo.name: photo for photo in layout.photos}
    views, true_views = front_views(unseen), front_views(gallery)
    nearest_first = np.argsort(-np.nan_to_num(distances['iou'], nan=-1.0), kind='stable').argsort() + 1
    cards = []
    for section, chosen in select_queries(nearest_first, np.zeros(len(queries)), best=4, worst=4, random=16).items():
        for q in chosen:
            true = test.shape[queries[q]]
            results = [(views[g], short_name(unseen.names[g]), float(scores[q, g]), False) for g in order[q] if g >= 0]
            cards.append(
                QueryCard(
                    **photo_of(photos[test.names[queries[q]]]),
                    true_view=true_views[true],
                    results=results,
                    true_name=short_name(gallery.names[true]),
                    rank=0,
                    section=section,
                    verdict=f'Hausdorff {distances["hausdorff"][q]:.4f}, IoU {distances["iou"][q]:.3f}',
                )
            )
    return cards


def query_planes(
    system: CMIC,
    variables: Variables,
    photos: np.ndarray,
    shapes: np.ndarray,
    test: QueryTable,
    gallery: GalleryTable,
    category_names: Sequence[str],
) -> list[QueryPlane]:
    """The gallery around the first test photo of each of the first categories, the same photos in every run.

    Args:
      system: merges the views.
      variables: for that.
      photos: [Q, D], embedded test photos.
      shapes: [G, V, D], embedded gallery.
      test: the photos.
      gallery: the shapes.
      category_names: of the ids.
    """
    planes = []
    for category in np.unique(test.category)[:MAX_PLANES]:
        query = int(np.flatnonzero(test.category == category)[0])
        merged = np.asarray(jax.jit(system.merge)(variables, photos[query : query + 1], shapes))[0]
        planes.append(
            QueryPlane(
                f'{category_names[category]}: {test.names[query]}',
                photos[query],
                merged,
                gallery.category,
                int(test.shape[query]),
            )
        )
    return planes


def photo_of(entry: PhotoEntry) -> dict:
    """A card's fields of a photo."""
    pair = read_pair(entry.image, entry.mask)
    photo, mask = frame_photo(pair.photo, pair.mask, size=160, crop='none', margin=0.0, fit='pad')
    return {'photo': photo, 'mask': mask[..., 0], 'query_name': entry.name}


def front_views(gallery: GalleryTable) -> np.ndarray:
    """A view of every shape, turned a little, which shows more than the front: [G, S, S] or [G, S, S, 3]."""
    views = gallery.views[:, 1 % gallery.views.shape[1]]
    return views[..., 0] if views.shape[-1] == 1 else views


def short_name(model: str) -> str:
    """'bed/IKEA_MALM' of 'model/bed/IKEA_MALM/model.obj'."""
    parts = Path(model).parts
    return '/'.join(parts[1:-1]) if len(parts) > 3 else '/'.join(parts[1:])


def print_metrics(metrics: Mapping[str, Any]) -> None:
    """Prints the accuracies of `retrieval_metrics` by category, their means, and what guessing gives."""
    table = Table(title=f'test: {metrics["queries"]} photos against {metrics["gallery"]} shapes')
    for column in ('', 'queries', 'Top-1', '95 % interval', 'Top-10', 'category', 'Hausdorff', 'IoU'):
        table.add_column(column, justify='right' if column else 'left')

    def row(name: str, values: dict[str, Any], suffix: str = '') -> None:
        def show(key: str, digits: int) -> str:
            value = values.get(key + suffix)
            return '' if value is None else f'{value:.{digits}f}'

        interval = (
            ''
            if values.get(f'top1{suffix}_low') is None
            else (f'{values[f"top1{suffix}_low"]:.3f} - {values[f"top1{suffix}_high"]:.3f}')
        )
        table.add_row(
            name,
            str(values.get('queries', '')),
            show('top1', 3),
            interval,
            show('top10', 3),
            show('category_top1', 3),
            show('hausdorff', 4),
            show('iou', 4),
        )

    for name, values in metrics['per_category'].items():
        row(name, values)
    table.add_section()
    row('all queries', metrics)
    row('category mean', {**metrics, 'queries': ''}, '_macro')
    row('chance', {**metrics, 'queries': ''}, '_chance')
    row('prior', {**metrics, 'queries': ''}, '_prior')
    for name, values in metrics.get('comparators', {}).items():
        row(UNTRAINED[name], values)
    console.print(table)
    if metrics['uses_answer']:
        console.print(f'USES THE ANSWER: {metrics["uses_answer"]}.', style='bold red', soft_wrap=True)
    if 'unseen_gallery' in metrics:
        _print_unseen(metrics)


def _print_unseen(metrics: Mapping[str, Any]) -> None:
    """Prints how far the best shapes of an unseen gallery are from the true ones, beside random ones."""
    table = Table(title=f'test: {metrics["unseen_queries"]} photos against {metrics["unseen_gallery"]} unseen shapes')
    for column in ('', 'queries', 'shapes', 'Hausdorff', 'chance', 'IoU', 'chance'):
        table.add_column(column, justify='right' if column else 'left')
    for row in unseen_table(metrics):
        if row['kind'] == 'total':
            table.add_section()
        table.add_row(
            row['name'],
            *(str(row[key]) for key in ('queries', 'gallery', 'hausdorff', 'hausdorff_chance', 'iou', 'iou_chance')),
        )
    console.print(table)


def photo_rankings(scores: np.ndarray, photos: QueryTable, gallery: GalleryTable) -> list[Ranking]:
    """What was found for every photo, scores [Q, G]."""
    truths, labels = [gallery.names[shape] for shape in photos.shape.tolist()], np.arange(len(gallery.names))
    return [Ranking('test photos', photos.names, truths, gallery.names, scores, photos.shape, labels)]
