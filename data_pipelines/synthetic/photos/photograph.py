"""One photo of one shape: the scene composed to order, cast with embree, lit, and put through a cheap camera."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageFilter

from data_pipelines.synthetic.photos.camera import Camera, random_camera
from data_pipelines.synthetic.photos.clutter import occluder, scatter
from data_pipelines.synthetic.photos.lighting import Stage, random_lights, shade
from data_pipelines.synthetic.photos.scene import Item, furniture_item, room
from data_pipelines.synthetic.shapes.furniture import Furniture

KINDS = ('clear', 'slightly_occluded', 'occluded', 'truncated')
_HIDDEN = {  # the share of the object's silhouette in the frame that other things may hide
    'clear': (0.0, 0.01),
    'slightly_occluded': (0.03, 0.18),
    'occluded': (0.4, 0.8),
    'truncated': (0.0, 0.01),
}
_OUTSIDE = {  # the share of the silhouette that may lie outside the frame
    'clear': (0.0, 0.06),
    'slightly_occluded': (0.0, 0.06),
    'occluded': (0.0, 0.06),
    'truncated': (0.15, 0.6),
}
_SAMPLES = ((0.25, 0.25), (0.75, 0.75), (0.75, 0.25), (0.25, 0.75))  # in a pixel; the mask is their majority
_LIT_SAMPLES = 2  # the first of them are lit and averaged
_ATTEMPTS = 40


@dataclass(frozen=True)
class Photo:
    """A rendered photo with its truth.

    Attributes:
      image: uint8 [H, W, 3].
      mask: uint8 [H, W], 255 where the object is seen.
      camera: pose and intrinsics.
      kind: one of KINDS.
      hidden: share of the object's silhouette in the frame that other things cover.
      outside: share of its silhouette that the frame cuts off.
    """

    image: np.ndarray
    mask: np.ndarray
    camera: Camera
    kind: str
    hidden: float
    outside: float


def take_photo(shape: Furniture, others: Sequence[Furniture], *, kind: str, seed: Sequence[int]) -> Photo:
    """Composes and renders one photo.

    Args:
      shape: the object.
      others: furniture that may stand about in the background.
      kind: one of KINDS.
      seed: integers that decide everything else.

    Returns:
      The photo; the same arguments give the same pixels.
    """
    rng = np.random.default_rng(list(seed))
    camera, items, hidden, outside = _compose(shape, others, kind, rng)
    stage = Stage(items)
    height, width = camera.height, camera.width
    v, u = np.mgrid[:height, :width]
    directions = np.concatenate([camera.rays(u.ravel() + x, v.ravel() + y) for x, y in _SAMPLES])
    lit = _LIT_SAMPLES * height * width
    light, first = shade(stage, camera, directions[:lit], random_lights(rng, camera), rng)
    item = np.concatenate([first, stage.cast(camera.position, directions[lit:]).item])
    share = (item == 0).reshape(len(_SAMPLES), height, width).mean(0)
    image = expose(light.reshape(_LIT_SAMPLES, height, width, 3).mean(0), rng)
    return Photo(image, np.where(share >= 0.5, 255, 0).astype(np.uint8), camera, kind, hidden, outside)


def _compose(
    shape: Furniture, others: Sequence[Furniture], kind: str, rng: np.random.Generator
) -> tuple[Camera, list[Item], float, float]:
    """Draws cameras and scenes until the object is hidden and cut as much as `kind` says. The object is item 0."""
    target = furniture_item(shape, rng)
    floor, radius = float(shape.vertices[:, 1].min()), float(np.hypot(*shape.vertices[:, ::2].T).max())
    alone = Stage([target])
    for _attempt in range(_ATTEMPTS):
        camera = random_camera(rng, shape.vertices, cut=kind == 'truncated')
        directions, inside = _probe(camera)
        hits = alone.cast(camera.position, directions).item == 0
        outside = 1 - (hits & inside).sum() / max(hits.sum(), 1)
        if not _OUTSIDE[kind][0] <= outside <= _OUTSIDE[kind][1]:
            continue
        shell, turn, bounds = room(rng, camera, floor, radius)
        items = scatter(rng, camera, others, floor=floor, radius=radius, turn=turn, bounds=bounds)
        probes = directions[hits & inside]
        in_front = np.unique(Stage([target, *items]).cast(camera.position, probes).item)
        items = [target, shell] + [item for number, item in enumerate(items, 1) if number not in in_front]
        if kind in ('clear', 'truncated'):
            return camera, items, 0.0, float(outside)
        size = rng.uniform(0.12, 0.3) if kind == 'slightly_occluded' else rng.uniform(0.5, 0.8)
        for _trial in range(6):
            thing = _occluder(rng, camera, alone, probes, size, floor)
            seen = Stage([target, thing]).cast(camera.position, probes).item
            hidden = float((seen != 0).mean())
            if _HIDDEN[kind][0] <= hidden <= _HIDDEN[kind][1]:
                return camera, [*items, thing], hidden, float(outside)
            size *= 0.75 if hidden > _HIDDEN[kind][1] else 1.3
    raise RuntimeError(f'no {kind} photo of {shape.name} after {_ATTEMPTS} attempts')


def _occluder(rng, camera: Camera, alone: Stage, probes: np.ndarray, size: float, floor: float) -> Item:
    """An occluder in front of a random visible point of the object."""
    ray = probes[rng.integers(len(probes))][None]
    hit = alone.cast(camera.position, ray)
    return occluder(rng, camera, camera.position + hit.distance[0] * ray[0], size, floor)


def _probe(camera: Camera, *, count: int = 56) -> tuple[np.ndarray, np.ndarray]:
    """A coarse grid of rays over a frame twice as wide and high, and which of them the photo contains."""
    u, v = np.meshgrid(
        np.linspace(-0.5, 1.5, 2 * count + 1) * camera.width, np.linspace(-0.5, 1.5, 2 * count + 1) * camera.height
    )
    inside = (u >= 0) & (u < camera.width) & (v >= 0) & (v < camera.height)
    return camera.rays(u.ravel(), v.ravel()), inside.ravel()


def expose(light: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Linear light [H, W, 3] to a uint8 photo: exposure, white balance, vignette, tone, blur and sensor noise."""
    height, width = light.shape[:2]
    level = np.quantile(light.mean(2), 0.9)
    gain = rng.uniform(0.55, 1.05) / max(level, 1e-6)
    balance = np.exp(rng.normal(0, 0.09, 3) + rng.normal(0, 0.07) * np.array([1, 0, -1]))
    y, x = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
    vignette = 1 - rng.uniform(0, 0.3) * (x**2 + y**2) / 2
    value = light * gain * balance * vignette[..., None]
    value = 1 - np.exp(-1.6 * value)  # highlights roll off
    value = np.clip(value, 0, 1) ** (1 / rng.uniform(1.9, 2.4))
    contrast, saturation = rng.uniform(0.85, 1.15), rng.uniform(0.75, 1.15)
    grey = value.mean(2, keepdims=True)
    value = 0.5 + contrast * (grey + saturation * (value - grey) - 0.5)
    picture = Image.fromarray((np.clip(value, 0, 1) * 255).round().astype(np.uint8))
    blur = rng.choice([0.0, 0.4, 0.8], p=[0.5, 0.35, 0.15])
    if blur:
        picture = picture.filter(ImageFilter.GaussianBlur(float(blur)))
    grain = rng.normal(0, rng.uniform(1.0, 5.0), (height, width, 3)) + rng.normal(0, 1.5, (height, width, 1))
    return np.clip(np.asarray(picture, float) + grain, 0, 255).round().astype(np.uint8)


def flags(photo: Photo) -> dict[str, bool]:
    """Pix3D's three flags; an object is never both occluded and slightly occluded."""
    return {
        'truncated': photo.kind == 'truncated',
        'occluded': photo.kind == 'occluded',
        'slightly_occluded': photo.kind == 'slightly_occluded',
    }
