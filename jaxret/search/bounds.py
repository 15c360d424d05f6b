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

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from threading import Lock

import jax
import numpy as np

from jaxret.search.blocks import aligned_empty, power_of_two
from jaxret.search.bound_codes import BoundCodes, Level, left_of
from jaxret.search.bound_programs import first_bounds, in_digits, second_bounds
from jaxret.search.gallery import SearchGallery
from jaxret.search.similarity import UNIT
from jaxret.search.threads import in_parts, spread, threads

_PREPARING = Lock()
_SIZES = (256, 1024, 4096)  # shapes of which the second bounds are computed at a time


class GalleryBounds:
    """Codes of a gallery, and the bounds that they give; V = 1 where a shape is one row.

    Args:
      gallery: the gallery.
    """

    def __init__(self, gallery: SearchGallery):
        self._kind, self._centre, self._radius = gallery.similarity, gallery.centre, gallery.radius
        self._count, self._coded = len(gallery), BoundCodes(gallery)
        self._placed: dict = {}  # codes on devices; on a CPU they are not copied

    @property
    def block_rows(self) -> int:
        """Rows whose products with all queries are held at a time."""
        return self._coded.first[0, 0].size

    @property
    def nbytes(self) -> int:
        """Of the codes."""
        return self._coded.first.nbytes + self._coded.second.nbytes

    def upper(self, queries: np.ndarray, devices: Sequence[jax.Device]) -> list[np.ndarray]:
        """First bounds of all shapes, of each query: float32 [G].

        Args:
          queries: float32 [Q, D]; of unit length for 'cosine'.
          devices: to work on.
        """
        sides, blocks = self._sides(queries, self._coded.levels[0]), self._coded.blocks
        padding = [(0, 0), (0, power_of_two(len(queries)) - len(queries)), (0, 0)]
        weights = np.pad(sides.weights(), padding).astype(np.float32)
        slack = np.pad(sides.slack(), padding[:2]).astype(np.float32)
        # The program of one query uses all cores itself.
        count = min(blocks, len(devices) if len(queries) == 1 else max(len(devices), threads()))
        parts = [slice(*ends) for ends in itertools.pairwise(np.linspace(0, blocks, count + 1).astype(int))]

        def of_part(number: int) -> np.ndarray:
            part, device = parts[number], devices[number % len(devices)]
            return np.asarray(first_bounds(weights[part], slack[part], self._codes(part, device)))

        found = spread(of_part, range(count))

        def of_query(query: int) -> np.ndarray:
            rows = [bounds[:, query] for bounds in found]
            return (rows[0] if len(rows) == 1 else np.concatenate(rows)).reshape(-1)[: self._count]

        return spread(of_query, range(len(queries)))

    def second(
        self, query: np.ndarray, projected: np.ndarray | None, device: jax.Device
    ) -> Callable[[np.ndarray], np.ndarray]:
        """What gives the second bounds, float32 [N], of a query [1, D] and the shapes of any indices [N].

        Args:
          query, projected: as for `search`.
          device: to work on.
        """
        both = query if projected is None else np.concatenate([query, projected])
        level = self._coded.levels[1]
        sides = self._sides(both, level)
        product = sides.length[0] * (self._radius + level.lost.max() + level.beside[:, 0].max())
        largest = level.scale.max()  # no factor of a product may be so small that float32 has no place for it
        digits, step, off = in_digits(sides.axes * largest)
        slack = sides.slack() + off * (level.scale / largest)[:, None]
        given = [
            np.ascontiguousarray(np.moveaxis(digits, 2, 0)),
            *(
                numbers.astype(np.float32)
                for numbers in (step, sides.beside, level.scale / largest, level.beside, slack)
            ),
            np.float32(product),
        ]
        given = jax.device_put(given, device)

        def some(ids: np.ndarray) -> np.ndarray:
            size = next(size for size in _SIZES if size >= len(ids))
            codes, blocks = aligned_empty((size, *self._coded.second.shape[1:]), np.int8), np.zeros(size, np.int32)
            np.take(self._coded.second, ids, axis=0, out=codes[: len(ids)], mode='clip')
            np.floor_divide(ids, self._coded.shapes, out=blocks[: len(ids)], casting='unsafe')
            bounds = second_bounds(self._kind, *jax.device_put((codes, blocks), device), *given)
            return _numbers(np.array(bounds)[: len(ids)])

        return in_parts(some, _SIZES[-1])

    def _sides(self, queries: np.ndarray, level: Level) -> '_Sides':
        queries = queries.astype(np.float64) - self._centre
        x = queries @ self._coded.axes[:, : level.axes]
        beside = np.ones((len(queries), level.beside.shape[1]))
        beside[:, 0] = left_of(queries, x)
        return _Sides(
            level,
            np.linalg.norm(queries, axis=1),
            x * self._coded.steps[: level.axes],
            beside,
            np.linalg.norm(x, axis=1),
            self._radius,
            self._coded.defect,
        )

    def _codes(self, part: slice, device: jax.Device) -> jax.Array:
        key = (part.start, part.stop, device)
        if key not in self._placed:
            self._placed[key] = jax.device_put(self._coded.first[part], device)
        return self._placed[key]


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

    level: Level
    length: np.ndarray
    axes: np.ndarray
    beside: np.ndarray
    along: np.ndarray
    radius: float
    defect: float

    def weights(self) -> np.ndarray:
        """Of all blocks, [L, Q, W]."""
        scaled = self.axes * self.level.scale[:, None, None], self.beside * self.level.beside[:, None]
        return np.concatenate(scaled, axis=2)

    def slack(self) -> np.ndarray:
        """Of all blocks, [L, Q]: for coordinates that were rounded, then for sums in float32, weights rounded
        to float32, and axes that are not orthonormal to the last digit.
        """
        level, width = self.level, self.axes.shape[1] + self.beside.shape[1]
        half_steps = np.abs(self.axes).sum(axis=1) / 2
        rounded = np.minimum(self.along * level.lost[:, None], half_steps * level.scale[:, None])
        radius = (self.radius + level.lost + level.beside[:, 0])[:, None]
        product = self.length * radius
        if self.beside.shape[1] > 1:  # the other steps are of squared lengths
            product = (self.length + radius) ** 2 + level.beside[:, 1:].sum(axis=1)[:, None]
        share = 2 * (width + 12) * UNIT + 4 * self.defect
        flushed = width * 2.0**-100 * (1 + self.length) * (1 + radius)
        return 1.0001 * rounded + share * product + flushed


def _numbers(bounds: np.ndarray) -> np.ndarray:
    """Changes bounds that are no number to infinity, so that no comparison leaves a shape out for them."""
    bounds[np.isnan(bounds)] = np.inf
    return bounds


def prepare(gallery: SearchGallery) -> GalleryBounds | None:
    """The gallery's bounds, computed at the first call: one pass over it, and a sixth of its memory more.

    None for a gallery of codes, which cost less to look at than bounds.
    """
    with _PREPARING:  # threads that search at once wait for one another's
        if gallery.bounds is None and not gallery.coded:
            gallery.bounds = GalleryBounds(gallery)
    return gallery.bounds
