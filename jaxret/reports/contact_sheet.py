"""The contact sheet of an evaluation: which queries to show, as cards of the page and as one picture.

Letters: Q queries, H, W photo size, S view size.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw

from jaxret.files import printable
from jaxret.reports.cards import Card, Shown, Thumbnails, as_image
from jaxret.reports.drawing import CAPTION, CELL, GAP, centred, font, height, paste, wrap, write
from jaxret.reports.palette import HIT, INK, LINE, MISS, MUTED, PAPER

Sections = Mapping[str, Sequence['QueryCard']]


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

    @property
    def names(self) -> str:
        """Of the query and its true shape."""
        return f'{self.query_name} \u2192 {self.true_name}'

    @property
    def marks(self) -> list[str]:
        """Of each answer: 'true', 'wrong' for a best one that is not, or ''."""
        return [
            'true' if is_true else 'wrong' if place == 0 and not self.verdict else ''
            for place, (_, _, _, is_true) in enumerate(self.results)
        ]


def select_queries(
    ranks: np.ndarray, gaps: np.ndarray, *, best: int = 6, worst: int = 6, random: int = 24, seed: int = 0
) -> dict[str, np.ndarray]:
    """Chooses the queries of the contact sheet: a fixed random selection, and extremes of the others; none twice.

    The random selection is drawn from all queries, so its share of hits estimates Top-1. Up to `random` queries it is
    all of them, and there are no extremes; these are at most a quarter of the queries each.

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
    drawn = np.sort(np.random.default_rng(seed).permutation(len(ranks))[:random])
    order = np.lexsort((-gaps, ranks))
    order = order[~np.isin(order, drawn)]
    half, quarter = len(order) // 2, len(ranks) // 4
    sections = {
        'All queries' if len(ranks) <= random else f'{len(drawn)} queries at random (fixed seed)': drawn,
        'Best of the others': order[: min(best, half, quarter)],
        'Worst of the others': order[::-1][: min(worst, half, quarter)],
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


def page_cards(sections: Sections, thumbnails: Thumbnails) -> dict[str, list[Card]]:
    """The cards as the page shows them, with their pictures stored."""
    return {_heading(name, cards): [_page_card(card, thumbnails) for card in cards] for name, cards in sections.items()}


def _page_card(card: QueryCard, thumbnails: Thumbnails) -> Card:
    verdict = '\u2713 hit' if card.hit else f'\u2717 miss, true shape at rank {card.rank}'
    answers = [
        Shown(thumbnails.store(view, 'view'), name, f'{score:.3f}', mark)
        for (view, name, score, _), mark in zip(card.results, card.marks, strict=True)
    ]
    questions = [
        Shown(thumbnails.store(card.photo, 'photo'), f'photo {card.query_name}', 'photo'),
        Shown(thumbnails.store(card.mask, 'mask'), 'mask', 'mask'),
        Shown(thumbnails.store(card.true_view, 'view'), f'true shape {card.true_name}', 'true shape'),
    ]
    state = 'unjudged' if card.verdict else 'hit' if card.hit else 'miss'
    return Card(state, card.verdict or verdict, card.names, questions, answers)


def _heading(name: str, cards: Sequence[QueryCard]) -> str:
    """With the number of hits, where the true shapes are in the gallery."""
    if any(card.verdict for card in cards):
        return name
    return f'{name}: {sum(card.hit for card in cards)} of {len(cards)} found at rank 1'


def draw_contact_sheet(sections: Sections, *, title: str, columns: int = 2) -> Image.Image | None:
    """One picture of all cards: photo, mask, true shape, then the Top-k with scores; hit or miss by colour and sign.

    Cards with a verdict have no hits: their answers are of a gallery without the true shape. None without cards.
    """
    every = [card for cards in sections.values() for card in cards]
    if not every:
        return None
    shown = max(len(card.results) for card in every)
    width = (3 + shown) * (CELL + GAP) + 4 * GAP
    lines = [
        (name, cards[start : start + columns])
        for name, cards in sections.items()
        for start in range(0, len(cards), columns)
    ]
    heights = [max(_height(card, width) for card in cards) for _, cards in lines]
    title = wrap(title, columns * (width + 16) - 16, 22)
    y = 54 + height(title, 22)
    tall = y + 40 * len(sections) + sum(heights) + 10 * len(lines)
    sheet = Image.new('RGB', (columns * (width + 16) + 16, tall), PAPER)
    draw = ImageDraw.Draw(sheet)
    write(draw, title, 16, 12, INK, 22)
    legend = [('Each row: photo, mask, true shape | answers, best first, with scores.  ', MUTED)]
    if not any(card.verdict for card in every):
        legend += [('\u2713 true shape   ', HIT), ('\u2717 wrong best answer', MISS)]
    x = 16
    for text, colour in legend:
        write(draw, text, x, y - 30, colour, 13)
        x += draw.textlength(text, font=font(13))
    above = None
    for (name, cards), line in zip(lines, heights, strict=True):
        if name != above:
            above = name
            write(draw, printable(_heading(name, sections[name])), 16, y + 8, INK, 16)
            y += 40
        for column, card in enumerate(cards):
            _draw_card(sheet, draw, card, 16 + column * (width + 16), y, width, line)
        y += line + 10
    return sheet


def _verdict(card: QueryCard) -> str:
    return card.verdict or ('\u2713 hit' if card.hit else f'\u2717 miss, rank {card.rank}')


def _names(card: QueryCard, width: int) -> str:
    """What stands behind the verdict, in lines."""
    return wrap(card.names, width - 36 - font(13).getlength(_verdict(card)), 12)


def _height(card: QueryCard, width: int) -> int:
    return CELL + CAPTION + 3 * GAP + height(_names(card, width), 12)


def _draw_card(sheet, draw, card: QueryCard, x: int, y: int, width: int, height: int) -> None:
    colour = MUTED if card.verdict else HIT if card.hit else MISS
    draw.rectangle((x, y, x + width - 1, y + height - 1), outline=LINE)
    draw.rectangle((x, y, x + 4, y + height - 1), fill=colour)
    write(draw, _verdict(card), x + 14, y + 5, colour, 13)
    write(draw, _names(card, width), x + 26 + font(13).getlength(_verdict(card)), y + 5, MUTED, 12)
    top, left = y + height - CELL - CAPTION - GAP, x + 14
    parts = ((card.photo, 'photo', 'photo'), (card.mask, 'mask', 'mask'), (card.true_view, 'view', 'true shape'))
    for array, kind, label in parts:
        paste(sheet, draw, as_image(array, kind), left, top, LINE, 1)
        centred(draw, label, left, top, MUTED)
        left += CELL + GAP
    left += GAP
    draw.line((left - GAP - 1, top, left - GAP - 1, top + CELL), fill=LINE)
    frames = {'true': (HIT, '\u2713 ', 4), 'wrong': (MISS, '\u2717 ', 4), '': (LINE, '', 1)}
    for (view, _, score, _), mark in zip(card.results, card.marks, strict=True):
        edge, sign, thickness = frames[mark]
        paste(sheet, draw, as_image(view, 'view'), left, top, edge, thickness)
        centred(draw, f'{sign}{score:.3f}', left, top, edge if mark else MUTED)
        left += CELL + GAP
