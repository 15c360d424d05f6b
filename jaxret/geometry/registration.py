"""Registration: the turn, scale and move, perhaps with a mirror, that brings one mesh onto another, and how far they
then lie apart.

The pose in which they are, principal axes and turns about axes of symmetry are the starts, `refinement.refined`
improves the best of them, and distances of points to triangles in both directions are the proof.

Letters: S starts, M points.
"""

import itertools
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from scipy.spatial.transform import Rotation

from jaxret.geometry.agreement import Pose, Proof, prove
from jaxret.geometry.mesh import Mesh
from jaxret.geometry.refinement import FITS, Guide, corrected, refined
from jaxret.geometry.surfaces import Surface

_SIGNS = [np.diag(row) for row in np.array(np.meshgrid(*[[1, -1]] * 3)).reshape(3, 8).T]
_ALIKE = 0.1  # principal moments that differ by less may be those of an axis of symmetry
_SCORED = 150  # points of each side
_FIRST_STEPS, _STEPS = 5, 20  # of every start, and of those that then fit well
# Scores, and mean distances after the first and the last steps, beside what is asked for, of starts that are given up.
_HOPELESS_SCORE, _HOPELESS, _HOPELESS_AT_LAST = 0.25, 0.02, 0.01
_BOXES = 0.02  # of the longest side, by which the boxes of what lies in place may differ
_NEARLY = 0.002  # mean distance, as a share of the longest side, of a pose that a small turn or a mirror may make right


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
      same: no point lies further from the other surface than `agreement.TOLERANCE` and what the triangles of both
        leave of the curves that they stand for (`Surface.sagitta`).
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


def align(
    moving: Mesh | Surface, fixed: Mesh | Surface, *, scaled: bool = True, mirrors: bool = True, most: float = np.inf
) -> Alignment | None:
    """Finds how a mesh lies on another one.

    Args:
      moving, fixed: meshes; a `Surface` where one is aligned with many.
      scaled: whether sizes may differ.
      mirrors: whether a mirror image counts; it is only given where no turn fits as well.
      most: mean distance, as a share of the fixed mesh's longest side, beyond which the caller does not care: starts
        that will hardly come so near are given up early.

    Returns:
      The best alignment that was found, also of shapes that have nothing in common; with `most` None where no start
      came near it.

    Raises:
      ValueError: a mesh has no face with an area.
    """
    a, b = (mesh if isinstance(mesh, Surface) else Surface(mesh) for mesh in (moving, fixed))
    scale = None if scaled else a.radius / b.radius
    found = _in_place(a, b)
    if found and _done(found[0], mirrors):
        return _alignment(a, b, found[0])
    starts = [*[b.axes @ sign @ a.axes.T for sign in _SIGNS], *[np.eye(3)] * len(found)]
    found += _best(a, b, _allowed(starts, mirrors), scale, most=most * b.side)
    best = _settled(a, b, min(found, key=_rank), scale, mirrors) if found else None
    if best is None or not _done(best, mirrors):
        found = [best] * (best is not None) + _turned(a, b, best, scale, mirrors, most * b.side)
        last = min(found, key=_rank, default=None)
        best = last if last is best else _settled(a, b, last, scale, mirrors)
    return None if best is None else _alignment(a, b, best)


def agreement(moving: Mesh | Surface, fixed: Mesh | Surface) -> Alignment:
    """How far two meshes lie apart as they are, without moving them.

    Raises:
      ValueError: a mesh has no face with an area.
    """
    a, b = (mesh if isinstance(mesh, Surface) else Surface(mesh) for mesh in (moving, fixed))
    return _alignment(a, b, prove(a, b, _as_they_are(a, b)))


def _as_they_are(a: Surface, b: Surface) -> Pose:
    return Pose(np.eye(3), a.radius / b.radius, (a.centre - b.centre) / b.radius)


def _in_place(a: Surface, b: Surface) -> list[Proof]:
    """The proof of the pose in which they are, where their boxes agree."""
    pose = _as_they_are(a, b)
    own, other = pose.forth(a.vertices), b.vertices
    apart = np.abs([own.min(axis=0) - other.min(axis=0), own.max(axis=0) - other.max(axis=0)]).max()
    return [prove(a, b, pose)] if apart < _BOXES * b.side else []


def _settled(a: Surface, b: Surface, proof: Proof, scale: float | None, mirrors: bool) -> Proof:
    """The proof, or a better one of a pose that is a small turn or a mirror away.

    A shape that is nearly its own mirror image, or the same after a half turn, nearly fits in several poses.
    """
    if proof.mean > _NEARLY:
        return proof
    best = corrected(a, b, proof, scale)
    for sign, own in itertools.product(_SIGNS[1:], (False, True)):
        if _done(best, mirrors):
            break
        axes = best.pose.rotation @ a.axes if own else b.axes
        turn = axes @ sign @ axes.T
        pose = Pose(turn @ best.pose.rotation, best.pose.scale, turn @ best.pose.move)
        if pose.mirrored and (best.same or not mirrors):
            continue
        points = pose.forth(a.uniform[0][:_SCORED])
        if np.linalg.norm(b.places(points)[0] - points, axis=1).mean() < 5 * _NEARLY * b.side:
            best = min(best, corrected(a, b, prove(a, b, pose), scale), key=_rank)
    return best


