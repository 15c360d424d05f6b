"""Photos and masks of every colour mode and format, EXIF orientation, bad files, and framing."""

import io
import struct
import tracemalloc
import zlib

import numpy as np
import pytest
from PIL import Image
from stored_photos import as_stored, gradient, save_stored

from jaxret.errors import DataError
from jaxret.preprocessing import framing
from jaxret.preprocessing import photo_files as photos


@pytest.mark.parametrize('suffix', ['png', 'bmp', 'tiff', 'webp'])
def test_lossless_formats_keep_every_pixel(tmp_path, suffix):
    path = tmp_path / f'photo.{suffix}'
    Image.fromarray(gradient()).save(path, **({'lossless': True} if suffix == 'webp' else {}))
    np.testing.assert_array_equal(photos.read_photo(path), gradient())


def test_jpeg_and_cmyk_are_near(tmp_path):
    smooth = np.repeat(np.repeat(gradient(3, 5), 16, axis=0), 16, axis=1)
    Image.fromarray(smooth).save(tmp_path / 'rgb.jpg', quality=95)
    Image.fromarray(smooth).convert('CMYK').save(tmp_path / 'cmyk.jpg', quality=95)
    Image.fromarray(smooth).convert('CMYK').save(tmp_path / 'cmyk.tiff')
    for name in ('rgb.jpg', 'cmyk.jpg', 'cmyk.tiff'):
        read = photos.read_photo(tmp_path / name)
        assert read.shape == smooth.shape and read.dtype == np.uint8
        assert np.abs(read.astype(int) - smooth).mean() < 4, name


def test_grey_palette_and_one_bit(tmp_path):
    grey = gradient()[:, :, 1]
    Image.fromarray(grey).save(tmp_path / 'grey.png')
    np.testing.assert_array_equal(photos.read_photo(tmp_path / 'grey.png'), np.repeat(grey[:, :, None], 3, axis=2))
    colours = np.array([[255, 0, 0], [0, 200, 10]], np.uint8)[np.arange(240).reshape(12, 20) % 2]
    Image.fromarray(colours).convert('P', palette=Image.Palette.ADAPTIVE).save(tmp_path / 'palette.png')
    np.testing.assert_array_equal(photos.read_photo(tmp_path / 'palette.png'), colours)
    Image.fromarray(grey > 100).save(tmp_path / 'bit.png')
    np.testing.assert_array_equal(photos.read_photo(tmp_path / 'bit.png')[:, :, 0], np.where(grey > 100, 255, 0))


