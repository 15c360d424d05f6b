"""The page of retrieval between modalities: which rows its sheets show, and what it says of them."""

import re

import numpy as np
import pytest
import references_metrics as oracle

from jaxret.metrics.cross_modal import cross_modal_metrics
from jaxret.reports.cross_modal import ranked_sheets, write_cross_modal_report

MODALITIES = ('image', 'mesh', 'point')
LABELS = np.array([0, 0, 0, 0, 1, 1, 2, 3, 4, 1, 0, 0, 0, 0, 0])  # classes 2, 3, 4 have one object each


def make_case(seed=0, noise=1.0):
    rng = np.random.default_rng(seed)
    centres = np.eye(5, 6)[LABELS]
    return {name: centres + noise * rng.standard_normal((len(LABELS), 6)) for name in MODALITIES}


@pytest.mark.parametrize('seed', [0, 1, 2])
def test_sheets_show_the_answers_in_their_order(seed):
    embeddings = make_case(seed)
    embeddings['mesh'][5] = embeddings['mesh'][0]  # a tie: the irrelevant one first
    sheets = ranked_sheets(embeddings, LABELS, count=3, worst=2, seed=seed)
    assert list(sheets) == [(q, g) for q in MODALITIES for g in MODALITIES]
    drawn = {tuple(row for row, _ in sheet[:3]) for sheet in sheets.values()}
    assert len(drawn) == 1
    for (query, gallery), sheet in sheets.items():
        assert len(sheet) == 5 and len({row for row, _ in sheet}) == 5
        values = {}
        for row in range(len(LABELS)):
            cosines = [oracle.cosine(embeddings[query][row].tolist(), item) for item in embeddings[gallery].tolist()]
            own = row if query == gallery else None
            values[row] = oracle.average_precision(oracle.ranked_relevance(cosines, LABELS.tolist(), LABELS[row], own))
            for shown, answers in sheet:
                if shown == row:
                    others = [g for g in range(len(LABELS)) if g != own]
                    others.sort(key=lambda g: (-round(cosines[g], 10), LABELS[g] == LABELS[row], g))
                    assert answers.tolist() == others[:10]
        left = {row: value for row, value in values.items() if value is not None and row not in next(iter(drawn))}
        assert [row for row, _ in sheet[3:]] == sorted(left, key=left.get)[:2]


def test_drawn_rows_are_of_different_classes_and_first_of_those_with_several_objects():
    for seed in range(10):
        sheet = ranked_sheets(make_case(), LABELS, count=7, worst=0, seed=seed)['image', 'mesh']
        classes = [int(LABELS[row]) for row, _ in sheet]
        assert set(classes[:2]) == {0, 1} and set(classes[2:5]) == {2, 3, 4} and set(classes[5:]) <= {0, 1}


def test_the_page_says_what_could_be_found(tmp_path):
    embeddings, names = make_case(noise=0.0), ['<tag>', 'a & b', 'café', '名前', 'x' * 99]
    metrics = cross_modal_metrics(embeddings, LABELS, names)
    options = {'config': {}, 'history': [], 'skipped': ['one & only'], 'notes': [], 'provenance': {'synthetic': False}}
    path = write_cross_modal_report(
        tmp_path,
        title='t',
        metrics=metrics,
        embeddings=embeddings,
        labels=LABELS,
        class_names=names,
        names=[f'<{i}>' for i in range(len(LABELS))],
        view_of=lambda row: np.full((8, 8), row, np.uint8),
        **options,
    )
    page = path.read_text()
    assert '<tag>' not in page and '&lt;tag&gt;' in page and 'one &amp; only' in page
    verdicts = {}
    for query, gallery, cards in re.findall(r'<h3>(\w+) \u2192 (\w+)</h3>(.*?)</div>\n(?=<h)', page, re.DOTALL):
        verdicts[query, gallery] = re.findall(r'<span class="verdict">(.*?)</span>', cards)
    # 4 drawn: class 0 with 9 objects, class 1 with 3, two that are alone; the worst ones are of class 0 or 1
    assert sorted(verdicts['mesh', 'mesh'][:4]) == ['2 of 2', '8 of 8', 'alone in its class', 'alone in its class']
    assert sorted(verdicts['image', 'point'][:4]) == ['1 of 1', '1 of 1', '3 of 3', '9 of 9']
    row = re.search(r'>image \u2192 mesh</th>.*?</tr>', page, re.DOTALL)[0]
    assert '<td class="first"></td><td></td><td></td>' in row  # no column "without itself" between modalities
