"""Pictures of too many pixels are refused before they are decoded, whatever else is odd about them."""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image
from small_service import LIMITS

from jaxret.errors import DataError
from jaxret.serving.uploads import check_picture


@pytest.mark.parametrize('checksum', [0, 1])
def test_large_pictures_are_refused(tmp_path, checksum):
    buffer = io.BytesIO()
    Image.fromarray(np.zeros((201, 200), np.uint8)).save(buffer, 'PNG')
    text = b'tEXt' + b'Comment\0text'
    chunk = struct.pack('>I', len(text) - 4) + text + struct.pack('>I', zlib.crc32(text) ^ checksum)
    data = buffer.getvalue()
    (tmp_path / 'a.png').write_bytes(data[:33] + chunk + data[33:])
    with pytest.raises(DataError, match='200 x 201, over 40,000 pixels'):
        check_picture(tmp_path / 'a.png', limits=LIMITS)
