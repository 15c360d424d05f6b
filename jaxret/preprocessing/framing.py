"""Photos and masks, cropped to the object, as squares. Letters: H, W pixels; S side of the square."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from jaxret.errors import DataError, refused
from jaxret.preprocessing.photo_files import Box, png_file, read_pair

FITS = ('cover', 'stretch', 'pad')  # of `square_picture`


def frame_photo(
    photo: np.ndarray,
    mask: np.ndarray,
    *,
    size: int,
    crop: str = 'none',
    margin: float = 0.0,
    fit: str = 'pad',
    fill: int = 255,
    bbox: Box | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Crop photo and mask to the object and resample both, together, to a square.

    Args:
      photo: uint8 [H, W, 3].
      mask: uint8 [H, W].
      size: side S of the result.
      crop: 'none', 'mask' (bounding box of the mask's object pixels) or 'bbox' (the box given).
      margin: added on each side of the box, as a share of the box's longer side; cut at the photo's border.
      fit: 'pad' keeps the aspect ratio and fills the rest (mask: 0), 'stretch' does not keep it.
      fill: grey level of the padding.
      bbox: (left, top, right, bottom) in pixels, for crop='bbox'.

    Returns:
      uint8 [S, S, 3] and uint8 [S, S, 1]; the mask's border is antialiased, so it holds greys too.

    Raises:
      DataError: no box to crop to (empty mask, no bbox, or one outside of the photo).
    """
    height, width = photo.shape[:2]
    if mask.shape != (height, width):
        raise ValueError(f'mask {mask.shape} for a photo {photo.shape}')
    if crop not in ('none', 'mask', 'bbox') or fit not in ('pad', 'stretch'):
        raise ValueError(f'crop={crop!r}, fit={fit!r}')
    box = (0.0, 0.0, float(width), float(height))
    if crop != 'none':
        tight = mask_box(mask) if crop == 'mask' else bbox
        around = clip_box(tight, width=width, height=height, margin=margin) if tight else None
        if around is None:
            action = 'use crop=none, or mend the mask or bbox'
            raise refused(f'crop={crop!r}', 'no object to crop to', action)
        box = around
    box_width, box_height = box[2] - box[0], box[3] - box[1]
    if fit == 'stretch':
        inner = (size, size)
    else:
        scale = size / max(box_width, box_height)
        inner = (max(1, round(box_width * scale)), max(1, round(box_height * scale)))
    left, top = (size - inner[0]) // 2, (size - inner[1]) // 2
    window = np.s_[top : top + inner[1], left : left + inner[0]]
    framed = np.full((size, size, 3), fill, np.uint8)
    framed[window] = np.asarray(Image.fromarray(photo).resize(inner, Image.Resampling.LANCZOS, box=box))
    silhouette = np.zeros((size, size, 1), np.uint8)
    silhouette[window] = np.asarray(Image.fromarray(mask).resize(inner, Image.Resampling.BILINEAR, box=box))[:, :, None]
    return framed, silhouette


def place_object(
    picture: np.ndarray, mask: np.ndarray, *, size: int, margin: float, fill: int = 255
) -> tuple[np.ndarray, np.ndarray]:
    """An object in the middle of a square, its longer side as long whatever picture it is cut from.

    Args:
      picture: uint8 [H, W, 3].
      mask: uint8 [H, W], not empty.
      size: S.
      margin: free on each side, as a share of the longer side of the object.
      fill: grey level around the object's box.

    Returns:
      uint8 [S, S, 3] and uint8 [S, S, 1], as `frame_photo`.
    """
    inner = max(1, round(size / (1 + 2 * margin)))
    framed, silhouette = frame_photo(picture, mask, size=inner, crop='mask', fill=fill)
    before = (size - inner) // 2
    around = ((before, size - inner - before),) * 2 + ((0, 0),)
    return np.pad(framed, around, constant_values=fill), np.pad(silhouette, around)


def place_view(view: np.ndarray, *, size: int, margin: float, ground: int) -> np.ndarray:
    """What a view shows, cut out and placed anew as `place_object` does; an empty one stays empty.

    Args:
      view: uint8 [H, W, C], C 1 or 3.
      size: S.
      margin: as for `place_object`.
      ground: grey level of what shows nothing.

    Returns:
      uint8 [S, S, C].
    """
    mask = np.where((view != ground).any(axis=2), np.uint8(255), np.uint8(0))
    if not mask.any():
        return np.full((size, size, view.shape[2]), ground, np.uint8)
    colors = np.broadcast_to(view, (*view.shape[:2], 3))
    placed, _ = place_object(colors, mask, size=size, margin=margin, fill=ground)
    return placed[..., : view.shape[2]]


def square_picture(picture: np.ndarray, *, size: int, fit: str) -> np.ndarray:
    """A picture resampled to a square.

    Args:
      picture: uint8 [H, W, 3].
      size: S.
      fit: 'cover' takes the square in the middle, as the usual resizing of the shorter side and central crop do;
        'stretch' the whole without its aspect ratio; 'pad' the whole on white.

    Returns:
      uint8 [S, S, 3].
    """
    if fit not in FITS:
        raise ValueError(f'fit={fit!r}: use one of {", ".join(FITS)}')
    height, width = picture.shape[:2]
    everything = np.zeros((height, width), np.uint8)
    if fit != 'cover':
        return frame_photo(picture, everything, size=size, fit=fit)[0]
    side = min(height, width)
    left, top = (width - side) / 2, (height - side) / 2
    box = (left, top, left + side, top + side)
    return frame_photo(picture, everything, size=size, crop='bbox', bbox=box, fit='stretch')[0]


def frame_files(item: tuple[Path, Path, Box | None], **framing: Any) -> tuple[bytes, bytes]:
    """PNG files of a framed photo and its mask.

    Args:
      item: files of photo and mask, and the photo's bbox, in pixels as displayed, or None.
      **framing: options of `frame_photo`.

    Returns:
      content of a colour and of a grey PNG file.

    Raises:
      DataError: as `read_pair` and `frame_photo`.
    """
    image, mask, bbox = item
    try:
        pair = read_pair(image, mask)
        framed = frame_photo(pair.photo, pair.mask, bbox=bbox, **framing)
    except DataError as error:  # where the framing fails it knows no file
        raise DataError(
            [
                dataclasses.replace(problem, where=str(image)) if problem.where.startswith('crop') else problem
                for problem in error.problems
            ]
        ) from None
    return png_file(framed[0]), png_file(framed[1][:, :, 0])


def mask_box(mask: np.ndarray) -> Box | None:
    """(left, top, right, bottom) around the pixels of mask [H, W] above one half, or None where there are none."""
    rows, columns = np.flatnonzero((mask > 127).any(axis=1)), np.flatnonzero((mask > 127).any(axis=0))
    if rows.size == 0:
        return None
    return float(columns[0]), float(rows[0]), float(columns[-1] + 1), float(rows[-1] + 1)


def clip_box(box: Box, *, width: int, height: int, margin: float = 0.0) -> Box | None:
    """Box widened by `margin` of its longer side and cut at the photo's border; None if under a pixel is left."""
    left, top, right, bottom = box
    extra = margin * max(right - left, bottom - top)
    left, top = max(0.0, left - extra), max(0.0, top - extra)
    right, bottom = min(float(width), right + extra), min(float(height), bottom + extra)
    return (left, top, right, bottom) if right - left >= 1 and bottom - top >= 1 else None
