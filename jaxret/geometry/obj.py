"""OBJ files: polygons with their materials and texture coordinates, colours of vertices; damage is reported.

Letters: N vertices, n corners of all faces, F triangles.

Source: Wavefront, Advanced Visualizer Manual, appendix B1; colours behind vertices as MeshLab and others write them.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NoReturn

import numpy as np
import trimesh

from jaxret.geometry.formats import UnusableMesh, plain_text
from jaxret.geometry.polygons import triangulate
from jaxret.geometry.words import Words

_NOT_POLYGONS = (b'surf', b'bzp', b'bsp', b'cdp', b'cdc', b'res', b'call', b'csh')
_KINDS = (b'v', b'vt', b'vn')  # that a corner names, in this order
# A statement goes on behind a backslash, a name only behind a blank and one, as in Blender and trimesh; a comment does
# not, nor a name that ends in a backslash: a path of Windows.
_CONTINUED = re.compile(rb'(#[^\n]*|^ *(?:[gos]|usemtl|mtllib) [^\n]*[^ \n]\\ *$)|\\ *\n', re.MULTILINE | re.IGNORECASE)


@dataclass(frozen=True, eq=False)
class _Statements:
    """Statements of one kind: `text`, one a line without its keyword, and the number of each one's line in the file."""

    word: bytes
    text: bytes
    places: np.ndarray

    def line(self, number: int) -> bytes:
        """One of them, for messages."""
        return b' '.join([self.word, *self.text.split(b'\n')[number].split()])


def read_obj(data: bytes, *, textured: bool = False) -> trimesh.Scene:
    """Reads an OBJ file.

    Args:
      data: the file's content.
      textured: also read materials and texture coordinates.

    Returns:
      One mesh, its faces in the order of the file, or none; textured with the metadata 'materials', names that faces
      use; 'material' int64 [F], index into these, -1 for none; 'uv' float64 [F, 3, 2], NaN where no corner has any.

    Raises:
      UnusableMesh: a face has under three vertices or names one that is not there, a vertex has under three numbers, or
        a surface is not made of polygons.
      ValueError: a coordinate is no number.
    """
    kinds, others = _statements(plain_lines(data))
    for _, line in others:
        if line.split(b' ')[0] in _NOT_POLYGONS:
            raise UnusableMesh(f'a surface that is not made of polygons, or lies in another file: {_shown(line)}')
    rows = _rows(kinds[b'v'], 3, 'cut off, or a damaged vertex of under three values')
    corners, sizes = _corners(kinds)
    if not len(sizes):
        return trimesh.Scene()
    triangles, owners = triangulate(corners[0], sizes, rows[:, :3])
    faces, used = corners[0][triangles], np.zeros(len(rows), bool)
    used[faces] = True  # the others have no colour that counts
    colors = rows[used, 3:6] if rows.shape[1] >= 6 else None
    mesh = trimesh.Trimesh(rows[used, :3], (np.cumsum(used) - 1)[faces], process=False, vertex_colors=colors)
    if textured:
        names, material = _materials(others, kinds[b'f'].places)
        uv = _uv(kinds[b'vt'], corners[1][triangles])
        mesh.metadata |= {'materials': names, 'material': material[owners], 'uv': uv}
    return trimesh.Scene(mesh)


def plain_lines(data: bytes) -> bytes:
    """Each statement of an OBJ file on a line of its own, its words parted by spaces.

    Args:
      data: the file's content.

    Returns:
      UTF-8, lines parted by \\n.

    Raises:
      UnusableMesh: the text is UTF-16.
    """
    data = plain_text(data).replace(b'\t', b' ')
    if b'\r' in data:
        data = data.replace(b'\r\n', b'\n').replace(b'\r', b'\n')
    if re.search(rb'\\ *\n', data):
        data = _CONTINUED.sub(lambda match: match[1] or b' ', data)
    if data.startswith(b' ') or b'\n ' in data:
        data = re.sub(rb'^ ++', b'', data, flags=re.MULTILINE)
    if any(word[:1] in data and (data.startswith(word) or b'\n' + word in data) for word in (b'V ', b'F ')):
        data = re.sub(rb'^(?:V[TN]?|F|MTLLIB|USEMTL)(?= )', lambda match: match[0].lower(), data, flags=re.MULTILINE)
    return data


def _statements(data: bytes) -> tuple[dict[bytes, _Statements], list[tuple[int, bytes]]]:
    """Vertices, texture coordinates, normals and faces; and all other lines with their numbers."""
    data += b'\n'
    letters = np.frombuffer(data + b'\n\n', np.uint8).copy()
    starts = np.append(0, np.flatnonzero(letters[:-2] == 10) + 1)  # and the end
    first, second, third = (letters[starts[:-1] + place] for place in range(3))
    ends_second, ends_third = ((letter == 32) | (letter == 10) for letter in (second, third))
    vertex, older = first == ord('v'), (second == ord('o')) & ends_third
    masks = {
        b'v': vertex & ends_second,
        b'vt': vertex & (second == ord('t')) & ends_third,
        b'vn': vertex & (second == ord('n')) & ends_third,
        b'f': (first == ord('f')) & (ends_second | older),  # fo is the older name
    }
    kinds = {}
    for word, mask in masks.items():
        letters[starts[:-1][mask]] = 32
        letters[starts[:-1][mask & ~ends_second] + 1] = 32
        bounds = np.flatnonzero(np.diff(mask, prepend=False, append=False)).reshape(-1, 2)
        text = b''.join(letters[start:stop].tobytes() for start, stop in starts[bounds].tolist())
        if b'#' in text:
            text = re.sub(rb'#[^\n]*+', b'', text)
        kinds[word] = _Statements(word, text, np.flatnonzero(mask))
    others = np.flatnonzero(~np.logical_or.reduce(list(masks.values()))).tolist()
    return kinds, [(number, data[starts[number] : starts[number + 1] - 1]) for number in others]


