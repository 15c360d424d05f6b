"""The service on real indexes of real networks with random weights: every query gets the index's own answer."""

import io

import numpy as np
import pytest
import trimesh
from PIL import Image

pytest.importorskip('fastapi', reason="needs the extra 'serve'")
from finished_runs import write_run
from scan_cad_folders import ball
from small_index import write_models
from small_service import png, two_colors
from starlette.testclient import TestClient

import jaxret
from jaxret.geometry.distance_grids import write_distances
from jaxret.index.build import update_index
from jaxret.serving.app import create_app
from jaxret.serving.limits import Limits
from jaxret.serving.searcher import Searcher


def write_queries(folder):
    """A file of every kind."""
    folder.mkdir()
    points = np.random.default_rng(0).normal(size=(300, 3))
    (folder / 'photo.png').write_bytes(png(two_colors()))
    trimesh.creation.cylinder(1, 3).export(folder / 'mesh.stl')
    trimesh.PointCloud(points).export(folder / 'points.ply')
    np.save(folder / 'points.npy', points)
    write_distances(folder / 'scan.sdf', ball(9, 32))
    return sorted(folder.iterdir())


@pytest.mark.parametrize(
    ('system', 'kinds'),
    [
        (
            'cross_modal_center',
            {
                'photo.png': 'photo',
                'mesh.stl': 'mesh',
                'points.ply': 'points',
                'points.npy': 'points',
                'scan.sdf': 'scan',
            },
        ),
        ('scan_cad', {'scan.sdf': 'scan', 'mesh.stl': 'mesh', 'points.npy': 'points', 'points.ply': 'points'}),
    ],
)
def test_every_kind_of_query(tmp_path, system, kinds):
    write_run(tmp_path / 'run', system)
    model = jaxret.load(tmp_path / 'run')
    write_models(tmp_path / 'models', 3)
    if system == 'scan_cad':
        write_distances(tmp_path / 'models' / 'wide' / 'ball.vox', ball(7, 32))
    update_index(tmp_path / 'index', model, tmp_path / 'models', processes=1, progress=False)
    with jaxret.Index.open(tmp_path / 'index') as index:
        limits = Limits(top=3)
        searcher = Searcher(index, model, limits=limits)
        searcher.warm_up()
        embed = {
            'photo': model.embed_photos,
            'mesh': model.embed_meshes,
            'points': model.embed_points,
            'scan': model.embed_scans,
        }
        with TestClient(create_app(index, searcher, limits=limits), base_url='http://localhost') as client:
            for path in write_queries(tmp_path / 'queries'):
                answer = client.post(
                    '/search', files={'file': (path.name, path.read_bytes())}, data={'top': 3, 'align': False}
                )
                if path.name not in kinds:
                    assert answer.status_code == 422
                    assert f'this index is asked with {" or ".join(model.query_kinds)}' in answer.json()['message']
                    continue
                assert answer.status_code == 200, answer.text
                kind = answer.json()['kind']
                assert kind == kinds[path.name]
                hits = index.search(embed[kind]([path]), top_k=3)[0]
                assert [(result['id'], result['rank'], result['view']) for result in answer.json()['results']] == [
                    (hit.id, hit.rank, hit.view) for hit in hits
                ]
                np.testing.assert_allclose(
                    [result['score'] for result in answer.json()['results']], [hit.score for hit in hits], rtol=1e-5
                )
            for number, shape in enumerate(index.ids):
                assert b'base64_data' in client.get(f'/shapes/{number}/viewer').content
                assert client.get(f'/shapes/{number}/model').content == index.model_path(shape).read_bytes()
                assert Image.open(io.BytesIO(client.get(f'/shapes/{number}/thumbnail').content)).size == (192, 192)
