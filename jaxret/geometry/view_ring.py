"""Where cameras stand around a shape and what their pictures look like: what rendering is asked for, not its tools.

Letters: V views, S image size in pixels.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from jaxret.errors import ConfigError

SHADINGS = ('grey', 'textured')
MOST_STEPS = 24  # of 15 degrees
Ring = tuple[float, int, float]  # elevation, number of cameras, azimuth of the first


@dataclass(frozen=True)
class ViewRing:
    """Where the cameras and the light stand, and what the pictures look like.

    Attributes:
      views: number of cameras V, spread evenly over 360 degrees.
      elevation: degrees of the cameras above the horizon.
      first_azimuth: degrees; 0 is on +z, 90 on +x.
      size: image height and width S.
      field_of_view: degrees across the image; the distance follows from it so that the unit sphere just fits.
      light_azimuth: degrees from the camera's line of sight to its right; the light moves with the camera.
      light_elevation: degrees from the camera's line of sight upwards.
      ambient: grey in [0, 1] of a surface that faces away from the light.
      diffuse: grey that is added where the surface faces the light.
      background: grey level 0..255. White by default; the brightest surface stays darker than it.
      supersample: rays per pixel along each side (1: no anti-aliasing).
      shading: 'grey', or 'textured': RGB, the grey times the colours of the file's materials (`materials`).
      further: cameras beside these V, as (elevation, number, azimuth of the first), again spread over 360 degrees.
    """

    views: int = 12
    elevation: float = 30.0
    first_azimuth: float = 0.0
    size: int = 224
    field_of_view: float = 40.0
    light_azimuth: float = -25.0
    light_elevation: float = 25.0
    ambient: float = 0.2
    diffuse: float = 0.65
    background: int = 255
    supersample: int = 1
    shading: str = 'grey'
    further: tuple[Ring, ...] = ()

    def __post_init__(self):
        limits = {
            'views': (1, 1000), 'elevation': (-90, 90), 'size': (1, 4096), 'field_of_view': (1, 150), 'ambient': (0, 1),
            'diffuse': (0, 1), 'background': (0, 255), 'supersample': (1, 16), 'first_azimuth': (-360, 360),
            'light_azimuth': (-180, 180), 'light_elevation': (-90, 90),
        }  # fmt: skip
        for name, (low, high) in limits.items():
            if not low <= getattr(self, name) <= high:
                raise ConfigError(f'must lie in [{low}, {high}], not {getattr(self, name)!r}', name=name)
        for name in ('views', 'size', 'background', 'supersample'):
            if int(getattr(self, name)) != getattr(self, name):
                raise ConfigError(f'must be a whole number, not {getattr(self, name)!r}', name=name)
        if self.shading not in SHADINGS:
            raise ConfigError(f'must be one of {", ".join(SHADINGS)}, not {self.shading!r}', name='shading')
        for elevation, views, first_azimuth in self.further:
            replace(self, further=(), elevation=elevation, views=views, first_azimuth=first_azimuth)  # checks them
        if self.ambient + self.diffuse > 1:
            raise ConfigError(f'must be at most 1, not {self.ambient + self.diffuse:.3g}', name='ambient + diffuse')

    @classmethod
    def of(cls, rings: Sequence[Ring], **options: Any) -> 'ViewRing':
        """Cameras of several rings, in their order: the first is `elevation`, `views`, `first_azimuth`."""
        (elevation, views, first_azimuth), *further = rings
        further = tuple((float(up), int(count), float(first)) for up, count, first in further)
        return cls(views=views, elevation=elevation, first_azimuth=first_azimuth, further=further, **options)

    @property
    def rings(self) -> tuple[Ring, ...]:
        """All cameras by elevation, in the order of the views."""
        return ((self.elevation, self.views, self.first_azimuth), *self.further)

    @property
    def poses(self) -> tuple[tuple[float, float], ...]:
        """Azimuth, in [0, 360), and elevation of every camera, in degrees."""
        return tuple(
            ((first + number * 360 / count) % 360, elevation)
            for elevation, count, first in self.rings
            for number in range(count)
        )

    @property
    def denser(self) -> 'ViewRing':
        """At every elevation cameras at all azimuths of these, evenly spaced: turned by a step they are there, too.

        As many at an elevation as go into `MOST_STEPS` steps; where these are too few, the nearest ones are meant.
        """
        first = self.rings[0][2]
        step = math.gcd(36_000, *(round(100 * (azimuth - first)) for azimuth, _ in self.poses))  # of 0.01 degrees
        count = min(36_000 // step, MOST_STEPS)
        count *= MOST_STEPS // count
        return replace(self, views=count, further=tuple((up, count, first) for up, *_ in self.further))

    @property
    def count(self) -> int:
        """Number of all cameras."""
        return sum(count for _, count, _ in self.rings)

    def to_json(self) -> dict[str, Any]:
        """Plain values; `from_json` is the inverse. Without `further` where there are none, as earlier versions."""
        stored = asdict(self)
        further = [list(ring) for ring in stored.pop('further')]
        return stored | ({'further': further} if further else {})

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> 'ViewRing':
        """Raises TypeError or ValueError where it is not what `to_json` gave."""
        return cls(**{**stored, 'further': tuple((up, count, first) for up, count, first in stored.get('further', ()))})

    @property
    def channels(self) -> int:
        """Of the pictures: 1, or 3 where they are textured."""
        return 3 if self.shading == 'textured' else 1

    @property
    def distance(self) -> float:
        """Distance of the cameras from the origin: 1 / sin(field_of_view / 2)."""
        return 1 / math.sin(math.radians(self.field_of_view) / 2)


def turns_of(asked: np.ndarray, poses: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Which cameras see, turned about the vertical, what others do.

    Args:
      asked: [W, 2] azimuth and elevation of the cameras that are turned, in degrees; of each elevation evenly spaced.
      poses: [V, 2] of the others.

    Returns:
      int64 [T, V], in each turn of each camera of `poses` the nearest of its elevation; and the turns' angles [T] in
      degrees.
    """
    steps = max(int(np.count_nonzero(asked[:, 1] == elevation)) for elevation in asked[:, 1])
    angles = 360 / steps * np.arange(steps)
    apart = (asked[None, None, :, 0] - poses[None, :, None, 0] - angles[:, None, None] + 180) % 360 - 180  # [T, V, W]
    other = np.abs(asked[None, :, 1] - poses[:, None, 1])
    return (np.abs(apart) + 1e6 * (other > other.min(axis=1, keepdims=True))).argmin(axis=2), angles
