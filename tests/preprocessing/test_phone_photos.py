"""HEIC, HEIF and AVIF: the right pixels, turned as they are displayed; refused with the extra's name where it lacks."""

import io
import sys

import numpy as np
import pytest
from PIL import Image

from jaxret.errors import DataError
from jaxret.inference.query_files import find_queries
from jaxret.preprocessing.photo_files import read_layer, read_photo

TURNED = 6  # EXIF orientation: stored lying, displayed a quarter turn clockwise


def blocks() -> np.ndarray:
    """Four even blocks of 16 x 24 pixels: red, green; blue, yellow."""
    colors = np.array([[[220, 30, 30], [30, 200, 40]], [[40, 50, 210], [220, 210, 40]]], np.uint8)
    return np.repeat(np.repeat(colors, 16, axis=0), 24, axis=1)


def near(found: np.ndarray, wanted: np.ndarray) -> bool:
    return found.shape == wanted.shape and np.abs(found.astype(int) - wanted).mean() < 6


def heic_file(pixels: np.ndarray, orientation: int = 1) -> bytes:
    heif = pytest.importorskip('pillow_heif')
    exif = Image.Exif()
    exif[0x0112] = orientation
    buffer = io.BytesIO()
    mode = 'RGBA' if pixels.shape[2] == 4 else 'RGB'
    heif.from_bytes(mode, pixels.shape[1::-1], pixels.tobytes()).save(buffer, quality=95, exif=exif.tobytes())
    return buffer.getvalue()


def test_heic_is_read_as_it_is_displayed(tmp_path):
    before = set(Image.registered_extensions())
    for name, orientation in (('plain.heic', 1), ('turned.HEIF', TURNED)):
        (tmp_path / name).write_bytes(heic_file(blocks(), orientation))
    assert near(read_photo(tmp_path / 'plain.heic'), blocks())
    assert near(read_photo(tmp_path / 'turned.HEIF'), np.rot90(blocks(), -1))
    assert set(Image.registered_extensions()) == before
    found = find_queries([tmp_path], kinds=('photo',), system='pretrained')
    assert [query.path.name for query in found] == ['plain.heic', 'turned.HEIF']


def test_alpha_of_heic_is_its_mask(tmp_path):
    alpha = np.zeros((32, 48), np.uint8)
    alpha[:16, :24] = 255
    (tmp_path / 'cut.heic').write_bytes(heic_file(np.dstack([blocks(), alpha])))
    np.testing.assert_array_equal(read_layer(tmp_path / 'cut.heic')[1], alpha)


def test_avif_is_read_as_it_is_displayed(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = TURNED
    Image.fromarray(blocks()).save(tmp_path / 'plain.avif', quality=95)
    Image.fromarray(blocks()).save(tmp_path / 'turned.avif', quality=95, exif=exif)
    assert near(read_photo(tmp_path / 'plain.avif'), blocks())
    assert near(read_photo(tmp_path / 'turned.avif'), np.rot90(blocks(), -1))


def test_damaged_heic_is_refused(tmp_path):
    data = heic_file(blocks())
    (tmp_path / 'cut.heic').write_bytes(data[: len(data) // 2])
    (tmp_path / 'header.heic').write_bytes(data[:60])
    for name in ('cut.heic', 'header.heic'):
        with pytest.raises(DataError, match=f'{name}: .*damaged image'):
            read_photo(tmp_path / name)


def test_heic_without_the_extra_names_it(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, 'pillow_heif', None)
    monkeypatch.setitem(sys.modules, 'pillow_heif.as_plugin', None)
    (tmp_path / 'phone.heic').write_bytes(b'\0\0\0\x18ftypheic\0\0\0\0mif1heic' + bytes(40))
    with pytest.raises(DataError, match=r"phone.heic: a HEIC photo, which needs pillow_heif.*; .*'jaxret\[heic\]'"):
        read_photo(tmp_path / 'phone.heic')


def test_what_a_folder_of_queries_holds_besides_is_told(tmp_path):
    for name in ('a.jpg', 'b.dng', 'c.dng', 'notes'):
        (tmp_path / name).write_bytes(b'x')
    with pytest.warns(UserWarning, match='left out: 2 .dng, 1 without suffix'):
        assert len(find_queries([tmp_path], kinds=('photo',), system='pretrained')) == 1
