"""OFF files as ModelNet has them, and each way in which they can be damaged."""

import numpy as np
import pytest

from jaxret.errors import DataError
from jaxret.geometry.mesh import load_mesh

VERTICES = '0 0 0\n1 0 0\n1 1 0\n0 1 0\n0 0 1\n'
FACES = '3 0 1 2\n4 0 1 2 3\n3 0 1 4\n'
WHOLE = f'OFF\n5 3 0\n{VERTICES}{FACES}'

SOUND = {
    'plain': WHOLE,
    'counts on the first line': f'OFF 5 3 0\n{VERTICES}{FACES}',
    'counts in the first word': f'OFF5 3 0\n{VERTICES}{FACES}',
    'comments and blank lines': f'# a\n\nOFF # b\n# c\n5 3 0 # d\n{VERTICES}\n# e\n{FACES}\n\n',
    'windows': WHOLE.replace('\n', '\r\n'),
    'tabs': WHOLE.replace(' ', '\t'),
    'no edge count': f'OFF\n5 3\n{VERTICES}{FACES}',
    'face colours': f'OFF\n5 3 0\n{VERTICES}3 0 1 2 255 0 0\n4 0 1 2 3 0.1 0.2 0.3\n3 0 1 4\n',
    'vertex colours': f'COFF\n5 3 0\n{VERTICES.replace(chr(10), " 255 0 0 255" + chr(10))}{FACES}',
    'vertex normals': f'NOFF\n5 3 0\n{VERTICES.replace(chr(10), " 0 0 1" + chr(10))}{FACES}',
    'no last newline': WHOLE.rstrip(),
}

DAMAGED = {
    'no header': (WHOLE[4:], 'not an OFF header'),
    'no counts': (f'OFF\n{VERTICES}{FACES}'.replace('0 0 0\n', 'x\n', 1), 'no vertex and face counts'),
    'a vertex too many': (f'OFF\n6 2 0\n{VERTICES}{FACES}', 'wrong counts'),
    'a vertex too few': (f'OFF\n4 4 0\n{VERTICES}{FACES}', 'index outside'),
    'vertices uncounted': (f'OFF\n4 3 0\n{VERTICES}{FACES}', 'the header names 4 vertices and 3 faces, 8 lines'),
    'faces uncounted': (f'OFF\n5 2 0\n{VERTICES}{FACES}', 'wrong counts'),
    'faces missing': (f'OFF\n5 9 0\n{VERTICES}{FACES}', 'cut off'),
    'cut in a line': (WHOLE[:-4], 'cut off'),
    'huge counts': (f'OFF\n900000000000 3 0\n{VERTICES}{FACES}', 'cut off'),
    'index too large': (WHOLE.replace('3 0 1 4', '3 0 1 5'), 'index outside'),
    'negative index': (WHOLE.replace('3 0 1 4', '3 0 1 -1'), 'index outside'),
    'not a number': (WHOLE.replace('0 0 1\n', '0 nan 1\n'), '1 of 5 vertices are not finite'),
    'infinite': (WHOLE.replace('0 0 1\n', '0 inf 1\n'), 'not finite'),
    'short face': (WHOLE.replace('3 0 1 2\n', '3 0 1\n'), "damaged face: '3 0 1'"),
    'large count': (WHOLE.replace('3 0 1 2\n', '1000000 0 1 2\n'), "damaged face: '1000000 0 1 2'"),
    'signed count': (WHOLE.replace('3 0 1 2\n', '-3 0 1 2\n'), "damaged face: '-3 0 1 2'"),
    'short vertex': (WHOLE.replace('1 1 0\n', '1 1\n'), 'damaged vertex'),
    'a word': (WHOLE.replace('3 0 1 4', '3 0 x 4'), 'not a readable OFF file'),
    'empty': ('', 'empty'),
    'no faces': (f'OFF\n5 0 0\n{VERTICES}', 'no triangles'),
}


@pytest.mark.parametrize('name', SOUND)
def test_sound_files(tmp_path, name):
    path = tmp_path / 'a.off'
    path.write_bytes(SOUND[name].encode())
    mesh = load_mesh(path)
    assert mesh.vertices.shape == (5, 3)
    assert sorted(map(sorted, mesh.faces.tolist())) == [[0, 1, 2], [0, 1, 2], [0, 1, 4], [0, 2, 3]]


