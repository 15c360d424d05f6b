"""Indexes of folders: what is embedded, kept, dropped, refused."""

import csv
import json
import os
from pathlib import Path

import numpy as np
import pytest
import safetensors
from small_index import PlainModel, write_box, write_models

import jaxret
from jaxret.errors import CheckpointError, ConfigError, DataError, StorageError
from jaxret.geometry.mesh import MAX_BYTES
from jaxret.search import index_build, index_shards
from jaxret.search.index_build import update_index
from jaxret.search.index_files import Source, read_manifest, writing
from jaxret.search.shape_inputs import ShapeInputs, file_checksum, shape_record


@pytest.fixture
def model():
    return PlainModel()


@pytest.fixture
def update(model, tmp_path):
    def run(models='models', model=model, **options):
        model.embedded = 0
        return update_index(tmp_path / 'index', model, None if models is None else tmp_path / models,
                            **({'processes': 1, 'progress': False} | options))
    return run


def opened(tmp_path):
    return jaxret.Index.open(tmp_path / 'index')


def expected_embedding(model, path):
    record = shape_record(path, inputs=model.shape_inputs, up_axis='y')
    return model.embed_shape_arrays([record.arrays])[0]


def check_index(index, model, folder, names):
    """Every shape has its own embedding, thumbnail and path, whatever happened to the index before."""
    assert index.ids == tuple(names)
    for number, name in enumerate(names):
        np.testing.assert_array_equal(index.gallery.embeddings[number], expected_embedding(model, folder / name))
        assert index.model_path(name) == folder / name
        assert index.thumbnail(name) == shape_record(folder / name, inputs=model.shape_inputs, up_axis='y').thumbnail


def test_new_index_holds_every_format_with_categories_of_folders(update, model, tmp_path):
    names = write_models(tmp_path / 'models')
    write_box(tmp_path / 'models' / 'alone.obj', 1, 2, 3)
    (tmp_path / 'models' / '.hidden').mkdir()
    write_box(tmp_path / 'models' / '.hidden' / 'box.obj', 1, 2, 3)
    (tmp_path / 'models' / 'notes.txt').write_text('no model')
    done = update()
    assert (done.shapes, done.embedded, done.kept, done.removed, done.failed) == (7, 7, 0, 0, ())
    with opened(tmp_path) as index:
        check_index(index, model, tmp_path / 'models', sorted([*names, 'alone.obj']))
        assert set(index.categories) == {'tall', 'wide', ''}
        assert all(category == (name.split('/')[0] if '/' in name else '')
                   for name, category in zip(index.ids, index.categories, strict=True))
        assert index.fingerprint == 'a' * 64 and index.system == 'cmic' and len(index) == 7
    assert (tmp_path / 'index' / 'failed.csv').read_text() == 'path,reason\n'


def test_second_run_embeds_what_is_new_or_changed_and_drops_what_is_gone(update, model, tmp_path):
    names = write_models(tmp_path / 'models')
    update()
    done = update()
    assert (done.embedded, done.kept, done.removed, model.embedded) == (0, 6, 0, 0)
    write_box(tmp_path / 'models' / names[0], 5, 1, 1)  # changed
    write_box(tmp_path / 'models' / 'new/box.obj', 1, 5, 1)  # new
    (tmp_path / 'models' / names[1]).unlink()  # gone
    os.utime(tmp_path / 'models' / names[2])  # touched
    (tmp_path / 'models' / names[3]).rename(tmp_path / 'models' / 'moved.ply' if names[3].endswith('ply') else
                                            tmp_path / 'models' / f'moved{names[3][-4:]}')
    done = update()
    assert (done.shapes, done.embedded, done.kept, done.removed, model.embedded) == (6, 2, 4, 2, 2)
    moved = f'moved{names[3][-4:]}'
    with opened(tmp_path) as index:
        check_index(index, model, tmp_path / 'models', sorted({*names, moved, 'new/box.obj'} - {names[1], names[3]}))


def test_a_change_that_keeps_size_and_time_is_not_seen_and_a_touched_file_is_not_embedded(update, model, tmp_path):
    """The stated rule: size and time of change first, then the checksum."""
    write_models(tmp_path / 'models', 2)
    update()
    path = tmp_path / 'models' / 'tall/00/box.obj'
    state = path.stat()
    path.write_text(path.read_text().replace('0.5', '0.6'))
    os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns))
    assert path.stat().st_size == state.st_size and update().embedded == 0
    os.utime(path)
    assert update().embedded == 1


