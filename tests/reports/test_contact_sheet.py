"""Which queries a contact sheet shows, and the sheet as one picture."""

import dataclasses

import numpy as np
import pytest
from PIL import ImageColor
from test_photo_report import make_cards

from jaxret.reports.contact_sheet import QueryCard, draw_contact_sheet, select_queries
from jaxret.reports.palette import HIT, MISS


def test_views_in_colour_are_shown_in_colour(tmp_path):
    view = np.zeros((8, 8, 3), np.uint8)
    view[..., 0] = 200
    card = dataclasses.replace(make_cards(1)[0], true_view=view)
    sheet = np.asarray(draw_contact_sheet({'Any': [card]}, title='T'))
    assert (sheet == np.array([200, 0, 0])).all(axis=-1).sum() > 1000


def test_selection_draws_from_all_and_takes_extremes_of_the_others():
    ranks = np.array([1] * 50 + list(range(2, 52)))
    gaps = np.concatenate([np.linspace(0.1, 0.9, 50), -np.linspace(0.1, 0.9, 50)])
    sections = select_queries(ranks, gaps)
    drawn, best, worst = sections.values()
    others = sorted(set(range(100)) - set(drawn.tolist()))
    # Up to 49 a later query is better (a wider gap at rank 1), from 50 on worse; no query is in two sections.
    assert best.tolist() == [query for query in range(49, -1, -1) if query in others][:6]
    assert worst.tolist() == others[::-1][:6]
    assert len(set(drawn.tolist())) == 24 and sorted(drawn) == drawn.tolist()
    np.testing.assert_array_equal(drawn, next(iter(select_queries(ranks, gaps).values())))
    assert drawn.tolist() != next(iter(select_queries(ranks, gaps, seed=1).values())).tolist()
    # Equal ranks are told apart by the gap alone, unknown gaps count as 0.
    gaps = np.array([0.2, -0.5, np.nan, -0.1, 0.1, 0.3, -0.2, -0.3])
    only_gaps = select_queries(np.full(8, 3), gaps, best=2, worst=2, random=0)
    assert only_gaps['Best of the others'].tolist() == [5, 0] and only_gaps['Worst of the others'].tolist() == [1, 7]
    assert list(select_queries(np.full(8, 3), gaps)) == ['All queries']
    (title, drawn), (_, best), (_, worst) = select_queries(np.arange(9), np.zeros(9), random=6).items()
    assert title.startswith('6 queries at random') and best < worst and not {best.item(), worst.item()} & set(drawn)
    assert select_queries(np.zeros(0), np.zeros(0)) == {}


def test_gap_of_a_card():
    card = make_cards(1)[0]
    view = card.true_view

    def gap(flags, true_score=None):
        results = [(view, 'x', 0.9 - 0.2 * i, flag) for i, flag in enumerate(flags)]
        return QueryCard(card.photo, card.mask, view, results, 'q', 't', 1, true_score).gap

    assert gap([True, False]) == pytest.approx(0.2)
    assert gap([False, False, True]) == pytest.approx(-0.4)
    assert gap([False, False], true_score=0.1) == pytest.approx(-0.8)
    assert np.isnan(gap([False])) and np.isnan(gap([True]))


def test_sheet_draws_hits_green_and_misses_red():
    cards = make_cards(4)
    picture = np.asarray(draw_contact_sheet({'Cards': cards}, title='x' * 500)).reshape(-1, 3)
    colours = {tuple(c) for c in np.unique(picture, axis=0).tolist()}
    assert ImageColor.getrgb(HIT) in colours and ImageColor.getrgb(MISS) in colours
    binary = QueryCard(cards[0].photo, np.ones((8, 8, 1), np.uint8), cards[0].true_view, [], '', '', 9)
    draw_contact_sheet({'': [binary]}, title='')  # 0/1 mask with a channel, no answers, no names
