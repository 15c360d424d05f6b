"""Indexes of folders: what is embedded, kept, dropped, refused."""

import csv
import os

import numpy as np
import pytest
from small_index import PlainModel, check_index, opened, write_box, write_models

from jaxret.errors import CheckpointError, ConfigError, DataError, StorageError
from jaxret.index import embed as index_embed
from jaxret.index import shards as index_shards
from jaxret.index.files import Source, read_manifest, writing
from jaxret.preprocessing.shapes import shape_record


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
        assert all(
            category == (name.split('/')[0] if '/' in name else '')
            for name, category in zip(index.ids, index.categories, strict=True)
        )
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
    (tmp_path / 'models' / names[3]).rename(
        tmp_path / 'models' / 'moved.ply' if names[3].endswith('ply') else tmp_path / 'models' / f'moved{names[3][-4:]}'
    )
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
    assert [row[0] for row in rows[1:]] == [
        str(tmp_path / 'models' / name) for name in ('broken, one.obj', 'empty.stl')
    ]
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
    for content, found in (
        ('a,b\n1,2\n', 'columns a, b'),
        ('path,category\nx,1\nx,2\n', 'two categories'),
        ('', 'columns none'),
    ):
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
    wider = PlainModel(
        fingerprint='b' * 64,
        shape_inputs=PlainModel().shape_inputs.__class__(
            'views', ring=PlainModel().shape_inputs.ring, view_ids=(0, 2), side=8
        ),
    )
    with pytest.raises(CheckpointError, match='in another way'):
        update(model=wider)


def test_only_one_process_writes(update, tmp_path):
    write_models(tmp_path / 'models', 1)
    with writing(tmp_path / 'index'), pytest.raises(StorageError, match='another process is writing'):
        update()
    update()


def test_worker_processes_give_the_same_index(update, model, tmp_path):
    names = write_models(tmp_path / 'models', 5)
    update(processes=2, up_axis='y')
    first = opened(tmp_path).gallery.embeddings
    for number in range(14):
        write_box(tmp_path / 'models' / f'x/{number:02d}.obj', 1, 2 + number / 5, 1)
    assert update(processes=2).embedded == 14
    with opened(tmp_path) as index:
        np.testing.assert_array_equal(index.gallery.embeddings[[index.ids.index(name) for name in names]], first)
        check_index(index, model, tmp_path / 'models', list(index.ids))


def test_shards_that_are_mostly_unused_are_written_anew(update, model, tmp_path, monkeypatch):
    monkeypatch.setattr(index_embed, 'SHARD_SHAPES', 4)
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
    write_box(tmp_path / 'models' / 'e.obj', 3, 2, 1)
    update()
    with opened(tmp_path) as index:
        check_index(index, model, tmp_path / 'models', ['a.obj', 'b/c.obj', 'd.obj', 'e.obj'])
        hits = index.search(np.ones((1, 4), np.float32))[0]
        copies = {'a.obj': '', 'b/c.obj': 'a.obj', 'd.obj': 'a.obj', 'e.obj': ''}
        assert {hit.id: hit.copy_of for hit in hits} == copies