def _rows(statements: _Statements, least: int, fault: str) -> np.ndarray:
    """The numbers of statements, as many of each as the shortest has: float64 [rows, at least `least`]."""
    words = Words(statements.text)
    sizes = words.a_line()
    if len(sizes) and sizes.min() < least:
        raise UnusableMesh(f'{fault}: {_shown(statements.line(sizes.argmin()))}')
    width = sizes.min() if len(sizes) else least
    return words.numbers()[(np.cumsum(sizes) - sizes)[:, None] + np.arange(width)]


def _corners(kinds: dict[bytes, _Statements]) -> tuple[np.ndarray, np.ndarray]:
    """Vertex, texture coordinates and normal of corners, from 0 (-1 for none): int64 [3, n]; and sizes of the faces."""
    faces = kinds[b'f']
    text = re.sub(rb'(?<=[ /])\+(?=\d)', b'', faces.text) if b'+' in faces.text else faces.text
    words = Words(text)
    sizes = words.a_line()
    if len(sizes) and sizes.min() < 3:
        fault = 'cut off, or a damaged face of under three vertices'
        raise UnusableMesh(f'{fault}: {_shown(faces.line(sizes.argmin()))}')
    fields = words if b'/' not in text else Words(text.replace(b'/', b' '))
    values = fields.integers()
    if values is None:
        _refuse(kinds)
    owners, field = np.arange(len(words)), np.zeros(len(fields), np.int64)
    if fields is not words:
        slash = np.frombuffer(text, np.uint8) == ord('/')
        before = np.cumsum(slash) - slash
        owners = np.searchsorted(words.starts, fields.starts, 'right') - 1
        field = before[fields.starts] - before[words.starts][owners]
    wrong = values <= 0
    if (values < 0).any():
        counts = [np.searchsorted(kinds[kind].places, faces.places) for kind in _KINDS]
        known = np.repeat(np.stack([*counts, np.zeros_like(counts[0])]), sizes, axis=1)
        back = values < 0
        values = np.where(back, values + known[np.minimum(field, 3), owners] + 1, values)
        wrong = (values <= 0) & ~(back & (field > 0))  # a texture or normal that is not there is none, as in front
        values = np.maximum(values, 0)
    corners = np.zeros((3, len(words)), np.int64)
    for kind, row in enumerate(corners):
        row[owners[field == kind]] = values[field == kind]
    if wrong.any() or (corners[0] <= 0).any() or corners[0].max(initial=0) > len(kinds[b'v'].places):
        _refuse(kinds)
    return corners - 1, sizes


def _refuse(kinds: dict[bytes, _Statements]) -> NoReturn:
    """Says which index of the faces is wrong."""
    faces, counts = kinds[b'f'], [len(kinds[kind].places) for kind in _KINDS]
    for number, place in enumerate(faces.places):
        line = faces.line(number)
        for corner in line.split()[1:]:
            for text, kind, count in zip(corner.split(b'/'), _KINDS, counts, strict=False):
                index = int(text) if re.fullmatch(rb'[+-]?\d+', text) else 0
                if index < 0 and kind != b'v':
                    continue
                index += int(np.searchsorted(kinds[kind].places, place)) + 1 if index < 0 else 0
                if index <= 0 and (text or kind == b'v'):
                    reason = f'a face names {_shown(text)}, but indices count from 1, or back from -1'
                    raise UnusableMesh(f'{reason}: {_shown(line)}')
                if index > count and kind == b'v':
                    raise UnusableMesh(f'a face names {_shown(text)} of {count} vertices: {_shown(line)}')
    raise UnusableMesh('a damaged face')


def _materials(others: Sequence[tuple[int, bytes]], places: np.ndarray) -> tuple[list[str], np.ndarray]:
    """Names of the materials, and which of them each face has, the one that was named last: int64, -1 for none.

    Args:
      others: lines of which `usemtl` is one, with their numbers.
      places: numbers of the lines of faces.
    """
    used = [(number, b' '.join(line.split()[1:])) for number, line in others if line.split(b' ')[0] == b'usemtl']
    numbers = {name: number for number, name in enumerate(dict.fromkeys(name for _, name in used))}
    material = np.array([-1, *(numbers[name] for _, name in used)])
    last = np.searchsorted(np.array([place for place, _ in used], np.int64), places)
    return [name.decode() for name in numbers], material[last]


def _uv(statements: _Statements, indices: np.ndarray) -> np.ndarray:
    """Texture coordinates [..., 2] of corners; of one that has none, beside others that do, 0; else NaN."""
    rows = _rows(statements, 2, 'damaged texture coordinates')[:, :2]
    known = (indices >= 0) & (indices < len(rows))
    uv = np.full((*indices.shape, 2), 0.0 if known.any() else np.nan)
    uv[known] = rows[indices[known]]
    return uv


def _shown(text: bytes) -> str:
    return repr(text.strip()[:60].decode('utf-8', 'replace'))
