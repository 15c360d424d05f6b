"""Upper bounds on scores that cost a quarter of the scores: what pruned search looks at first.

Letters: Q queries, G gallery shapes, V views, D embedding, M principal axes.

Every row r of the gallery is kept as its coordinates on the M principal axes P [D, M] of the gallery and the length of
what is left: r = P r^ + e. For a query split alike, Cauchy and Schwarz give

    q . r <= q^ . r^ + |e_q| |e_r|,

one dot product of M + 1 numbers. A shape's score is at most the largest bound of its views: an attention score is a
weighted mean of the q . r_v, that of the best views a mean of two. For 'euclidean' the key q' . g' - |g'|^2 / 2 (see
`similarity.fast_keys`) is bounded by one number more.
"""

import jax
import jax.numpy as jnp
import numpy as np

from jaxret.search.blocks import aligned_empty
from jaxret.search.gallery import SearchGallery, parts

_SAMPLE = 50_000  # rows that the axes are found from; any orthonormal axes give valid bounds
_WIDEST, _WIDE_SAMPLE, _WIDE_AXES = 1024, 1024, 256  # of wider rows fewer are looked at, and fewer axes taken
_HALF_UNIT = 2.0**-24  # of float32


class GalleryBounds:
    """Short rows of a gallery; V = 1 where a shape is one row.

    Args:
      gallery: the gallery.
      axes: M; None takes a quarter of D, at most 256 where D is above 1,024.

    Attributes:
      rows: float32 [G, V, M + 1], one more for 'euclidean'.
      resident: blocks of rows that stay on accelerators from one search to the next.
    """

    def __init__(self, gallery: SearchGallery, axes: int | None = None):
        self.resident: dict = {}
        wide = gallery.width > _WIDEST
        count = axes or min(max(1, gallery.width // 4), _WIDE_AXES if wide else gallery.width)
        self._squares = gallery.similarity == 'euclidean'
        self._centre, self._radius = gallery.centre, gallery.radius
        flat = gallery.rows.reshape(-1, gallery.width)
        sample = flat[:: max(1, len(flat) // (_WIDE_SAMPLE if wide else _SAMPLE))].astype(np.float64) - self._centre
        # Not centred further: what is bounded is the part of r that the axes leave.
        self._axes = np.ascontiguousarray(_principal_axes(sample)[:, :count])
        self._defect = float(np.linalg.norm(self._axes.T @ self._axes - np.eye(self._axes.shape[1]), 2))
        width = self._axes.shape[1] + 1 + self._squares
        self.rows = aligned_empty((len(gallery), gallery.views, width), np.float32)
        for part in parts(gallery.rows):
            rows = np.asarray(gallery.rows[part], np.float64).reshape(-1, gallery.width) - self._centre
            self.rows[part] = self._short(rows, -np.square(rows).sum(axis=1) / 2).reshape(-1, gallery.views, width)

    def queries(self, queries: np.ndarray) -> np.ndarray:
        """Short queries float32 [Q, M + 1 (+ 1)], whose products with `rows` are the bounds, up to `slack`."""
        return self._short(queries.astype(np.float64) - self._centre, np.ones(len(queries)))

    def slack(self, queries: np.ndarray) -> np.ndarray:
        """What must be added to bounds computed in float32 to make them hold, [Q].

        Three causes: the sum of the products in float32, coordinates rounded to float32, and axes that are not
        orthonormal to the last digit.
        """
        length = np.linalg.norm(queries.astype(np.float64) - self._centre, axis=1)
        product = (length + self._radius) ** 2 if self._squares else length * self._radius
        share = 4 * (self.rows.shape[-1] + 8) * _HALF_UNIT + 4 * self._defect
        return share * product + self.rows.shape[-1] * 2.0**-120 * (1 + length) * (1 + self._radius)

    def _short(self, x: np.ndarray, last: np.ndarray) -> np.ndarray:
        coordinates = (x @ self._axes).astype(np.float32)
        squared = np.sum(np.square(x), axis=1)
        # The difference cancels where little is left: 1e-6 is more than rounding and the axes' defect can hide.
        left = np.sqrt(
            np.maximum(squared - np.sum(np.square(coordinates, dtype=np.float64), axis=1), 0) + 1e-6 * squared
        )
        columns = [coordinates, left[:, None]] + [last[:, None]] * self._squares
        return np.concatenate(columns, axis=1).astype(np.float32)


def _principal_axes(rows: np.ndarray) -> np.ndarray:
    """Orthonormal axes [D, M] of rows [N, D] in float64, the strongest first; M = D, or N where that is less."""
    if len(rows) >= rows.shape[1]:
        return np.linalg.eigh(rows.T @ rows)[1][:, ::-1]
    return np.linalg.qr(rows.T @ np.linalg.eigh(rows @ rows.T)[1][:, ::-1])[0]


def prepare(gallery: SearchGallery) -> GalleryBounds | None:
    """The gallery's bounds, computed at the first call: one pass over it, and a quarter of its memory more.

    None for a gallery of codes, which cost less to look at than bounds.
    """
    if gallery.bounds is None and not gallery.coded:
        gallery.bounds = GalleryBounds(gallery)
    return gallery.bounds


def upper_bounds(queries: jax.Array, rows: jax.Array) -> jax.Array:
    """Bounds [Q, N] of short queries [Q, W] and short rows [N, V, W], less their slack."""
    products = jnp.einsum('qw,nw->qn', queries, rows.reshape(-1, rows.shape[-1]), precision=jax.lax.Precision.HIGHEST)
    return jnp.max(products.reshape(len(queries), *rows.shape[:2]), axis=-1)
