"""The prepared TFDS datasets: exact round trip, one folder for each set of inputs, and never half a folder."""

import io
import os
import resource
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pix3d_folders import write_folder, write_json

from data_pipelines import records
from data_pipelines.photo_to_shape import prepare as photo_records
from data_pipelines.photo_to_shape.pix3d import read_pix3d
from data_pipelines.photo_to_shape.prepare import load_gallery, load_queries, prepare
from jaxret.errors import DataError, Problem, StorageError
from jaxret.geometry.mesh import load_mesh
from jaxret.geometry.render import ViewRing, render_views
from jaxret.preprocessing import framing
from jaxret.preprocessing import photo_files as photos

RING = ViewRing(views=3, size=16)


def read(root, **options):
    return read_pix3d(root, **({'check_processes': 1, 'progress': False} | options))


def prepared_from(dataset, cache_dir, **options):
    return prepare(dataset, RING, **({'size': 20, 'cache_dir': cache_dir, 'processes': 1, 'progress': False} | options))


def folders(cache_dir):
    return sorted(path.name for path in cache_dir.iterdir() if path.is_dir())


def test_round_trip_is_exact_and_silent(tmp_path, capfd):
    write_folder(tmp_path / 'data')
    dataset = read(tmp_path / 'data', val_fraction=0.2)
    options = {'crop': 'mask', 'margin': 0.1, 'fit': 'pad'}
    prepared = prepared_from(dataset, tmp_path / 'cache', **options)
    total = 0
    for split in ('train', 'val', 'test'):
        table, chosen = load_queries(prepared, split), dataset.split_photos(split)
        total += len(table.names)
        assert table.names == [photo.name for photo in chosen]
        assert table.category.dtype == table.shape.dtype == np.int32
        for row, photo in enumerate(chosen):
            pair = photos.read_pair(photo.image, photo.mask)
            framed, silhouette = framing.frame_photo(pair.photo, pair.mask, size=20, **options)
            image = Image.open(io.BytesIO(table.images_encoded[row]))
            mask = Image.open(io.BytesIO(table.masks_encoded[row]))
            assert image.format == mask.format == 'PNG' and (image.mode, mask.mode) == ('RGB', 'L')
            np.testing.assert_array_equal(np.asarray(image), framed)
            np.testing.assert_array_equal(np.asarray(mask), silhouette[:, :, 0])
            assert dataset.categories[table.category[row]] == photo.category
            assert dataset.shapes[table.shape[row]].model == photo.model
    assert total == 9
    gallery = load_gallery(prepared)
    assert gallery.views.shape == (4, 3, 16, 16, 1) and gallery.views.dtype == np.uint8
    for row, shape in enumerate(dataset.shapes):
        np.testing.assert_array_equal(gallery.views[row, ..., 0], render_views(load_mesh(shape.path), RING))
        assert dataset.categories[gallery.category[row]] == shape.category
        assert (gallery.names[row], gallery.paths[row]) == (shape.model, shape.path)
    assert prepared.dataset == dataset
    assert capfd.readouterr() == ('', '')


def test_worker_processes_prepare_the_same(tmp_path, monkeypatch):
    monkeypatch.setattr(records, 'SERIAL_BELOW', 1)
    write_folder(tmp_path / 'data')
    dataset = read(tmp_path / 'data')
    serial, parallel = (prepared_from(dataset, tmp_path / str(count), processes=count) for count in (1, 2))
    for split in ('train', 'test'):
        first, second = load_queries(serial, split), load_queries(parallel, split)
        assert first.names == second.names and first.images_encoded == second.images_encoded
        assert first.masks_encoded == second.masks_encoded
    np.testing.assert_array_equal(load_gallery(serial).views, load_gallery(parallel).views)


