"""What the report shows of single scans: the scan, its two stages, and the nearest CADs, as pictures of voxels."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw

from jaxret.reports.cards import Card, Shown, Thumbnails
from jaxret.reports.drawing import CAPTION, GAP, HIT, INK, LINE, MISS, MUTED, centred, fit, font, paste

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
    row = _CELL + 2 * CAPTION + 2 * GAP
    sheet = Image.new('RGB', (columns * (_CELL + GAP) + 4 * GAP, 64 + 34 * len(sections) + row * len(cards)), 'white')
    draw = ImageDraw.Draw(sheet)
    draw.text((16, 12), fit(title, sheet.width - 32, 20), fill=INK, font=font(20))
    legend = 'Blue: object, orange: clutter. CADs, nearest first: green its own model, red another category'
    draw.text((16, 40), legend, fill=MUTED, font=font(12))
    y = 62
    for heading, group in sections.items():
        draw.text((16, y + 8), heading, fill=INK, font=font(15))
        y += 34
        for card in group:
            _draw_card(sheet, draw, card, y)
            y += row
    return sheet


def _draw_card(sheet: Image.Image, draw: ImageDraw.ImageDraw, card: ScanCard, y: int) -> None:
    text = f'{card.verdict}: {card.name} ({card.category})'
    draw.text((16, y), fit(text, sheet.width - 32, 12), fill=HIT if card.hit else MISS, font=font(12))
    cells = [(picture, caption, LINE) for caption, picture in card.stages.items()]
    for picture, _, distance, kind in card.results:
        edge, sign = _FRAMES[kind]
        cells.append((picture, f'{sign}{distance:.2f}', edge))
    for place, (picture, caption, edge) in enumerate(cells):
        left, top = 16 + place * (_CELL + GAP) + (GAP if place >= len(card.stages) else 0), y + CAPTION
        paste(sheet, draw, Image.fromarray(picture), left, top, edge, 1 if edge == LINE else 3, cell=_CELL)
        centred(draw, caption, left, top, MUTED if edge == LINE else edge, cell=_CELL)
