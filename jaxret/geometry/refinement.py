"""Refinement of a pose by point-to-plane ICP (Chen and Medioni, 1992) from both sides.

Letters: M points.
"""

import numpy as np
from scipy.spatial.transform import Rotation

from jaxret.geometry.agreement import Pose, Proof, prove
from jaxret.geometry.surfaces import Surface

FITS = 0.02  # mean distance below which a pose may be the right one, the root mean square radius being 1
_SCALES = 0.8, 1.25  # between the root mean square radii of shapes that are alike
_REFINED, _EXACTLY = 300, 1000  # points of each side
_WEIGHT = 20  # of points that say what all others leave open
_ROUNDS, _ROUND_STEPS, _WRONG = 6, 10, 300  # of `corrected`, and how many points that lie too far off it takes
Guide = tuple[np.ndarray, np.ndarray]


def refined(
    a: Surface,
    b: Surface,
    pose: Pose,
    scale: float | None,
    guide: Guide | None = None,
    *,
    steps: int,
    exact: bool = False,
) -> tuple[float, Pose]:
    """A pose that fits better.

    Args:
      a, b: the surfaces.
      pose: where the first lies on the second.
      scale: kept where it is not None.
      guide: points of each that are to fit above all, [M, 3].
      steps: at most.
      exact: more points, to their nearest places on the triangles, not on the pieces of `Surface.near`: what turns a
        nearly rotational body the last half degree.

    Returns:
      The mean distance at the end, and the pose.
    """
    count = _EXACTLY if exact else _REFINED
    own, other = (surface.uniform[0][:count] for surface in (a, b))
    guided = [np.zeros(len(points), bool) for points in (own, other)]
    if guide is not None:
        own, other = np.concatenate([own, guide[0]]), np.concatenate([other, guide[1]])
        guided = [np.append(few, np.ones(len(points), bool)) for few, points in zip(guided, guide, strict=True)]
    guided = np.concatenate(guided)
    weights = np.where(guided, _WEIGHT, 1.0)
    error = np.inf
    for _ in range(steps):
        there, faces = _places(b, pose.forth(own), exact)
        here, own_faces = _places(a, pose.back(other), exact)
        at = np.concatenate([pose.forth(own), pose.forth(here)])
        target = np.concatenate([there, other])
        normals = np.concatenate([b.normals[faces], a.normals[own_faces] @ pose.rotation.T])
        residuals = ((target - at) * normals).sum(axis=1)
        error = float(np.minimum(np.abs(residuals), 0.3).mean())
        limits = np.where(guided, _limit(residuals[guided]), _limit(residuals[~guided]))
        robust = weights * np.clip(1 - (residuals / limits) ** 2, 0, None) ** 2  # Tukey's biweight
        columns = [np.cross(at, normals), normals, (at * normals).sum(axis=1, keepdims=True)]
        rows = np.concatenate(columns[: 3 if scale is None else 2], axis=1)
        matrix = (rows * robust[:, None]).T @ rows
        matrix += np.eye(len(matrix)) * 1e-6 * np.trace(matrix)
        step = np.linalg.solve(matrix, (rows * robust[:, None]).T @ residuals)
        turn, size = Rotation.from_rotvec(step[:3]).as_matrix(), 1 + step[6] if scale is None else 1.0
        size = np.clip(size * pose.scale, *_SCALES) / pose.scale if scale is None else 1.0
        pose = Pose(turn @ pose.rotation, size * pose.scale, size * turn @ pose.move + step[3:6])
        if np.abs(step).max() < 1e-6:
            break
    return error, pose


def corrected(a: Surface, b: Surface, proof: Proof, scale: float | None) -> Proof:
    """The proof of a pose that nearly fits, or a better one.

    By turns all points count alike, and those most that lie too far off, until neither is better.
    """
    failed = 0
    for number in range(_ROUNDS):
        if proof.same or failed == 2:
            break
        guide = tuple(points[:: 1 + len(points) // _WRONG] for points in proof.wrong) if number % 2 else None
        _, pose = refined(a, b, proof.pose, scale, guide, steps=_ROUND_STEPS, exact=True)
        found = prove(a, b, pose)
        failed = failed + 1 if found.rank >= proof.rank else 0
        proof = min(proof, found, key=lambda one: one.rank)
    return proof


def _limit(residuals: np.ndarray) -> float:
    """From which residual on a point counts for nothing."""
    return max(4.7 * 1.48 * float(np.median(np.abs(residuals))), 1e-4) if len(residuals) else 1e-4


def _places(surface: Surface, points: np.ndarray, exact: bool) -> tuple[np.ndarray, np.ndarray]:
    """About the nearest place of each point [M, 3] on a surface, and its face."""
    return surface.places(points) if exact else surface.near(points)[1:]
