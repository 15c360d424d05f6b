"""Views equal those of the plain way bit by bit, although rays that must miss are left out and others cast together."""

import numpy as np
import pytest
import references_render as reference
import trimesh
from PIL import Image

from jaxret.geometry import rays
from jaxret.geometry.materials import load_surface
from jaxret.geometry.mesh import Mesh, load_mesh
from jaxret.geometry.rays import PACKETS, build_scene, first_hits
from jaxret.geometry.render import ViewRing, render_file, render_views


def bumpy_ball(side=16):
    ball = trimesh.creation.uv_sphere(count=[side, side])
    bumps = 1 + 0.05 * np.sin(9 * ball.vertices).sum(axis=1, keepdims=True)
    return Mesh(ball.vertices * bumps, np.asarray(ball.faces, np.int64))


def soup(triangles=60):
    corners = np.random.default_rng(5).normal(size=(3 * triangles, 3))
    return Mesh(corners, np.arange(3 * triangles).reshape(-1, 3))


def twice():
    """A box whose faces occur again, turned round, and a thin sheet through it."""
    box = trimesh.creation.box((1, 0.4, 0.7))
    sheet = Mesh(np.array([[-1, 0.1, -1], [1, 0.1, -1], [1, 0.1, 1.0]]), np.array([[0, 1, 2]]))
    faces = np.concatenate([box.faces, box.faces[:, ::-1], sheet.faces + len(box.vertices)])
    return Mesh(np.concatenate([box.vertices, sheet.vertices]), faces)


def speck():
    """A shape beside a stray face so far away that no ray meets either."""
    small = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0]], float)
    return Mesh(np.concatenate([small, small / 10 + [199, 9, 9]]), np.arange(6).reshape(2, 3))


@pytest.mark.parametrize(
    'ring',
    [
        ViewRing(size=64),
        ViewRing(views=5, size=37, elevation=-20, first_azimuth=11, background=0),
        ViewRing(views=3, size=15, supersample=3, field_of_view=80),
        ViewRing(views=2, size=1),
        ViewRing(views=7, size=6),
        ViewRing(views=4, size=30, supersample=2, elevation=90),
    ],
    ids=['even', 'odd', 'supersampled', 'one pixel', 'small', 'from above'],
)
@pytest.mark.parametrize('make', [bumpy_ball, soup, twice, speck])
def test_views_equal_the_plain_way(make, ring):
    views = render_views(make(), ring)
    np.testing.assert_array_equal(views, reference.views(make(), ring))
    assert views.shape == (ring.views, ring.size, ring.size) and views.flags.c_contiguous
    if make is not speck and ring.size > 1:
        assert len(np.unique(views)) > 2


def test_a_shape_of_many_packets_equals_the_plain_way():
    ring = ViewRing(views=3, size=160)  # packets of several views are cast together, more than fit at once
    assert 4 * PACKETS < 3 * (160 // 4) ** 2
    np.testing.assert_array_equal(render_views(bumpy_ball(40), ring), reference.views(bumpy_ball(40), ring))


@pytest.mark.parametrize(
    'ring',
    [ViewRing(views=3, size=50, shading='textured'), ViewRing(views=2, size=13, supersample=2, shading='textured')],
)
def test_textured_views_equal_the_plain_way(tmp_path, ring):
    ball = bumpy_ball()
    lines = [
        'mtllib ball.mtl',
        *('v {} {} {}'.format(*vertex) for vertex in ball.vertices.tolist()),
        *('vt {} {}'.format(*vertex[:2]) for vertex in ball.vertices.tolist()),
    ]
    for number, face in enumerate((ball.faces + 1).tolist()):
        lines += [('usemtl painted', 'usemtl plain')[number % 3 == 0], 'f ' + ' '.join(f'{c}/{c}' for c in face)]
    path = tmp_path / 'ball.obj'
    path.write_text('\n'.join(lines) + '\n')
    (tmp_path / 'ball.mtl').write_text('newmtl painted\nmap_Kd p.png\nnewmtl plain\nKd 0.2 0.9 0.4\n')
    Image.fromarray(np.random.default_rng(1).integers(256, size=(9, 7, 3), dtype=np.uint8)).save(tmp_path / 'p.png')
    mesh = load_mesh(path)
    surface = load_surface(path, mesh)
    assert len(surface.textures) == 1
    expected = reference.views(mesh, ring, surface)
    assert len(np.unique(expected[..., 0])) > 20
    np.testing.assert_array_equal(render_file(path, ring), expected)


@pytest.mark.parametrize('count', [0, 1, 15, 16, 33, 16 * PACKETS + 5])
def test_first_hits_of_any_number_of_rays(count):
    mesh, rng = bumpy_ball(), np.random.default_rng(2)
    origins = 3 * rng.normal(size=(count, 3)).astype(np.float32)
    directions = rng.normal(size=(count, 3)).astype(np.float32) - origins
    faces, distances = first_hits(build_scene(mesh.vertices, mesh.faces, watertight=False), origins, directions)
    expected, far = reference.first_hits(mesh.vertices, mesh.faces, origins, directions)
    np.testing.assert_array_equal(faces, expected)
    np.testing.assert_allclose(distances[faces >= 0], far[expected >= 0], rtol=1e-5)
    assert count < 10 or 0 < (faces >= 0).sum() < count


def test_rays_along_edges_meet_what_they_meet_alone(monkeypatch):
    mesh = bumpy_ball(24)
    corners = mesh.vertices[mesh.faces]
    share = np.random.default_rng(3).random((len(corners), 40, 1))
    points = (share * corners[:, None, 0] + (1 - share) * corners[:, None, 1]).reshape(-1, 3)
    origin = np.array([0.2, 0.3, 4.0], np.float32)
    directions = (points - origin).astype(np.float32)
    expected, _ = reference.first_hits(mesh.vertices, mesh.faces, origin, directions)
    scene = build_scene(mesh.vertices, mesh.faces, watertight=False)
    agree = (first_hits(scene, origin, directions)[0] == expected).mean()
    monkeypatch.setattr(rays, '_EDGE', -1.0)
    agree_together = (first_hits(scene, origin, directions)[0] == expected).mean()
    assert agree > 0.995 and agree >= agree_together
