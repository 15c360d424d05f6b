"""Batches joined for one batch norm: every row once, apart again as they were, and each device keeps its own."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxret.encoders.batch_norm import join_batches, part_batches
from jaxret.training.parallel import make_parallel


@pytest.mark.parametrize('sizes', [(6, 4), (4, 4), (5, 3), (8, 24), (2, 4, 6), (3,), (4, 0)])
def test_rows_come_apart_as_they_were(sizes):
    batches = [100 * number + np.arange(2.0 * size).reshape(size, 2) for number, size in enumerate(sizes)]
    joined = join_batches(*map(jnp.asarray, batches))
    assert joined.shape == (sum(sizes), 2)
    np.testing.assert_array_equal(np.sort(joined, axis=0), np.sort(np.concatenate(batches), axis=0))
    for found, expected in zip(part_batches(joined, sizes), batches, strict=True):
        np.testing.assert_array_equal(found, expected)


def test_parts_stand_together():
    joined = join_batches(jnp.arange(4), 10 + jnp.arange(2))
    np.testing.assert_array_equal(joined, [0, 1, 10, 2, 3, 11])


def test_no_row_leaves_its_device():
    parallel = make_parallel('jit', devices=4, divided={'batch_size': 8})
    batches = parallel.place_sharded({'photos': np.ones((8, 3), np.float32), 'views': np.ones((16, 3), np.float32)})

    def there_and_back(join, part, x):
        joined = join(x['photos'], x['views'])
        return part(jnp.cumsum(joined, axis=1))

    def text(join, part):
        return jax.jit(lambda x: there_and_back(join, part, x)).lower(batches).compile().as_text()

    moves = ('all-gather', 'all-to-all', 'collective-permute')
    assert not any(move in text(join_batches, lambda x: part_batches(x, (8, 16))) for move in moves)
    plain = text(lambda *x: jnp.concatenate(x), lambda x: [x[:8], x[8:]])
    assert any(move in plain for move in moves)
