"""PLY files of any encoding: faces of mixed sizes, triangle strips, lists and elements that are not needed.

Source: G. Turk, The PLY polygon file format (1994).
"""

import codecs
import re
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import trimesh

from jaxret.geometry.formats import UnusableMesh
from jaxret.geometry.polygons import triangulate
from jaxret.geometry.words import Words

_TYPES = {
    'char': 'i1', 'uchar': 'u1', 'short': 'i2', 'ushort': 'u2', 'int': 'i4', 'uint': 'u4', 'float': 'f4',
    'double': 'f8', 'int8': 'i1', 'uint8': 'u1', 'int16': 'i2', 'uint16': 'u2', 'int32': 'i4', 'uint32': 'u4',
    'int64': 'i8', 'uint64': 'u8', 'float16': 'f2', 'float32': 'f4', 'float64': 'f8',
}  # fmt: skip
_ORDERS = {'ascii': '<', 'binary_little_endian': '<', 'binary_big_endian': '>'}
_HEADER = re.compile(rb'ply[ \t]*(\r\n|\r|\n)(.*?[\r\n])[ \t]*end_header[ \t]*\1', re.DOTALL)
_COLORS = ('red', 'green', 'blue', 'alpha')


_Rows = np.ndarray | list[np.ndarray]  # a property of all things of a kind; a list where it is one of several lengths


@dataclass
class _Element:
    """One kind of thing in the file: `properties` are (name, type of the length of a list or '', type)."""

    name: str
    count: int
    properties: list[tuple[str, str, str]] = field(default_factory=list)


def read_ply(data: bytes) -> trimesh.Scene:
    """Reads the vertices, faces or triangle strips, and their colours.

    Args:
      data: the file's content.

    Raises:
      UnusableMesh: the file is cut off or longer than its header says, or its header says what is not known.
    """
    columns, vertices = _read(data)
    vertex, face = columns['vertex'], columns.get('face', {})
    corners = _corners(face, 'face')
    sizes = np.fromiter(map(len, corners), np.int64, len(corners))
    indices = np.ravel(corners) if isinstance(corners, np.ndarray) else np.concatenate([[], *corners])
    indices = indices.astype(np.int64)
    triangles, owners = triangulate(indices, sizes, vertices)
    polygons = indices[triangles]
    strips = [part for strip in _corners(columns.get('tristrips', {}), 'tristrips') for part in _without_breaks(strip)]
    if strips:
        polygons = np.concatenate([polygons, trimesh.util.triangle_strips_to_faces(strips)])
    colors = _colors(face)
    mesh = trimesh.Trimesh(
        vertices,
        polygons,
        process=False,
        vertex_colors=_colors(vertex),
        face_colors=None if colors is None or strips else colors[owners],
    )
    return trimesh.Scene(mesh)


def ply_points(data: bytes) -> np.ndarray:
    """The vertices alone, float64 [N, 3].

    Args:
      data: the file's content.

    Raises:
      UnusableMesh: as `read_ply`.
    """
    return _read(data)[1]


def _read(data: bytes) -> tuple[dict[str, dict[str, _Rows]], np.ndarray]:
    """Properties by element and name, and the vertices [N, 3]."""
    encoding, elements, body = _header(data)
    if encoding == 'ascii':  # the same as a binary file of which every number is a double
        body = Words(body).numbers().tobytes()
    columns, at = {}, 0
    for element in elements:
        columns[element.name], at = _columns(body, at, element, text=encoding == 'ascii')
    if at < len(body):
        raise UnusableMesh('there is more in it than the PLY header names')
    vertex = columns.get('vertex', {})
    if not {'x', 'y', 'z'} <= vertex.keys():
        raise UnusableMesh('the PLY header names no vertices with x, y and z')
    return columns, np.column_stack([vertex[axis] for axis in 'xyz']).astype(np.float64)


def _header(data: bytes) -> tuple[str, list[_Element], bytes]:
    """Encoding, elements, and what follows the header."""
    data = data.removeprefix(codecs.BOM_UTF8)
    match = _HEADER.match(data)
    if match is None:
        raise UnusableMesh("no PLY header (from 'ply' to 'end_header')")
    encoding, elements, order = '', [], ''
    for line in match[2].decode('utf-8', 'replace').splitlines():
        match line.split():
            case ['format', encoding, _] if encoding in _ORDERS:
                order = _ORDERS[encoding]
            case ['element', name, count] if count.isdigit() and name not in [known.name for known in elements]:
                elements.append(_Element(name, int(count)))
            case ['property', 'list', length, kind, name] if elements and {length, kind} <= _TYPES.keys():
                elements[-1].properties.append((name, order + _TYPES[length], order + _TYPES[kind]))
            case ['property', kind, name] if elements and kind in _TYPES:
                elements[-1].properties.append((name, '', order + _TYPES[kind]))
            case [] | ['comment' | 'obj_info', *_]:
                pass
            case _:
                raise UnusableMesh(f'the PLY header has a line that is not known: {line.strip()[:60]!r}')
    if not order:
        raise UnusableMesh('the PLY header names no format')
    return encoding, elements, data[match.end() :]


