"""OBJ files in the form that their reader, trimesh, gets right, with the same surface."""

import io
import re

import numpy as np
import trimesh

from jaxret.geometry.formats import UnusableMesh, plain_text
from jaxret.geometry.polygons import cut_concave

# All possessive, as files are large.
_COMMENT = re.compile(rb'^((?:v[tn]?|f) [^#\n]*+)?+#[^\n]*+', re.MULTILINE)
_SHORT_FACE = re.compile(rb'^fo?+(?: ++[^ \n]++){0,2}+ *+$', re.MULTILINE)
_SHORT_VERTEX = re.compile(rb'^v(?: ++[^ \n]++){0,2}+ *+$', re.MULTILINE)
_NOT_POLYGONS = re.compile(rb'^(?:surf|bzp|bsp|cdp|cdc|res|call|csh)(?= |$)[^\n]*+', re.MULTILINE)
_MATERIAL = re.compile(rb'^usemtl +[^\n]*  [^\n]*+', re.MULTILINE)  # a name with several spaces in a row
_FACE = re.compile(rb'^f ++([^ \n]++)', re.MULTILINE)
_KINDS = (b'v', b'vt', b'vn')


def read_obj(data: bytes, materials: bytes | None = None) -> trimesh.Scene:
    """Reads an OBJ file.

    Args:
      data: the file's content.
      materials: the content of a material library, in place of those that the file names; None for none.

    Raises:
      UnusableMesh: a face has under three vertices or names one that is not counted from 1, or a surface is not made of
        polygons.
    """
    data = plain_obj(data)
    if materials is None:
        return trimesh.load_scene(io.BytesIO(data), file_type='obj', process=False, skip_materials=True)
    resolver = {'materials': materials}
    return trimesh.load_scene(
        io.BytesIO(b'mtllib materials\n' + data), file_type='obj', process=False, resolver=resolver
    )


def plain_obj(data: bytes) -> bytes:
    """An OBJ file without what trimesh misreads: continued and indented lines, tabs, comments that hold keywords,
    indices that count back or are 0, concave polygons, and faces of several forms.

    Args:
      data: the file's content.

    Returns:
      the content of a file with the same surface.

    Raises:
      UnusableMesh: as `read_obj`.
    """
    data = plain_lines(data)
    for pattern, found in (
        (_SHORT_FACE, 'cut off, or a damaged face of under three vertices'),
        (_SHORT_VERTEX, 'cut off, or a damaged vertex of under three values'),
        (_NOT_POLYGONS, 'a surface that is not made of polygons, or lies in another file'),
    ):
        match = pattern.search(data)
        if match is not None:
            raise UnusableMesh(f'{found}: {_shown(match[0])}')
    if data.startswith(b'fo ') or b'\nfo ' in data:  # the older name
        data = re.sub(rb'^fo ', b'f ', data, flags=re.MULTILINE)
    plain = _indices_of_one_form(data)
    if plain is None:
        return _plain_faces(data)
    indices, sizes = plain
    if sizes.size and cut_concave(indices, sizes, _points(re.findall(rb'^v ([^\n]*)', data, re.MULTILINE))):
        return _plain_faces(data)
    return data


def plain_lines(data: bytes) -> bytes:
    """Each statement of an OBJ file on a line of its own, its words parted by spaces, without comments.

    Args:
      data: the file's content.

    Returns:
      UTF-8, lines parted by \\n.

    Raises:
      UnusableMesh: the text is UTF-16.
    """
    data = plain_text(data).replace(b'\r\n', b'\n').replace(b'\r', b'\n').replace(b'\t', b' ')
    if b'\\' in data:
        data = re.sub(rb'\\ *\n', b' ', data)
    if data.startswith(b' ') or b'\n ' in data:
        data = re.sub(rb'^ ++', b'', data, flags=re.MULTILINE)
    if any(data.startswith(word) or b'\n' + word in data for word in (b'V ', b'F ')):
        data = re.sub(rb'^(?:V[TN]?|F|MTLLIB|USEMTL)(?= )', lambda match: match[0].lower(), data, flags=re.MULTILINE)
    if b'#' in data:
        data = _COMMENT.sub(rb'\1', data)
    if b'usemtl ' in data:
        data = _MATERIAL.sub(lambda match: b' '.join(match[0].split()), data)
    return data