def _rank(proof: Proof) -> tuple:
    return proof.rank


def _alignment(a: Surface, b: Surface, proof: Proof) -> Alignment:
    pose = proof.pose
    size = pose.scale * b.radius / a.radius
    return Alignment(
        rotation=pose.rotation,
        scale=size,
        translation=b.centre + b.radius * pose.move - size * pose.rotation @ a.centre,
        mirrored=pose.mirrored,
        distance=proof.distance,
        mean=proof.mean,
        beyond=proof.beyond,
        same=proof.same,
    )


def _done(best: Proof, mirrors: bool) -> bool:
    return best.same and not (mirrors and best.pose.mirrored)


def _allowed(rotations: Iterable[np.ndarray], mirrors: bool) -> np.ndarray:
    return np.stack([rotation for rotation in rotations if mirrors or np.linalg.det(rotation) > 0])


def _turned(a: Surface, b: Surface, best: Proof | None, scale: float | None, mirrors: bool, most: float) -> list[Proof]:
    """Proofs from further starts: where moments are alike, principal axes say little."""
    alike = -np.diff(b.moments) < _ALIKE * b.moments[:-1]
    if not alike.any():
        return []
    flips = [np.diag(row) for row in ((1, 1, 1), (1, -1, -1), (1, 1, -1), (1, -1, 1))]
    if alike.all():
        turns = _all_turns(1000)
        starts = [turn @ flip for flip in (flips[0], -flips[0]) for turn in turns]
        return _best(a, b, _allowed(starts, mirrors), scale, most=most, tried=32)
    axis = 2 if alike[0] else 0
    order = [axis, (axis + 1) % 3, (axis + 2) % 3]
    frames = [surface.axes[:, order] for surface in (a, b)]  # first the axis of symmetry
    turns = Rotation.from_rotvec(np.arange(0, 360, 5)[:, None] * [1, 0, 0], degrees=True).as_matrix()
    starts = [frames[1] @ turn @ flip @ frames[0].T for flip in flips for turn in turns]
    proofs = _best(a, b, _allowed(starts, mirrors), scale, most=most, tried=16)
    known = [proof for proof in (best, *proofs) if proof is not None]
    if known and not any(_done(proof, mirrors) for proof in known):
        # what does not fit yet tells how far to turn: it is to lie on what does not fit of the other
        nearest = min(known, key=_rank)
        wrong = tuple(points[:: max(1, len(points) // 40)] for points in nearest.wrong)
        starts = [frames[1] @ turn @ flip @ frames[0].T for flip in flips for turn in _matching(*wrong, frames, flip)]
        if starts:
            proofs += _best(a, b, _allowed(starts, mirrors), scale, most=most, tried=16, guide=wrong)
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
    most: float,
    tried: int = 8,
    guide: Guide | None = None,
) -> list[Proof]:
    """The best proof from some starts [S, 3, 3], none where no start comes near a mean distance of `most`.

    Of the starts so many are `tried`; `guide` are points of each surface that are to fit above all.
    """
    points = [surface.uniform[0][:_SCORED] for surface in (a, b)] if guide is None else guide
    start = 1.0 if scale is None else scale
    scores = _scores(a, b, rotations, start, points)
    order = np.argsort(scores, kind='stable')
    order = order[scores[order] < min(3 * scores[order[0]] + 0.05, _HOPELESS_SCORE + 2 * most)]
    poses: list[tuple[float, Pose]] = []
    passed: list[np.ndarray] = []
    for number in order:
        if len(poses) == tried:
            break
        if any(_close(rotations[number], rotation, 0.15) for rotation in passed):
            continue
        error, pose = refined(a, b, Pose(rotations[number], start, np.zeros(3)), scale, guide, steps=_FIRST_STEPS)
        passed += [rotations[number], pose.rotation]
        poses.append((error, pose))
    poses = [(error, pose) for error, pose in poses if error < _HOPELESS + 2 * most]
    least = min((error for error, _ in poses), default=0.0)
    poses = [refined(a, b, pose, scale, guide, steps=_STEPS) for error, pose in poses if error < max(1.5 * least, FITS)]
    poses = sorted((item for item in poses if item[0] < _HOPELESS_AT_LAST + 1.2 * most), key=lambda item: item[0])
    best: Proof | None = None
    seen: list[np.ndarray] = []
    for mirrored in (False, True):
        for error, pose in poses:
            if pose.mirrored != mirrored or error > max(poses[0][0], FITS):
                continue
            if any(_close(pose.rotation, rotation, 0.002) for rotation in seen):
                continue
            seen.append(pose.rotation)
            proof = prove(a, b, pose)
            if best is None or proof.rank < best.rank:
                best = proof
            if best.same:
                return [best]
    return [] if best is None else [best]


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
