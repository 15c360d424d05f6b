"""The contact sheet of an evaluation: which queries to show, their thumbnails, and one picture of them all.

Letters: Q queries, H, W photo size, S view size.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import matplotlib
import numpy as np
from PIL import Image, ImageDraw, ImageFont, ImageOps

from jaxret.files import printable

HIT = '#12794a'
MISS = '#c2281d'
INK, MUTED, LINE, PAPER = '#1c2128', '#5f6b7a', '#d5dae1', '#f5f7f9'
_THUMBNAIL = 160  # pixels of the stored thumbnails (shown at half of that or less)
_CELL, _GAP, _CAPTION = 92, 8, 18


@dataclass(frozen=True)
class QueryCard:
    """One query as the report shows it.

    Attributes:
      photo: uint8 [H, W, 3].
      mask: uint8 [H, W], 0 is background.
      true_view: uint8 [S, S] or [S, S, 3], a view of the true shape.
      results: the Top-k, best first: (its view, shape name, score, is it the true shape).
      query_name, true_name: shown as text.
      rank: of the true shape, 1-based.
      true_score: of the true shape, or None; orders queries of equal rank where the true shape is not in `results`.
      section: heading under which it is shown. If no card names one, `select_queries` chooses the cards.
      verdict: shown in the place of hit or miss, where the true shape is not in the gallery; '' shows these.
    """

    photo: np.ndarray
    mask: np.ndarray
    true_view: np.ndarray
    results: Sequence[tuple[np.ndarray, str, float, bool]]
    query_name: str
    true_name: str
    rank: int
    true_score: float | None = None
    section: str = ''
    verdict: str = ''

    @property
    def hit(self) -> bool:
        """Whether the best answer is the true shape."""
        return bool(self.results) and bool(self.results[0][3])

    @property
    def gap(self) -> float:
        """Score of the true shape minus the best score of another one, NaN if it is not known."""
        true = [score for _, _, score, is_true in self.results if is_true]
        wrong = [score for _, _, score, is_true in self.results if not is_true]
        true_score = true[0] if true else self.true_score
        return float(true_score - max(wrong)) if wrong and true_score is not None else float('nan')


def select_queries(
    ranks: np.ndarray, gaps: np.ndarray, *, best: int = 6, worst: int = 6, random: int = 24, seed: int = 0
) -> dict[str, np.ndarray]:
    """Chooses the queries of the contact sheet: extremes first, then a fixed random selection.

    The random selection is drawn from all queries, the extremes included, so its share of hits estimates Top-1. Up to
    `random` queries it is all of them, and the extremes shrink to at most a quarter of the queries each.

    Args:
      ranks: [Q] rank of the true shape.
      gaps: [Q] score of the true shape minus the best wrong score; decides among equal ranks. NaN counts as 0.
      best, worst, random: sizes of the three sections.
      seed: of the random selection.

    Returns:
      {heading: query indices}, without empty sections. 'Best' has the lowest rank and widest gap first, 'Worst' the
      reverse, the random selection is in the order of the queries.
    """
    ranks, gaps = np.asarray(ranks), np.nan_to_num(np.asarray(gaps, np.float64), nan=0.0)
    order = np.lexsort((-gaps, ranks))
    quarter = len(order) // 4
    drawn = np.sort(np.random.default_rng(seed).permutation(len(order))[:random])
    sections = {
        'Best queries': order[: min(best, quarter)],
        'Worst queries': order[::-1][: min(worst, quarter)],
        'All queries' if len(order) <= random else f'{len(drawn)} queries at random (fixed seed)': drawn,
    }
    return {heading: indices for heading, indices in sections.items() if len(indices)}


def sections_of(cards: Sequence[QueryCard]) -> dict[str, list[QueryCard]]:
    """Cards by heading: their own if they name one, else the choice of `select_queries`."""
    if any(card.section for card in cards):
        sections: dict[str, list[QueryCard]] = {}
        for card in cards:
            sections.setdefault(card.section or 'Other queries', []).append(card)
        return sections
    chosen = select_queries(np.array([card.rank for card in cards]), np.array([card.gap for card in cards]))
    return {heading: [cards[i] for i in indices] for heading, indices in chosen.items()}


def empty_thumbnails(folder: Path) -> None:
    """Makes the folder of thumbnails; files of an earlier report are removed."""
    folder.mkdir(parents=True, exist_ok=True)
    for pattern in ('photo-*.jpg', 'mask-*.png', 'view-*.png', 'voxels-*.png'):
        for old in folder.glob(pattern):
            old.unlink()


def store_thumbnail(folder: Path, array: np.ndarray, kind: str) -> str:
    """Writes a thumbnail, named by its content, so that what many queries share is stored once.

    Args:
      folder: of the thumbnails.
      array: uint8 [H, W] or [H, W, 3].
      kind: 'photo', 'mask', 'view' or 'voxels' (in colour, and kept sharp).

    Returns:
      Its path as the page names it.
    """
    image = _image(array, kind)
    image.thumbnail((_THUMBNAIL, _THUMBNAIL))
    digest = hashlib.sha256(image.tobytes() + str(image.size).encode()).hexdigest()[:16]
    name = f'{kind}-{digest}.{"jpg" if kind == "photo" else "png"}'
    if not (folder / name).exists():
        image.save(folder / name, **({'quality': 88} if kind == 'photo' else {'optimize': True}))
    return f'{folder.name}/{name}'


def write_thumbnails(folder: Path, sections: dict[str, list[QueryCard]]) -> dict[str, list[dict]]:
    """Adds the thumbnails that the cards need to a `folder`; returns what the page says about each card."""

    def store(array: np.ndarray, kind: str) -> str:
        return store_thumbnail(folder, array, kind)

    return {
        heading: [
            {
                'photo': store(card.photo, 'photo'),
                'mask': store(card.mask, 'mask'),
                'true_view': store(card.true_view, 'view'),
                'results': [
                    {'view': store(view, 'view'), 'name': name, 'score': f'{score:.3f}', 'is_true': bool(is_true)}
                    for view, name, score, is_true in card.results
                ],
                'query_name': card.query_name,
                'true_name': card.true_name,
                'rank': card.rank,
                'hit': card.hit,
                'verdict': card.verdict,
            }
            for card in cards
        ]
        for heading, cards in sections.items()
    }


def draw_contact_sheet(sections: dict[str, list[QueryCard]], *, title: str, columns: int = 2) -> Image.Image:
    """One picture of all cards: photo, mask, true shape, then the Top-k with scores; hit or miss by colour and sign.

    Cards with a verdict have no hits: their answers are of a gallery without the true shape.
    """
    judged = not any(card.verdict for cards in sections.values() for card in cards)
    shown = max((len(card.results) for cards in sections.values() for card in cards), default=0)
    width = (3 + shown) * (_CELL + _GAP) + 4 * _GAP
    height = _CELL + 2 * _CAPTION + 2 * _GAP
    rows = sum(-(-len(cards) // columns) for cards in sections.values())
    sheet = Image.new('RGB', (columns * (width + 16) + 16, 84 + 40 * len(sections) + rows * (height + 10)), 'white')
    draw = ImageDraw.Draw(sheet)
    draw.text((16, 12), _fit(title, sheet.width - 32, 22), fill=INK, font=_font(22))
    legend = 'Each row: photo, mask, true shape | answers, best first, with scores.  '
    draw.text((16, 46), legend, fill=MUTED, font=_font(13))
    x = 16 + draw.textlength(legend, font=_font(13))
    for text, colour in (('\u2713 true shape   ', HIT), ('\u2717 wrong best answer', MISS)) if judged else ():
        draw.text((x, 46), text, fill=colour, font=_font(13))
        x += draw.textlength(text, font=_font(13))
    y = 76
    for heading, cards in sections.items():
        hits = sum(card.hit for card in cards)
        found = f': {hits} of {len(cards)} found at rank 1' if judged else ''
        draw.text((16, y + 8), f'{printable(heading)}{found}', fill=INK, font=_font(16))
        y += 40
        for position, card in enumerate(cards):
            column = position % columns
            _draw_card(sheet, draw, card, 16 + column * (width + 16), y, width, height)
            if column == columns - 1 or position == len(cards) - 1:
                y += height + 10
    return sheet


def _draw_card(sheet, draw, card: QueryCard, x: int, y: int, width: int, height: int) -> None:
    colour = MUTED if card.verdict else HIT if card.hit else MISS
    draw.rectangle((x, y, x + width - 1, y + height - 1), outline=LINE)
    draw.rectangle((x, y, x + 4, y + height - 1), fill=colour)
    verdict = card.verdict or ('\u2713 hit' if card.hit else f'\u2717 miss, rank {card.rank}')
    draw.text((x + 14, y + 5), verdict, fill=colour, font=_font(13))
    offset = x + 26 + draw.textlength(verdict, font=_font(13))
    names = f'{card.query_name}  \u2192  {card.true_name}'
    draw.text((offset, y + 5), _fit(names, x + width - offset - 6, 12), fill=MUTED, font=_font(12))
    top, left = y + _CAPTION + 8, x + 14
    for array, kind, label in (
        (card.photo, 'photo', 'photo'), (card.mask, 'mask', 'mask'), (card.true_view, 'view', 'true shape'),
    ):  # fmt: skip
        _paste(sheet, draw, _image(array, kind), left, top, LINE, 1)
        _centred(draw, label, left, top, MUTED)
        left += _CELL + _GAP
    left += _GAP
    draw.line((left - _GAP - 1, top, left - _GAP - 1, top + _CELL), fill=LINE)
    for place, (view, _, score, is_true) in enumerate(card.results):
        wrong = place == 0 and not is_true and not card.verdict
        edge = HIT if is_true else MISS if wrong else LINE
        _paste(sheet, draw, _image(view, 'view'), left, top, edge, 4 if edge != LINE else 1)
        sign = '\u2713 ' if is_true else '\u2717 ' if wrong else ''
        _centred(draw, f'{sign}{score:.3f}', left, top, edge if edge != LINE else MUTED)
        left += _CELL + _GAP


def _paste(sheet, draw, image: Image.Image, left: int, top: int, edge: str, thickness: int) -> None:
    sheet.paste(ImageOps.pad(image.convert('RGB'), (_CELL, _CELL), color=PAPER), (int(left), top))
    draw.rectangle((left, top, left + _CELL - 1, top + _CELL - 1), outline=edge, width=thickness)


def _centred(draw, text: str, left: int, top: int, colour: str) -> None:
    x = left + (_CELL - draw.textlength(text, font=_font(12))) / 2
    draw.text((x, top + _CELL + 3), text, fill=colour, font=_font(12))


def _image(array: np.ndarray, kind: str) -> Image.Image:
    array = np.asarray(array)
    array = array[..., 0] if array.ndim == 3 and (kind == 'mask' or array.shape[-1] == 1) else array
    if kind == 'mask' and array.max(initial=0) <= 1:
        array = array * np.uint8(255)
    return Image.fromarray(np.ascontiguousarray(array, np.uint8))


def _fit(text: str, width: float, size: int) -> str:
    """The text in one line, shortened in the middle until it fits."""
    text = printable(text)  # Pillow lays out no line breaks here
    font, keep = _font(size), len(text)
    short = text
    while font.getlength(short) > width and keep > 2:
        keep -= 1
        short = f'{text[: (keep + 1) // 2]}\u2026{text[len(text) - keep // 2 :]}'
    return short


@lru_cache
def _font(size: int) -> ImageFont.FreeTypeFont:
    # Matplotlib's own copy is there on every machine, and has the signs.
    return ImageFont.truetype(Path(matplotlib.get_data_path()) / 'fonts/ttf/DejaVuSans.ttf', size)