def test_broken_files_are_listed_and_do_not_stop_it(update, model, tmp_path):
    names = write_models(tmp_path / 'models', 3)
    (tmp_path / 'models' / 'broken, one.obj').write_text('f 1 2 3\n')
    (tmp_path / 'models' / 'empty.stl').write_bytes(b'')
    done = update()
    assert done.shapes == 3 and len(done.failed) == 2
    with (tmp_path / 'index' / 'failed.csv').open(newline='') as file:
        rows = list(csv.reader(file))
    assert rows[0] == ['path', 'reason']
    assert [row[0] for row in rows[1:]] == [str(tmp_path / 'models' / name)
                                            for name in ('broken, one.obj', 'empty.stl')]
    assert 'empty' in rows[2][1]
    (tmp_path / 'models' / 'empty.stl').unlink()
    write_box(tmp_path / 'models' / 'broken, one.obj', 1, 1, 1)
    assert update().embedded == 1 and (tmp_path / 'index' / 'failed.csv').read_text() == 'path,reason\n'
    assert len(opened(tmp_path)) == 1 + len(names)


def test_nothing_usable_leaves_the_old_index(update, model, tmp_path):
    names = write_models(tmp_path / 'models', 2)
    update()
    for name in names:
        (tmp_path / 'models' / name).write_bytes(b'nothing')
    with pytest.raises(DataError, match='2 problems'):
        update()
    assert opened(tmp_path).ids == tuple(names)
    with pytest.raises(DataError, match=r'no such folder'):
        update('elsewhere', add=True)
    (tmp_path / 'empty').mkdir()
    with pytest.raises(DataError, match=r'empty: no models in it; it takes .obj'):
        update('empty', add=True)


def test_a_further_folder_with_its_own_up_axis(update, model, tmp_path):
    names = write_models(tmp_path / 'models', 3)
    update()
    write_box(tmp_path / 'more' / 'z/box.obj', 1, 2, 6)
    with pytest.raises(ConfigError, match='add --add'):
        update('more')
    done = update('more', add=True, up_axis='z')
    assert (done.shapes, done.embedded, done.kept, done.removed) == (4, 1, 3, 0)
    with opened(tmp_path) as index:
        assert index.up_axis('z/box.obj') == 'z' and index.up_axis(names[0]) == 'y'
        assert index.model_path('z/box.obj') == tmp_path / 'more/z/box.obj'
        turned = shape_record(tmp_path / 'more/z/box.obj', inputs=model.shape_inputs, up_axis='z')
        np.testing.assert_array_equal(index.gallery.embeddings[-1], model.embed(turned.arrays['views']))
    (tmp_path / 'models' / names[0]).unlink()
    done = update(None)  # every folder, with its axis
    assert (done.shapes, done.embedded, done.removed) == (3, 0, 1)
    # another axis is another shape
    assert update('more', up_axis='y').embedded == 1 and update('more').embedded == 0
    assert read_manifest(tmp_path / 'index').sources[1] == Source(str(tmp_path / 'more'), 'y', '')


def test_two_folders_with_one_id_are_refused(update, tmp_path):
    write_models(tmp_path / 'models', 2)
    write_models(tmp_path / 'more', 1)
    update()
    with pytest.raises(DataError, match=r'more/tall/00/box.obj: .*models has a model of this name'):
        update('more', add=True)


def test_categories_of_a_table(update, model, tmp_path):
    write_models(tmp_path / 'models', 3)
    table = tmp_path / 'categories.csv'
    table.write_text('path,category,more\ntall/00/box.obj,"bed, large",1\n./wide/01/box.off,sofa,\ngone.obj,chair,\n')
    assert update(categories=table).without_file == 1
    assert opened(tmp_path).categories == ('bed, large', 'tall', 'sofa')
    table.write_text('path,category\n')  # remembered, and read again: no model is embedded for it
    assert update().embedded == 0 and opened(tmp_path).categories == ('tall', 'tall', 'wide')
    for content, found in (('a,b\n1,2\n', 'columns a, b'), ('path,category\nx,1\nx,2\n', 'two categories'),
                           ('', 'columns none')):
        table.write_text(content)
        with pytest.raises(DataError, match=found):
            update()


