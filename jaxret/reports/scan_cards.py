"""What the report shows of single scans: the scan, its two stages, and the nearest CADs, as pictures of voxels."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw

from jaxret.reports.cards import Card, Shown, Thumbnails
from jaxret.reports.drawing import CAPTION, GAP, centred, height, paste, wrap, write
from jaxret.reports.palette import HIT, INK, LINE, MISS, MUTED, PAPER

_CELL = 112
_MARKS = {'own': 'true', 'category': '', 'other': 'wrong'}
_FRAMES = {'own': (HIT, '\u2713 '), 'category': (LINE, ''), 'other': (MISS, '\u2717 ')}


@dataclass(frozen=True)
class ScanCard:
    """One scan.

    Attributes:
      stages: {caption: uint8 [S, S, 3]}, what goes before the answers ('scan', 'foreground', 'completion', 'own CAD').
      results: the nearest CADs, nearest first: (uint8 [S, S, 3], name, distance, 'own' | 'category' | 'other': its own
        model, another of its category, of another category).
      name: of the scan.
      category: name of its category.
      rank: of its own model in the whole gallery, 1 is nearest; None where that is not in the gallery.
    """

    stages: Mapping[str, np.ndarray]
    results: Sequence[tuple[np.ndarray, str, float, str]]
    name: str
    category: str
    rank: int | None

    @property
    def hit(self) -> bool:
        """Whether the nearest CAD is its own model."""
        return bool(self.results) and self.results[0][3] == 'own'

    @property
    def verdict(self) -> str:
        """The outcome in words."""
        if self.rank is None:
            return 'own model not in the gallery'
        return 'own model found' if self.hit else f'own model at rank {self.rank}'


def page_cards(sections: Mapping[str, Sequence[ScanCard]], thumbnails: Thumbnails) -> dict[str, list[Card]]:
    """The cards as the page shows them, with their pictures stored."""
    return {heading: [_page_card(card, thumbnails) for card in cards] for heading, cards in sections.items()}


def _page_card(card: ScanCard, thumbnails: Thumbnails) -> Card:
    stages = [
        Shown(thumbnails.store(picture, 'voxels'), f'{caption} of {card.name}', caption)
        for caption, picture in card.stages.items()
    ]
    answers = [
        Shown(thumbnails.store(picture, 'voxels'), name, f'{distance:.2f}', _MARKS[kind])
        for picture, name, distance, kind in card.results
    ]
    return Card('hit' if card.hit else 'miss', card.verdict, f'{card.name} ({card.category})', stages, answers)


def draw_scan_sheet(sections: Mapping[str, Sequence[ScanCard]], *, title: str) -> Image.Image | None:
    """One picture of all cards, a row each: stages, then the nearest CADs; None without cards."""
    cards = [card for group in sections.values() for card in group]
    if not cards:
        return None
    columns = max(len(card.stages) + len(card.results) for card in cards)
    width = columns * (_CELL + GAP) + 4 * GAP
    title = wrap(title, width - 32, 20)
    legend = 'Blue: object, orange: clutter. CADs, nearest first: green its own model, red another category'
    legend = wrap(legend, width - 32, 12)
    above = 20 + height(title, 20) + height(legend, 12)
    tall = above + 34 * len(sections) + sum(_height(card, width) for card in cards)
    sheet = Image.new('RGB', (width, tall), PAPER)
    draw = ImageDraw.Draw(sheet)
    write(draw, title, 16, 12, INK, 20)
    write(draw, legend, 16, 16 + height(title, 20), MUTED, 12)
    y = above
    for heading, group in sections.items():
        write(draw, heading, 16, y + 8, INK, 15)
        y += 34
        for card in group:
            _draw_card(sheet, draw, card, y)
            y += _height(card, width)
    return sheet


def _text(card: ScanCard, width: int) -> str:
    return wrap(f'{card.verdict}: {card.name} ({card.category})', width - 32, 12)


def _height(card: ScanCard, width: int) -> int:
    return height(_text(card, width), 12) + _CELL + CAPTION + 2 * GAP


def _draw_card(sheet: Image.Image, draw: ImageDraw.ImageDraw, card: ScanCard, y: int) -> None:
    text = _text(card, sheet.width)
    write(draw, text, 16, y, HIT if card.hit else MISS, 12)
    cells = [(picture, caption, LINE) for caption, picture in card.stages.items()]
    for picture, _, distance, kind in card.results:
        edge, sign = _FRAMES[kind]
        cells.append((picture, f'{sign}{distance:.2f}', edge))
    top = y + height(text, 12) + 4
    for place, (picture, caption, edge) in enumerate(cells):
        left = 16 + place * (_CELL + GAP) + (GAP if place >= len(card.stages) else 0)
        paste(sheet, draw, Image.fromarray(picture), left, top, edge, 1 if edge == LINE else 3, cell=_CELL)
        centred(draw, caption, left, top, MUTED if edge == LINE else edge, cell=_CELL)
