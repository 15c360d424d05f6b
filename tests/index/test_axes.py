"""Which axis points up in the models of an index, how that is known, and that it stays."""

import hashlib
import json

import pytest
from small_index import opened, write_box
from upright_shapes import CHAIR, CUBE, TABLE, as_z_up, boxes, write_obj

from jaxret.errors import DataError
from jaxret.index import axes as index_axes
from jaxret.index import overview as index_overview
from jaxret.index.axes import settle_axes
from jaxret.index.files import held_table, read_manifest
from jaxret.index.model_files import ModelFile
from jaxret.index.sources import FoundModel
from jaxret.preprocessing.inputs import ShapeInputs


def axes(tmp_path):
    with held_table(tmp_path / 'index') as (_, rows):
        return {row.id: (row.up_axis, row.axis_from) for row in rows}


def write_z_up(folder):
    for name, mesh in (('a/table', TABLE), ('a/chair', CHAIR), ('b/cube', CUBE)):
        write_obj(folder / f'{name}.obj', as_z_up(mesh))


def test_models_of_a_folder_are_guessed_together_and_formats_speak_for_themselves(update, tmp_path):
    write_z_up(tmp_path / 'models')
    write_box(tmp_path / 'models' / 'b/box.glb', 1, 2, 3)
    done = update()
    assert axes(tmp_path) == {
        'a/chair.obj': ('z', 'guessed'),
        'a/table.obj': ('z', 'guessed'),
        'b/box.glb': ('y', 'stated'),
        'b/cube.obj': ('z', 'guessed'),
    }
    assert done.axes == '1 y by format, 3 z guessed' and 'overview.html' in done.told(tmp_path / 'index')
    with opened(tmp_path) as index:
        assert index.up_axis('b/cube.obj') == 'z' and index.up_axis('b/box.glb') == 'y'
        assert index.axis_of_query(tmp_path / 'gone.obj') == 'z'  # of a query whose format does not say
    assert update().embedded == 0
    # given: only where a format does not say
    assert update(up_axis='y').embedded == 3 and set(axes(tmp_path).values()) == {('y', 'given'), ('y', 'stated')}
    assert update(up_axis='z').embedded == 3 and axes(tmp_path)['b/box.glb'] == ('y', 'stated')
    assert update(up_axis='auto').embedded == 0 and axes(tmp_path)['a/chair.obj'] == ('z', 'guessed')


def test_what_is_settled_stays_until_a_rebuild(update, tmp_path):
    write_obj(tmp_path / 'models/cube.obj', CUBE)
    update()
    assert axes(tmp_path) == {'cube.obj': ('y', 'default')}
    write_z_up(tmp_path / 'models')
    (tmp_path / 'models/cube.obj').touch()
    assert update().embedded == 3
    assert axes(tmp_path)['cube.obj'] == ('y', 'default') and axes(tmp_path)['b/cube.obj'] == ('z', 'guessed')
    with opened(tmp_path) as index:
        assert index.query_up_axis == 'auto' == index.axis_of_query(tmp_path / 'index/index.json')
        assert index.axis_of_query(tmp_path / 'models/b/cube.obj') == 'z'  # as it is indexed, whatever it looks like
    (tmp_path / 'models/a/table.obj').unlink()
    write_obj(tmp_path / 'models/new.obj', boxes(((0, 0, 0), (2, 2, 2))))  # follows what was guessed before
    assert update().embedded == 1 and axes(tmp_path)['new.obj'] == ('z', 'guessed')
    (tmp_path / 'models/a/chair.obj').unlink()
    update(rebuild=True)
    assert set(axes(tmp_path).values()) == {('y', 'default')}


def test_copies_of_one_content_have_one_axis(update, tmp_path):
    write_z_up(tmp_path / 'models')
    for name, mesh in (('table', TABLE), ('chair', CHAIR), ('bench', TABLE)):
        write_obj(tmp_path / f'models/c/{name}.obj', mesh)  # a folder that is guessed +y
    copies = ('a/copy.obj', 'c/copy.obj')
    for name in copies:
        write_obj(tmp_path / 'models' / name, CUBE)
    update()
    found = axes(tmp_path)
    assert (found['a/chair.obj'][0], found['c/chair.obj'][0]) == ('z', 'y')
    assert found[copies[0]] == found[copies[1]]
    write_obj(tmp_path / 'models/c/d/later.obj', CUBE)
    (tmp_path / 'axes.csv').write_text('path,category,up_axis\na/copy.obj,cube,z\n')
    update(categories=tmp_path / 'axes.csv')
    assert {axes(tmp_path)[name][0] for name in (*copies, 'c/d/later.obj')} == {'z'}


