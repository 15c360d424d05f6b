"""PLY files of every encoding, with faces of mixed sizes, strips, colours and elements that are not needed."""

import struct

import numpy as np
import pytest
from box_files import BOX, SIDES, TRIANGLES, U, check_box, loaded, measures, refusal

from jaxret.geometry.materials import load_surface
from jaxret.geometry.ply import ply_points
from jaxret.preprocessing.points import has_faces

ENCODINGS = ('ascii', 'binary_little_endian', 'binary_big_endian')
CODES = {'uchar': 'B', 'uint8': 'B', 'char': 'b', 'short': 'h', 'ushort': 'H', 'int': 'i', 'int32': 'i', 'uint': 'I',
         'float': 'f', 'float32': 'f', 'double': 'd'}  # fmt: skip
XYZ = ('float x', 'float y', 'float z')
MIXED = [*SIDES[:3], *TRIANGLES[6:]]


def ply(encoding, *elements, newline='\n'):
    """A file of elements (name, properties, rows); a list is a sequence in its row."""
    header = ['ply', f'format {encoding} 1.0', 'comment made by a test']
    body = []
    order = '>' if encoding.endswith('big_endian') else '<'
    for name, properties, rows in elements:
        header += [f'element {name} {len(rows)}', *(f'property {text}' for text in properties)]
        for row in rows:
            values = []
            for text, value in zip(properties, row, strict=True):
                kinds = text.split()
                if kinds[0] == 'list':
                    values += [(kinds[1], len(value)), *((kinds[2], item) for item in value)]
                else:
                    values.append((kinds[0], value))
            if encoding == 'ascii':
                body.append(' '.join(f'{value:g}' for _, value in values).encode() + newline.encode())
            else:
                body += [
                    struct.pack(order + CODES[kind], value if CODES[kind] in 'fd' else int(value))
                    for kind, value in values
                ]
    return (newline.join([*header, 'end_header', '']).encode()) + b''.join(body)


def box(encoding, faces, index='list uchar int vertex_indices', **options):
    return ply(encoding, ('vertex', XYZ, BOX), ('face', (index,), [(face,) for face in faces]), **options)


@pytest.mark.parametrize('encoding', ENCODINGS)
@pytest.mark.parametrize('faces', [TRIANGLES, SIDES, MIXED, MIXED[::-1], [*SIDES, (0, 1)]])
@pytest.mark.parametrize(
    'index', ['list uchar int vertex_indices', 'list int uint vertex_index', 'list ushort short corners']
)
def test_faces_of_any_sizes(tmp_path, encoding, faces, index):
    check_box(loaded(tmp_path / 'a.ply', box(encoding, faces, index)))


@pytest.mark.parametrize('encoding', ENCODINGS)
@pytest.mark.parametrize('newline', ['\r\n', '\r'])
def test_ends_of_lines(tmp_path, encoding, newline):
    check_box(loaded(tmp_path / 'a.ply', box(encoding, MIXED, newline=newline)))


def test_a_byte_order_mark(tmp_path):
    check_box(loaded(tmp_path / 'a.ply', b'\xef\xbb\xbf' + box('ascii', MIXED)))


@pytest.mark.parametrize('encoding', ENCODINGS)
def test_sizes_whose_sum_is_that_of_equal_faces(tmp_path, encoding):
    points = [(0, 0, 0), (1, 0, 0), (1, 1, 0), (0, 1, 0), (2, 0, 0), (3, 1, 0), (2, 2, 0), (1.5, 1, 0)]
    faces = [(0, 1, 2, 3), (1, 4, 2), (4, 5, 6, 7, 1)]
    data = ply(encoding, ('vertex', XYZ, points), ('face', ('list uchar int vertex_indices',), [(f,) for f in faces]))
    assert len(loaded(tmp_path / 'a.ply', data).faces) == 2 + 1 + 3


@pytest.mark.parametrize('encoding', ENCODINGS)
def test_a_concave_face(tmp_path, encoding):
    points = np.c_[U, np.zeros(8)]
    for faces, area in (([range(8)], 7), ([range(8), (0, 1, 4)], 8.5), ([range(7, -1, -1), (0, 1, 4, 5)], 9)):
        rows = [(list(face),) for face in faces]
        data = ply(encoding, ('vertex', XYZ, points), ('face', ('list uchar int vertex_indices',), rows))
        assert measures(loaded(tmp_path / 'a.ply', data))[0] == pytest.approx(area)


