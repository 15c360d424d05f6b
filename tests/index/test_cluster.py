"""An index that the workers of a cluster embedded is the index that one machine makes, byte by byte."""

import json
import sys
from pathlib import Path

import pytest
from finished_runs import write_run
from small_index import write_box, write_models
from small_pretrained import small_pretrained

import jaxret
from jaxret.errors import CheckpointError, ConfigError, JaxretError, StorageError
from jaxret.index import cluster as cluster_embedding
from jaxret.index import embed as index_embed
from jaxret.index.build import update_index

distributed = pytest.importorskip('distributed', reason="needs the extra 'cluster'")

from jaxret.index.cluster import ClusterEmbedding

ALONE = {'processes': 1, 'progress': False}


@pytest.fixture(scope='module')
def run(tmp_path_factory):
    """A small CMIC run, loaded."""
    workdir = tmp_path_factory.mktemp('run') / 'cmic'
    write_run(workdir, 'cmic')
    return jaxret.load(workdir)


@pytest.fixture(scope='module')
def here():
    """`ClusterEmbedding` of a cluster in this process, of one worker."""
    with distributed.LocalCluster(1, processes=False, threads_per_worker=1, dashboard_address='127.0.0.1:0') as cluster:
        yield ClusterEmbedding(cluster.scheduler_address)


@pytest.fixture(autouse=True)
def small_shards(monkeypatch):
    """Several groups of few models."""
    for module in (index_embed, cluster_embedding):
        monkeypatch.setattr(module, 'SHARD_SHAPES', 4)


def models(folder: Path, count: int = 10) -> Path:
    """Boxes, and two files that are broken."""
    write_models(folder, count)
    (folder / 'tall' / 'broken.obj').write_text('v 0 0\nf 1 2 3\n')
    (folder / 'empty.stl').write_bytes(b'')
    return folder


def content(index: Path) -> dict:
    """All files of an index by their name; the table, whose name is drawn by lot, by 'table'."""
    manifest = json.loads((index / 'index.json').read_text())
    table = manifest.pop('table')
    files = {path.relative_to(index).as_posix(): path.read_bytes() for path in index.rglob('*') if path.is_file()}
    assert json.loads(files.pop('index.json')).keys() - manifest.keys() == {'table'}
    return files | {'table': files.pop(f'tables/{table}'), 'index.json': manifest}


def test_indexes_with_and_without_a_cluster_go_on_from_each_other(tmp_path, run, here):
    folder = models(tmp_path / 'models')
    alone = update_index(tmp_path / 'alone', run, folder, **ALONE)
    spread = update_index(tmp_path / 'spread', run, folder, **ALONE, embed=here)
    assert alone == spread and (spread.shapes, spread.embedded, len(spread.failed)) == (10, 10, 2)
    assert content(tmp_path / 'alone') == content(tmp_path / 'spread')
    assert len(list((tmp_path / 'spread' / 'shards').iterdir())) == 3 + 1  # 12 files, and the matrix of the attention

    write_box(folder / 'tall' / 'new.obj', 5, 1, 1)
    (folder / 'wide' / '01' / 'box.off').unlink()
    swapped = {'alone': here, 'spread': None}
    done = [update_index(tmp_path / name, run, **ALONE, embed=embed) for name, embed in swapped.items()]
    assert done[0] == done[1] and (done[0].shapes, done[0].embedded, done[0].kept) == (10, 1, 9)
    assert content(tmp_path / 'alone') == content(tmp_path / 'spread')


def test_workers_with_other_weights_versions_or_files_are_refused_and_the_index_stays(tmp_path, run, here, monkeypatch):
    folder = models(tmp_path / 'models', 3)
    update_index(tmp_path / 'index', run, folder, **ALONE)
    before = content(tmp_path / 'index')
    write_box(folder / 'new.obj', 5, 1, 1)

    def refused(error, match, name, value):
        with monkeypatch.context() as patch:
            patch.setattr(cluster_embedding, name, value)
            with pytest.raises(error, match=match):
                update_index(tmp_path / 'index', run, **ALONE, embed=here)
        assert content(tmp_path / 'index').items() >= before.items()  # shards that the next run takes up may be there

    write_run(tmp_path / 'other', 'cmic', seed=1)
    other = jaxret.load(tmp_path / 'other')
    refused(CheckpointError, 'a worker found other weights there', '_model', lambda *_: other)
    seen = iter([cluster_embedding.versions()])
    refused(CheckpointError, 'a worker has other versions', 'versions', lambda: next(seen, {'jax': '0'}))
    refused(StorageError, 'index: a worker does not see it; give all machines the same files', 'LOCK', 'elsewhere')
    refused(StorageError, 'missing though a worker wrote it', 'SHARDS', 'elsewhere')


def test_a_failed_cluster_keeps_what_it_embedded(tmp_path, run, here, monkeypatch):
    folder = models(tmp_path / 'models')
    real, calls = cluster_embedding.embed_files, []

    def breaks(*arguments, **options):
        calls.append(1)
        if len(calls) == 3:
            raise MemoryError('of the machine')
        return real(*arguments, **options)

    monkeypatch.setattr(cluster_embedding, 'embed_files', breaks)
    with pytest.raises(JaxretError, match=r'cluster failed \(MemoryError: of the machine.*the same command goes on'):
        update_index(tmp_path / 'index', run, folder, **ALONE, embed=here)
    assert not (tmp_path / 'index' / 'index.json').exists()
    done = update_index(tmp_path / 'index', run, folder, **ALONE)
    assert done.kept >= 6 and done.shapes == 10


def test_models_that_a_worker_does_not_see(tmp_path, run, here):
    (tmp_path / 'index').mkdir()
    (tmp_path / 'index' / '.lock').touch()
    items = [(tmp_path / 'gone' / f'{number}.obj', 'y') for number in range(2)]
    with pytest.raises(StorageError, match=r'gone/0\.obj: a worker does not see it'):
        list(here(tmp_path / 'index', run, '', items, **ALONE))
    assert list(here(tmp_path / 'index', run, '', [], **ALONE)) == []


def test_no_scheduler(monkeypatch):
    monkeypatch.setattr(cluster_embedding, '_SECONDS', 0.2)
    for name in ('nonsense', 'tcp://127.0.0.1:9', 'gone.json'):
        with pytest.raises(ConfigError, match=f'--cluster={name}: no Dask scheduler there'):
            ClusterEmbedding(name)
    monkeypatch.setitem(sys.modules, 'distributed', None)
    with pytest.raises(ConfigError, match=r"--cluster needs distributed: pip install 'jaxret\[cluster\]'"):
        ClusterEmbedding('tcp://127.0.0.1:9')


def test_silhouettes_of_the_built_in_model_and_workers_with_other_cameras(tmp_path, here, monkeypatch):
    model = small_pretrained()
    write_models(tmp_path / 'models', 5)
    update_index(tmp_path / 'alone', model, tmp_path / 'models', **ALONE)
    monkeypatch.setattr(cluster_embedding, '_model', lambda *_: model)
    update_index(tmp_path / 'spread', model, tmp_path / 'models', **ALONE, embed=here)
    assert content(tmp_path / 'alone') == content(tmp_path / 'spread')
    other = small_pretrained(outline_size=20)  # of the same fingerprint
    with pytest.raises(CheckpointError, match='a worker makes other views, points or silhouettes of models'):
        update_index(tmp_path / 'other', other, tmp_path / 'models', **ALONE, embed=here)
