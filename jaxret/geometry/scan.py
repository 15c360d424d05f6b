"""Partial scans of a model, simulated: a depth camera walks past one side of it, in a room.

Everything happens in voxel indices of the model's distance grid, y up. Letters: R voxels a side, V cameras.
"""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import ndimage
from scipy.spatial.transform import Rotation

from jaxret.errors import ConfigError, DataError, Problem
from jaxret.geometry.depth_cameras import Cameras, DepthPictures, look_at, take_pictures
from jaxret.geometry.distance_grids import DistanceGrid
from jaxret.geometry.fusion import Fused, fuse
from jaxret.geometry.grid_meshes import nearest_points
from jaxret.geometry.mesh import Mesh

_TRIES = 8  # rooms until the object is not hidden
_LEAST_VOXELS = 20  # of the object in a scan


@dataclass(frozen=True)
class ScanOptions:
    """Ranges from which a scan is drawn; metres and degrees. Pairs are (lowest, highest).

    Attributes:
      length: of the object's longest side.
      cameras: pictures V of a scan.
      arc: degrees of azimuth that the path covers, at most the width of the azimuths asked for.
      elevation: of the cameras above the horizon.
      distance: from the middle of the object.
      size: side of a depth picture in pixels.
      noise: deviation of a depth of 1 m; grows with its square. 0.0016 is 4 cm at 5 m, the random error that
        Khoshelham and Elberink ("Accuracy and Resolution of Kinect Depth Data", Sensors 2012) measured.
      max_depth: range of the sensor.
      grazing: degrees from the surface's normal between which the share of lost pixels goes from 0 to 1.
      dropout: share of pixels lost at random.
      holes: patches of the object that the sensor does not see.
      hole_radius: of the patches, in voxels.
      tracking_angle: deviation of a camera's believed orientation, degrees.
      tracking_shift: deviation of a camera's believed place along each axis, metres.
      truncation: of the fusion, in voxels.
      floor, wall, neighbours: chance of a floor, a wall behind the object, and of each of two neighbouring objects.
      gap: from the object to wall and neighbours, in voxels.
      yaw, tilt: deviation of the scan's orientation against the model's, degrees.
      shift: deviation along each axis, in voxels.
      scale: deviation of the logarithm of the size.
    """

    length: tuple[float, float] = (0.6, 1.4)
    cameras: tuple[int, int] = (4, 8)
    arc: tuple[float, float] = (20.0, 45.0)
    elevation: tuple[float, float] = (5.0, 35.0)
    distance: tuple[float, float] = (1.2, 2.4)
    size: int = 128
    noise: float = 0.0016
    max_depth: float = 3.5
    grazing: tuple[float, float] = (65.0, 85.0)
    dropout: float = 0.03
    holes: tuple[int, int] = (0, 3)
    hole_radius: tuple[float, float] = (1.5, 4.0)
    tracking_angle: float = 0.2
    tracking_shift: float = 0.005
    truncation: float = 2.0
    floor: float = 0.75
    wall: float = 0.4
    neighbours: float = 0.4
    gap: tuple[float, float] = (0.5, 5.0)
    yaw: float = 2.0
    tilt: float = 1.0
    shift: float = 0.4
    scale: float = 0.025

    def __post_init__(self):
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            low, high = value if isinstance(value, tuple) else (value, value)
            if not (np.isfinite([low, high]).all() and 0 <= low <= high):
                raise ConfigError(f'{field.name}={value!r}: use numbers from 0 up, a range as (lowest, highest)')
        for name in ('length', 'cameras', 'distance', 'size', 'max_depth', 'truncation'):
            value = getattr(self, name)
            if not (value[0] if isinstance(value, tuple) else value) > 0:
                raise ConfigError(f'{name}={value!r}: must be above 0')
        for name in ('dropout', 'floor', 'wall', 'neighbours'):
            if getattr(self, name) > 1:
                raise ConfigError(f'{name}={getattr(self, name)!r}: must be in [0, 1]')
        if self.elevation[1] >= 90:  # straight above there is no azimuth
            raise ConfigError(f'elevation={self.elevation!r}: must be below 90')
        if self.grazing[0] >= self.grazing[1]:
            raise ConfigError(f'grazing={self.grazing!r}: the first angle must be the smaller one')


@dataclass(frozen=True, eq=False)
class Scan:
    """One simulated scan.

    Attributes:
      distances: signed distances to the observed surface, object and surroundings, on the model's grid.
      mask: bool [R, R, R], the voxels of the observed surface that are the object's.
      facts: numbers about it; see `simulate_scan`.
    """

    distances: DistanceGrid
    mask: np.ndarray
    facts: dict[str, float]