def test_parts_lie_in_the_axes_of_their_assembly(tmp_path, monkeypatch):
    """A part alone, such as a plate that stands, tells nothing: the whole is asked, once."""
    (tmp_path / 'toy.step').touch()
    asked = []

    def guess(function, paths, **_):
        asked.extend(paths)
        return [(number, ('z', 0.99)) for number in range(len(paths))]

    monkeypatch.setattr(index_axes, 'map_parallel', guess)
    parts = [
        FoundModel(ModelFile(f'toy.step/{part}', tmp_path / 'toy.step' / part, ''), 0, '', '', [1, 2]) for part in 'ab'
    ]
    found = settle_axes(parts, [], ShapeInputs('views'), processes=1, progress=False)
    assert [(item.up_axis, item.axis_from) for item in found] == [('z', 'guessed')] * 2
    assert asked == [tmp_path / 'toy.step']


def test_a_table_names_axes_of_models_and_folders(update, tmp_path):
    write_z_up(tmp_path / 'models')
    write_box(tmp_path / 'models' / 'b/box.glb', 1, 2, 3)
    table = tmp_path / 'table.csv'
    table.write_text('path,category,up_axis\na,seats,y\na/table.obj,tables,\nb/box.glb,,z\nc,,z\n')
    assert update(categories=table).without_file == 1
    found = axes(tmp_path)
    assert found['a/chair.obj'] == found['a/table.obj'] == ('y', 'given') and found['b/box.glb'] == ('z', 'given')
    with opened(tmp_path) as index:
        assert index.categories == ('seats', 'tables', '', 'b')
    table.write_text('path,category,up_axis\na,,x\n')
    with pytest.raises(DataError, match="line 2: up_axis 'x'; give y or z"):
        update()
    table.write_text('path,category,up_axis\na,,y\na,,z\n')
    with pytest.raises(DataError, match="line 3: 'a' has two up axes"):
        update()


def test_an_index_of_an_earlier_version_keeps_its_axes(update, tmp_path):
    write_box(tmp_path / 'models' / 'box.glb', 1, 2, 3)
    write_obj(tmp_path / 'models/cube.obj', CUBE)
    table = tmp_path / 'table.csv'
    table.write_text('path,category,up_axis\nbox.glb,,z\n')
    update(up_axis='z', categories=table)
    table.write_text('path,category\n')
    manifest = json.loads((tmp_path / 'index/index.json').read_text())
    place = tmp_path / 'index/tables' / manifest['table']
    rows = [json.loads(line) for line in place.read_text().splitlines()]
    old = ''.join(
        json.dumps({name: value for name, value in row.items() if 'axis' not in name}) + '\n' for row in rows
    ).encode()
    place.write_bytes(old)
    manifest['table_sha256'] = hashlib.sha256(old).hexdigest()
    del manifest['axes'], manifest['sources'][0]['parts']
    (tmp_path / 'index/index.json').write_text(json.dumps(manifest))
    with opened(tmp_path) as index:
        assert index.up_axis('box.glb') == index.query_up_axis == 'z'
    assert update().embedded == 0 and axes(tmp_path) == {'box.glb': ('z', 'before'), 'cube.obj': ('z', 'given')}
    assert update().embedded == 0 and read_manifest(tmp_path / 'index').sources[0].up_axis == 'z'


def test_the_overview_shows_models_and_those_that_look_otherwise_first(update, tmp_path, monkeypatch):
    write_z_up(tmp_path / 'models')
    write_obj(tmp_path / 'models/a "b", <i>/table.obj', TABLE)
    done = update(up_axis='z')
    page = (tmp_path / 'index/overview.html').read_text()
    assert done.doubtful == 1 and '1 of them look otherwise' in done.told(tmp_path / 'index')
    assert page.count('class="model"') == 4 and page.count('data:image/png;base64,') == 4
    first = page.index('class="model"')
    assert 'a &#34;b&#34;, &lt;i&gt;/table.obj' in page[first : first + 300] and 'looks as if y pointed up' in page
    monkeypatch.setattr(index_overview, '_MOST', 3)
    update()
    page = (tmp_path / 'index/overview.html').read_text()
    assert page.count('class="model"') == 3 and '3 of 4 models are shown' in page
    assert '<i>' not in page and 'http' not in page and ' src="data:' in page
