"""What the sheets drawn as one picture share: text that fits, and pictures in cells."""

import re
from functools import lru_cache
from pathlib import Path

import matplotlib
from PIL import Image, ImageDraw, ImageFont, ImageOps

from jaxret.files import printable
from jaxret.reports.palette import SOFT

CELL, GAP, CAPTION = 92, 8, 18  # side of a cell, between cells, height of a line under it
LEADING = 1.25  # from line to line, of the size of the letters


@lru_cache
def font(size: int) -> ImageFont.FreeTypeFont:
    """Matplotlib's own copy of DejaVu Sans: it is there on every machine, and has the signs."""
    return ImageFont.truetype(Path(matplotlib.get_data_path()) / 'fonts/ttf/DejaVuSans.ttf', size)


def wrap(text: str, width: float, size: int) -> str:
    """The text in lines no wider than `width` pixels, broken behind words and signs such as / and _, else anywhere."""
    own, lines = font(size), ['']
    for part in re.split(r'(?<=[\s/\\_,:-])', printable(text)):
        if own.getlength(lines[-1] + part.rstrip()) > width and lines[-1]:
            lines.append('')
        for letter in part:
            if own.getlength(lines[-1] + letter) > width and lines[-1] and letter != ' ':
                lines.append('')
            lines[-1] += letter
    return '\n'.join(line.strip() for line in lines)


def height(text: str, size: int) -> int:
    """Pixels that a text of `wrap` takes."""
    return 0 if not text else round((text.count('\n') + 1) * LEADING * size)


def write(
    draw: ImageDraw.ImageDraw, text: str, left: float, top: float, colour: str, size: int, *, middle: bool = False
) -> None:
    """Writes a text of `wrap`; `middle`: the lines centred at `left`."""
    for number, line in enumerate(text.split('\n')):
        start = left - font(size).getlength(line) / 2 if middle else left
        draw.text((start, top + round(number * LEADING * size)), line, fill=colour, font=font(size))


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
    sheet.paste(ImageOps.pad(image.convert('RGB'), (cell, cell), color=SOFT), (int(left), top))
    draw.rectangle((left, top, left + cell - 1, top + cell - 1), outline=edge, width=thickness)


def centred(draw: ImageDraw.ImageDraw, text: str, left: int, top: int, colour: str, *, cell: int = CELL) -> None:
    """Writes a text of `wrap` under the middle of a cell."""
    write(draw, text, left + cell / 2, top + cell + 3, colour, 12, middle=True)
