"""Colours of mesh files: materials, textures, and what is missing or damaged; textured views of them."""

from pathlib import Path

import numpy as np
import pytest
import references_materials as reference
from PIL import Image

from jaxret.errors import ConfigError
from jaxret.geometry.materials import Surface, barycentric, load_surface, material_files
from jaxret.geometry.mesh import load_mesh
from jaxret.geometry.render import ViewRing, render_file, render_views

CUBE = [(x, y, z) for x in (0, 1) for y in (0, 1) for z in (0, 1)]
SIDES = {
    'left': (1, 2, 4, 3),
    'right': (5, 7, 8, 6),
    'bottom': (1, 5, 6, 2),
    'top': (3, 4, 8, 7),
    'back': (1, 3, 7, 5),
    'front': (2, 6, 8, 4),
}
RED, BLUE = (0.8, 0.1, 0.0), (0.0, 0.2, 1.0)
RING = ViewRing(views=2, elevation=0, size=33, shading='textured')


def write_cube(path, *, materials='', library='cube.mtl', order=tuple(SIDES), used=None, uv=False):
    """A cube, with texture coordinates or not; `used` names the material of each side."""
    lines = [f'mtllib {library}'] if library else []
    lines += [f'v {x} {y} {z}' for x, y, z in CUBE] + ['vt 0 0', 'vt 1 0', 'vt 1 1', 'vt 0 1'] * uv
    for side in order:
        lines += [f'usemtl {used[side]}'] if used else []
        lines.append(
            'f '
            + ' '.join(f'{corner}/{place}' if uv else str(corner) for place, corner in enumerate(SIDES[side], start=1))
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text('\n'.join(lines) + '\n')
    if materials:
        (path.parent / 'cube.mtl').write_text(materials)
    return path


def newmtl(name, color, texture=''):
    return f'newmtl {name}\nKd {" ".join(map(str, color))}\n' + (f'map_Kd {texture}\n' if texture else '')


def surface_of(path):
    return load_surface(path, load_mesh(path))


def grey_of(path, ring=RING):
    return render_views(load_mesh(path), ViewRing(**(vars(ring) | {'shading': 'grey'})))


def test_weights_are_where_the_ray_meets_the_plane():
    rng = np.random.default_rng(0)
    corners, directions, origin = rng.normal(size=(40, 3, 3)), rng.normal(size=(40, 3)), rng.normal(size=3)
    expected = [reference.weights_of(*pair[:1], origin, pair[1]) for pair in zip(corners, directions, strict=True)]
    np.testing.assert_allclose(barycentric(corners, origin, directions), expected, rtol=1e-6, atol=1e-6)
    flat = barycentric(np.zeros((1, 3, 3)), origin, directions[:1])
    np.testing.assert_allclose(flat, 1 / 3)


def test_colours_of_textures_are_those_of_the_oracle():
    rng = np.random.default_rng(1)
    corners = rng.normal(size=(5, 3, 3))
    pictures = (rng.integers(256, size=(3, 7, 3), dtype=np.uint8), rng.integers(256, size=(4, 2, 3), dtype=np.uint8))
    surface = Surface(
        rng.random((5, 3)).astype(np.float32),
        np.array([0, -1, 1, 0, 1], np.int32),
        (3 * rng.normal(size=(5, 3, 2))).astype(np.float32),
        pictures,
    )
    faces = rng.integers(-1, 5, size=60)
    target = np.einsum('mk,mkc->mc', rng.dirichlet(np.ones(3), 60), corners[faces])
    camera = np.array([0.3, 0.4, 8.0])
    found = surface.albedo(faces, corners, camera, target - camera)
    assert {-1, 0, 1} <= set(faces.tolist())
    for face, direction, color in zip(faces, target - camera, found, strict=True):
        if face < 0:
            expected = np.ones(3)
        elif surface.texture[face] < 0:
            expected = surface.color[face]
        else:
            weights = reference.weights_of(corners[face], camera, direction)
            u, v = weights @ surface.uv[face].astype(np.float64)
            expected = reference.texel(pictures[surface.texture[face]], u, v)
        np.testing.assert_allclose(color, expected, atol=1e-6)


def test_materials_colour_their_own_faces_whatever_their_order(tmp_path):
    used = {side: 'red' if side in ('front', 'top', 'left') else 'blue' for side in SIDES}
    path = write_cube(tmp_path / 'cube.obj', materials=newmtl('red', RED) + newmtl('blue', BLUE), used=used)
    mesh, surface = load_mesh(path), surface_of(path)
    assert surface.color.shape == (12, 3) and surface.textures == () and (surface.texture == -1).all()
    for corners, color in zip(mesh.vertices[mesh.faces], surface.color, strict=True):
        red = any((corners[:, axis] == value).all() for axis, value in ((2, 1), (1, 1), (0, 0)))
        np.testing.assert_allclose(color, RED if red else BLUE, atol=1e-6)
    views, grey = render_file(path, RING), grey_of(path)
    assert views.shape == (2, 33, 33, 3) and views.dtype == np.uint8 and RING.channels == 3
    front, back = ((view < 255) for view in grey)
    for view, shade, seen, color in ((views[0], grey[0], front, RED), (views[1], grey[1], back, BLUE)):
        same = view[seen] == np.rint(shade[seen][:, None] * np.float32(color))
        assert same.mean() > 0.98  # a ray along an edge may meet the side behind it
    assert (views[0][~front] == 255).all()


def test_a_mesh_without_colours_gives_the_grey_views(tmp_path):
    path = write_cube(tmp_path / 'cube.obj', library='')
    ring = ViewRing(views=3, size=21, supersample=2, background=9, shading='textured')
    expected = np.repeat(grey_of(path, ring)[..., None], 3, axis=-1)
    np.testing.assert_array_equal(render_file(path, ring), expected)
    np.testing.assert_array_equal(render_views(load_mesh(path), ring), expected)


def half_and_half(path, size=(64, 64)):
    """A picture, black below and green above."""
    pixels = np.zeros((*size, 3), np.uint8)
    pixels[: size[0] // 2, :, 1] = 200
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


@pytest.mark.parametrize(
    ('model', 'texture', 'named'),
    [
        ('cube.obj', 'wood.png', 'wood.png'),
        ('cube.obj', 'images/wood grain.jpg', 'images\\wood grain.jpg'),
        ('models/cube.obj', 'images/wood.png', '../images/wood.png'),
    ],
)
def test_textures_beside_the_file_and_in_shapenets_second_version(tmp_path, model, texture, named):
    half_and_half(tmp_path / texture)
    path = write_cube(
        tmp_path / model, materials=newmtl('wood', RED, named), uv=True, used=dict.fromkeys(SIDES, 'wood')
    )
    surface = surface_of(path)
    assert (surface.texture >= 0).all() and surface.textures[0].shape == (64, 64, 3)
    view, grey = render_file(path, RING)[0], grey_of(path)[0]
    rows = np.flatnonzero((grey < 255).any(axis=1))
    upper, lower = view[rows[2 : len(rows) // 2 - 1], 16], view[rows[len(rows) // 2 + 2 : -2], 16]
    assert (np.abs(upper[:, 1] - float(grey[16, 16]) * 200 / 255) < 3).all() and (upper[:, [0, 2]] < 3).all()
    assert (lower < 3).all()


def test_large_textures_are_shrunk(tmp_path):
    half_and_half(tmp_path / 'wood.png', size=(8, 1500))
    path = write_cube(
        tmp_path / 'cube.obj', materials=newmtl('wood', RED, 'wood.png'), uv=True, used=dict.fromkeys(SIDES, 'wood')
    )
    assert max(surface_of(path).textures[0].shape) == 1024


@pytest.mark.parametrize(
    'fault',
    [
        'no library',
        'no texture',
        'damaged texture',
        'no picture',
        'texture outside',
        'library outside',
        'damaged library',
    ],
)
def test_what_is_missing_or_damaged_is_as_if_it_were_not_named(tmp_path, fault):
    folder, outside = tmp_path / 'data', tmp_path / 'secret.png'
    half_and_half(outside)
    texture = {'texture outside': '../secret.png', 'no picture': 'cube.obj'}.get(fault, 'wood.png')
    materials = newmtl('wood', RED, texture)
    library = {'library outside': '../out.mtl', 'no library': 'none.mtl'}.get(fault, 'cube.mtl')
    path = write_cube(
        folder / 'cube.obj', materials=materials, uv=True, used=dict.fromkeys(SIDES, 'wood'), library=library
    )
    (tmp_path / 'out.mtl').write_text(materials)
    if fault == 'damaged texture':
        half_and_half(folder / 'wood.png')
        data = (folder / 'wood.png').read_bytes()
        (folder / 'wood.png').write_bytes(data[: len(data) // 2])
    if fault == 'damaged library':
        (folder / 'cube.mtl').write_bytes(bytes(range(256)))
    surface = surface_of(path)
    assert surface.textures == () and (surface.texture == -1).all()
    np.testing.assert_allclose(surface.color, np.ones((12, 3)) if 'library' in fault else np.tile(RED, (12, 1)))
    assert render_file(path, RING).shape == (2, 33, 33, 3)


@pytest.mark.parametrize(
    ('head', 'count'),
    [
        ('mtllib cube.mtl', 4),
        ('# by mtllib cube.mtl', 0),
        ('mtllib cube.mtl\nmtllib other.mtl', 5),
        ('mtllib cube.mtl other.mtl none.mtl', 6),
        ('mtllib C:\\Users\\me\\CUBE.MTL', 4),
        ('o cube\r\nmtllib  cube.mtl \r', 4),
        ('mtllib \\\n cube.mtl', 4),
        ('mtllib sub\\wood grain.mtl', 4),
        ('mtllib wood%20grain.mtl', 4),
        ('mtllib h\u00f6lz.mtl', 4),
        ('mtllib none.mtl', 1),
        ('mtllib cube.txt', 4),
        ('mtllib ../out.mtl', 1),
        ('mtllib ../../out.obj', 0),
        ('mtllib cube\0.mtl', 0),
        ('o cube', 0),
    ],
)
@pytest.mark.parametrize('suffix', ['.obj', '.OBJ'])
def test_the_files_of_a_mesh_are_those_that_its_colours_are_read_from(tmp_path, monkeypatch, head, count, suffix):
    path = write_cube(tmp_path / 'in' / f'cube{suffix}', library='', used=dict.fromkeys(SIDES, 'wood'), uv=True)
    path.write_text(f'{head}\n{path.read_text()}')
    for name in (
        'cube.mtl',
        'cube.txt',
        'other.mtl',
        'sub/wood grain.mtl',
        'wood grain.mtl',
        'h\u00f6lz.mtl',
        '../out.mtl',
    ):
        (path.parent / name).parent.mkdir(exist_ok=True)
        (path.parent / name).write_text(
            f'map_Kd early.png\n# {name}\n{newmtl("wood", RED, "wood grain.png")}map_Kd\nmap_Kd \0.png\n'
            f'\tmap_kd  sub/gone.png \nmap_Kd ../out.png\nmap_Kd cube.obj\n{newmtl("oak", BLUE, "wood grain.png")}'
        )
    half_and_half(path.parent / 'wood grain.png')
    half_and_half(path.parent / '../out.png')
    found = material_files(path)
    opened, read_bytes = [], Path.read_bytes

    def noted(self):
        opened.append(self)
        return read_bytes(self)

    monkeypatch.setattr(Path, 'read_bytes', noted)
    surface_of(path)
    assert set(opened) - {path, path.resolve()} == {file for file in found if file.is_file()} and len(found) == count
    assert material_files(path.with_suffix('.stl')) == material_files(tmp_path / 'none.obj') == []


def test_vertex_colours_of_other_formats(tmp_path):
    vertices = [f'{x} {y} {z} {200 * y} 0 {51 * (1 - y)} 255' for x, y, z in CUBE]
    (tmp_path / 'cube.ply').write_text(
        '\n'.join(
            [
                'ply',
                'format ascii 1.0',
                'element vertex 8',
                *(f'property float {axis}' for axis in 'xyz'),
                *(f'property uchar {name}' for name in ('red', 'green', 'blue', 'alpha')),
                'element face 6',
                'property list uchar int vertex_indices',
                'end_header',
                *vertices,
                *(' '.join(['4', *(str(corner - 1) for corner in corners)]) for corners in SIDES.values()),
            ]
        )
        + '\n'
    )
    mesh, surface = load_mesh(tmp_path / 'cube.ply'), surface_of(tmp_path / 'cube.ply')
    share = mesh.vertices[mesh.faces][..., 1].mean(axis=1)
    np.testing.assert_allclose(surface.color[:, 0], share * 200 / 255, atol=0.005)
    np.testing.assert_allclose(surface.color[:, 2], (1 - share) * 0.2, atol=0.005)


def test_another_shading_is_refused():
    with pytest.raises(ConfigError, match="shading must be one of grey, textured, not 'shiny'"):
        ViewRing(shading='shiny')
    assert ViewRing().channels == 1
