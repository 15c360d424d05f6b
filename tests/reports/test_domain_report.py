"""Pictures and report of photos and shapes in one space: what they show, and that odd input can be drawn."""

import re

import numpy as np
import pytest

from jaxret.metrics.domain_adaptation import benchmark_metrics
from jaxret.reports.domain_adaptation import sheet_rows, write_domain_report
from jaxret.reports.domain_plots import draw_domains, draw_pooled_curves, lay_out_domains

NAMES = ('chair', '$desk', 'sofa_bed')


def make_case(photos=20, shapes=31, gap=0.0, noise=0.15, seed=0):
    rng = np.random.default_rng(seed)
    photo_labels, shape_labels = np.arange(photos) % 3, np.arange(shapes) % 3
    centres = np.abs(rng.standard_normal((3, 16)))
    x = centres[photo_labels] + noise * rng.standard_normal((photos, 16))
    y = centres[shape_labels] + noise * rng.standard_normal((shapes, 16)) + gap * rng.standard_normal(16)
    return x, y, photo_labels, shape_labels


def picture(figure):
    figure.canvas.draw()
    return np.asarray(figure.canvas.buffer_rgba())[..., :3]


def test_domains_and_classes_in_the_plane():
    x, y, photo_labels, shape_labels = make_case()
    plane = lay_out_domains(x, y, photo_labels, shape_labels, iterations=300)
    assert plane.position.shape == (51, 2)
    assert plane.label.tolist() == [*photo_labels, *shape_labels]
    assert plane.group.tolist() == [0] * 20 + [1] * 31
    distance = np.linalg.norm(plane.position[:, None] - plane.position[None, :], axis=-1)
    np.fill_diagonal(distance, np.inf)
    assert (plane.label[distance.argmin(axis=1)] == plane.label).all()
    apart = lay_out_domains(*make_case(gap=9.0), iterations=300)
    distance = np.linalg.norm(apart.position[:, None] - apart.position[None, :], axis=-1)
    np.fill_diagonal(distance, np.inf)
    assert (apart.group[distance.argmin(axis=1)] == apart.group).all()
    few = lay_out_domains(x, y, photo_labels, shape_labels, max_points=30, iterations=250)
    assert np.bincount(few.group).tolist() == [15, 15]


def test_one_row_a_stage_and_two_panels_a_row():
    x, y, photo_labels, shape_labels = make_case()
    figure = draw_domains(
        {'before': (x[:, :5], y[:, :5]), 'after': (x, y)}, photo_labels, shape_labels, NAMES, iterations=250
    )
    assert [axes.get_title(loc='left') for axes in figure.axes] == [
        'before: by domain',
        'before: by class',
        'after: by domain',
        'after: by class',
    ]
    for axes in figure.axes:
        assert sum(len(points.get_offsets()) for points in axes.collections) == 51
    assert [text.get_text() for text in figure.axes[3].texts] == list(NAMES)
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ['20 of 20 photos', '31 of 31 shapes']
    assert picture(figure).std() > 10
    same, none = (np.ones((9, 3)), np.ones((9, 3))), np.zeros(9, int)
    assert draw_domains({'after': same}, none, none, NAMES) is None


def test_curves_show_both_modes():
    x, y, photo_labels, shape_labels = make_case(noise=1.0)
    metrics = benchmark_metrics(x, y, photo_labels, shape_labels, NAMES)
    figure = draw_pooled_curves(metrics)
    for axes, mode in zip(figure.axes, ('official', 'standard'), strict=True):
        assert axes.lines[0].get_ydata().tolist() == metrics['precision_recall'][mode]['precision']
        assert axes.lines[0].get_xdata().tolist() == metrics['precision_recall'][mode]['recall']
    assert picture(figure).std() > 5
    assert draw_pooled_curves(benchmark_metrics(x, y, np.zeros(20, int), np.ones(31, int), NAMES)) is None


def test_sheets_show_classes_first_and_then_the_worst():
    x, y, photo_labels, shape_labels = make_case()
    x[7] = 0  # equally far from all shapes, so that the wrong ones come first
    drawn, lowest = sheet_rows(x, y, photo_labels, shape_labels, count=3, worst=2, seed=1).values()
    assert sorted(photo_labels[drawn]) == [0, 1, 2]
    if 7 not in drawn:
        assert lowest[0] == 7
    assert not set(drawn) & set(lowest) and len(lowest) == 2
    everything = sheet_rows(x, y, photo_labels, shape_labels, count=99)
    assert [len(rows) for rows in everything.values()] == [20, 0]


@pytest.mark.parametrize('channels', [1, 3])
def test_report(tmp_path, channels):
    x, y, photo_labels, shape_labels = make_case()
    photo_labels[0] = 2
    rng = np.random.default_rng(0)
    views = rng.integers(256, size=(31, 8, 8, 3), dtype=np.uint8)
    metrics = benchmark_metrics(x, y, photo_labels, shape_labels, NAMES, train_labels=photo_labels)
    page = write_domain_report(
        tmp_path / 'report',
        title='<a title>',
        metrics=metrics,
        photos=x,
        shapes=y,
        before=('initial weights', x[:, :3], y[:, :3]) if channels == 1 else None,
        photo_labels=photo_labels,
        shape_labels=shape_labels,
        class_names=NAMES,
        photo_names=[f'photo {i}' for i in range(20)],
        shape_names=[f'shape {i}' for i in range(31)],
        photo_of=lambda row: rng.integers(256, size=(8, 8, 3), dtype=np.uint8),
        view_of=lambda row: views[row] if channels == 3 else views[row, ..., 0],
        config={'seed': 0},
        history=[{'step': 1, 'loss': 2.0, 'val_source_accuracy': 0.5}, {'step': 2, 'loss': 1.0}],
        skipped=['a file'],
        notes=['a note'],
        provenance={'synthetic': True},
    ).read_text()
    for text in (
        '&lt;a title&gt;',
        f'{metrics["nn"]:.3f}',
        f'{metrics["standard_anmrr"]:.3f}',
        'a note',
        'a file',
        'Synthetic data',
        'sofa_bed',
    ):
        assert text in page.replace('<wbr>', '')
    assert ('initial weights and after' in page) == (channels == 1)
    for name in ('embedding', 'precision_recall', 'curves'):
        assert (tmp_path / 'report' / f'{name}.png').stat().st_size > 1000
    shown = re.findall(r'src="(images/[^"]+)"', page)
    assert shown and all((tmp_path / 'report' / name).exists() for name in shown)
    assert page.count('<article') == 18 and len(shown) == 18 * 11
    right = len(re.findall(r'figure class="(?:answers )?true"', page))
    assert right == len(re.findall(r'figcaption>\u2713 ', page)) > 100
