"""How far two surfaces lie apart in a given pose.

Letters: M points.
"""

from dataclasses import dataclass

import numpy as np

from jaxret.geometry.surfaces import Surface

# What two files of one shape differ by, as a share of the longest side, beside what their triangles leave of curves.
TOLERANCE = 0.001


@dataclass(frozen=True, eq=False)
class Pose:
    """How one surface lies on another, in the own coordinates of both: point -> scale * rotation @ point + move."""

    rotation: np.ndarray
    scale: float
    move: np.ndarray

    def forth(self, points: np.ndarray) -> np.ndarray:
        """Points [M, 3] of the first, where they lie on the second."""
        return self.scale * points @ self.rotation.T + self.move

    def back(self, points: np.ndarray) -> np.ndarray:
        """Points [M, 3] of the second, where they lie on the first."""
        return (points - self.move) @ self.rotation / self.scale

    @property
    def mirrored(self) -> bool:
        """Whether it is a reflection."""
        return bool(np.linalg.det(self.rotation) < 0)


@dataclass(frozen=True, eq=False)
class Proof:
    """How far two surfaces lie apart in a pose; `wrong` are the points of each that lie too far from the other."""

    pose: Pose
    distance: float
    mean: float
    beyond: float
    wrong: tuple[np.ndarray, np.ndarray]

    @property
    def same(self) -> bool:
        """Whether no point lies too far from the other surface."""
        return not any(map(len, self.wrong))

    @property
    def rank(self) -> tuple:
        """Smaller is better: a mirror only where it is needed."""
        return not self.same, self.mean * (1.5 if self.pose.mirrored else 1), self.distance


def prove(a: Surface, b: Surface, pose: Pose) -> Proof:
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
    return Proof(pose, max(one, other), (mean + other_mean) / 2, (beyond + other_beyond) / 2, tuple(wrong))
