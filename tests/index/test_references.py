"""Photos known to show models: taught, counted in search, corrected, kept whatever happens to the index."""

import os
import sqlite3
import subprocess
import sys
import threading
from dataclasses import dataclass

import numpy as np
import pytest
from small_index import PlainModel, opened, write_models

import jaxret
from jaxret.errors import CheckpointError, DataError, StorageError
from jaxret.index.build import update_index
from jaxret.index.references import Photo, References
from jaxret.preprocessing.reference_pictures import ReferencePicture

PICTURE = ReferencePicture(b'jpeg', None, (1.5, 2.0, 3.25, 40.0))
COLORS = {'red': (250, 10, 10), 'green': (10, 250, 10), 'blue': (10, 10, 250)}


def photo(name, size=(20, 30)):
    return np.full((*size, 3), COLORS[name], np.uint8)


def plain(name, number=0):
    """A photo that no model has embedded."""
    return Photo(name, f'{number:064}', PICTURE, np.float32([1, number]))


@pytest.fixture
def index(update, tmp_path):
    write_models(tmp_path / 'models', 6)
    update()
    with opened(tmp_path) as index:
        yield index


def first(index, model, name):
    return index.search(model.embed_photos([photo(name)]), top_k=6)[0][0].id


def test_what_is_taught_counts_at_once_everywhere_until_it_is_taken_back(index, model, tmp_path):
    queries = model.embed_photos([photo('red'), photo('green')])
    before = index.search(queries, top_k=6)
    last = before[0][-1].id
    index.teach(model, photo('red'), last)
    index.teach(model, photo('green'), index.ids[0])
    with opened(tmp_path) as other:
        for each in (index, other):
            hits = each.search(queries, top_k=6)
            assert [row[0].id for row in hits] == [last, index.ids[0]]
            assert {hit.id: hit.references for hit in hits[0]} == dict.fromkeys(index.ids, 0) | {
                last: 1,
                index.ids[0]: 1,
            }
            assert each.search(queries, top_k=6, references=False) == before
        assert other.undo() == []  # the other has taught nothing
        assert [row.model for row in index.undo()] == [index.ids[0]]
        assert [row.model for row in index.undo()] == [last]
        assert index.undo() == []
        assert other.search(queries, top_k=6) == index.search(queries, top_k=6) == before


def test_the_same_photo_counts_once_and_the_newer_teaching_wins(index, model):
    red = photo('red')
    for shape in (index.ids[1], index.ids[1], index.ids[2]):
        index.teach(model, red, shape)
    assert [row.model for row in index.references.rows()] == [index.ids[2]]
    assert first(index, model, 'red') == index.ids[2]
    index.undo()  # of the correction
    assert [row.model for row in index.references.rows()] == [index.ids[1]]
    assert first(index, model, 'red') == index.ids[1]
    index.teach(model, red, index.ids[3], box=(0, 0, 20, 20))  # another object of the photo
    assert [row.model for row in index.references.rows()] == [index.ids[1], index.ids[3]]
    assert index.references.remove([row.number for row in index.references.rows(index.ids[1])]) == 1
    assert [row.model for row in index.references.rows()] == [index.ids[3]]


def test_what_cannot_be_taught(index, model, tmp_path):
    with pytest.raises(KeyError, match='nothing'):
        index.teach(model, photo('red'), 'nothing')
    with pytest.raises(CheckpointError, match='other weights'):
        index.teach(PlainModel(fingerprint='b' * 64), photo('red'), index.ids[0])
    with pytest.raises(DataError, match='the mask is empty'):
        index.teach(model, photo('red'), index.ids[0], mask=np.zeros((20, 30), np.uint8))
    with pytest.raises(DataError, match='missing'):
        index.teach(model, tmp_path / 'none.jpg', index.ids[0])
    assert not (tmp_path / 'index/references.sqlite').exists()


def test_photos_together(index, model):
    index.teach(model, photo('blue'), index.ids[4])
    queries = model.embed_photos([photo('blue'), photo('red'), photo('blue')])
    hits = index.search_together(queries, top_k=6)
    assert hits[0].id == index.ids[4] and [hit.rank for hit in hits] == [1, 2, 3, 4, 5, 6]
    apart = index.search(queries, top_k=6)
    mean = {hit.id: np.mean([score.score for row in apart for score in row if score.id == hit.id]) for hit in hits}
    np.testing.assert_allclose([hit.score for hit in hits], [mean[hit.id] for hit in hits])
    assert index.search_together(queries[:1]) == index.search(queries[:1])[0]
    with pytest.raises(DataError, match='no photo'):
        index.search_together(queries[:0])


