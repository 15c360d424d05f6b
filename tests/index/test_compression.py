"""Indexes of many shapes hold codes; what is asked of them is answered as before."""

from dataclasses import dataclass

import numpy as np
import pytest
from small_index import PlainModel, write_box

import jaxret
from jaxret.errors import DataError
from jaxret.index import compression
from jaxret.index import shards as index_shards
from jaxret.search.codes import CodedViews
from jaxret.search.parts import Parts

PARTS = Parts(
    {'map': (0, 2), 'class': (2, 4)}, {'mixed': {'map': 1.0, 'class': 1.0}}, {'class': 1.0}, places={'map': 2}
)


@dataclass
class PartsModel(PlainModel):
    """Its embeddings have parts, so that there are codes of them."""

    similarity: str = 'best_views'
    projection: None = None
    parts: Parts = PARTS

    def embed_shape_arrays(self, arrays):
        return super().embed_shape_arrays(arrays).astype(np.float16)


@pytest.fixture
def model():
    return PartsModel()


@pytest.fixture(autouse=True)
def many(monkeypatch):
    monkeypatch.setattr(compression, 'MANY', 4)
    monkeypatch.setattr('jaxret.index.embed.SHARD_SHAPES', 3)
    monkeypatch.setattr(index_shards, 'SHARD_SHAPES', 3)


def write(tmp_path, *numbers):
    for number in numbers:
        write_box(tmp_path / 'models' / f'{number}.obj', 1.0, 0.4 + 0.3 * number, 0.6)


def answers(index):
    queries = np.random.default_rng(0).normal(size=(3, 4)).astype(np.float32)
    return [[(hit.id, hit.view) for hit in hits] for hits in index.search(queries, top_k=3)]


def opened(tmp_path):
    return jaxret.Index.open(tmp_path / 'index')


def test_codes_from_many_shapes_on(update, tmp_path, monkeypatch):
    write(tmp_path, 0, 1, 2)
    update()
    with opened(tmp_path) as index:
        assert index.manifest.codebook is None and not index.gallery.coded
        exact = dict(zip(index.ids, index.gallery.embeddings, strict=True))
    write(tmp_path, 3, 4)
    assert update().embedded == 2  # those before get codes without being read
    with opened(tmp_path) as index:
        book = index.manifest.codebook
        assert isinstance(index.gallery.embeddings, CodedViews) and book['layout'] == [[2, 1], [1, 2]]
        for name, views in exact.items():  # so few that all have centroids of their own
            np.testing.assert_allclose(index.gallery.embeddings[index.ids.index(name)], views, atol=1e-3)
        found, thumbnails = answers(index), [index.thumbnail(name) for name in index.ids]
    assert update().embedded == 0
    write(tmp_path, 5)
    (tmp_path / 'models' / '0.obj').unlink()
    assert (update().embedded, update().shapes) == (1, 5)
    with opened(tmp_path) as index:
        assert index.manifest.codebook == book and index.gallery.coded
        assert [index.thumbnail(f'{number}.obj') for number in (1, 2, 3, 4)] == thumbnails[1:]
        kept = sorted(path.name for path in (tmp_path / 'index' / 'shards').iterdir())
        assert kept == sorted([*index.manifest.shards, index.manifest.centre, book['file']])
    write(tmp_path, 0)
    (tmp_path / 'models' / '5.obj').unlink()
    monkeypatch.setattr(compression, 'MANY', 100)
    update(rebuild=True)  # exact again: the same answers
    with opened(tmp_path) as index:
        assert not index.gallery.coded and answers(index) == found


def test_a_damaged_codebook_is_said_and_mended(update, tmp_path):
    write(tmp_path, *range(5))
    update()
    with opened(tmp_path) as index:
        path, found = tmp_path / 'index' / 'shards' / index.manifest.codebook['file'], answers(index)
    path.write_bytes(path.read_bytes()[:-8])
    with pytest.raises(DataError, match='damaged'):
        _ = opened(tmp_path).gallery
    assert update().embedded == 5
    with opened(tmp_path) as index:
        assert index.gallery.coded and answers(index) == found