@pytest.mark.parametrize('name', DAMAGED)
def test_damaged_files(tmp_path, name):
    text, found = DAMAGED[name]
    path = tmp_path / 'a.off'
    path.write_bytes(text.encode())
    with pytest.raises(DataError) as caught:
        load_mesh(path)
    (problem,) = caught.value.problems
    assert problem.where == str(path) and found in problem.found


@pytest.mark.parametrize('head', ['OFF\n6 {} 0', 'OFF6 {} 0', '# a\n\nOFF 6 {} 0 # b'])
@pytest.mark.parametrize(
    ('faces', 'triangles'),
    [
        (
            ['3 0 1 2', '4 0 1 2 3', '5 0 1 2 3 4 255 0 0', '6 5 4 3 2 1 0'],
            [
                [0, 1, 2],
                [0, 1, 2],
                [0, 2, 3],
                [0, 1, 2],
                [0, 2, 3],
                [0, 3, 4],
                [5, 4, 3],
                [5, 3, 2],
                [5, 2, 1],
                [5, 1, 0],
            ],
        ),
        (['6 0 1 2 3 4 5'], [[0, 1, 2], [0, 2, 3], [0, 3, 4], [0, 4, 5]]),
        (['5 0 1 2 3 4', '5 1 2 3 4 5'], [[0, 1, 2], [0, 2, 3], [0, 3, 4], [1, 2, 3], [1, 3, 4], [1, 4, 5]]),
    ],
)
def test_polygons_become_triangles_of_the_same_side(tmp_path, head, faces, triangles):
    points = [[0, 0, 0], [2, 0, 0], [3, 1, 1], [2, 3, 0], [0, 2, 1], [-1, 1, 0]]
    lines = [head.format(len(faces)), *(' '.join(map(str, point)) for point in points), *faces]
    (tmp_path / 'a.off').write_text('\n'.join(lines))
    mesh = load_mesh(tmp_path / 'a.off')
    assert mesh.vertices.tolist() == points

    def turned(corners):  # the same corners in the same sense, the lowest first
        place = corners.index(min(corners))
        return corners[place:] + corners[:place]

    assert sorted(map(turned, mesh.faces.tolist())) == sorted(map(turned, triangles))


def test_a_polygon_with_a_wrong_index(tmp_path):
    (tmp_path / 'a.off').write_text(f'OFF\n5 2 0\n{VERTICES}3 0 1 2\n5 0 1 2 3 7\n')
    with pytest.raises(DataError, match='index outside'):
        load_mesh(tmp_path / 'a.off')


CONCAVE = '0 0 0\n3 0 0\n3 3 0\n2 3 0\n2 1 0\n1 1 0\n1 3 0\n0 3 0\n'  # a U of area 7


@pytest.mark.parametrize('form', ['OFF\n8 {} 0\n', 'OFF8 {} 0\n', '\ufeffOFF 8 {} 0\n', 'COFF\n8 {} 0\n'])
@pytest.mark.parametrize(
    ('faces', 'area'),
    [
        (['8 0 1 2 3 4 5 6 7'], 7),
        (['8 7 6 5 4 3 2 1 0', '3 0 1 4'], 8.5),
        (['4 1 5 7 0', '4 1 2 3 4', '3 0 1 4 255 0 0'], 7),
        (['4 1 5 7 0'], 3),
    ],
)
def test_concave_faces_do_not_spill_out(tmp_path, form, faces, area):
    (tmp_path / 'a.off').write_text(form.format(len(faces)) + CONCAVE + '\n'.join(faces))
    mesh = load_mesh(tmp_path / 'a.off')
    a, b, c = np.moveaxis(mesh.vertices[mesh.faces], 1, 0)
    assert np.linalg.norm(np.cross(b - a, c - a), axis=1).sum() / 2 == pytest.approx(area)


@pytest.mark.parametrize(
    ('data', 'found'),
    [(WHOLE.encode('utf-16'), 'UTF-16'), (b'4' + WHOLE.encode(), '4OFF'), (b'ST4' + WHOLE.encode(), '4OFF')],
)
def test_forms_that_are_not_known(tmp_path, data, found):
    (tmp_path / 'a.off').write_bytes(data)
    with pytest.raises(DataError, match=found):
        load_mesh(tmp_path / 'a.off')
