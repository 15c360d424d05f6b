"""Models made of others for the benchmark of duplicates: variants whose truth is known, and new shapes.

Apart from that script, as worker processes import what they run.
"""

from pathlib import Path

import fast_simplification
import numpy as np
import trimesh
from scipy.spatial.transform import Rotation

from jaxret.geometry.mesh import Mesh, load_mesh
from jaxret.geometry.registration import agreement, align
from jaxret.geometry.simplify import weld_mesh
from jaxret.preprocessing.shape_pairs import MIRRORED, NEAR, read_signature

SAME, OTHER = 'same', 'other'
_FORMATS = ('obj', 'stl', 'ply', 'glb')
_HOLE = 0.01  # width over the longest side


def family(item: tuple[Path, Path]) -> dict[str, str]:
    """Writes the variants of a model; what each is to the model, by its name."""
    path, folder = item
    folder.mkdir(parents=True)
    mesh = weld_mesh(load_mesh(path))
    draw = np.random.default_rng(int(folder.name))
    kinds: dict[str, str] = {}

    def write(name: str, kind: str, vertices: np.ndarray, faces: np.ndarray) -> None:
        trimesh.Trimesh(vertices, faces, process=False).export(folder / name)
        kinds[name] = kind

    def turned(vertices: np.ndarray) -> np.ndarray:
        turn = Rotation.random(random_state=int(draw.integers(2**31))).as_matrix()
        return vertices @ turn.T + draw.normal(size=3) * np.ptp(vertices, axis=0).max()

    write('model.off', SAME, mesh.vertices, mesh.faces)
    write('turned.off', SAME, turned(mesh.vertices), mesh.faces)
    write('scaled.off', SAME, turned(mesh.vertices) * draw.choice([0.001, 0.0393701, 10, 25.4]), mesh.faces)
    fine = trimesh.remesh.subdivide(mesh.vertices, mesh.faces)
    write('fine.ply', SAME, turned(fine[0]), fine[1])
    for suffix in _FORMATS:
        write(f'converted.{suffix}', SAME, mesh.vertices, mesh.faces)
    coarse = decimated(mesh)
    if len(coarse.faces):
        kind = SAME if agreement(coarse, mesh).same else OTHER
        write('coarse.off', kind, turned(coarse.vertices), coarse.faces)
    reflected = Mesh(mesh.vertices * [-1, 1, 1], mesh.faces[:, ::-1])
    kind = SAME if align(reflected, mesh, mirrors=False).same else MIRRORED
    write('mirrored.off', kind, turned(reflected.vertices), reflected.faces)
    holed = with_hole(mesh)
    if holed is not None:
        write('hole.off', NEAR, turned(holed.vertices), holed.faces)
    return kinds


def decimated(mesh: Mesh) -> Mesh:
    vertices, faces = fast_simplification.simplify(
        mesh.vertices.astype(np.float32), mesh.faces.astype(np.int32), target_reduction=0.5
    )
    return Mesh(np.asarray(vertices, np.float64), np.asarray(faces, np.int64))


def with_hole(mesh: Mesh) -> Mesh | None:
    """With a square blind hole in the middle of its widest triangle; None where none is wide enough."""
    corners = mesh.vertices[mesh.faces]
    sides = np.linalg.norm(np.roll(corners, -1, axis=1) - corners, axis=2)
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    twice = np.linalg.norm(normals, axis=1)
    inner = twice / sides.sum(axis=1)  # radius of the circle that touches the three sides
    face, width = int(inner.argmax()), _HOLE * np.ptp(mesh.vertices, axis=0).max()
    if inner[face] < width:
        return None
    middle = (sides[face, [1, 2, 0]] @ corners[face]) / sides[face].sum()
    up = normals[face] / twice[face]
    along = (corners[face, 1] - corners[face, 0]) / sides[face, 0]
    across = np.cross(up, along)
    ring = middle + width / 2 * np.array([-along - across, along - across, along + across, across - along])
    vertices = np.concatenate([mesh.vertices, ring, ring - up * width])
    top = np.arange(4) + len(mesh.vertices)
    low = top + 4
    own = mesh.faces[face]
    angles = [np.arctan2((p - middle) @ across, (p - middle) @ along) for p in (*corners[face], *ring)]
    outer, inner_ring = (list(x) for x in (own, top))
    around = _band(outer, angles[:3], inner_ring, angles[3:])
    walls = [[a, b, c] for i in range(4) for j in ((i + 1) % 4,) for a, b, c in (
        (top[i], top[j], low[j]), (top[i], low[j], low[i]))]  # fmt: skip
    floor = [[low[0], low[1], low[2]], [low[0], low[2], low[3]]]
    faces = np.concatenate([np.delete(mesh.faces, face, axis=0), np.array([*around, *walls, *floor])])
    return Mesh(vertices, faces)


def _band(outer: list[int], outer_angles: list[float], ring: list[int], ring_angles: list[float]) -> list[list[int]]:
    """Triangles between a triangle and a ring of corners within it, both counter-clockwise."""
    full = 2 * np.pi
    start = int(np.argmin([(angle - ring_angles[0]) % full for angle in outer_angles]))
    outer, outer_angles = (list(np.roll(x, -start)) for x in (outer, outer_angles))
    base = ring_angles[0]
    first = [(angle - base) % full for angle in outer_angles]
    second = [(angle - base) % full for angle in ring_angles]
    result, i, j = [], 0, 0
    while i < len(outer) or j < len(ring):
        following_outer = first[i + 1] if i + 1 < len(outer) else full + (first[0] if i + 1 == len(outer) else full)
        following_ring = second[j + 1] if j + 1 < len(ring) else full + (0 if j + 1 == len(ring) else full)
        a, b = outer[i % len(outer)], ring[j % len(ring)]
        if j < len(ring) and (i >= len(outer) or following_ring <= following_outer):
            result.append([a, ring[(j + 1) % len(ring)], b])
            j += 1
        else:
            result.append([a, outer[(i + 1) % len(outer)], b])
            i += 1
    return result


def deformed(item: tuple[Path, Path]) -> tuple[str, np.ndarray]:
    """Writes a model, stretched and bent; its checksum and signature."""
    path, target = item
    mesh = load_mesh(path)
    draw = np.random.default_rng(int(target.stem))
    points = (mesh.vertices - mesh.vertices.mean(axis=0)) / np.ptp(mesh.vertices, axis=0).max()
    points = points * draw.uniform(0.5, 2, 3)
    x, y, z = points.T
    bend = draw.uniform(-0.5, 0.5)
    points = np.stack([x, y + bend * x * x, z + draw.uniform(-0.5, 0.5) * x * y], axis=1)
    trimesh.Trimesh(points.astype(np.float32), mesh.faces, process=False).export(target)
    return read_signature(target)
