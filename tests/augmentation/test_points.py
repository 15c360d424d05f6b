"""Changes of points and faces in the compiled step: against numpy, by statistics, and switched off."""

import jax
import jax.numpy as jnp
import numpy as np

from jaxret.augmentation.points import (
    augment_points,
    jitter_faces,
    jitter_points,
    rotate_points,
    scale_and_shift_points,
    stretch_and_turn_faces,
)

KEY = jax.random.key(0)
POINTS = jnp.asarray(np.random.default_rng(0).normal(size=(2000, 4, 3)), jnp.float32)


def test_scale_and_shift_are_one_affine_map_an_object():
    moved = np.asarray(scale_and_shift_points(KEY, POINTS), np.float64)
    before = np.asarray(POINTS, np.float64)
    scale = (moved[:, 1] - moved[:, 0]) / (before[:, 1] - before[:, 0])
    shift = moved[:, 0] - scale * before[:, 0]
    np.testing.assert_allclose(scale[:, None] * before + shift[:, None], moved, atol=1e-3)
    assert scale.min() > 2 / 3 - 1e-3 and scale.max() < 1.5 + 1e-3 and abs(shift).max() < 0.2 + 2e-3
    np.testing.assert_allclose(scale.mean(0), (2 / 3 + 1.5) / 2, atol=0.03)
    np.testing.assert_allclose(shift.std(0), 0.2 / np.sqrt(3), atol=0.01)
    correlations = np.corrcoef(np.concatenate([scale, shift], axis=1).T) - np.eye(6)
    assert abs(correlations).max() < 0.1  # every axis by itself


def test_rotation_is_about_the_up_axis():
    turned = np.asarray(rotate_points(KEY, POINTS), np.float64)
    before = np.asarray(POINTS, np.float64)
    np.testing.assert_array_equal(turned[..., 1], before[..., 1])
    angles = []
    for old, new in zip(before[:200], turned[:200], strict=True):
        for p, q in zip(old, new, strict=True):
            np.testing.assert_allclose(np.hypot(p[0], p[2]), np.hypot(q[0], q[2]), rtol=1e-5)
        angle = np.arctan2(old[:, 2], old[:, 0]) - np.arctan2(new[:, 2], new[:, 0])
        np.testing.assert_allclose(np.exp(1j * angle), np.exp(1j * angle[0]), atol=1e-4)
        angles.append(angle[0] % (2 * np.pi))
    assert np.histogram(angles, 4, (0, 2 * np.pi))[0].min() > 30
    quarter = rotate_points(KEY, jnp.asarray([[[0.0, 5.0, 1.0]]]), degrees=0.0)
    np.testing.assert_array_equal(quarter, [[[0, 5, 1]]])
    small = np.asarray(rotate_points(KEY, POINTS, degrees=1.0))
    assert 0 < abs(small - POINTS).max() < 0.1


def test_jitter_is_clipped_noise():
    noise = np.asarray(jitter_points(KEY, POINTS) - POINTS, np.float64)
    assert abs(noise).max() < 0.02 + 1e-6 and abs(noise.mean()) < 3e-4
    assert abs((abs(noise) > 0.0199).mean() - 0.0455) < 0.01  # of a normal distribution, beyond two deviations
    np.testing.assert_allclose(np.median(abs(noise)), 0.00674, atol=3e-4)


def test_jitter_of_faces_leaves_the_normals():
    faces = jnp.asarray(np.random.default_rng(1).normal(size=(3, 500, 15)), jnp.float32)
    moved = jitter_faces(KEY, faces)
    np.testing.assert_array_equal(moved[..., 12:], faces[..., 12:])
    noise = np.asarray(moved - faces)[..., :12]
    assert 0.02 < abs(noise).max() < 0.05 + 1e-6
    np.testing.assert_allclose(noise.std(), 0.01, atol=3e-4)
    assert abs(np.corrcoef(noise.reshape(-1, 12).T) - np.eye(12)).max() < 0.12


def test_jitter_before_corners_become_relative_is_that_of_corners_in_space():
    faces = jnp.asarray(np.random.default_rng(1).normal(size=(50, 20, 15)), jnp.float32)
    plain, moved = (np.asarray(jitter_faces(KEY, faces, absolute=absolute)) for absolute in (False, True))
    np.testing.assert_array_equal(moved[..., :3], plain[..., :3])
    in_space = np.asarray(faces[..., :3])[..., None, :] + np.asarray(faces[..., 3:12]).reshape(50, 20, 3, 3)
    after = moved[..., None, :3] + moved[..., 3:12].reshape(50, 20, 3, 3)
    noise = (plain - faces)[..., 3:12].reshape(50, 20, 3, 3)
    np.testing.assert_allclose(after - in_space, noise, atol=1e-5)  # each corner moves by its own noise
    np.testing.assert_array_equal(moved[..., 12:], faces[..., 12:])


def test_faces_are_stretched_and_turned_as_their_corners_in_space():
    rng = np.random.default_rng(2)
    corners = rng.normal(size=(6, 5, 3, 3))
    centre = corners.mean(axis=2)
    normal = np.cross(corners[:, :, 1] - corners[:, :, 0], corners[:, :, 2] - corners[:, :, 0])
    parts = [
        centre,
        (corners - centre[:, :, None]).reshape(6, 5, 9),
        normal / np.linalg.norm(normal, axis=-1)[..., None],
    ]
    moved = np.asarray(
        stretch_and_turn_faces(KEY, jnp.asarray(np.concatenate(parts, axis=-1), jnp.float32)), np.float64
    )
    after = moved[:, :, None, :3] + moved[..., 3:12].reshape(6, 5, 3, 3)
    for mesh in range(6):
        change = np.linalg.lstsq(corners[mesh].reshape(-1, 3), after[mesh].reshape(-1, 3), rcond=None)[0].T
        np.testing.assert_allclose(corners[mesh] @ change.T, after[mesh], atol=1e-5)  # one linear map a mesh
        lengths = np.linalg.norm(change, axis=0)  # of a turn after a stretch: the factors
        assert lengths.min() > 2 / 3 and lengths.max() < 1.5 and np.ptp(lengths) > 0.01
        np.testing.assert_allclose(change[1], [0, lengths[1], 0], atol=1e-5)  # up stays up
        for p, q, r, found in zip(*np.moveaxis(after[mesh], 1, 0), moved[mesh, :, 12:], strict=True):
            across = np.cross(q - p, r - p)
            np.testing.assert_allclose(found, across / np.linalg.norm(across), atol=1e-5)
    flat = jnp.zeros((1, 2, 15))
    np.testing.assert_array_equal(stretch_and_turn_faces(KEY, flat), flat)
    same = stretch_and_turn_faces(KEY, jnp.asarray(moved, jnp.float32), scale=(1, 1), degrees=0.0)
    np.testing.assert_allclose(same, moved, atol=1e-6)


def test_everything_together_in_a_compiled_step():
    function = jax.jit(augment_points)
    first, again = function(KEY, POINTS), function(KEY, POINTS)
    np.testing.assert_array_equal(first, again)
    assert (first != function(jax.random.fold_in(KEY, 1), POINTS)).mean() > 0.99
    assert first.shape == POINTS.shape and first.dtype == POINTS.dtype
    off = augment_points(KEY, POINTS, scale=(1.0, 1.0), shift=0.0, degrees=0.0, sigma=0.0)
    np.testing.assert_array_equal(off, POINTS)
