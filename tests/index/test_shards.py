"""What a shard holds beside embeddings, and how it moves."""

import numpy as np
import pytest
from safetensors import safe_open

from jaxret.index.shards import (
    SHARDS,
    ShapeRow,
    Shard,
    read_array,
    read_facts,
    read_shard,
    read_thumbnail,
    shard_shapes,
    without_gaps,
    write_shard,
)


def some_shard(start, *, extras=(), facts=True):
    """Four shapes, all of whose parts say which they are."""
    numbers = np.arange(start, start + 4)
    return Shard(
        np.repeat(numbers[:, None], 3, axis=1).astype(np.float32),
        [f'picture {number}'.encode() for number in numbers],
        [f'key {number}' for number in numbers],
        {name: np.repeat(numbers[:, None], 2, axis=1).astype(np.uint8) for name in extras},
        [{'name': f'shape {number}', 'size': [1.5, None]} for number in numbers] if facts else (),
    )


def test_extras_and_facts_are_read_as_they_were_written(tmp_path):
    shard = some_shard(3, extras=('outlines', 'signature'))
    path = tmp_path / SHARDS / write_shard(tmp_path, shard, key='key')
    assert read_facts(path) == shard.facts
    assert list(read_shard(path).extras) == ['outlines', 'signature']
    for name in shard.extras:
        np.testing.assert_array_equal(read_array(path, name), shard.extras[name])
    assert shard_shapes(path, key='key') == shard.keys
    assert write_shard(tmp_path, shard, key='key') == path.name  # a function of its content


def test_a_shard_without_facts_says_nothing_of_them(tmp_path):
    plain = some_shard(0, facts=False)
    (name,) = {
        write_shard(tmp_path, Shard(plain.embeddings, plain.thumbnails, plain.keys, {}, facts), key='key')
        for facts in ((), [{}] * 4)
    }
    with safe_open(tmp_path / SHARDS / name, 'numpy') as file:  # as before there were facts
        assert file.metadata() == {'shard': '{"key": "key", "shapes": ["key 0", "key 1", "key 2", "key 3"]}'}
    assert read_facts(tmp_path / SHARDS / name) == [{}] * 4


def test_facts_that_are_no_json_are_not_written(tmp_path):
    shard = some_shard(0)
    with pytest.raises(ValueError, match='(?i)nan|float'):
        write_shard(tmp_path, Shard(shard.embeddings, shard.thumbnails, shard.keys, {}, [{'size': np.nan}]), key='key')


def test_moved_shapes_keep_extras_and_facts_of_every_version(tmp_path):
    kinds = [((), False), ((), True), (('outlines',), True), (('outlines', 'signature'), True)]
    rows = []
    for place, (extras, facts) in enumerate(kinds):
        shard = write_shard(tmp_path, some_shard(10 * place, extras=extras, facts=facts), key='key')
        rows.append(ShapeRow(f'{place}.obj', '', 0, 'sum', [1, 2], shard, place % 4))  # one of four is used
    moved = without_gaps(tmp_path, rows, 'key')
    assert len({row.shard for row in moved}) == 3 and not {row.shard for row in moved} & {row.shard for row in rows}
    for place, (row, (extras, facts)) in enumerate(zip(moved, kinds, strict=True)):
        path, number = tmp_path / SHARDS / row.shard, 11 * place
        assert (read_shard(path).embeddings[row.row] == number).all()
        assert read_thumbnail(path, row.row) == f'picture {number}'.encode()
        assert shard_shapes(path, key='key')[row.row] == f'key {number}'
        assert read_facts(path)[row.row] == ({'name': f'shape {number}', 'size': [1.5, None]} if facts else {})
        stored = read_shard(path).extras
        assert tuple(stored) == extras
        assert all((array[row.row] == number).all() for array in stored.values())
