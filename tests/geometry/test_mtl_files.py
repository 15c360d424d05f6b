"""Material libraries as programs write them: which texture and colour the faces get."""

import time

import numpy as np
import pytest
from PIL import Image

from jaxret.geometry.materials import load_surface, material_files
from jaxret.geometry.mesh import load_mesh

SQUARE = 'v 0 0 0\nv 1 0 0\nv 1 1 0\nv 0 1 0\nvt 0 0\nvt 1 0\nvt 1 1\nvt 0 1\nusemtl wood\nf 1/1 2/2 3/3 4/4\n'
PIXELS = np.arange(48, dtype=np.uint8).reshape(4, 4, 3)


def surface(folder, materials, *, head='mtllib a.mtl', body=SQUARE, picture='tex.png'):
    """What is read from a square with a library; `materials` is its text, or texts by name."""
    for name, text in (materials if isinstance(materials, dict) else {'a.mtl': materials}).items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(text.encode() if isinstance(text, str) else text)
    (folder / picture).parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(PIXELS).save(folder / picture)
    path = folder / 'a.obj'
    path.write_text(f'{head}\n{body}')
    return load_surface(path, load_mesh(path))


def check_texture(found, scale=(1, 1), offset=(0, 0)):
    assert (found.texture >= 0).all()
    for texture in found.textures:
        np.testing.assert_array_equal(texture, PIXELS)
    corners = {tuple(uv) for uv in found.uv.reshape(-1, 2).round(5).tolist()}
    assert corners == {(u * scale[0] + offset[0], v * scale[1] + offset[1]) for u in (0, 1) for v in (0, 1)}


@pytest.mark.parametrize(
    ('statement', 'scale', 'offset'),
    [
        ('map_Kd tex.png', (1, 1), (0, 0)),
        ('map_Kd -clamp on tex.png', (1, 1), (0, 0)),
        ('map_Kd -s 2 3 1 -o 0.5 0.25 0 tex.png', (2, 3), (0.5, 0.25)),
        ('map_Kd -o 0.5 -s 2 tex.png', (2, 1), (0.5, 0)),
        ('map_Kd -S 2 2 tex.png', (2, 2), (0, 0)),
        ('map_Kd -bm 0.5 -blendu off -mm 0 1 -t 0 0 0 -texres 64 -imfchan m -type sphere tex.png', (1, 1), (0, 0)),
        ('\tMAP_KD   tex.png  ', (1, 1), (0, 0)),
        ('map_kd\ttex.png', (1, 1), (0, 0)),
        ('map_Kd tex.png # the wood', (1, 1), (0, 0)),
        ('map_Kd "tex.png"', (1, 1), (0, 0)),
        ('map_Kd ./tex.png', (1, 1), (0, 0)),
        ('map_Kd .\\tex.png', (1, 1), (0, 0)),
        ('map_Kd TEX.PNG', (1, 1), (0, 0)),
        ('map_Kd C:\\Users\\me\\my models\\tex.png', (1, 1), (0, 0)),
        ('map_Kd -s 1 1 1 /home/me/tex.png', (1, 1), (0, 0)),
        ('map_Kd ..\\maps\\Tex.png', (1, 1), (0, 0)),
        ('map_Kd tex.png\nmap_Kd gone.png', (1, 1), (0, 0)),
        ('map_Kd tex.png\nKd 0 0 0\nTr 1\nd 0', (1, 1), (0, 0)),
    ],
)
def test_textures_however_they_are_named(tmp_path, statement, scale, offset):
    check_texture(surface(tmp_path, f'newmtl wood\nKd 1 1 1\n{statement}\n'), scale, offset)


@pytest.mark.parametrize('name', ['my wood 2.png', '-my tex.png', '100%.png', 'a%20b.png', '2.png', 'h\u00f6lz.png'])
def test_names_of_textures(tmp_path, name):
    check_texture(surface(tmp_path, f'newmtl wood\nmap_Kd -s 1 1 1 {name}\n', picture=name))


def test_a_texture_beside_its_library(tmp_path):
    texts = {'sub/a.mtl': 'newmtl wood\nmap_Kd tex.png\n'}
    check_texture(surface(tmp_path, texts, head='mtllib sub/a.mtl', picture='sub/tex.png'))


def test_faces_without_texture_coordinates_beside_others(tmp_path):
    found = surface(tmp_path, 'newmtl wood\nmap_Kd tex.png\n', body=SQUARE + 'f 1 2 3\n')
    assert (found.texture >= 0).all() and sorted(found.uv.reshape(3, -1).any(axis=1)) == [False, True, True]


