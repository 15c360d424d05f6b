"""Small pictures of the objects of photos: what references keep, and what people are shown. No JAX.

Letters: H, W pixels.
"""

import io
from dataclasses import dataclass

import numpy as np
from PIL import Image

from jaxret.errors import refused
from jaxret.preprocessing.framing import clip_box
from jaxret.preprocessing.photo_files import Box, png_file

SIDE = 512  # pixels of the longer side, at most
_MARGIN = 0.25  # of the object's box around it, as a share of its longer side: for networks that see surroundings
_QUALITY = 92  # of JPEG


@dataclass(frozen=True)
class ReferencePicture:
    """A photo cut to its object.

    Attributes:
      picture: JPEG file, of at most 512 pixels a side.
      mask: PNG file of its mask; None where the object is all of it.
    """

    picture: bytes
    mask: bytes | None


def reference_picture(
    pixels: np.ndarray, silhouette: np.ndarray, around: Box, *, whole: bool = False
) -> ReferencePicture:
    """The object of a photo with some surroundings, made smaller where it is large.

    Args:
      pixels, silhouette, around: uint8 [H, W, 3], uint8 [H, W] and its box, of `photos.read_object`.
      whole: keep the whole frame.
    """
    height, width = silhouette.shape
    if not whole and not silhouette.all():
        left, top, right, bottom = clip_box(around, width=width, height=height, margin=_MARGIN)
        part = np.s_[int(top) : int(np.ceil(bottom)), int(left) : int(np.ceil(right))]
        pixels, silhouette = pixels[part], silhouette[part]
    picture, mask = Image.fromarray(pixels), Image.fromarray(silhouette)
    scale = min(1.0, SIDE / max(picture.size))
    size = tuple(max(1, round(side * scale)) for side in picture.size)
    if size != picture.size:
        picture, mask = picture.resize(size, Image.Resampling.LANCZOS), mask.resize(size, Image.Resampling.BOX)
    buffer = io.BytesIO()
    picture.save(buffer, 'JPEG', quality=_QUALITY, subsampling=0)
    mask = np.where(np.asarray(mask) > 127, np.uint8(255), np.uint8(0))
    if not mask.any():  # an object of less than a pixel
        mask[:] = 255
    return ReferencePicture(buffer.getvalue(), None if mask.all() else png_file(mask))


def decoded(cut: ReferencePicture, *, where: str) -> tuple[np.ndarray, np.ndarray | None]:
    """Picture uint8 [H, W, 3] and mask uint8 [H, W] or None of a cut-out that was stored.

    Raises:
      DataError: they are damaged.
    """
    try:
        with Image.open(io.BytesIO(cut.picture), formats=['JPEG']) as image:
            if max(image.size) > SIDE:
                raise ValueError(f'{image.width} x {image.height} pixels')
            pixels = np.array(image.convert('RGB'))
        if cut.mask is None:
            return pixels, None
        with Image.open(io.BytesIO(cut.mask), formats=['PNG']) as image:
            if image.size != pixels.shape[1::-1]:
                raise ValueError('a mask of another size')
            return pixels, np.array(image.convert('L'))
    except Exception as error:  # damaged pictures raise nearly anything
        raise refused(where, f'damaged ({error})', 'remove it, and add its photo again') from error


def shown(cut: ReferencePicture, *, side: int) -> bytes:
    """JPEG file of what was taken as the object, on white where there is a mask; at most `side` pixels a side."""
    pixels, mask = decoded(cut, where='picture')
    if mask is not None:
        pixels = np.where(mask[..., None] > 127, pixels, np.uint8(255))
    picture = Image.fromarray(pixels)
    picture.thumbnail((side, side))
    buffer = io.BytesIO()
    picture.save(buffer, 'JPEG', quality=_QUALITY)
    return buffer.getvalue()