def test_another_checkpoint_is_refused_or_rebuilt(update, model, tmp_path):
    names = write_models(tmp_path / 'models', 3)
    update()
    other = PlainModel(fingerprint='b' * 64)
    with pytest.raises(CheckpointError, match='aaaaaaaaaaaa.*bbbbbbbbbbbb.*--rebuild'):
        update(model=other)
    assert opened(tmp_path).fingerprint == 'a' * 64
    done = update(None, model=other, rebuild=True)
    assert done.embedded == 3 == other.embedded
    with opened(tmp_path) as index:
        assert index.fingerprint == 'b' * 64
        check_index(index, other, tmp_path / 'models', names)
    wider = PlainModel(fingerprint='b' * 64, shape_inputs=PlainModel().shape_inputs.__class__(
        'views', ring=PlainModel().shape_inputs.ring, view_ids=(0, 2), side=8))
    with pytest.raises(CheckpointError, match='in another way'):
        update(model=wider)


def test_only_one_process_writes(update, tmp_path):
    write_models(tmp_path / 'models', 1)
    with writing(tmp_path / 'index'), pytest.raises(StorageError, match='another process is writing'):
        update()
    update()


def test_worker_processes_give_the_same_index(update, model, tmp_path):
    names = write_models(tmp_path / 'models', 5)
    update(processes=2)  # fewer than are worth a process: the threshold is looked at below
    first = opened(tmp_path).gallery.embeddings
    for number in range(14):
        write_box(tmp_path / 'models' / f'x/{number:02d}.obj', 1, 2 + number / 5, 1)
    assert update(processes=2).embedded == 14
    with opened(tmp_path) as index:
        np.testing.assert_array_equal(index.gallery.embeddings[[index.ids.index(name) for name in names]], first)
        check_index(index, model, tmp_path / 'models', list(index.ids))


def test_shards_that_are_mostly_unused_are_written_anew(update, model, tmp_path, monkeypatch):
    monkeypatch.setattr(index_build, 'SHARD_SHAPES', 4)
    monkeypatch.setattr(index_shards, 'SHARD_SHAPES', 4)
    names = write_models(tmp_path / 'models', 8)
    update()
    assert len(read_manifest(tmp_path / 'index').shards) == 2
    for name in names[:3] + names[4:6]:
        (tmp_path / 'models' / name).unlink()
    done = update()
    assert (done.embedded, done.shapes) == (0, 3)
    shards = read_manifest(tmp_path / 'index').shards
    kept = [path.name for path in (tmp_path / 'index' / 'shards').iterdir()]
    assert sorted(kept) == sorted([*shards, read_manifest(tmp_path / 'index').projection])
    with opened(tmp_path) as index:
        check_index(index, model, tmp_path / 'models', [names[3], *names[6:]])
    assert update().embedded == 0


def test_equal_files_share_an_embedding(update, model, tmp_path):
    for name in ('a.obj', 'b/c.obj'):
        write_box(tmp_path / 'models' / name, 1, 2, 3)
    update()
    write_box(tmp_path / 'models' / 'd.obj', 1, 2, 3)
    assert update().embedded == 0
    check_index(opened(tmp_path), model, tmp_path / 'models', ['a.obj', 'b/c.obj', 'd.obj'])


@pytest.mark.parametrize('damage', ['manifest', 'format', 'table', 'cut', 'shard', 'gone'])
def test_damage_is_named(update, model, tmp_path, damage):
    write_models(tmp_path / 'models', 2)
    update()
    index = tmp_path / 'index'
    manifest = index / 'index.json'
    stored = json.loads(manifest.read_text())
    shard, table = index / 'shards' / stored['shards'][0], index / 'tables' / stored['table']
    if damage == 'manifest':
        manifest.write_text('{')
    elif damage == 'format':
        manifest.write_text(json.dumps(stored | {'format': 'another'}))
    elif damage == 'table':
        table.write_text(table.read_text().replace('tall', 'fall'))
    elif damage == 'cut':
        shard.write_bytes(shard.read_bytes()[:-100])
    elif damage == 'shard':
        shard.unlink()
    else:
        table.unlink()
    where = {'manifest': manifest, 'format': manifest, 'table': table, 'gone': table}.get(damage, shard)
    with pytest.raises(DataError, match=str(where)):
        jaxret.Index.open(index)
    update(rebuild=True)
    assert len(jaxret.Index.open(index)) == 2


