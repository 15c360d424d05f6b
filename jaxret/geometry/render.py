"""Flat-shaded views of a mesh from a ring of cameras, grey or textured, by ray casting on the CPU without a display.

Letters: V views, S image size in pixels, F faces, P pixels of one rendered view.

Camera k stands at azimuth `first_azimuth + k * 360 / V`, at `elevation` above the horizon, and looks at the origin with
+y up in the image. Azimuth 0 is on +z, 90 degrees on +x (anticlockwise seen from above). Papers leave camera, light and
renderer open; elevation 30 with steps of 30 degrees is the ring of MVCNN (Su et al., ICCV 2015), used by CMIC
(Lin et al., ICCV 2021).
"""

import functools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from jaxret.errors import ConfigError, DataError, Problem
from jaxret.geometry.materials import Surface, load_surface
from jaxret.geometry.mesh import Mesh, load_mesh, normalize_mesh
from jaxret.geometry.rays import build_scene, first_hits
from jaxret.workers import map_parallel

SHADINGS = ('grey', 'textured')


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

    def __post_init__(self):
        limits = {
            'views': (1, 1000), 'elevation': (-90, 90), 'size': (1, 4096), 'field_of_view': (1, 150), 'ambient': (0, 1),
            'diffuse': (0, 1), 'background': (0, 255), 'supersample': (1, 16), 'first_azimuth': (-360, 360),
            'light_azimuth': (-180, 180), 'light_elevation': (-90, 90),
        }  # fmt: skip
        for name, (low, high) in limits.items():
            if not low <= getattr(self, name) <= high:
                raise ConfigError(f'{name} must lie in [{low}, {high}], not {getattr(self, name)!r}')
        for name in ('views', 'size', 'background', 'supersample'):
            if int(getattr(self, name)) != getattr(self, name):
                raise ConfigError(f'{name} must be a whole number, not {getattr(self, name)!r}')
        if self.shading not in SHADINGS:
            raise ConfigError(f'shading must be one of {", ".join(SHADINGS)}, not {self.shading!r}')
        if self.ambient + self.diffuse > 1:
            raise ConfigError(f'ambient + diffuse must be at most 1, not {self.ambient + self.diffuse:.3g}')

    @property
    def channels(self) -> int:
        """Of the pictures: 1, or 3 where they are textured."""
        return 3 if self.shading == 'textured' else 1

    @property
    def distance(self) -> float:
        """Distance of the cameras from the origin: 1 / sin(field_of_view / 2)."""
        return 1 / math.sin(math.radians(self.field_of_view) / 2)


def camera_axes(ring: ViewRing) -> np.ndarray:
    """Axes of every camera in world coordinates.

    Returns:
      float64 [V, 3, 3]: rows are image right, image up, and from the origin to the camera.
    """
    azimuth = np.radians(ring.first_azimuth + 360 / ring.views * np.arange(ring.views))
    elevation = np.full_like(azimuth, math.radians(ring.elevation))
    sin_a, cos_a, sin_e, cos_e = np.sin(azimuth), np.cos(azimuth), np.sin(elevation), np.cos(elevation)
    right = np.stack([cos_a, np.zeros_like(azimuth), -sin_a], axis=1)
    backward = np.stack([cos_e * sin_a, sin_e, cos_e * cos_a], axis=1)
    return np.stack([right, np.cross(backward, right), backward], axis=1)


def render_views(mesh: Mesh, ring: ViewRing) -> np.ndarray:
    """Renders one mesh, normalised to the unit sphere, from every camera of the ring.

    grey = 255 * (ambient + diffuse * max(0, n . l)), with the face normal n turned to the camera (both sides of a face
    are painted) and the direction l to the light.

    Args:
      mesh: the mesh, in any units.
      ring: cameras, light and image size.

    Returns:
      uint8 [V, S, S]; textured [V, S, S, 3], whose three channels are alike: a mesh without its file has no colours.
    """
    images = _render(mesh, ring, None)[0]
    return np.repeat(images[..., None], 3, axis=-1) if ring.shading == 'textured' else images


def render_file(path: Path, ring: ViewRing, up_axis: str = 'y') -> np.ndarray:
    """Loads a mesh file and renders it: uint8 [V, S, S], textured [V, S, S, 3].

    Raises:
      DataError: the file cannot be used, also if nothing of it can be seen.
    """
    mesh = load_mesh(path, up_axis=up_axis)
    images, visible = _render(mesh, ring, load_surface(path, mesh) if ring.shading == 'textured' else None)
    if not visible:  # usually a stray vertex far away, beside which the shape is smaller than a pixel
        raise DataError(Problem(str(path), 'no view shows anything of the mesh', 'remove stray vertices or faces'))
    return images


