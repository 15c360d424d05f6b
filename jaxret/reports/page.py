"""What all reports share: a folder with pictures as files, and a page made from the templates beside this file."""

import json
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypedDict, Unpack

from matplotlib.figure import Figure
from PIL import Image

from jaxret.errors import StorageError
from jaxret.files import storage_errors
from jaxret.reports.cards import Card, Thumbnails
from jaxret.reports.templates import rendered

_OURS = '<meta name="generator" content="jaxret">'
Picture = Figure | Image.Image


class Facts(TypedDict):
    """What every page says of its run.

    Attributes:
      title: heading of the page.
      config: of the run; anything that JSON can hold, other values by their text.
      skipped: one line for each file that was left out.
      notes: one line each, shown near the top.
      provenance: what was run on what: {label: text}. The key 'synthetic' (bool) becomes the line on the data.
    """

    title: str
    config: Mapping
    skipped: Sequence[str]
    notes: Sequence[str]
    provenance: Mapping


@contextmanager
def report_folder(folder: Path) -> Iterator[Thumbnails]:
    """Makes the folder of a report and gives that of its thumbnails; a StorageError if it cannot be written."""
    with storage_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        yield Thumbnails(folder / 'images')


def check_report_folder(folder: Path) -> None:
    """Refuses a folder that holds what is no report.

    Raises:
      StorageError: not a folder, or neither missing, nor empty, nor a report (index.html of ours, and pictures).
    """
    with storage_errors(folder):
        names = sorted(path.name for path in folder.iterdir()) if folder.exists() else []
        page = folder / 'index.html'
        ours = page.is_file() and _OURS.encode() in page.read_bytes()
    if names and not ours:
        raise StorageError(f'{folder}: not a report, and not empty ({names[0]}); name a new or an empty folder')


def write_page(
    folder: Path,
    template: str,
    *,
    pictures: Mapping[str, Picture | None],
    real: str,
    sheets: Sequence[Mapping[str, Sequence[Card]]] = (),
    values: Mapping[str, Any],
    **facts: Unpack[Facts],
) -> Path:
    """Writes index.html from a template that extends `page.html`, and its pictures.

    Args:
      folder: where it goes.
      template: file beside this one.
      pictures: {name: what is saved as name.png}; for None the picture of an earlier report is removed.
      real: of what synthetic data says nothing.
      sheets: {heading: cards} of each sheet of cards.
      values: what else the template shows.
      **facts: of the run.

    Returns:
      The path of index.html.
    """
    for name, picture in pictures.items():
        _save_picture(picture, folder / f'{name}.png')
    cards = [card for sheet in sheets for group in sheet.values() for card in group]
    provenance = facts['provenance']
    page = rendered(
        template,
        title=facts['title'],
        data={True: 'synthetic', False: 'real', None: 'unstated'}[provenance.get('synthetic')],
        real=real,
        config=json.dumps(facts['config'], indent=2, sort_keys=True, default=str),
        skipped=[str(line) for line in facts['skipped']],
        notes=[str(line) for line in facts['notes']],
        provenance=[(str(key), str(value)) for key, value in provenance.items() if key != 'synthetic'],
        pictures=[name for name, picture in pictures.items() if picture is not None],
        sheets=sheets,
        questions=max((len(card.questions) for card in cards), default=1),
        answers=max((len(card.answers) for card in cards), default=0),
        **values,
    )
    path = folder / 'index.html'
    path.write_text(page, encoding='utf-8')
    return path


def _save_picture(picture: Picture | None, path: Path) -> None:
    if picture is None:
        path.unlink(missing_ok=True)
    elif isinstance(picture, Image.Image):
        picture.save(path)
    else:
        with warnings.catch_warnings():
            warnings.filterwarnings('ignore', message='Glyph')  # a script that the font lacks: boxes are shown
            picture.savefig(path)