@pytest.mark.parametrize('encoding', ENCODINGS)
def test_triangle_strips(tmp_path, encoding):
    strip = [0, 1, 2, 3, 6, 7, 4, 5, 0, 1, -1, 0, 2, 4, 6, -1, 1, 5, 3, 7, -1, 2, 3]
    data = ply(encoding, ('vertex', XYZ, BOX), ('tristrips', ('list int int vertex_indices',), [(strip,)]))
    check_box(loaded(tmp_path / 'a.ply', data))
    assert has_faces(tmp_path / 'a.ply')


@pytest.mark.parametrize('encoding', ENCODINGS)
def test_properties_and_elements_around_the_faces(tmp_path, encoding):
    kinds = ('double quality', *XYZ, 'list uchar int tags', *(f'uchar {color}' for color in ('red', 'green', 'blue')))
    vertices = [(1, *point, [k] * (k % 3), 200, 0, 0) for k, point in enumerate(BOX)]
    faces = [(7, face, [0.5] * 2 * len(face), k) for k, face in enumerate(MIXED)]
    data = ply(
        encoding,
        ('camera', ('float view_px', 'list uchar float k'), [(1, [1, 2, 3])]),
        ('nothing', (), []),
        ('vertex', kinds, vertices),
        ('material', ('list uchar uchar name', 'int id'), [([65, 66], 1), ([67], 2)]),
        ('face', ('uchar flags', 'list uchar int vertex_indices', 'list uchar float texcoord', 'int group'), faces),
        ('edge', ('int vertex1', 'int vertex2'), [(0, 1)]),
    )
    mesh = loaded(tmp_path / 'a.ply', data)
    check_box(mesh)
    np.testing.assert_array_equal(ply_points(data), BOX)
    color = load_surface(tmp_path / 'a.ply', mesh).color
    np.testing.assert_allclose(color, np.tile([200 / 255, 0, 0], (12, 1)), atol=1e-6)


@pytest.mark.parametrize('encoding', ENCODINGS)
@pytest.mark.parametrize('faces', [TRIANGLES, SIDES, MIXED])
def test_colours_of_faces(tmp_path, encoding, faces):
    rows = [(face, 0, 10 * k, 255) for k, face in enumerate(faces)]
    kinds = ('list uchar int vertex_indices', 'uchar red', 'uchar green', 'uchar blue')
    mesh = loaded(tmp_path / 'a.ply', ply(encoding, ('vertex', XYZ, BOX), ('face', kinds, rows)))
    color = load_surface(tmp_path / 'a.ply', mesh).color
    for triangle, (_, green, blue) in zip(mesh.vertices[mesh.faces], color * 255, strict=True):
        places = {int(np.flatnonzero((point == BOX).all(axis=1))[0]) for point in triangle}
        (owner,) = [k for k, face in enumerate(faces) if places <= set(face)]
        assert (round(green), round(blue)) == (10 * owner, 255)


def test_what_is_not_understood_is_named(tmp_path):
    path, whole = tmp_path / 'a.ply', box('binary_little_endian', MIXED)
    for data, found in (
        (whole[:-1], "cut off: its PLY header names 9 of 'face'"),
        (whole + b'\0', 'more in it than the PLY header names'),
        (whole.replace(b'element face 9', b'element face 99999999999'), 'cut off'),
        (whole.replace(b'element vertex 8', b'element vertex 99999999999'), 'cut off'),
        (whole.replace(b'binary_little', b'binary_middle'), 'a line that is not known'),
        (whole.replace(b'list uchar int', b'list uchar word'), "not known: 'property list uchar word vertex_indices'"),
        (whole.replace(b'float x', b'float u'), 'no vertices with x, y and z'),
        (whole.replace(b'end_header', b'header_end'), 'no PLY header'),
        (box('ascii', MIXED, 'list char int vertex_indices').replace(b'\n4 ', b'\n-4 '), 'a list of -4'),
        (box('ascii', MIXED) + b'1\n', 'more in it'),
        (box('ascii', MIXED).replace(b'\n4 0', b'\n4 x', 1), 'not a readable PLY file'),
        (ply('ascii', ('vertex', XYZ, BOX), ('face', ('int a', 'int b'), [(1, 2)])), 'no list vertex_indices, but a'),
        (ply('ascii', ('vertex', XYZ, BOX)), 'no triangles'),
    ):
        assert found in refusal(path, data)