def test_models_that_go_and_come_back(index, update, model, tmp_path):
    index.teach(model, photo('red'), index.ids[5])
    index.teach(model, photo('red', (8, 8)), index.ids[0])
    path = tmp_path / 'models' / index.ids[5]
    path.rename(tmp_path / 'away')
    done = update()
    assert (done.references, done.without_model) == (1, 1)
    with opened(tmp_path) as fewer:
        assert first(fewer, model, 'red') == index.ids[0]
    (tmp_path / 'away').rename(path)
    done = update()
    assert (done.references, done.without_model) == (2, 0)
    with opened(tmp_path) as whole:
        assert {hit.references for hit in whole.search(model.embed_photos([photo('red')]), top_k=6)[0]} == {0, 1}


@pytest.mark.parametrize('rebuild', [False, True])
def test_a_model_that_is_renamed_keeps_its_photos(index, update, model, tmp_path, rebuild):
    for number, color in ((0, 'green'), (5, 'red')):
        index.teach(model, photo(color), index.ids[number])
    path = tmp_path / 'models' / index.ids[5]
    path.rename(path.with_name('other' + path.suffix))
    done = update(rebuild=rebuild)
    assert (done.references, done.without_model) == (2, 0)
    with opened(tmp_path) as after:
        assert first(after, model, 'red') == index.ids[5].replace('box', 'other')
        assert first(after, model, 'green') == index.ids[0]
        path.with_name('copy' + path.suffix).write_bytes(path.with_name('other' + path.suffix).read_bytes())
        update()  # a copy takes nothing from what is still there
        assert len(after.references.rows(index.ids[5].replace('box', 'other'))) == 1


@pytest.mark.parametrize('rebuild', [False, True])
def test_models_that_change_names_keep_their_photos(index, update, model, tmp_path, rebuild):
    one, two = (id_ for id_ in index.ids if id_.endswith('.obj'))
    for id_, color in ((one, 'green'), (two, 'red')):
        index.teach(model, photo(color), id_)
    paths = [tmp_path / 'models' / id_ for id_ in (one, two)]
    contents = [path.read_bytes() for path in paths]
    for path, content in zip(paths, reversed(contents), strict=True):
        path.write_bytes(content)
    done = update(rebuild=rebuild)
    assert (done.references, done.without_model) == (2, 0)
    with opened(tmp_path) as after:
        assert (first(after, model, 'green'), first(after, model, 'red')) == (two, one)


@dataclass
class OtherModel(PlainModel):
    """Sees colours the other way round."""

    fingerprint: str = 'b' * 64

    def embed_query_arrays(self, arrays, kind):
        return super().embed_query_arrays(arrays, kind)[:, ::-1].copy()


def test_rebuilt_by_another_model_they_are_embedded_anew(index, update, model, tmp_path):
    mask = np.zeros((20, 30), np.uint8)
    mask[5:15, 5:12] = 255
    marked = photo('blue')
    marked[mask > 0] = COLORS['red']
    index.teach(model, marked, index.ids[3], mask=mask)
    index.teach(model, photo('green'), index.ids[4])
    other = OtherModel()
    update(model=other, rebuild=True)
    assert other.photos == 2
    with opened(tmp_path) as rebuilt:
        assert [first(rebuilt, other, name) for name in ('red', 'green')] == [index.ids[3], index.ids[4]]
        vectors, owner = rebuilt.references.active(other.fingerprint, {name: n for n, name in enumerate(rebuilt.ids)})
        assert owner.tolist() == [3, 4]
        wanted = other.embed_photos([marked, photo('green')], masks=[mask, None])
        np.testing.assert_allclose(vectors, wanted, atol=0.03)
    assert first(index, model, 'red') == index.ids[3]  # the old index is open still
    index.teach(model, photo('blue'), index.ids[2])
    assert update(model=other).references == 3  # taught with the old one meanwhile
    with opened(tmp_path) as rebuilt:
        assert first(rebuilt, other, 'blue') == index.ids[2]
    assert len(index.references.without_embedding(model.fingerprint)) == 3  # the old model's embeddings are gone now


def test_a_model_that_takes_no_photos_leaves_them(index, update, model, tmp_path):
    index.teach(model, photo('red'), index.ids[3])
    scans = PlainModel(fingerprint='c' * 64, query_kinds=('scan',))
    update(model=scans, rebuild=True)
    with opened(tmp_path) as rebuilt:
        queries = model.embed_photos([photo('red')])
        assert rebuilt.search(queries) == rebuilt.search(queries, references=False)
    assert len(index.references.rows()) == 1


