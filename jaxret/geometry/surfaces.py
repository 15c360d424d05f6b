"""A mesh as a surface to compare another with: where it is nearest, and how far off its triangles may lie.

Letters: V vertices, F faces, E edges, M points.
"""

import functools
from dataclasses import dataclass

import numpy as np
from scipy.spatial import cKDTree
from trimesh.triangles import closest_point

from jaxret.geometry.mesh import Mesh, face_normals
from jaxret.geometry.points import surface_points
from jaxret.geometry.polygons import bisected
from jaxret.geometry.simplify import weld_mesh

# An edge between faces that turn by less is part of a curved surface, else a feature of the shape.
SMOOTH_DEGREES = 40.0
_COVER = 6000  # pieces by which the nearest face is found, about, beside one a face
_PIECES = 8 * _COVER  # at most, beside one a face
_FAR, _ROUGHLY = 0.3, 0.1  # a distance, and by what share of it the nearest may be nearer to points further off
_NEAREST = 6  # faces whose distance to a point is computed first
_BLOCK = 65536
_EXACT = 64  # points whose distance is made exact at once
_PROBE = 0.003  # how far past an edge the other surface is probed, as a share of the longest side
_MOST = 6000  # points of each kind that are compared
_UNIFORM = 3000


@dataclass(frozen=True, eq=False)
class Edges:
    """The edges of a mesh: the faces [E, 2] at each (the same twice at a border), and by how much they turn [E]."""

    vertices: np.ndarray
    faces: np.ndarray
    angles: np.ndarray  # radians; pi at borders and where more than two faces meet


