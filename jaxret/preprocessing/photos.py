"""From a photo, and a mask or box, to what a system embeds. No JAX.

Letters: H, W pixels of a photo; S side of the network's input.
"""

import warnings
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from jaxret.errors import DataError, refused
from jaxret.files import printable
from jaxret.preprocessing.auto_mask import auto_mask
from jaxret.preprocessing.framing import clip_box, frame_photo, mask_box, place_object, square_picture
from jaxret.preprocessing.inputs import OUTLINE_CELLS, PhotoInputs
from jaxret.preprocessing.mask_values import object_pixels
from jaxret.preprocessing.outlines import outline_cells
from jaxret.preprocessing.photo_files import SAME_SIZE, UNSURE, Box, read_layer, read_mask, read_pair, read_photo
from jaxret.preprocessing.photo_formats import RESTORE
from jaxret.preprocessing.plain_ground import plain_ground_mask

Photo = str | Path | np.ndarray
Mask = str | Path | np.ndarray | None
# Space around the object of a photo that stands for a rendered view, where the unit sphere just fits.
_VIEW_MARGIN = 0.15
# What is said where a system trained with masks gets none.
UNMASKED = (
    'this run was trained with photos and masks, and a photo comes without: give a mask (auto finds one), a box, or a '
    'photo that is transparent around its object'
)
# A query has no on_bad_file.
_ADVICE = {RESTORE: 'restore the file, or leave it out', SAME_SIZE: "give a mask of its photo's size"}


def photo_arrays(
    photo: Photo, *, inputs: PhotoInputs, mask: Mask = None, box: Box | None = None
) -> dict[str, np.ndarray]:
    """What a system takes of one photo.

    Args:
      photo: file, or uint8 [H, W, 3].
      inputs: how the system sees it.
      mask: file, or array [H, W] (see `mask_values`); 'auto' (`auto_mask`); or None: what is opaque in a file that is
        transparent in part, else what stands on a plain ground ('cutout' alone, without a box), else the box or the
        whole frame. Neither mask nor box is a warning where a system was trained with masks ('masked').
      box: (left, top, right, bottom) in pixels of the photo as displayed, around the object; outside of it the mask is
        empty.

    Returns:
      without the batch axis: 'image' uint8 [S, S, 3] and 'mask' uint8 [S, S, 1] ('masked'), 'photo' uint8 [S, S, 3]
      ('plain'; a mask or box only says where to cut), 'views' uint8 [1, S, S, 1] ('view'), 'photo' uint8 [S, S, 3] and
      'outline' uint8 [C, C] of 0 and 1, all 0 without a mask ('cutout').

    Raises:
      DataError: unreadable files, sizes that differ, a mask without an object, a box outside of the photo.
    """
    read = read_object(photo, inputs=inputs, mask=mask, box=box)
    if inputs.kind == 'masked' and not read.located:
        warnings.warn(UNMASKED, stacklevel=1)  # the same place and words each time, so that it is told once
    if inputs.kind == 'cutout':
        return _cut_out(read.pixels, read.silhouette, inputs, known=read.known, boxed=read.boxed)
    return _framed(read.pixels, read.silhouette, read.around, inputs)


@dataclass(frozen=True, eq=False)
class PhotoObject:
    """A photo and its object.

    Attributes:
      pixels: uint8 [H, W, 3].
      silhouette: uint8 [H, W], 255 on the object: that of the mask within the box, the box, or all.
      around: the box around it.
      known: whether a mask says so; one that is all object does not.
      boxed: whether there is a box.
      located: whether a mask, of whatever kind, or a box says where it is.
    """

    pixels: np.ndarray
    silhouette: np.ndarray
    around: Box
    known: bool
    boxed: bool
    located: bool


def read_object(photo: Photo, *, inputs: PhotoInputs, mask: Mask = None, box: Box | None = None) -> PhotoObject:
    """A photo and its object; arguments and errors as for `photo_arrays`."""
    where = str(photo) if isinstance(photo, str | Path) else 'photo'
    try:
        pixels, silhouette = _read(photo, mask, where)
    except DataError as error:
        raise DataError(
            [replace(problem, action=_ADVICE.get(problem.action, problem.action)) for problem in error.problems]
        ) from error
    window = None if box is None else _window(box, pixels.shape[:2], where)
    auto = isinstance(mask, str) and mask == 'auto'
    if auto:
        silhouette = auto_mask(pixels, box=None if window is None else window[0])
    elif silhouette is None and window is None and inputs.kind == 'cutout':
        silhouette = plain_ground_mask(pixels)
    known = silhouette is not None and not (silhouette > 127).all()  # of a crop it says no more than its frame
    located = silhouette is not None or window is not None
    if window is not None and not auto:
        silhouette = window[1] if silhouette is None else np.minimum(silhouette, window[1])
    elif silhouette is None:
        silhouette = np.full(pixels.shape[:2], 255, np.uint8)
    around = mask_box(silhouette)
    if around is None:
        found = 'the mask is empty' if box is None else 'the mask is empty within the box'
        raise refused(where, found, 'give a mask that is white on the object, or none')
    return PhotoObject(pixels, silhouette, around, known=known, boxed=window is not None, located=located)


