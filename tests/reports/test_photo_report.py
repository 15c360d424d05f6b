"""The report: complete, offline, escaped, and right about hits and misses."""

import dataclasses
import json
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image, ImageColor

from jaxret.errors import StorageError
from jaxret.metrics.photo_to_shape import add_shape_metrics, retrieval_metrics
from jaxret.reports.contact_sheet import QueryCard, draw_contact_sheet, sections_of
from jaxret.reports.curves import draw_categories, draw_curves
from jaxret.reports.palette import HIT, MISS
from jaxret.reports.photo_to_shape import UnseenGallery, write_report

NAMES = ('bed', 'chair <b>', 'a $sofa$ & \u6905\u5b50')
EVIL = '<script>alert("x")</script>'


class Page(HTMLParser):
    """Collects sources, links, text and tag balance."""

    VOID = {'img', 'meta', 'br', 'link', 'input', 'hr'}

    def __init__(self, text):
        super().__init__()
        self.open, self.sources, self.links, self.classes, self.text, self.tags = [], [], [], [], [], set()
        self.feed(text.replace('<wbr>', ''))
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
        scores, positive, category[positive], category, train_positive=positive if train else None, category_names=NAMES
    )
    return add_shape_metrics(
        metrics,
        hausdorff=rng.random(queries),
        iou=rng.random(queries),
        query_category=category[positive],
        category_names=NAMES,
    )


def make_history(steps=60):
    lines = [{'step': s, 'loss': 3 / (s + 1), 'learning_rate': 1e-4, 'gradient_norm': 1.0} for s in range(steps)]
    lines[5]['loss'] = float('nan')
    lines[6]['loss'] = None
    lines[40]['val_top1'] = 0.4
    return [*lines, {'step': 59, 'val_top1': 0.5, 'preset': 'small'}]


def report(folder, **changes):
    arguments = {
        'title': 'CMIC on the sample',
        'metrics': make_metrics(),
        'config': {'seed': 1, 'optimizer': {'lr': 5e-5}},
        'history': make_history(),
        'queries': make_cards(30),
        'skipped': ['img/1.jpg: truncated'],
        'notes': ['a note'],
        'provenance': {'synthetic': True, 'Checkpoint': 'step 59'},
    }
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
        'unseen_left_out': 3,
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
        '(3 shapes of the run are left out)',
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
    red, green = (np.array(ImageColor.getrgb(colour)) for colour in (MISS, HIT))
    assert not (sheet == red).all(axis=-1).any() and not (sheet == green).all(axis=-1).any()
    _, page = report(tmp_path, unseen=make_unseen(own=False))
    assert 'own category' not in ' '.join(page.text) and 'category_planes.png' not in page.sources
    report(tmp_path)
    assert not (tmp_path / 'unseen_sheet.png').exists() and not (tmp_path / 'category_planes.png').exists()


def test_text_is_escaped_everywhere(tmp_path):
    card = make_cards(1)[0]
    results = [(view, EVIL, score, true) for view, _, score, true in card.results]
    evil = QueryCard(card.photo, card.mask, card.true_view, results, EVIL, f'" onerror="{EVIL}', 2, section=EVIL)
    metrics = make_metrics()
    metrics['per_category'][EVIL] = metrics['per_category'].pop(NAMES[0])
    _, page = report(
        tmp_path,
        title=EVIL,
        metrics=metrics,
        config={EVIL: EVIL},
        queries=[evil],
        skipped=[EVIL],
        notes=[EVIL],
        provenance={EVIL: EVIL, 'synthetic': False},
    )
    assert 'script' not in page.tags
    assert ''.join(page.text).count(EVIL) >= 9
    assert 'Synthetic data' not in ''.join(page.text)


def test_few_queries_no_training_and_an_older_report_in_the_folder(tmp_path):
    report(tmp_path)
    before = {file.name for file in (tmp_path / 'images').iterdir()}
    (tmp_path / 'images' / 'mine.txt').write_text('kept')
    path, page = report(
        tmp_path,
        queries=make_cards(3, seed=1),
        history=[],
        skipped=[],
        notes=[],
        metrics=make_metrics(train=False),
        provenance={},
    )
    assert len([c for c in page.classes if c.startswith('card ')]) == 3
    assert not (tmp_path / 'curves.png').exists() and 'curves.png' not in page.sources
    text = ' '.join(page.text)
    assert 'No training steps' in text and 'Nothing was skipped' in text and 'prior is unknown' in text
    after = {file.name for file in (tmp_path / 'images').iterdir()}
    assert 'mine.txt' in after and len(after) < len(before)
    assert {name.split('/')[1] for name in page.sources if '/' in name} == after - {'mine.txt'}
    none = report(path.parent, queries=[])[1]
    assert 'No queries to show' in ' '.join(none.text) and not (tmp_path / 'contact_sheet.png').exists()


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