def test_two_folders_never_share_and_options_count(tmp_path, monkeypatch):
    for name in ('a', 'b'):
        write_folder(tmp_path / name)
    first = prepared_from(read(tmp_path / 'a'), tmp_path / 'cache')
    marker = first.folder / 'prepared.json'
    stamp = marker.stat().st_mtime_ns
    assert prepared_from(read(tmp_path / 'a'), tmp_path / 'cache').folder == first.folder
    assert marker.stat().st_mtime_ns == stamp
    dataset = read(tmp_path / 'a')
    folders_of = {first.folder, prepared_from(read(tmp_path / 'b'), tmp_path / 'cache').folder}
    assert len(folders_of) == len(folders(tmp_path / 'cache')) == 2
    monkeypatch.setattr(records, 'complete_folder', lambda folder, write: {'dropped': []})
    for options in ({'size': 21}, {'crop': 'mask'}, {'crop': 'mask', 'margin': 0.2}, {'fit': 'stretch'}, {'fill': 0}):
        folders_of.add(prepared_from(dataset, tmp_path / 'cache', **options).folder)
    folders_of.add(prepared_from(read(tmp_path / 'a', val_fraction=0.4), tmp_path / 'cache').folder)
    assert len(folders_of) == 8
    assert prepared_from(dataset, tmp_path / 'cache').folder == first.folder
    monkeypatch.setattr(records, 'source_hash', lambda *files: 'other code')
    assert prepared_from(dataset, tmp_path / 'cache').folder != first.folder


def test_interrupted_preparation_leaves_nothing_that_counts(tmp_path, monkeypatch):
    write_folder(tmp_path / 'data')
    dataset = read(tmp_path / 'data')
    write, seen = records.RecordWriter.write, []

    def interrupted(writer, *arguments, **options):
        seen.append(writer._folder)
        if len(seen) == 2:  # the gallery is written, the photos are not
            raise KeyboardInterrupt
        write(writer, *arguments, **options)

    monkeypatch.setattr(records.RecordWriter, 'write', interrupted)
    with pytest.raises(KeyboardInterrupt):
        prepared_from(dataset, tmp_path / 'cache')
    assert folders(tmp_path / 'cache') == []
    monkeypatch.undo()
    # a kill leaves its draft, and a folder may have lost its last file
    key = seen[0].name[1:].rsplit('.', 1)[0]
    for leftover in (seen[0], tmp_path / 'cache' / key):
        (leftover / 'retrieval_gallery/1.0.0').mkdir(parents=True)
        (leftover / 'retrieval_gallery/1.0.0/dataset_info.json').write_text('{}')
    prepared = prepared_from(dataset, tmp_path / 'cache')
    assert folders(tmp_path / 'cache') == [prepared.folder.name] == [key]
    assert len(load_gallery(prepared).names) == 4 and len(load_queries(prepared, 'test').names) == 3


def test_killed_preparation(tmp_path):
    """SIGKILL between the two datasets; the next preparation starts anew and is complete."""
    write_folder(tmp_path / 'data')
    code = f"""
import os, signal
from data_pipelines.photo_to_shape import prepare as module
from data_pipelines.photo_to_shape.pix3d import read_pix3d
from jaxret.geometry.render import ViewRing
module.frame_files = lambda *item, **framing: os.kill(os.getpid(), signal.SIGKILL)
layout = read_pix3d({str(tmp_path / 'data')!r}, check_processes=1, progress=False)
module.prepare(layout, ViewRing(views=3, size=16), size=20, cache_dir={str(tmp_path / 'cache')!r}, processes=1,
               progress=False)
"""
    root = Path(photo_records.__file__).parents[2]
    ended = subprocess.run([sys.executable, '-c', code], cwd=root, env=dict(os.environ, PYTHONPATH=str(root)))
    assert ended.returncode == -signal.SIGKILL
    (draft,) = folders(tmp_path / 'cache')
    assert draft.startswith('.')
    prepared = prepared_from(read(tmp_path / 'data'), tmp_path / 'cache')
    assert folders(tmp_path / 'cache') == [prepared.folder.name]
    assert len(load_queries(prepared, 'train').names) > 0


def fail_rendering(monkeypatch, *models):
    real = photo_records.render_file

    def render_file(path, ring, up_axis):
        if any(str(path).endswith(model) for model in models):
            raise DataError(Problem(str(path), 'no rays', 'mend it'))
        return real(path, ring, up_axis)

    monkeypatch.setattr(photo_records, 'render_file', render_file)