def _columns(body: bytes, at: int, element: _Element, *, text: bool) -> tuple[dict[str, _Rows], int]:
    """The properties of an element that starts at a byte, by name, and the byte where it ends.

    Args:
      body: what follows the header.
      at: the byte.
      element: what the header says of it.
      text: every number is a double, whatever its type.
    """
    names, kinds = [name for name, _, _ in element.properties], [kind for _, _, kind in element.properties]
    stored = [(length and '<f8', '<f8') if text else (length, kind) for _, length, kind in element.properties]
    if element.count == 0 or not names:
        return {name: np.zeros(0, kind) for name, kind in zip(names, kinds, strict=True)}, at
    first, _ = _row(body, at, stored, element)
    form, sizes = _form(names, stored, first)
    rows = np.frombuffer(body, form, min(element.count, (len(body) - at) // form.itemsize), at)
    if len(rows) == element.count and all((rows[name] == size).all() for name, size in sizes.items()):
        return {name: rows[name].astype(kind) for name, kind in zip(names, kinds, strict=True)}, at + rows.nbytes
    things = []
    for _ in range(element.count):
        row, at = _row(body, at, stored, element)
        things.append(row)
    columns = zip(names, kinds, zip(*things, strict=True), strict=True)
    return {name: _column(values, kind) for name, kind, values in columns}, at


def _form(names: Sequence[str], stored: Sequence[tuple[str, str]], row: list) -> tuple[np.dtype, dict[str, int]]:
    """The type of things whose lists are all as long as those of one of them, and the lengths by field."""
    fields, sizes = [], {}
    for name, (length, kind), value in zip(names, stored, row, strict=True):
        if length:
            sizes[f'length of {name}'] = len(value)
            fields.append((f'length of {name}', length))
        fields.append((name, kind, np.shape(value)))
    return np.dtype(fields), sizes


def _column(values: Sequence[np.ndarray], kind: str) -> _Rows:
    """The values of all things, of one type: lists of several lengths as a list."""
    if np.ndim(values[0]):
        return [value.astype(kind) for value in values]
    return np.array(values, kind)


def _row(body: bytes, at: int, stored: Sequence[tuple[str, str]], element: _Element) -> tuple[list, int]:
    """The values of one thing, arrays for its lists, and the byte where it ends."""
    values = []
    for length, kind in stored:
        try:
            count = 1
            if length:
                count = np.frombuffer(body, length, 1, at)[0]
                at += np.dtype(length).itemsize
                if count < 0 or count != int(count):
                    raise UnusableMesh(f'a list of {count} values in the PLY element {element.name!r}')
            value = np.frombuffer(body, kind, int(count), at) if count else np.zeros(0, kind)
        except ValueError:  # of NumPy: fewer bytes are left
            found = f'cut off: its PLY header names {element.count} of {element.name!r}, more than there are'
            raise UnusableMesh(found) from None
        at += value.nbytes
        values.append(value if length else value[0])
    return values, at


def _corners(columns: dict[str, _Rows], element: str) -> _Rows:
    """The list of vertices of an element, under any of its names."""
    lists = {name: rows for name, rows in columns.items() if isinstance(rows, list) or rows.ndim == 2}
    found = [lists[name] for name in ('vertex_indices', 'vertex_index') if name in lists] or list(lists.values())
    if len(found) == 1 or not columns or not len(next(iter(columns.values()))):
        return found[0] if len(found) == 1 else []
    raise UnusableMesh(f'the PLY element {element!r} has no list vertex_indices, but {", ".join(columns)}')


def _without_breaks(strip: np.ndarray) -> list[np.ndarray]:
    """The triangle strips in a list of vertices, parted by -1."""
    strip = np.asarray(strip, np.int64)
    parts = np.split(strip, np.flatnonzero(strip < 0))
    return [part for part in (part[part >= 0] for part in parts) if len(part) > 2]


def _colors(columns: dict[str, _Rows]) -> np.ndarray | None:
    """Colours [n, 3 or 4] of an element, None where it has none."""
    found = [columns[name] for name in _COLORS if name in columns]
    return np.column_stack(found) if len(found) > 2 else None
