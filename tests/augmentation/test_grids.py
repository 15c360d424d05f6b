"""Turning, mirroring and shifting grids against a loop; the same for all grids of an object."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from references_grids import moved_grid

from jaxret.augmentation.grids import augment_grids, rotation_table

SIDE, HEIGHT = 7, 5


def random_grids(seed, *shape):
    return np.random.default_rng(seed).integers(1, 200, size=(*shape, SIDE, HEIGHT, SIDE)).astype(np.uint8)


def every_move(rotations, flip, jitter):
    shifts = np.arange(-jitter, jitter + 1)
    for turn in range(rotations):
        for mirrored in [False, True] if 0 < flip < 1 else [flip == 1]:
            for shift in np.stack(np.meshgrid(shifts, shifts, shifts), axis=-1).reshape(-1, 3):
                yield {'turn': turn, 'mirrored': mirrored, 'shift': shift}


def augment(key, grids, **options):
    return jitted(**options)(jax.random.key(key), grids)


@functools.cache
def jitted(**options):
    return jax.jit(functools.partial(augment_grids, **options))


@pytest.mark.parametrize(('rotations', 'flip', 'jitter'), [(12, 0.5, 0), (1, 0.0, 1), (4, 0.5, 1)])
def test_each_object_is_one_of_the_loops_moves_and_all_occur(rotations, flip, jitter):
    grid = random_grids(0)
    many = jnp.asarray(np.repeat(grid[None], 60, axis=0))
    moved = np.asarray(augment(3, {'a': many}, rotations=rotations, flip=flip, jitter=jitter)['a'])
    moves = [moved_grid(grid, rotations=rotations, **move).tobytes() for move in every_move(rotations, flip, jitter)]
    assert len(set(moves)) == len(moves)
    found = {moves.index(after.tobytes()) for after in moved}
    assert len(found) > min(0.8 * len(moves), 40)


def test_all_grids_of_an_object_move_alike_and_objects_apart():
    one = random_grids(1, 6)
    pool = np.repeat(one[:, None], 3, axis=1)
    grids = {
        'scan': jnp.asarray(one),
        'cad': jnp.asarray(one, jnp.float32),
        'mask': jnp.asarray(one > 99),
        'pool': jnp.asarray(pool),
    }
    out = augment(0, grids, rotations=12, flip=0.5, jitter=2)
    for name, grid in grids.items():
        assert out[name].shape == grid.shape and out[name].dtype == grid.dtype
    np.testing.assert_array_equal(out['scan'], np.asarray(out['cad']).astype(np.uint8))
    np.testing.assert_array_equal(np.asarray(out['scan']) > 99, out['mask'])
    moved = [not (np.asarray(after) == before).all() for before, after in zip(one, out['scan'], strict=True)]
    assert any(moved)
    for place in range(3):
        np.testing.assert_array_equal(out['pool'][:, place], out['scan'])


def test_none_of_it_changes_nothing_and_the_key_decides():
    grids = {'a': jnp.asarray(random_grids(2, 4))}
    np.testing.assert_array_equal(augment(0, grids, rotations=1, flip=0.0, jitter=0)['a'], grids['a'])
    function = jax.jit(augment_grids)
    first, again, other = (function(jax.random.key(seed), grids)['a'] for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()


def test_quarter_turns_lose_nothing_and_go_the_stated_way():
    grid = random_grids(5)
    table = rotation_table(SIDE, 4)
    for turn in range(4):
        plane = np.append(grid[:, 0].ravel(), 0)[table[turn]].reshape(SIDE, SIDE)
        np.testing.assert_array_equal(plane, np.rot90(grid[:, 0], k=turn, axes=(1, 0)))
    front = np.zeros((SIDE, SIDE), np.uint8)
    front[3, 6] = 1  # on +z; a quarter turn brings it to +x
    assert np.append(front.ravel(), 0)[table[1]].reshape(SIDE, SIDE)[6, 3] == 1


@pytest.mark.parametrize('side', [32, 9])
def test_a_turned_ball_stays_a_ball(side):
    steps = np.arange(side) - (side - 1) / 2
    disc = (steps[:, None] ** 2 + steps[None] ** 2 <= (side / 2 - 1) ** 2).astype(np.uint8)
    for row in rotation_table(side, 12):
        turned = np.append(disc.ravel(), 0)[row].reshape(side, side)
        assert (turned != disc).mean() < 0.06


def test_wrong_options():
    grids = {'a': jnp.zeros((2, SIDE, HEIGHT, SIDE))}
    for wrong in ({'rotations': 0}, {'flip': 1.5}, {'jitter': -1}):
        with pytest.raises(ValueError, match='rotations='):
            augment_grids(jax.random.key(0), grids, **wrong)
    with pytest.raises(AssertionError):
        augment_grids(jax.random.key(0), grids | {'b': jnp.zeros((3, SIDE, HEIGHT, SIDE))})
    with pytest.raises(AssertionError):
        augment_grids(jax.random.key(0), {'a': jnp.zeros((2, 4, 4, 5))})
