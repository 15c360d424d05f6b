"""Galleries in ShapeNet's layout: both versions, categories, and what is wrong with some of the models."""

import os
import shutil

import numpy as np
import pytest
from car_folders import box_vertices, write_model

from data_pipelines.photo_to_shape.prepare import load_gallery, prepare
from data_pipelines.photo_to_shape.shapenet import read_shapenet
from jaxret.errors import ConfigError, DataError
from jaxret.geometry.view_ring import SHADINGS, ViewRing

CHAIR, TABLE, UNNAMED = '03001627', '04379243', '01234567'
V1, V2 = 'model.obj', 'models/model_normalized.obj'


def read(root, **options):
    return read_shapenet(root, check_processes=1, progress=False, **options)


def problems_of(root, **options):
    with pytest.raises(DataError) as caught:
        read(root, **options)
    assert all(problem.where and problem.found and problem.action for problem in caught.value.problems)
    return caught.value.problems


def write_gallery(root, *, chairs=10, tables=2, version=V2):
    for synset, count in ((CHAIR, chairs), (TABLE, tables)):
        for number in range(count):
            vertices = box_vertices(np.array([1.0, 0.2 + 0.1 * number, 0.5]))
            write_model(root / synset / f'm{number}' / version, vertices)


@pytest.mark.parametrize('version', [V1, V2])
def test_both_versions(tmp_path, version):
    write_gallery(tmp_path, version=version)
    (tmp_path / 'taxonomy.json').write_text('[]')
    (tmp_path / 'notes').mkdir()
    (tmp_path / CHAIR / 'list.txt').write_text('m0')
    (tmp_path / CHAIR / '.hidden').mkdir()
    dataset = read(tmp_path)
    assert dataset.photos == () and dataset.skipped == () and dataset.required_splits == () and dataset.up_axis == 'y'
    assert [shape.model for shape in dataset.shapes] == [
        *(f'{CHAIR}/m{number}' for number in range(10)),
        f'{TABLE}/m0',
        f'{TABLE}/m1',
    ]
    assert dataset.shapes[3].path == tmp_path / CHAIR / 'm3' / version
    assert dataset.categories == ('chair', 'table') and [shape.category for shape in dataset.shapes][9:11] == [
        'chair',
        'table',
    ]


def test_the_second_version_goes_first(tmp_path):
    write_gallery(tmp_path, chairs=1, tables=0)
    write_gallery(tmp_path, chairs=1, tables=0, version=V1)
    assert read(tmp_path).shapes[0].path == tmp_path / CHAIR / 'm0' / V2


def test_categories(tmp_path):
    write_gallery(tmp_path, chairs=2)
    write_model(tmp_path / UNNAMED / 'x' / V1, box_vertices())
    assert read(tmp_path).categories == (UNNAMED, 'chair', 'table')
    for names in (('table',), (TABLE,), ('table', TABLE)):
        assert [shape.model for shape in read(tmp_path, categories=names).shapes] == [f'{TABLE}/m0', f'{TABLE}/m1']
    assert read(tmp_path / CHAIR).categories == ('chair',)  # the folder of a synset itself
    (problem,) = problems_of(tmp_path, categories=('chair', 'sofa'), on_bad_file='skip')
    assert problem.found == "no category 'sofa'" and problem.action == f'choose from: {UNNAMED}, chair, table'


def break_one_in_ten(root):
    """A gallery of thirty with three broken models; returns what is to be found."""
    write_gallery(root, chairs=30, tables=0)
    (root / CHAIR / 'm3' / V2).write_text('v 0 0 0\nv 1 0 0\nv 0 nan 0\nf 1 2 3\n')
    (root / CHAIR / 'm13' / V2).unlink()
    (root / CHAIR / 'm23' / V2).write_bytes(b'')
    return {str(root / CHAIR / 'm3' / V2): 'not finite', str(root / CHAIR / 'm23' / V2): 'empty',
            str(root / CHAIR / 'm13'): 'neither models/model_normalized.obj nor model.obj'}  # fmt: skip


