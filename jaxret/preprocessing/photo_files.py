"""Photos and masks from files into arrays. Letters: H, W pixels.

How unusual files are read:
  - grey, palette, 1-bit, CMYK, 16-bit grey and pictures with alpha all become 8-bit RGB; 16-bit grey is scaled by
    1/257, alpha is composited over white, colour profiles are ignored, of an animation the first frame is taken;
  - an EXIF orientation (of AVIF and HEIC the file's own turn) is applied, so a photo is an array as a
    viewer displays it;
  - a mask belongs to the photo as displayed. If its size is instead that of the stored (unrotated) pixels, it is
    turned together with the photo. Where both sizes are the same and the mask has no orientation of its own, nothing
    tells which it is: it is taken as displayed, and `Pair.unsure` says so;
  - a mask's pixel has the value of the brightest of its channels, and `mask_values` tells which values are the object;
    a transparent pixel is background, and where only the alpha channel varies, alpha is the mask.
"""

import io
import stat
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import ExifTags, Image

from jaxret.errors import DataError, refused
from jaxret.preprocessing.mask_values import check_colors, object_pixels
from jaxret.preprocessing.photo_formats import RESTORE, open_picture, reason
from jaxret.preprocessing.png_chunks import sound_chunks
from jaxret.quiet import QUIET

Box = tuple[float, float, float, float]  # left, top, right, bottom in pixels
MAX_BYTES = 1 << 30
SAME_SIZE = "give a mask of its photo's size, or use on_bad_file=skip"
# What is said of an unsure pair.
UNSURE = (
    'has an EXIF orientation, and a mask of the same size without one, which is taken to be drawn on the photo as '
    'displayed; where it was drawn on the stored pixels, give the mask the same orientation'
)
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def read_photo(path: Path | str) -> np.ndarray:
    """Photo as displayed.

    Args:
      path: JPEG, PNG, WebP, AVIF, BMP, TIFF, GIF or (with the extra `heic`) HEIC file of any colour mode.

    Returns:
      uint8 [H, W, 3] RGB.

    Raises:
      DataError: missing, unreadable, empty, truncated, damaged, too large, or not an image.
    """
    return _decode(Path(path), _photo_pixels)[0]


def read_layer(path: Path | str) -> tuple[np.ndarray, np.ndarray | None]:
    """Photo as displayed, and where it is transparent in part, what is opaque as its mask.

    Returns:
      uint8 [H, W, 3] RGB, and uint8 [H, W], 255 on the object and 0 elsewhere, or None.

    Raises:
      DataError: as `read_photo`.
    """
    layer = _decode(Path(path), _layer_pixels)[0]
    if layer.shape[2] == 3:
        return layer, None
    return layer[:, :, :3], np.where(layer[:, :, 3] > 127, np.uint8(255), np.uint8(0))


def is_transparent(path: Path | str) -> bool:
    """Whether `read_layer` gives a mask; decodes only what may be transparent. Raises DataError as it does."""
    data = sound_chunks(read_bytes(Path(path)), where=str(path), action=RESTORE)
    with open_picture(data, where=str(path)) as image:
        if not _has_alpha(image):
            return False
    return read_layer(path)[1] is not None


def read_mask(path: Path | str) -> np.ndarray:
    """Object mask of a photo, as displayed.

    Args:
      path: image file; see the module's docstring for how its pixels are understood.

    Returns:
      uint8 [H, W], 255 on the object and 0 elsewhere.

    Raises:
      DataError: as `read_photo`; or its values have no clear meaning.
    """
    return _decode(Path(path), _mask_pixels)[0]


@dataclass(frozen=True, eq=False)
class Pair:
    """A photo uint8 [H, W, 3] and its mask uint8 [H, W], as displayed.

    Attributes:
      photo: RGB.
      mask: 255 on the object and 0 elsewhere.
      turn: EXIF orientation of the photo where the mask was stored as the photo's pixels are and was turned; else 1.
      unsure: the mask would be another one if it were stored so, and its size does not tell.
    """

    photo: np.ndarray
    mask: np.ndarray
    turn: int
    unsure: bool


def read_pair(image: Path | str, mask: Path | str) -> Pair:
    """Photo and its mask, of one size.

    Args:
      image: file of the photo.
      mask: file of its mask, of the photo's displayed or stored size.

    Raises:
      DataError: with the problems of both files; also if the two sizes differ.
    """
    problems, parts = [], []
    for path, pixels in ((Path(image), _photo_pixels), (Path(mask), _mask_pixels)):
        try:
            parts.append(_decode(path, pixels))
        except DataError as error:
            problems += error.problems
    if problems:
        raise DataError(problems)
    (photo, orientation), (silhouette, of_mask) = parts
    height, width = photo.shape[:2]
    turned = _turned(silhouette, orientation) if of_mask in (0, 1) else silhouette
    if silhouette.shape != (height, width) == turned.shape:
        return Pair(photo, turned, orientation, False)
    if silhouette.shape != (height, width):
        found = f'mask of {silhouette.shape[1]} x {silhouette.shape[0]} pixels for a photo of {width} x {height}'
        raise refused(str(mask), found, SAME_SIZE)
    unsure = of_mask == 0 and turned.shape == silhouette.shape and not np.array_equal(turned, silhouette)
    return Pair(photo, silhouette, 1, unsure)


def turned_box(box: Box, orientation: int, *, width: int, height: int) -> Box:
    """A box around pixels as stored, where a photo of an EXIF orientation displays it.

    Args:
      box: (left, top, right, bottom).
      orientation: 1 to 8.
      width: of the photo as displayed, like height.
      height: pixels.
    """
    left, top, right, bottom = box if orientation < 5 else (box[1], box[0], box[3], box[2])
    if orientation in (2, 3, 6, 7):
        left, right = width - right, width - left
    if orientation in (3, 4, 7, 8):
        top, bottom = height - bottom, height - top
    return left, top, right, bottom


