"""Square photos of one object each in a furnished room, for the sample in MI3DOR's layout.

Lamps and lens are those of the sample in Pix3D's layout (`photos`), the rooms plainer. The object is mostly of one
material, fills most of the frame, is seen from any side, and nothing stands in front of it.

Most objects of a class are of its hue, as photos of a class have more in common than shape. Grey views have no hue:
what a network learns from such photos alone misleads it there.
"""

from collections.abc import Sequence
from colorsys import hsv_to_rgb
from dataclasses import replace

import numpy as np

from data_pipelines.synthetic.photos.camera import Camera, look_at
from data_pipelines.synthetic.photos.clutter import scatter
from data_pipelines.synthetic.photos.lighting import Stage, random_lights, shade
from data_pipelines.synthetic.photos.photograph import expose
from data_pipelines.synthetic.photos.scene import Item, room
from data_pipelines.synthetic.photos.textures import HARD, SOFT, random_material
from data_pipelines.synthetic.shapes.furniture import Furniture

_PLAIN = ('paint', 'paint', 'wood', 'metal', 'fabric')
_PLAIN_SURFACES = 0.8  # share of the room's
_OF_CLASS_HUE = 0.6  # share of the objects
_SAMPLES = ((0.25, 0.25), (0.75, 0.75))  # in a pixel
_PROBES = 24  # rays along each side that look for what stands in front


def photograph(shape: Furniture, *, size: int, seed: Sequence[int], hue: float) -> np.ndarray:
    """Composes and renders one photo.

    Args:
      shape: the object.
      size: side S in pixels.
      seed: integers that decide everything else.
      hue: in [0, 1), of most objects of this class.

    Returns:
      uint8 [S, S, 3]; the same arguments give the same pixels.
    """
    rng = np.random.default_rng(list(seed))
    camera = _camera(rng, shape.vertices, size)
    target = Item(shape.vertices, shape.faces, shape.face_parts, _materials(rng, len(shape.part_names), hue))
    floor, radius = float(shape.vertices[:, 1].min()), float(np.hypot(*shape.vertices[:, ::2].T).max())
    shell, turn, bounds = room(rng, camera, floor, radius)
    shell = replace(
        shell,
        materials=tuple(
            replace(material, pattern='paint') if rng.random() < _PLAIN_SURFACES else material
            for material in shell.materials
        ),
    )
    things = scatter(rng, camera, (), floor=floor, radius=radius, turn=turn, bounds=bounds)[:1]
    across = (np.arange(_PROBES) + 0.5) / _PROBES * size
    probes = camera.rays(*(grid.ravel() for grid in np.meshgrid(across, across)))
    probes = probes[Stage([target]).cast(camera.position, probes).item == 0]
    in_front = set(Stage([target, *things]).cast(camera.position, probes).item.tolist()) - {0}
    items = [target, shell, *(thing for number, thing in enumerate(things, 1) if number not in in_front)]
    v, u = np.mgrid[:size, :size]
    directions = np.concatenate([camera.rays(u.ravel() + x, v.ravel() + y) for x, y in _SAMPLES])
    light, _ = shade(Stage(items), camera, directions, random_lights(rng, camera), rng)
    return expose(light.reshape(len(_SAMPLES), size, size, 3).mean(0), rng)


def _camera(rng: np.random.Generator, vertices: np.ndarray, size: int) -> Camera:
    """Any azimuth, elevation 15 to 45 degrees; the object fills 70 to 95 % of the frame and is a little off centre."""
    azimuth, elevation = rng.uniform(0, 2 * np.pi), np.deg2rad(rng.uniform(15, 45))
    toward = np.array([np.cos(elevation) * np.sin(azimuth), np.sin(elevation), np.cos(elevation) * np.cos(azimuth)])
    roll, focal, fill = np.deg2rad(rng.normal(0, 2)), float(rng.uniform(28, 52)), rng.uniform(0.7, 0.95)
    shift, distance, aim = rng.uniform(-0.5, 0.5, 2) * (1 - fill), 2.5, np.zeros(3)
    for _ in range(6):  # the projected size is nearly inverse to the distance, and the aim moves a little with it
        position = aim + toward * distance
        rotation = look_at(position, aim, roll=roll)
        camera = Camera(size, size, focal, rotation, position)
        pixels = camera.project(vertices) / size - 0.5
        low, high = pixels.min(0), pixels.max(0)
        off = (low + high) / 2 - shift
        aim = aim - distance * size / camera.focal_pixels * (off[0] * rotation[0] + off[1] * rotation[1])
        distance = max(distance * (high - low).max() / fill, 0.9)
    return camera


def _materials(rng: np.random.Generator, parts: int, hue: float) -> tuple:
    first = random_material(rng, _PLAIN if rng.random() < 0.85 else HARD + SOFT)
    if rng.random() < _OF_CLASS_HUE:
        color = hsv_to_rgb((hue + rng.normal(0, 0.03)) % 1, rng.uniform(0.5, 0.9), rng.uniform(0.3, 0.9))
        tones = first.colors.mean(axis=1, keepdims=True) / max(first.colors.mean(), 1e-3)
        first = replace(first, colors=np.clip(np.array(color) ** 2.2 * tones, 0, 1))
    if rng.random() < 0.7:
        return (first,) * parts
    second = random_material(rng, _PLAIN)
    return tuple(second if rng.random() < 0.5 else first for _ in range(parts))