@pytest.mark.parametrize(
    ('head', 'materials'),
    [
        ('mtllib b.mtl a.mtl', {'a.mtl': 'newmtl wood\nKd 1 0 0\n'}),
        ('mtllib a.mtl b.mtl', {'a.mtl': 'newmtl wood\nKd 1 0 0\n', 'b.mtl': 'newmtl wood\nKd 0 0 1\n'}),
        ('mtllib b.mtl\nmtllib a.mtl', {'b.mtl': 'newmtl oak\nKd 0 1 0\n', 'a.mtl': 'newmtl wood\nKd 1 0 0\n'}),
        ('mtllib my b.mtl', {'my b.mtl': 'newmtl wood\nKd 1 0 0\n'}),
        ('\tmtllib\ta.mtl # all', {'a.mtl # all': 'newmtl wood\nKd 1 0 0\n'}),
        ('mtllib a.mtl # all', {'a.mtl': 'newmtl wood\nKd 1 0 0\n'}),
        ('# mtllib b.mtl\nmtllib a.mtl', {'a.mtl': 'newmtl wood\nKd 1 0 0\n', 'b.mtl': 'newmtl wood\nKd 0 0 1\n'}),
        ('mtllib A.MTL', {'a.mtl': '\ufeffnewmtl wood\n\tKd 1 0 0\n'}),
        ('mtllib a.mtl', {'a.mtl': '# by\r\nNEWMTL wood\r\n  KD 1.0 0 0 # red\r\n'}),
        ('mtllib a.mtl', {'a.mtl': b'# \xe4\nnewmtl \xe4\nKd 0 0 1\nnewmtl wood\nKd 0 0 1\nKd 1 0 0\n'}),
        ('mtllib a.mtl', {'a.mtl': 'newmtl wood\nKd spectral a.rfl\nmap_Kd gone.png\nKd 9 -1 0\n'}),
    ],
)
def test_the_colour_of_the_right_library(tmp_path, head, materials):
    found = surface(tmp_path, materials, head=head)
    np.testing.assert_array_equal(found.color, np.tile([1, 0, 0], (2, 1)))
    assert len(found.textures) == 0


@pytest.mark.parametrize('name', ['dark wood', 'dark  wood', 'Material #25', 'wood.001', 'h\u00f6lz'])
def test_names_of_materials(tmp_path, name):
    found = surface(tmp_path, f'newmtl {name}\nKd 1 0 0\nnewmtl wood\nKd 0 0 1\n', body=SQUARE.replace('wood', name))
    np.testing.assert_array_equal(found.color, np.tile([1, 0, 0], (2, 1)))


def test_a_grey_of_one_number_and_no_colour(tmp_path):
    np.testing.assert_allclose(surface(tmp_path, 'newmtl wood\nKd 0.25\n').color, 0.25)
    np.testing.assert_allclose(surface(tmp_path, 'newmtl wood\nNs 3\n').color, 1)
    np.testing.assert_allclose(surface(tmp_path, 'newmtl wood\nKd nan 0 0\n').color, 1)


def test_colours_of_a_file_that_is_mended(tmp_path):
    body = SQUARE.replace('f 1/1 2/2 3/3 4/4', 'f -4/-4 -3/-3 -2/-2 -1/-1') + 'usemtl red\nf -4 -3 -2\n'
    found = surface(tmp_path, 'newmtl wood\nmap_Kd tex.png\nnewmtl red\nKd 1 0 0\n', body=body)
    assert sorted(found.texture) == [-1, 0, 0]
    np.testing.assert_array_equal(found.color[found.texture < 0], [[1, 0, 0]])


def test_nothing_outside_is_opened(tmp_path):
    folder = tmp_path / 'in'
    found = surface(folder, 'newmtl wood\nmap_Kd ../tex.png\nnewmtl b\nmap_Kd link.png\n', picture='../tex.png')
    (folder / 'link.png').symlink_to('../tex.png')
    assert found.textures == () and material_files(folder / 'a.obj') == [folder / 'a.mtl', folder / 'tex.png']


@pytest.mark.parametrize(
    ('head', 'materials'),
    [
        ('mtllib ' + 'a ' * 500_000, 'newmtl wood\nKd 0 0 1\n'),
        ('mtllib ' + 'a' * 5000 + '.mtl a.mtl', 'newmtl wood\nKd 0 0 1\n'),
        ('mtllib a.mtl\n' * 100_000, 'newmtl wood\nKd 1 1 1\n' * 100),
        ('mtllib a.mtl', 'newmtl wood\nmap_Kd ' + '-s 1 ' * 500_000 + 'tex.png\n'),
        ('mtllib a.mtl', 'newmtl wood\nmap_Kd ' + 'x' * 3000 + '\nmap_Kd a/\nmap_Kd /\nmap_Kd "\nmap_Kd -s\n'),
    ],
)
def test_lines_without_end(tmp_path, head, materials):
    start = time.monotonic()
    surface(tmp_path, materials, head=head)
    assert time.monotonic() - start < 20
