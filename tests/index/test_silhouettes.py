"""Indexes of a model whose embeddings have parts, with silhouettes: what is kept, and how they are asked."""

import json
from dataclasses import dataclass

import numpy as np
import pytest
from PIL import Image
from random_index import random_index, random_queries
from small_index import SIDE, PlainModel, check_index, write_box

import jaxret
from jaxret.cli.main import main
from jaxret.errors import ConfigError, DataError
from jaxret.geometry.mesh import load_mesh
from jaxret.geometry.render import render_views
from jaxret.geometry.view_ring import ViewRing
from jaxret.index.embeddings import gather
from jaxret.preprocessing.inputs import PhotoInputs, ShapeInputs
from jaxret.preprocessing.shapes import shape_record
from jaxret.search.parts import Parts, photos_centre, views_centre

POSES = ViewRing.of(((0.0, 4, 45.0), (30.0, 4, 0.0)), size=64)
CELLS = 32 * 32
WEIGHTS = {'mixed': {'left': 1.0, 'right': 1.0}, 'class': {'left': 0.0, 'right': 1.0}}
NAMES = [f'{number}.obj' for number in range(5)]


@dataclass
class PartsModel(PlainModel):
    """A view is two parts by its four quarters' means; a photo likewise, and its silhouette."""

    similarity: str = 'best_views'
    projection: None = None
    parts: Parts = Parts(
        {'left': (0, 2), 'right': (2, 4)}, WEIGHTS, {'left': 1.0, 'right': 0.5}, cells=CELLS, outline=3.0
    )
    shape_inputs: ShapeInputs = ShapeInputs(
        'views', ring=ViewRing.of(POSES.rings, size=SIDE), view_ids=tuple(range(8)), side=SIDE, outlines=POSES
    )

    def embed_shape_arrays(self, arrays):
        return super().embed_shape_arrays(arrays).astype(np.float16)

    def query_inputs(self, kind):
        return PhotoInputs('cutout', size=64)

    def embed_query_arrays(self, arrays, kind):
        quarters = [item['photo'].reshape(2, 32, 2, 32, 3).mean(axis=(1, 3, 4)).ravel() / 255 + 0.1 for item in arrays]
        return np.float32([[*four, *item['outline'].ravel()] for four, item in zip(quarters, arrays, strict=True)])


@pytest.fixture
def model():
    return PartsModel()


@pytest.fixture
def index(update, tmp_path):
    """Boxes, the higher the later."""
    for number, name in enumerate(NAMES):
        write_box(tmp_path / 'models' / name, 1.0, 0.5 + 0.4 * number, 0.6)
    update()
    with jaxret.Index.open(tmp_path / 'index') as index:
        yield index


def kept(index):
    return gather(index.folder, index._rows, 'outlines', checked=True)


def expected_outlines(index, model):
    """Of every model of the index, read anew."""
    paths = [index.model_path(name) for name in index.ids]
    return np.stack([shape_record(path, inputs=model.shape_inputs, up_axis='y').extras['outlines'] for path in paths])


def photo_of(path, pose, file):
    """A PNG of a model that is transparent around it."""
    azimuth, elevation = pose
    grey = render_views(load_mesh(path), ViewRing(views=1, elevation=elevation, first_azimuth=azimuth, size=90))[0]
    Image.fromarray(np.dstack([grey, grey, grey, np.where(grey < 255, 255, 0).astype(np.uint8)])).save(file)
    return file


