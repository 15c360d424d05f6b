"""The chunks of a PNG file and their checksums."""

import zlib

from jaxret.errors import refused

_PNG = b'\x89PNG\r\n\x1a\n'


def sound_chunks(data: bytes, *, where: str, action: str) -> bytes:
    """A PNG file without those chunks that its pixels do not need and whose checksum is wrong; other data as it is.

    Args:
      data: of any file.
      where: names the file in messages.
      action: what to do about a damaged one.

    Raises:
      DataError: a wrong checksum in a chunk that the pixels need: they can be damaged and still decode.
    """
    if not data.startswith(_PNG):
        return data
    kept, start = [_PNG], len(_PNG)
    while start + 12 <= len(data):
        end = start + 12 + int.from_bytes(data[start : start + 4], 'big')
        kind, chunk = data[start + 4 : start + 8], memoryview(data)[start:end]
        if end > len(data):  # the decoder says what is wrong
            return data
        if zlib.crc32(chunk[4:-4]) == int.from_bytes(chunk[-4:], 'big'):
            kept.append(chunk)
        elif not kind[:1].islower() or kind in (b'tRNS', b'eXIf'):  # critical, transparency, orientation
            found = f'truncated or damaged image (wrong checksum in chunk {ascii(kind.decode("latin-1"))[1:-1]})'
            raise refused(where, found, action)
        start = end
        if kind == b'IEND':
            break
    return b''.join(kept)