def flip(path, at=-1):
    content = bytearray(path.read_bytes())
    content[at] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize('damage', ['gone', 'cut', 'embedding', 'thumbnail'])
def test_shapes_of_a_missing_or_damaged_shard_are_embedded_again(update, model, tmp_path, damage):
    names = write_models(tmp_path / 'models', 3)
    update()
    write_box(tmp_path / 'more' / 'z/box.obj', 1, 2, 6)
    update('more', add=True)
    first, last = (tmp_path / 'index/shards' / row.shard for row in opened(tmp_path)._rows[::3])
    assert first != last
    with safetensors.safe_open(first, 'numpy') as file:
        embeddings, pictures = file.get_tensor('embeddings').tobytes(), file.get_tensor('thumbnails').tobytes()
    if damage == 'gone':
        first.unlink()
    elif damage == 'cut':
        first.write_bytes(first.read_bytes()[:-100])
    else:
        flip(first, first.read_bytes().index(embeddings if damage == 'embedding' else pictures) + 5)
    with pytest.raises(DataError, match=rf'{first}: .*run `jaxret index` again'):
        opened(tmp_path)
    done = update('more')  # of the other folder
    assert (done.shapes, done.embedded, done.kept, model.embedded) == (4, 3, 1, 3)
    with opened(tmp_path) as index:
        assert index.ids == (*names, 'z/box.obj')
        for name, embedding in zip(names, index.gallery.embeddings, strict=False):
            np.testing.assert_array_equal(embedding, expected_embedding(model, tmp_path / 'models' / name))
    assert update().embedded == 0


def test_a_damaged_projection_is_named_and_written_again(update, tmp_path):
    write_models(tmp_path / 'models', 2)
    update()
    path = tmp_path / 'index/shards' / read_manifest(tmp_path / 'index').projection
    flip(path)
    with pytest.raises(DataError, match=rf'{path}: damaged: another checksum; run `jaxret index` again'):
        opened(tmp_path)
    assert update().embedded == 0 and len(opened(tmp_path)) == 2


def test_a_leftover_shard_is_taken_over_only_whole_and_never_by_a_rebuild(update, tmp_path):
    write_models(tmp_path / 'models', 2)
    for damaged, rebuild, embedded in ((False, False, 0), (True, False, 2), (False, True, 2)):
        update(rebuild=True)
        (tmp_path / 'index/index.json').unlink()  # as a run that was killed before its end
        for path in (tmp_path / 'index/shards').iterdir():
            if damaged:
                flip(path)
        assert update(rebuild=rebuild).embedded == embedded
        assert len(opened(tmp_path)) == 2


def test_pipes_and_devices_among_the_models_are_failures_at_every_run(update, tmp_path):
    names = write_models(tmp_path / 'models', 2)
    os.mkfifo(tmp_path / 'models/pipe.obj')
    os.symlink('/dev/zero', tmp_path / 'models/zero.obj')
    os.symlink(tmp_path / 'models/pipe.obj', tmp_path / 'models/link.stl')
    (tmp_path / 'models/buffer.gltf').write_text(json.dumps({'asset': {'version': '2.0'},
                                                             'buffers': [{'uri': 'pipe.obj', 'byteLength': 9}]}))
    with (tmp_path / 'models/large.obj').open('wb') as file:
        file.truncate(MAX_BYTES + 1)
    for _ in range(2):
        done = update()
        assert done.shapes == len(names)
        assert sorted(Path(problem.where).name for problem in done.failed) == [
            'buffer.gltf', 'large.obj', 'link.stl', 'pipe.obj', 'zero.obj']
    for name in ('pipe.obj', 'zero.obj', 'link.stl', 'buffer.gltf'):
        with pytest.raises(DataError, match='not a regular file'):
            file_checksum(tmp_path / 'models' / name)
    with pytest.raises(DataError, match='the limit is'):
        file_checksum(tmp_path / 'models/large.obj')
    os.mkfifo(tmp_path / 'pipe.df')
    with pytest.raises(DataError, match='not a regular file'):
        shape_record(tmp_path / 'pipe.df', inputs=ShapeInputs('grid'), up_axis='y')


