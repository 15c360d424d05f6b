"""Flat-shaded views of a mesh from rings of cameras, grey or textured, by ray casting on the CPU without a display.

Letters: V views, S image size in pixels, F faces, T tiles of 4 x 4 rays along a side of a view.

Camera k stands at azimuth `first_azimuth + k * 360 / V`, at `elevation` above the horizon, and looks at the origin with
+y up in the image; the cameras of further rings come after those. Azimuth 0 is on +z, 90 degrees on +x (anticlockwise
seen from above). Papers leave camera, light and renderer open; elevation 30 with steps of 30 degrees is the ring of
MVCNN (Su et al., ICCV 2015), used by CMIC (Lin et al., ICCV 2021).
"""

import functools
import math
from pathlib import Path

import numpy as np

from jaxret.errors import DataError, Problem
from jaxret.geometry.materials import Surface, load_surface
from jaxret.geometry.mesh import Mesh, face_normals, load_mesh, normalize_mesh
from jaxret.geometry.rays import LANES, PACKETS, build_scene
from jaxret.geometry.view_ring import ViewRing

_SIDE = 4  # of a tile, whose rays are cast together


def camera_axes(ring: ViewRing) -> np.ndarray:
    """Axes of every camera in world coordinates.

    Returns:
      float64 [V, 3, 3]: rows are image right, image up, and from the origin to the camera.
    """
    azimuth, elevation = np.concatenate(
        [
            np.radians([first + 360 / count * np.arange(count), np.full(count, float(up))])
            for up, count, first in ring.rings
        ],
        axis=1,
    )
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


def render_colored(mesh: Mesh, ring: ViewRing, color: np.ndarray) -> np.ndarray:
    """As `render_views`, the grey times a colour [F, 3] in [0, 1] of each face: uint8 [V, S, S, 3]."""
    count = len(mesh.faces)
    plain = Surface(np.asarray(color, np.float32), np.full(count, -1, np.int32), np.zeros((count, 3, 2), np.float32))
    return _render(mesh, ring, plain)[0]


def render_file(path: Path, ring: ViewRing, up_axis: str = 'y', *, mesh: Mesh | None = None) -> np.ndarray:
    """Renders a mesh file: uint8 [V, S, S], textured [V, S, S, 3].

    Args:
      path: of the file.
      ring: cameras, light and image size.
      up_axis: axis that points up in the file.
      mesh: what `load_mesh` read of it; None to read it here.

    Raises:
      DataError: the file cannot be used, also if nothing of it can be seen.
    """
    mesh = load_mesh(path, up_axis=up_axis) if mesh is None else mesh
    images, visible = _render(mesh, ring, load_surface(path, mesh) if ring.shading == 'textured' else None)
    if not visible:  # usually a stray vertex far away, beside which the shape is smaller than a pixel
        raise DataError(Problem(str(path), 'no view shows anything of the mesh', 'remove stray vertices or faces'))
    return images


def _render(mesh: Mesh, ring: ViewRing, surface: Surface | None) -> tuple[np.ndarray, bool]:
    """The views, [V, S, S] or, with colours, [V, S, S, 3], and whether any ray met the mesh."""
    unit = normalize_mesh(mesh, mode='sphere')
    vertices = unit.vertices.astype(np.float32)
    scene = build_scene(vertices, unit.faces, watertight=False)
    corners = unit.vertices[unit.faces]
    normals = face_normals(corners)
    lengths = np.linalg.norm(normals, axis=1, keepdims=True)
    normals = (normals / np.where(lengths > 0, lengths, 1)).astype(np.float32)
    anchors = corners[:, 0].astype(np.float32)

    axes, directions = camera_axes(ring).astype(np.float32), _directions(ring)
    cameras = axes[:, 2] * np.float32(ring.distance)
    grey = _shade(normals, anchors, cameras, axes, ring)
    count = _tile_count(ring) ** 2
    tiles = np.full((ring.count * count, LANES, *(() if surface is None else (3,))), ring.background, np.uint8)
    seen = np.flatnonzero(_covered(vertices, axes, ring))
    visible = False
    for start in range(0, len(seen), PACKETS):  # whatever their view
        part = seen[start : start + PACKETS]
        view = part // count
        origins, rays = cameras[view][..., None], directions[part]
        faces, _ = scene.cast(origins, rays)
        visible |= bool((faces >= 0).any())
        # a miss is face -1: the background
        color = grey.ravel()[(view * grey.shape[1] + 1)[:, None] + faces]
        if surface is not None:
            origins, rays = (x.swapaxes(1, 2).reshape(-1, 3) for x in np.broadcast_arrays(origins, rays))
            albedo = surface.albedo(faces.ravel(), corners, origins, rays)
            color = np.rint(albedo.reshape(*faces.shape, 3) * color[..., None])
        tiles[part] = color
    images = _join(tiles, ring)
    if ring.supersample == 1:
        return images, visible
    blocks = images.reshape(ring.count, ring.size, ring.supersample, ring.size, ring.supersample, *images.shape[3:])
    return np.rint(blocks.mean(axis=(2, 4), dtype=np.float32)).astype(np.uint8), visible


