"""An index that Beam's workers embedded is the index that one machine makes, byte by byte."""

import json
import os
import sys
from pathlib import Path

import pytest
from finished_runs import write_run
from small_index import write_box, write_models
from small_pretrained import small_pretrained

import jaxret
from jaxret.errors import CheckpointError, ConfigError, JaxretError
from jaxret.index import beam as beam_embedding
from jaxret.index import embed as index_embed
from jaxret.index.build import update_index

pytest.importorskip('apache_beam', reason="needs the extra 'beam'")
pytestmark = pytest.mark.filterwarnings(
    'ignore:::apache_beam', 'ignore::DeprecationWarning', 'ignore::FutureWarning', 'ignore::ResourceWarning'
)  # of Beam

from jaxret.index.beam import BeamEmbedding

LOCAL = ('--direct_num_workers=2',)
HERE = ('--runner=FnApiRunner',)  # in this process


@pytest.fixture(scope='module')
def run(tmp_path_factory):
    """Work directory of a small CMIC run, and its model."""
    workdir = tmp_path_factory.mktemp('run') / 'cmic'
    write_run(workdir, 'cmic')
    return workdir, jaxret.load(workdir)


@pytest.fixture(autouse=True)
def small_shards(monkeypatch):
    """Several groups of few models; workers find what this process finds."""
    monkeypatch.setattr(index_embed, 'SHARD_SHAPES', 4)
    monkeypatch.setattr(beam_embedding, 'SHARD_SHAPES', 4)
    monkeypatch.setenv('PYTHONPATH', os.pathsep.join(path or os.getcwd() for path in sys.path))


def models(folder: Path) -> Path:
    """Ten boxes and two files that are broken."""
    write_models(folder, 10)
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


def test_processes_on_this_machine_make_the_same_index(tmp_path, run):
    workdir, model = run
    folder = models(tmp_path / 'models')
    alone = update_index(tmp_path / 'alone', model, folder, processes=1, progress=False)
    beam = update_index(tmp_path / 'beam', model, folder, processes=1, progress=False, embed=BeamEmbedding(LOCAL))
    assert alone == beam and (beam.shapes, beam.embedded, len(beam.failed)) == (10, 10, 2)
    assert content(tmp_path / 'alone') == content(tmp_path / 'beam')
    assert len(list((tmp_path / 'beam' / 'shards').iterdir())) == 3 + 1  # 12 files, and the matrix of the attention

    # Both go on from each other's work.
    write_box(folder / 'tall' / 'new.obj', 5, 1, 1)
    (folder / 'wide' / '01' / 'box.off').unlink()
    done = [
        update_index(tmp_path / name, model, progress=False, processes=1, embed=embed)
        for name, embed in (('alone', BeamEmbedding(HERE)), ('beam', None))
    ]
    assert done[0] == done[1] and (done[0].shapes, done[0].embedded, done[0].kept) == (10, 1, 9)
    assert content(tmp_path / 'alone') == content(tmp_path / 'beam')


def test_workers_with_other_weights_or_versions_are_refused_and_the_index_stays(tmp_path, run, monkeypatch):
    workdir, model = run
    folder = models(tmp_path / 'models')
    update_index(tmp_path / 'index', model, folder, processes=1, progress=False)
    before = content(tmp_path / 'index')
    write_box(folder / 'new.obj', 5, 1, 1)
    other = tmp_path / 'other'
    write_run(other, 'cmic', seed=1)
    monkeypatch.setattr(beam_embedding, '_model', lambda *_: jaxret.load(other))
    with pytest.raises(CheckpointError, match='a worker found other weights there'):
        update_index(tmp_path / 'index', model, processes=1, progress=False, embed=BeamEmbedding(HERE))
    monkeypatch.undo()
    real = beam_embedding.versions
    seen = iter([real()])
    monkeypatch.setattr(beam_embedding, 'versions', lambda: next(seen, {'jax': '0'}))
    with pytest.raises(CheckpointError, match='a worker has other versions'):
        update_index(tmp_path / 'index', model, processes=1, progress=False, embed=BeamEmbedding(HERE))
    assert content(tmp_path / 'index') == before


def test_a_failed_pipeline_keeps_what_it_embedded(tmp_path, run, monkeypatch):
    workdir, model = run
    folder = models(tmp_path / 'models')
    real, calls = beam_embedding.embed_files, []

    def breaks(*arguments, **options):
        calls.append(1)
        if len(calls) == 3:
            raise MemoryError('of the machine')
        return real(*arguments, **options)

    monkeypatch.setattr(beam_embedding, 'embed_files', breaks)
    with pytest.raises(JaxretError, match=r'Beam pipeline failed \(.*of the machine.*the same command goes on'):
        update_index(tmp_path / 'index', model, folder, processes=1, progress=False, embed=BeamEmbedding(HERE))
    assert not (tmp_path / 'index' / 'index.json').exists() and not (tmp_path / 'index' / 'beam').exists()
    done = update_index(tmp_path / 'index', model, folder, processes=1, progress=False)
    assert done.kept >= 6 and done.shapes == 10


def test_options(monkeypatch):
    with pytest.raises(ConfigError, match='Beam does not know --direct_num_worker'):
        BeamEmbedding(['--direct_num_worker=2'])
    options = BeamEmbedding(LOCAL)._options.get_all_options()
    assert (options['runner'], options['direct_running_mode'], options['direct_num_workers']) == (
        'FnApiRunner',
        'multi_processing',
        2,
    )
    options = BeamEmbedding(['--runner=FlinkRunner', '--flink_master=host:8081', '--of_the_job_server=3'])._options
    assert options.get_all_options()['flink_master'] == 'host:8081'
    monkeypatch.setitem(sys.modules, 'apache_beam', None)
    with pytest.raises(ConfigError, match=r"--beam needs apache_beam: pip install 'jaxret\[beam\]'"):
        BeamEmbedding()


def test_silhouettes_of_the_built_in_model_and_workers_with_other_cameras(tmp_path, monkeypatch):
    model = small_pretrained()
    write_models(tmp_path / 'models', 5)
    update_index(tmp_path / 'alone', model, tmp_path / 'models', processes=1, progress=False)
    monkeypatch.setattr(beam_embedding, '_model', lambda *_: model)
    made = {'processes': 1, 'progress': False, 'embed': BeamEmbedding(HERE)}
    update_index(tmp_path / 'beam', model, tmp_path / 'models', **made)
    assert content(tmp_path / 'alone') == content(tmp_path / 'beam')
    other = small_pretrained(outline_size=20)  # of the same fingerprint
    with pytest.raises(CheckpointError, match='a worker makes other views, points or silhouettes of models'):
        update_index(tmp_path / 'other', other, tmp_path / 'models', **made)