def simulate_scan(
    model: Mesh,
    grid: DistanceGrid,
    *,
    neighbours: Sequence[Mesh] = (),
    azimuths: tuple[float, float] = (0.0, 360.0),
    seed: int | Sequence[int],
    options: ScanOptions | None = None,
) -> Scan:
    """Scans a model from one side.

    A path of cameras covers an arc of azimuth at some height. Each takes a depth picture (see `take_pictures`); the
    pictures are fused (see `fuse`) with slightly wrong camera poses, into a grid that is slightly turned, shifted and
    scaled against the model's. The room has a floor, a wall behind the object, and neighbours that reach into the grid.
    If they hide the object another room is drawn.

    Args:
      model: its surface in voxel indices of `grid` (`mesh_from_grid`, `place_in_grid`).
      grid: its distances.
      neighbours: meshes in voxel indices to draw neighbours from; none: boxes.
      azimuths: degrees within which all cameras stand; 0 is on +z, 90 on +x.
      seed: decides everything.
      options: ranges; None for the defaults.

    Returns:
      The scan. Its facts: seen (share of the model's outer surface voxels, those next to the outside, whose nearest
      piece of surface was measured: a point of the object lies at most half a voxel farther away than the surface
      itself, so that a thin sheet counts as seen from both sides), seen_of_all (the same of all its surface voxels,
      inner ones too), clutter (share of the scan's surface voxels that are not the object's), noise (mean deviation of
      the object's depths, metres), noise_voxels, azimuth and arc (middle and width of the path, degrees), cameras.

    Raises:
      DataError: the cameras see too little of the model.
      ConfigError: the range of azimuths is empty.
    """
    options = ScanOptions() if options is None else options
    if not 0 < azimuths[1] - azimuths[0] <= 360:
        raise ConfigError(f'azimuths={azimuths!r}: use (lowest, highest), at most 360 degrees apart')
    rng = np.random.default_rng(seed)
    resolution = grid.values.shape[0]
    for _ in range(_TRIES):
        low, high = model.vertices.min(axis=0), model.vertices.max(axis=0)
        metre = (high - low).max() / rng.uniform(*options.length)  # in voxels
        cameras, path = _walk(model, azimuths, metre, rng, options, resolution)
        room = _furnish(model, neighbours, path['azimuth'], rng, options)
        pictures = take_pictures(
            _joined([model, *room]),
            len(model.faces),
            cameras,
            noise=options.noise / metre,
            max_depth=options.max_depth * metre,
            grazing=options.grazing,
            dropout=options.dropout,
            holes=_holes(model, rng, options),
            rng=rng,
        )
        believed = _track(cameras, metre, rng, options)
        pose = _misplace((low + high) / 2, rng, options)
        fused = fuse(pictures, believed, resolution=resolution, grid_to_scene=pose, truncation=options.truncation)
        if fused is not None and np.count_nonzero(fused.mask) >= _LEAST_VOXELS:
            facts = _facts(grid, pictures, fused, metre) | path
            values = (fused.distance * np.float32(grid.voxel_size)).astype(np.float32)
            return Scan(DistanceGrid(values, grid.voxel_size, grid.grid_to_world), fused.mask, facts)
    found = f'in {_TRIES} rooms the cameras saw less than {_LEAST_VOXELS} voxels of it'
    raise DataError(Problem('model', found, 'leave it out, or bring the cameras nearer (distance, max_depth)'))


def _walk(model, azimuths, metre, rng, options, resolution) -> tuple[Cameras, dict[str, float]]:
    """Cameras on an arc, at a height and distance that change along it."""
    low, high = model.vertices.min(axis=0), model.vertices.max(axis=0)
    centre = (low + high) / 2
    width = azimuths[1] - azimuths[0]
    arc = min(rng.uniform(*options.arc), width)
    middle = rng.uniform(azimuths[0] + arc / 2, azimuths[1] - arc / 2)
    count = int(rng.integers(options.cameras[0], options.cameras[1] + 1))
    azimuth = np.radians(middle + np.linspace(-arc / 2, arc / 2, count))
    elevation = np.radians(np.linspace(*rng.uniform(*options.elevation, size=2), count))
    nearest = 0.75 * np.linalg.norm(high - low)  # outside the object
    distance = np.linspace(*np.maximum(rng.uniform(*options.distance, size=2) * metre, nearest), count)
    direction = np.stack([np.cos(elevation) * np.sin(azimuth), np.sin(elevation), np.cos(elevation) * np.cos(azimuth)])
    positions = centre + distance[:, None] * direction.T
    cameras = look_at(positions, centre, radius=0.6 * resolution, size=options.size)
    return cameras, {'azimuth': middle % 360, 'arc': arc, 'cameras': count}


