"""Light-field descriptors against loops over pixels, and what they do not see."""

import cmath
import math

import numpy as np
import pytest

from jaxret.baselines.light_field import (
    centroid_distances,
    fourier_descriptors,
    light_field_descriptors,
    light_field_distances,
    light_field_scores,
    zernike_moments,
)
from jaxret.errors import DataError


def drawn_masks():
    """A shape without symmetry, the same twice as large, a bar, two parts with a hole, a pixel, nothing."""
    masks = np.zeros((6, 41, 41), bool)
    masks[0, 5:15, 4:10] = masks[0, 11:15, 10:18] = masks[0, 8, 10:13] = True
    masks[1, 12:32, 14:26] = masks[1, 24:32, 26:42] = masks[1, 18:20, 26:32] = True
    masks[2, 20:22, 3:39] = True
    masks[3, 2:12, 3:9] = masks[3, 20:35, 22:38] = True
    masks[3, 25:28, 26:30] = False
    masks[4, 40, 0] = True
    return masks


def pixels_of(mask):
    found = [(y, x) for y in range(len(mask)) for x in range(len(mask)) if mask[y, x]]
    cy, cx = (sum(part) / len(found) for part in zip(*found, strict=True))
    moved = [(x - cx, y - cy) for y, x in found]
    radius = max(math.hypot(x, y) for x, y in moved) + math.sqrt(0.5)
    return [(x / radius, y / radius) for x, y in moved], (cx, cy), radius


def slow_zernike(mask, degree):
    pixels, _, _ = pixels_of(mask)
    found = []
    for n in range(1, degree + 1):
        for m in range(n + 1):
            if (n - m) % 2:
                continue
            total = 0j
            for x, y in pixels:
                r, t = math.hypot(x, y), math.atan2(y, x)
                radial = 0.0
                for s in range((n - m) // 2 + 1):
                    below = math.factorial(s) * math.factorial((n + m) // 2 - s) * math.factorial((n - m) // 2 - s)
                    radial += (-1) ** s * math.factorial(n - s) / below * r ** (n - 2 * s)
                total += radial * cmath.exp(-1j * m * t)
            found.append(abs((n + 1) / math.pi * total) / (len(pixels) / math.pi))
    return found


def slow_distances(mask):
    _, (cx, cy), radius = pixels_of(mask)
    found = []
    for direction in range(128):
        angle, far = 2 * math.pi * direction / 128, 0.0
        for step in range(128):
            share = (step + 0.5) / 128
            x = round(cx + radius * share * math.cos(angle))
            y = round(cy + radius * share * math.sin(angle))
            if 0 <= x < len(mask) and 0 <= y < len(mask) and mask[y, x]:
                far = share
        found.append(far)
    return found


@pytest.mark.parametrize('degree', [1, 4, 10])
def test_zernike_moments_are_those_of_the_definition(degree):
    masks = drawn_masks()
    found = zernike_moments(masks, degree=degree)
    assert found.shape[1] == {1: 1, 4: 8, 10: 35}[degree]
    for mask, values in zip(masks[:5], found, strict=False):
        np.testing.assert_allclose(values, slow_zernike(mask, degree), atol=1e-9)
    assert not found[5].any()


def test_fourier_descriptors_are_those_of_the_distance_to_the_outline():
    masks = drawn_masks()
    distances, found = centroid_distances(masks), fourier_descriptors(masks)
    for mask, line, values in zip(masks[:5], distances, found, strict=False):
        slow = slow_distances(mask)
        np.testing.assert_allclose(line, slow, atol=1e-9)
        waves = [[cmath.exp(-2j * math.pi * k * i / 128) for i in range(128)] for k in range(11)]
        first, *others = (abs(sum(d * e for d, e in zip(slow, wave, strict=True))) for wave in waves)
        np.testing.assert_allclose(values, [value / first for value in others], atol=1e-9)
    assert not found[5].any()


def test_an_ellipse_has_the_spectrum_of_its_radius():
    y, x = np.mgrid[-100:101, -100:101]
    ellipse = ((x / 90) ** 2 + (y / 45) ** 2 <= 1)[None]
    angles = 2 * np.pi * np.arange(128) / 128
    spectrum = np.abs(np.fft.rfft(1 / np.hypot(np.cos(angles) / 90, np.sin(angles) / 45)))
    np.testing.assert_allclose(fourier_descriptors(ellipse)[0], spectrum[1:11] / spectrum[0], atol=0.01)


def test_a_disc_has_no_moment_but_its_own():
    y, x = np.mgrid[-100:101, -100:101]
    assert light_field_descriptors((np.hypot(x, y) <= 95)[None]).max() < 0.15  # (n + 1) R_n0 at the pixels of the edge
    assert fourier_descriptors((np.hypot(x, y) <= 95)[None]).max() < 0.01


def test_turning_mirroring_moving_and_scaling_change_little():
    mask = drawn_masks()[0]
    changed = [np.rot90(mask), mask[::-1], mask.T, np.roll(mask, (9, 13), (0, 1))]
    found = light_field_descriptors(np.stack([mask, *changed]))
    np.testing.assert_allclose(found[1:, :35], np.broadcast_to(found[:1, :35], (4, 35)), atol=1e-9)
    np.testing.assert_allclose(found[1:, 35:], np.broadcast_to(found[:1, 35:], (4, 10)), atol=0.02)
    large = np.kron(np.pad(mask, 30), np.ones((6, 6), bool))[None]
    larger = np.kron(np.pad(mask, 30), np.ones((12, 12), bool))[None]
    scaled, rescaled = light_field_descriptors(large), light_field_descriptors(larger)
    np.testing.assert_allclose(scaled, rescaled, atol=0.05)
    others = light_field_descriptors(drawn_masks()[2:4])
    assert np.abs(scaled - rescaled).sum() < 0.2 * np.abs(others - scaled).sum(axis=1).min()


def test_the_start_of_an_outline_does_not_matter():
    line = centroid_distances(drawn_masks()[:1])
    for start in (1, 50):
        np.testing.assert_allclose(np.abs(np.fft.rfft(np.roll(line, start))), np.abs(np.fft.rfft(line)), atol=1e-9)


def test_scores_are_minus_the_distance_to_the_nearest_view():
    rng = np.random.default_rng(0)
    photos, views = rng.normal(size=(3, 5)), rng.normal(size=(4, 2, 5))
    found = light_field_scores(photos, views)
    for q in range(3):
        for g in range(4):
            nearest = min(sum(abs(photos[q, d] - views[g, v, d]) for d in range(5)) for v in range(2))
            assert found[q, g] == pytest.approx(-nearest)


def test_models_are_as_near_as_at_their_best_turn():
    views = np.random.default_rng(0).normal(size=(3, 4, 5))
    views[2] = np.roll(views[0], 3, axis=0)
    found = light_field_distances(views)
    for a in range(3):
        for b in range(3):
            turns = [sum(np.abs(views[a, v] - views[b, (v + t) % 4]).sum() for v in range(4)) / 4 for t in range(4)]
            assert found[a, b] == pytest.approx(min(turns))
    assert found[0, 2] == 0 < found[0, 1]


def test_many_are_described_as_one_and_none_too():
    masks = np.tile(drawn_masks(), (25, 1, 1))
    found = light_field_descriptors(masks)
    np.testing.assert_allclose(found[-6:], light_field_descriptors(masks[:6]))
    assert light_field_descriptors(masks[:0]).shape == (0, 45)
    with pytest.raises(DataError, match='silhouettes'):
        light_field_descriptors(masks[0])