def test_silhouettes_go_with_their_models(index, update, model, tmp_path):
    assert kept(index).shape == (5, 8, CELLS // 8)
    np.testing.assert_array_equal(kept(index), expected_outlines(index, model))
    np.testing.assert_array_equal(index._comparison.centre, views_centre(index.gallery.embeddings.astype(np.float16)))
    for name in NAMES[:3]:
        (tmp_path / 'models' / name).unlink()
    write_box(tmp_path / 'models' / 'new.obj', 3, 1, 1)
    shards = set(index.manifest.shards)
    assert update().embedded == 1
    for options in ({}, {'rebuild': True}):
        with jaxret.Index.open(tmp_path / 'index') as newer:
            assert not shards & set(newer.manifest.shards)  # mostly unused, so written anew
            check_index(newer, model, tmp_path / 'models', [*NAMES[3:], 'new.obj'])
            np.testing.assert_array_equal(kept(newer), expected_outlines(newer, model))
            assert newer.manifest.centre != index.manifest.centre
        assert update(**options).shapes == 3


def test_a_transparent_picture_finds_its_model_by_its_silhouette(index, model, tmp_path):
    for number in (1, 3):
        for pose in (POSES.poses[4], POSES.poses[5]):  # a box looks the same from behind
            photo = photo_of(index.model_path(NAMES[number]), pose, tmp_path / 'photo.png')
            queries = model.embed_photos([photo])
            queries[:, :4] = 1  # what the views say is the same for all photos
            hit = index.search(queries, top_k=2)[0][0]
            assert (hit.id, hit.azimuth, hit.elevation) == (NAMES[number], *pose)
            hit = index.search_together(queries.repeat(2, axis=0), top_k=2)[0]
            assert (hit.id, hit.azimuth, hit.elevation) == (NAMES[number], *pose)


@pytest.mark.parametrize('taught', [False, True])
def test_photos_with_and_without_silhouettes_in_one_call(index, model, tmp_path, taught):
    photo = photo_of(index.model_path(NAMES[2]), POSES.poses[5], tmp_path / 'photo.png')
    if taught:
        index.teach(model, photo, NAMES[4])
    queries = model.embed_photos([photo] * 2)
    queries[0, 4:] = 0
    together = index.search(queries, top_k=5)
    assert together == [index.search(query[None], top_k=5)[0] for query in queries]
    for hit in together[0]:
        assert (hit.azimuth, hit.elevation) == (index._inputs.azimuth(hit.view), index._inputs.elevation(hit.view))
    whole = index.search(queries, top_k=5, purpose='class')  # silhouettes do not count
    assert [[(hit.id, hit.azimuth) for hit in hits] for hits in whole][0] == [(hit.id, hit.azimuth) for hit in whole[1]]
    assert {hit.references for hit in together[0]} == ({0, 1} if taught else {0})


def test_known_photos_say_what_photos_have_in_common(index, model, tmp_path):
    photo = photo_of(index.model_path(NAMES[2]), POSES.poses[5], tmp_path / 'photo.png')
    for name, pose in ((NAMES[0], 1), (NAMES[4], 2)):
        index.teach(model, photo_of(index.model_path(name), POSES.poses[pose], tmp_path / f'{name}.png'), name)
    (evidence, fit), query = index._evidence.now(), model.embed_photos([photo])
    assert fit is None
    known, _ = index.references.active(model.fingerprint, {name: number for number, name in enumerate(index.ids)})
    centre = photos_centre(index._comparison.centre, known)
    np.testing.assert_allclose(evidence.centre, centre, atol=1e-6)
    np.testing.assert_allclose(evidence._space(query), model.parts.photo_vectors(query, centre), atol=1e-6)
    first = index.search(query, top_k=5)[0]
    query[:, :4] += 1e-3
    assert [hit.id for hit in index.search(query, top_k=5)[0]] == [hit.id for hit in first]


def test_purposes(index, model, tmp_path):
    assert index.purposes == ('mixed', 'class')
    query = np.random.default_rng(0).random((1, 4 + CELLS)).astype(np.float32)
    assert index.search(query) == index.search(query, purpose='mixed')
    for search in (index.search, index.search_together):
        with pytest.raises(ConfigError, match="purpose 'instance': choose one of mixed, class"):
            search(query, purpose='instance')
    with pytest.raises(ConfigError, match="purpose 'instance': choose one of mixed, class"):
        index.search(index.gallery.embeddings[:1], purpose='instance')
    with pytest.raises(DataError, match=r'queries: shape \[1, 1027\]; give \[Q, 1028\]'):
        index.search(query[:, 1:])
    with pytest.raises(DataError, match='queries: values that are not finite'):
        index.search(query * np.float32(np.nan))


def test_the_command_says_what_does_not_count(index, tmp_path, capsys):
    photo = photo_of(index.model_path(NAMES[2]), POSES.poses[5], tmp_path / 'photo.png')
    asked = ['search', '--index', str(index.folder), str(photo)]
    assert main([*asked, '--for', 'instance']) == 1
    assert "purpose 'instance': choose one of mixed, class" in capsys.readouterr().err
    assert main([*asked, '--mask', str(photo), '--database', str(tmp_path / 'gone.db')]) == 1
    assert 'warning: silhouettes do not count in a search of the database' in capsys.readouterr().err


@pytest.mark.parametrize('similarity', ['dot', 'best_views'])
def test_other_models_leave_no_choice(tmp_path, similarity):
    with random_index(tmp_path / 'index', similarity) as index:
        assert index.purposes == ()
        queries = random_queries(index, 2)
        asked = [(index.search, queries), (index.search_together, queries)]
        asked += [(index.search, index.gallery.embeddings[:1].repeat(24, axis=1))] if similarity == 'best_views' else []
        for search, given in asked:
            assert search(given)
            with pytest.raises(ConfigError, match="purpose 'mixed': the model of this index leaves no choice"):
                search(given, purpose='mixed')
            with pytest.raises(DataError, match='texts: '):
                search(given, texts=queries)


def test_an_index_of_an_earlier_version_is_searched_as_before(tmp_path):
    """Its manifest and its shards say nothing of parts, centres and silhouettes."""
    with random_index(tmp_path / 'index', 'attention') as index:
        queries = random_queries(index, 4)
        wanted = index.search(queries)
    path = tmp_path / 'index' / 'index.json'
    stored = json.loads(path.read_text())
    for name in ('parts', 'centre', 'fusion'):
        del stored[name]
    assert not {'margin', 'outlines'} & stored['inputs'].keys()
    path.write_text(json.dumps(stored))
    with jaxret.Index.open(tmp_path / 'index') as index:
        assert index.search(queries) == wanted


def test_damaged_parts_are_named(index, tmp_path):
    path = tmp_path / 'index' / 'index.json'
    path.write_text(json.dumps(json.loads(path.read_text()) | {'parts': {'slices': {'left': [0]}}}))
    with pytest.raises(DataError, match=r'index.json: missing or damaged .*--rebuild'):
        _ = jaxret.Index.open(tmp_path / 'index').gallery