@pytest.mark.parametrize('suffix', ['png', 'tiff'])
def test_sixteen_bit_grey_is_scaled_not_clipped(tmp_path, suffix):
    values = (np.arange(240).reshape(12, 20) * 257).astype(np.uint16)
    Image.fromarray(values).save(tmp_path / f'deep.{suffix}')
    np.testing.assert_array_equal(photos.read_photo(tmp_path / f'deep.{suffix}')[:, :, 2], values // 257)


def test_sixteen_bit_grey_is_rounded(tmp_path):
    values = np.arange(65536, dtype=np.uint16).reshape(256, 256)
    Image.fromarray(values).save(tmp_path / 'deep.png')
    expected = np.round(values / 257).astype(np.uint8)
    np.testing.assert_array_equal(photos.read_photo(tmp_path / 'deep.png')[:, :, 0], expected)


@pytest.mark.parametrize('mode', ['deep', 'alpha'])
def test_pixels_are_not_held_as_wide_integers(tmp_path, mode):
    pixels = 1000 * 1000
    values = np.arange(pixels, dtype=np.uint32).reshape(1000, 1000)
    if mode == 'deep':
        image = Image.fromarray((values % 65536).astype(np.uint16))
    else:
        image = Image.fromarray((values[:, :, None] % np.array([251, 241, 239, 233])).astype(np.uint8))
    image.save(tmp_path / 'large.png', compress_level=1)
    Image.fromarray(np.where(values % 1000 < 400, values % 3, 255 - values % 5).astype(np.uint8)).save(
        tmp_path / 'mask.png'
    )
    for read, name in ((photos.read_photo, 'large.png'), (photos.read_mask, 'mask.png')):
        tracemalloc.start()
        try:
            read(tmp_path / name)
            assert tracemalloc.get_traced_memory()[1] < 16 * pixels
        finally:
            tracemalloc.stop()


def test_alpha_is_composited_over_white(tmp_path):
    layer = np.zeros((4, 4, 4), np.uint8)
    layer[:, :2] = (200, 0, 0, 255)
    layer[:2, :2, 3] = 0
    Image.fromarray(layer).save(tmp_path / 'alpha.png')
    read = photos.read_photo(tmp_path / 'alpha.png')
    assert (read[2:, :2] == (200, 0, 0)).all() and (read[:2] == 255).all() and (read[:, 2:] == 255).all()
    palette = Image.fromarray(np.arange(4, dtype=np.uint8).reshape(2, 2), 'P')
    palette.putpalette([10, 0, 0, 20, 0, 0, 30, 0, 0, 40, 0, 0])
    palette.save(tmp_path / 'clear.png', transparency=1)
    np.testing.assert_array_equal(photos.read_photo(tmp_path / 'clear.png')[:, :, 0], [[10, 255], [30, 40]])


@pytest.mark.parametrize('orientation', range(1, 9))
@pytest.mark.parametrize('suffix', ['png', 'jpg', 'tiff'])
def test_exif_orientation_is_applied(tmp_path, orientation, suffix):
    shown = np.repeat(np.repeat(gradient(3, 5), 8, axis=0), 8, axis=1)  # blocks survive JPEG
    path = tmp_path / f'photo.{suffix}'
    save_stored(path, shown, orientation)
    read = photos.read_photo(path)
    assert read.shape == shown.shape
    assert np.abs(read.astype(int) - shown).mean() < 4


@pytest.mark.parametrize('orientation', range(1, 9))
def test_boxes_turn_as_the_pixels_do(orientation):
    mask = np.zeros((12, 20), np.uint8)
    mask[1:5, 2:9] = 255
    box = framing.mask_box(as_stored(mask, orientation))
    assert photos.turned_box(box, orientation, width=20, height=12) == framing.mask_box(mask)


def png_bytes(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(array).save(buffer, 'PNG')
    return buffer.getvalue()


def huge_png() -> bytes:
    """A PNG whose header promises 60,000 x 60,000 pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack('>I', len(data)) + kind + data + struct.pack('>I', zlib.crc32(kind + data))

    header = struct.pack('>IIBBBBB', 60000, 60000, 8, 2, 0, 0, 0)
    chunks = chunk(b'IHDR', header) + chunk(b'IDAT', zlib.compress(b'\0' * 100)) + chunk(b'IEND', b'')
    return b'\x89PNG\r\n\x1a\n' + chunks


def bad_files() -> dict[str, tuple[bytes, str]]:
    good = png_bytes(np.random.default_rng(0).integers(0, 256, (60, 60, 3), np.uint8))
    flipped = bytearray(good)
    flipped[len(good) // 2] ^= 0xFF
    jpeg = io.BytesIO()
    Image.fromarray(gradient(60, 60)).save(jpeg, 'JPEG')
    return {
        'empty': (b'', 'empty file'),
        'text': (b'this is no image', 'not an image'),
        'cut_png': (good[: len(good) // 2], 'truncated or damaged'),
        'cut_jpeg': (jpeg.getvalue()[: len(jpeg.getvalue()) // 2], 'truncated or damaged'),
        'damaged_png': (bytes(flipped), 'truncated or damaged'),
        'bomb': (huge_png(), 'pixels'),
        'postscript': (b'%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\nshowpage\n', 'not an image'),
    }


def with_wrong_checksum(kind: bytes) -> bytes:
    """A PNG of `gradient` in which one chunk's checksum is wrong."""
    chunks = {b'tEXt': b'Comment\0some text', b'pHYs': struct.pack('>IIB', 1, 1, 1), b'zzZz': b'unknown',
              b'iTXt': b'a\0\0\0\0\0text', b'tRNS': bytes(6), b'eXIf': b'MM\0*\0\0\0\x08\0\0\0\0\0\0'}  # fmt: skip
    good = png_bytes(gradient())
    if kind in chunks:
        text = chunks[kind]
        chunk = struct.pack('>I', len(text)) + kind + text + struct.pack('>I', zlib.crc32(kind + text) ^ 1)
        return good[:33] + chunk + good[33:]  # behind the header
    end = good.index(kind) + 4 + int.from_bytes(good[good.index(kind) - 4 : good.index(kind)], 'big')
    return good[:end] + bytes([good[end] ^ 1]) + good[end + 1 :]


@pytest.mark.parametrize('kind', [b'tEXt', b'iTXt', b'pHYs', b'zzZz'])
def test_wrong_checksums_beside_the_pixels_do_not_matter(tmp_path, kind):
    (tmp_path / 'photo.png').write_bytes(with_wrong_checksum(kind))
    np.testing.assert_array_equal(photos.read_photo(tmp_path / 'photo.png'), gradient())


@pytest.mark.parametrize('kind', [b'IHDR', b'IDAT', b'IEND', b'tRNS', b'eXIf'])
def test_wrong_checksums_of_what_pixels_need_are_named(tmp_path, kind):
    (tmp_path / 'photo.png').write_bytes(with_wrong_checksum(kind))
    with pytest.raises(DataError, match=f'wrong checksum in chunk {kind.decode()}'):
        photos.read_photo(tmp_path / 'photo.png')


@pytest.mark.parametrize('kind', bad_files())
@pytest.mark.parametrize('read', [photos.read_photo, photos.read_mask])
def test_bad_files_are_named(tmp_path, kind, read):
    data, found = bad_files()[kind]
    (tmp_path / 'bad.png').write_bytes(data)
    with pytest.raises(DataError) as caught:
        read(tmp_path / 'bad.png')
    (problem,) = caught.value.problems
    assert problem.where == str(tmp_path / 'bad.png') and found in problem.found and problem.action


def test_missing_files_and_folders(tmp_path):
    for path, found in ((tmp_path / 'none.png', 'missing'), (tmp_path, 'a folder')):
        with pytest.raises(DataError, match=found):
            photos.read_photo(path)


def test_pair_reports_both_files_and_a_wrong_size(tmp_path):
    with pytest.raises(DataError) as caught:
        photos.read_pair(tmp_path / 'a.png', tmp_path / 'b.png')
    assert len(caught.value.problems) == 2
    Image.fromarray(gradient()).save(tmp_path / 'a.png')
    Image.fromarray(np.zeros((20, 12), np.uint8)).save(tmp_path / 'b.png')  # transposed, but the photo is not
    with pytest.raises(DataError, match='mask of 12 x 20 pixels for a photo of 20 x 12'):
        photos.read_pair(tmp_path / 'a.png', tmp_path / 'b.png')


def test_frame_pads_and_stretches():
    photo, mask = np.full((20, 40, 3), 100, np.uint8), np.full((20, 40), 255, np.uint8)
    framed, silhouette = framing.frame_photo(photo, mask, size=16, fit='pad', fill=255)
    assert framed.shape == (16, 16, 3) and silhouette.shape == (16, 16, 1)
    assert framed.dtype == silhouette.dtype == np.uint8
    assert (framed[4:12] == 100).all() and (framed[:4] == 255).all() and (framed[12:] == 255).all()
    assert (silhouette[4:12] == 255).all() and not silhouette[:4].any() and not silhouette[12:].any()
    framed, silhouette = framing.frame_photo(photo, mask, size=16, fit='stretch')
    assert (framed == 100).all() and (silhouette == 255).all()


def test_frame_crops_to_mask_and_bbox_with_margin():
    photo, mask = np.zeros((40, 40, 3), np.uint8), np.zeros((40, 40), np.uint8)
    mask[10:30, 5:15] = 255
    photo[mask > 0] = 200
    framed, silhouette = framing.frame_photo(photo, mask, size=20, crop='mask', fill=9)
    assert (silhouette[:, 5:15] == 255).all() and not silhouette[:, :5].any()
    assert (framed[:, 5:15] == 200).all() and (framed[:, :5] == 9).all()
    boxed, _ = framing.frame_photo(photo, mask, size=20, crop='bbox', bbox=(5, 10, 15, 30), fill=9)
    np.testing.assert_array_equal(boxed, framed)
    # a quarter of the longer side on each side, cut at the left border: 5 - 5 .. 15 + 5 by 10 - 5 .. 30 + 5
    wide, silhouette = framing.frame_photo(photo, mask, size=30, crop='mask', margin=0.25, fill=9)
    np.testing.assert_array_equal(wide[:, 5:25], photo[5:35, :20])
    np.testing.assert_array_equal(silhouette[:, 5:25, 0], mask[5:35, :20])


def test_frame_keeps_photo_and_mask_together_when_shrinking():
    photo, mask = np.zeros((101, 67, 3), np.uint8), np.zeros((101, 67), np.uint8)
    mask[20:70, 11:44] = 255
    photo[mask > 0] = 255
    framed, silhouette = framing.frame_photo(photo, mask, size=24, fill=0)
    assert np.abs(framed[:, :, :1].astype(int) - silhouette).mean() < 3
    assert 0 < ((silhouette > 0) & (silhouette < 255)).sum() < 60  # antialiased border


def test_frame_refuses_an_empty_mask():
    photo, mask = np.zeros((8, 8, 3), np.uint8), np.zeros((8, 8), np.uint8)
    with pytest.raises(DataError, match='no object'):
        framing.frame_photo(photo, mask, size=4, crop='mask')
    with pytest.raises(DataError, match='no object'):
        framing.frame_photo(photo, mask, size=4, crop='bbox', bbox=(20, 20, 30, 30))
