"""OFF files: one vertex or face a line, comments after '#'; polygons of any size, and damage is reported."""

import re

import numpy as np
import trimesh

from jaxret.geometry.formats import UnusableMesh, plain_text
from jaxret.geometry.polygons import triangulate
from jaxret.geometry.words import Words

_HEAD = re.compile(rb'([A-Z0-9]*?OFF)\s*(\d*)(?:\s+(\d+))?', re.IGNORECASE)


def read_off(data: bytes) -> trimesh.Scene:
    """Reads an OFF file.

    The counts are on the first line ('OFF8 12 0', as in some ModelNet files) or on the next. Colours and normals are
    not read.

    Args:
      data: the file's content.

    Raises:
      UnusableMesh: header, counts, or the form of a line are wrong; a face names a vertex that is not there, or a
        concave one has too many corners.
      ValueError: a coordinate or index is no number.
    """
    data = plain_text(data).replace(b'\r\n', b'\n').replace(b'\r', b'\n')
    if b'#' in data:
        data = re.sub(rb'#[^\n]*+', b'', data)
    vertex_count, face_count, body = _counts(data.strip())
    words = Words(body)
    sizes = words.a_line()
    sizes = sizes[sizes > 0]
    _check_count(len(sizes), vertex_count, face_count)
    widths = sizes[:vertex_count]
    if len(widths) and widths.min() < widths.max():  # a face among the vertices
        found = f'vertices of {widths.min()} and of {widths.max()} values'
        raise UnusableMesh(f'wrong counts, or a damaged vertex: {found}')
    numbers, used = words.numbers(), int(widths.sum())
    vertices = numbers[:used].reshape(vertex_count, -1)[:, :3]
    indices, corners = _faces(words, numbers, used, sizes[vertex_count:])
    if len(indices) and not 0 <= indices.min() <= indices.max() < vertex_count:
        raise UnusableMesh(f'a face has an index outside of its {vertex_count} vertices')
    triangles, _ = triangulate(indices, corners, vertices)
    return trimesh.Scene(trimesh.Trimesh(vertices, indices[triangles], process=False))


def _counts(data: bytes) -> tuple[int, int, bytes]:
    """Numbers of vertices and faces, and what follows the header."""
    first, _, rest = data.partition(b'\n')
    head = _HEAD.match(first)
    if head is None:
        raise UnusableMesh("the first line is not an OFF header ('OFF')")
    if b'4' in head[1]:
        raise UnusableMesh('its vertices have four coordinates (4OFF)')
    counts = head.groups()[1:]
    if not head[2]:
        line, _, rest = rest.lstrip().partition(b'\n')
        counts = tuple(line.split()[:2])
    if len(counts) != 2 or not all(count and count.isdigit() and len(count) < 19 for count in counts):
        raise UnusableMesh('the OFF header has no vertex and face counts')
    return int(counts[0]), int(counts[1]), rest


def _check_count(lines: int, vertices: int, faces: int) -> None:
    """Raises UnusableMesh where more or fewer lines follow than the header names."""
    if lines != vertices + faces:
        fault = 'cut off' if lines < vertices + faces else 'wrong counts'
        raise UnusableMesh(f'{fault}: the header names {vertices} vertices and {faces} faces, {lines} lines follow')


def _faces(words: Words, numbers: np.ndarray, first: int, sizes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Vertices of all faces, and how many each has.

    Args:
      words: of the body.
      numbers: likewise.
      first: the first word of the first face.
      sizes: how many words each face has.
    """
    starts = first + np.cumsum(sizes) - sizes
    corners = numbers[starts]
    wrong = (corners < 0) | (corners != np.floor(corners)) | (corners >= sizes)
    if wrong.any():
        number = wrong.argmax()
        line = b' '.join(words[word] for word in range(starts[number], starts[number] + min(sizes[number], 10)))
        raise UnusableMesh(f'cut off, or a damaged face: {line[:60].decode("ascii", "replace")!r}')
    corners = corners.astype(np.int64)
    places = np.repeat(starts + 1 - (np.cumsum(corners) - corners), corners) + np.arange(corners.sum())
    indices = numbers[places].astype(np.int64)
    if (indices != numbers[places]).any():
        raise UnusableMesh('a face has an index that is no whole number')
    return indices, corners
