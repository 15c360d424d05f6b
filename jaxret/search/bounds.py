"""Upper bounds on scores from codes of one byte a number, in two steps: what pruned search looks at first.

Letters: Q queries, G gallery shapes, N shapes of a block, V views, D embedding, M principal axes.

A row r of the gallery (a view, or a shape) has the coordinates y on M principal axes P [D, M] of the gallery. Kept are
codes c, a byte each, with y = s c + d for steps s, and the length of what the axes leave, rounded up to a byte. For a
query q with coordinates x, Cauchy and Schwarz give

    q . r  =  x . y + (q - P x) . (r - P y)  <=  (x s) . c + |q - P x| |r - P y| + min(|x| |d|, sum |x| s / 2).

Steps, and the largest |d|, are those of a block of shapes. The first step looks at few axes of all shapes, the second
at more axes of the shapes that are left. A shape's score is at most the largest bound of its views: an attention score
is a weighted mean of the q . r_v, that of the best views a mean of two, for which the second step takes the mean of the
two largest bounds. For attention it also bounds the weights: where logits are off by at most h, a weighted mean of
numbers that differ by at most R is off by at most R tanh(h / 2), as the weight A of any of the views becomes at most
A e^2h / (A e^2h + 1 - A). For 'euclidean' the key q' . g' - |g'|^2 / 2 (see `similarity.fast_keys`) is bounded by two
bytes more, which hold the last term, rounded up.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import jax
import numpy as np

from jaxret.search.blocks import aligned_empty, power_of_two
from jaxret.search.bound_programs import many_bounds, one_bounds, second_bounds
from jaxret.search.gallery import SearchGallery
from jaxret.search.similarity import UNIT
from jaxret.search.threads import in_parts, spread

_SAMPLE = 50_000  # rows that the axes are found from; any orthonormal axes give valid bounds
_WIDEST, _WIDE_SAMPLE = 1024, 1024  # of wider rows fewer are looked at
_FIRST_AXES, _SECOND_AXES = (8, 7, 63), (2, 31, 255)  # share of D, least and most; one less, for the length beside them
_BLOCK_ROWS = 50_000  # of the first codes: their products stay in a core's cache
_LANES = 64  # a block's shapes are an odd multiple: so the codes of an axis do not all fall into the same cache lines
_CODED_ROWS = 20_000  # at a time
_LARGEST, _LARGEST_TWO = 127, 127 * 256  # codes of one byte and of two
_SIZES = (256, 1024, 4096)  # shapes of which the second bounds are computed at a time


@dataclass(frozen=True, eq=False)
class _Level:
    """What the codes of a step stand for; L blocks.

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


