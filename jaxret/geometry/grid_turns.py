"""Grids of cells turned about the vertical: +y is up. Letters: X, Y, Z cells a side, S = X = Z."""

import numpy as np


def turn_table(side: int, degrees: float, *, middle: float) -> np.ndarray:
    """For every cell of a turned x-z plane, the cell (x * side + z) that it takes its value from, the nearest one.

    The turn brings what was at azimuth a (0 on +z, 90 on +x) to a + degrees.

    Args:
      side: S.
      degrees: of the turn.
      middle: index along x and z, perhaps between two cells, about which it turns.

    Returns:
      int32 [S * S]; S * S where the place lies outside.
    """
    angle = np.radians(degrees)
    x, z = np.meshgrid(np.arange(side) - middle, np.arange(side) - middle, indexing='ij')
    before_x = np.cos(angle) * x - np.sin(angle) * z
    before_z = np.sin(angle) * x + np.cos(angle) * z
    # rounding first to 1e-6 cells keeps quarter turns exact
    column, row = (np.rint(np.round(place + middle, 6)).astype(np.int32) for place in (before_x, before_z))
    inside = (column >= 0) & (column < side) & (row >= 0) & (row < side)
    return np.where(inside, column * side + row, side * side).ravel()


def turned_grids(grids: np.ndarray, degrees: float, *, middle: float) -> np.ndarray:
    """Grids [..., S, Y, S] turned as `turn_table` says; what comes from outside is 0."""
    side, height = grids.shape[-1], grids.shape[-2]
    columns = np.moveaxis(grids, -2, -1).reshape(*grids.shape[:-3], side * side, height)
    columns = np.concatenate([columns, np.zeros_like(columns[..., :1, :])], axis=-2)
    turned = columns[..., turn_table(side, degrees, middle=middle), :]
    return np.moveaxis(turned.reshape(*grids.shape[:-3], side, side, height), -1, -2)