def read_bytes(path: Path) -> bytes:
    """Content of a regular, non-empty file.

    Raises:
      DataError: missing, not a regular file, unreadable, empty, or larger than MAX_BYTES.
    """
    try:
        status = path.stat()
        if stat.S_ISDIR(status.st_mode):
            raise refused(str(path), 'a folder, not a file', RESTORE)
        if not stat.S_ISREG(status.st_mode):  # opening a pipe or device could wait forever
            raise refused(str(path), 'not a regular file', RESTORE)
        if status.st_size == 0:
            raise refused(str(path), 'empty file', RESTORE)
        if status.st_size > MAX_BYTES:
            raise refused(str(path), f'too large ({status.st_size >> 20} MiB)', 'store a smaller picture')
        return path.read_bytes()
    except FileNotFoundError:
        raise refused(str(path), 'a link to nothing' if path.is_symlink() else 'missing', RESTORE) from None
    except OSError as error:
        found = f'cannot be read ({error.strerror or error})'
        raise refused(str(path), found, 'check the path and its permissions') from error


def png_file(pixels: np.ndarray) -> bytes:
    """Content of a PNG file of uint8 [H, W] or [H, W, 3]."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, 'PNG', compress_level=3)
    return buffer.getvalue()


def _decode(path: Path, pixels) -> tuple[np.ndarray, int]:
    """(pixels(image), turned as displayed; EXIF orientation or 0). Every failure of the decoder is a DataError."""
    data = sound_chunks(read_bytes(path), where=str(path), action=RESTORE)
    with QUIET:  # odd metadata is no concern here
        image = open_picture(data, where=str(path))
        before = _orientation(image)  # of a TIFF file it is applied, and forgotten, as the pixels are decoded
        try:
            image.load()
            array = pixels(image, str(path))
        except DataError:
            raise
        except Exception as error:
            raise refused(str(path), f'truncated or damaged image ({reason(error)})', RESTORE) from error
        after = _orientation(image)
    return _turned(array, after), after or before


def _turned(array: np.ndarray, orientation: int) -> np.ndarray:
    """Stored pixels as an EXIF orientation displays them."""
    if orientation not in _TURNS:
        return array
    return np.asarray(Image.fromarray(array).transpose(_TURNS[orientation]))


def _orientation(image: Image.Image) -> int:
    """EXIF orientation, 0 where the file has none."""
    try:
        return int(image.getexif().get(ExifTags.Base.Orientation, 0))
    except Exception:  # damaged metadata beside good pixels
        return 0


def _wide_grey(image: Image.Image) -> np.ndarray | None:
    """Values of a grey picture with more than 8 bits, uint16 [H, W], else None."""
    if image.mode == 'F':
        raise ValueError('floating-point pixels are not supported')
    if image.mode != 'I' and not image.mode.startswith('I;'):
        return None
    values = np.asarray(image)
    if values.min() < 0 or values.max() > 65535:
        raise ValueError('grey values outside of 16 bits')
    return values.astype(np.uint16)


def _has_alpha(image: Image.Image) -> bool:
    return image.mode in ('RGBA', 'LA', 'PA', 'RGBa', 'La') or 'transparency' in image.info


def _photo_pixels(image: Image.Image, where: str) -> np.ndarray:
    del where
    if (wide := _wide_grey(image)) is not None:
        grey = wide.astype(np.int32)
        grey += 128
        grey //= 257
        return np.repeat(grey.astype(np.uint8)[:, :, None], 3, axis=2)
    if _has_alpha(image):
        layer = image.convert('RGBA')
        image = Image.alpha_composite(Image.new('RGBA', layer.size, 'white'), layer)
    return np.array(image.convert('RGB'))


def _layer_pixels(image: Image.Image, where: str) -> np.ndarray:
    """RGB, and alpha as a fourth channel where it says what the object is."""
    colors = _photo_pixels(image, where)
    if not _has_alpha(image) or _wide_grey(image) is not None:
        return colors
    alpha = np.asarray(image.convert('RGBA'))[:, :, 3]
    if not alpha.any():
        raise refused(where, 'all of it is transparent', 'save it with its object opaque')
    return np.dstack([colors, alpha]) if alpha.min() < 128 <= alpha.max() else colors


def _mask_pixels(image: Image.Image, where: str) -> np.ndarray:
    values = _wide_grey(image)
    if values is not None:
        return object_pixels(values, where=where)
    if not _has_alpha(image):
        colors = np.asarray(image.convert('RGB'))
        mask = object_pixels(colors.max(axis=2), where=where)
        check_colors(colors, mask, where=where)
        return mask
    layer = np.asarray(image.convert('RGBA'))
    values, alpha = layer[:, :, :3].max(axis=2), layer[:, :, 3]
    opaque = values[alpha > 0]
    if opaque.size and opaque.min() == opaque.max() and alpha.min() < alpha.max():
        return object_pixels(alpha, where=where)
    if alpha.min() < 128 and np.count_nonzero((opaque > 31) & (opaque < 224)) > opaque.size // 20:
        action = 'save the transparency alone, as black and white'
        raise refused(where, 'a mask whose colours and transparency both vary', action)
    mask = object_pixels((values.astype(np.uint16) * alpha // 255).astype(np.uint8), where=where)
    check_colors(layer[:, :, :3], mask, where=where)
    return mask