def _cut_out(
    pixels: np.ndarray, silhouette: np.ndarray, inputs: PhotoInputs, *, known: bool, boxed: bool
) -> dict[str, np.ndarray]:
    """The arrays of the object of a photo [H, W, 3] on white, and its silhouette where it is more than a box."""
    nowhere = np.zeros((OUTLINE_CELLS, OUTLINE_CELLS), np.uint8)
    if known:
        pixels = np.where(silhouette[..., None] > 127, pixels, np.uint8(255))
    elif boxed:  # what is around the box is better than white
        framed, _ = frame_photo(pixels, silhouette, size=inputs.size, crop='mask', margin=inputs.margin)
        return {'photo': framed, 'outline': nowhere}
    margin = inputs.margin if known else inputs.frame_margin
    framed, mask = place_object(pixels, silhouette, size=inputs.size, margin=margin)
    outline = outline_cells(mask[None, :, :, 0] > 127)[0].astype(np.uint8) if known else nowhere
    return {'photo': framed, 'outline': outline}


def _framed(pixels: np.ndarray, silhouette: np.ndarray, around: Box, inputs: PhotoInputs) -> dict[str, np.ndarray]:
    """The arrays of a photo [H, W, 3] with its mask [H, W], which is not empty within the box around it."""
    if inputs.kind == 'plain':
        left, top, right, bottom = (int(side) for side in around)
        square = square_picture(pixels[top:bottom, left:right], size=inputs.stored_size, fit=inputs.fit)
        edge = (inputs.stored_size - inputs.size) // 2
        return {'photo': square[edge : edge + inputs.size, edge : edge + inputs.size]}
    if inputs.kind == 'view':
        pixels = np.where(silhouette[..., None] > 127, pixels, np.uint8(255))
        framed, _ = frame_photo(pixels, silhouette, size=inputs.size, crop='mask', margin=_VIEW_MARGIN)
        grey = np.rint(framed @ np.array([0.299, 0.587, 0.114])).astype(np.uint8)
        return {'views': grey[None, :, :, None]}
    framed, silhouette = frame_photo(
        pixels, silhouette, size=inputs.size, crop=inputs.crop, margin=inputs.margin, fit=inputs.fit, bbox=around
    )
    return {'image': framed, 'mask': silhouette}


def _window(box: Box, size: tuple[int, int], where: str) -> tuple[Box, np.ndarray]:
    """The part of a box that is within a photo [H, W], and its mask."""
    height, width = size
    inside = clip_box(box, width=width, height=height)
    if inside is None:
        found = f'box {_numbers(box)} for a photo of {width} x {height} pixels'
        raise refused(where, found, 'give left, top, right, bottom in its pixels')
    left, top, right, bottom = (round(side) for side in inside)
    window = np.zeros((height, width), np.uint8)
    window[top : max(bottom, top + 1), left : max(right, left + 1)] = 255
    return inside, window


def _read(photo: Photo, mask: Mask, where: str) -> tuple[np.ndarray, np.ndarray | None]:
    """Photo uint8 [H, W, 3], and its mask uint8 [H, W]: the given one, what is opaque in a file, or None."""
    given = mask is not None and not (isinstance(mask, str) and mask == 'auto')
    if isinstance(photo, str | Path) and given and isinstance(mask, str | Path):
        pair = read_pair(photo, mask)  # turns a mask of the stored pixels with its photo
        if pair.unsure:
            warnings.warn(f'{printable(str(photo))}: {UNSURE}', stacklevel=2)
        return pair.photo, pair.mask
    if mask is None and isinstance(photo, str | Path):
        return read_layer(photo)
    pixels = read_photo(photo) if isinstance(photo, str | Path) else np.asarray(photo)
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3 or 0 in pixels.shape:
        raise refused(where, f'an array {pixels.dtype} {list(pixels.shape)}', 'give uint8 [height, width, 3]')
    if not given:
        return pixels, None
    if isinstance(mask, str | Path):
        silhouette = read_mask(mask)
    else:
        silhouette = object_pixels(np.asarray(mask), where=f'mask of {where}')
    if silhouette.shape != pixels.shape[:2]:
        found = f'a mask of shape {list(silhouette.shape)} for a photo of {pixels.shape[1]} x {pixels.shape[0]} pixels'
        raise refused(where, found, 'give a mask of its size')
    return pixels, silhouette


def _numbers(values: tuple[float, ...]) -> str:
    return ', '.join(f'{value:g}' for value in values)
