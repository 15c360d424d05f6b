"""Damage in OFF files that readers would not report: they drop the lines that they do not understand."""

import re


def off_fault(data: bytes) -> str | None:
    """What is wrong with an OFF file's header, its counts, or the form of its lines; None where nothing is.

    One vertex or face a line, comments after '#', the counts on the first line ('OFF8 12 0', as in some ModelNet files)
    or on the next. Whether numbers are numbers and indices in range, the reader finds itself.

    Args:
      data: the file's content.

    Returns:
      a description, for a `Problem`.
    """
    lines = [line for line in (raw.split(b'#')[0].strip() for raw in data.splitlines()) if line]
    head = re.match(rb'[A-Z0-9]*?OFF\s*(\d*)(?:\s+(\d+))?', lines[0], re.IGNORECASE) if lines else None
    if head is None:
        return "the first line is not an OFF header ('OFF')"
    counts = head.groups() if head[1] else tuple(lines[1].split()[:2]) if len(lines) > 1 else ()
    if len(counts) != 2 or not all(count and count.isdigit() and len(count) < 19 for count in counts):
        return 'the OFF header has no vertex and face counts'
    vertex_count, face_count = int(counts[0]), int(counts[1])
    body = lines[1 if head[1] else 2 :]
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
