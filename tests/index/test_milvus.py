"""A vector database gives the answers of `Index.search`, bit by bit, wherever it says so."""

import os
import subprocess
import sys

import numpy as np
import pytest
from random_index import random_index, random_queries

from jaxret.errors import ConfigError, DataError, StorageError

for package in ('milvus_lite', 'pymilvus'):
    pytest.importorskip(package, reason="needs the extra 'database'")
pytestmark = pytest.mark.filterwarnings('ignore::DeprecationWarning')  # of pymilvus and what it imports

from pymilvus import CollectionSchema, MilvusClient

from jaxret.index.milvus import export_to_database, opened
from jaxret.index.milvus_search import DatabaseSearch
from jaxret.search.parts import Parts
from jaxret.search.similarity import KINDS

EXPORT = """
import sys
import jaxret
from jaxret.index import milvus
from pymilvus import MilvusClient
insert, milvus._WRITTEN_ELEMENTS = MilvusClient.insert, 600
def told(*arguments):
    print('insert', flush=True)
    return insert(*arguments)
MilvusClient.insert = told
with jaxret.Index.open(sys.argv[1]) as index:
    milvus.export_to_database(index, sys.argv[2], progress=False)
"""  # 25 shapes at a time, each told


def exporting(index, uri):
    """A process that writes an index to a database."""
    paths = os.pathsep.join(path or os.getcwd() for path in sys.path)
    return subprocess.Popen(
        [sys.executable, '-c', EXPORT, index.folder, uri],
        env=dict(os.environ, PYTHONPATH=paths),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def written(tmp_path, similarity='attention', **options):
    """(index, address) of a database beside it."""
    index = random_index(tmp_path / 'index', similarity)
    uri = str(tmp_path / 'shapes.db')
    export_to_database(index, uri, progress=False, **options)
    return index, uri


def search(index, uri, queries, **options):
    with DatabaseSearch(index.folder, uri) as database:
        return database.search(queries, **options)


@pytest.mark.parametrize('similarity', KINDS)
def test_with_all_shapes_as_candidates_it_is_the_search_of_the_index(tmp_path, similarity):
    index, uri = written(tmp_path, similarity)
    queries = random_queries(index, 7)
    answers = search(index, uri, queries, top_k=9, candidates=len(index))
    assert [answer.hits for answer in answers] == index.search(queries, top_k=9)
    assert all(answer.complete for answer in answers)


@pytest.mark.parametrize('similarity', KINDS)
def test_answers_that_are_called_complete_are(tmp_path, similarity):
    index, uri = written(tmp_path, similarity)
    queries = random_queries(index, 12)
    wanted = index.search(queries, top_k=3)
    with DatabaseSearch(index.folder, uri) as database:
        fast = {count: database.search(queries, top_k=3, candidates=count) for count in (3, 12, 25)}
    for answers in fast.values():
        assert all(answer.hits == hits for answer, hits in zip(answers, wanted, strict=True) if answer.complete)
    assert {type(answer.complete) for answers in fast.values() for answer in answers} == {bool}  # as JSON takes it
    complete = [sum(answer.complete for answer in answers) for answers in fast.values()]
    if similarity == 'max':
        assert complete == [0, 0, 0]
    else:
        assert complete[0] < 12 if similarity in ('attention', 'mean', 'best_views') else complete[0] >= 10
        assert complete == sorted(complete) and complete[2] >= 6


@pytest.mark.parametrize('similarity', KINDS[-3:])
def test_headings_of_a_mesh_count_once_by_the_best(tmp_path, similarity):
    index, uri = written(tmp_path, similarity)
    headings = random_queries(index, 12).reshape(3, 4, -1)
    wanted = index.search(headings, top_k=6)
    alone = [[hit for hits in index.search(turned, top_k=len(index)) for hit in hits] for turned in headings]
    best = [{hit.id: max(other.score for other in hits if other.id == hit.id) for hit in hits} for hits in alone]
    assert [[(hit.id, hit.score) for hit in hits] for hits in wanted] == [
        sorted(scores.items(), key=lambda item: (-item[1], item[0]))[:6] for scores in best
    ]
    with DatabaseSearch(index.folder, uri) as database:
        assert [answer.hits for answer in database.search(headings, top_k=6, candidates=len(index))] == wanted
        for answer, hits in zip(database.search(headings, top_k=6, candidates=20), wanted, strict=True):
            assert answer.complete and answer.hits == hits


def test_few_candidates_of_the_attention_can_miss_the_best(tmp_path):
    """So that the test above can fail: what is called incomplete does differ."""
    index, uri = written(tmp_path)
    queries = random_queries(index, 12)
    answers = search(index, uri, queries, top_k=3, candidates=3)
    assert any(answer.hits != hits for answer, hits in zip(answers, index.search(queries, top_k=3), strict=True))


def test_equal_scores_are_in_the_order_of_the_index(tmp_path):
    index = random_index(tmp_path / 'index', 'dot', repeated=4)
    uri = str(tmp_path / 'shapes.db')
    export_to_database(index, uri, progress=False)
    queries = random_queries(index, 3)
    answers = search(index, uri, queries, top_k=6, candidates=len(index))
    assert [answer.hits for answer in answers] == index.search(queries, top_k=6)
    assert [hit.score for hit in answers[0].hits[:4]] == [answers[0].hits[0].score] * 4
    cut = search(index, uri, queries, top_k=2, candidates=2)  # may have dropped an equal one of a lower number
    assert not any(answer.complete for answer in cut)


def test_categories(tmp_path):
    index, uri = written(tmp_path)
    queries = random_queries(index, 3)
    for wanted in (['a "quoted" \\ chair'], ['', 'Stühle']):
        answers = search(index, uri, queries, top_k=5, categories=wanted, candidates=len(index))
        assert [answer.hits for answer in answers] == index.search(queries, top_k=5, categories=wanted)
        assert all(answer.complete and hit.category in wanted for answer in answers for hit in answer.hits)
    with pytest.raises(ConfigError, match="category 'sofa': no shape has it"):
        search(index, uri, queries, categories=['sofa'])


def test_fewer_shapes_than_results(tmp_path):
    index, uri = written(tmp_path, 'euclidean')
    answers = search(index, uri, random_queries(index, 1), top_k=1000, candidates=1000)
    assert len(answers[0].hits) == len(index) and answers[0].complete


def test_an_approximate_index_never_calls_an_answer_complete(tmp_path):
    index, uri = written(tmp_path, kind='hnsw')
    queries = random_queries(index, 5)
    answers = search(index, uri, queries, top_k=3, candidates=len(index))
    assert not any(answer.complete for answer in answers)
    found = [
        hit.id in {other.id for other in hits}
        for answer, hits in zip(answers, index.search(queries, top_k=3), strict=True)
        for hit in answer.hits
    ]
    assert np.mean(found) > 0.8


def test_a_changed_index_is_refused_until_it_is_written_again(tmp_path):
    index, uri = written(tmp_path)
    export_to_database(random_index(tmp_path / 'other', 'dot'), uri, collection='other', progress=False)
    changed = random_index(tmp_path / 'index', 'attention', seed=1)
    queries = random_queries(changed, 2)
    with pytest.raises(DataError, match='another state of this one; write it with `jaxret export --index'):
        search(changed, uri, queries)
    export_to_database(changed, uri, progress=False)
    assert [
        answer.hits for answer in search(changed, uri, queries, top_k=4, candidates=len(changed))
    ] == changed.search(queries, top_k=4)
    with opened(uri) as client:
        assert len(client.list_collections()) == 2  # the old state is gone, the other index is there
    export_to_database(changed, uri, progress=False)  # once more the same
    assert search(changed, uri, queries, top_k=1)[0].hits


@pytest.mark.parametrize('lost', ['copy_of', 'everything'])
def test_a_collection_of_an_earlier_version_is_refused(tmp_path, monkeypatch, lost):
    with monkeypatch.context() as earlier:
        if lost == 'copy_of':
            add, insert = CollectionSchema.add_field, MilvusClient.insert
            earlier.setattr(
                CollectionSchema,
                'add_field',
                lambda self, name, *a, **k: self if name == lost else add(self, name, *a, **k),
            )
            earlier.setattr(
                MilvusClient,
                'insert',
                lambda self, name, rows: insert(
                    self, name, [{k: v for k, v in row.items() if k != lost} for row in rows]
                ),
            )
        else:
            earlier.setattr('jaxret.index.milvus.asdict', lambda about: {})
        index, uri = written(tmp_path)
    queries = random_queries(index, 2)
    with pytest.raises(DataError, match="'jaxret' is of an earlier version, or no index; write it with `jaxret export"):
        search(index, uri, queries)
    export_to_database(index, uri, progress=False)
    assert search(index, uri, queries, top_k=1)[0].hits


def test_what_a_killed_export_left_is_removed(tmp_path):
    index, uri = written(tmp_path)
    with opened(uri) as client:
        client.create_collection('jaxret_0123456789abcdef', dimension=4)
        client.create_collection('jaxret_of_somebody', dimension=4)
    export_to_database(index, uri, progress=False)
    with opened(uri) as client:
        mine = f'jaxret_{index.manifest.table.split(".")[0]}'
        assert sorted(client.list_collections()) == [mine, 'jaxret_of_somebody']


def test_nothing_is_lost_or_doubled_by_a_kill_in_an_insert_and_by_two_who_write_at_once(tmp_path):
    index, uri = written(tmp_path)
    other = random_index(tmp_path / 'other', 'attention', shapes=200, seed=1)
    with exporting(other, uri) as killed:
        for _ in range(5):
            assert killed.stdout.readline() == 'insert\n'
        killed.kill()
    with opened(uri) as client:
        assert len(client.list_collections()) == 2  # one of them half written
    for current in (index, other):
        queries = random_queries(current, 4)
        answers = search(current, uri, queries, top_k=9, candidates=len(current))
        assert [answer.hits for answer in answers] == current.search(queries, top_k=9)
        if current is index:
            writers = [exporting(other, uri), exporting(other, uri)]
            told = [writer.communicate()[1] for writer in writers]
            refused = [text for writer, text in zip(writers, told, strict=True) if writer.returncode]
            assert len(refused) < 2 and all('no other process has it open' in text for text in refused)
    with opened(uri) as client:
        (name,) = client.list_collections()
        (rows,) = client.query(name, filter='', output_fields=['count(*)'])
        assert rows['count(*)'] == 200 * 3


def test_bad_names_and_missing_databases(tmp_path):
    index, uri = written(tmp_path, 'dot')
    queries = random_queries(index, 1)
    for bad in ({'uri': 'shapes'}, {'uri': uri, 'collection': 'a-b'}, {'uri': uri, 'kind': 'ivf'}):
        with pytest.raises(ConfigError):
            export_to_database(index, **bad)
    with pytest.raises(DataError, match='no such database; write it with'):
        DatabaseSearch(index.folder, str(tmp_path / 'gone.db'))
    with pytest.raises(DataError, match="no collection 'other'"):
        DatabaseSearch(index.folder, uri, collection='other')
    with pytest.raises(StorageError, match=r'127\.0\.0\.1:9: the database cannot be used'):
        DatabaseSearch(index.folder, 'http://127.0.0.1:9')
    with pytest.raises(ConfigError, match='candidates for 10 results'):
        search(index, uri, queries, top_k=10, candidates=5)
    with pytest.raises(DataError, match='queries'):
        search(index, uri, queries[:, :3])
    index.ids = (*index.ids[:-1], 'x' * 70_000)
    with pytest.raises(DataError, match='more than 65535 bytes; shorten it'):
        export_to_database(index, uri, progress=False)


def test_of_photos_with_parts_the_views_alone_are_compared(tmp_path):
    weights = {'mixed': {'a': 1.0, 'b': 2.0}, 'class': {'a': 0.0, 'b': 1.0}}
    parts = Parts({'a': (0, 5), 'b': (5, 8)}, weights, {'a': 1.0, 'b': 1.0}, cells=64, outline=2.0)
    index = random_index(tmp_path / 'index', 'best_views', parts=parts)
    uri = str(tmp_path / 'shapes.db')
    export_to_database(index, uri, progress=False)
    photos = np.concatenate([random_queries(index, 4), np.zeros((4, 64), np.float32)], axis=1)
    for purpose in (None, 'mixed', 'class'):
        wanted = index.search(photos, top_k=5, purpose=purpose)
        for silhouette in (0, 1):
            photos[:, 8:] = silhouette
            answers = search(index, uri, photos, top_k=5, candidates=len(index), purpose=purpose)
            assert [answer.hits for answer in answers] == wanted
    words = np.zeros((1, 8), np.float32)
    words[:, 6] = 1
    assert search(index, uri, words, candidates=60)[0].hits == index.search(words)[0]
    with pytest.raises(ConfigError, match="purpose 'shape': choose one of mixed, class"):
        search(index, uri, photos, purpose='shape')
    for wrong in (photos[:, :9], photos[:, :-1]):
        with pytest.raises(DataError, match=r'queries: shape .*give \[Q, 8\]'):
            search(index, uri, wrong)
    with pytest.raises(DataError, match='a database answers photos; search without it'):
        search(index, uri, index.gallery.embeddings[:1])
    plain, uri = written(tmp_path / 'plain', 'dot')
    with pytest.raises(ConfigError, match="purpose 'class': the model of this index leaves no choice"):
        search(plain, uri, random_queries(plain, 1), purpose='class')
