"""Light-field descriptors of silhouettes without learning: Zernike moments and Fourier descriptors.

What D.-Y. Chen, X.-P. Tian, Y.-T. Shen and M. Ouhyoung, On Visual Similarity Based 3D Model Retrieval, Computer
Graphics Forum 22 (2003) 223, compare models by: 35 Zernike coefficients and 10 Fourier coefficients a silhouette, L1.
Models are seen from a ring of cameras instead of the corners of a dodecahedron, and a photo is one silhouette, so its
distance to a model is that to the model's nearest view. Not to be confused with location field descriptors, which
papers on photos abbreviate likewise (LFD).

No coefficient changes when a silhouette is moved, scaled, turned in its plane or mirrored. Letters: N silhouettes, S
side in pixels, V views, Q photos, G models.
"""

import math
from functools import cache

import numpy as np
from scipy.spatial.distance import cdist

from jaxret.errors import refused

DEGREE = 10  # highest of the Zernike polynomials
COEFFICIENTS = 10  # Fourier
_DIRECTIONS, _STEPS = 128, 128  # rays from the centroid, and places on each
_BLOCK = 128  # silhouettes at once


def light_field_descriptors(masks: np.ndarray) -> np.ndarray:
    """Zernike and Fourier coefficients of silhouettes.

    Args:
      masks: bool [N, S, S].

    Returns:
      float64 [N, 45], the 35 of `zernike_moments` first; 0 for a silhouette without a pixel.

    Raises:
      DataError: an array of another shape.
    """
    masks = np.asarray(masks, bool)
    if masks.ndim != 3:
        raise refused('masks', f'shape {masks.shape}', 'give silhouettes [N, S, S]')
    blocks = [masks[start : start + _BLOCK] for start in range(0, len(masks), _BLOCK)]
    found = [np.concatenate([zernike_moments(block), fourier_descriptors(block)], axis=1) for block in blocks]
    return np.concatenate(found) if found else np.zeros((0, len(_orders(DEGREE)) + COEFFICIENTS))


def zernike_moments(masks: np.ndarray, *, degree: int = DEGREE) -> np.ndarray:
    """Magnitudes |A_nm| / A_00 of silhouettes, A_nm = (n + 1) / pi sum over pixels of R_nm(r) exp(-i m t).

    r and t are polar coordinates of a pixel's centre about the centroid; r = 1 is the circle that just holds all pixels
    whole. As r^n exp(-i m t) is a polynomial of x and y, all sums come from the geometric moments.

    Args:
      masks: bool [N, S, S].
      degree: n goes from 1 to this, m over 0 .. n with n - m even.

    Returns:
      float64 [N, 35] for degree 10, ordered by n, then m; 0 for a silhouette without a pixel.

    Source: Khotanzad and Hong, Invariant Image Recognition by Zernike Moments, PAMI 12 (1990) 489.
    """
    count, places, radius = _frame(masks)
    powers = [(place / radius[:, None])[..., None] ** np.arange(degree + 1) for place in places]
    moments = powers[0].swapaxes(1, 2) @ (masks.astype(np.float64) @ powers[1])  # [N, power of y, power of x]
    sums = np.abs(np.einsum('npq,kpq->nk', moments, _polynomials(degree)))
    return sums / np.maximum(count, 1)[:, None]


def fourier_descriptors(masks: np.ndarray, *, coefficients: int = COEFFICIENTS) -> np.ndarray:
    """Magnitudes |F_k| / |F_0|, k from 1, of the distance from the centroid to the outline, by its direction.

    The distance in a direction is that of the farthest pixel of the silhouette there, 0 without one; directions are
    evenly spread (equal-angle sampling), so that outlines of several parts, or with holes, have one too.

    Args:
      masks: bool [N, S, S].
      coefficients: number of k.

    Returns:
      float64 [N, coefficients]; 0 for a silhouette without a pixel.

    Source: Zhang and Lu, Study and Evaluation of Different Fourier Methods for Image Retrieval, Image and Vision
    Computing 23 (2005) 33.
    """
    spectrum = np.abs(np.fft.rfft(centroid_distances(masks), axis=1))
    return spectrum[:, 1 : coefficients + 1] / np.maximum(spectrum[:, :1], 1e-12)


