"""Upper bounds on scores from codes of a thirty-second of the embeddings' memory: what pruned search looks at first.

Letters: Q queries, G gallery shapes, N shapes of a block, V views, D embedding, M principal axes, W numbers of a code.

A row r of the gallery (a view, or a shape) is kept as its coordinates y on M principal axes P [D, M] of the gallery,
rounded to a byte each, and as the length of what the axes leave, rounded up to one: y = s c + d with steps s and codes
c. For a query q with coordinates x, Cauchy and Schwarz give

    q . r  =  x . y + (q - P x) . (r - P y)  <=  (x s) . c + |q - P x| |r - P y| + min(|x| |d|, sum |x| s / 2),

one dot product of W = M + 1 bytes and a constant a block, as steps and the largest |d| are those of a block. A shape's
score is at most the largest bound of its views: an attention score is a weighted mean of the q . r_v, that of the best
views a mean of two. For 'euclidean' the key q' . g' - |g'|^2 / 2 (see `similarity.fast_keys`) is bounded by two bytes
more, which hold the last term, rounded up.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce

import jax
import jax.numpy as jnp
import numpy as np

from jaxret.search.blocks import aligned_empty, power_of_two
from jaxret.search.gallery import SearchGallery
from jaxret.search.threads import spread

_SAMPLE = 50_000  # rows that the axes are found from; any orthonormal axes give valid bounds
_WIDEST, _WIDE_SAMPLE = 1024, 1024  # of wider rows fewer are looked at
_SHARE, _LEAST_AXES, _MOST_AXES = 8, 7, 63  # axes: D / 8, less the length that is kept beside them
_BLOCK_ROWS = 200_000  # of codes: their products stay in a core's cache
_LANES = 64  # a block's shapes are an odd multiple: so the codes of an axis do not all fall into the same cache lines
_CODED_ROWS = 20_000  # at a time
_LARGEST, _LARGEST_TWO = 127, 127 * 256  # codes of one byte and of two
_HALF_UNIT = 2.0**-24  # of float32


@dataclass(frozen=True, eq=False)
class _Block:
    """Codes of N shapes.

    Attributes:
      codes: int8 [W, V, N].
      steps: float64 [W], what a code of 1 stands for.
      lost: largest length of what rounding took of a row's coordinates.
    """

    codes: np.ndarray
    steps: np.ndarray
    lost: float


class GalleryBounds:
    """Codes of a gallery, and the bounds that they give; V = 1 where a shape is one row.

    Args:
      gallery: the gallery.
      axes: M; None takes an eighth of D.

    Attributes:
      shapes: N; the last block is filled up with zeros.
      blocks: how many there are.
      nbytes: of the codes.
    """

    def __init__(self, gallery: SearchGallery, axes: int | None = None):
        self._squares = gallery.similarity == 'euclidean'
        self._centre, self._radius = gallery.centre, gallery.radius
        count = axes or min(gallery.width, max(_LEAST_AXES, gallery.width // _SHARE - 1), _MOST_AXES)
        # Not centred further: what is bounded is the part of r that the axes leave.
        self._axes = np.ascontiguousarray(_principal_axes(self._sample(gallery))[:, :count])
        self._defect = float(np.linalg.norm(self._axes.T @ self._axes - np.eye(self._axes.shape[1]), 2))
        most = min(len(gallery), max(1, _BLOCK_ROWS // gallery.views))
        self.shapes = (-(-most // _LANES) | 1) * _LANES
        starts = range(0, len(gallery), self.shapes)
        self._blocks = spread(lambda start: self._coded(gallery, start), starts)
        self._placed: dict = {}  # codes on devices; on a CPU they are not copied

    @property
    def blocks(self) -> int:
        return len(self._blocks)

    @property
    def nbytes(self) -> int:
        return sum(block.codes.nbytes for block in self._blocks)

    def upper(self, queries: np.ndarray, numbers: Sequence[int], devices: Sequence[jax.Device]) -> np.ndarray:
        """Bounds of all shapes of these blocks: float32 [Q, blocks, N]; those past the gallery's end mean nothing.

        Args:
          queries: float32 [Q, D]; of unit length for 'cosine'.
          numbers: of the blocks.
          devices: to work on.
        """
        sides, slack = self._sides(queries)
        padding = [(0, power_of_two(len(queries)) - len(queries)), (0, 0)]
        upper = np.empty((len(queries), len(numbers), self.shapes), np.float32)

        def bound(place: int) -> None:
            number = numbers[place]
            device = devices[number % len(devices)]
            weights = np.pad((sides * self._blocks[number].steps).astype(np.float32), padding)
            products = _one_bounds if len(queries) == 1 else _bounds
            found = products(jax.device_put(weights, device), self._codes(number, device))
            np.add(np.asarray(found)[: len(queries)], slack(number)[:, None], out=upper[:, place])

        spread(bound, range(len(numbers)))
        return upper

    def _codes(self, number: int, device: jax.Device) -> jax.Array:
        if (number, device) not in self._placed:
            self._placed[number, device] = jax.device_put(self._blocks[number].codes, device)
        return self._placed[number, device]

    def _sides(self, queries: np.ndarray):
        """What the steps of a block are multiplied with [Q, W], and what its bounds need more [Q], float32."""
        queries = queries.astype(np.float64) - self._centre
        x, length = queries @ self._axes, np.linalg.norm(queries, axis=1)
        sides = np.concatenate([x, self._left(queries, x)[:, None], np.ones((len(x), 2 * self._squares))], axis=1)
        along, width = np.linalg.norm(x, axis=1), sides.shape[1]

        def slack(number: int) -> np.ndarray:
            """For coordinates that were rounded, then sums in float32, weights rounded to float32, and axes that are not
            orthonormal to the last digit.
            """
            steps, lost = self._blocks[number].steps, self._blocks[number].lost
            rounded = np.minimum(along * lost, np.abs(x) @ steps[: x.shape[1]] / 2)
            radius = self._radius + lost + steps[x.shape[1] :].sum()
            product = (length + radius) ** 2 if self._squares else length * radius
            share = 4 * (width + 12) * _HALF_UNIT + 4 * self._defect
            return (1.000001 * rounded + share * product + width * 2.0**-110 * (1 + length) * (1 + radius)).astype(
                np.float32
            )

        return sides, slack

    @staticmethod
    def _left(x: np.ndarray, coordinates: np.ndarray) -> np.ndarray:
        """Lengths of what the axes leave of rows [..., D].

        The difference cancels where little is left: 1e-6 is more than rounding and the axes' defect can hide.
        """
        squared = np.sum(np.square(x), axis=-1)
        return np.sqrt(np.maximum(squared - np.sum(np.square(coordinates), axis=-1), 0) + 1e-6 * squared)

    def _sample(self, gallery: SearchGallery) -> np.ndarray:
        flat = gallery.rows.reshape(-1, gallery.width)
        sample = flat[:: max(1, len(flat) // (_WIDE_SAMPLE if gallery.width > _WIDEST else _SAMPLE))]
        return sample.astype(np.float64) - self._centre

    def _coded(self, gallery: SearchGallery, start: int) -> _Block:
        """The block of the shapes from here on."""
        shapes = min(self.shapes, len(gallery) - start)
        count, views = self._axes.shape[1], gallery.views
        numbers = np.zeros((count + 1 + self._squares, shapes, views))  # coordinates, what is left, -|r|^2 / 2
        step = max(1, _CODED_ROWS // views)
        for first in range(0, shapes, step):
            part = slice(first, min(first + step, shapes))
            rows = np.asarray(gallery.rows[start + part.start : start + part.stop], np.float64) - self._centre
            rows = rows.reshape(-1, gallery.width)
            coordinates = rows @ self._axes
            columns = [*coordinates.T, self._left(rows, coordinates)]
            columns += [-np.sum(np.square(rows), axis=1) / 2] * self._squares
            numbers[:, part] = np.reshape(columns, (len(columns), -1, views))
        largest = np.abs(numbers).max(axis=(1, 2))
        steps = np.where(largest > 0, largest, 1.0) * (1 + 1e-12) / _LARGEST
        steps[count + 1 :] *= _LARGEST / _LARGEST_TWO
        scaled = numbers / steps[:, None, None]
        scaled[:count] = np.rint(scaled[:count])
        scaled[count:] = np.ceil(scaled[count:])
        lost = np.sqrt(np.square(numbers[:count] - scaled[:count] * steps[:count, None, None]).sum(axis=0).max())
        if self._squares:  # two bytes: 256 high + low
            high = np.floor((scaled[-1:] + 128) / 256)
            scaled = np.concatenate([scaled[:-1], high, scaled[-1:] - 256 * high])
            steps = np.concatenate([steps[:-1], 256 * steps[-1:], steps[-1:]])
        codes = aligned_empty((len(scaled), views, self.shapes), np.int8)
        codes[:, :, :shapes], codes[:, :, shapes:] = np.swapaxes(scaled, 1, 2), 0
        return _Block(codes, steps, float(lost))


def _principal_axes(rows: np.ndarray) -> np.ndarray:
    """Orthonormal axes [D, M] of rows [N, D] in float64, the strongest first; M = D, or N where that is less."""
    if len(rows) >= rows.shape[1]:
        return np.linalg.eigh(rows.T @ rows)[1][:, ::-1]
    return np.linalg.qr(rows.T @ np.linalg.eigh(rows @ rows.T)[1][:, ::-1])[0]


def prepare(gallery: SearchGallery) -> GalleryBounds | None:
    """The gallery's bounds, computed at the first call: one pass over it, and a thirty-second of its memory more.

    None for a gallery of codes, which cost less to look at than bounds.
    """
    if gallery.bounds is None and not gallery.coded:
        gallery.bounds = GalleryBounds(gallery)
    return gallery.bounds


@jax.jit
def _one_bounds(weights: jax.Array, codes: jax.Array) -> jax.Array:
    """As `_bounds`, of one query: a sum of products that the compiler makes one loop over all rows."""
    terms = [axis.reshape(-1).astype(jnp.float32) * weight for axis, weight in zip(codes, weights[0], strict=True)]
    return _largest(sum(terms[1:], terms[0]).reshape(1, *codes.shape[1:]))


@jax.jit
def _bounds(weights: jax.Array, codes: jax.Array) -> jax.Array:
    """Largest products [Q, N] of weights [Q, W] and codes [W, V, N] over the views."""
    rows = codes.reshape(len(codes), -1).astype(jnp.float32)
    products = jnp.matmul(weights, rows, precision=jax.lax.Precision.HIGHEST)
    return _largest(products.reshape(len(weights), *codes.shape[1:]))


def _largest(products: jax.Array) -> jax.Array:
    """[Q, V, N] -> [Q, N]. Maxima of whole rows, as a reduction over the views is slow on CPUs."""
    return reduce(jnp.maximum, jnp.moveaxis(jax.lax.optimization_barrier(products), 1, 0))