class GalleryBounds:
    """Codes of a gallery, and the bounds that they give; V = 1 where a shape is one row.

    Args:
      gallery: the gallery.
      axes: M of both steps; None takes an eighth and a half of D.

    Attributes:
      shapes: N; the last block is filled up with zeros.
      blocks: how many there are.
    """

    def __init__(self, gallery: SearchGallery, axes: tuple[int, int] | None = None):
        self._kind, self._centre, self._radius = gallery.similarity, gallery.centre, gallery.radius
        few, more = axes or (_count(gallery.width, *_FIRST_AXES), _count(gallery.width, *_SECOND_AXES))
        # Not centred further: what is bounded is the part of r that the axes leave.
        sample = self._sample(gallery)
        self._axes = np.ascontiguousarray(_principal_axes(sample)[:, :more])
        self._defect = float(np.linalg.norm(self._axes.T @ self._axes - np.eye(self._axes.shape[1]), 2))
        largest = np.abs(sample @ self._axes).max(axis=0, initial=0.0)
        self._steps = np.maximum(largest, max(1e-9 * largest.max(initial=0.0), 1e-300)) / _LARGEST
        most = min(len(gallery), max(1, _BLOCK_ROWS // gallery.views))
        self.shapes = (-(-most // _LANES) | 1) * _LANES
        self.blocks = -(-len(gallery) // self.shapes)
        counts = min(few, self._axes.shape[1]), self._axes.shape[1]
        beside = 3 if self._kind == 'euclidean' else 1
        self._first = aligned_empty((self.blocks, counts[0] + beside, gallery.views, self.shapes), np.int8)
        self._second = aligned_empty((len(gallery), gallery.views, counts[1] + beside), np.int8)
        self._levels = [
            _Level(n, np.zeros(self.blocks), np.zeros((self.blocks, beside)), np.zeros(self.blocks)) for n in counts
        ]
        spread(partial(self._code, gallery), range(self.blocks))
        self._placed: dict = {}  # codes on devices; on a CPU they are not copied

    @property
    def nbytes(self) -> int:
        """Of the codes."""
        return self._first.nbytes + self._second.nbytes

    def upper(self, queries: np.ndarray, numbers: Sequence[int], devices: Sequence[jax.Device]) -> np.ndarray:
        """First bounds of all shapes of some blocks: float32 [Q, blocks, N]; past the gallery's end they mean nothing.

        Args:
          queries: float32 [Q, D]; of unit length for 'cosine'.
          numbers: of the blocks.
          devices: to work on.
        """
        sides = self._sides(queries, self._levels[0])
        padding = [(0, 0), (0, power_of_two(len(queries)) - len(queries)), (0, 0)]
        weights, slack = np.pad(sides.weights(), padding), sides.slack()
        upper = np.empty((len(queries), len(numbers), self.shapes), np.float32)
        products = one_bounds if len(queries) == 1 else many_bounds

        def bound(place: int) -> None:
            number = numbers[place]
            found = products(weights[number], self._codes(number, devices[number % len(devices)]))
            np.add(np.asarray(found)[: len(queries)], slack[number][:, None], out=upper[:, place])

        spread(bound, range(len(numbers)))
        return upper

    def second(
        self, query: np.ndarray, projected: np.ndarray | None, device: jax.Device, *, pieces: int = 1
    ) -> Callable[[np.ndarray], np.ndarray]:
        """What gives the second bounds, float32 [N], of a query [1, D] and the shapes of any indices [N].

        Args:
          query, projected: as for `search`.
          device: to work on.
          pieces: threads to share the shapes among.
        """
        both = query if projected is None else np.concatenate([query, projected])
        level = self._levels[1]
        sides = self._sides(both, level)
        product = sides.length[0] * (self._radius + level.lost.max() + level.beside.max())
        largest = level.scale.max(
            initial=0.0
        )  # no factor of a product may be so small that float32 has no place for it
        query_side = [side.astype(np.float32) for side in (sides.axes * largest, sides.beside)]
        of_blocks = [numbers.astype(np.float32) for numbers in (level.scale / largest, level.beside, sides.slack())]

        def some(ids: np.ndarray) -> np.ndarray:
            size = next(size for size in _SIZES if size >= len(ids))
            codes = aligned_empty((size, *self._second.shape[1:]), np.int8)
            np.take(self._second, ids, axis=0, out=codes[: len(ids)], mode='clip')
            blocks = np.pad(ids // self.shapes, (0, size - len(ids)))
            given = query_side + [numbers[blocks] for numbers in of_blocks] + [np.float32(product)]
            return np.asarray(second_bounds(self._kind, jax.device_put(codes, device), *given))[: len(ids)]

        return in_parts(some, _SIZES[-1], pieces)

    def _sides(self, queries: np.ndarray, level: _Level) -> '_Sides':
        queries = queries.astype(np.float64) - self._centre
        x = queries @ self._axes[:, : level.axes]
        beside = np.ones((len(queries), level.beside.shape[1]))
        beside[:, 0] = _left(queries, x)
        return _Sides(
            level,
            np.linalg.norm(queries, axis=1),
            x * self._steps[: level.axes],
            beside,
            np.linalg.norm(x, axis=1),
            self._radius,
            self._defect,
        )

    def _codes(self, number: int, device: jax.Device) -> jax.Array:
        if (number, device) not in self._placed:
            self._placed[number, device] = jax.device_put(self._first[number], device)
        return self._placed[number, device]

    def _sample(self, gallery: SearchGallery) -> np.ndarray:
        flat = gallery.rows.reshape(-1, gallery.width)
        sample = flat[:: max(1, len(flat) // (_WIDE_SAMPLE if gallery.width > _WIDEST else _SAMPLE))]
        return sample.astype(np.float64) - self._centre

    def _code(self, gallery: SearchGallery, number: int) -> None:
        """Codes a block; both steps have the same codes of the first axes."""
        start, count, few = number * self.shapes, self._axes.shape[1], self._levels[0].axes
        shapes, views = min(self.shapes, len(gallery) - start), gallery.views
        coordinates = np.empty((shapes, views, count), np.float32)
        extra = self._levels[0].beside.shape[1] // 2
        beside = np.empty((2, 1 + extra, shapes, views))  # what is left in both steps, and -|r|^2 / 2
        step = max(1, _CODED_ROWS // views)
        parts = [slice(first, min(first + step, shapes)) for first in range(0, shapes, step)]
        for part in parts:
            rows = np.asarray(gallery.rows[start + part.start : start + part.stop], np.float64) - self._centre
            rows = rows.reshape(-1, gallery.width)
            exact = rows @ self._axes
            coordinates[part] = exact.reshape(-1, views, count)
            left = _left(rows, exact[:, :few]), _left(rows, exact)
            beside[:, 0, part] = np.reshape(left, (2, -1, views))
            beside[:, 1:, part] = np.reshape(-np.sum(np.square(rows), axis=1) / 2, (-1, views))
        largest = max(float((np.abs(coordinates[part]) / self._steps).max()) for part in parts)
        scale = (largest or 1.0) * (1 + 1e-6) / _LARGEST
        second = self._second[start : start + shapes]
        lost = np.zeros(2)
        for part in parts:
            scaled = coordinates[part] / (scale * self._steps)
            second[part, :, :count] = codes = np.rint(scaled)
            squares = np.square((scaled - codes) * (scale * self._steps))
            lost = np.maximum(lost, [squares[..., :few].sum(axis=-1).max(), squares.sum(axis=-1).max()])
        first = self._first[number]
        first[:, :, shapes:] = 0
        first[:few, :, :shapes] = second[..., :few].transpose(2, 1, 0)
        for level, numbers, taken in zip(self._levels, beside, lost, strict=True):
            codes, level.beside[number] = _rounded_up(numbers)
            level.scale[number] = scale
            level.lost[number] = np.sqrt(taken) + 1e-7 * self._radius  # coordinates were rounded to float32 first
            if level is self._levels[0]:
                first[few:, :, :shapes] = codes.transpose(0, 2, 1)
            else:
                second[..., count:] = codes.transpose(1, 2, 0)


@dataclass(frozen=True, eq=False)
class _Sides:
    """What codes are multiplied with for queries [Q, D], and what bounds need more.

    Attributes:
      level: of the codes.
      length: [Q].
      axes: [Q, M], coordinates times the axes' steps.
      beside: [Q, 1 or 3].
      along: [Q], length of the coordinates.
      radius: longest row.
      defect: of the axes.
    """

    level: _Level
    length: np.ndarray
    axes: np.ndarray
    beside: np.ndarray
    along: np.ndarray
    radius: float
    defect: float

    def weights(self) -> np.ndarray:
        """Of all blocks, float32 [L, Q, W]."""
        scaled = self.axes * self.level.scale[:, None, None], self.beside * self.level.beside[:, None]
        return np.concatenate(scaled, axis=2).astype(np.float32)

    def slack(self) -> np.ndarray:
        """Of all blocks, float32 [L, Q]: for coordinates that were rounded, then for sums in float32, weights rounded
        to float32, and axes that are not orthonormal to the last digit.
        """
        level, width = self.level, self.axes.shape[1] + self.beside.shape[1]
        half_steps = np.abs(self.axes).sum(axis=1) / 2
        rounded = np.minimum(self.along * level.lost[:, None], half_steps * level.scale[:, None])
        radius = (self.radius + level.lost + level.beside.sum(axis=1))[:, None]
        product = (self.length + radius) ** 2 if self.beside.shape[1] > 1 else self.length * radius
        share = 2 * (width + 12) * UNIT + 4 * self.defect
        flushed = width * 2.0**-110 * (1 + self.length) * (1 + radius)
        return (1.0001 * rounded + share * product + flushed).astype(np.float32)


def _count(width: int, share: int, least: int, most: int) -> int:
    return min(width, max(least, width // share - 1), most)


def _left(x: np.ndarray, coordinates: np.ndarray) -> np.ndarray:
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


def _principal_axes(rows: np.ndarray) -> np.ndarray:
    """Orthonormal axes [D, M] of rows [N, D] in float64, the strongest first; M = D, or N where that is less."""
    if len(rows) >= rows.shape[1]:
        return np.linalg.eigh(rows.T @ rows)[1][:, ::-1]
    return np.linalg.qr(rows.T @ np.linalg.eigh(rows @ rows.T)[1][:, ::-1])[0]


def prepare(gallery: SearchGallery) -> GalleryBounds | None:
    """The gallery's bounds, computed at the first call: one pass over it, and a sixth of its memory more.

    None for a gallery of codes, which cost less to look at than bounds.
    """
    if gallery.bounds is None and not gallery.coded:
        gallery.bounds = GalleryBounds(gallery)
    return gallery.bounds
