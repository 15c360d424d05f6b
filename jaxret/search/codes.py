"""Embeddings of views as codes of a product quantiser: a byte for every few numbers, looked up in place of multiplied.

Letters: N vectors, G gallery shapes, V views, D embedding, Q queries, M bytes of a code, C channels, W width of a
sub-vector, K centroids.

Source: Jégou, Douze, Schmid, Product quantization for nearest neighbor search, TPAMI 2011. The same channels of all
places of a map share their centroids, so that few vectors are enough to learn from.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxret.search.blocks import aligned_empty

CENTROIDS = 256  # K, what a byte tells apart
_WIDEST = 16  # numbers a byte
_LEARNED_FROM = 10_000  # sub-vectors
_PART_ELEMENTS = 2**24  # numbers encoded, and keys computed, at a time
Layout = Sequence[tuple[int, int]]  # of every part of an embedding places of a map and channels; (1, C) of a vector


@dataclass(frozen=True, eq=False)
class Codebook:
    """Centroids of the sub-vectors of every part of an embedding, the parts one after the other.

    Attributes:
      places: of every part, how many places of a map share its centroids.
      centroids: of every part float32 [C / W, K, W].
    """

    places: tuple[int, ...]
    centroids: tuple[np.ndarray, ...]

    @classmethod
    def learned(cls, vectors: np.ndarray, layout: Layout) -> 'Codebook':
        """By k-means of each sub-vector.

        Args:
          vectors: [N, D], at least one.
          layout: of D.
        """
        from sklearn.cluster import MiniBatchKMeans

        centroids, random = [], np.random.default_rng(0)
        for values in _split(vectors, layout):
            rows = values.reshape(-1, *values.shape[2:])
            chosen = random.choice(len(rows), min(len(rows), _LEARNED_FROM), replace=False)  # of all places alike
            rows = rows[np.sort(chosen)].astype(np.float32)
            found = np.zeros((rows.shape[1], CENTROIDS, rows.shape[2]), np.float32)
            for group, centres in enumerate(found):
                points = np.unique(rows[:, group], axis=0)
                if len(points) > CENTROIDS:
                    means = MiniBatchKMeans(
                        CENTROIDS, init='random', n_init=1, max_iter=10, batch_size=4096, random_state=0
                    )
                    points = means.fit(rows[:, group]).cluster_centers_
                centres[: len(points)], centres[len(points) :] = points, points[0]
            centroids.append(found)
        return cls(tuple(places for places, _ in layout), tuple(centroids))

    @property
    def layout(self) -> Layout:
        """Of D."""
        channels = [table.shape[0] * table.shape[2] for table in self.centroids]
        return list(zip(self.places, channels, strict=True))

    @property
    def width(self) -> int:
        """D."""
        return sum(places * channels for places, channels in self.layout)

    @property
    def bytes(self) -> int:
        """M."""
        return sum(places * len(table) for places, table in zip(self.places, self.centroids, strict=True))

    def encode(self, vectors: np.ndarray) -> np.ndarray:
        """The nearest centroids: uint8 [..., M] of [..., D]."""
        flat = vectors.reshape(-1, self.width)
        codes = np.empty((len(flat), self.bytes), np.uint8)
        step = max(1, _PART_ELEMENTS // (self.bytes * CENTROIDS))
        for start in range(0, len(flat), step):
            columns, rows = 0, slice(start, start + step)
            for values, table in zip(_split(flat[rows], self.layout), self.centroids, strict=True):
                nearest = (_products(values, table) - np.square(table).sum(axis=2) / 2).argmax(axis=3)
                count = nearest[0].size
                codes[rows, columns : columns + count] = nearest.reshape(-1, count)
                columns += count
        return codes.reshape(*vectors.shape[:-1], self.bytes)

    def decode(self, codes: np.ndarray) -> np.ndarray:
        """What codes [..., M] stand for: float32 [..., D]."""
        parts, columns = [], 0
        for places, table in zip(self.places, self.centroids, strict=True):
            count = places * len(table)
            part = codes[..., columns : columns + count].reshape(*codes.shape[:-1], places, len(table))
            parts.append(table[np.arange(len(table)), part].reshape(*codes.shape[:-1], -1))
            columns += count
        return np.concatenate(parts, axis=-1)

    def tables(self, queries: np.ndarray) -> np.ndarray:
        """Products of the sub-vectors of queries [Q, D] with all their centroids: float32 [Q, M, K]."""
        parts = [
            _products(values, table).reshape(len(queries), places * len(table), CENTROIDS)
            for places, values, table in zip(self.places, _split(queries, self.layout), self.centroids, strict=True)
        ]
        return np.concatenate(parts, axis=1)

    def squares(self) -> np.ndarray:
        """Squared lengths of the centroids, as a table [1, M, K] in place of a query's."""
        parts = [
            np.broadcast_to(np.square(table).sum(axis=2), (places, *table.shape[:2])).reshape(1, -1, CENTROIDS)
            for places, table in zip(self.places, self.centroids, strict=True)
        ]
        return np.concatenate(parts, axis=1)

    def flat(self) -> np.ndarray:
        """All centroids as one float32 vector; `of_flat` is the inverse."""
        return np.concatenate([table.ravel() for table in self.centroids])

    @classmethod
    def of_flat(cls, flat: np.ndarray, layout: Layout) -> 'Codebook':
        """Raises ValueError where the vector does not fit the layout."""
        tables, start = [], 0
        for _, channels in layout:
            width = _sub_width(channels)
            stop = start + channels * CENTROIDS
            tables.append(flat[start:stop].reshape(channels // width, CENTROIDS, width))
            start = stop
        if flat.shape != (start,):
            raise ValueError(f'{flat.shape} centroids, not {start}')
        return cls(tuple(places for places, _ in layout), tuple(tables))


class CodedViews:
    """Embeddings of a gallery's views by their codes: read like an array [G, V, D], of which only codes take memory.

    Args:
      codebook: of the codes.
      codes: uint8 [G, V, M].

    Attributes:
      shape: (G, V, D).
    """

    dtype, ndim = np.dtype(np.float32), 3

    def __init__(self, codebook: Codebook, codes: np.ndarray):
        self.codebook, self.shape = codebook, (*codes.shape[:2], codebook.width)
        # Byte after byte of all views: what is added up lies side by side.
        self._codes = aligned_empty((codes.shape[2], *codes.shape[:2]), np.uint8)
        self._codes[:] = np.moveaxis(codes, 2, 0)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, shapes: Any) -> np.ndarray:
        """Embeddings of some shapes, a slice, numbers or one: float32 [..., V, D]."""
        return self.codebook.decode(np.moveaxis(self._codes[:, shapes], 0, -1))

    @cached_property
    def longest(self) -> float:
        """At least the length of the longest view, but for rounding; 0 without views."""
        return 1.001 * float(np.sqrt(self._sums(self.codebook.squares()).max(initial=0.0)))

    def products(self, queries: np.ndarray) -> np.ndarray:
        """Of queries [Q, D] with all views, float32 [Q, G, V]; sums of D products in float32."""
        return self._sums(self.codebook.tables(queries))

    def _sums(self, tables: np.ndarray) -> np.ndarray:
        codes = self._resident.reshape(len(self._codes), -1)
        sums = np.empty((len(tables), codes.shape[1]), np.float32)
        for query, table in enumerate(tables):
            sums[query] = _sums(table, codes)
        return sums.reshape(len(tables), *self.shape[:2])

    @cached_property
    def _resident(self) -> jax.Array:
        return jax.device_put(self._codes)


@jax.jit
def _sums(table: jax.Array, codes: jax.Array) -> jax.Array:
    """Entries of a table [M, K] that codes [M, N] name, added up: [N]."""

    def add(total: jax.Array, column: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, None]:
        entries, places = column
        return total + jnp.take(entries, places.astype(jnp.int32), mode='clip'), None

    return jax.lax.scan(add, jnp.zeros(codes.shape[1], jnp.float32), (table, codes))[0]


def _split(vectors: np.ndarray, layout: Layout) -> list[np.ndarray]:
    """Sub-vectors of every part of vectors [N, D]: [N, places, C / W, W]."""
    starts = np.cumsum([0, *(places * channels for places, channels in layout)])
    pieces = []
    for start, (places, channels) in zip(starts, layout, strict=False):
        width = _sub_width(channels)
        part = vectors[:, start : start + places * channels]
        pieces.append(part.reshape(len(vectors), places, channels // width, width))
    return pieces


def _products(values: np.ndarray, table: np.ndarray) -> np.ndarray:
    """Of sub-vectors [N, places, C / W, W] with centroids [C / W, K, W]: float32 [N, places, C / W, K]."""
    flat = values.reshape(-1, *values.shape[2:]).astype(np.float32)
    products = np.matmul(flat.transpose(1, 0, 2), table.transpose(0, 2, 1))  # a matrix product each
    return products.transpose(1, 0, 2).reshape(*values.shape[:3], table.shape[1])


def _sub_width(channels: int) -> int:
    """W: the largest divisor that is not too wide."""
    return next(width for width in range(min(_WIDEST, channels), 0, -1) if channels % width == 0)
