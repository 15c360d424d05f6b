"""Indexes while they are written: readers see a whole one, a killed run is taken up where it was."""

import multiprocessing
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from small_index import PlainModel, write_box, write_models

import jaxret
from jaxret.errors import ConfigError, DataError
from jaxret.index import build as index_build
from jaxret.index import embed as index_embed
from jaxret.index import files as index_files
from jaxret.index.build import update_index

TESTS = Path(__file__).parents[1]


def update(tmp_path, **options):
    return update_index(
        tmp_path / 'index',
        options.pop('model', PlainModel()),
        tmp_path / 'models',
        processes=1,
        progress=False,
        **options,
    )


@pytest.mark.parametrize(
    'step',
    ['write_shard', 'without_gaps', 'write_failed', 'write_matrix', 'write_table', 'write_manifest', 'remove_unused'],
)
def test_a_reader_sees_the_old_index_or_the_new_one_at_every_step(tmp_path, monkeypatch, step):
    names = write_models(tmp_path / 'models', 3)
    update(tmp_path)
    write_box(tmp_path / 'models' / 'new.obj', 3, 1, 1)
    (tmp_path / 'models' / names[0]).unlink()
    old, new = tuple(names), tuple(sorted({*names, 'new.obj'} - {names[0]}))
    module = index_embed if step == 'write_shard' else index_build
    real, seen = getattr(module, step), []

    def watched(*arguments, **options):
        result = real(*arguments, **options)
        with jaxret.Index.open(tmp_path / 'index') as index:
            seen.append(index.ids)
            assert all(index.thumbnail(name) for name in index.ids)
        return result

    monkeypatch.setattr(module, step, watched)
    update(tmp_path)
    assert seen == [new if step in ('write_manifest', 'remove_unused') else old]


def test_an_open_index_keeps_working_and_what_only_it_needs_goes_with_it(tmp_path):
    names = write_models(tmp_path / 'models', 2)
    update(tmp_path)
    index = jaxret.Index.open(tmp_path / 'index')
    query = index.gallery.embeddings[0, :1]
    before = {name: index.thumbnail(name) for name in names}, index.search(query)
    for name in names:
        write_box(tmp_path / 'models' / name, 4, 1, 1)
    update(tmp_path)
    assert ({name: index.thumbnail(name) for name in names}, index.search(query)) == before
    with jaxret.Index.open(tmp_path / 'index') as newer:
        assert newer.thumbnail(names[0]) != before[0][names[0]] and newer.search(query) != before[1]
    assert len(list((tmp_path / 'index' / 'tables').iterdir())) == 2
    index.close()
    update(tmp_path)
    assert len(list((tmp_path / 'index' / 'tables').iterdir())) == 1
    with pytest.raises(DataError, match='missing or damaged'):
        index.thumbnail(names[0])


def read_again_and_again(folder, ready, stop, results):
    """Opens the index as fast as it can; every state must be whole and its shapes of one size."""
    count, faults = 0, []
    while not stop.is_set():
        try:
            with jaxret.Index.open(folder) as index:
                sizes = {name.split('-')[0] for name in index.ids}
                pictures = {index.thumbnail(name) for name in index.ids}
                if len(sizes) != 1 or len(pictures) != 1 or len(index) != 2:
                    faults.append(f'{index.ids}')
            count += 1
            ready.set()
        except Exception as error:
            faults.append(repr(error))
    results.put((count, faults))


def test_a_process_that_reads_all_the_time_never_sees_half_an_index(tmp_path):
    context = multiprocessing.get_context('spawn')
    ready, stop, results = context.Event(), context.Event(), context.Queue()

    def write(number):
        for path in (tmp_path / 'models').glob('*'):
            path.unlink()
        for copy in range(2):
            write_box(tmp_path / 'models' / f'{number}-{copy}.off', 1, 1 + number / 10, 1)
        update(tmp_path)

    write(0)
    reader = context.Process(target=read_again_and_again, args=(tmp_path / 'index', ready, stop, results), daemon=True)
    reader.start()
    try:
        assert ready.wait(120)
        for number in range(1, 25):
            write(number)
    finally:
        stop.set()
    count, faults = results.get(timeout=120)
    reader.join(timeout=60)
    assert not faults and count > 3


KILLED = """
import os, signal, sys
sys.path[:0] = {path!r}
from pathlib import Path
from small_index import PlainModel
from jaxret.index import build, embed
from jaxret.index.build import update_index

embed.SHARD_SHAPES = 2
module = embed if {step!r} == 'write_shard' else build
real, calls = getattr(module, {step!r}), []

def killed(*arguments, **options):
    calls.append(1)
    if len(calls) == {call}:
        os.kill(os.getpid(), signal.SIGKILL)
    return real(*arguments, **options)

setattr(module, {step!r}, killed)
update_index(Path({folder!r}) / 'index', PlainModel(), Path({folder!r}) / 'models', processes=1, progress=False)
"""


