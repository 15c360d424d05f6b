"""What the reader of OFF files does not do: report damage, as it drops the lines that it does not understand, and read
files of triangles, quads and larger polygons together."""

import re

_HEAD = re.compile(rb'([A-Z0-9]*?OFF)\s*(\d*)(?:\s+(\d+))?', re.IGNORECASE)


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
    """An OFF file with its polygons of five or more corners as fans of triangles about their first corner.

    trimesh makes such fans too, but only in files where all faces have the same number of corners.

    Args:
      data: the file's content, in which `off_fault` finds nothing wrong.

    Returns:
      the content of a file with the same surface; `data` itself if it has no such polygons.
    """
    lines = _lines(data)
    head = _HEAD.match(lines[0])
    first = 1 if head[2] else 2
    vertex_count = int(head[2] or lines[1].split()[0])
    vertices, faces = lines[first : first + vertex_count], [line.split() for line in lines[first + vertex_count :]]
    if all(int(face[0]) < 5 for face in faces):
        return data
    written = []
    for face in faces:
        corners = face[1 : int(face[0]) + 1]
        if len(corners) < 5:
            written.append(b' '.join([face[0], *corners]))
        else:
            written += [b' '.join([b'3', corners[0], *corners[k : k + 2]]) for k in range(1, len(corners) - 1)]
    return b'\n'.join([head[1], b'%d %d 0' % (vertex_count, len(written)), *vertices, *written])


def _lines(data: bytes) -> list[bytes]:
    """The lines without comments and empty ones."""
    return [line for line in (raw.split(b'#')[0].strip() for raw in data.splitlines()) if line]
