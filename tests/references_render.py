"""Views the plain way: every ray of every picture, one at a time, through embreex's own functions."""

import math

import numpy as np
from embreex.mesh_construction import TriangleMesh
from embreex.rtcore_scene import EmbreeScene

from jaxret.geometry.mesh import normalize_mesh
from jaxret.geometry.render import camera_axes


def first_hits(vertices, faces, origins, directions):
    """Face of each ray, -1 for none, and its distance."""
    scene = EmbreeScene(robust=False)
    TriangleMesh(scene, np.ascontiguousarray(vertices, np.float32), np.ascontiguousarray(faces, np.int32))
    found = scene.run(np.ascontiguousarray(np.broadcast_to(origins, directions.shape)), directions, output=1)
    return found['primID'], found['tfar']


def views(mesh, ring, surface=None):
    unit = normalize_mesh(mesh, mode='sphere')
    corners = unit.vertices[unit.faces]
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    lengths = np.linalg.norm(normals, axis=1, keepdims=True)
    normals = (normals / np.where(lengths > 0, lengths, 1)).astype(np.float32)
    pixels = ring.size * ring.supersample
    across = ((np.arange(pixels) + 0.5) / pixels * 2 - 1) * math.tan(math.radians(ring.field_of_view) / 2)
    azimuth, elevation = math.radians(ring.light_azimuth), math.radians(ring.light_elevation)
    light = np.array(
        (math.sin(azimuth) * math.cos(elevation), math.sin(elevation), math.cos(azimuth) * math.cos(elevation)),
        np.float32,
    )
    pictures = []
    for axes in camera_axes(ring):
        local = np.stack([*np.meshgrid(across, -across), np.full((pixels, pixels), -1.0)], axis=-1)
        directions = np.einsum('ija,ab->ijb', local, axes).astype(np.float32).reshape(-1, 3)
        axes = axes.astype(np.float32)
        camera = axes[2] * np.float32(ring.distance)
        faces, _ = first_hits(unit.vertices, unit.faces, camera, directions)
        side = np.sign(normals @ camera - np.einsum('fc,fc->f', normals, corners[:, 0].astype(np.float32)))
        lit = np.maximum(side * (normals @ (light @ axes)), 0)
        table = np.append(np.rint(255 * (ring.ambient + ring.diffuse * lit)), ring.background)
        picture = table[faces].astype(np.uint8)
        if surface is not None:
            picture = np.rint(surface.albedo(faces, corners, camera, directions) * picture[:, None]).astype(np.uint8)
        side = ring.size, ring.supersample
        blocks = picture.reshape(*side, *side, *picture.shape[1:])
        pictures.append(np.rint(blocks.mean(axis=(1, 3), dtype=np.float32)).astype(np.uint8))
    return np.stack(pictures)
