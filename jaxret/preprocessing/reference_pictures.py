"""Small pictures of the objects of photos: what references keep, and what people are shown. No JAX.

Letters: H, W pixels.
"""

import io
from dataclasses import dataclass

import numpy as np
from PIL import Image

from jaxret.errors import refused
from jaxret.preprocessing.framing import clip_box, mask_box
from jaxret.preprocessing.photo_files import Box, png_file
from jaxret.preprocessing.photos import PhotoObject

SIDE = 512  # pixels of the longer side, at most
_MARGIN = 0.25  # of the object's box around it, as a share of its longer side: for networks that see surroundings
_QUALITY = 92  # of JPEG
_SHADE = 150  # opacity of 255 of what is not the object


@dataclass(frozen=True)
class ReferencePicture:
    """A photo cut to its object.

    Attributes:
      picture: JPEG file, of at most 512 pixels a side.
      mask: PNG file of its mask, where one is known; else None.
      box: around the object in the picture's pixels, where there is a box and no mask; else None.
    """

    picture: bytes
    mask: bytes | None
    box: Box | None


def reference_picture(photo: PhotoObject, *, whole: bool = False) -> ReferencePicture:
    """The object of a photo with some surroundings, made smaller where it is large.

    Args:
      photo: as it was read.
      whole: keep the whole frame.
    """
    pixels, silhouette = photo.pixels, photo.silhouette
    if not whole and (photo.known or photo.boxed):
        height, width = silhouette.shape
        left, top, right, bottom = clip_box(photo.around, width=width, height=height, margin=_MARGIN)
        part = np.s_[int(top) : int(np.ceil(bottom)), int(left) : int(np.ceil(right))]
        pixels, silhouette = pixels[part], silhouette[part]
    picture = Image.fromarray(pixels)
    scale = min(1.0, SIDE / max(picture.size))
    size = tuple(max(1, round(side * scale)) for side in picture.size)
    picture = picture.resize(size, Image.Resampling.LANCZOS, reducing_gap=2.0)
    box = None
    if photo.boxed and not photo.known:
        across, down = size[0] / pixels.shape[1], size[1] / pixels.shape[0]
        left, top, right, bottom = mask_box(silhouette)
        box = (left * across, top * down, max(right * across, left * across + 1), max(bottom * down, top * down + 1))
    mask = png_file(_smaller(silhouette, size)) if photo.known else None
    return ReferencePicture(_jpeg(picture), mask, box)


def _smaller(silhouette: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """A mask [H, W] at a size (width, height); an object of less than a pixel keeps one."""
    mask = np.asarray(Image.fromarray(silhouette).resize(size, Image.Resampling.BOX))
    return np.where(mask >= min(128, int(mask.max())), np.uint8(255), np.uint8(0))


def shading(silhouette: np.ndarray) -> bytes:
    """PNG file that darkens what is not the object, to be laid over a photo.

    Args:
      silhouette: uint8 [H, W] of the photo, 255 on the object. The picture has at most 512 pixels a side.
    """
    scale = min(1.0, SIDE / max(silhouette.shape))
    height, width = (max(1, round(side * scale)) for side in silhouette.shape)
    dark = np.where(_smaller(silhouette, (width, height)) > 127, np.uint8(0), np.uint8(_SHADE))
    return png_file(np.stack([np.zeros_like(dark), dark], axis=2))


def _jpeg(picture: Image.Image) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, 'JPEG', quality=_QUALITY, subsampling=0)
    return buffer.getvalue()


def decoded(kept: ReferencePicture, *, where: str) -> tuple[np.ndarray, np.ndarray | None]:
    """Picture uint8 [H, W, 3] and mask uint8 [H, W] or None of what was stored.

    Raises:
      DataError: they are damaged.
    """
    try:
        with Image.open(io.BytesIO(kept.picture), formats=['JPEG']) as image:
            if max(image.size) > SIDE:
                raise ValueError(f'{image.width} x {image.height} pixels')
            pixels = np.array(image.convert('RGB'))
        if kept.mask is None:
            return pixels, None
        with Image.open(io.BytesIO(kept.mask), formats=['PNG']) as image:
            if image.size != pixels.shape[1::-1]:
                raise ValueError('a mask of another size')
            return pixels, np.array(image.convert('L'))
    except Exception as error:  # damaged pictures raise nearly anything
        raise refused(where, f'damaged ({error})', 'remove it, and add its photo again') from error


def shown(kept: ReferencePicture, *, side: int) -> bytes:
    """JPEG file of what was taken as the object: on white where there is a mask, else the box; at most `side` wide."""
    pixels, mask = decoded(kept, where='picture')
    if mask is not None:
        pixels = np.where(mask[..., None] > 127, pixels, np.uint8(255))
    around = kept.box if mask is None else mask_box(mask)
    if around is not None:
        left, top, right, bottom = around
        pixels = pixels[int(top) : int(np.ceil(bottom)), int(left) : int(np.ceil(right))]
    picture = Image.fromarray(pixels)
    picture.thumbnail((side, side))
    return _jpeg(picture)
