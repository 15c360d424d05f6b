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

    def scores(self, photos: np.ndarray, ids: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Mean over photos of the best intersection over union.

        Args:
          photos: uint8 [N, B]; those without a silhouette do not count.
          ids: int [S], which shapes.

        Returns:
          float64 [S], 0 where no photo has a silhouette; and int64 [S], the view that fits that of the first with
          one, or -1.
        """
        total, views = np.zeros(len(ids)), np.full(len(ids), -1)
        known = [photo for photo in np.ascontiguousarray(photos).view(np.uint64) if photo.any()]
        for number, photo in enumerate(known):
            area = int(np.bitwise_count(photo).sum())
            step = max(1, _BLOCK_BYTES // self._words[0].nbytes)
            for start in range(0, len(ids), step):
                part = slice(start, start + step)
                common = np.bitwise_count(self._words[ids[part]] & photo).sum(axis=2, dtype=np.int32)
                overlap = common / (self._areas[ids[part]] + area - common)
                total[part] += overlap.max(axis=1)
                if number == 0:
                    views[part] = overlap.argmax(axis=1)
        return total / max(len(known), 1), views
