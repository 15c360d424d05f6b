"""Size, area, volume and gaps of meshes against the right values and slow oracles."""

import numpy as np
import pytest
from box_files import BOX, TRIANGLES
from gltf_files import Builder

from jaxret.geometry.measures import enclosed_volume, is_inside_out, mesh_facts, surface_area
from jaxret.geometry.mesh import Mesh, load_mesh

FACES = np.array(TRIANGLES)
TETRAHEDRON = Mesh(
    np.array([(0, 0, 0), (3, 0, 0), (0, 4, 0), (0, 0, 5.0)]), np.array([(0, 2, 1), (0, 1, 3), (0, 3, 2), (1, 2, 3)])
)


def soup(mesh):
    """As an STL file has it: three vertices a triangle."""
    return Mesh(mesh.vertices[mesh.faces].reshape(-1, 3), np.arange(mesh.faces.size).reshape(-1, 3))


def joined(*meshes):
    starts = np.cumsum([0, *(len(mesh.vertices) for mesh in meshes)])
    faces = [mesh.faces + start for mesh, start in zip(meshes, starts, strict=False)]
    return Mesh(np.concatenate([mesh.vertices for mesh in meshes]), np.concatenate(faces))


def box(size=1.0, at=0.0, *, inside_out=False):
    return Mesh(BOX * size + at, FACES[:, ::-1] if inside_out else FACES)


def open_edges(mesh):
    """Edges that an odd number of triangles have, counted one by one."""
    counts = {}
    for triangle in mesh.faces:
        corners = [tuple(mesh.vertices[corner] + 0.0) for corner in triangle]
        for one, other in zip(corners, corners[1:] + corners[:1], strict=True):
            edge = frozenset((one, other))
            counts[edge] = counts.get(edge, 0) + 1
    return [edge for edge, count in counts.items() if len(edge) == 2 and count % 2]


def summed_volume(mesh):
    """Of the pyramids from the origin to each triangle."""
    return sum(np.linalg.det(mesh.vertices[face]) / 6 for face in mesh.faces)


def summed_area(mesh):
    total = 0.0
    for face in mesh.faces:
        a, b, c = (np.linalg.norm(mesh.vertices[face[k]] - mesh.vertices[face[k - 1]]) for k in range(3))
        half = (a + b + c) / 2
        total += np.sqrt(max(half * (half - a) * (half - b) * (half - c), 0))
    return total


@pytest.mark.parametrize(
    ('mesh', 'volume'),
    [
        (box(), 6),
        (box(inside_out=True), 6),
        (soup(box(2.0, 1e6)), 48),
        (TETRAHEDRON, 10),
        (joined(box(), box(at=(10, 0, 0))), 12),
        (joined(box(), box(at=(2, 0, 0))), 12),  # which share a side
        (joined(box(4.0), box(at=(1, 1, 1), inside_out=True)), 4**3 * 6 - 6),  # a cavity
        (joined(box(), Mesh(np.array([(0, 0, 0), (2, 0, 0), (2, 0, 0.0)]), np.array([(0, 1, 2)]))), 6),  # no area
    ],
)
def test_closed_surfaces(mesh, volume):
    closed, found = enclosed_volume(mesh)
    assert closed and not open_edges(mesh)
    assert found == pytest.approx(volume, rel=1e-9)
    assert found == pytest.approx(abs(summed_volume(Mesh(mesh.vertices - mesh.vertices[0], mesh.faces))), rel=1e-9)
    assert surface_area(mesh) == pytest.approx(summed_area(mesh), rel=1e-6)


def test_surfaces_that_enclose_nothing():
    for mesh in (Mesh(BOX, FACES[:-2]), Mesh(BOX, FACES[1:]), soup(Mesh(BOX, FACES[:-1]))):
        assert open_edges(mesh) and enclosed_volume(mesh) == (False, None)
    sheet = Mesh(BOX, np.concatenate([FACES[:-2], FACES[:-2, ::-1]]))  # an open box, drawn from both sides
    assert enclosed_volume(sheet) == (False, None)
    turned = FACES.copy()
    turned[3] = turned[3, ::-1]
    assert enclosed_volume(Mesh(BOX, turned)) == (True, None)  # closed; its sides do not agree
    assert surface_area(Mesh(BOX, turned)) == pytest.approx(22)


def test_facts_in_millimetres_and_along_the_axes_of_the_file():
    inches = Mesh(BOX, FACES, 25.4, 'Box', ('#ff0000',))
    facts = mesh_facts(inches)
    assert facts == {
        'name': 'Box',
        'unit': 'in',
        'size': [2, 1, 3],
        'size_mm': [50.8, 25.4, 76.2],
        'area': 14193.5,
        'volume': 98322.4,
        'triangles': 12,
        'watertight': True,
        'colors': ['#ff0000'],
    }
    assert mesh_facts(inches, up_axis='z')['size'] == [2, 3, 1]  # as y and z were before they were turned
    assert [mesh_facts(Mesh(BOX, FACES, unit))['unit'] for unit in (1000.0, 1.0, 0.001, 2.0)] == [
        'm',
        'mm',
        'um',
        '2 mm',
    ]
    unknown = mesh_facts(Mesh(BOX / 3, FACES[1:]))
    assert unknown['unit'] is unknown['size_mm'] is unknown['volume'] is None
    assert unknown['size'] == [0.666667, 0.333333, 1.0] and unknown['triangles'] == 11 and unknown['colors'] == []
    assert mesh_facts(Mesh(BOX * 1e100, FACES, 1e9))['volume'] is None  # more than a float64 holds


def test_an_axis_turned_file_has_its_own_extents(tmp_path):
    lines = [' '.join(map(str, row)) for row in (*BOX, *((3, *face) for face in FACES))]
    (tmp_path / 'box.off').write_text('\n'.join(['OFF', '8 12 0', *lines]))
    for axis in 'yz':
        assert mesh_facts(load_mesh(tmp_path / 'box.off', up_axis=axis), up_axis=axis)['size'] == [2, 1, 3]


def test_colors_of_materials_and_vertices(tmp_path):
    built = Builder()
    for material in (0, 1, 1, 2, 7):
        built.part(material=material)
    factors = ([0.21586, 0, 1, 1], [1, 0, 0, 0.5], None)
    built.extra['materials'] = [
        {'pbrMetallicRoughness': {'baseColorFactor': factor}} if factor else {} for factor in factors
    ]
    (tmp_path / 'a.glb').write_bytes(built.glb())
    assert load_mesh(tmp_path / 'a.glb').colors == ('#ff0000', '#8000ff')  # of linear light .21586 is half
    points = '\n'.join(f'{x} {y} {z} 10 {20 if x else 30} 255' for x, y, z in BOX)
    head = ''.join(f'property float {axis}\n' for axis in 'xyz') + ''.join(
        f'property uchar {name}\n' for name in ('red', 'green', 'blue')
    )
    sides = '\n'.join(f'3 {a} {b} {c}' for a, b, c in FACES[:11])
    (tmp_path / 'a.ply').write_text(
        f'ply\nformat ascii 1.0\nelement vertex 8\n{head}element face 11\n'
        f'property list uchar int vertex_indices\nend_header\n{points}\n{sides}\n'
    )
    assert sorted(load_mesh(tmp_path / 'a.ply').colors) == ['#0a14ff', '#0a1eff']


def test_a_closed_surface_may_be_inside_out():
    assert is_inside_out(box(inside_out=True)) and not is_inside_out(box())
    assert not is_inside_out(Mesh(BOX, FACES[1:, ::-1]))  # open
