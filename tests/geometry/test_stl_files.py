"""STL files: binary whatever the header, text however it is laid out, loops of several corners."""

import struct

import numpy as np
import pytest
from box_files import BOX, SIDES, TRIANGLES, U, check_box, loaded, measures, refusal


def binary(header=b'', attribute=0, triangles=TRIANGLES):
    body = b''.join(struct.pack('<12fH', 0, 0, 0, *BOX[list(side)].ravel(), attribute) for side in triangles)
    return header.ljust(80, b'\0') + struct.pack('<I', len(triangles)) + body


def facets(faces, points=BOX):
    loops = ['\n'.join('      vertex {:e} {:e} {:e}'.format(*points[k]) for k in face) for face in faces]
    return ''.join(f'  facet normal 0 0 1\n    outer loop\n{loop}\n    endloop\n  endfacet\n' for loop in loops)


def text(faces, name='part', points=BOX):
    return f'solid {name}\n{facets(faces, points)}endsolid {name}\n'


@pytest.mark.parametrize(
    'header', [b'', b'solid', b'solid part\n facet normal', b'SOLID', b'\xef\xbb\xbfsolid', b'COLOR=\xff\x00\x00\xff']
)
@pytest.mark.parametrize('attribute', [0, 0x801F])
def test_binary_files_whatever_their_header(tmp_path, header, attribute):
    check_box(loaded(tmp_path / 'a.stl', binary(header, attribute)))


@pytest.mark.parametrize('faces', [TRIANGLES, SIDES, [*SIDES[:3], *TRIANGLES[6:]]])
@pytest.mark.parametrize(
    'form',
    [
        lambda faces: text(faces),
        lambda faces: text(faces).upper(),
        lambda faces: text(faces).replace('\n', '\r\n'),
        lambda faces: text(faces).replace('\n', ' ') + '\n',
        lambda faces: text(faces).replace(' ', '\t'),
        lambda faces: '\ufeff\n' + text(faces),
        lambda faces: text(faces[:2], 'a') + text(faces[2:], ''),
        lambda faces: text(faces[:2], 'outer vertex 1 2 3 loop') + '\n' + text(faces[2:], 'a solid endsolid normal'),
        lambda faces: text(faces[:2], 'Outer Loop') + text(faces[2:], 'endloop endfacet').replace('\n', '\r\n'),
        lambda faces: '\n'.join('  ' + line for line in text(faces, 'endloop vertex').split('\n')),
    ],
)
def test_text_files_in_every_layout(tmp_path, faces, form):
    check_box(loaded(tmp_path / 'a.stl', form(faces)))


def test_a_loop_of_many_corners(tmp_path):
    points = np.c_[U, np.zeros(8)]
    area, _, extents = measures(loaded(tmp_path / 'a.stl', text([range(8), (0, 1, 4, 5)], points=points)))
    np.testing.assert_allclose([area, *extents], [7 + 2, 3, 3, 0])


@pytest.mark.parametrize(
    ('data', 'found'),
    [
        (binary()[:-1], 'the STL header names 12 triangles'),
        (binary() + b'\0', 'the STL header names 12 triangles'),
        (binary(b'solid')[:-1], 'the STL header names 12 triangles'),
        (text(SIDES)[:-20], "must end with 'endsolid'"),
        (text(SIDES).replace('endloop', '', 1), '5 whole loops in 6 facets'),
        (text([*SIDES, (0, 1)]), 'a damaged facet of under three vertices'),
        (text(SIDES).replace('vertex', 'vertx', 1), 'not a readable STL file'),
        (text(SIDES).replace('0.000000e+00', '0,0', 1), 'not a readable STL file'),
        (text([]), 'no triangles'),
    ],
)
def test_what_is_not_whole_is_refused(tmp_path, data, found):
    assert found in refusal(tmp_path / 'a.stl', data)


def test_loops_that_never_end(tmp_path):
    data = 'solid\n' + 'outer loop ' * 300_000 + '\nendsolid\n'
    assert '0 whole loops in 0 facets' in refusal(tmp_path / 'a.stl', data)