def test_a_moved_folder_is_taken_by_a_rebuild_alone(update, model, tmp_path):
    names = write_models(tmp_path / 'models', 2)
    (tmp_path / 'models/broken.obj').write_text('f 1 2 3')
    update()
    (tmp_path / 'models').rename(tmp_path / 'moved')
    with pytest.raises(ConfigError, match=rf'{tmp_path}/models, which is no longer there; add --rebuild'):
        update('moved')
    for rebuild in (False, True):
        with pytest.raises(ConfigError, match=rf'{tmp_path}/models, which is no longer there; use --rebuild --models'):
            update(None, rebuild=rebuild)
    done = update('moved', rebuild=True)
    assert (done.embedded, done.removed) == (2, 0)
    assert read_manifest(tmp_path / 'index').sources == [Source(str(tmp_path / 'moved'), 'y', '')]
    check_index(opened(tmp_path), model, tmp_path / 'moved', names)
    with (tmp_path / 'index/failed.csv').open(newline='') as file:
        assert [row[0] for row in csv.reader(file)] == ['path', str(tmp_path / 'moved/broken.obj')]


def test_a_rebuild_of_one_folder_drops_the_others_unless_it_adds(update, tmp_path):
    write_models(tmp_path / 'models', 2)
    write_box(tmp_path / 'more/z/box.obj', 1, 2, 6)
    update(up_axis='z')
    done = update('more', add=True, rebuild=True)
    assert (done.shapes, done.embedded) == (3, 3)
    done = update('models', rebuild=True)  # with the axis that it had
    assert (done.shapes, done.embedded, done.removed) == (2, 2, 1)
    assert read_manifest(tmp_path / 'index').sources == [Source(str(tmp_path / 'models'), 'z', '')]


def test_one_folder_by_two_names_is_one(update, tmp_path):
    write_models(tmp_path / 'models', 2)
    update('models/../models/tall/..')
    assert read_manifest(tmp_path / 'index').sources == [Source(str(tmp_path / 'models'), 'y', '')]
    assert update('./models').embedded == 0


@pytest.mark.parametrize('damage', ['manifest', 'format', 'gone', 'table', 'folder'])
def test_messages_of_damage_name_the_command_that_helps(update, tmp_path, damage):
    write_models(tmp_path / 'models', 2)
    update()
    manifest = tmp_path / 'index/index.json'
    table = tmp_path / 'index/tables' / read_manifest(tmp_path / 'index').table
    if damage == 'manifest':
        manifest.write_text('{')
    elif damage == 'format':
        manifest.write_text('{"format": "another"}')
    elif damage == 'table':
        flip(table)
    else:
        table.unlink()
        if damage == 'folder':
            table.mkdir()
    with pytest.raises(DataError, match=r'`jaxret index --rebuild --models DIR ...`'):
        opened(tmp_path)
    with pytest.raises(DataError, match=r'`jaxret index --rebuild --models DIR ...`'):
        update()
    assert update(rebuild=True).embedded == 2 and len(opened(tmp_path)) == 2


@pytest.mark.parametrize('kind', ['index.json', '.jsonl', '.safetensors'])
def test_what_may_not_be_read_is_not_called_damaged(update, tmp_path, monkeypatch, kind):
    write_models(tmp_path / 'models', 2)
    update()
    real = Path.open

    def refuse(path, *arguments, **options):
        if path.name.endswith(kind):
            raise PermissionError(13, 'Permission denied', str(path))
        return real(path, *arguments, **options)

    monkeypatch.setattr(Path, 'open', refuse)
    with pytest.raises(DataError, match=rf'{kind}: cannot be read \(permission denied\); check its permissions'):
        opened(tmp_path)


def test_shapes_in_a_folder_that_cannot_be_listed_stay(update, model, tmp_path, monkeypatch):
    names = write_models(tmp_path / 'models', 4)
    update()
    (tmp_path / 'models' / names[3]).unlink()
    real = os.scandir

    def refuse(path):
        if str(path) == str(tmp_path / 'models/tall'):
            raise PermissionError(13, 'Permission denied', path)
        return real(path)

    monkeypatch.setattr(os, 'scandir', refuse)
    done = update()
    assert (done.shapes, done.embedded, done.removed) == (3, 0, 1)
    assert [problem.where for problem in done.failed] == [str(tmp_path / 'models/tall')]
    assert str(tmp_path / 'models/tall,cannot be read') in (tmp_path / 'index/failed.csv').read_text()
    check_index(opened(tmp_path), model, tmp_path / 'models', names[:3])
    monkeypatch.setattr(os, 'scandir', real)
    assert update().embedded == 0 and (tmp_path / 'index/failed.csv').read_text() == 'path,reason\n'
