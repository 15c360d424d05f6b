"""What the reader of OFF files does not do: report damage, as it drops the lines that it does not understand, and read
files of triangles, quads and larger polygons together, or concave ones."""

import io
import re

import numpy as np
import trimesh

from jaxret.geometry.formats import UnusableMesh, plain_text
from jaxret.geometry.polygons import cut_concave

_HEAD = re.compile(rb'([A-Z0-9]*?OFF)\s*(\d*)(?:\s+(\d+))?', re.IGNORECASE)


def read_off(data: bytes) -> trimesh.Scene:
    """Reads an OFF file.

    Args:
      data: the file's content.

    Raises:
      UnusableMesh: what `off_fault` finds, or a concave face with too many corners.
    """
    data = plain_text(data)
    fault = off_fault(data)
    if fault is not None:
        raise UnusableMesh(fault)
    return trimesh.load_scene(io.BytesIO(without_polygons(data)), file_type='off', process=False)


def off_fault(data: bytes) -> str | None:
    """What is wrong with an OFF file's header, its counts, or the form of its lines; None where nothing is.

    One vertex or face a line, comments after '#', the counts on the first line ('OFF8 12 0', as in some ModelNet files)
    or on the next. Whether numbers are numbers and indices in range, the reader finds itself.

    Args:
      data: the file's content.

    Returns:
      a description, for a `Problem`.
    """
    lines = _lines(data)
    head = _HEAD.match(lines[0]) if lines else None
    if head is None:
        return "the first line is not an OFF header ('OFF')"
    if b'4' in head[1]:
        return 'its vertices have four coordinates (4OFF)'
    counts = head.groups()[1:] if head[2] else tuple(lines[1].split()[:2]) if len(lines) > 1 else ()
    if len(counts) != 2 or not all(count and count.isdigit() and len(count) < 19 for count in counts):
        return 'the OFF header has no vertex and face counts'
    return _body_fault(lines[1 if head[2] else 2 :], int(counts[0]), int(counts[1]))


def _body_fault(body: list[bytes], vertex_count: int, face_count: int) -> str | None:
    """What is wrong with the lines of vertices, then faces."""
    named = f'the header names {vertex_count} vertices and {face_count} faces, {len(body)} lines follow'
    if len(body) < vertex_count + face_count:
        return f'cut off: {named}'
    if len(body) > vertex_count + face_count:
        return f'wrong counts: {named}'
    widths = {len(line.split()) for line in body[:vertex_count]}
    if len(widths) > 1:  # a face among the vertices
        return f'wrong counts, or a damaged vertex: vertices of {min(widths)} and of {max(widths)} values'
    for line in body[vertex_count:]:
        values = line.split()
        if not values[0].isdigit() or len(values) <= int(values[0][:9]):
            return f'cut off, or a damaged face: {line[:60].decode("ascii", "replace")!r}'
    return None


def without_polygons(data: bytes) -> bytes:
    """An OFF file with its concave faces, and its polygons of five or more corners, as triangles.

    Convex polygons become fans about their first corner. trimesh makes such fans too, but of concave faces also, and
    only in files where all faces have the same number of corners.

    Args:
      data: the file's content, in which `off_fault` finds nothing wrong.

    Returns:
      the content of a file with the same surface; `data` itself if it has no such faces.

    Raises:
      UnusableMesh: a concave face has too many corners.
    """
    head, vertices, lines = _parts(_lines(data))
    faces = [line[1 : int(line[0]) + 1] for line in lines]
    sizes = np.array([len(face) for face in faces])
    if (sizes == 3).all():
        return data
    places = np.array([line.split()[:3] for line in vertices], np.float64)
    cut = cut_concave(np.array([index for face in faces for index in face], np.int64), sizes, places)
    if not cut and sizes.max() < 5:
        return data
    for number in np.flatnonzero(sizes > 4).tolist():
        cut.setdefault(number, [(0, k, k + 1) for k in range(1, len(faces[number]) - 1)])
    written = []
    for number, face in enumerate(faces):
        written += [[face[k] for k in part] for part in cut.get(number, [range(len(face))])]
    lines = [b' '.join([b'%d' % len(part), *part]) for part in written]
    return b'\n'.join([head, b'%d %d 0' % (len(vertices), len(lines)), *vertices, *lines])


def _parts(lines: list[bytes]) -> tuple[bytes, list[bytes], list[list[bytes]]]:
    """The first word, the lines of vertices, and the words of the lines of faces."""
    head = _HEAD.match(lines[0])
    first = 1 if head[2] else 2
    last = first + int(head[2] or lines[1].split()[0])
    return head[1], lines[first:last], [line.split() for line in lines[last:]]


def _lines(data: bytes) -> list[bytes]:
    """The lines without comments and empty ones."""
    return [line for line in (raw.split(b'#')[0].strip() for raw in data.splitlines()) if line]
