"""Codes of a gallery, a byte a number, that bounds on scores are computed from: see the head of `bounds`.

Letters: G gallery shapes, N shapes of a block, L blocks, V views, D embedding, M principal axes.
"""

from dataclasses import dataclass
from functools import partial

import numpy as np

from jaxret.search.blocks import aligned_empty
from jaxret.search.gallery import SearchGallery
from jaxret.search.threads import spread

_SAMPLE = 50_000  # rows that the axes are found from; any orthonormal axes give valid bounds
_WIDEST, _WIDE_SAMPLE = 1024, 1024  # of wider rows fewer are looked at
_FIRST_AXES, _SECOND_AXES = (8, 7, 63), (2, 31, 255)  # share of D, least and most; one less, for the length beside them
_BLOCK_ROWS = 50_000  # of the first codes: their products stay in a core's cache
_LANES = 64  # a block's shapes are an odd multiple: so the codes of an axis do not all fall into the same cache lines
_CODED_ROWS = 20_000  # at a time
_LARGEST, _LARGEST_TWO = 127, 127 * 256  # codes of one byte and of two
_LEAST_STEP = 1e-6  # of what the longest row would need: rows outside the sample may lie along any axis


@dataclass(frozen=True, eq=False)
class Level:
    """What the codes of a step stand for.

    Attributes:
      axes: how many.
      scale: float64 [L], of the axes' steps.
      beside: [L, 1 or 3], steps of the bytes beside the axes.
      lost: [L], largest length of what rounding took of a row's coordinates.
    """

    axes: int
    scale: np.ndarray
    beside: np.ndarray
    lost: np.ndarray


