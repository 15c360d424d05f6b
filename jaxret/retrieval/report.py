"""The report of a run: one folder with `index.html`, which opens offline, and its pictures as files beside it."""

import json
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from matplotlib.figure import Figure
from PIL import Image

from jaxret.files import storage_errors
from jaxret.retrieval.contact_sheet import QueryCard, draw_contact_sheet, sections_of, select_queries, write_thumbnails
from jaxret.retrieval.plots import draw_categories, draw_curves
from jaxret.retrieval.report_tables import accuracy_names, category_table, other_measures, tiles

__all__ = ['QueryCard', 'select_queries', 'write_report']


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
) -> Path:
    """Writes index.html, contact_sheet.png, curves.png, categories.png and the thumbnails into `folder`.

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
    synthetic = {True: 'synthetic', False: 'real', None: 'unstated'}[provenance.get('synthetic')]
    with storage_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        cards = write_thumbnails(folder / 'images', sections)
        sheet = draw_contact_sheet(sections, title=title) if sections else None
        _save(sheet, folder / 'contact_sheet.png')
        _save(curves, folder / 'curves.png')
        _save(categories, folder / 'categories.png')
        page = _template().render(
            title=title,
            data=synthetic,
            tiles=tiles(metrics),
            measures=other_measures(metrics),
            names=names,
            table=category_table(metrics),
            has_prior=metrics.get('top1_prior') is not None,
            has_shape='hausdorff' in metrics,
            sections=cards,
            answers=max((len(card.results) for group in sections.values() for card in group), default=0),
            has_curves=curves is not None,
            has_categories=categories is not None,
            config=json.dumps(config, indent=2, sort_keys=True, default=str),
            skipped=[str(line) for line in skipped],
            notes=[str(line) for line in notes],
            provenance={str(key): str(value) for key, value in provenance.items() if key != 'synthetic'},
        )
        path = folder / 'index.html'
        path.write_text(page, encoding='utf-8')
    return path


def _save(picture: Figure | Image.Image | None, path: Path) -> None:
    """Saves a picture; without one, removes that of an earlier report."""
    if picture is None:
        path.unlink(missing_ok=True)
        return
    if isinstance(picture, Image.Image):
        picture.save(path)
        return
    with warnings.catch_warnings():
        warnings.filterwarnings('ignore', message='Glyph')  # a name in a script that the font lacks: boxes are shown
        picture.savefig(path)


def _template():
    loader = FileSystemLoader(Path(__file__).parent)
    environment = Environment(
        loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    return environment.get_template('report.html')
