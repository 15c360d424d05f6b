"""The JSON header of glTF and GLB files."""

import json
from typing import Any

from jaxret.geometry.formats import UnusableMesh

# Required extensions that do not change the shape, or are read.
_KNOWN = ('KHR_mesh_quantization', 'KHR_materials_', 'KHR_texture_', 'EXT_texture_', 'MSFT_texture_', 'KHR_lights_')


def buffer_names(data: bytes) -> list[str]:
    """Names of the buffers outside a .gltf file; ValueError and others where it is damaged."""
    uris = [buffer.get('uri', 'data:') for buffer in json.loads(data).get('buffers', [])]
    return [uri for uri in uris if not uri.startswith('data:')]


def gltf_header(data: bytes) -> tuple[dict[str, Any], bytes | None]:
    """The JSON object of a file, and the binary part of a GLB file that has one.

    Raises:
      UnusableMesh: cut off, no JSON, of another version, or it needs an extension that is not known.
    """
    text, binary = data, None
    if data[:4] == b'glTF':
        version, declared, length = (int.from_bytes(data[at : at + 4], 'little') for at in (4, 8, 12))
        if version != 2:
            raise UnusableMesh(f'version {version} of GLB, only 2 is known')
        if len(data) < declared:
            raise UnusableMesh(f'{len(data)} bytes, but the GLB header names {declared}')
        if data[16:20] != b'JSON':
            raise UnusableMesh('the first part of the GLB file is not JSON')
        text, at = data[20 : 20 + length], 20 + length
        while binary is None and at + 8 <= declared:
            length = int.from_bytes(data[at : at + 4], 'little')
            if data[at + 4 : at + 8] == b'BIN\0':
                binary = data[at + 8 : at + 8 + length]
            at += 8 + length
    try:
        header = json.loads(text)  # a byte order mark is passed over
    except (ValueError, RecursionError) as error:
        raise UnusableMesh(f'not valid JSON ({error})') from None
    if not isinstance(header, dict):
        raise UnusableMesh('the JSON in it is not an object')
    version = str(header.get('asset', {}).get('version', '2.0'))
    if version.partition('.')[0] != '2':
        raise UnusableMesh(f'version {version[:20]} of glTF, only 2 is known')
    unknown = [name for name in header.get('extensionsRequired', []) if not name.startswith(_KNOWN)]
    if unknown:
        raise UnusableMesh(f'it needs the glTF extension {", ".join(unknown)[:200]}, which is not known')
    return header, binary
