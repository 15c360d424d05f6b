"""What the report shows of single scans: the scan, its two stages, and the nearest CADs, as pictures of voxels."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from jaxret.reports.contact_sheet import HIT, INK, LINE, MISS, MUTED, _fit, _font, store_thumbnail

_CELL, _GAP, _CAPTION = 112, 8, 18


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


def store_cards(folder: Path, sections: Mapping[str, Sequence[ScanCard]]) -> dict[str, list[dict]]:
    """Writes the pictures of cards into `folder`; returns what the page says about each card."""

    def store(picture: np.ndarray) -> str:
        return store_thumbnail(folder, picture, 'voxels')

    return {
        heading: [
            {
                'name': card.name, 'category': card.category, 'hit': card.hit, 'verdict': card.verdict,
                'stages': [{'picture': store(picture), 'caption': caption} for caption, picture in card.stages.items()],
                'results': [{'picture': store(picture), 'name': name, 'distance': f'{distance:.2f}', 'kind': kind}
                            for picture, name, distance, kind in card.results],
            }
            for card in cards
        ]
        for heading, cards in sections.items()
    }  # fmt: skip


def draw_scan_sheet(sections: Mapping[str, Sequence[ScanCard]], *, title: str) -> Image.Image | None:
    """One picture of all cards, a row each: stages, then the nearest CADs; None without cards."""
    cards = [card for group in sections.values() for card in group]
    if not cards:
        return None
    columns = max(len(card.stages) + len(card.results) for card in cards)
    row = _CELL + 2 * _CAPTION + 2 * _GAP
    sheet = Image.new('RGB', (columns * (_CELL + _GAP) + 4 * _GAP, 64 + 34 * len(sections) + row * len(cards)), 'white')
    draw = ImageDraw.Draw(sheet)
    draw.text((16, 12), _fit(title, sheet.width - 32, 20), fill=INK, font=_font(20))
    draw.text(
        (16, 40),
        'Blue: object, orange: clutter. CADs, nearest first: green its own model, red another category',
        fill=MUTED,
        font=_font(12),
    )
    y = 62
    for heading, group in sections.items():
        draw.text((16, y + 8), heading, fill=INK, font=_font(15))
        y += 34
        for card in group:
            _draw_card(sheet, draw, card, y)
            y += row
    return sheet


def _draw_card(sheet: Image.Image, draw: ImageDraw.ImageDraw, card: ScanCard, y: int) -> None:
    text = f'{card.verdict}: {card.name} ({card.category})'
    draw.text((16, y), _fit(text, sheet.width - 32, 12), fill=HIT if card.hit else MISS, font=_font(12))
    cells = [(picture, caption, LINE) for caption, picture in card.stages.items()]
    edges = {'own': HIT, 'category': LINE, 'other': MISS}
    signs = {'own': '\u2713 ', 'category': '', 'other': '\u2717 '}
    cells += [(picture, f'{signs[kind]}{distance:.2f}', edges[kind]) for picture, _, distance, kind in card.results]
    for place, (picture, caption, edge) in enumerate(cells):
        left, top = 16 + place * (_CELL + _GAP) + (_GAP if place >= len(card.stages) else 0), y + _CAPTION
        sheet.paste(Image.fromarray(picture).resize((_CELL, _CELL)), (left, top))
        draw.rectangle((left, top, left + _CELL - 1, top + _CELL - 1), outline=edge, width=1 if edge == LINE else 3)
        middle = left + (_CELL - draw.textlength(caption, font=_font(12))) / 2
        draw.text((middle, top + _CELL + 2), caption, fill=MUTED if edge == LINE else edge, font=_font(12))
