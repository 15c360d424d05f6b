"""The report of a run: one folder with `index.html`, which opens offline, and its pictures as files beside it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from matplotlib.figure import Figure

from jaxret.files import storage_errors
from jaxret.reports.contact_sheet import (
    QueryCard,
    draw_contact_sheet,
    empty_thumbnails,
    sections_of,
    select_queries,
    write_thumbnails,
)
from jaxret.reports.curves import draw_categories, draw_curves
from jaxret.reports.page import save_picture, write_page
from jaxret.reports.tables import accuracy_names, category_table, other_measures, tiles, unseen_table

__all__ = ['QueryCard', 'select_queries', 'write_report']


@dataclass(frozen=True)
class UnseenGallery:
    """What the report shows of an unseen gallery.

    Attributes:
      folder: where its shapes are.
      own: whether each query searches the shapes of its own category alone.
      metrics: of `unseen_metrics`.
      cards: each with a verdict.
    """

    folder: str
    own: bool
    metrics: Mapping
    cards: Sequence[QueryCard]


def write_report(
    folder: Path,
    *,
    title: str,
    metrics: Mapping,
    config: Mapping,
    history: Sequence[Mapping],
    queries: Sequence[QueryCard],
    skipped: Sequence[str],
    notes: Sequence[str],
    provenance: Mapping,
    planes: Figure | None = None,
    unseen: UnseenGallery | None = None,
) -> Path:
    """Writes index.html, contact_sheet.png, curves.png, categories.png and the thumbnails into `folder`.

    With `planes` also category_planes.png, with `unseen` unseen_sheet.png.

    Args:
      folder: made if it is missing; the pictures of an earlier report in it are replaced.
      title: heading of the page.
      metrics: result of `retrieval_metrics` (and `add_shape_metrics`).
      config: of the run; anything that JSON can hold, other values by their text.
      history: lines of metrics.jsonl ({'step': .., 'loss': .., 'val_top1': ..}); may be empty.
      queries: the cards to choose from, or, if they name their `section`, to show as they are. With many queries choose
        with `select_queries` first and build only those cards.
      skipped: one line for each file that was left out.
      notes: one line each, shown near the top.
      provenance: what was run on what: {label: text}. The key 'synthetic' (bool) becomes the line on the data.
      planes: of `draw_category_planes`.
      unseen: what the same queries found in a gallery that the run never saw.

    Returns:
      The path of index.html.

    Raises:
      StorageError: the folder cannot be written.
    """
    folder = Path(folder)
    sections = sections_of(queries)
    names = accuracy_names(metrics)
    reference = {'Top-1 chance (test)': metrics.get('top1_chance')}
    curves = draw_curves(history, reference={name: value for name, value in reference.items() if value is not None})
    categories = draw_categories(metrics, names)
    with storage_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        empty_thumbnails(folder / 'images')
        cards = write_thumbnails(folder / 'images', sections)
        save_picture(draw_contact_sheet(sections, title=title) if sections else None, folder / 'contact_sheet.png')
        save_picture(curves, folder / 'curves.png')
        save_picture(categories, folder / 'categories.png')
        save_picture(planes, folder / 'category_planes.png')
        unseen_sections = sections_of(unseen.cards) if unseen else {}
        save_picture(
            draw_contact_sheet(unseen_sections, title=f'{title}: unseen gallery') if unseen_sections else None,
            folder / 'unseen_sheet.png',
        )
        unseen_cards = write_thumbnails(folder / 'images', unseen_sections)
        return write_page(
            folder,
            'photo_to_shape.html',
            title=title,
            config=config,
            skipped=skipped,
            notes=notes,
            provenance=provenance,
            real='photos',
            questions=3,
            answers=max(
                (len(card.results) for group in (*sections.values(), *unseen_sections.values()) for card in group),
                default=0,
            ),
            tiles=tiles(metrics),
            measures=other_measures(metrics),
            names=names,
            table=category_table(metrics),
            has_prior=metrics.get('top1_prior') is not None,
            has_shape='hausdorff' in metrics,
            sections=cards,
            has_curves=curves is not None,
            has_categories=categories is not None,
            has_planes=planes is not None,
            unseen=unseen
            and {
                'gallery': unseen.metrics['unseen_gallery'],
                'folder': unseen.folder,
                'own': unseen.own,
                'rows': unseen_table(unseen.metrics),
                'sections': unseen_cards,
            },
        )