def test_shape_that_fails_in_rendering(tmp_path, monkeypatch):
    write_folder(tmp_path / 'data', photos_of=(3, 3, 3))
    dataset = read(tmp_path / 'data', val_fraction=0)
    fail_rendering(monkeypatch, 'bed/shape0/model.obj', 'sofa/spare0/model.obj')
    with pytest.raises(DataError) as caught:
        prepared_from(dataset, tmp_path / 'cache')
    assert [problem.found for problem in caught.value.problems] == ['no rays', 'no rays']
    assert folders(tmp_path / 'cache') == []
    for _ in range(2):  # written, and found again
        prepared = prepared_from(dataset, tmp_path / 'cache', on_bad_file='skip')
        assert [shape.model for shape in prepared.dataset.shapes] == [
            'model/bed/shape2/model.obj', 'model/chair/shape1/model.obj'
        ]  # fmt: skip
        assert len(prepared.dataset.skipped) == 2 + 3 and len(prepared.dataset.photos) == 6
        assert load_gallery(prepared).names == [shape.model for shape in prepared.dataset.shapes]
        for split in ('train', 'test'):
            table = load_queries(prepared, split)
            models = [prepared.dataset.shapes[index].model for index in table.shape]
            assert models == [photo.model for photo in prepared.dataset.split_photos(split)]
    fail_rendering(monkeypatch, 'model.obj')
    with pytest.raises(DataError):
        prepared_from(dataset, tmp_path / 'all', on_bad_file='skip')
    assert folders(tmp_path / 'all') == []


def test_photo_that_changes_after_the_check(tmp_path):
    entries = write_folder(tmp_path / 'data')
    dataset = read(tmp_path / 'data')
    (tmp_path / 'data' / entries[2]['img']).write_bytes(b'')
    with pytest.raises(DataError, match='empty file'):
        prepared_from(dataset, tmp_path / 'cache')
    prepared = prepared_from(dataset, tmp_path / 'cache', on_bad_file='skip')
    assert len(prepared.dataset.photos) == 8 and entries[2]['img'] not in load_queries(prepared, 'train').names


def test_split_without_photos_gives_an_empty_table(tmp_path):
    entries = write_folder(tmp_path / 'data')
    write_json(tmp_path / 'data', [entry | {'split': 'test'} for entry in entries])
    prepared = prepared_from(read(tmp_path / 'data', required_splits=('test',)), tmp_path / 'cache')
    table = load_queries(prepared, 'train')
    assert table.names == table.images_encoded == [] and table.shape.shape == table.category.shape == (0,)
    assert len(load_queries(prepared, 'test').names) == 9
    with pytest.raises(ValueError, match='dev'):
        load_queries(prepared, 'dev')


def test_unwritable_cache_and_damaged_folder(tmp_path):
    write_folder(tmp_path / 'data')
    dataset = read(tmp_path / 'data')
    (tmp_path / 'file').write_text('')
    with pytest.raises(StorageError, match='cannot be written'):
        prepared_from(dataset, tmp_path / 'file')
    prepared = prepared_from(dataset, tmp_path / 'cache')
    (records,) = prepared.folder.glob('retrieval_queries/*/*-test.array_record*')
    records.write_bytes(records.read_bytes()[:50])
    with pytest.raises(StorageError, match='delete'):
        load_queries(prepared, 'test')


def test_full_disk(tmp_path):
    """A limit on the size of files stands for a full disk: writing fails in the middle of a record file."""
    write_folder(tmp_path / 'data')
    dataset = read(tmp_path / 'data')
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2000, before[1]))
    try:
        with pytest.raises(StorageError, match='cannot be written'):
            prepared_from(dataset, tmp_path / 'cache')
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, ignored)
    assert folders(tmp_path / 'cache') == []
    assert len(load_gallery(prepared_from(dataset, tmp_path / 'cache')).names) == 4
