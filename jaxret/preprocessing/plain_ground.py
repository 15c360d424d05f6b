"""The object of a picture whose ground is of one colour, such as a screenshot or a product photo. No JAX.

Letters: H, W pixels.
"""

import numpy as np
from scipy import ndimage

_EVEN = 6  # levels from its median that the border may be off
_BORDER = 0.98  # share of it that has to be as even
_GROUND = 12  # levels from there that are ground
_SHARES = (0.02, 0.95)  # of the picture that an object has


def plain_ground_mask(pixels: np.ndarray) -> np.ndarray | None:
    """What is not ground: pixels that no way along pixels of the border's colour leads to from the border.

    Args:
      pixels: uint8 [H, W, 3].

    Returns:
      uint8 [H, W], 255 on the object; None where the border is not of one colour, or too little or too much is left.
    """
    levels = pixels.astype(np.int16)
    border = np.concatenate([levels[0], levels[-1], levels[:, 0], levels[:, -1]])
    ground = np.median(border, axis=0)
    if np.mean(np.abs(border - ground).max(axis=1) <= _EVEN) < _BORDER:
        return None
    areas, _ = ndimage.label(np.abs(levels - ground).max(axis=2) <= _GROUND)
    outside = np.unique(np.concatenate([areas[0], areas[-1], areas[:, 0], areas[:, -1]]))
    mask = ndimage.binary_opening(~np.isin(areas, outside[outside > 0]), np.ones((3, 3)))
    low, high = _SHARES
    return np.where(mask, np.uint8(255), np.uint8(0)) if low < mask.mean() < high else None