@functools.lru_cache(maxsize=4)  # an index takes three: of views, silhouettes and the thumbnail
def _directions(ring: ViewRing) -> np.ndarray:
    """Ray directions through the pixel centres in tiles, row 0 at the top: float32 [V T T, 3, 16].

    Tiles that reach beyond the picture repeat its last row or column there.
    """
    pixels, count = ring.size * ring.supersample, _tile_count(ring)
    across = ((np.arange(pixels) + 0.5) / pixels * 2 - 1) * math.tan(math.radians(ring.field_of_view) / 2)
    across = across[np.minimum(np.arange(count * _SIDE), pixels - 1)]
    x, y = np.meshgrid(across, -across)
    local = np.stack([x, y, -np.ones_like(x)], axis=-1)
    directions = (local @ camera_axes(ring)[:, None]).astype(np.float32)
    tiles = directions.reshape(ring.count, count, _SIDE, count, _SIDE, 3).transpose(0, 1, 3, 5, 2, 4)
    return tiles.reshape(-1, 3, LANES)


def _join(tiles: np.ndarray, ring: ViewRing) -> np.ndarray:
    """Pictures from their tiles: [V T T, 16, ...] to [V, P, P, ...], P rays along a side."""
    count, pixels, rest = _tile_count(ring), ring.size * ring.supersample, tiles.shape[2:]
    rows = tiles.reshape(ring.count, count, count, _SIDE, _SIDE, *rest).swapaxes(2, 3)
    images = rows.reshape(ring.count, count * _SIDE, count * _SIDE, *rest)
    return np.ascontiguousarray(images[:, :pixels, :pixels])


def _tile_count(ring: ViewRing) -> int:
    """Tiles along a side of a picture, T."""
    return -(-ring.size * ring.supersample // _SIDE)


def _shade(
    normals: np.ndarray, anchors: np.ndarray, cameras: np.ndarray, axes: np.ndarray, ring: ViewRing
) -> np.ndarray:
    """Grey of every face seen from each camera, after the background: uint8 [V, 1 + F]."""
    azimuth, elevation = math.radians(ring.light_azimuth), math.radians(ring.light_elevation)
    local = (math.sin(azimuth) * math.cos(elevation), math.sin(elevation), math.cos(azimuth) * math.cos(elevation))
    light = np.asarray(local, np.float32)
    offsets = np.einsum('fc,fc->f', normals, anchors)
    table = np.full((len(axes), 1 + len(normals)), ring.background, np.uint8)
    for row, camera, axis in zip(table, cameras, axes, strict=True):
        towards = np.sign(normals @ camera - offsets)
        row[1:] = np.rint(255 * (ring.ambient + ring.diffuse * np.maximum(towards * (normals @ (light @ axis)), 0)))
    return table


def _covered(vertices: np.ndarray, axes: np.ndarray, ring: ViewRing) -> np.ndarray:
    """Tiles that the mesh can cover, its bounds in each view: bool [V, T, T]. Most rays of a ring miss it."""
    pixels, first = ring.size * ring.supersample, np.arange(_tile_count(ring)) * _SIDE
    covered = []
    for axis in axes:  # view by view, as a mesh can have millions of vertices
        right, up, backward = axis @ vertices.T
        scale = pixels / 2 / math.tan(math.radians(ring.field_of_view) / 2) / (ring.distance - backward)
        rows, columns = (
            (first + _SIDE > math.floor(place.min()) - 1) & (first < math.ceil(place.max()) + 1)
            for place in (pixels / 2 - up * scale, pixels / 2 + right * scale)
        )
        covered.append(rows[:, None] & columns)
    return np.stack(covered)
