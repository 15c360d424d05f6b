"""Registration: the turn, scale and move, perhaps with a mirror, that brings one mesh onto another, and how far they
then lie apart.

Principal axes and turns about axes of symmetry are the starts, point-to-plane ICP (Chen and Medioni, 1992) from both
sides refines the best of them, and distances of points to triangles in both directions are the proof.

Letters: S starts, M points.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from scipy.spatial.transform import Rotation

from jaxret.geometry.mesh import Mesh
from jaxret.geometry.surfaces import Surface

# What two files of one shape differ by, as a share of the longest side, beside what their triangles leave of curves.
TOLERANCE = 0.001
_ALIKE = 0.1  # principal moments that differ by less may be those of an axis of symmetry
_SCORED, _REFINED = 150, 300  # points of each side
_STEPS = 20


@dataclass(frozen=True, eq=False)
class Alignment:
    """How a moving mesh lies on a fixed one: point -> scale * rotation @ point + translation.

    Attributes:
      rotation: float64 [3, 3], orthogonal; its determinant is -1 with a mirror.
      scale, translation: float, float64 [3].
      mirrored: whether it is a mirror image.
      distance: largest distance of a point of one surface to the other, as a share of the fixed mesh's longest side.
      mean: mean of these distances over both areas, likewise.
      beyond: share of both areas that lies further from the other than `same` allows.
      same: no point lies further from the other surface than `TOLERANCE` and what the triangles of both leave of the
        curves that they stand for (`Surface.sagitta`).
    """

    rotation: np.ndarray
    scale: float
    translation: np.ndarray
    mirrored: bool
    distance: float
    mean: float
    beyond: float
    same: bool

    def apply(self, points: np.ndarray) -> np.ndarray:
        """Points [M, 3] of the moving mesh, where they lie on the fixed one."""
        return self.scale * points @ self.rotation.T + self.translation


@dataclass(frozen=True, eq=False)
class _Pose:
    """As `Alignment`, between the own coordinates of two surfaces."""

    rotation: np.ndarray
    scale: float
    move: np.ndarray

    def forth(self, points: np.ndarray) -> np.ndarray:
        return self.scale * points @ self.rotation.T + self.move

    def back(self, points: np.ndarray) -> np.ndarray:
        return (points - self.move) @ self.rotation / self.scale

    @property
    def mirrored(self) -> bool:
        return bool(np.linalg.det(self.rotation) < 0)


@dataclass(frozen=True, eq=False)
class _Proof:
    """How far two surfaces lie apart in a pose; `wrong` are the points of each that lie too far from the other."""

    pose: _Pose
    distance: float
    mean: float
    beyond: float
    wrong: tuple[np.ndarray, np.ndarray]

    @property
    def same(self) -> bool:
        return not any(map(len, self.wrong))

    @property
    def rank(self) -> tuple:
        """Smaller is better: a mirror only where it is needed."""
        return not self.same, self.mean * (1.5 if self.pose.mirrored else 1), self.distance


def align(moving: Mesh | Surface, fixed: Mesh | Surface, *, scaled: bool = True, mirrors: bool = True) -> Alignment:
    """Finds how a mesh lies on another one.

    Args:
      moving, fixed: meshes; a `Surface` where one is aligned with many.
      scaled: whether sizes may differ.
      mirrors: whether a mirror image counts; it is only given where no turn fits as well.

    Returns:
      The best alignment that was found, also of shapes that have nothing in common.

    Raises:
      ValueError: a mesh has no face with an area.
    """
    a, b = (mesh if isinstance(mesh, Surface) else Surface(mesh) for mesh in (moving, fixed))
    scale = None if scaled else a.radius / b.radius
    signs = [np.diag(row) for row in np.array(np.meshgrid(*[[1, -1]] * 3)).reshape(3, 8).T]
    best = _best(a, b, _allowed([b.axes @ sign @ a.axes.T for sign in signs], mirrors), scale)
    if not _done(best, mirrors):
        best = min([best, *_turned(a, b, best, scale, mirrors)], key=lambda proof: proof.rank)
    pose = best.pose
    size = pose.scale * b.radius / a.radius
    return Alignment(
        rotation=pose.rotation,
        scale=size,
        translation=b.centre + b.radius * pose.move - size * pose.rotation @ a.centre,
        mirrored=pose.mirrored,
        distance=best.distance,
        mean=best.mean,
        beyond=best.beyond,
        same=best.same,
    )


def _done(best: _Proof, mirrors: bool) -> bool:
    return best.same and not (mirrors and best.pose.mirrored)


def _allowed(rotations: Iterable[np.ndarray], mirrors: bool) -> np.ndarray:
    return np.stack([rotation for rotation in rotations if mirrors or np.linalg.det(rotation) > 0])


def _turned(a: Surface, b: Surface, best: _Proof, scale: float | None, mirrors: bool) -> list[_Proof]:
    """Proofs from further starts: where moments are alike, principal axes say little."""
    alike = -np.diff(b.moments) < _ALIKE * b.moments[:-1]
    if not alike.any():
        return []
    flips = [np.diag(row) for row in ((1, 1, 1), (1, -1, -1), (1, 1, -1), (1, -1, 1))]
    if alike.all():
        turns = _all_turns(1000)
        starts = [turn @ flip for flip in (flips[0], -flips[0]) for turn in turns]
        return [_best(a, b, _allowed(starts, mirrors), scale, most=32)]
    axis = 2 if alike[0] else 0
    order = [axis, (axis + 1) % 3, (axis + 2) % 3]
    frames = [surface.axes[:, order] for surface in (a, b)]  # first the axis of symmetry
    turns = Rotation.from_rotvec(np.arange(0, 360, 5)[:, None] * [1, 0, 0], degrees=True).as_matrix()
    starts = [frames[1] @ turn @ flip @ frames[0].T for flip in flips for turn in turns]
    proofs = [_best(a, b, _allowed(starts, mirrors), scale, most=16)]
    if not _done(proofs[0], mirrors):
        # what does not fit yet tells how far to turn: it is to lie on what does not fit of the other
        wrong = [points[:: max(1, len(points) // 40)] for points in min(best, proofs[0], key=lambda x: x.rank).wrong]
        starts = [frames[1] @ turn @ flip @ frames[0].T for flip in flips for turn in _matching(*wrong, frames, flip)]
        if starts:
            proofs.append(_best(a, b, _allowed(starts, mirrors), scale, most=16, guide=wrong))
    return proofs


def _matching(first: np.ndarray, second: np.ndarray, frames: list[np.ndarray], flip: np.ndarray) -> np.ndarray:
    """Turns [S, 3, 3] about the first axis that bring a point of the first set onto one of the second."""
    x, y = first @ frames[0] @ flip.T, second @ frames[1]
    rings = [np.stack([points[:, 0], np.hypot(points[:, 1], points[:, 2])], axis=1) for points in (x, y)]
    apart = np.abs(rings[0][:, None] - rings[1]).max(axis=2)
    one, other = np.nonzero((apart < 0.02) & (rings[0][:, None, 1] > 0.1))
    angles = np.arctan2(y[other, 2], y[other, 1]) - np.arctan2(x[one, 2], x[one, 1])
    angles = np.unique(np.rint(angles % (2 * np.pi) / 0.005)) * 0.005
    return Rotation.from_rotvec(angles[:, None] * [1, 0, 0]).as_matrix()


def _all_turns(count: int) -> np.ndarray:
    """Rotations spread evenly, [S, 3, 3]: super-Fibonacci spirals (Alexa, CVPR 2022)."""
    place = np.arange(count) + 0.5
    inner, outer = np.sqrt(place / count), np.sqrt(1 - place / count)
    one, other = 2 * np.pi * place / np.sqrt(2), 2 * np.pi * place / 1.533751168755204
    spiral = [inner * np.sin(one), inner * np.cos(one), outer * np.sin(other), outer * np.cos(other)]
    return Rotation.from_quat(np.stack(spiral, axis=1)).as_matrix()


def _best(
    a: Surface,
    b: Surface,
    rotations: np.ndarray,
    scale: float | None,
    *,
    most: int = 8,
    guide: list[np.ndarray] | None = None,
) -> _Proof:
    """The best proof from some starts [S, 3, 3]; `guide` are points of each surface that are to fit above all."""
    points = [surface.uniform[0][:_SCORED] for surface in (a, b)] if guide is None else guide
    start = 1.0 if scale is None else scale
    scores = _scores(a, b, rotations, start, points)
    order = np.argsort(scores, kind='stable')
    order = order[scores[order] < 3 * scores[order[0]] + 0.05]
    poses: list[tuple[float, _Pose]] = []
    tried: list[np.ndarray] = []
    for number in order:
        if len(poses) == most:
            break
        if any(_close(rotations[number], rotation, 0.15) for rotation in tried):
            continue
        error, pose = _refined(a, b, _Pose(rotations[number], start, np.zeros(3)), scale, guide)
        tried += [rotations[number], pose.rotation]
        poses.append((error, pose))
    poses.sort(key=lambda item: item[0])
    best: _Proof | None = None
    seen: list[np.ndarray] = []
    for mirrored in (False, True):
        for error, pose in poses:
            if pose.mirrored != mirrored or error > 2 * poses[0][0] + 0.01:
                continue
            if any(_close(pose.rotation, rotation, 0.002) for rotation in seen):
                continue
            seen.append(pose.rotation)
            proof = _proof(a, b, pose)
            if best is None or proof.rank < best.rank:
                best = proof
            if best.same:
                return best
    return best


def _close(one: np.ndarray, other: np.ndarray, most: float) -> bool:
    """Whether two rotations differ by less than an angle (for small ones)."""
    return bool(np.abs(one - other).max() < most)


def _scores(a: Surface, b: Surface, rotations: np.ndarray, scale: float, points: Iterable[np.ndarray]) -> np.ndarray:
    """Mean distance of some points of each surface to the other, at every start, [S]."""
    own, other = points
    sums = np.zeros(len(rotations))
    for surface, moved in (
        (b, scale * np.einsum('sij,mj->smi', rotations, own)),
        (a, np.einsum('sji,mj->smi', rotations, other) / scale),
    ):
        if moved.size:
            distances = surface.near(moved.reshape(-1, 3))[0].reshape(moved.shape[:2])
            sums += np.minimum(distances, 0.3).mean(axis=1)
    return sums


def _refined(
    a: Surface, b: Surface, pose: _Pose, scale: float | None, guide: list[np.ndarray] | None
) -> tuple[float, _Pose]:
    """Point-to-plane ICP of points of both surfaces; also the mean distance at its end."""
    own, other = (surface.uniform[0][:_REFINED] for surface in (a, b))
    if guide is not None:
        own, other = np.concatenate([own, guide[0]]), np.concatenate([other, guide[1]])
    weights = np.ones(len(own) + len(other))
    if guide is not None:  # these few say what all others leave open
        weights[_REFINED : len(own)] = weights[len(own) + _REFINED :] = 20
    error = np.inf
    for _ in range(_STEPS):
        moved = pose.forth(own)
        _, there, faces = b.near(moved)
        back = pose.back(other)
        _, here, own_faces = a.near(back)
        at = np.concatenate([moved, pose.forth(here)])
        target = np.concatenate([there, other])
        normals = np.concatenate([b.normals[faces], a.normals[own_faces] @ pose.rotation.T])
        residuals = ((target - at) * normals).sum(axis=1)
        error = float(np.minimum(np.abs(residuals), 0.3).mean())
        limit = max(4.7 * 1.48 * float(np.median(np.abs(residuals))), 1e-4)
        robust = weights * np.clip(1 - (residuals / limit) ** 2, 0, None) ** 2  # Tukey's biweight
        columns = [np.cross(at, normals), normals, (at * normals).sum(axis=1, keepdims=True)]
        rows = np.concatenate(columns[: 3 if scale is None else 2], axis=1)
        matrix = (rows * robust[:, None]).T @ rows
        matrix += np.eye(len(matrix)) * 1e-6 * np.trace(matrix)
        step = np.linalg.solve(matrix, (rows * robust[:, None]).T @ residuals)
        turn, size = Rotation.from_rotvec(step[:3]).as_matrix(), 1 + step[6] if scale is None else 1.0
        size = min(max(size, 0.8), 1.25)
        pose = _Pose(turn @ pose.rotation, size * pose.scale, size * turn @ pose.move + step[3:6])
        if np.abs(step).max() < 1e-6:
            break
    return error, pose


def _proof(a: Surface, b: Surface, pose: _Pose) -> _Proof:
    """Distances of what must lie on the other surface, in both directions."""
    size = pose.scale
    spots_a, faces_a = a.places(pose.back(b.probes)) if len(b.probes) else (b.probes, np.zeros(0, int))
    spots_b, faces_b = b.places(pose.forth(a.probes)) if len(a.probes) else (a.probes, np.zeros(0, int))
    points_a, owners_a = (np.concatenate(both) for both in zip(a.samples, (spots_a, faces_a), strict=True))
    points_b, owners_b = (np.concatenate(both) for both in zip(b.samples, (spots_b, faces_b), strict=True))
    results, wrong = [], []
    for surface, own, points, owners, moved, unit in (
        (b, a, points_a, owners_a, pose.forth(points_a), size),
        (a, b, points_b, owners_b, pose.back(points_b), 1 / size),
    ):
        allowed = TOLERANCE * surface.side + unit * own.sagitta[owners]
        distances, far = surface.nearest(moved, allowed)
        even = slice(len(own.uniform[0]))  # the first of the samples
        results.append((distances.max() / surface.side, distances[even].mean() / surface.side, far[even].mean()))
        wrong.append(points[far])
    (one, mean, beyond), (other, other_mean, other_beyond) = results
    return _Proof(pose, max(one, other), (mean + other_mean) / 2, (beyond + other_beyond) / 2, tuple(wrong))
