"""What all reports share: pictures saved as files, and pages made from the templates beside this file."""

import json
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from matplotlib.figure import Figure
from PIL import Image


def save_picture(picture: Figure | Image.Image | None, path: Path) -> None:
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


def write_page(
    folder: Path,
    template: str,
    *,
    title: str,
    config: Mapping,
    skipped: Sequence[str],
    notes: Sequence[str],
    provenance: Mapping,
    **values: Any,
) -> Path:
    """Writes index.html from a template that extends `page.html`.

    Args:
      folder: where it goes.
      template: file beside this one.
      title: heading of the page.
      config: of the run; anything that JSON can hold, other values by their text.
      skipped: one line for each file that was left out.
      notes: one line each, shown near the top.
      provenance: what was run on what: {label: text}. The key 'synthetic' (bool) becomes the line on the data.
      values: what else the template shows; among it `questions` and `answers`, the pictures of a strip, and `real`, of
        what synthetic data says nothing.

    Returns:
      The path of index.html.
    """
    loader = FileSystemLoader(Path(__file__).parent)
    environment = Environment(
        loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    page = environment.get_template(template).render(
        title=title,
        data={True: 'synthetic', False: 'real', None: 'unstated'}[provenance.get('synthetic')],
        config=json.dumps(config, indent=2, sort_keys=True, default=str),
        skipped=[str(line) for line in skipped],
        notes=[str(line) for line in notes],
        provenance={str(key): str(value) for key, value in provenance.items() if key != 'synthetic'},
        **values,
    )
    path = folder / 'index.html'
    path.write_text(page, encoding='utf-8')
    return path
