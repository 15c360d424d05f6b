"""Silhouettes of objects as few cells, of photos with a mask and of models from many sides. No JAX.

Letters: N masks, S their side in pixels, V views.
"""

import numpy as np

from jaxret.geometry.mesh import Mesh
from jaxret.geometry.render import render_views
from jaxret.geometry.view_ring import ViewRing
from jaxret.preprocessing.inputs import OUTLINE_CELLS as CELLS


def outline_cells(masks: np.ndarray) -> np.ndarray:
    """Silhouettes, cut to their boxes, which keep their aspect ratio, and resampled bilinearly.

    Args:
      masks: bool [N, S, S].

    Returns:
      bool [N, CELLS, CELLS]; nowhere true for a mask without an object.
    """
    rows, columns = masks.any(axis=2), masks.any(axis=1)
    (top, bottom), (left, right) = _extent(rows), _extent(columns)
    side = np.maximum(np.maximum(bottom - top, right - left), 1)
    across = (np.arange(CELLS) + 0.5) / CELLS - 0.5
    places = [
        ((low + high) / 2)[:, None] + across * side[:, None] - 0.5 for low, high in ((top, bottom), (left, right))
    ]
    cells = masks.astype(np.float32)
    for place in places:  # rows, then columns
        cells = _interpolated(cells, place).swapaxes(1, 2)
    return cells > 0.5


def mesh_outlines(mesh: Mesh, ring: ViewRing) -> np.ndarray:
    """Silhouettes of a mesh from the cameras of a ring, packed: uint8 [V, CELLS * CELLS / 8]."""
    return packed(outline_cells(render_views(mesh, ring) != ring.background))


def packed(cells: np.ndarray) -> np.ndarray:
    """Cells [..., CELLS, CELLS] that are not 0, as bits: uint8 [..., CELLS * CELLS / 8]."""
    return np.packbits(cells.reshape(*cells.shape[:-2], -1) != 0, axis=-1)


def _extent(seen: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """First place of bool [N, S] that is true, and the one after the last."""
    return seen.argmax(axis=1), seen.shape[1] - seen[:, ::-1].argmax(axis=1)


def _interpolated(values: np.ndarray, places: np.ndarray) -> np.ndarray:
    """Values [N, S, ...] linearly at places [N, P] of the second axis, 0 beyond it: [N, P, ...]."""
    below = np.floor(places).astype(np.int64)
    share = (places - below).astype(np.float32)[..., None]
    padded = np.pad(values, [(0, 0), (1, 1), (0, 0)])
    last = padded.shape[1] - 1
    items = np.arange(len(values))[:, None]
    low, high = (padded[items, np.clip(below + offset, 0, last)] for offset in (1, 2))
    return low * (1 - share) + high * share
