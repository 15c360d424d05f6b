"""Concave polygons of mesh files into triangles; the readers make fans of all polygons, which spill out of those.

Letters: n corners of a polygon, N vertices.
"""

import numpy as np

from jaxret.geometry.formats import UnusableMesh

MAX_WORK = 10**8  # squares of the numbers of corners of all concave polygons of five or more: time grows with them
_FLAT = 1e-12  # twice the area, in a polygon of size 1, of a triangle that counts as a line
_STRAIGHT = 1e-4  # sine of the turn at a corner, below which it counts as straight


def cut_concave(indices: np.ndarray, sizes: np.ndarray, vertices: np.ndarray) -> dict[int, list[tuple[int, int, int]]]:
    """Triangles of the concave ones among faces; faces that name a vertex that is not there are passed over.

    Args:
      indices: int64, the vertices of the first face in order, then of the second, ...
      sizes: int64 [faces], the number of corners of each.
      vertices: [N, 3].

    Returns:
      By number of the face: triangles as positions in it, which turn as it does. A face that crosses itself has no
      right triangles; its own ones use every corner.

    Raises:
      UnusableMesh: concave faces have too many corners (`MAX_WORK`).
    """
    starts = np.cumsum(sizes) - sizes
    cut, work = {}, 0
    for size in np.unique(sizes[sizes > 3]):
        places = np.flatnonzero(sizes == size)
        faces = indices[starts[places, None] + np.arange(size)]
        sound = ((faces >= 0) & (faces < len(vertices))).all(axis=1)
        places, corners = places[sound], vertices[faces[sound]]
        turns = _turns(corners)
        concave = np.flatnonzero((turns < -_STRAIGHT).any(axis=1))
        if size == 4:  # from the corner that turns inwards
            inward = turns[concave].argmin(axis=1)
            cut |= {
                int(place): [(k, (k + 1) % 4, (k + 2) % 4), (k, (k + 2) % 4, (k + 3) % 4)]
                for place, k in zip(places[concave], inward.tolist(), strict=True)
            }
            continue
        work += len(concave) * int(size) ** 2
        if work > MAX_WORK:
            raise UnusableMesh(f'{len(concave)} concave faces of {size} corners are too many to cut')
        cut |= {int(places[place]): _cut(corners[place]) for place in concave}
    return cut


