"""Results laid on a mesh query: exact distances of known shapes, order, pictures, files that are gone."""

from dataclasses import replace

import numpy as np
import pytest
import trimesh
from small_index import opened, write_box

from jaxret.errors import ConfigError
from jaxret.index import aligned
from jaxret.index.aligned import aligned_hits
from jaxret.index.hits import Hit
from jaxret.preprocessing.laid_shapes import MOST_SHOWN, distance_color, lay_shape
from jaxret.preprocessing.shape_pairs import read_signature


def block(length=3.0, notch=0.0):
    """A block with a bar on one side, which no turn but none brings onto itself; perhaps a longer one."""
    body, bar = trimesh.creation.box((length, 2, 1)), trimesh.creation.box((0.5, 0.5, 2))
    bar.apply_translation((1, 0.5 + notch, 1))
    return trimesh.util.concatenate([body, bar])


@pytest.fixture
def models(tmp_path, update):
    folder = tmp_path / 'models' / 'a'
    folder.mkdir(parents=True)
    for name, mesh in {
        'same.obj': block(),
        'near.stl': block(notch=0.1),
        'other.ply': trimesh.creation.icosphere(),
    }.items():
        mesh.export(folder / name)
    turned = block()
    turned.apply_transform(trimesh.transformations.rotation_matrix(0.7, (0, 1, 0)))
    turned.apply_scale(25.4)
    turned.export(tmp_path / 'query.stl')
    update()
    return tmp_path


def hits(*names):
    return [Hit(rank, f'a/{name}', 'a', 1.0 - rank / 10, None, None) for rank, name in enumerate(names, start=1)]


def test_the_nearest_come_first_with_their_distances(models, monkeypatch):
    monkeypatch.setattr(aligned, 'MOST', 3)
    with opened(models) as index:
        asked = hits('other.ply', 'near.stl', 'same.obj') + hits('same.obj')
        found = aligned_hits(index, asked, models / 'query.stl', processes=1, pictures=True)
        same, near, other, beyond = found.hits
        assert [hit.id for hit in found.hits] == ['a/same.obj', 'a/near.stl', 'a/other.ply', 'a/same.obj']
        assert [hit.rank for hit in found.hits] == [1, 2, 3, 4] and not found.problems
        assert same.distance == pytest.approx(0, abs=1e-6) and same.scale == pytest.approx(25.4, rel=1e-5)
        assert same.score == 1 - 3 / 10 and same.mirrored is False
        assert 0.01 < near.distance < 0.05 < other.distance  # the bar is 0.1 of 3 aside
        assert near.mean_distance < near.distance and beyond.distance is None
        assert found.pictures.keys() == {'a/same.obj', 'a/near.stl', 'a/other.ply'}
        red, _, blue = np.moveaxis(found.pictures['a/same.obj'].astype(int), -1, 0)
        assert np.abs(red - blue).max() <= 1  # grey: nothing differs
        red, _, blue = np.moveaxis(found.pictures['a/other.ply'].astype(int), -1, 0)
        assert (red - blue).max() > 60
        (models / 'models/a/near.stl').unlink()
        left = aligned_hits(index, hits('near.stl', 'same.obj'), models / 'query.stl', processes=1)
        assert [(hit.id, hit.distance is None) for hit in left.hits] == [('a/same.obj', False), ('a/near.stl', True)]
        assert 'near.stl' in left.problems[0].where and not left.pictures


def test_what_is_alike_is_found_however_it_scores(models):
    with opened(models) as index:
        _, signature = read_signature(models / 'query.stl')
        assert index.alike(signature)[0] == 'a/same.obj' and 'a/other.ply' not in index.alike(signature)
        assert index.alike(signature, most=1) == ['a/same.obj']
        width = index.manifest.shape_inputs.turns.rows.max() + 1
        queries = np.random.default_rng(0).normal(size=(2, width, 4)).astype(np.float32)
        everything = index.search(queries, top_k=3)
        found = index.search(queries, top_k=1, also=[['a/same.obj', 'a/other.ply'], []])
        kept = [hit for hit in everything[0] if hit.rank == 1 or hit.id != 'a/near.stl']
        assert found[0] == [replace(hit, rank=rank) for rank, hit in enumerate(kept, start=1)]
        assert found[1] == everything[1][:1]
        assert index.search(queries, top_k=1, also=[['a/same.obj'], []], where='triangles>1000') == [
            [replace(hit, rank=1) for hit in hits if hit.id == 'a/other.ply'] for hits in everything
        ]
        for given, also, message in (
            (queries, [['a/same.obj']], 'also: 1 lists of ids for 2 queries'),
            (queries, [['a/gone.obj'], []], "also: the index has no 'a/gone.obj'"),
            (queries, ['a/same.obj', ''], "also: 'a/same.obj' is not a list"),
            (queries[:, 0], [[], []], 'also: only for queries that are shapes'),
        ):
            with pytest.raises(ConfigError, match=message):
                index.search(given, also=also)


def test_a_file_of_the_index_is_no_scan(tmp_path, model, update):
    model.query_kinds = ('mesh', 'points', 'scan')
    for name, size in (('models/a/box.obj', 1), ('other.obj', 2)):
        write_box(tmp_path / name, 1, size, 2)
    update()
    with opened(tmp_path) as index:
        assert index.kind_of_query(tmp_path / 'models/a/box.obj', 'scan') == 'mesh'
        assert index.kind_of_query(tmp_path / 'other.obj', 'scan') == 'scan'
        assert index.kind_of_query(tmp_path / 'models/a/box.obj', 'photo') == 'photo'


def test_a_mirror_image_is_told(tmp_path):
    mirrored = block()
    mirrored.apply_transform(np.diag([-1, 1, 1, 1]))
    for name, mesh in {'query.stl': block(), 'mirrored.obj': mirrored}.items():
        mesh.export(tmp_path / name)
    laid = lay_shape((tmp_path / 'query.stl', tmp_path / 'mirrored.obj'), up_axis='y', pictures=False)
    assert laid.mirrored and laid.distance < 1e-6 and laid.picture is None


def test_colors_of_distances():
    colors = distance_color(np.array([0.0, MOST_SHOWN / 2, MOST_SHOWN, 1.0]))
    np.testing.assert_allclose(colors, [[0.9, 0.9, 0.9], [0.87, 0.635, 0.45], [0.84, 0.37, 0], [0.84, 0.37, 0]])
