"""Embeddings in a Parquet or Arrow file are those of the index, bit by bit."""

import json

import numpy as np
import pytest
from random_index import random_index

from jaxret.errors import ConfigError, StorageError
from jaxret.index import parquet as embedding_table
from jaxret.index.parquet import write_table_file

pa = pytest.importorskip('pyarrow', reason="needs the extra 'parquet'")
parquet = pytest.importorskip('pyarrow.parquet')


def read(path):
    if path.suffix == '.parquet':
        return parquet.read_table(path)
    return pa.ipc.open_file(pa.memory_map(str(path))).read_all()


@pytest.mark.parametrize('suffix', ['.parquet', '.arrow'])
@pytest.mark.parametrize('similarity', ['attention', 'euclidean', 'best_views'])
def test_what_is_read_is_what_the_index_has(tmp_path, monkeypatch, similarity, suffix):
    monkeypatch.setattr(embedding_table, '_PART_ELEMENTS', 200)  # several parts, the last one smaller
    index = random_index(tmp_path / 'index', similarity, shapes=31)
    path = tmp_path / 'new folder' / f'shapes{suffix}'
    size = write_table_file(index, path)
    table = read(path)
    assert size == path.stat().st_size and [entry.name for entry in path.parent.iterdir()] == [path.name]
    assert table.column_names == ['id', 'category', 'model', 'up_axis', 'embedding']
    assert table['id'].to_pylist() == list(index.ids) and table['category'].to_pylist() == list(index.categories)
    assert table['model'].to_pylist() == [f'/models/{name}' for name in index.ids]
    assert set(table['up_axis'].to_pylist()) == {'y'}
    embeddings = np.array(table['embedding'].to_pylist(), np.float16 if similarity == 'best_views' else np.float32)
    np.testing.assert_array_equal(embeddings, index.gallery.embeddings)
    kind = pa.list_(pa.float16() if similarity == 'best_views' else pa.float32(), 8)
    kind = kind if similarity == 'euclidean' else pa.list_(kind, 3)
    assert table.schema.field('embedding').type == kind
    about = json.loads(table.schema.metadata[b'jaxret'])
    assert about['similarity'] == similarity and about['fingerprint'] == index.fingerprint
    if similarity == 'attention':
        np.testing.assert_array_equal(np.float32(about['projection']), index.projection)
    else:
        assert about['projection'] is None


def test_a_folder_that_cannot_be_written_and_another_suffix(tmp_path):
    index = random_index(tmp_path / 'index', 'dot', shapes=4)
    (tmp_path / 'file').write_text('')
    with pytest.raises(StorageError, match='cannot be written'):
        write_table_file(index, tmp_path / 'file' / 'shapes.parquet')
    with pytest.raises(ConfigError, match=r'\.parquet or \.arrow'):
        write_table_file(index, tmp_path / 'shapes.csv')


def test_without_pyarrow_it_says_what_to_install(tmp_path, monkeypatch):
    index = random_index(tmp_path / 'index', 'dot', shapes=4)
    monkeypatch.setitem(__import__('sys').modules, 'pyarrow.parquet', None)
    with pytest.raises(ConfigError, match=r"needs pyarrow.parquet: pip install 'jaxret\[parquet\]'"):
        write_table_file(index, tmp_path / 'shapes.parquet')
