"""Rows of captioned pictures as one picture, for figures that show examples beside each other."""

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw

from jaxret.reports.cards import as_image
from jaxret.reports.drawing import GAP, LEADING, height, paste, wrap, write
from jaxret.reports.palette import INK, LINE, MUTED, PAPER

_CELL = 132
_SPACE = 18  # where a group of cells ends
Cell = tuple[np.ndarray, str] | None  # a picture uint8 [H, W] or [H, W, 3] and its caption; None is an empty place


def draw_grid(rows: Sequence[Sequence[Cell]], *, heads: Sequence[str] = (), groups: Sequence[int] = ()) -> Image.Image:
    """Pictures in rows, each over its caption.

    Args:
      rows: of equally many cells.
      heads: a line above each column; none without.
      groups: columns before which there is a gap.
    """
    columns = len(rows[0])
    lefts = [GAP + column * (_CELL + GAP) + _SPACE * sum(column >= g for g in groups) for column in range(columns)]
    captions = [[wrap(cell[1], _CELL, 11) if cell else '' for cell in row] for row in rows]
    below = [max(height(text, 11) for text in line) + 6 for line in captions]
    top = 12 + round(14 * LEADING) if heads else GAP
    sheet = Image.new('RGB', (lefts[-1] + _CELL + GAP, top + sum(below) + len(rows) * (_CELL + GAP)), PAPER)
    draw = ImageDraw.Draw(sheet)
    for left, head in zip(lefts, heads, strict=False):
        write(draw, head, left + _CELL / 2, 8, INK, 12, middle=True)
    for row, texts, space in zip(rows, captions, below, strict=True):
        for left, cell, text in zip(lefts, row, texts, strict=True):
            if cell:
                paste(sheet, draw, as_image(cell[0], 'view'), left, top, LINE, 1, cell=_CELL)
                write(draw, text, left + _CELL / 2, top + _CELL + 3, MUTED, 11, middle=True)
        top += _CELL + GAP + space
    return sheet
