"""The report: complete, offline, escaped, and right about hits and misses."""

import dataclasses
import json
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

from jaxret.errors import StorageError
from jaxret.metrics.photo_to_shape import add_shape_metrics, retrieval_metrics
from jaxret.reports.contact_sheet import QueryCard, draw_contact_sheet, sections_of, select_queries
from jaxret.reports.curves import draw_categories, draw_curves
from jaxret.reports.photo_to_shape import UnseenGallery, write_report

NAMES = ('bed', 'chair <b>', 'a $sofa$ & \u6905\u5b50')
EVIL = '<script>alert("x")</script>'


class Page(HTMLParser):
    """Collects sources, links, text and tag balance."""

    VOID = {'img', 'meta', 'br', 'link', 'input', 'hr'}

    def __init__(self, text):
        super().__init__()
        self.open, self.sources, self.links, self.classes, self.text, self.tags = [], [], [], [], [], set()
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        self.tags.add(tag)
        self.classes.append(attrs.get('class', ''))
        self.sources += [attrs['src']] if 'src' in attrs else []
        self.links += [attrs['href']] if 'href' in attrs else []
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)


def make_cards(count, *, seed=0, answers=5):
    rng = np.random.default_rng(seed)
    views = rng.integers(0, 256, size=(8, 32, 32), dtype=np.uint8)
    cards = []
    for q in range(count):
        true, order = q % 8, rng.permutation(8)
        results = [(views[g], f'model/{g}', float(1 - 0.1 * i), bool(g == true)) for i, g in enumerate(order[:answers])]
        photo = rng.integers(0, 256, size=(40 + q, 60, 3), dtype=np.uint8)
        mask = np.zeros((40 + q, 60), np.uint8)
        mask[10:30, 10:40] = 255
        rank = int(np.flatnonzero(order == true)[0]) + 1
        cards.append(QueryCard(photo, mask, views[true], results, f'img/{q:03}.jpg', f'model/{true}', rank))
    return cards


def make_metrics(queries=30, train=True):
    rng = np.random.default_rng(0)
    category = np.arange(9) % 3
    positive = rng.integers(0, 9, size=queries)
    scores = rng.normal(size=(queries, 9))
    metrics = retrieval_metrics(
        scores, positive, category[positive], category,
        train_positive=positive if train else None, category_names=NAMES,
    )  # fmt: skip
    return add_shape_metrics(
        metrics, hausdorff=rng.random(queries), iou=rng.random(queries), query_category=category[positive],
        category_names=NAMES,
    )  # fmt: skip


def make_history(steps=60):
    lines = [{'step': s, 'loss': 3 / (s + 1), 'learning_rate': 1e-4, 'gradient_norm': 1.0} for s in range(steps)]
    lines[5]['loss'] = float('nan')
    lines[6]['loss'] = None
    lines[40]['val_top1'] = 0.4
    return [*lines, {'step': 59, 'val_top1': 0.5, 'preset': 'small'}]


def report(folder, **changes):
    arguments = {
        'title': 'CMIC on the sample', 'metrics': make_metrics(), 'config': {'seed': 1, 'optimizer': {'lr': 5e-5}},
        'history': make_history(), 'queries': make_cards(30), 'skipped': ['img/1.jpg: truncated'], 'notes': ['a note'],
        'provenance': {'synthetic': True, 'Checkpoint': 'step 59'},
    }  # fmt: skip
    path = write_report(folder, **(arguments | changes))
    return path, Page(path.read_text(encoding='utf-8'))


@pytest.fixture(scope='module')
def full(tmp_path_factory):
    return report(tmp_path_factory.mktemp('run') / 'report')


def test_every_picture_exists_and_nothing_is_fetched(full):
    path, page = full
    assert path.name == 'index.html' and page.open == []
    assert len(page.sources) > 24 * 8
    for name in {*page.sources, *page.links}:
        assert '//' not in name and not name.startswith(('/', '..', 'data:'))
        with Image.open(path.parent / name) as picture:
            picture.verify()
    text = path.read_text(encoding='utf-8')
    assert 'http://' not in text and 'https://' not in text and '@import' not in text and 'url(' not in text
    assert {'script', 'link', 'iframe'}.isdisjoint(page.tags)
    for name in ('contact_sheet.png', 'curves.png', 'categories.png'):
        with Image.open(path.parent / name) as picture:
            assert min(picture.size) > 200


