"""Indexes after damage, moved folders, and files that are no models: named, healed, nothing silently wrong."""

import csv
import json
import os
import re
from pathlib import Path

import numpy as np
import pytest
import safetensors
import trimesh
from small_index import check_index, expected_embedding, opened, write_box, write_models

import jaxret
from jaxret.errors import ConfigError, DataError
from jaxret.geometry.places import MAX_BYTES
from jaxret.index import embed as index_embed
from jaxret.index.files import Source, read_manifest
from jaxret.index.model_files import read_categories
from jaxret.preprocessing.shapes import ShapeInputs, file_checksum, shape_record


@pytest.mark.parametrize('damage', ['manifest', 'list', 'format', 'table', 'cut', 'shard', 'gone'])
def test_damage_is_named(update, model, tmp_path, damage):
    write_models(tmp_path / 'models', 2)
    update()
    index = tmp_path / 'index'
    manifest = index / 'index.json'
    stored = json.loads(manifest.read_text())
    shard, table = index / 'shards' / stored['shards'][0], index / 'tables' / stored['table']
    if damage == 'manifest':
        manifest.write_text('{')
    elif damage == 'list':
        manifest.write_text('[]')
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
    where = {
        'manifest': manifest,
        'list': f'{manifest}: missing or damaged .a JSON list',
        'format': manifest,
        'table': table,
        'gone': table,
    }.get(damage, shard)
    with pytest.raises(DataError, match=str(where)):
        _ = jaxret.Index.open(index).gallery
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
        _ = opened(tmp_path).gallery
    done = update('more')  # of the other folder
    assert (done.shapes, done.embedded, done.kept, model.embedded) == (4, 3, 1, 3)
    with opened(tmp_path) as index:
        assert index.ids == (*names, 'z/box.obj')
        for name, embedding in zip(names, index.gallery.embeddings, strict=False):
            np.testing.assert_array_equal(embedding, expected_embedding(model, tmp_path / 'models' / name))
    assert update().embedded == 0


def test_nothing_is_said_of_an_index_with_a_damaged_shard(update, tmp_path):
    """It opens before its shards are compared with their checksums; whatever is asked then waits for that."""
    name = write_models(tmp_path / 'models', 2)[0]
    update()
    flip(next((tmp_path / 'index/shards').glob('*')))
    with opened(tmp_path) as index:
        assert len(index) == 2 and name in index.ids
        asked = (
            lambda: index.search(np.ones((1, 4), np.float32)),
            lambda: index.thumbnail(name),
            lambda: index.facts(name),
        )
        for ask in (*asked, lambda: index.matching('watertight')):
            with pytest.raises(DataError, match='damaged: another checksum; run `jaxret index` again'):
                ask()


def test_a_damaged_projection_is_named_and_written_again(update, tmp_path):
    write_models(tmp_path / 'models', 2)
    update()
    path = tmp_path / 'index/shards' / read_manifest(tmp_path / 'index').projection
    flip(path)
    with pytest.raises(DataError, match=rf'{path}: damaged: another checksum; run `jaxret index` again'):
        _ = opened(tmp_path).gallery
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
    (tmp_path / 'models/buffer.gltf').write_text(
        json.dumps({'asset': {'version': '2.0'}, 'buffers': [{'uri': 'pipe.obj', 'byteLength': 9}]})
    )
    with (tmp_path / 'models/large.obj').open('wb') as file:
        file.truncate(MAX_BYTES + 1)
    for _ in range(2):
        done = update()
        assert done.shapes == len(names)
        assert sorted(Path(problem.where).name for problem in done.failed) == [
            'buffer.gltf',
            'large.obj',
            'link.stl',
            'pipe.obj',
            'zero.obj',
        ]
    for name in ('pipe.obj', 'zero.obj', 'link.stl', 'buffer.gltf'):
        with pytest.raises(DataError, match='not a regular file'):
            file_checksum(tmp_path / 'models' / name)
    with pytest.raises(DataError, match='the limit is'):
        file_checksum(tmp_path / 'models/large.obj')
    os.mkfifo(tmp_path / 'pipe.df')
    with pytest.raises(DataError, match='not a regular file'):
        shape_record(tmp_path / 'pipe.df', inputs=ShapeInputs('grid'), up_axis='y')


@pytest.mark.parametrize('kind', ['index.json', 'table', 'shard'])
@pytest.mark.parametrize('target', ['pipe', '/dev/zero'])
def test_pipes_and_devices_in_an_index_are_never_waited_for(update, tmp_path, kind, target):
    write_models(tmp_path / 'models', 2)
    update()
    index, manifest = tmp_path / 'index', read_manifest(tmp_path / 'index')
    path = {'table': index / 'tables' / manifest.table, 'shard': index / 'shards' / manifest.shards[0]}
    path = path.get(kind, index / kind)
    path.unlink()
    if target == 'pipe':
        os.mkfifo(path)
    else:
        path.symlink_to(target)
    with pytest.raises(DataError, match=rf'{path}: .*not a regular file'):
        _ = opened(tmp_path).gallery
    (tmp_path / 'categories.csv').symlink_to(path)
    with pytest.raises(DataError, match=r'categories.csv: cannot be read \(not a regular file\)'):
        read_categories(tmp_path / 'categories.csv')


def test_a_file_that_asks_for_memory_costs_only_itself(update, tmp_path, monkeypatch):
    names = write_models(tmp_path / 'models', 2)
    trimesh.creation.icosphere(subdivisions=8).export(tmp_path / 'models/large.stl')  # 1,310,720 faces
    monkeypatch.setattr(index_embed, 'reading_memory', lambda processes: 1200 * 2**20)
    done = update(processes=2)
    assert done.shapes == len(names)
    assert [Path(problem.where).name for problem in done.failed] == ['large.stl']
    assert re.search('MemoryError|crashed', done.failed[0].found)


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
    assert read_manifest(tmp_path / 'index').sources == [Source(str(tmp_path / 'moved'), 'auto', '')]
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
    assert read_manifest(tmp_path / 'index').sources == [Source(str(tmp_path / 'models'), 'auto', '')]
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
        _ = opened(tmp_path).gallery
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
        _ = opened(tmp_path).gallery


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
