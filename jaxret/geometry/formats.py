"""Files and arrays of shapes as other layers name them, without the tools that read and make them."""

import codecs

MESH_SUFFIXES = ('.obj', '.off', '.ply', '.stl', '.glb', '.gltf')
DISTANCE_SUFFIXES = ('.sdf', '.df', '.vox')
FACE_VALUES = 15  # of a face: centre 3, corners 9, normal 3


class UnusableMesh(Exception):
    """What is wrong with a mesh; becomes a `DataError` that also names the file."""


def plain_text(data: bytes) -> bytes:
    """The content of a text file as UTF-8 without a byte order mark; stray bytes (a name in Latin-1) are replaced.

    Raises:
      UnusableMesh: it is UTF-16.
    """
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise UnusableMesh('text in UTF-16, not UTF-8')
    return data.removeprefix(codecs.BOM_UTF8).decode('utf-8', 'replace').encode()