TEACHER = """
import sys
from pathlib import Path
import numpy as np
from jaxret.index.references import Photo, References
from jaxret.preprocessing.reference_pictures import ReferencePicture
picture = ReferencePicture(b'jpeg', None, None)
references, start = References(Path(sys.argv[1])), int(sys.argv[2])
for number in range(start, start + 20):
    references.add([('model', Photo('p', f'{number:064}', picture, np.float32([1, number])))], key='k', origin='csv')
"""


def test_concurrent_teachers_lose_nothing(tmp_path):
    references = References(tmp_path)
    others = [subprocess.Popen([sys.executable, '-c', TEACHER, str(tmp_path), str(n)]) for n in (1000, 2000)]

    def teach(start):
        for number in range(start, start + 20):
            references.add([('model', plain('p', number))], key='k', origin='page')
            assert len(references.active('k', {'model': 0})[1])

    threads = [threading.Thread(target=teach, args=[start]) for start in (0, 100, 200)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [process.wait() for process in others] == [0, 0]
    rows = references.rows()
    assert len(rows) == references.count() == 100 and len({row.number for row in rows}) == 100
    references.close()


def test_a_teacher_that_is_killed_leaves_what_was(tmp_path):
    script = TEACHER.split('for')[0] + 'import os\nwith references._writing() as file:\n'
    script += '    file.execute("DELETE FROM reference")\n    os._exit(1)\n'
    for count in (0, 1):  # before the first, and later
        assert subprocess.run([sys.executable, '-c', script, str(tmp_path), '0']).returncode == 1
        references = References(tmp_path)
        assert len(references.rows()) == count
        references.add([('model', plain('p', count))], key='k', origin='csv')
        references.close()
    assert sorted(os.listdir(tmp_path)) == ['references.sqlite']


def test_none_of_the_models_is_noted_and_counts_nowhere(tmp_path):
    references = References(tmp_path)
    for _ in range(2):
        references.add([(None, plain('p'))], key='k', origin='page', session='me')
    assert [row.model for row in references.rows()] == [None, None]
    assert not len(references.active('k', {'model': 0})[1])
    references.add([('model', plain('p'))], key='k', origin='page', session='other')
    assert [row.model for row in references.undo('me')] == [None]
    assert references.picture(1) == PICTURE
    with pytest.raises(KeyError):
        references.picture(9)
    references.close()


def not_sqlite(path):
    path.write_bytes(b'no database' * 1000)


def cut(path):
    os.truncate(path, 3000)


def foreign(path):
    path.unlink()
    with sqlite3.connect(path) as database:
        database.execute('CREATE TABLE reference (number)')
    database.close()


def folder(path):
    path.unlink()
    path.mkdir()


def link(path):
    path.rename(path.with_name('elsewhere'))
    path.symlink_to(path.with_name('elsewhere'))


def short_vectors(path):
    with sqlite3.connect(path) as database:
        database.execute("UPDATE embedding SET vector = x'00'")
    database.close()


@pytest.mark.parametrize('damage', [not_sqlite, cut, foreign, folder, link, short_vectors])
def test_a_damaged_file_is_one_error(index, model, damage, tmp_path):
    index.teach(model, photo('red'), index.ids[0])
    index.references.close()
    damage(tmp_path / 'index/references.sqlite')
    with opened(tmp_path) as damaged, pytest.raises(DataError, match=r'references\.sqlite') as error:
        damaged.search(model.embed_photos([photo('red')]))
    assert len(error.value.problems) == 1
    if damage is not short_vectors:
        with opened(tmp_path) as damaged, pytest.raises((DataError, StorageError), match=r'references\.sqlite'):
            damaged.teach(model, photo('blue'), index.ids[0])


def test_a_place_that_cannot_be_written(tmp_path):
    with pytest.raises(StorageError, match=r'references\.sqlite: cannot be written'):
        References(tmp_path / 'none').add([('model', plain('p'))], key='k', origin='csv')
    assert References(tmp_path / 'none').rows() == []


def test_an_index_with_references_may_be_written_again(index, update, model, tmp_path):
    index.teach(model, photo('red'), index.ids[0])
    (tmp_path / 'index/index.json').write_text('{')  # a damaged one is told by the names of its files
    update(rebuild=True)
    with jaxret.Index.open(tmp_path / 'index') as again:
        assert first(again, model, 'red') == index.ids[0]
    index.references.close()
    link(tmp_path / 'index/references.sqlite')
    with pytest.raises(StorageError, match=r'references\.sqlite: a link'):
        update_index(tmp_path / 'index', model, tmp_path / 'models', processes=1, progress=False)
