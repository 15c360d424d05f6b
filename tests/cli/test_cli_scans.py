"""`jaxret search` with grids of distances, of which some are models of the index."""

import json

import pytest
from finished_runs import write_run
from scan_cad_folders import ball
from small_index import write_models

from jaxret.cli import main as cli
from jaxret.geometry.distance_grids import write_distances


@pytest.fixture
def run(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path / 'cache'))
    monkeypatch.setenv('JAX_COMPILATION_CACHE_DIR', str(tmp_path / 'programs'))
    monkeypatch.chdir(tmp_path)

    def call(*arguments):
        status = cli.main(list(arguments))
        out, err = capsys.readouterr()
        return status, out, err

    return call


def test_a_grid_of_the_index_is_laid_whatever_stands_beside_it(run, tmp_path):
    write_run(tmp_path / 'run', 'scan_cad')
    write_models(tmp_path / 'models', 3)
    write_distances(tmp_path / 'models/wide/ball.vox', ball(7, 32))
    write_distances(tmp_path / 'scan.sdf', ball(9, 32))
    assert run('index', '--out', 'index', '--checkpoint', 'run', '--models', 'models', '--processes', '1')[0] == 0
    search, own = ('search', '--index', 'index', '--json', '--top', '3'), 'models/wide/ball.vox'

    def answers(*queries):
        status, out, err = run(*search, *queries)
        assert status == 0, err
        return {found['query']: found['hits'] for found in json.loads(out)}

    alone = answers(own)[own]
    assert alone[0]['id'] == 'wide/ball.vox' and alone[0]['distance'] == pytest.approx(0, abs=1e-3)
    assert answers(own, 'models/tall/00/box.obj')[own] == alone
    assert answers(own, '--no-align')[own][0]['distance'] is None
    status, _, err = run(*search, 'scan.sdf', '--no-align')
    assert status == 1 and '--no-align: there is no mesh among the queries' in err
