"""The scan report: complete, offline, escaped, and right about hits and misses."""

import numpy as np
import pytest
from PIL import Image
from test_photo_report import EVIL, Page

from jaxret.errors import StorageError
from jaxret.metrics.scan_to_cad import Annotations, pool_metrics, scan_cad_metrics
from jaxret.reports.scan_cards import ScanCard, draw_scan_sheet
from jaxret.reports.scan_to_cad import rate_rows, write_scan_report
from jaxret.reports.voxel_renders import draw_voxels

NAMES = ('bin', EVIL, 'chair')


def make_annotations(seed=0):
    rng = np.random.default_rng(seed)
    return Annotations(rng.random((12, 6)), np.tile([0, 1, 2, 0, 0, 3], (12, 1)), rng.integers(3, size=12))


def make_metrics(seed=0, pools=True):
    rng = np.random.default_rng(seed)
    category = np.arange(9) % 3
    true = rng.integers(9, size=20)
    cads = rng.normal(size=(9, 4))
    return scan_cad_metrics(
        cads[true] + rng.normal(size=(20, 4)),
        cads,
        scan_category=category[true],
        cad_category=category,
        category_names=NAMES,
        true_cad=true,
        annotations=make_annotations(seed) if pools else None,
    )


def make_card(kinds, rank, name='scan 1'):
    pictures = draw_voxels(np.random.default_rng(len(kinds)).integers(0, 3, size=(3, 8, 8, 8)), size=24)
    return ScanCard(
        {'scan': pictures[0], 'own CAD': pictures[1]},
        [(pictures[2], f'cad {i}', 0.5 + i, kind) for i, kind in enumerate(kinds)],
        name,
        'chair',
        rank,
    )


def write(folder, **changes):
    embeddings = {name: np.random.default_rng(i).normal(size=(9, 4)) for i, name in enumerate(('scan', 'CAD'))}
    values = {
        'title': 'a & b',
        'splits': {
            'test': make_metrics(),
            'train': make_metrics(1),
            'all': pool_metrics(make_annotations(), category_names=NAMES),
        },
        'embeddings': embeddings,
        'labels': np.arange(9) % 3,
        'category_names': NAMES,
        'config': {'seed': 0},
        'skipped': [],
        'notes': [EVIL],
        'history': [{'step': 1, 'loss': 1.0}, {'step': 2, 'loss': 0.5}],
        'provenance': {'synthetic': True},
        'cards': {
            'Best': [make_card(('own', 'category', 'other'), 1)],
            'Worst': [make_card(('other', 'own'), 2, EVIL), make_card(('category',), None)],
        },
    }
    return write_scan_report(folder, **(values | changes))


def test_the_page_is_whole_and_offline(tmp_path):
    folder = tmp_path / 'report'
    path = write(folder)
    text = path.read_text()
    page = Page(text)
    assert page.open == [] and 'script' not in page.tags and 'http' not in text
    for source in [*page.sources, *page.links]:
        assert (folder / source).stat().st_size > 0
    joined = ''.join(page.text)
    for part in ('Synthetic data', EVIL, 'own model found', 'own model at rank 2', 'own model not in the gallery'):
        assert part in joined
    assert {'scans.png', 'embedding.png', 'curves.png', 'images', 'index.html'} == {f.name for f in folder.iterdir()}
    classes = page.classes
    assert classes.count('answers true') == 1 and classes.count('answers wrong') == 1
    assert sum('wrong' in name for name in classes) == 2
    for path in (folder / 'images').iterdir():
        with Image.open(path) as picture:
            assert picture.mode == 'RGB'


def test_the_tables_hold_the_metrics():
    metrics = make_metrics()
    rows = {row['title']: row for row in rate_rows(metrics)}
    assert len(rows) == len(rate_rows(metrics)) == 5
    assert len({row['title'] for row in rate_rows(metrics | {'annotations_filtered': 11})}) == 8
    row = rows['Exact order of the pool']
    assert row['value'] == f'{100 * metrics["ranking_quality"]:.1f} %' and row['count'] == 12
    assert row['chance'] == '16.7 %' and row['macro'] == f'{100 * metrics["ranking_quality_macro"]:.1f} %'
    assert rows['Category of the nearest CAD']['count'] == 20
    assert len(rate_rows(make_metrics(pools=False))) == 2


def test_without_pools_cards_or_history(tmp_path):
    page = Page(write(tmp_path, splits={'test': make_metrics(pools=False)}, cards={}, history=[]).read_text())
    joined = ''.join(page.text)
    assert 'Nothing was trained' in joined and 'pools' not in joined.split('Categories')[1].split('Scans and')[0]
    assert not (tmp_path / 'scans.png').exists()


def test_the_sheet_has_a_row_for_every_card():
    cards = [make_card(('own', 'other'), 1), make_card(('other', 'own'), 2)]
    one, two = (draw_scan_sheet({'All': cards[:n]}, title='t') for n in (1, 2))
    assert two.width == one.width and two.height - one.height > 112
    assert draw_scan_sheet({}, title='t') is None


def test_a_folder_that_cannot_be_written(tmp_path):
    (tmp_path / 'report').write_text('')
    with pytest.raises(StorageError):
        write(tmp_path / 'report')
