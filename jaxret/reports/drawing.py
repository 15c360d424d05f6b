"""What the sheets drawn as one picture share: colours, text that fits, and pictures in cells."""

from functools import lru_cache
from pathlib import Path

import matplotlib
from PIL import Image, ImageDraw, ImageFont, ImageOps

from jaxret.files import printable

HIT, MISS = '#12794a', '#c2281d'
INK, MUTED, LINE, PAPER = '#1c2128', '#5f6b7a', '#d5dae1', '#f5f7f9'
CELL, GAP, CAPTION = 92, 8, 18  # side of a cell, between cells, height of a line under it


@lru_cache
def font(size: int) -> ImageFont.FreeTypeFont:
    """Matplotlib's own copy of DejaVu Sans: it is there on every machine, and has the signs."""
    return ImageFont.truetype(Path(matplotlib.get_data_path()) / 'fonts/ttf/DejaVuSans.ttf', size)


def fit(text: str, width: float, size: int) -> str:
    """The text in one line, shortened in the middle until it fits."""
    text = printable(text)  # Pillow lays out no line breaks here
    own, keep = font(size), len(text)
    short = text
    while own.getlength(short) > width and keep > 2:
        keep -= 1
        short = f'{text[: (keep + 1) // 2]}\u2026{text[len(text) - keep // 2 :]}'
    return short


def paste(
    sheet: Image.Image,
    draw: ImageDraw.ImageDraw,
    image: Image.Image,
    left: int,
    top: int,
    edge: str,
    thickness: int,
    *,
    cell: int = CELL,
) -> None:
    """Puts a picture into a cell, with a frame."""
    sheet.paste(ImageOps.pad(image.convert('RGB'), (cell, cell), color=PAPER), (int(left), top))
    draw.rectangle((left, top, left + cell - 1, top + cell - 1), outline=edge, width=thickness)


def centred(draw: ImageDraw.ImageDraw, text: str, left: int, top: int, colour: str, *, cell: int = CELL) -> None:
    """Writes a line under the middle of a cell."""
    x = left + (cell - draw.textlength(text, font=font(12))) / 2
    draw.text((x, top + cell + 3), text, fill=colour, font=font(12))