@pytest.mark.parametrize('step,call,left', [('write_shard', 3, 2), ('write_table', 1, 0), ('remove_unused', 1, 0)])
def test_a_killed_run_goes_on_where_it_was(tmp_path, step, call, left):
    names = write_models(tmp_path / 'models', 6)
    code = KILLED.format(path=[str(TESTS), str(TESTS.parent)], step=step, call=call, folder=str(tmp_path))
    done = subprocess.run(
        [sys.executable, '-c', code],
        capture_output=True,
        text=True,
        timeout=240,
        env=os.environ | {'JAX_PLATFORMS': 'cpu'},
    )
    assert done.returncode == -signal.SIGKILL, done.stderr
    if step != 'remove_unused':
        with pytest.raises(DataError, match=r'index.json: no such file'):
            _ = jaxret.Index.open(tmp_path / 'index').gallery
    model = PlainModel()
    again = update(tmp_path, model=model)
    assert (again.shapes, again.embedded, model.embedded) == (6, left, left)
    whole = PlainModel()
    update_index(tmp_path / 'other', whole, tmp_path / 'models', processes=1, progress=False)
    with jaxret.Index.open(tmp_path / 'index') as index, jaxret.Index.open(tmp_path / 'other') as other:
        assert index.ids == other.ids == tuple(names)
        np.testing.assert_array_equal(index.gallery.embeddings, other.gallery.embeddings)
        assert [index.thumbnail(name) for name in names] == [other.thumbnail(name) for name in names]
    used = {*index.manifest.shards, index.manifest.projection}
    assert {path.name for path in (tmp_path / 'index' / 'shards').iterdir()} == used


def test_a_killed_rebuild_leaves_the_old_index_and_what_it_wrote_is_not_taken_over(tmp_path, monkeypatch):
    write_models(tmp_path / 'models', 4)
    update(tmp_path)
    monkeypatch.setattr(index_embed, 'SHARD_SHAPES', 2)
    real, calls = index_embed.write_shard, []

    def interrupted(*arguments, **options):
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return real(*arguments, **options)

    monkeypatch.setattr(index_embed, 'write_shard', interrupted)
    with pytest.raises(KeyboardInterrupt):
        update(tmp_path, model=PlainModel(fingerprint='b' * 64), rebuild=True)
    assert jaxret.Index.open(tmp_path / 'index').fingerprint == 'a' * 64
    monkeypatch.setattr(index_embed, 'write_shard', real)
    assert update(tmp_path, model=PlainModel(fingerprint='b' * 64), rebuild=True).embedded == 4
    assert jaxret.Index.open(tmp_path / 'index').fingerprint == 'b' * 64


def test_without_locks_nothing_old_is_removed(tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError('no locks here')

    monkeypatch.setattr(index_files.fcntl, 'flock', refuse)
    names = write_models(tmp_path / 'models', 2)
    update(tmp_path)
    index = jaxret.Index.open(tmp_path / 'index')
    before = index.thumbnail(names[0])
    write_box(tmp_path / 'models' / names[0], 4, 1, 1)
    update(tmp_path)
    assert index.thumbnail(names[0]) == before
    assert len(list((tmp_path / 'index' / 'tables').iterdir())) == 2
    (tmp_path / 'index' / 'tables' / index.manifest.table).write_text('damaged')
    assert update(tmp_path).shapes == 2


def test_search_by_category_with_the_view_that_the_attention_chose(tmp_path):
    names = write_models(tmp_path / 'models', 5)
    model = PlainModel(projection=-np.eye(4, dtype=np.float32))  # prefers the view that is least alike
    update(tmp_path, model=model)
    with jaxret.Index.open(tmp_path / 'index') as index:
        views = index.gallery.embeddings
        query = views[3, 1:2]
        logits = -(views @ query[0])
        weights = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
        scores = (weights * (views @ query[0])).sum(axis=1)
        hits = index.search(query, top_k=50)[0]
        assert [hit.id for hit in hits] == [names[g] for g in np.argsort(-scores, kind='stable')]
        np.testing.assert_allclose([hit.score for hit in hits], np.sort(scores)[::-1], atol=1e-6)
        assert [hit.rank for hit in hits] == [1, 2, 3, 4, 5]
        assert [hit.view for hit in hits] == [int(logits[names.index(hit.id)].argmax()) for hit in hits]
        assert [(hit.azimuth, hit.elevation) for hit in hits] == [(hit.view * 120, 30) for hit in hits]
        wide = index.search(np.concatenate([query, query]), categories=['wide'], top_k=1)
        assert wide[0] == wide[1] and len(wide) == 2
        assert wide[0][0].category == 'wide' and wide[0][0].rank == 1
        assert wide[0][0].id == next(hit.id for hit in hits if hit.category == 'wide')
        with pytest.raises(ConfigError, match=r"category 'sofa': no shape has it; choose from tall, wide"):
            index.search(query, categories=['wide', 'sofa'])
        with pytest.raises(DataError, match=r'give \[Q, 4\]'):
            index.search(query[:, :3])
        with pytest.raises(KeyError):
            index.thumbnail('unknown')