def test_one_in_ten_models_is_broken(tmp_path):
    expected = break_one_in_ten(tmp_path / 'data')
    for problems in (problems_of(tmp_path / 'data'), read(tmp_path / 'data', on_bad_file='skip').skipped):
        assert {problem.where for problem in problems} == expected.keys() and len(problems) == 3
        assert all(expected[problem.where] in problem.found for problem in problems)
    dataset = read(tmp_path / 'data', on_bad_file='skip')
    assert len(dataset.shapes) == 27 and f'{CHAIR}/m13' not in [shape.model for shape in dataset.shapes]
    found = [problem.found for problem in problems_of(tmp_path / 'data', on_bad_file='skip', min_shapes=28)]
    assert found[0] == '27 usable shapes where 28 are needed' and len(found) == 4


def test_a_gallery_is_prepared_as_any_other(tmp_path):
    write_gallery(tmp_path / 'data', chairs=2, tables=1)
    (tmp_path / 'data' / CHAIR / 'broken').mkdir()
    dataset = read(tmp_path / 'data', on_bad_file='skip', cache_dir=tmp_path / 'cache')
    prepared = prepare(
        dataset,
        ViewRing(views=3, size=16),
        size=16,
        cache_dir=tmp_path / 'cache',
        processes=1,
        progress=False,
        name='shapenet',
    )
    gallery = load_gallery(prepared)
    assert gallery.names == [f'{CHAIR}/m0', f'{CHAIR}/m1', f'{TABLE}/m0'] and gallery.category.tolist() == [0, 0, 1]
    assert gallery.views.shape == (3, 3, 16, 16, 1) and all((views < 255).any() for views in gallery.views)
    assert gallery.paths == [shape.path for shape in dataset.shapes]


def test_textured_views_are_prepared_apart(tmp_path):
    write_gallery(tmp_path / 'data', chairs=1, tables=1)
    path = tmp_path / 'data' / CHAIR / 'm0' / V2
    path.write_text('mtllib m.mtl\nusemtl red\n' + path.read_text())
    (path.parent / 'm.mtl').write_text('newmtl red\nKd 1 0 0\n')
    dataset = read(tmp_path / 'data')
    galleries = [
        load_gallery(
            prepare(
                dataset,
                ViewRing(views=2, size=8, shading=shading),
                size=8,
                processes=1,
                cache_dir=tmp_path / 'cache',
                progress=False,
            )
        )
        for shading in SHADINGS
    ]
    grey, textured = (gallery.views for gallery in galleries)
    assert grey.shape == (2, 2, 8, 8, 1) and textured.shape == (2, 2, 8, 8, 3)
    np.testing.assert_array_equal(textured[..., :1], grey)
    object_pixels = grey[0, ..., 0] < 255
    assert object_pixels.any() and (textured[0, object_pixels, 1:] == 0).all()
    np.testing.assert_array_equal(textured[1], np.repeat(grey[1], 3, axis=-1))


def test_folders_that_are_no_gallery(tmp_path):
    assert 'does not exist' in problems_of(tmp_path / 'none')[0].found
    (tmp_path / 'chairs').mkdir()
    assert [problem.found for problem in problems_of(tmp_path)] == ['no folder of a synset (eight digits)']
    (tmp_path / CHAIR).mkdir()
    assert [problem.found for problem in problems_of(tmp_path)] == ['0 usable shapes where 1 are needed']
    with pytest.raises(ConfigError, match='on_bad_file'):
        read(tmp_path, on_bad_file='ignore')


def test_links(tmp_path):
    write_gallery(tmp_path / 'data', chairs=3, tables=2)
    (tmp_path / 'data' / TABLE).rename(tmp_path / 'tables')
    (tmp_path / 'data' / TABLE).symlink_to(tmp_path / 'tables')  # a whole category may lie elsewhere
    assert len(read(tmp_path / 'data').shapes) == 5
    shutil.move(tmp_path / 'data' / CHAIR / 'm1', tmp_path / 'm1')
    (tmp_path / 'data' / CHAIR / 'm1').symlink_to(tmp_path / 'm1')
    assert len(read(tmp_path / 'data').shapes) == 5
    (tmp_path / 'data' / CHAIR / os.fsdecode(b'\xe9')).mkdir()
    assert any('not UTF-8' in problem.found for problem in problems_of(tmp_path / 'data'))


def test_fingerprint_follows_files_and_choice(tmp_path):
    write_gallery(tmp_path, chairs=2)
    first = read(tmp_path)
    assert read(tmp_path) == first
    found = {first.fingerprint, read(tmp_path, categories=('chair',)).fingerprint}
    os.utime(first.shapes[0].path, ns=(1, 1))
    assert len(found | {read(tmp_path).fingerprint}) == 3
