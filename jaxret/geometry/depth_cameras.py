"""Depth pictures of a scene by ray casting on the CPU, with what a structured-light sensor gets wrong.

Letters: V cameras, S side of a picture in pixels, P = S * S, F faces.
"""

from dataclasses import dataclass

import numpy as np
from scipy.spatial.transform import Rotation

from jaxret.geometry.mesh import Mesh, face_normals
from jaxret.geometry.rays import build_scene, first_hits

NOTHING = np.inf  # depth of a pixel without a measurement


@dataclass(frozen=True, eq=False)
class Cameras:
    """Pinhole cameras with square pictures.

    Attributes:
      positions: float64 [V, 3].
      axes: float64 [V, 3, 3]; rows are right, up, and backward (from the scene to the camera).
      focal: pixels.
      size: S.
    """

    positions: np.ndarray
    axes: np.ndarray
    focal: float
    size: int

    def directions(self, camera: int) -> np.ndarray:
        """Unit vectors through the pixel centres, rows from the top: float64 [P, 3]."""
        across = (np.arange(self.size) + 0.5 - self.size / 2) / self.focal
        x, y = np.meshgrid(across, -across)
        local = np.stack([x, y, -np.ones_like(x)], axis=-1).reshape(-1, 3)
        local /= np.linalg.norm(local, axis=1, keepdims=True)
        return local @ self.axes[camera]

    def project(self, camera: int, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Pixel (row * S + column; -1 outside the picture) and distance from the camera of points [N, 3]."""
        offset = points - self.positions[camera].astype(points.dtype)
        right, up, backward = self.axes[camera].astype(points.dtype) @ offset.T
        scale = self.focal / np.maximum(-backward, 1e-6)
        column, row = np.floor(right * scale + self.size / 2), np.floor(self.size / 2 - up * scale)
        inside = (backward < 0) & (column >= 0) & (column < self.size) & (row >= 0) & (row < self.size)
        pixel = np.where(inside, row * self.size + column, -1).astype(np.int32)
        return pixel, np.sqrt(right * right + up * up + backward * backward)

    def moved(self, rotations: Rotation, shifts: np.ndarray) -> 'Cameras':
        """Each camera turned about itself and shifted: what a tracker with some error believes."""
        return Cameras(self.positions + shifts, self.axes @ rotations.as_matrix(), self.focal, self.size)


@dataclass(frozen=True, eq=False)
class DepthPictures:
    """What the cameras measure, one row a picture.

    Attributes:
      depth: float64 [V, P], distance from the camera along the ray; infinite without a measurement.
      label: bool [V, P], whether the pixel shows the object.
      points: float64 [V, P, 3], the true place of what it shows (NaN where it shows nothing).
      sigma: float64 [V, P], standard deviation of the noise in `depth`.
    """

    depth: np.ndarray
    label: np.ndarray
    points: np.ndarray
    sigma: np.ndarray


def look_at(positions: np.ndarray, target: np.ndarray, *, radius: float, size: int) -> Cameras:
    """Cameras at [V, 3] that look at a point, +y up, as one sensor: the same focal length for all.

    A ball of `radius` around the point fills the picture of a camera at the mean distance.
    """
    backward = positions - target
    distance = np.linalg.norm(backward, axis=1, keepdims=True)
    backward = backward / distance
    right = np.cross([0.0, 1.0, 0.0], backward)
    right /= np.linalg.norm(right, axis=1, keepdims=True)
    axes = np.stack([right, np.cross(backward, right), backward], axis=1)
    half_angle = np.arcsin(np.clip(radius / distance.mean(), 0, 0.95))
    return Cameras(positions, axes, size / 2 / np.tan(half_angle), size)


def take_pictures(
    scene: Mesh,
    object_faces: int,
    cameras: Cameras,
    *,
    noise: float,
    max_depth: float,
    grazing: tuple[float, float],
    dropout: float,
    holes: np.ndarray,
    rng: np.random.Generator,
) -> DepthPictures:
    """Casts a ray a pixel and spoils the distances.

    Lost are pixels beyond the range, at grazing angles (with a probability that grows linearly between the two angles,
    beyond the second all), in holes (surfaces that reflect the pattern badly, seen so from everywhere), and some at
    random.

    Args:
      scene: object and surroundings; the first `object_faces` faces are the object.
      object_faces: see `scene`.
      cameras: V cameras.
      noise: the deviation is noise * distance^2 (Khoshelham and Elberink, Sensors 2012), in the units of the scene.
      max_depth: range of the sensor.
      grazing: degrees between the ray and the surface's normal.
      dropout: share of the pixels lost at random.
      holes: float64 [H, 4], balls (centre, radius) without measurements.
      rng: of everything.

    Returns:
      V pictures.
    """
    middle, scale = cameras.positions.mean(axis=0), 1 / max_depth  # embree works in float32 near the unit cube
    caster = build_scene((scene.vertices - middle) * scale, scene.faces, watertight=False)
    corners = scene.vertices[scene.faces]
    normals = face_normals(corners)
    normals /= np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-12)
    pixels = cameras.size**2
    count = len(cameras.positions)
    depth = np.full((count, pixels), NOTHING)
    sigma, label = np.zeros((count, pixels)), np.zeros((count, pixels), bool)
    points = np.full((count, pixels, 3), np.nan)
    for camera in range(count):
        directions = cameras.directions(camera)
        origin = ((cameras.positions[camera] - middle) * scale).astype(np.float32)
        rays = np.ascontiguousarray(directions, np.float32)
        faces, distances = first_hits(caster, origin, rays)
        met = np.flatnonzero(faces >= 0)
        face, distance = faces[met], distances[met].astype(np.float64) / scale
        where = cameras.positions[camera] + distance[:, None] * directions[met]
        cosine = np.abs(np.einsum('ni,ni->n', directions[met], normals[face]))
        angle = np.degrees(np.arccos(np.clip(cosine, 0, 1)))
        lost = rng.random(len(met)) < np.clip((angle - grazing[0]) / (grazing[1] - grazing[0]), 0, 1)
        lost |= rng.random(len(met)) < dropout
        lost |= distance > max_depth
        for x, y, z, radius in holes:
            lost |= np.linalg.norm(where - (x, y, z), axis=1) < radius
        deviation = noise * distance**2
        noisy = distance + deviation * rng.standard_normal(len(met))
        kept = met[~lost]
        depth[camera, kept] = noisy[~lost]
        sigma[camera, kept] = deviation[~lost]
        label[camera, kept] = (face < object_faces)[~lost]
        points[camera, kept] = where[~lost]
    return DepthPictures(depth, label, points, sigma)