def render_many(
    paths: Sequence[Path],
    ring: ViewRing,
    *,
    up_axis: str = 'y',
    processes: int | None = None,
    ordered: bool = False,
    progress: bool = True,
    timeout: float = 300.0,
) -> Iterator[tuple[int, np.ndarray | DataError]]:
    """Renders many mesh files in parallel processes.

    Args:
      paths: mesh files.
      ring: cameras, light and image size.
      up_axis: the axis that points up in the files, 'y' or 'z'.
      processes: how many; None takes one per usable core; 1 renders in this process, which a crash would end.
      ordered: yield in order of the paths, not of completion.
      progress: show a progress bar on standard error.
      timeout: seconds after which a mesh is given up (not with `processes=1`).

    Yields:
      (index into `paths`, result of `render_file`), or (index, DataError) for a mesh that cannot be used.
    """
    function = functools.partial(render_file, ring=ring, up_axis=up_axis)
    title = 'Rendering' if progress else None
    return map_parallel(function, paths, processes=processes, ordered=ordered, timeout=timeout, progress=title)


def _render(mesh: Mesh, ring: ViewRing, surface: Surface | None) -> tuple[np.ndarray, bool]:
    """The views, [V, S, S] or, with colours, [V, S, S, 3], and whether any ray met the mesh."""
    unit = normalize_mesh(mesh, mode='sphere')
    vertices = unit.vertices.astype(np.float32)
    scene = build_scene(vertices, unit.faces, watertight=False)
    corners = unit.vertices[unit.faces]
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    lengths = np.linalg.norm(normals, axis=1, keepdims=True)
    normals = (normals / np.where(lengths > 0, lengths, 1)).astype(np.float32)
    anchors = corners[:, 0].astype(np.float32)

    axes = camera_axes(ring).astype(np.float32)
    pixels = ring.size * ring.supersample
    visible = False
    channels = () if surface is None else (3,)
    images = np.full((ring.views, pixels, pixels, *channels), ring.background, np.uint8)
    for axis, directions, image in zip(axes, _directions(ring), images, strict=True):
        camera = axis[2] * np.float32(ring.distance)
        grey = np.append(_shade(normals, anchors, camera, axis, ring), np.uint8(ring.background))
        rows, columns = _bounds(vertices, camera, axis, ring)
        window = directions[rows, columns]
        faces = first_hits(scene, camera, window.reshape(-1, 3))
        visible |= bool((faces >= 0).any())
        # a miss is index -1: the background appended to the table
        seen = grey[faces]
        if surface is not None:
            seen = np.rint(surface.albedo(faces, corners, camera, window.reshape(-1, 3)) * seen[:, None])
        image[rows, columns] = seen.reshape(*window.shape[:2], *channels)
    if ring.supersample == 1:
        return images, visible
    blocks = images.reshape(ring.views, ring.size, ring.supersample, ring.size, ring.supersample, *channels)
    return np.rint(blocks.mean(axis=(2, 4), dtype=np.float32)).astype(np.uint8), visible


@functools.lru_cache(maxsize=2)
def _directions(ring: ViewRing) -> np.ndarray:
    """Ray directions through the pixel centres, row 0 at the top: float32 [V, P, P, 3]."""
    pixels = ring.size * ring.supersample
    across = ((np.arange(pixels) + 0.5) / pixels * 2 - 1) * math.tan(math.radians(ring.field_of_view) / 2)
    x, y = np.meshgrid(across, -across)
    local = np.stack([x, y, -np.ones_like(x)], axis=-1)
    return np.einsum('ija,vab->vijb', local, camera_axes(ring)).astype(np.float32)


def _shade(
    normals: np.ndarray, anchors: np.ndarray, camera: np.ndarray, axis: np.ndarray, ring: ViewRing
) -> np.ndarray:
    """Grey of every face seen from one camera: uint8 [F]."""
    azimuth, elevation = math.radians(ring.light_azimuth), math.radians(ring.light_elevation)
    local = (math.sin(azimuth) * math.cos(elevation), math.sin(elevation), math.cos(azimuth) * math.cos(elevation))
    light = np.asarray(local, np.float32) @ axis
    towards = np.sign(normals @ camera - np.einsum('fc,fc->f', normals, anchors))
    grey = ring.ambient + ring.diffuse * np.maximum(towards * (normals @ light), 0)
    return np.rint(255 * grey).astype(np.uint8)


def _bounds(vertices: np.ndarray, camera: np.ndarray, axis: np.ndarray, ring: ViewRing) -> tuple[slice, slice]:
    """Rows and columns that the mesh can cover: most rays of a ring miss it and need not be cast."""
    right, up, backward = ((vertices - camera) @ axis.T).T
    pixels = ring.size * ring.supersample
    scale = pixels / 2 / math.tan(math.radians(ring.field_of_view) / 2) / -backward
    column, row = right * scale + pixels / 2, -up * scale + pixels / 2

    def span(values: np.ndarray) -> slice:
        low, high = math.floor(values.min()) - 1, math.ceil(values.max()) + 1
        return slice(max(low, 0), min(high, pixels))

    return span(row), span(column)
