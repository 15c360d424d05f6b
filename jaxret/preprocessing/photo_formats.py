"""Which picture files are read, and how they are opened. HEIC takes an extra, and nothing is registered with Pillow."""

import io

from PIL import Image, features

from jaxret.errors import refused
from jaxret.quiet import QUIET

PHOTO_SUFFIXES = (
    *('.jpg', '.jpeg', '.jfif', '.png', '.webp', '.heic', '.heif', '.hif', '.avif'),
    *('.bmp', '.tif', '.tiff', '.gif'),
)
# Formats of Pillow whose decoders only decode (EPS, for one, would start an interpreter).
FORMATS = ('JPEG', 'PNG', 'WEBP', 'AVIF', 'BMP', 'TIFF', 'GIF')
MAX_PIXELS = 90_000_000
# Advice for what reads many files for training.
RESTORE = 'restore the file, or leave it out with on_bad_file=skip'
_AVIF = frozenset((b'avif', b'avis'))
_HEIF = frozenset((b'heic', b'heix', b'heim', b'heis', b'hevc', b'hevx', b'hevm', b'hevs', b'mif1', b'msf1'))


def open_picture(data: bytes, *, where: str) -> Image.Image:
    """A picture whose header is read, and no pixel yet.

    Args:
      data: of a file.
      where: names it in messages.

    Raises:
      DataError: not a picture, of a format that is not read here, damaged, or of too many pixels.
    """
    with QUIET:  # odd metadata is no concern here; sizes are checked below
        try:
            image = _opened(data, where)
        except Image.UnidentifiedImageError:
            found = f'not an image, or of an unsupported format (supported: {", ".join((*FORMATS, "HEIC"))})'
            raise refused(where, found, RESTORE) from None
        except Image.DecompressionBombError:
            raise refused(where, f'over {MAX_PIXELS:,} pixels', 'store a smaller picture') from None
    if image.width * image.height > MAX_PIXELS:
        found = f'{image.width} x {image.height}, over {MAX_PIXELS:,} pixels'
        raise refused(where, found, 'store a smaller picture')
    return image


def reason(error: Exception) -> str:
    """Short reason: the decoder's own words, on one line."""
    return ' '.join(str(error).split())[:120] or type(error).__name__


def _opened(data: bytes, where: str) -> Image.Image:
    brands = _brands(data)
    if brands & _AVIF and not features.check('avif'):
        raise refused(where, 'an AVIF photo, which this Pillow cannot read', 'pip install --force-reinstall pillow')
    try:
        if brands & _HEIF and not brands & _AVIF:
            return _open_heif(data, where)
        return Image.open(io.BytesIO(data), formats=FORMATS)
    except (Image.UnidentifiedImageError, Image.DecompressionBombError):
        raise
    except ModuleNotFoundError as error:
        found = f'a HEIC photo, which needs {error.name}'
        raise refused(where, found, "pip install 'jaxret[heic]', or save it as JPEG") from error
    except Exception as error:  # damaged headers raise nearly anything
        raise refused(where, f'damaged image ({reason(error)})', RESTORE) from error


def _open_heif(data: bytes, where: str) -> Image.Image:
    """Upright as it is: the decoder applies the file's own turn, and takes the orientation out of its EXIF data."""
    from pillow_heif.as_plugin import HeifImageFile

    return HeifImageFile(io.BytesIO(data), where)


def _brands(data: bytes) -> frozenset[bytes]:
    """Brands of a file of the ISO base media format (ISO/IEC 14496-12, 4.3); none of any other file."""
    if data[4:8] != b'ftyp':
        return frozenset()
    box = data[8 : min(int.from_bytes(data[:4], 'big'), 256)]
    return frozenset(box[start : start + 4] for start in range(0, len(box), 4))
