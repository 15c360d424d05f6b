"""Casting rays into a scene and lighting what they hit: soft shadows, sky light with occlusion, highlights."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from embreex.mesh_construction import TriangleMesh
from embreex.rtcore_scene import EmbreeScene

from data_pipelines.synthetic.photos.camera import Camera
from data_pipelines.synthetic.photos.scene import Item
from data_pipelines.synthetic.photos.textures import albedo

_FAR = 1e6
_LIFT = 2e-3  # secondary rays start this far above the surface


@dataclass(frozen=True)
class Hits:
    """What rays met: item and part numbers [N] (-1: nothing), distance [N], unit normal [N, 3] towards the eye."""

    item: np.ndarray
    part: np.ndarray
    distance: np.ndarray
    normal: np.ndarray


@dataclass(frozen=True)
class Light:
    """A lamp at `position` [3] with a radius that softens its shadows; `color` [3] is linear, with no fall-off."""

    position: np.ndarray
    color: np.ndarray
    radius: float
    shadow: bool


class Stage:
    """Items joined into embree scenes: one of everything, one of what casts shadows."""

    def __init__(self, items: Sequence[Item]):
        self.items = tuple(items)
        placed = [item.placed for item in items]
        counts = [len(item.faces) for item in items]
        offsets = np.cumsum([0] + [len(vertices) for vertices in placed[:-1]])
        vertices = np.concatenate(placed)
        faces = np.concatenate([item.faces + offset for item, offset in zip(items, offsets, strict=True)])
        self.face_item = np.repeat(np.arange(len(items)), counts)
        self.face_part = np.concatenate([item.face_parts for item in items])
        corners = vertices[faces]
        normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
        self.face_normal = _unit(normals).astype(np.float32)
        self._casting = faces[np.array([item.casts_shadow for item in items])[self.face_item]]
        self._vertices = vertices
        self._all = _scene(vertices, faces)

    def cast(self, origin: np.ndarray, directions: np.ndarray) -> Hits:
        """First hits of rays from one point origin [3] along unit directions [N, 3]."""
        origins = np.broadcast_to(origin.astype(np.float32), directions.shape).copy()
        directions = directions.astype(np.float32, copy=False)
        found = self._all.run(origins, directions, output=1)
        face = found['primID']
        missed = face < 0
        item, part = self.face_item[face], self.face_part[face]
        normal = self.face_normal[face]
        normal = normal * np.where(_dot(normal, directions) > 0, -1, 1).astype(np.float32)[:, None]
        return Hits(np.where(missed, -1, item), np.where(missed, -1, part), found['tfar'], normal)

    @cached_property
    def _casters(self) -> EmbreeScene:
        return _scene(self._vertices, self._casting)

    def blocked(self, origins: np.ndarray, directions: np.ndarray, reach: np.ndarray) -> np.ndarray:
        """Which rays [N] meet something that casts shadows within `reach` [N]."""
        if not len(self._casting):
            return np.zeros(len(origins), bool)
        found = self._casters.run(
            np.ascontiguousarray(origins, np.float32),
            np.ascontiguousarray(directions, np.float32),
            dists=np.ascontiguousarray(reach, np.float32),
            query='OCCLUDED',
        )
        return found >= 0


def random_lights(rng: np.random.Generator, camera: Camera) -> tuple[np.ndarray, list[Light]]:
    """Draws the sky light [3], a main light with soft shadows, sometimes a second one, and a fill near the camera."""
    tint = lambda strength: strength * np.exp(rng.normal(0, 0.08, 3))  # noqa: E731
    lights = []
    for strength in (rng.uniform(0.7, 1.3), *([rng.uniform(0.2, 0.6)] if rng.random() < 0.6 else [])):
        azimuth, elevation = rng.uniform(0, 2 * np.pi), np.deg2rad(rng.uniform(25, 80))
        toward = np.array([np.cos(elevation) * np.cos(azimuth), np.sin(elevation), np.cos(elevation) * np.sin(azimuth)])
        lights.append(Light(rng.uniform(2.5, 6.0) * toward, tint(strength), rng.uniform(0.02, 0.2), True))
    lights.append(Light(camera.position + rng.normal(0, 0.2, 3), tint(rng.uniform(0.0, 0.35)), 0.0, False))
    return tint(rng.uniform(0.3, 0.65)), lights


def shade(
    stage: Stage,
    camera: Camera,
    directions: np.ndarray,
    lights: tuple[np.ndarray, list[Light]],
    rng: np.random.Generator,
) -> tuple[np.ndarray, np.ndarray]:
    """Lights the first hits of the camera's rays.

    Args:
      stage: the scene.
      camera: origin of the rays.
      directions: [N, 3] unit.
      lights: from random_lights.
      rng: jitter of the soft shadows.

    Returns:
      Linear light [N, 3] and the item that each ray met [N].
    """
    sky, lamps = lights
    directions = directions.astype(np.float32)  # single precision halves the time
    hits = stage.cast(camera.position, directions)
    points = camera.position.astype(np.float32) + np.minimum(hits.distance, _FAR)[:, None] * directions
    color, gloss, shininess = _materials(stage, hits, points)
    raised = points + np.float32(_LIFT) * hits.normal
    jitter = rng.standard_normal(points.shape, dtype=np.float32)
    open_sky = 0.35 + 0.65 * _openness(stage, raised, hits.normal, jitter)
    light = color * sky.astype(np.float32) * (open_sky * (0.7 + 0.3 * hits.normal[:, 1]))[:, None]
    for lamp in lamps:
        toward = lamp.position.astype(np.float32) + np.float32(lamp.radius) * jitter - raised
        reach = np.sqrt(_dot(toward, toward))
        toward /= reach[:, None]
        cosine = np.maximum(_dot(toward, hits.normal), 0)
        if lamp.shadow:
            lit = np.flatnonzero(cosine > 0)
            cosine[lit[stage.blocked(raised[lit], toward[lit], reach[lit])]] = 0
        power = color * cosine[:, None]
        shiny = np.flatnonzero((cosine > 0) & (gloss > 0))
        facing = np.maximum(_dot(_unit(toward[shiny] - directions[shiny]), hits.normal[shiny]), 0)
        power[shiny] += (gloss[shiny] * facing ** shininess[shiny])[:, None]
        light += lamp.color.astype(np.float32) * power
    return np.where((hits.item < 0)[:, None], sky, light), hits.item


def _materials(stage: Stage, hits: Hits, points: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Colour [N, 3], gloss [N] and shininess [N] at the hits."""
    color = np.zeros_like(points)
    gloss, shininess = np.zeros(len(points), np.float32), np.ones(len(points), np.float32)
    order = np.argsort(hits.item * 1000 + hits.part, kind='stable')
    key = (hits.item * 1000 + hits.part)[order]
    for group in np.split(order, np.flatnonzero(np.diff(key)) + 1):
        number, part = hits.item[group[0]], hits.part[group[0]]
        if number < 0:
            continue
        item = stage.items[number]
        material = item.materials[part]
        rotation = item.rotation.astype(np.float32)
        own = (points[group] - np.array(item.shift, np.float32)) @ rotation
        color[group] = albedo(material, own, hits.normal[group] @ rotation)
        gloss[group], shininess[group] = material.gloss, material.shininess
    return color, gloss, shininess


def _openness(stage: Stage, points: np.ndarray, normals: np.ndarray, jitter: np.ndarray) -> np.ndarray:
    """One cosine-weighted ray a point: 0 where it meets something near, else 1; averages to ambient occlusion."""
    directions = _unit(normals + np.float32(0.98) * _unit(jitter))
    return (~stage.blocked(points, directions, np.full(len(points), 0.6))).astype(np.float32)


def _dot(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.einsum('ni,ni->n', a, b)


def _unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.sqrt(np.maximum(_dot(vectors, vectors), 1e-18))[:, None]


def _scene(vertices: np.ndarray, faces: np.ndarray) -> EmbreeScene:
    scene = EmbreeScene()
    TriangleMesh(scene, np.ascontiguousarray(vertices, np.float32), np.ascontiguousarray(faces, np.int32))
    return scene