def triangulate(indices: np.ndarray, sizes: np.ndarray, vertices: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Faces of any size as triangles, in their order: convex ones as fans, concave ones without spilling out.

    Args:
      indices, sizes, vertices: as of `cut_concave`; faces of under three corners have no surface.

    Returns:
      int64 [F, 3]: triangles as positions in `indices`, and int64 [F]: the number of the face that each is of.

    Raises:
      UnusableMesh: as `cut_concave`.
    """
    starts, counts = np.cumsum(sizes) - sizes, np.maximum(sizes - 2, 0)
    owners = np.repeat(np.arange(len(sizes)), counts)
    first = np.cumsum(counts) - counts
    step = np.arange(len(owners)) - first[owners]
    triangles = starts[owners, None] + np.stack([np.zeros_like(step), step + 1, step + 2], axis=1)
    for face, parts in cut_concave(indices, sizes, vertices).items():
        triangles[first[face] : first[face] + counts[face]] = starts[face] + np.array(parts)
    return triangles, owners


def _normals(corners: np.ndarray) -> np.ndarray:
    """Newell's normals [..., 3] of polygons [..., n, 3], twice as long as their area."""
    centred = corners - corners.mean(axis=-2, keepdims=True)
    return np.cross(centred, np.roll(centred, -1, axis=-2)).sum(axis=-2)


def _turns(corners: np.ndarray) -> np.ndarray:
    """Sines [m, n] of the turns at the corners of polygons [m, n, 3], negative where one turns inwards.

    A polygon of five or more with a corner given twice, which hides a turn, gets -1 there.
    """
    edges = np.roll(corners, -1, axis=1) - corners
    before, normal = np.roll(edges, 1, axis=1), _normals(corners)
    lengths = np.linalg.norm(edges, axis=2)
    turns = np.einsum('mnc,mc->mn', np.cross(before, edges), normal)
    scale = lengths * np.roll(lengths, 1, axis=1) * np.linalg.norm(normal, axis=1, keepdims=True)
    sines = np.divide(turns, scale, out=np.zeros_like(turns), where=scale > 0)
    return np.where((lengths == 0) & (corners.shape[1] > 4), -1, sines)


def _cut(corners: np.ndarray) -> list[tuple[int, int, int]]:
    """Triangles of a polygon [n, 3] in space, seen along its normal: ears are cut off until a triangle is left."""
    normal = _normals(corners)
    axis = int(np.abs(normal).argmax())
    flat = np.delete(corners - corners.mean(axis=0), axis, axis=1)
    if (normal[axis] < 0) != (axis == 1):  # so that it turns to the left; without y, (x, z) is left-handed
        flat = flat[:, ::-1]
    flat = flat / np.abs(flat).max()
    left, triangles, at, refused = list(range(len(flat))), [], 0, 0
    while len(left) > 3:
        at %= len(left)
        if refused < len(left) and not _is_ear(flat[left], at):
            at, refused = at + 1, refused + 1
            continue
        if refused >= len(left):  # straight, or crossed: the corner whose loss changes the shape least
            areas = _turn(flat[np.roll(left, 1)], flat[left], flat[np.roll(left, -1)])
            at = int(np.abs(areas).argmin())
        triangles.append((left[at - 1], left[at], left[(at + 1) % len(left)]))
        del left[at]
        refused = 0
    return [*triangles, tuple(left)]


def _turn(a: np.ndarray, b: np.ndarray, c: np.ndarray) -> np.ndarray:
    """Twice the area of triangles in the plane, positive where a, b, c turn to the left."""
    ab, ac = b - a, c - a
    return ab[..., 0] * ac[..., 1] - ab[..., 1] * ac[..., 0]


def _is_ear(points: np.ndarray, at: int) -> bool:
    """Whether the triangle at a corner of a polygon [n, 2] lies within it: no corner that turns inwards is in it."""
    count = len(points)
    a, b, c = points[at - 1], points[at], points[(at + 1) % count]
    if _turn(a, b, c) <= _FLAT:
        return False
    inside = (_turn(a, b, points) >= -_FLAT) & (_turn(b, c, points) >= -_FLAT) & (_turn(c, a, points) >= -_FLAT)
    inside[[at - 1, at, (at + 1) % count]] = False
    inside &= ~((points == a).all(axis=1) | (points == b).all(axis=1) | (points == c).all(axis=1))
    found = np.flatnonzero(inside)
    return not (_turn(points[found - 1], points[found], points[(found + 1) % count]) <= _FLAT).any()


def bisected(corners: np.ndarray, longest: float, *, most: int) -> tuple[np.ndarray, np.ndarray]:
    """Triangles cut at the middle of their longest edge until none is longer; and the triangle that each is of.

    Args:
      corners: [F, 3, 3].
      longest: of an edge.
      most: triangles; needles, which would need more cuts, stay longer.
    """
    done, owners, own = [], [], np.arange(len(corners))
    while True:
        lengths = np.linalg.norm(np.roll(corners, -1, axis=1) - corners, axis=2)
        long = lengths.max(axis=1) > longest
        if sum(map(len, done)) + len(corners) + np.count_nonzero(long) > most:
            long[:] = False
        done.append(corners[~long])
        owners.append(own[~long])
        if not long.any():
            return np.concatenate(done), np.concatenate(owners)
        turn = (lengths[long].argmax(axis=1)[:, None] + np.arange(3)) % 3
        a, b, c = np.take_along_axis(corners[long], turn[..., None], axis=1).swapaxes(0, 1)
        middle = (a + b) / 2
        corners = np.concatenate([np.stack([a, middle, c], axis=1), np.stack([middle, b, c], axis=1)])
        own = np.tile(own[long], 2)
