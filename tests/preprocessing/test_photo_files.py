"""Photos and masks of every colour mode and format, EXIF orientation, bad files, and framing."""

import io
import struct
import tracemalloc
import zlib

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFilter

from jaxret.errors import DataError
from jaxret.preprocessing import framing
from jaxret.preprocessing import photo_files as photos


def gradient(height: int = 12, width: int = 20) -> np.ndarray:
    rows, columns = np.mgrid[0:height, 0:width]
    return np.stack([rows * 20, columns * 12, (rows + columns) * 7], axis=-1).astype(np.uint8)


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


def as_stored(shown: np.ndarray, orientation: int) -> np.ndarray:
    """How a camera stores what is to be shown."""
    turned = {3: np.rot90(shown, 2), 6: np.rot90(shown, 1), 8: np.rot90(shown, -1)}
    flipped = {2: shown[:, ::-1], 4: shown[::-1], 5: shown.swapaxes(0, 1), 7: np.rot90(shown, 2).swapaxes(0, 1)}
    return np.ascontiguousarray((turned | flipped).get(orientation, shown))


def save_stored(path, shown: np.ndarray, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {'quality': 100} if path.suffix == '.jpg' else {}
    Image.fromarray(as_stored(shown, orientation)).save(path, exif=exif, **options)


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
@pytest.mark.parametrize('square', [False, True])
@pytest.mark.parametrize('suffix', ['jpg', 'png', 'tiff', 'webp'])
def test_masks_as_displayed_and_as_stored(tmp_path, orientation, square, suffix):
    shown, mask = gradient(20, 20) if square else gradient(), np.zeros((20, 20) if square else (12, 20), np.uint8)
    mask[1:5, 2:9] = 255
    photo = tmp_path / f'photo.{suffix}'
    save_stored(photo, shown, orientation)
    tells = orientation > 4 and not square
    Image.fromarray(mask).save(tmp_path / 'displayed.png')
    pair = photos.read_pair(photo, tmp_path / 'displayed.png')
    np.testing.assert_array_equal(pair.mask, mask)
    assert (pair.turn, pair.unsure) == (1, orientation > 1 and not tells)
    save_stored(tmp_path / 'own.png', mask, orientation)
    pair = photos.read_pair(photo, tmp_path / 'own.png')
    np.testing.assert_array_equal(pair.mask, mask)
    assert (pair.turn, pair.unsure) == (1, False)
    if tells:
        stored = as_stored(mask, orientation)
        Image.fromarray(stored).save(tmp_path / 'stored.png')
        pair = photos.read_pair(photo, tmp_path / 'stored.png')
        np.testing.assert_array_equal(pair.mask, mask)
        assert (pair.turn, pair.unsure) == (orientation, False)
        exif = Image.Exif()
        exif[0x0112] = orientation
        Image.fromarray(mask).save(tmp_path / 'twice.png', exif=exif)  # turned before, and says to turn it again
        with pytest.raises(DataError, match='mask of 12 x 20 pixels'):
            photos.read_pair(photo, tmp_path / 'twice.png')


@pytest.mark.parametrize('orientation', range(1, 9))
def test_boxes_turn_as_the_pixels_do(orientation):
    mask = np.zeros((12, 20), np.uint8)
    mask[1:5, 2:9] = 255
    box = framing.mask_box(as_stored(mask, orientation))
    assert photos.turned_box(box, orientation, width=20, height=12) == framing.mask_box(mask)


def test_a_mask_that_is_the_same_either_way_is_sure(tmp_path):
    save_stored(tmp_path / 'photo.png', gradient(), 3)
    Image.fromarray(np.pad(np.full((4, 6), 255, np.uint8), ((4, 4), (7, 7)))).save(tmp_path / 'mask.png')
    assert not photos.read_pair(tmp_path / 'photo.png', tmp_path / 'mask.png').unsure


def test_masks_of_every_kind_become_the_same(tmp_path):
    truth = np.zeros((10, 8), bool)
    truth[2:7, 3:6] = True
    palette = Image.fromarray(truth.astype(np.uint8), 'P')
    palette.putpalette([0, 0, 0, 128, 0, 0])
    alpha_only = np.zeros((10, 8, 4), np.uint8)
    alpha_only[:, :, 3] = truth * 255
    opaque = np.dstack([np.repeat(truth[:, :, None] * 255, 3, axis=2), np.full((10, 8), 255)]).astype(np.uint8)
    kinds = {
        'bit': Image.fromarray(truth),
        'class': Image.fromarray((truth * 62).astype(np.uint8)),
        'instance': Image.fromarray((truth * 1000).astype(np.uint16)),
        'ones': Image.fromarray(truth.astype(np.uint8)),
        'palette': palette,
        'red': Image.fromarray((truth[:, :, None] * np.array([255, 0, 0])).astype(np.uint8)),
        'alpha': Image.fromarray(alpha_only),
        'opaque': Image.fromarray(opaque),
        'deep': Image.fromarray((truth * 65535).astype(np.uint16)),
        'deep_ones': Image.fromarray(truth.astype(np.uint16)),
    }
    for name, image in kinds.items():
        image.save(tmp_path / f'{name}.png')
        read = photos.read_mask(tmp_path / f'{name}.png')
        assert read.dtype == np.uint8 and read.shape == truth.shape
        np.testing.assert_array_equal(read, np.where(truth, 255, 0), err_msg=name)
    Image.fromarray(np.zeros((3, 3), np.uint8)).save(tmp_path / 'empty.png')
    assert not photos.read_mask(tmp_path / 'empty.png').any()


VOC = [part for i in range(256) for part in (i % 2 * 128 + i // 8 % 2 * 64, i // 2 % 2 * 128, i // 4 % 2 * 128)]
VOC[765:] = (224, 224, 192)


def drawn(side: int = 120) -> Image.Image:
    """A seat on thin legs."""
    image = Image.new('L', (side, side))
    draw = ImageDraw.Draw(image)
    draw.ellipse([side * 0.2, side * 0.1, side * 0.8, side * 0.5], fill=255)
    draw.rectangle([side * 0.3, side * 0.4, side * 0.34, side * 0.9], fill=255)
    draw.rectangle([side * 0.6, side * 0.4, side * 0.64, side * 0.9], fill=255)
    return image


def saved(image: Image.Image, kind: str, **options) -> np.ndarray:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return np.asarray(Image.open(buffer).convert('L'))


def test_masks_with_noise_or_soft_borders_are_cut_at_half(tmp_path):
    kinds = {f'jpeg {quality}': saved(drawn(), 'JPEG', quality=quality) for quality in (10, 30, 50, 75, 95, 100)}
    kinds |= {f'webp {quality}': saved(drawn(), 'WEBP', quality=quality) for quality in (10, 50, 95)}
    kinds |= {
        'antialiased': np.asarray(drawn(480).resize((120, 120), Image.Resampling.BOX)),
        'enlarged': np.asarray(drawn(60).resize((120, 120), Image.Resampling.LANCZOS)),
        'blurred': np.asarray(drawn().filter(ImageFilter.GaussianBlur(2))),
    }
    truth = np.asarray(drawn()) > 127
    for name, values in kinds.items():
        Image.fromarray(values).save(tmp_path / 'mask.png')
        mask = photos.read_mask(tmp_path / 'mask.png') > 0
        np.testing.assert_array_equal(mask, values > 127, err_msg=name)
        assert np.mean(mask != truth) < 0.04, name


def unclear_masks() -> dict[str, tuple[Image.Image, str]]:
    truth = np.asarray(drawn()) > 0
    border = np.asarray(drawn().filter(ImageFilter.MaxFilter(7))) > 0
    numbers = lambda inside, void: Image.fromarray(np.where(truth, inside, border * void).astype(np.uint8))  # noqa: E731
    colors = np.zeros((120, 120, 3), np.uint8)
    colors[:60, :, 0], colors[60:, :, 1] = 255 * truth[:60], 255 * truth[60:]
    masks = {
        **{f'{inside}, void {void}': (numbers(inside, void), f'{inside} (') for inside, void in [(1, 255), (1, 254),
           (62, 255), (255, 254), (255, 128), (8, 255)]},
        'trimap': (Image.fromarray(np.where(truth, 1, np.where(border, 3, 2)).astype(np.uint8)), '1 ('),
        'classes': (Image.fromarray((np.arange(14400).reshape(120, 120) // 720).astype(np.uint8)), 'other values'),
        'instances': (Image.fromarray((truth * 500 + border * 300).astype(np.uint16)), '800 ('),
        'two greys': (Image.fromarray(np.where(truth, 200, 90).astype(np.uint8)), '90 ('),
        'a photo': (Image.fromarray(np.random.default_rng(0).integers(0, 256, (60, 60), np.uint8)), 'other values'),
        'one grey': (Image.fromarray(np.full((9, 9), 62, np.uint8)), '62 (81 pixels)'),
        'two colours': (Image.fromarray(colors), 'several colours'),
        'red on green': (Image.fromarray(np.where(truth[:, :, None], [255, 0, 0], [0, 255, 0]).astype(np.uint8)),
                         'several colours'),
        'inverted': (Image.fromarray(~truth), 'inverted'),
        'cut out': (Image.fromarray(np.dstack([np.arange(14400).reshape(120, 120) % 200] * 3 + [truth * 255])
                    .astype(np.uint8)), 'transparency'),
    }  # fmt: skip
    for number, found in ((8, '64 ('), (9, '192 (')):
        image = Image.fromarray(np.where(truth, number, border * 255).astype(np.uint8), 'P')
        image.putpalette(VOC)
        masks[f'VOC {number}'] = (image, found)
    return masks


@pytest.mark.parametrize('kind', unclear_masks())
def test_masks_of_unclear_meaning_are_refused_with_their_values(tmp_path, kind):
    image, found = unclear_masks()[kind]
    image.save(tmp_path / 'mask.png')
    with pytest.raises(DataError) as caught:
        photos.read_mask(tmp_path / 'mask.png')
    (problem,) = caught.value.problems
    assert problem.where == str(tmp_path / 'mask.png') and found in problem.found


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
