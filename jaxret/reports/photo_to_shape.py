"""The report of photos to shapes: accuracies by category, a contact sheet, an unseen gallery."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Unpack

from matplotlib.figure import Figure

from jaxret.reports.contact_sheet import QueryCard, draw_contact_sheet, page_cards, sections_of
from jaxret.reports.curves import draw_categories, draw_curves
from jaxret.reports.page import Facts, report_folder, write_page
from jaxret.reports.tables import accuracy_names, category_table, other_measures, tiles, unseen_table, untrained_table


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
    metrics: Mapping,
    history: Sequence[Mapping],
    queries: Sequence[QueryCard],
    planes: Figure | None = None,
    unseen: UnseenGallery | None = None,
    **facts: Unpack[Facts],
) -> Path:
    """Writes index.html, contact_sheet.png, curves.png, categories.png and the thumbnails into `folder`.

    With `planes` also category_planes.png, with `unseen` unseen_sheet.png.

    Args:
      folder: made if it is missing; the pictures of an earlier report in it are replaced.
      metrics: result of `retrieval_metrics` (and `add_shape_metrics`).
      history: lines of metrics.jsonl ({'step': .., 'loss': .., 'val_top1': ..}); may be empty.
      queries: the cards to choose from, or, if they name their `section`, to show as they are. With many queries choose
        with `select_queries` first and build only those cards.
      planes: of `draw_category_planes`.
      unseen: what the same queries found in a gallery that the run never saw.
      **facts: title, config, skipped, notes and provenance.

    Returns:
      The path of index.html.

    Raises:
      StorageError: the folder cannot be written.
    """
    folder, title = Path(folder), facts['title']
    sections, unseen_sections = sections_of(queries), sections_of(unseen.cards) if unseen else {}
    names = accuracy_names(metrics)
    chance = metrics.get('top1_chance')
    pictures = {
        'contact_sheet': draw_contact_sheet(sections, title=title),
        'curves': draw_curves(history, reference={} if chance is None else {'Top-1 chance (test)': chance}),
        'categories': draw_categories(metrics, names),
        'category_planes': planes,
        'unseen_sheet': draw_contact_sheet(unseen_sections, title=f'{title}: unseen gallery'),
    }
    values = {
        'tiles': tiles(metrics, names),
        'measures': other_measures(metrics),
        'names': list(names.values()),
        'table': category_table(metrics, names),
        'has_prior': metrics.get('top1_prior') is not None,
        'has_shape': 'hausdorff' in metrics,
        'untrained': untrained_table(metrics, names),
        'unseen': unseen,
        'unseen_rows': unseen_table(unseen.metrics) if unseen else [],
    }
    with report_folder(folder) as thumbnails:
        sheets = [page_cards(sections, thumbnails), page_cards(unseen_sections, thumbnails)]
        return write_page(
            folder, 'photo_to_shape.html', pictures=pictures, real='photos', sheets=sheets, values=values, **facts
        )
