"""The command `jaxret` with a cluster, files of embeddings and a vector database."""

import contextlib
import json

import pytest
from finished_runs import write_run
from small_index import write_box, write_models

from jaxret.cli import main as cli

with contextlib.suppress(ImportError):
    # While tests are collected: it sets logging up anew, which makes absl close its stream where that is no longer
    # sys.stderr, and so the one of all tests if it is imported while a test captures.
    import pymilvus  # noqa: F401

# Of pymilvus.
pytestmark = pytest.mark.filterwarnings(
    'ignore::DeprecationWarning', 'ignore::FutureWarning', 'ignore::ResourceWarning'
)


@pytest.fixture(scope='module')
def place(tmp_path_factory):
    """A HIFA run (mesh queries), models, their index; compiled programs go to a folder of the tests."""
    folder = tmp_path_factory.mktemp('place')
    patch = pytest.MonkeyPatch()
    for name in ('XDG_CACHE_HOME', 'KERAS_HOME', 'MPLCONFIGDIR', 'JAX_COMPILATION_CACHE_DIR'):
        patch.setenv(name, str(folder / 'cache'))
    patch.setenv('JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS', '0')
    write_run(folder / 'run', 'hifa')
    write_models(folder / 'models', 5)
    write_box(folder / 'query.stl', 1, 2, 2)
    patch.chdir(folder)
    assert cli.main(['index', '--checkpoint', 'run', '--models', 'models', '--out', 'index', '--processes', '1']) == 0
    yield folder
    patch.undo()


@pytest.fixture
def call(place, capsys):
    def call(line):
        status = cli.main(line.split())
        out, err = capsys.readouterr()
        return status, out, err

    return call


def test_a_file_of_embeddings(call, place):
    parquet = pytest.importorskip('pyarrow.parquet', reason="needs the extra 'parquet'")
    status, out, err = call('export --index index --out shapes.parquet')
    assert (status, err) == (0, '') and out.startswith('shapes.parquet: 5 shapes, ')
    assert parquet.read_table(place / 'shapes.parquet').num_rows == 5
    status, _, err = call('export --index index --out shapes.csv')
    assert status == 1 and err.startswith('error: shapes.csv: embeddings are written as .parquet or .arrow')


def test_a_database(call, place):
    for package in ('milvus_lite', 'pymilvus'):
        pytest.importorskip(package, reason="needs the extra 'database'")
    status, _, err = call('search --index index --database shapes.db query.stl')
    assert status == 1 and 'no such database; write it with `jaxret export --index index --database shapes.db`' in err
    status, out, _ = call('export --index index --database shapes.db')
    assert status == 0 and out.startswith("shapes.db: 5 shapes, 5 rows in collection 'jaxret'\n")
    _, wanted, _ = call('search --index index --json --top 3 --no-align query.stl')
    status, out, err = call('search --index index --database shapes.db --json --top 3 query.stl')
    wanted = json.loads(wanted)
    for hit in wanted[0]['hits']:
        hit['facts'] = None
    assert (status, err) == (0, '') and json.loads(out) == wanted
    status, out, _ = call('search --index index --database shapes.db --sheet sheet.png query.stl')
    assert status == 0 and 'box.' in out and (place / 'sheet.png').stat().st_size > 1000

    call('export --index index --database shapes.db --approximate --collection other')
    status, _, err = call('search --index index --database shapes.db --collection other --top 2 query.stl')
    assert status == 0 and err.startswith('1 of 1 answers may miss shapes')


def test_a_cluster(call, place):
    distributed = pytest.importorskip('distributed', reason="needs the extra 'cluster'")
    index = 'index --checkpoint run --models models --out spread --processes 1 --cluster'
    with distributed.LocalCluster(1, processes=False, threads_per_worker=1, dashboard_address='127.0.0.1:0') as cluster:
        (place / 'scheduler.json').write_text(json.dumps({'address': cluster.scheduler_address}))
        status, out, _ = call(f'{index} scheduler.json')
    assert status == 0 and out.startswith('spread: 5 shapes: 5 embedded, 0 as before;')
    shards = [sorted(path.read_bytes() for path in (place / name / 'shards').iterdir()) for name in ('index', 'spread')]
    assert shards[0] == shards[1]
    status, _, err = call(f'{index} gone.json')
    assert status == 1 and err.startswith('error: --cluster=gone.json: no Dask scheduler there')


@pytest.mark.parametrize(
    ('line', 'message'),
    [
        ('export --checkpoint run --database shapes.db', '--database goes with --index'),
        ('export --index index --out a.parquet --kind photo', '--kind goes with --checkpoint or --model'),
        ('export --index index --out a.parquet --approximate', '--approximate goes with --database'),
        ('search --index index --candidates 5 query.stl', '--collection and --candidates go with --database'),
    ],
)
def test_options_that_do_not_go_together(call, line, message):
    status, out, err = call(line)
    assert (status, out) == (1, '') and err == f'error: {message}\n'
