"""Indexes of archives, assemblies and folders with files that are not read."""

import gzip
import zipfile

import pytest
import trimesh
from small_index import opened, write_box

from jaxret.errors import ConfigError, DataError
from jaxret.index.files import read_manifest
from jaxret.index.model_files import find_models
from jaxret.inference.query_files import find_queries, kind_of
from jaxret.preprocessing.shapes import shape_record


def write_toy(path, size=1):
    """An assembly of a plate and two pins, as glTF."""
    scene = trimesh.Scene()
    scene.add_geometry(trimesh.creation.box((3, 3, 0.5)), node_name='base', geom_name='plate')
    scene.geometry['pin'] = trimesh.creation.box((0.5, 0.5, size))
    for name, x in (('one', -1), ('two', 1)):
        place = trimesh.transformations.translation_matrix((x, 0, size))
        scene.graph.update(frame_to=name, matrix=place, geometry='pin')
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(scene.export(file_type='glb'))


def test_members_of_archives_are_models(update, model, tmp_path):
    write_box(tmp_path / 'models/tall/box.obj', 1, 2, 3)
    write_box(tmp_path / 'box.stl', 3, 2, 1)
    with zipfile.ZipFile(tmp_path / 'models/lib.zip', 'w') as archive:
        archive.write(tmp_path / 'box.stl', 'flat/box.stl')
        archive.writestr('flat/again.stl.gz', gzip.compress((tmp_path / 'box.stl').read_bytes()))
        archive.writestr('notes.txt', 'no model')
        archive.writestr('__MACOSX/flat/._box.stl', 'no model')
        archive.writestr('more/inner.zip', 'no archive')
        archive.writestr('../out.stl', 'outside')
    (tmp_path / 'models/damaged.zip').write_bytes(b'no archive')
    done = update()
    ids = ['lib.zip/flat/again.stl.gz', 'lib.zip/flat/box.stl', 'tall/box.obj']
    reasons = {problem.where: problem.found for problem in done.failed}
    assert len(reasons) == 3 and 'not a readable zip archive' in reasons[str(tmp_path / 'models/damaged.zip')]
    assert 'leads out' in reasons[str(tmp_path / 'models/lib.zip/../out.stl')]
    assert 'in an archive' in reasons[str(tmp_path / 'models/lib.zip/more/inner.zip')]
    with opened(tmp_path) as index:
        assert index.ids == tuple(ids)
        record = shape_record(tmp_path / 'box.stl', inputs=model.shape_inputs, up_axis='y')
        assert index.thumbnail(ids[0]) == index.thumbnail(ids[1]) == record.thumbnail
    assert update().embedded == 0
    query = tmp_path / 'models' / ids[0]
    assert kind_of(query) == 'mesh' and [found.path for found in find_queries([query], kinds=['mesh'], system='')] == [
        query
    ]


def test_parts_of_assemblies(update, model, tmp_path):
    write_toy(tmp_path / 'models/toys/toy.glb')
    write_box(tmp_path / 'models/boxes/box.glb', 1, 2, 3)
    assert update().shapes == 2 and not read_manifest(tmp_path / 'index').sources[0].parts
    done = update(parts=True)
    assert (done.shapes, done.embedded, done.removed) == (3, 2, 1)
    with opened(tmp_path) as index:
        assert index.ids == ('boxes/box.glb', 'toys/toy.glb/pin', 'toys/toy.glb/plate')
        assert index.categories == ('boxes', 'toys', 'toys')
        marks = {tuple(index.model_mark(name)) for name in index.ids[1:]}
        assert len(marks) == 1 and len(next(iter(marks))) == 2
    assert update(None).embedded == 0 and update().shapes == 3  # as before
    write_toy(tmp_path / 'models/toys/toy.glb', size=2)
    assert update().embedded == 2
    assert update(parts=False).shapes == 2
    with pytest.raises(ConfigError, match='--parts belong to a folder'):
        update(None, parts=True)


def test_parts_of_files_as_they_were_are_not_looked_for_again(update, tmp_path, monkeypatch):
    write_toy(tmp_path / 'models/toy.glb')
    write_box(tmp_path / 'models/box.glb', 1, 2, 3)
    update(parts=True)
    asked = []
    monkeypatch.setattr('jaxret.index.assemblies.part_names', lambda path: asked.append(path.name) or [])
    update()
    assert asked == []
    write_box(tmp_path / 'models/box.glb', 3, 2, 1)
    update()
    assert asked == ['box.glb']


def test_formats_that_are_not_read_are_said_first(update, tmp_path, capsys):
    write_box(tmp_path / 'models/box.obj', 1, 2, 3)
    for name in ('a.SLDPRT', 'b.sldprt', 'c.fbx', 'photo.jpg', 'list.txt', '.hidden.fbx'):
        (tmp_path / 'models' / name).write_bytes(b'x')
    done = update(progress=True)
    line = capsys.readouterr().err.splitlines()[0]
    assert 'most models cannot be read: 3 of 4' in line and '2 .sldprt (export it as STEP from SolidWorks)' in line
    assert sorted(problem.where[-8:] for problem in done.failed) == ['a.SLDPRT', 'b.sldprt', 'ls/c.fbx']
    (tmp_path / 'models/box.obj').rename(tmp_path / 'models/box.txt')
    with pytest.raises(DataError, match=r'(?s)no models in it.*a.SLDPRT.*SolidWorks'):
        update(rebuild=True)
    with pytest.raises(DataError, match=r'(?s)no queries in it.*SolidWorks'):
        find_queries([tmp_path / 'models'], kinds=['mesh'], system='cmic')
    with pytest.raises(DataError, match=r'(?s)c.fbx.*GLB from Blender'):
        find_queries([tmp_path / 'models/c.fbx'], kinds=['mesh'], system='cmic')


def test_a_single_triangle_is_no_model(update, tmp_path):
    write_box(tmp_path / 'models/box.obj', 1, 2, 3)
    (tmp_path / 'models/one.obj').write_text('v 0 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 3\n')
    done = update()
    assert done.shapes == 1 and 'single triangle' in done.failed[0].found


@pytest.mark.parametrize(
    ('names', 'categories'),
    [
        (['a/x.obj', 'b/y.obj', 'z.obj'], ['a', 'b', '']),
        (['base/a/x.obj', 'base/a/y.obj', 'base/b/z.obj'], ['a', 'a', 'b']),
        (['base/x.obj', 'base/y.obj'], ['', '']),
        (['base/00/x.obj', 'base/01/x.obj'], ['', '']),  # a folder for each model
        (['p/q/a/x.obj', 'p/q/a/y.obj', 'p/q/z.obj'], ['a', 'a', '']),
    ],
)
def test_categories_are_folders_in_which_models_differ(tmp_path, names, categories):
    for name in names:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    found = find_models(tmp_path, ['.obj']).models
    assert [(model.id, model.category) for model in found] == list(zip(names, categories, strict=True))
