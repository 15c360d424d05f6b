"""The camera of a photo, in Pix3D's convention.

The camera stands at the origin and looks along +z, with +x to the left of the picture and +y up. An object point p
is seen at q = rot_mat p + trans_mat, and falls on the pixel (origin: top left corner of the picture, w and h its size)

    u = w / 2 - f q_x / q_z,    v = h / 2 - f q_y / q_z,    f = focal_length / 32 mm * w.
"""

from dataclasses import dataclass

import numpy as np

SENSOR_WIDTH = 32.0  # mm


@dataclass(frozen=True)
class Camera:
    """Where a photo was taken from.

    Attributes:
      width: of the photo, pixels.
      height: of the photo, pixels.
      focal_length: mm, for a sensor SENSOR_WIDTH wide.
      rotation: [3, 3] object to camera frame (rot_mat).
      position: [3] of the camera in the object's frame.
    """

    width: int
    height: int
    focal_length: float
    rotation: np.ndarray
    position: np.ndarray

    @property
    def focal_pixels(self) -> float:
        return self.focal_length / SENSOR_WIDTH * self.width

    @property
    def translation(self) -> np.ndarray:
        """[3] the object's origin in the camera frame (trans_mat)."""
        return -self.rotation @ self.position

    @property
    def inplane_rotation(self) -> float:
        """Clockwise roll, radians, left after turning the optical axis to the object's origin the shortest way."""
        axis, target = np.array([0.0, 0.0, 1.0]), self.translation / np.linalg.norm(self.translation)
        cross, cosine = np.cross(target, axis), float(target @ axis)
        skew = np.array([[0, -cross[2], cross[1]], [cross[2], 0, -cross[0]], [-cross[1], cross[0], 0]])
        shortest = np.eye(3) + skew + skew @ skew / (1 + cosine)  # takes the target onto the axis
        centred = shortest @ self.rotation
        upright = look_at(self.position, np.zeros(3))
        relative = centred @ upright.T
        return float(np.arctan2(relative[0, 1], relative[0, 0]))

    def project(self, points: np.ndarray) -> np.ndarray:
        """Maps points [N, 3] in the object's frame to pixels [N, 2] (u to the right, v down)."""
        seen = points @ self.rotation.T + self.translation
        scale = self.focal_pixels / seen[:, 2:]
        return np.array([self.width / 2, self.height / 2]) - scale * seen[:, :2]

    def rays(self, u: np.ndarray, v: np.ndarray) -> np.ndarray:
        """Unit directions [N, 3], in the object's frame, through pixel positions u [N] and v [N]."""
        f = self.focal_pixels
        directions = np.stack([(self.width / 2 - u) / f, (self.height / 2 - v) / f, np.ones_like(u)], 1)
        directions = directions @ self.rotation
        return directions / np.sqrt(np.einsum('ni,ni->n', directions, directions))[:, None]


def look_at(position: np.ndarray, target: np.ndarray, *, roll: float = 0.0) -> np.ndarray:
    """Rotation [3, 3] of a camera at `position` that sees `target` on its axis, turned by `roll` radians."""
    forward = (target - position) / np.linalg.norm(target - position)
    left = np.cross([0.0, 1.0, 0.0], forward)
    left /= np.linalg.norm(left)
    up = np.cross(forward, left)
    cosine, sine = np.cos(roll), np.sin(roll)
    return np.stack([cosine * left + sine * up, cosine * up - sine * left, forward])


def random_camera(rng: np.random.Generator, vertices: np.ndarray, *, cut: bool = False) -> Camera:
    """Draws a free pose that has the object in frame.

    Azimuth is normal about the front with a deviation of 50 degrees, as people photograph furniture mostly but not
    only from the front; elevation 5 to 40 degrees, roll a few degrees, focal length 24 to 52 mm. The
    distance makes the object fill 65 to 97 % of the frame, off centre by what is left.

    Args:
      rng: source of all choices.
      vertices: [N, 3] of the object, centred at the origin.
      cut: True pushes a large part of the object out of the frame.

    Returns:
      The camera.
    """
    long_side = int(rng.integers(136, 177))
    aspect = rng.choice([4 / 3, 4 / 3, 3 / 2, 1.0, 3 / 4])
    short_side = 2 * round(long_side / max(aspect, 1 / aspect) / 2)
    width, height = (long_side, short_side) if aspect >= 1 else (short_side, long_side)
    azimuth, elevation = np.deg2rad(rng.normal(0, 50)), np.deg2rad(rng.uniform(5, 40))
    roll, focal = np.deg2rad(np.clip(rng.normal(0, 2.5), -7, 7)), float(rng.uniform(24, 52))
    toward = np.array([np.cos(elevation) * np.sin(azimuth), np.sin(elevation), np.cos(elevation) * np.cos(azimuth)])
    fill = rng.uniform(0.65, 0.97)
    distance = 2.5
    frame = np.array([width, height])
    for _ in range(4):  # the projected size is nearly inverse to the distance
        camera = Camera(width, height, focal, look_at(toward * distance, np.zeros(3), roll=roll), toward * distance)
        pixels = camera.project(vertices)
        extent = (np.ptp(pixels, axis=0) / frame).max()
        distance = max(distance * extent / fill, 0.9)
    low, high = pixels.min(0), pixels.max(0)
    room = 0.5 * np.maximum(frame - (high - low), 0.0)
    shift = rng.uniform(-1.0, 1.0, 2) * room
    if rng.random() < 0.1:  # a tight crop that may shave the edge
        shift += rng.choice([-1.0, 1.0], 2) * 0.03 * frame
    if cut:
        side = rng.integers(2)
        shift[side] = rng.choice([-1.0, 1.0]) * rng.uniform(0.4, 0.65) * frame[side]
    shift += frame / 2 - 0.5 * (low + high)  # from the object's box to the middle of the frame, then off it again
    plain = look_at(toward * distance, np.zeros(3), roll=roll)
    offset = distance / camera.focal_pixels * (shift[0] * plain[0] + shift[1] * plain[1])
    return Camera(width, height, focal, look_at(toward * distance, offset, roll=roll), toward * distance)