class Surface:
    """A welded mesh, its area's centroid at 0 and the root mean square distance of its area from there 1.

    Attributes:
      centre, radius: what it was moved and scaled by: own coordinates = (coordinates - centre) / radius.
      vertices: float64 [V, 3], own coordinates.
      faces: int64 [F, 3].
      side: longest side of the mesh's box, in own coordinates.
      moments: float64 [3], and axes [3, 3], one a column: principal second moments of the area, largest first.
    """

    def __init__(self, mesh: Mesh):
        welded = weld_mesh(mesh)
        low = welded.vertices.min(axis=0)
        extent = np.ptp(welded.vertices, axis=0).max()
        vertices = (welded.vertices - low) / extent  # huge coordinates would lose the moments' digits
        areas = np.linalg.norm(face_normals(vertices[welded.faces]), axis=1)
        weights = areas / areas.sum()
        centre = weights @ vertices[welded.faces].mean(axis=1)
        corners = vertices[welded.faces] - centre
        # the second moment of a triangle is that of its three corners and three times its centroid, over 12
        middle = corners.mean(axis=1)
        second = np.einsum('f,fki,fkj->ij', weights, corners, corners)
        second = (second + 9 * np.einsum('f,fi,fj->ij', weights, middle, middle)) / 12
        radius = np.sqrt(np.trace(second))
        moments, axes = np.linalg.eigh(second / radius**2)
        self.centre, self.radius = low + extent * centre, float(extent * radius)
        self.vertices, self.faces = (vertices - centre) / radius, welded.faces
        self.side = float(np.ptp(self.vertices, axis=0).max())
        self.moments, self.axes = moments[::-1], axes[:, ::-1]

    @functools.cached_property
    def corners(self) -> np.ndarray:
        """[F, 3, 3]."""
        return self.vertices[self.faces]

    @functools.cached_property
    def normals(self) -> np.ndarray:
        """Of length 1, [F, 3]."""
        normals = face_normals(self.corners)
        return normals / np.linalg.norm(normals, axis=1, keepdims=True)

    @functools.cached_property
    def edges(self) -> Edges:
        """All edges."""
        return _edges(self.faces, self.normals)

    @functools.cached_property
    def sagitta(self) -> np.ndarray:
        """How far a curved surface may lie off each triangle that stands for it, float64 [F]; 0 for flat ones.

        Two triangles of width w (perpendicular to their edge) that turn by t against each other lie on a surface of
        curvature of about t / w, which leaves the chord by w t / 8 on a cylinder and w t / 4 in the middle of an
        equilateral triangle on a sphere. The latter, with the smaller of both widths, as a wide flat face may end at a
        fillet; the largest of a face's edges.
        """
        edges, smooth = self.edges, self.edges.angles < np.radians(SMOOTH_DEGREES)
        first, second = edges.faces[smooth].T
        ends = self.vertices[edges.vertices[smooth]]
        lengths = np.linalg.norm(ends[:, 1] - ends[:, 0], axis=1)
        twice = np.linalg.norm(face_normals(self.corners), axis=1)
        own = np.minimum(twice[first], twice[second]) / lengths * edges.angles[smooth] / 4
        result = np.zeros(len(self.faces))
        np.maximum.at(result, first, own)
        np.maximum.at(result, second, own)
        return result

    @functools.cached_property
    def uniform(self) -> tuple[np.ndarray, np.ndarray]:
        """Points spread evenly over the area, [M, 3], in an order of which every start is, and the face of each."""
        return surface_points(self.corners, _UNIFORM)

    @functools.cached_property
    def samples(self) -> tuple[np.ndarray, np.ndarray]:
        """What must lie on another surface: the even points, vertices, centroids, edges' middles; and face of each.

        Where there are too many of a kind, those at features come first.
        """
        edges = self.edges
        order = np.argsort(-edges.angles, kind='stable')[:_MOST]
        at_features = np.concatenate([edges.faces[order].ravel(), np.arange(len(self.faces))])
        _, first = np.unique(at_features, return_index=True)
        faces = at_features[np.sort(first)][:_MOST]
        # a vertex has the tolerance of the most curved of its faces
        by_curve = np.argsort(self.sagitta, kind='stable')
        face_of = np.empty(len(self.vertices), np.int64)
        face_of[self.faces[by_curve].ravel()] = np.repeat(by_curve, 3)
        near = self.faces[faces].ravel()
        _, first = np.unique(near, return_index=True)
        vertices = near[np.sort(first)][:_MOST]
        more = np.where(self.sagitta[edges.faces[order, 0]] > self.sagitta[edges.faces[order, 1]], 0, 1)
        points = [
            self.uniform[0],
            self.vertices[vertices],
            self.corners[faces].mean(axis=1),
            self.vertices[edges.vertices[order]].mean(axis=1),
        ]
        owners = [self.uniform[1], face_of[vertices], faces, edges.faces[order, more]]
        return np.concatenate(points), np.concatenate(owners)

    @functools.cached_property
    def probes(self) -> np.ndarray:
        """Points just past the sharp edges and borders, each where a face would go on: [M, 3].

        Where another surface goes on there, it has material where this one has a hole, whatever the hole's size.
        """
        edges = self.edges
        sharp = np.flatnonzero(edges.angles >= np.radians(SMOOTH_DEGREES))[:_MOST]
        ends = self.vertices[edges.vertices[sharp]]
        middle, along = ends.mean(axis=1), ends[:, 1] - ends[:, 0]
        result = []
        for face in edges.faces[sharp].T:
            out = np.cross(along, self.normals[face])
            out /= np.linalg.norm(out, axis=1, keepdims=True)
            inside = ((self.corners[face].mean(axis=1) - middle) * out).sum(axis=1, keepdims=True) > 0
            result.append(middle + np.where(inside, -out, out) * _PROBE * self.side)
        return np.concatenate(result)

    @functools.cached_property
    def _pieces(self) -> tuple[cKDTree, np.ndarray, list[tuple[cKDTree, np.ndarray, float]]]:
        """Middles of the faces, large ones in pieces, and the face of each; and the same apart by size, with that."""
        spacing = np.sqrt(np.linalg.norm(face_normals(self.corners), axis=1).sum() / _COVER)
        corners, faces = bisected(self.corners, 2 * spacing, most=_PIECES + len(self.faces))
        middles = corners.mean(axis=1)
        reach = np.linalg.norm(corners - middles[:, None], axis=2).max(axis=1)
        size = np.minimum(np.log2(reach.max() / reach).astype(int) // 2, 8)
        parts = [np.flatnonzero(size == number) for number in np.unique(size)]
        trees = [(_tree(middles[part]), faces[part], float(reach[part].max())) for part in parts]
        return _tree(middles), faces, trees

    def near(self, points: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """About the nearest place of each point: distance [M], place [M, 3], face [M]; fast, for registration."""
        tree, faces, _ = self._pieces
        distances, rows = (found[:, 0] for found in _nearest(tree, points, 1))
        return distances, tree.data[rows], faces[rows]

    def places(self, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """A place on the triangles that is about nearest to each point [M, 3], [M, 3], and its face [M]."""
        _, _, faces = self._among(points, *self._some(points))
        return closest_point(self.corners[faces], points), faces

    def nearest(self, points: np.ndarray, allowed: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """How far points lie from the triangles, and which of them too far.

        Args:
          points: in own coordinates, [M, 3].
          allowed: how far off each may lie, [M]; what the nearest triangle leaves of a curve (`sagitta`) comes on top.

        Returns:
          Distances [M], of which the largest is exact to a hundredth and the others may be too large; and bool [M],
          none true where none is too far, else perhaps some that are not.
        """
        distances, sagitta, _ = self._among(points, *self._some(points))
        exact, limits = np.zeros(len(points), bool), allowed + sagitta
        while True:
            most = 1.01 * distances.max(where=exact, initial=0) + 1e-5
            far = distances > limits
            unsure = distances > most if (far & exact).any() else (distances > most) | far
            chosen = np.flatnonzero(unsure & ~exact)
            if not len(chosen):
                return distances, far
            chosen = chosen[np.argsort(-distances[chosen], kind='stable')[:_EXACT]]
            pairs = self._within(points[chosen], distances[chosen])
            distances[chosen], sagitta, _ = self._among(points[chosen], *pairs)
            limits[chosen] = allowed[chosen] + sagitta
            exact[chosen] = True

    def _some(self, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Pairs of points and faces (rows of each) near them, in the points' order."""
        tree, faces, _ = self._pieces
        count = min(_NEAREST, tree.n)
        rows = _nearest(tree, points, count)[1].reshape(-1)
        return np.repeat(np.arange(len(points)), count), faces[rows]

    def _within(self, points: np.ndarray, distances: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """As `_some`, of each point all faces that may be as near as a distance."""
        ones, others = [], []
        for tree, faces, reach in self._pieces[2]:
            found = tree.query_ball_point(points, distances * (1 + 1e-6) + reach)
            counts = [len(rows) for rows in found]
            ones.append(np.repeat(np.arange(len(points)), counts))
            others.append(faces[np.concatenate([rows for rows in found if rows] or [[]]).astype(int)])
        one, other = np.concatenate(ones), np.concatenate(others)
        pairs = np.unique(one * len(self.faces) + other)
        return pairs // len(self.faces), pairs % len(self.faces)

    def _among(self, points: np.ndarray, rows: np.ndarray, faces: np.ndarray) -> tuple[np.ndarray, ...]:
        """Distance, sagitta and face of the nearest of the faces that are paired with each point."""
        distances = np.concatenate(
            [
                self._distances(points[rows[start : start + _BLOCK]], faces[start : start + _BLOCK])
                for start in range(0, len(rows), _BLOCK)
            ]
        )
        starts = np.flatnonzero(np.diff(rows, prepend=-1))
        least = np.minimum.reduceat(distances, starts)
        equal = distances <= np.repeat(least, np.diff(np.append(starts, len(rows)))) + 1e-6 * self.side
        sagitta = np.maximum.reduceat(np.where(equal, self.sagitta[faces], 0), starts)
        first = np.maximum.reduceat(np.where(equal, np.arange(len(rows)), -1), starts)
        return least, sagitta, faces[first]

    @functools.cached_property
    def _sides(self) -> tuple[np.ndarray, ...]:
        """First corner and the two sides from there of each face, [F, 9], and their products, each [F]."""
        a, b, c = self.corners.swapaxes(0, 1)
        sides = np.concatenate([a, b - a, c - a], axis=1)
        first, second = sides[:, 3:6], sides[:, 6:]
        return sides, (first * first).sum(1), (first * second).sum(1), (second * second).sum(1)

    def _distances(self, points: np.ndarray, faces: np.ndarray) -> np.ndarray:
        """Distance of each point [M, 3] to one face [M], by products of vectors (Ericson, 2005, 5.1.5), [M]."""
        sides, bb, bc, cc = self._sides
        own = sides[faces]
        bb, bc, cc = bb[faces], bc[faces], cc[faces]
        points = points - own[:, :3]
        b, c = np.einsum('mi,mi->m', points, own[:, 3:6]), np.einsum('mi,mi->m', points, own[:, 6:])
        whole = np.einsum('mi,mi->m', points, points)
        area = bb * cc - bc * bc
        v, w = (cc * b - bc * c) / area, (bb * c - bc * b) / area
        within = (v >= 0) & (w >= 0) & (v + w <= 1)
        third, along = bb + cc - 2 * bc, c - b - bc + bb  # the side from b to c
        squares = [
            start - share * (2 * product - share * length)
            for start, product, length in ((whole, b, bb), (whole, c, cc), (whole - 2 * b + bb, along, third))
            for share in (np.clip(product / length, 0, 1),)
        ]
        least = np.minimum(np.minimum(*squares[:2]), squares[2])
        return np.sqrt(np.maximum(np.where(within, whole - v * b - w * c, least), 0))


def _tree(points: np.ndarray) -> cKDTree:
    return cKDTree(points, balanced_tree=False, compact_nodes=False)


def _nearest(tree: cKDTree, points: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Distances and rows of the nearest to each point, [M, count], roughly where they are far.

    In the middle of a ball all of it is about as near, and a search for the nearest would go through the whole tree.
    """
    wanted = np.arange(1, count + 1)
    distances, rows = tree.query(points, k=wanted, distance_upper_bound=_FAR)
    for eps, missing in ((_ROUGHLY, rows[:, 0] == tree.n), (0.0, (rows[:, 0] < tree.n) & (rows[:, -1] == tree.n))):
        if missing.any():
            distances[missing], rows[missing] = tree.query(points[missing], k=wanted, eps=eps)
    return distances, rows


def _edges(faces: np.ndarray, normals: np.ndarray) -> Edges:
    directed = np.stack([faces, np.roll(faces, -1, axis=1)], axis=2).reshape(-1, 2)
    forward = directed[:, 0] < directed[:, 1]
    ends = np.sort(directed, axis=1)
    key = ends[:, 0] * (faces.max() + 1) + ends[:, 1]
    order = np.argsort(key, kind='stable')
    starts = np.flatnonzero(np.diff(key[order], prepend=-1))
    counts = np.diff(np.append(starts, len(order)))
    first, second = order[starts], order[starts + np.minimum(counts, 2) - 1]
    cosines = (normals[first // 3] * normals[second // 3]).sum(axis=1)
    cosines = np.where(forward[first] == forward[second], -cosines, cosines)  # faces that are turned against each other
    angles = np.where(counts == 2, np.arccos(np.clip(cosines, -1, 1)), np.pi)
    return Edges(ends[first], np.stack([first // 3, second // 3], axis=1), angles)