def test_sheet_shows_at_least_24_different_queries_with_hits_marked(full):
    _, page = full
    cards = [c for c in page.classes if c.startswith('card ')]
    queries = make_cards(30)
    shown = {card.query_name for card in queries if any(f'{card.query_name} ' in text for text in page.text)}
    assert len(shown) >= 24
    sections = sections_of(queries)
    hits = sum(card.hit for group in sections.values() for card in group)
    assert cards.count('card hit') == hits and cards.count('card miss') == len(cards) - hits
    # A mark beside the colour: each hit in words, each true answer with a tick.
    joined = ' '.join(page.text)
    assert joined.count('\u2713 hit') == hits
    assert joined.count('\u2717 miss') == len(cards) - hits


def test_page_has_the_numbers_and_what_was_run(full):
    _, page = full
    text = ' '.join(page.text)
    metrics = make_metrics()
    for key in ('top1', 'top10', 'category_top1', 'top1_macro'):
        for value in (metrics[key], metrics[key + '_chance'], metrics[key + '_prior']):
            assert f'{100 * value:.1f} %' in text
        assert f'{100 * metrics[key + "_low"]:.1f}\u2013{100 * metrics[key + "_high"]:.1f}' in text
    for piece in (f'{metrics["iou"]:.4f}', f'{metrics["hausdorff_macro"]:.4f}', *NAMES, 'Synthetic data'):
        assert piece in text
    for piece in ('"lr": 5e-05', 'img/1.jpg: truncated', 'a note', 'step 59', 'Skipped: 1'):
        assert piece in text


def make_unseen(own=True):
    cards = [
        dataclasses.replace(
            card, verdict=f'IoU 0.{card.rank}', results=[(*result[:3], False) for result in card.results]
        )
        for card in make_cards(6, seed=3)
    ]
    row = {'queries': 4, 'gallery': 9, 'hausdorff': 0.0321, 'hausdorff_chance': 0.1, 'iou': 0.4567, 'iou_chance': None}
    metrics = {
        'unseen_queries': 6,
        'unseen_gallery': 19,
        'unseen_per_category': {NAMES[1]: row},
        **{f'unseen_{key}': value for key, value in row.items() if key not in ('queries', 'gallery')},
    }
    return UnseenGallery('/data/<models>', own, metrics, cards)


def test_an_unseen_gallery_has_its_own_section_without_hits_or_misses(tmp_path):
    planes = draw_curves(make_history())
    path, page = report(tmp_path, unseen=make_unseen(), planes=planes)
    text = ' '.join(page.text)
    for piece in (
        '19 shapes of /data/<models>',
        '0.0321',
        '0.4567',
        'shapes of its own category',
        NAMES[1],
        *(card.verdict for card in make_unseen().cards),
    ):
        assert piece in text
    shown = [c for c in page.classes if c.startswith('card ')]
    cards = [card for group in sections_of(make_unseen().cards).values() for card in group]
    assert shown.count('card unjudged') == len(cards) > 0
    judged = sum(len(group) for group in sections_of(make_cards(30)).values())
    assert text.count('\u2713 hit') + text.count('\u2717 miss') == judged
    assert 'category_planes.png' in page.sources and 'unseen_sheet.png' in page.links
    for name in {*page.sources, *page.links}:
        with Image.open(path.parent / name) as picture:
            picture.verify()
    sheet = np.asarray(draw_contact_sheet({'Any': cards}, title='T'))
    red, green = np.array([0xC2, 0x28, 0x1D]), np.array([0x12, 0x79, 0x4A])
    assert not (sheet == red).all(axis=-1).any() and not (sheet == green).all(axis=-1).any()
    _, page = report(tmp_path, unseen=make_unseen(own=False))
    assert 'own category' not in ' '.join(page.text) and 'category_planes.png' not in page.sources
    report(tmp_path)
    assert not (tmp_path / 'unseen_sheet.png').exists() and not (tmp_path / 'category_planes.png').exists()


def test_views_in_colour_are_shown_in_colour(tmp_path):
    view = np.zeros((8, 8, 3), np.uint8)
    view[..., 0] = 200
    card = dataclasses.replace(make_cards(1)[0], true_view=view)
    sheet = np.asarray(draw_contact_sheet({'Any': [card]}, title='T'))
    assert (sheet == np.array([200, 0, 0])).all(axis=-1).sum() > 1000


