"""Which pixels of a mask are the object, from the values that it stores. Letters: H, W pixels.

A mask says what it means in one of two ways, in 8 or 16 bits:
  - two values, of which one is 0: the other is the object, whichever it is (1, 255, a class or instance number);
  - black and white with greys between, as antialiasing, resizing and JPEG leave them: at least half is the object.
Anything else could mean several things (class numbers, an unknown border of 255, the three values of a trimap, several
colours) and is refused.
"""

import numpy as np

from jaxret.errors import DataError, refused

_PART = 1 << 20  # pixels counted at once
_LISTED = 6  # values named in a message
_GREYS = 4  # values that noise leaves at least between black and the two highest, which may mark a border
_ACTION = 'give a mask that is black (0) on the background and one value, as white, on the object'


def object_pixels(values: np.ndarray, *, where: str) -> np.ndarray:
    """Pixels of the object.

    Args:
      values: bool, integers in 0 .. 65535, or floats in 0 .. 1: [H, W].
      where: names the mask in messages.

    Returns:
      uint8 [H, W], 255 on the object and 0 elsewhere; nowhere 255 where all values are 0.

    Raises:
      DataError: values outside of these ranges, or of unclear meaning, with the values and their counts.
    """
    values = _whole_numbers(values, where)
    counts = _counts(values)
    levels = np.flatnonzero(counts)
    full = 255 if levels[-1] <= 255 else 65535
    if len(levels) == 1:
        clear, least = levels[0] in (0, 1, full), 1
    elif len(levels) == 2:
        clear, least = levels[0] == 0, 1
    else:
        clear, least = _is_black_and_white(values, counts, full), (full + 1) // 2
    if not clear:
        raise _unclear(counts, where)
    mask = np.where(values >= least, np.uint8(255), np.uint8(0))
    edge = (mask[0], mask[-1], mask[:, 0], mask[:, -1])
    if all(side.all() for side in edge) and np.count_nonzero(mask == 0) > mask.size // 10:
        found = 'the whole border of the picture is object and its middle is not: the mask looks inverted'
        raise refused(where, found, _ACTION)
    return mask


def check_colors(colors: np.ndarray, mask: np.ndarray, *, where: str) -> None:
    """Refuses a mask whose object has several colours, as a picture of classes or instances has.

    Args:
      colors: uint8 [H, W, 3].
      mask: its `object_pixels`.
      where: names the mask in messages.

    Raises:
      DataError: more than a twentieth of the object is of another colour than its middle one.
    """
    if (colors == colors[:, :, :1]).all() or not mask.any():
        return
    inside = colors[mask > 0]
    middle = np.median(inside, axis=0).astype(np.int16)
    others = np.zeros(len(inside), bool)
    for channel in range(3):
        others |= np.abs(inside[:, channel] - middle[channel]) > 64
    if np.count_nonzero(others) > len(inside) // 20:
        red, green, blue = middle
        found = (
            f'several colours: {np.count_nonzero(others):,} of {len(inside):,} pixels are not ({red}, {green}, {blue})'
        )
        raise refused(where, found, _ACTION)


def _whole_numbers(values: np.ndarray, where: str) -> np.ndarray:
    if values.dtype == bool:
        return values.astype(np.uint8)
    if values.size and values.dtype.kind in 'uif':
        low, high = values.min(), values.max()
        if values.dtype.kind == 'f' and low >= 0 and high <= 1:
            return np.rint(values * 255).astype(np.uint8)
        if values.dtype.kind in 'ui' and low >= 0 and high <= 65535:
            return values.astype(np.uint8 if high <= 255 else np.uint16)
    raise refused(where, f'a mask of type {values.dtype}', 'give bool, integers in 0 .. 65535, or floats in 0 .. 1')


def _counts(values: np.ndarray) -> np.ndarray:
    """Pixels of every value."""
    flat = values.reshape(-1)
    counts = np.zeros(int(flat.max(initial=0)) + 1, np.int64)
    for first in range(0, flat.size, _PART):
        counts += np.bincount(flat[first : first + _PART], minlength=len(counts))
    return counts


def _is_black_and_white(values: np.ndarray, counts: np.ndarray, full: int) -> bool:
    """Whether three values or more are black, white and the greys of a border or of noise.

    There are not more than twice as many grey pixels as white ones, and no grey fills areas, as the number of a class
    does. Several blacks or whites may do so where there are greys between, as in JPEG and WebP files.
    """
    white, black = full - full // 8, full // 8
    bright, grey = counts[white:].sum(), counts[black + 1 : white].sum()
    if np.count_nonzero(counts) < 4 or not bright or grey > 2 * bright:
        return False
    inner = values[1:-1, 1:-1]
    flat = np.ones(inner.shape, bool)  # as its four neighbours
    for neighbor in (values[:-2, 1:-1], values[2:, 1:-1], values[1:-1, :-2], values[1:-1, 2:]):
        flat &= inner == neighbor
    areas = _counts(inner[flat])
    filled = np.zeros(len(counts), bool)
    filled[: len(areas)] = areas > np.maximum(0.3 * counts[: len(areas)], max(16.0, 0.02 * bright))
    if np.count_nonzero(counts[black + 1 : full - 1]) >= _GREYS:
        return not filled[black + 1 : white].any()
    filled[np.argmax(counts[: black + 1])] = filled[white + np.argmax(counts[white:])] = False
    return not filled.any()


def _unclear(counts: np.ndarray, where: str) -> DataError:
    levels = np.flatnonzero(counts)
    most = np.sort(levels[np.argsort(-counts[levels], kind='stable')[:_LISTED]])
    listed = ', '.join(f'{level} ({counts[level]:,} pixels)' for level in most)
    more = f' and {len(levels) - len(most):,} other values' if len(levels) > len(most) else ''
    return refused(where, f'a mask of unclear meaning: values {listed}{more}', _ACTION)