def _furnish(model, neighbours, azimuth, rng, options) -> list[Mesh]:
    """Floor, wall and neighbours; none passes through the object."""
    low, high = model.vertices.min(axis=0), model.vertices.max(axis=0)
    centre, room = (low + high) / 2, []
    ground = low[1] - rng.uniform(0, 0.5)
    far = 200.0
    if rng.random() < options.floor:
        corners = np.array([(-far, 0, -far), (far, 0, -far), (far, 0, far), (-far, 0, far)])
        room.append(_square(corners + [centre[0], ground, centre[2]]))
    if rng.random() < options.wall:  # square to the axis along which the cameras look most
        look = np.array([np.sin(np.radians(azimuth)), 0, np.cos(np.radians(azimuth))])
        axis = 0 if abs(look[0]) > abs(look[2]) else 2
        gap, other = rng.uniform(*options.gap), 2 - axis
        corners = np.zeros((4, 3))
        corners[:, other], corners[:, 1] = [-far, far, far, -far], [-far, -far, far, far]
        corners += centre
        corners[:, axis] = low[axis] - gap if look[axis] > 0 else high[axis] + gap
        room.append(_square(corners))
    for _ in range(2):
        if rng.random() >= options.neighbours:
            continue
        beside = np.radians(azimuth + rng.choice([-1, 1]) * rng.uniform(60, 180))  # not in front of the cameras
        away = np.array([np.sin(beside), 0, np.cos(beside)])
        body = neighbours[rng.integers(len(neighbours))] if len(neighbours) else _box(rng)
        turned = Rotation.from_euler('y', rng.uniform(0, 360), degrees=True).apply(body.vertices)
        turned = turned * rng.uniform(0.6, 1.2)
        turned = turned - (turned.min(axis=0) + turned.max(axis=0)) / 2 + centre
        turned[:, 1] += ground - turned[:, 1].min()
        clear = (model.vertices @ away).max() - (turned @ away).min() + rng.uniform(*options.gap)
        room.append(Mesh(turned + clear * away, body.faces))
    return room


def _square(corners: np.ndarray) -> Mesh:
    return Mesh(corners, np.array([(0, 1, 2), (0, 2, 3)]))


def _box(rng: np.random.Generator) -> Mesh:
    corners = np.array([(x, y, z) for x in (0, 1) for y in (0, 1) for z in (0, 1)], float) * rng.uniform(8, 28, size=3)
    quads = np.array([(0, 1, 3, 2), (4, 6, 7, 5), (0, 4, 5, 1), (2, 3, 7, 6), (0, 2, 6, 4), (1, 5, 7, 3)])
    return Mesh(corners, np.concatenate([quads[:, [0, 1, 2]], quads[:, [0, 2, 3]]]))


def _joined(meshes: Sequence[Mesh]) -> Mesh:
    offsets = np.cumsum([0] + [len(mesh.vertices) for mesh in meshes[:-1]])
    faces = [mesh.faces + offset for mesh, offset in zip(meshes, offsets, strict=True)]
    return Mesh(np.concatenate([mesh.vertices for mesh in meshes]), np.concatenate(faces))


def _holes(model: Mesh, rng: np.random.Generator, options: ScanOptions) -> np.ndarray:
    """Balls around random vertices: float64 [H, 4]."""
    count = int(rng.integers(options.holes[0], options.holes[1] + 1))
    centres = model.vertices[rng.integers(len(model.vertices), size=count)]
    return np.concatenate([centres, rng.uniform(*options.hole_radius, size=(count, 1))], axis=1)


def _track(cameras: Cameras, metre: float, rng: np.random.Generator, options: ScanOptions) -> Cameras:
    count = len(cameras.positions)
    turns = Rotation.from_rotvec(np.radians(options.tracking_angle) * rng.standard_normal((count, 3)))
    return cameras.moved(turns, options.tracking_shift * metre * rng.standard_normal((count, 3)))


def _misplace(centre: np.ndarray, rng: np.random.Generator, options: ScanOptions) -> np.ndarray:
    """From the scan's voxel indices to the model's: turned and scaled about the object's middle, then shifted."""
    yaw, tilt = options.yaw * rng.standard_normal(), options.tilt * rng.standard_normal(2)
    turn = Rotation.from_euler('yxz', [yaw, *tilt], degrees=True).as_matrix()
    matrix = np.eye(4)
    matrix[:3, :3] = turn * np.exp(options.scale * rng.standard_normal())
    matrix[:3, 3] = centre - matrix[:3, :3] @ centre + options.shift * rng.standard_normal(3)
    return matrix


def _facts(grid: DistanceGrid, pictures: DepthPictures, fused: Fused, metre: float) -> dict[str, float]:
    measured = pictures.points[pictures.label]
    surface = grid.occupancy()
    empty, _ = ndimage.label(np.pad(~surface, 1, constant_values=True))
    outside = ndimage.binary_dilation(empty == empty[0, 0, 0])[1:-1, 1:-1, 1:-1]
    reach = np.abs(grid.values[surface]) / np.float32(grid.voxel_size) + 0.5
    near = nearest_points(measured, np.argwhere(surface))[0] <= reach
    outer = (surface & outside)[surface]
    occupied = np.count_nonzero(np.abs(fused.distance) <= 1)
    sigma = float(pictures.sigma[pictures.label].mean())
    return {
        'seen': float(near[outer].mean()) if outer.any() else float(near.mean()),
        'seen_of_all': float(near.mean()),
        'clutter': float(1 - np.count_nonzero(fused.mask) / occupied),
        'noise': sigma / metre,
        'noise_voxels': sigma,
    }
