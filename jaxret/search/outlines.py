"""How well the silhouettes of shapes, seen from many sides, cover that of a photo's object. No JAX.

The score of a shape is the intersection over union of the object's silhouette and the shape's that fits best.

Letters: G shapes, V views, B bytes of a silhouette, N photos of one object, S shapes that are looked at.
"""

import numpy as np

from jaxret.errors import refused

_BLOCK_BYTES = 2**26


class Outlines:
    """Silhouettes of a gallery.

    Args:
      bits: uint8 [G, V, B], a bit a cell; B a multiple of 8.

    Raises:
      DataError: another shape or type.
    """

    def __init__(self, bits: np.ndarray):
        if bits.dtype != np.uint8 or bits.ndim != 3 or bits.shape[2] % 8:
            raise refused('outlines of the index', f'{bits.dtype} {list(bits.shape)}', 'run `jaxret index --rebuild`')
        self._words = np.ascontiguousarray(bits).view(np.uint64)
        self._areas = np.bitwise_count(self._words).sum(axis=2, dtype=np.int32)

    def scores(self, photos: np.ndarray, ids: np.ndarray) -> np.ndarray:
        """Mean over photos of the best intersection over union.

        Args:
          photos: uint8 [N, B]; those without a silhouette do not count.
          ids: int [S], which shapes.

        Returns:
          float64 [S], 0 where no photo has a silhouette.
        """
        total, known = np.zeros(len(ids)), [photo for photo in photos if photo.any()]
        step = max(1, _BLOCK_BYTES // self._words[0].nbytes)
        for photo in known:
            for start in range(0, len(ids), step):
                part = slice(start, start + step)
                total[part] += self.overlaps(photo, ids[part]).max(axis=1)
        return total / max(len(known), 1)

    def overlaps(self, photo: np.ndarray, ids: np.ndarray) -> np.ndarray:
        """Intersection over union of a silhouette uint8 [B] that is not empty, and shapes from all sides: [S, V]."""
        words = np.ascontiguousarray(photo).view(np.uint64)
        common = np.bitwise_count(self._words[ids] & words).sum(axis=2, dtype=np.int32)
        return common / (self._areas[ids] + int(np.bitwise_count(words).sum()) - common)