def test_text_is_escaped_everywhere(tmp_path):
    card = make_cards(1)[0]
    results = [(view, EVIL, score, true) for view, _, score, true in card.results]
    evil = QueryCard(card.photo, card.mask, card.true_view, results, EVIL, f'" onerror="{EVIL}', 2, section=EVIL)
    metrics = make_metrics()
    metrics['per_category'][EVIL] = metrics['per_category'].pop(NAMES[0])
    _, page = report(
        tmp_path, title=EVIL, metrics=metrics, config={EVIL: EVIL}, queries=[evil], skipped=[EVIL], notes=[EVIL],
        provenance={EVIL: EVIL, 'synthetic': False},
    )  # fmt: skip
    assert 'script' not in page.tags
    assert ''.join(page.text).count(EVIL) >= 9
    assert 'Synthetic data' not in ''.join(page.text)


def test_few_queries_no_training_and_an_older_report_in_the_folder(tmp_path):
    report(tmp_path)
    before = {file.name for file in (tmp_path / 'images').iterdir()}
    (tmp_path / 'images' / 'mine.txt').write_text('kept')
    path, page = report(
        tmp_path, queries=make_cards(3, seed=1), history=[], skipped=[], notes=[], metrics=make_metrics(train=False),
        provenance={},
    )  # fmt: skip
    assert len([c for c in page.classes if c.startswith('card ')]) == 3
    assert not (tmp_path / 'curves.png').exists() and 'curves.png' not in page.sources
    text = ' '.join(page.text)
    assert 'No training steps' in text and 'Nothing was skipped' in text and 'prior is unknown' in text
    after = {file.name for file in (tmp_path / 'images').iterdir()}
    assert 'mine.txt' in after and len(after) < len(before)
    assert {name.split('/')[1] for name in page.sources if '/' in name} == after - {'mine.txt'}
    none = report(path.parent, queries=[])[1]
    assert 'No queries to show' in ' '.join(none.text) and not (tmp_path / 'contact_sheet.png').exists()


def test_selection_puts_extremes_first_and_draws_from_all():
    ranks = np.array([1] * 50 + list(range(2, 52)))
    gaps = np.concatenate([np.linspace(0.1, 0.9, 50), -np.linspace(0.1, 0.9, 50)])
    sections = select_queries(ranks, gaps)
    best, worst, drawn = sections.values()
    assert best.tolist() == [49, 48, 47, 46, 45, 44]
    assert worst.tolist() == [99, 98, 97, 96, 95, 94]
    assert len(set(drawn.tolist())) == 24 and sorted(drawn) == drawn.tolist()
    np.testing.assert_array_equal(drawn, list(select_queries(ranks, gaps).values())[2])
    assert drawn.tolist() != list(select_queries(ranks, gaps, seed=1).values())[2].tolist()
    # Equal ranks are told apart by the gap alone, unknown gaps count as 0.
    gaps = np.array([0.2, -0.5, np.nan, -0.1, 0.1, 0.3, -0.2, -0.3])
    only_gaps = select_queries(np.full(8, 3), gaps, best=2, worst=2)
    assert only_gaps['Best queries'].tolist() == [5, 0] and only_gaps['Worst queries'].tolist() == [1, 7]
    assert only_gaps['All queries'].tolist() == list(range(8))
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
    assert (0x12, 0x79, 0x4A) in colours and (0xC2, 0x28, 0x1D) in colours
    binary = QueryCard(cards[0].photo, np.ones((8, 8, 1), np.uint8), cards[0].true_view, [], '', '', 9)
    draw_contact_sheet({'': [binary]}, title='')  # 0/1 mask with a channel, no answers, no names


def test_figures_without_data_are_left_out():
    assert draw_curves([]) is None
    assert draw_curves([{'loss': 1.0}, {'step': 1, 'preset': 'small'}]) is None
    assert draw_categories({'queries': 3}, {'top1': 'Top-1'}) is None
    one = draw_curves([{'step': 0, 'loss': 1.0}])
    assert [axes.get_title(loc='left') for axes in one.axes] == ['Loss']
    titles = [axes.get_title(loc='left') for axes in draw_curves(make_history()).axes]
    assert titles == ['Loss', 'Validation accuracy', 'Learning rate', 'Gradient norm']


def test_unwritable_folder_is_a_storage_error(tmp_path):
    (tmp_path / 'file').write_text('')
    with pytest.raises(StorageError, match='report'):
        report(tmp_path / 'file' / 'report')


def test_metrics_are_plain_json():
    json.dumps(make_metrics(), allow_nan=False)
