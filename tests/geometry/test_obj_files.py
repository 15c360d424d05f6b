"""OBJ files in the forms that programs write, and what is refused in them."""

import io

import numpy as np
import pytest
import trimesh
from box_files import BOX, SIDES, TRIANGLES, U, check_box, loaded, measures, refusal

VERTICES = [f'v {x:g} {y:g} {z:g}' for x, y, z in BOX]


def faces(sides=SIDES, corner=lambda index: str(index + 1)):
    return ['f ' + ' '.join(map(corner, side)) for side in sides]


def text(*parts, end='\n'):
    return end.join([*VERTICES, *(line for part in parts for line in part), ''])


NORMALS = ['vt 0 0', 'vt 1 0', 'vn 0 0 1', 'vn 0 1 0']
SOUND = {
    'quads': text(faces()),
    'triangles': text(faces(TRIANGLES)),
    'byte order mark': '\ufeff' + text(faces()),
    'windows': text(faces(), end='\r\n'),
    'old mac': text(faces(), end='\r'),
    'tabs': text(faces()).replace(' ', '\t'),
    'capitals': text(NORMALS, faces()).upper(),
    'a face in capitals': text(faces()[:5], [faces()[5].upper()]),
    'indented': '\n'.join('  \t' + line for line in text(faces()).split('\n')),
    'continued': text(faces()).replace(' ', ' \\\n'),
    'continued after a number': text(faces()).replace(' ', '\\\r\n '),
    'backslashes that continue nothing': text(
        ['# C:\\models\\', VERTICES[0] + ' # C:\\', 'mtllib C:\\a\\', 'o C:\\a\\', faces()[0], 'g C:\\a\\ '],
        [faces()[1], '  USEMTL C:\\a\\', *faces()[2:5], 's \\\n1', faces()[5]],
    ),
    'names that go on': text(['g front \\', 'left', 'o a  \\', ' b', 'usemtl c \\', 'd'], faces()),
    'indices with a plus sign': text(NORMALS, faces(corner=lambda index: f'+{index + 1}/+1/+{index % 2 + 1}')),
    'parts that count back to nothing': text(faces(corner=lambda index: f'{index - 8}/{index - 8}/-1')),
    'parts that are not there': text(faces(corner=lambda index: f'{index + 1}/{index + 1}/1')),
    'comments': text(faces()).replace('\n', ' # usemtl f 1 2 3\n') + '# f 1 2 3\n  # v 1 2 3\n',
    'counted back': text(faces(corner=lambda index: str(index - 8))),
    'counted back, all parts': text(NORMALS, faces(corner=lambda index: f'{index - 8}/-1/-2')),
    'counted back, no textures': text(NORMALS, faces(corner=lambda index: f'{index - 8}//-1')),
    'some counted back': text(faces(SIDES[:3]), faces(SIDES[3:], lambda index: str(index - 8))),
    'several forms': text(
        NORMALS,
        faces(SIDES[:2], lambda index: f'{index + 1}/1'),
        faces(SIDES[2:4], lambda index: f'{index + 1}//2'),
        faces(SIDES[4:], lambda index: f'{index + 1}/2/1'),
    ),
    'several forms in a face': text(NORMALS, [line.replace(' 1', ' 1/1').replace(' 8', ' 8/2/1') for line in faces()]),
    'faces first': '\n'.join([*faces(), *VERTICES, '']),
    'vertices after their faces': '\n'.join([*VERTICES[:4], faces()[0], *VERTICES[4:], *faces()[1:], '']),
    'groups and objects': text(['o a', 'g b', 's 1'], faces(SIDES[:2]), ['g c d', 's off', 'o e'], faces(SIDES[2:])),
    'points and lines': text(['p 1', 'l 1 2 3', 'p 2 3'], faces(), ['l 4 5']),
    'older faces': text(faces()).replace('f ', 'fo '),
    'leading zeros': text(faces(corner=lambda index: f'{index + 1:03d}')),
    'plus signs and exponents': text(faces()).replace('v 2 1 3', 'v +2.0E+00 1e0 30e-1'),
    'weights': text(faces()).replace('v 2 1 3', 'v 2 1 3 1'),
    'colours of some': text(faces()).replace('v 2 1 3', 'v 2 1 3 0.5 0.5 0.5'),
}