def _indices_of_one_form(data: bytes) -> tuple[np.ndarray, np.ndarray] | None:
    """Vertices (from 0) and sizes of the faces, as `cut_concave` takes them; none where all are triangles.

    None where not all faces have the form of the first one, and indices counted from 1.
    """
    faces, first = _FACE.findall(data), _FACE.search(data)
    none = np.zeros(0, np.int64)
    if first is None:
        return none, none
    if not re.fullmatch(rb'\d++(?:/\d*+){0,2}+', first[1]):
        return None
    corner = rb' ++' + re.sub(rb'\d++', rb'0*+[1-9]\\d*+', first[1])
    if len(re.findall(rb'^f(?:' + corner + rb'){3} *+$', data, re.MULTILINE)) == len(faces):
        return none, none
    lines = re.findall(rb'^f((?:' + corner + rb'){3,}+) *+$', data, re.MULTILINE)
    if len(lines) != len(faces):
        return None
    sizes = np.array([len(line.split()) for line in lines])
    return np.array(re.sub(rb'/[^ ]*+', b'', b''.join(lines)).split(), np.int64) - 1, sizes


def _points(rows: list[bytes]) -> np.ndarray:
    """The first three numbers of each row: float64 [N, 3]."""
    points = np.fromstring(b' '.join(b' '.join(row.split(None, 3)[:3]) for row in rows), np.float64, sep=' ')
    if points.size != 3 * len(rows):
        raise UnusableMesh('a damaged vertex: not three numbers')
    return points.reshape(-1, 3)


def _plain_faces(data: bytes) -> bytes:
    """The file with indices counted from 1, concave faces as triangles, and faces of one form.

    What it writes has no normals: nothing reads them.
    """
    lines = data.split(b'\n')
    vertices, faces = _vertices_and_faces(lines)
    indices = np.array([v - 1 for face in faces.values() for v, _ in face], np.int64)
    cut = cut_concave(indices, np.array([len(face) for face in faces.values()], np.int64), _points(vertices))
    missing = 1 + sum(line.startswith(b'vt ') for line in lines)  # of corners that have none, beside others that do
    textured = any(vt for face in faces.values() for _, vt in face)
    form = (lambda v, vt: b'%d/%d' % (v, vt or missing)) if textured else (lambda v, _: b'%d' % v)
    for number, (place, face) in enumerate(faces.items()):
        triangles = cut.get(number, [range(len(face))])
        lines[place] = b'\n'.join(b' '.join([b'f', *(form(*face[k]) for k in triangle)]) for triangle in triangles)
    return b'\n'.join([*lines, b'vt 0 0', b''] if textured else lines)


def _vertices_and_faces(lines: list[bytes]) -> tuple[list[bytes], dict[int, list[tuple[int, int]]]]:
    """Texts of the vertices; by line, the corners of a face: vertex and texture coordinates, from 1 (0 for none)."""
    counts, vertices, faces = dict.fromkeys(_KINDS, 0), [], {}
    for place, line in enumerate(lines):
        word, _, rest = line.partition(b' ')
        if word == b'f':
            faces[place] = [_from_one(corner.split(b'/'), counts, line) for corner in rest.split()]
        elif word in counts:
            counts[word] += 1
            if word == b'v':
                vertices.append(rest)
    return vertices, faces


def _from_one(texts: list[bytes], counts: dict[bytes, int], line: bytes) -> tuple[int, int]:
    """Indices of a corner's vertex and texture coordinates (0 for none), counted from 1, not back."""
    found = []
    for text, kind in zip(texts, _KINDS, strict=False):
        index = int(text) if text.removeprefix(b'-').isdigit() else 0
        if index < 0:
            index += counts[kind] + 1
        if index <= 0 and (text or kind == b'v'):
            reason = f'a face names {_shown(text)}, but indices count from 1, or back from -1'
            raise UnusableMesh(f'{reason}: {_shown(line)}')
        found.append(index)
    return found[0], found[1] if len(found) > 1 else 0


def _shown(text: bytes) -> str:
    return repr(text.strip()[:60].decode('utf-8', 'replace'))
