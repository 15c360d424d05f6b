"""A mask of the object of a photo, without a trained network: GrabCut of OpenCV, where that is installed.

GrabCut (Rother, Kolmogorov and Blake, SIGGRAPH 2004) learns colours of object and background from a box around the
object and cuts between them. Without a box, one that leaves a small border of the photo is taken: it works for one
object that stands clear of the borders. Letters: H, W pixels.
"""

import importlib.util

import numpy as np
from PIL import Image

from jaxret.errors import refused

_BORDER = 0.03  # of each side: background, where no box is given
_SIDE = 400  # pixels of the longer side at which the cut is made
_ROUNDS = 5
_LEAST = 0.005  # share of the box that an object covers at least


def can_mask() -> bool:
    """Whether OpenCV is installed."""
    return importlib.util.find_spec('cv2') is not None


def auto_mask(photo: np.ndarray, *, box: tuple[float, float, float, float] | None = None) -> np.ndarray:
    """Object mask of a photo.

    Args:
      photo: uint8 [H, W, 3].
      box: (left, top, right, bottom) in pixels around the object; None for the photo less a small border.

    Returns:
      uint8 [H, W], 255 on the object; the box where the cut finds (nearly) nothing.

    Raises:
      DataError: OpenCV is not installed.
    """
    if not can_mask():
        raise refused(
            'mask auto', 'OpenCV is not installed', "pip install 'jaxret[mask]', or give a mask file, a box, or no mask"
        )
    import cv2

    height, width = photo.shape[:2]
    if box is None:
        box = (width * _BORDER, height * _BORDER, width * (1 - _BORDER), height * (1 - _BORDER))
    scale = min(1.0, _SIDE / max(height, width))
    size = max(4, round(width * scale)), max(4, round(height * scale))
    small = np.ascontiguousarray(np.asarray(Image.fromarray(photo).resize(size, Image.Resampling.BOX))[:, :, ::-1])
    across, down = size[0] / width, size[1] / height
    left, top = (int(np.clip(x, 0, most - 2)) for x, most in ((box[0] * across, size[0]), (box[1] * down, size[1])))
    right, bottom = max(round(box[2] * across), left + 2), max(round(box[3] * down), top + 2)
    labels = np.zeros(small.shape[:2], np.uint8)
    labels[top:bottom, left:right] = cv2.GC_PR_FGD
    inside = labels != cv2.GC_BGD
    if inside.all():  # nothing to learn the background from
        return np.full((height, width), 255, np.uint8)
    cv2.setRNGSeed(0)  # its colour clusters start at random
    cv2.grabCut(small, labels, None, np.zeros((1, 65)), np.zeros((1, 65)), _ROUNDS, cv2.GC_INIT_WITH_MASK)
    found = (labels == cv2.GC_FGD) | (labels == cv2.GC_PR_FGD)
    if found.sum() < _LEAST * inside.sum():
        found = inside
    mask = Image.fromarray(found.astype(np.uint8) * np.uint8(255)).resize((width, height), Image.Resampling.NEAREST)
    return np.asarray(mask)
