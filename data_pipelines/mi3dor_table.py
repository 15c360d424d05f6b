"""Photos of a split and shapes of a part as numpy tables. Letters: n photos, G shapes, V views, S size in pixels."""

import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image


@dataclass(frozen=True, eq=False)
class PhotoTable:
    """Labelled photos in the order of their names.

    Attributes:
      images_encoded: object [n], PNG bytes of colour [S, S] pictures.
      label: int32 [n], index into `categories`.
      names: of the photos.
      categories: names of all classes.
      size: S.
    """

    images_encoded: np.ndarray
    label: np.ndarray
    names: list[str]
    categories: tuple[str, ...]
    size: int

    def __len__(self) -> int:
        return len(self.names)

    def pictures(self, rows: Sequence[int]) -> np.ndarray:
        """Decoded pictures, uint8 [rows, S, S, 3]."""
        pictures = [_pixels(self.images_encoded[row]) for row in rows]
        return np.array(pictures, np.uint8).reshape(len(rows), self.size, self.size, 3)


@dataclass(frozen=True, eq=False)
class ShapeTable:
    """Shapes in an order that does not depend on their classes. It holds no labels: see `shape_labels`.

    Attributes:
      views_encoded: object [G, V], PNG bytes of [S, S] pictures, grey or in colour.
      names: of the shapes.
      size: S.
      channels: 1 or 3.
    """

    views_encoded: np.ndarray
    names: list[str]
    size: int
    channels: int

    def __len__(self) -> int:
        return len(self.names)

    def views(self, rows: Sequence[int], view_ids: Sequence[int]) -> np.ndarray:
        """Decoded pictures, uint8 [rows, views, S, S, channels]."""
        pictures = [[_pixels(self.views_encoded[row, view]) for view in view_ids] for row in rows]
        shape = (len(rows), len(view_ids), self.size, self.size, self.channels)
        return np.array(pictures, np.uint8).reshape(shape)


def _pixels(encoded: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(encoded)))