class BoundCodes:
    """Codes of both steps; V = 1 where a shape is one row.

    Args:
      gallery: the gallery.

    Attributes:
      axes: [D, M], of the second step; those of the first are the leading ones.
      defect: how far they are from orthonormal, a spectral norm.
      steps: [M], that a code of 1 stands for where a block's scale is 1.
      shapes: N; the last block is filled up with zeros.
      blocks: L.
      first: int8 [L, W, V, N], of the first step: W numbers, those of the axes and the bytes beside them.
      second: int8 [G, V, W].
      levels: of both steps.
    """

    def __init__(self, gallery: SearchGallery):
        self._centre, self._radius = gallery.centre, gallery.radius
        few, more = _count(gallery.width, *_FIRST_AXES), _count(gallery.width, *_SECOND_AXES)
        # Not centred further: what is bounded is the part of r that the axes leave.
        sample = _sample(gallery)
        self.axes = np.ascontiguousarray(_principal_axes(sample)[:, :more])
        self.defect = float(np.linalg.norm(self.axes.T @ self.axes - np.eye(self.axes.shape[1]), 2))
        largest = np.abs(sample @ self.axes).max(axis=0, initial=0.0)
        self.steps = np.maximum(largest, _LEAST_STEP * (self._radius or 1.0)) / _LARGEST
        most = min(len(gallery), max(1, _BLOCK_ROWS // gallery.views))
        self.shapes = (-(-most // _LANES) | 1) * _LANES
        self.blocks = -(-len(gallery) // self.shapes)
        counts = min(few, self.axes.shape[1]), self.axes.shape[1]
        beside = 3 if gallery.similarity == 'euclidean' else 1
        self.first = aligned_empty((self.blocks, counts[0] + beside, gallery.views, self.shapes), np.int8)
        self.second = aligned_empty((len(gallery), gallery.views, counts[1] + beside), np.int8)
        self.levels = [
            Level(n, np.zeros(self.blocks), np.zeros((self.blocks, beside)), np.zeros(self.blocks)) for n in counts
        ]
        spread(partial(self._code, gallery), range(self.blocks))

    def _code(self, gallery: SearchGallery, number: int) -> None:
        """Codes a block; both steps have the same codes of the first axes."""
        start, count, few = number * self.shapes, self.axes.shape[1], self.levels[0].axes
        shapes, views = min(self.shapes, len(gallery) - start), gallery.views
        coordinates = np.empty((shapes, views, count), np.float32)
        extra = self.levels[0].beside.shape[1] // 2
        beside = np.empty((2, 1 + extra, shapes, views))  # what is left in both steps, and -|r|^2 / 2
        step = max(1, _CODED_ROWS // views)
        parts = [slice(first, min(first + step, shapes)) for first in range(0, shapes, step)]
        for part in parts:
            rows = np.asarray(gallery.rows[start + part.start : start + part.stop], np.float64) - self._centre
            rows = rows.reshape(-1, gallery.width)
            exact = rows @ self.axes
            coordinates[part] = exact.reshape(-1, views, count)
            left = left_of(rows, exact[:, :few]), left_of(rows, exact)
            beside[:, 0, part] = np.reshape(left, (2, -1, views))
            beside[:, 1:, part] = np.reshape(-np.sum(np.square(rows), axis=1) / 2, (-1, views))
        largest = max(float((np.abs(coordinates[part]) / self.steps).max()) for part in parts)
        scale = (largest or 1.0) * (1 + 1e-6) / _LARGEST
        second = self.second[start : start + shapes]
        lost = np.zeros(2)
        for part in parts:
            scaled = coordinates[part] / (scale * self.steps)
            second[part, :, :count] = codes = np.rint(scaled)
            squares = np.square((scaled - codes) * (scale * self.steps))
            lost = np.maximum(lost, [squares[..., :few].sum(axis=-1).max(), squares.sum(axis=-1).max()])
        first = self.first[number]
        first[:, :, shapes:] = 0
        first[:few, :, :shapes] = second[..., :few].transpose(2, 1, 0)
        for level, numbers, taken in zip(self.levels, beside, lost, strict=True):
            codes, level.beside[number] = _rounded_up(numbers)
            level.scale[number] = scale
            level.lost[number] = np.sqrt(taken) + 1e-7 * self._radius  # coordinates were rounded to float32 first
            if level is self.levels[0]:
                first[few:, :, :shapes] = codes.transpose(0, 2, 1)
            else:
                second[..., count:] = codes.transpose(1, 2, 0)


def _count(width: int, share: int, least: int, most: int) -> int:
    return min(width, max(least, width // share - 1), most)


def left_of(x: np.ndarray, coordinates: np.ndarray) -> np.ndarray:
    """Lengths of what the axes leave of rows [N, D].

    The difference cancels where little is left: 1e-6 is more than rounding and the axes' defect can hide.
    """
    squared = np.sum(np.square(x), axis=1)
    return np.sqrt(np.maximum(squared - np.sum(np.square(coordinates), axis=1), 0) + 1e-6 * squared)


def _rounded_up(numbers: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Codes [1 or 3, ...] of one byte for lengths, numbers[0], and of two for numbers[1] if there are; their steps."""
    largest = np.abs(numbers).reshape(len(numbers), -1).max(axis=1)
    steps = np.where(largest > 0, largest, 1.0) * (1 + 1e-12) / (_LARGEST, _LARGEST_TWO)[: len(numbers)]
    scaled = np.ceil(numbers / steps.reshape(-1, *[1] * (numbers.ndim - 1)))
    if len(numbers) == 1:
        return scaled, steps
    high = np.floor((scaled[1] + 128) / 256)  # the number is 256 high + low
    return np.stack([scaled[0], high, scaled[1] - 256 * high]), steps[[0, 1, 1]] * (1, 256, 1)


def _sample(gallery: SearchGallery) -> np.ndarray:
    """Some rows less the centre, float64 [N, D]: one at random of each of as many equal stretches of all rows.

    Of every so many rows one would be the same view of every shape where that number is a multiple of V.
    """
    flat = gallery.rows.reshape(-1, gallery.width)
    count = min(len(flat), _WIDE_SAMPLE if gallery.width > _WIDEST else _SAMPLE)
    ends = np.arange(count + 1) * len(flat) // max(1, count)
    places = np.random.default_rng(0).integers(ends[:-1], ends[1:])
    return flat[places].astype(np.float64) - gallery.centre


def _principal_axes(rows: np.ndarray) -> np.ndarray:
    """Orthonormal axes [D, M] of rows [N, D] in float64, the strongest first; M = D, or N where that is less."""
    if len(rows) >= rows.shape[1]:
        return np.linalg.eigh(rows.T @ rows)[1][:, ::-1]
    return np.linalg.qr(rows.T @ np.linalg.eigh(rows @ rows.T)[1][:, ::-1])[0]
