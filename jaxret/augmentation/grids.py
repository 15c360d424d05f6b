"""Random turns, mirroring and shifts of voxel grids, for use inside the compiled step: pure functions of a key.

Letters: B objects, P grids of a pool, X, Y, Z voxels, T rotations. +y is up.
"""

from collections.abc import Mapping

import chex
import jax
import jax.numpy as jnp
import numpy as np

from jaxret.geometry.grid_turns import turn_table


def augment_grids(
    key: chex.PRNGKey, grids: Mapping[str, chex.Array], *, rotations: int = 12, flip: float = 0.5, jitter: int = 1
) -> dict[str, chex.Array]:
    """Turns, mirrors and shifts every object, in this order, all grids of an object alike.

    A turn is about the up axis through the middle of the grid, by a random multiple of 360 / T degrees; a voxel takes
    the value of the voxel nearest to where it came from. Mirroring reverses x. A shift moves by whole voxels, drawn for
    each axis from -jitter .. jitter. What comes from outside the grid is 0. (Dahnert et al., ICCV 2019: 12 rotations;
    its public code mirrors x and z together and draws for scan and CAD apart; both break what the names promise.)

    Args:
      key: random key; one a step (`fold_in(key, step)`).
      grids: each [B, X, Y, Z] or [B, P, X, Y, Z], of any type, with the same B, X, Y and Z, and X = Z.
      rotations: T; 1 for none.
      flip: chance of mirroring; 0 for none.
      jitter: largest shift along each axis in voxels; 0 for none.

    Returns:
      Arrays of the same shapes and types.
    """
    arrays = list(grids.values())
    count, spatial = arrays[0].shape[0], arrays[0].shape[-3:]
    for array in arrays:
        chex.assert_rank(array, {4, 5})
        chex.assert_equal((array.shape[0], *array.shape[-3:]), (count, *spatial))
    chex.assert_equal(spatial[0], spatial[2])
    if rotations < 1 or not 0 <= flip <= 1 or jitter < 0:
        raise ValueError(f'rotations={rotations}, flip={flip}, jitter={jitter}: use at least 1, a chance, at least 0')
    angle_key, flip_key, shift_key = jax.random.split(key, 3)
    angle = jax.random.randint(angle_key, (count,), 0, rotations)
    mirrored = jax.random.bernoulli(flip_key, flip, (count,))
    shift = jax.random.randint(shift_key, (count, 3), -jitter, jitter + 1)
    source = _plane_sources(jnp.asarray(rotation_table(spatial[0], rotations)), angle, mirrored, shift)
    layers = jnp.arange(spatial[1])[None] - shift[:, 1, None]  # [B, Y]
    layers = jnp.where((layers >= 0) & (layers < spatial[1]), layers, spatial[1])
    return {name: _gather(array, source, layers) for name, array in grids.items()}


def rotation_table(side: int, rotations: int) -> np.ndarray:
    """For every turn and voxel of an x-z plane, the voxel (x * side + z) that it takes its value from.

    Turn t brings what was at azimuth a (0 on +z, 90 on +x) to a + 360 t / T.

    Args:
      side: voxels along x and z.
      rotations: T.

    Returns:
      int32 [T, side * side]; side * side where the place lies outside.
    """
    middle = (side - 1) / 2
    return np.stack([turn_table(side, 360 * turn / rotations, middle=middle) for turn in range(rotations)])


def _plane_sources(table: chex.Array, angle: chex.Array, mirrored: chex.Array, shift: chex.Array) -> chex.Array:
    """Where each voxel of the x-z plane takes its value: int32 [B, X * Z]; X * Z for none."""
    side = int(table.shape[1] ** 0.5)
    steps = jnp.arange(side)
    x, z = steps[None] - shift[:, 0, None], steps[None] - shift[:, 2, None]  # before the shift: [B, X], [B, Z]
    inside = ((x >= 0) & (x < side))[:, :, None] & ((z >= 0) & (z < side))[:, None]
    x = jnp.where(mirrored[:, None], side - 1 - x, x)
    place = jnp.clip(x[:, :, None] * side + z[:, None], 0, side * side - 1)
    turned = jnp.take_along_axis(table[angle], place.reshape(len(angle), -1), axis=1)
    return jnp.where(inside.reshape(len(angle), -1), turned, side * side)


def _gather(array: chex.Array, source: chex.Array, layers: chex.Array) -> chex.Array:
    """The augmented grids, each object's by its own sources."""
    side, height = array.shape[-1], array.shape[-2]

    def one(grids: chex.Array, plane: chex.Array, layer: chex.Array) -> chex.Array:
        flat = jnp.swapaxes(grids.reshape(-1, side, height, side), 2, 3).reshape(-1, side * side, height)
        flat = jnp.pad(flat, ((0, 0), (0, 1), (0, 1)))  # the last row and layer are empty
        moved = flat[:, plane][:, :, layer].reshape(-1, side, side, height)
        return jnp.swapaxes(moved, 2, 3).reshape(grids.shape)

    return jax.vmap(one)(array, source, layers)
