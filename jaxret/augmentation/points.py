"""Random changes of point clouds and mesh features, for use inside the compiled step: pure functions of a key.

Ranges are those of the cross-modal center loss (Jing et al., CVPR 2021), from its public code. Letters: B objects,
N points, F faces. +y is up.
"""

import chex
import jax
import jax.numpy as jnp


def scale_and_shift_points(
    key: chex.PRNGKey, points: chex.Array, *, scale: tuple[float, float] = (2 / 3, 3 / 2), shift: float = 0.2
) -> chex.Array:
    """Stretches every cloud along each axis and moves it: p * s + t, s ~ U(scale)^3, t ~ U(-shift, shift)^3.

    Args:
      key: random key.
      points: [B, N, 3].
      scale: smallest and largest factor; (1, 1) for none.
      shift: largest shift; 0 for none.

    Returns:
      [B, N, 3].
    """
    chex.assert_rank(points, 3)
    scale_key, shift_key = jax.random.split(key)
    shape = (points.shape[0], 1, 3)
    factors = jax.random.uniform(scale_key, shape, points.dtype, *scale)
    return points * factors + jax.random.uniform(shift_key, shape, points.dtype, -shift, shift)


def rotate_points(key: chex.PRNGKey, points: chex.Array, *, degrees: float = 180.0) -> chex.Array:
    """Turns every cloud about the up axis by a ~ U(-degrees, degrees): (x cos a + z sin a, y, z cos a - x sin a).

    Args:
      key: random key.
      points: [B, N, 3].
      degrees: largest angle; 0 for none.

    Returns:
      [B, N, 3].
    """
    chex.assert_rank(points, 3)
    angles = jnp.deg2rad(jax.random.uniform(key, (points.shape[0], 1), points.dtype, -degrees, degrees))
    cos, sin = jnp.cos(angles), jnp.sin(angles)
    x, y, z = points[..., 0], points[..., 1], points[..., 2]
    return jnp.stack([x * cos + z * sin, y, z * cos - x * sin], axis=-1)


def jitter_points(key: chex.PRNGKey, points: chex.Array, *, sigma: float = 0.01, clip: float = 0.02) -> chex.Array:
    """Moves every coordinate by clip(N(0, sigma^2), -clip, clip).

    Args:
      key: random key.
      points: any shape; usually [B, N, 3].
      sigma: standard deviation before clipping; 0 for none.
      clip: largest change.

    Returns:
      the shape of `points`.
    """
    noise = sigma * jax.random.normal(key, points.shape, points.dtype)
    return points + jnp.clip(noise, -clip, clip)


def jitter_faces(
    key: chex.PRNGKey, faces: chex.Array, *, sigma: float = 0.01, clip: float = 0.05, absolute: bool = False
) -> chex.Array:
    """Jitters centre and corners of every face, each value by itself; the normal stays.

    Args:
      key: random key.
      faces: [B, F, 15]: centre 3, corners 9, normal 3.
      sigma: as `jitter_points`.
      clip: as `jitter_points`.
      absolute: jitters corners as they are in space, before they become relative to the centre (Jing et al.'s public
        code): they change by their own noise less that of the centre.

    Returns:
      [B, F, 15].
    """
    chex.assert_shape(faces, (None, None, 15))
    moved = jitter_points(key, faces[..., :12], sigma=sigma, clip=clip)
    if absolute:
        moved = moved.at[..., 3:].add(-jnp.tile(moved[..., :3] - faces[..., :3], 3))
    return jnp.concatenate([moved, faces[..., 12:]], axis=-1)


def stretch_and_turn_faces(
    key: chex.PRNGKey, faces: chex.Array, *, scale: tuple[float, float] = (2 / 3, 3 / 2), degrees: float = 180.0
) -> chex.Array:
    """Stretches every mesh along each axis and turns it about the up axis, as `augment_points` does with clouds.

    Centre and corners go through that linear map A, normals through its inverse transpose, and are unit vectors again;
    those of faces without area stay 0.

    Args:
      key: random key.
      faces: [B, F, 15]: centre 3, corners 9, normal 3.
      scale: smallest and largest factor; (1, 1) for none.
      degrees: largest angle; 0 for none.

    Returns:
      [B, F, 15].
    """
    chex.assert_shape(faces, (None, None, 15))
    stretch_key, turn_key = jax.random.split(key)
    factors = jax.random.uniform(stretch_key, (len(faces), 1, 1, 3), faces.dtype, *scale)
    vectors = faces.reshape(*faces.shape[:2], 5, 3)
    normals = vectors[:, :, 4:] / factors
    normals /= jnp.maximum(jnp.linalg.norm(normals, axis=-1, keepdims=True), 1e-12)
    vectors = jnp.concatenate([vectors[:, :, :4] * factors, normals], axis=2)
    return rotate_points(turn_key, vectors.reshape(len(faces), -1, 3), degrees=degrees).reshape(faces.shape)


def augment_points(
    key: chex.PRNGKey,
    points: chex.Array,
    *,
    scale: tuple[float, float] = (2 / 3, 3 / 2),
    shift: float = 0.2,
    degrees: float = 180.0,
    sigma: float = 0.01,
    clip: float = 0.02,
) -> chex.Array:
    """Stretch and shift, turn, jitter: the order of the public code.

    Args:
      key: random key; one a step (`fold_in(key, step)`).
      points: [B, N, 3].
      scale: of `scale_and_shift_points`, like shift.
      shift: largest shift.
      degrees: of `rotate_points`.
      sigma: of `jitter_points`, like clip.
      clip: largest jitter.

    Returns:
      [B, N, 3].
    """
    stretch_key, turn_key, jitter_key = jax.random.split(key, 3)
    points = scale_and_shift_points(stretch_key, points, scale=scale, shift=shift)
    points = rotate_points(turn_key, points, degrees=degrees)
    return jitter_points(jitter_key, points, sigma=sigma, clip=clip)
