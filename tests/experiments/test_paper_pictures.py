"""The page of a paper's pictures: taken of a run's report, drawn of its data, or named as missing."""

import io
import json
import shutil
from types import SimpleNamespace

import numpy as np
import paper_pictures
import pytest
from overrides import load_config
from photo_to_shape.paper_figures import draw_colors, draw_look_alikes, look_alikes
from PIL import Image

from data_pipelines.photo_to_shape.prepare import GalleryTable, QueryTable
from jaxret.runs.config import flatten


def png(pixels):
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, format='png')
    return stream.getvalue()


@pytest.fixture
def data():
    """Five shapes as bars: the first and the fourth, of different categories, have nearly the same outline."""
    sizes, views = ((4, 16), (8, 16), (12, 14), (4, 15), (16, 16)), np.full((5, 2, 24, 24, 1), 255, np.uint8)
    for (height, width), own in zip(sizes, views, strict=True):
        own[0, 2 : 2 + height, 2 : 2 + width] = own[1, 2 : 2 + height, 2:8] = 100
    gallery = GalleryTable(views, np.array([0, 0, 0, 1, 1], np.int32), [f'model/x/{n}/m.obj' for n in 'abcde'], [])
    rng = np.random.default_rng(0)
    pictures = [png(rng.integers(40 * n, 40 * n + 40, (16, 16, 3), dtype=np.uint8)) for n in range(5)]
    train = QueryTable(pictures, [], np.array([0, 0, 1, 1, 1], np.int32), np.arange(5), list('abcde'))
    dataset = SimpleNamespace(categories=('low', 'high'))
    return SimpleNamespace(gallery=gallery, queries={'train': train}, dataset=dataset)


def test_look_alikes_are_the_nearest_outlines_of_different_categories(data):
    pairs = look_alikes(data.gallery, 255)
    assert pairs[0][:2] == (0, 3) and len(pairs) == 2
    assert [distance for *_, distance in pairs] == sorted(distance for *_, distance in pairs)
    shapes = [shape for pair in pairs for shape in pair[:2]]
    assert len(set(shapes)) == len(shapes)
    assert all(data.gallery.category[a] != data.gallery.category[b] for a, b, _ in pairs)
    sheet = draw_look_alikes(data, 255)
    assert sheet.width > 6 * 132 and (np.asarray(sheet) == 100).all(axis=-1).any()
    data.gallery.category[:] = 0
    assert draw_look_alikes(data, 255) is None


def test_colours_are_those_of_the_sources_above_them(data):
    config, _ = load_config('pix3d.py')
    config.color.hsv_range = (0.0, 0.0, 0.0)
    sheet = np.asarray(draw_colors(config, data), np.float64)
    # one row of sources, one of a target: 4 of the 5 photos are sources
    cells = [[sheet[top + 20 : top + 120, left + 20 : left + 120].mean(axis=(0, 1)) for left in lefts]
             for top, lefts in rows_of_cells(sheet)]  # fmt: skip
    sources, (target, *changed) = cells[0][1:5], cells[1]
    for source, transferred in zip(sources, changed[:4], strict=True):
        np.testing.assert_allclose(transferred, source, atol=6)
    for shifted in changed[4:]:  # by nothing
        np.testing.assert_allclose(shifted, target, atol=1.5)


def rows_of_cells(sheet):
    lefts = [8 + column * 140 + 18 * sum(column >= group for group in (1, 5)) for column in range(9)]
    top = 12 + round(14 * 1.25)
    return [(top, lefts), (len(sheet) - 140 - 20, lefts)]


def workdir(tmp_path, name='modelnet40.py:smoke'):
    config, _ = load_config(name)
    folder = tmp_path / 'run'
    (folder / 'report').mkdir(parents=True)
    (folder / 'config.json').write_text(json.dumps(flatten(config)))
    (folder / 'metrics.json').write_text(json.dumps({'synthetic': True, 'data_dir': 'sample'}))
    Image.new('RGB', (30, 20), (250, 0, 0)).save(folder / 'report' / 'embedding.png')
    return folder


def test_pictures_of_the_report_are_taken_and_missing_ones_named(tmp_path, capsys):
    folder = workdir(tmp_path)
    assert paper_pictures.main([f'--workdir={folder}']) == 0
    page = (folder / 'paper' / 'index.html').read_text()
    with Image.open(folder / 'paper' / 'embedding.png') as picture:
        assert picture.size == (30, 20)
    assert 'precision_recall: the report of the run has none' in page.replace('<wbr>', '')
    assert not (folder / 'paper' / 'precision_recall.png').exists()
    assert str(folder / 'paper') in capsys.readouterr().out


def test_what_is_no_run_is_refused(tmp_path, capsys):
    assert paper_pictures.main([f'--workdir={tmp_path}']) == 1
    assert 'no such file; --workdir must be' in capsys.readouterr().err
    folder = workdir(tmp_path)
    assert paper_pictures.main([f'--workdir={folder}', f'--tables={tmp_path}']) == 1
    assert 'no results.json in it' in capsys.readouterr().err
    for damaged in ('', '{}', '{"tables": [{}]}', '{"tables": 3}'):
        (tmp_path / 'results.json').write_text(damaged)
        assert paper_pictures.main([f'--workdir={folder}', f'--tables={tmp_path}']) == 1
        assert 'results.json: damaged, or of an earlier version' in capsys.readouterr().err
    (folder / 'metrics.json').write_text('{')
    assert paper_pictures.main([f'--workdir={folder}']) == 1
    assert 'metrics.json: damaged' in capsys.readouterr().err


def test_pictures_of_evaluations_are_found(tmp_path, capsys):
    """Such as of an unseen gallery, which is given to --mode=eval."""
    folder = workdir(tmp_path)
    evaluation = folder / 'evaluations' / 'data'
    shutil.copytree(folder / 'report', evaluation / 'report')
    (evaluation / 'report' / 'index.html').write_text('')
    (evaluation / 'report' / 'embedding.png').rename(evaluation / 'report' / 'precision_recall.png')
    shutil.copy(folder / 'metrics.json', evaluation)
    assert paper_pictures.main([f'--workdir={folder}']) == 0
    assert {picture.name for picture in (folder / 'paper').glob('*.png')} == {'embedding.png', 'precision_recall.png'}
    capsys.readouterr()
    assert paper_pictures.main([f'--workdir={evaluation}']) == 1
    assert 'an evaluation; --workdir must be the work directory of its run' in capsys.readouterr().err