@pytest.mark.parametrize('name', SOUND)
def test_sound_files(tmp_path, name):
    check_box(loaded(tmp_path / 'a.obj', SOUND[name]))


def test_a_name_that_ends_in_a_blank_and_a_backslash_goes_on_as_for_other_readers(tmp_path):
    content = text(['usemtl wood \\'], faces(TRIANGLES))  # the first face is in the name, as in trimesh and Blender
    mesh = loaded(tmp_path / 'a.obj', content)
    other = trimesh.load(io.BytesIO(content.encode()), file_type='obj', process=False, skip_materials=True)
    assert len(other.faces) == len(TRIANGLES) - 1 == len(mesh.faces)


@pytest.mark.parametrize('corner', ['{0}', '{0}/{0}', '{0}//{0}', '{0}/{0}/{0}'])
def test_parts_that_count_back_from_where_they_stand(tmp_path, corner):
    lines = []
    for place, size in (((0, 0, 0), 1), ((5, 0, 0), 0.5)):
        lines += [f'v {x} {y} {z}' for x, y, z in BOX * size + place]
        lines += ['vt 0 0'] * 8 + ['vn 0 0 1'] * 8
        lines += faces(corner=lambda index: corner.format(index - 8))
    area, volume, extents = measures(loaded(tmp_path / 'a.obj', '\n'.join(lines)))
    np.testing.assert_allclose([area, volume, *extents], [22 * 1.25, 6 * 1.125, 6, 1, 3])


@pytest.mark.parametrize('corner', ['{0}', '{0}/{0}', '{1}', '{1}/{1}/{1}'])
def test_concave_faces_do_not_spill_out(tmp_path, corner):
    lines = [f'v {x} {y} {z}' for z in (0, 1) for x, y in U] + ['vt 0 0', 'vn 0 0 1'] * 16
    walls = [(k, (k + 1) % 8, (k + 1) % 8 + 8, k + 8) for k in range(8)]
    lines += faces(
        [tuple(range(7, -1, -1)), tuple(range(8, 16)), *walls], lambda index: corner.format(index + 1, index - 16)
    )
    area, volume, extents = measures(loaded(tmp_path / 'a.obj', '\n'.join(lines)))
    np.testing.assert_allclose([area, volume, *extents], [30, 7, 3, 3, 1])


def test_a_concave_quad_beside_others(tmp_path):
    points = 'v 0 0 0\nv 2 -1 0\nv 0 2 0\nv -2 -1 0\nv 5 0 0\nv 6 0 0\nv 6 1 0\nv 5 1 0\n'
    for quads, area in (('f 2 3 4 1\n', 4), ('f 2 3 4 1\nf 5 6 7 8\n', 5), ('f 5 6 7 8\nf 1 2 3\n', 3)):
        assert measures(loaded(tmp_path / 'a.obj', points + quads))[0] == pytest.approx(area)


@pytest.mark.parametrize(
    ('line', 'found'),
    [
        ('f 0 1 2', "names '0', but indices count from 1, or back from -1: 'f 0 1 2'"),
        ('f 1 2 3 0', "names '0'"),
        ('f 1/0 2/1 3/1', "names '0'"),
        ('f 1//1 2//0 3//1', "names '0'"),
        ('f -1 -2 -9', "names '-9'"),
        ('f -9/-3 2/-1 3/-1', "names '-9'"),
        ('f + 1 2', "names '+'"),
        ('f +-1 1 2', "names '+-1'"),
        ('f 1+2 3 4', "names '1+2'"),
        ('f 1 2 three', "names 'three'"),
        ('f 1 2 3.0', "names '3.0'"),
        ('f 1 2 /3', "names ''"),
        ('f 1 2 9', "names '9' of 8 vertices"),
        ('v 1 2', 'under three values'),
        ('f 1 2', 'under three vertices'),
        ('surf 0 1 0 1 1 2 3 4', 'not made of polygons'),
        ('call other.obj', 'lies in another file'),
    ],
)
def test_what_is_not_understood_is_named(tmp_path, line, found):
    for before, after in (([], faces()), (faces(), []), (faces(TRIANGLES), [])):
        assert found in refusal(tmp_path / 'a.obj', text(NORMALS, before, [line], after))


def test_text_in_utf_16(tmp_path):
    assert 'UTF-16' in refusal(tmp_path / 'a.obj', text(faces()).encode('utf-16'))