def centroid_distances(masks: np.ndarray) -> np.ndarray:
    """Distance from the centroid to the outline in 128 directions, as a share of the radius: float64 [N, 128].

    Direction 0 points along the rows; they go on towards the columns' ends.
    """
    masks = np.asarray(masks, bool)
    _, (rows, columns), radius = _frame(masks)
    angles = 2 * np.pi * np.arange(_DIRECTIONS) / _DIRECTIONS
    share = (np.arange(_STEPS) + 0.5) / _STEPS
    steps = radius[:, None, None] * share
    side = masks.shape[1]
    # _frame's places start at -centroid, so that pixel 0 is there
    y, x = (
        np.rint(steps * along[None, :, None] - place[:, :1, None]).astype(np.int64)
        for along, place in ((np.sin(angles), rows), (np.cos(angles), columns))
    )
    inside = (y >= 0) & (y < side) & (x >= 0) & (x < side)
    items = np.arange(len(masks))[:, None, None]
    hit = masks[items, np.clip(y, 0, side - 1), np.clip(x, 0, side - 1)] & inside
    return np.where(hit, share, 0.0).max(axis=2)


def light_field_scores(photos: np.ndarray, views: np.ndarray) -> np.ndarray:
    """Minus the smallest L1 distance of each photo's silhouette to those of each model: float64 [Q, G].

    Args:
      photos: [Q, D].
      views: [G, V, D].
    """
    return np.stack([-np.abs(views - photo).sum(axis=2).min(axis=1) for photo in photos])


def light_field_distances(views: np.ndarray) -> np.ndarray:
    """Distance between models seen from one ring of cameras: float64 [G, G].

    The mean L1 distance of their views, each with the one of the same camera, at the turn of a model about the vertical
    where it is smallest (Chen et al., Eq. 3, with the turns of a ring).

    Args:
      views: [G, V, D].
    """
    flat = views.reshape(len(views), -1)
    turns = [np.roll(views, turn, axis=1).reshape(flat.shape) for turn in range(views.shape[1])]
    return np.min([cdist(flat, turned, 'cityblock') for turned in turns], axis=0) / views.shape[1]


def _frame(masks: np.ndarray) -> tuple[np.ndarray, tuple[np.ndarray, np.ndarray], np.ndarray]:
    """Number of pixels [N], places of rows and of columns from the centroid [N, S], and the radius [N]."""
    masks = np.asarray(masks, bool)
    across = np.arange(masks.shape[1], dtype=np.float64)
    sums = masks.sum(axis=2), masks.sum(axis=1)
    count = sums[0].sum(axis=1)
    rows, columns = (across - (own @ across / np.maximum(count, 1))[:, None] for own in sums)
    squares = np.where(masks, rows[:, :, None] ** 2 + columns[:, None, :] ** 2, 0.0)
    return count, (rows, columns), np.sqrt(squares.max(axis=(1, 2))) + math.sqrt(0.5)


def _orders(degree: int) -> list[tuple[int, int]]:
    return [(n, m) for n in range(1, degree + 1) for m in range(n % 2, n + 1, 2)]


@cache
def _polynomials(degree: int) -> np.ndarray:
    """(n + 1) R_nm(r) exp(-i m t) as coefficients of y^p x^q: complex128 [K, degree + 1, degree + 1]."""
    table = np.zeros((len(_orders(degree)), degree + 1, degree + 1), np.complex128)
    for row, (n, m) in zip(table, _orders(degree), strict=True):
        for s in range((n - m) // 2 + 1):
            below = math.factorial(s) * math.factorial((n + m) // 2 - s) * math.factorial((n - m) // 2 - s)
            radial = (n + 1) * (-1) ** s * math.factorial(n - s) // below  # of r^(n - 2s)
            half = (n - m) // 2 - s  # r^(n - 2s) exp(-i m t) = (x^2 + y^2)^half (x - i y)^m
            for a in range(half + 1):
                for b in range(m + 1):
                    row[2 * a + b, 2 * (half - a) + m - b] += radial * math.comb(half, a) * math.comb(m, b) * (-1j) ** b
    return table
