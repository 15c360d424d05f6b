"""STL files, binary whatever their header says, and text with loops of any number of corners."""

import io
import re

import numpy as np
import trimesh

from jaxret.geometry.formats import UnusableMesh, plain_text
from jaxret.geometry.polygons import triangulate
from jaxret.geometry.words import Words

_LOOP = re.compile(rb'\bouter\s++loop\b')
_NAME = re.compile(rb'^[ \t]*+(?:end)?solid\b[^\n]*?(?=\bfacet\s++normal\b|$)', re.MULTILINE)  # with its keyword


def read_stl(data: bytes) -> trimesh.Scene:
    """Reads a binary or text STL file; a loop of more than three corners is a polygon.

    Args:
      data: the file's content.

    Raises:
      UnusableMesh: the length is not the one that a binary header names, and it is not a whole text file.
    """
    declared = int.from_bytes(data[80:84], 'little') if len(data) >= 84 else -1
    if len(data) == 84 + 50 * declared:
        return trimesh.load_scene(io.BytesIO(data), file_type='stl', process=False)
    text = plain_text(data).lower().lstrip()
    if not text.startswith(b'solid') or b'\0' in data[:512]:
        raise UnusableMesh(f'{len(data)} bytes, but the STL header names {max(declared, 0)} triangles')
    if b'endsolid' not in text[-1024:]:
        raise UnusableMesh("cut off: a text STL file must end with 'endsolid'")
    text = _NAME.sub(b'', text)
    loops = [part.rpartition(b'loop')[2] for part in text.split(b'endloop')[:-1]]
    facets = text.count(b'endfacet')
    if not len(loops) == facets == len(_LOOP.findall(text)):
        raise UnusableMesh(f'cut off, or damaged: {len(loops)} whole loops in {facets} facets')
    sizes = [loop.count(b'vertex') for loop in loops]
    if min(sizes, default=3) < 3:
        raise UnusableMesh('cut off, or a damaged facet of under three vertices')
    vertices = Words(b' '.join(loops).replace(b'vertex', b' ')).numbers().reshape(sum(sizes), 3)
    faces, _ = triangulate(np.arange(len(vertices)), np.array(sizes, np.int64), vertices)
    return trimesh.Scene(trimesh.Trimesh(vertices, faces, process=False))
