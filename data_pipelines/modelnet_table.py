"""Objects of one split as numpy tables.

Letters: n objects, V views, S size in pixels, N points, M faces.
"""

import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image


@dataclass(frozen=True, eq=False)
class ObjectTable:
    """Objects in the order of their names. Views stay encoded: 180 views of ModelNet40 would be over 100 GB of pixels.

    Attributes:
      views_encoded: object [n, V], PNG bytes of grey [S, S] pictures.
      points: float32 [n, N, 3].
      faces: float32 [n, M, 15]: centre, corners relative to it, unit normal.
      neighbors: int32 [n, M, 3], rows of `faces`.
      label: int32 [n], index into `categories`.
      names: of the objects.
      categories: names of all classes.
      size: S.
    """

    views_encoded: np.ndarray
    points: np.ndarray
    faces: np.ndarray
    neighbors: np.ndarray
    label: np.ndarray
    names: list[str]
    categories: tuple[str, ...]
    size: int

    def __len__(self) -> int:
        return len(self.names)

    def views(self, rows: Sequence[int], view_ids: Sequence[int]) -> np.ndarray:
        """Decoded pictures, uint8 [rows, views, S, S, 1]."""
        pictures = [
            [np.asarray(Image.open(io.BytesIO(self.views_encoded[row, view]))) for view in view_ids] for row in rows
        ]
        return np.array(pictures, np.uint8).reshape(len(rows), len(view_ids), self.size, self.size, 1)
