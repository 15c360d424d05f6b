"""Photos of cars in a hall, taken with the cameras that pose annotations describe (`car_annotations.CarPose`)."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from data_pipelines.photo_to_shape.car_annotations import CarPose
from data_pipelines.photo_to_shape.car_masks import WIDTH, pose_rotation
from data_pipelines.synthetic.photos.camera import SENSOR_WIDTH, Camera
from data_pipelines.synthetic.photos.clutter import scatter
from data_pipelines.synthetic.photos.lighting import Stage, random_lights, shade
from data_pipelines.synthetic.photos.photograph import expose
from data_pipelines.synthetic.photos.scene import Item, room
from data_pipelines.synthetic.photos.textures import Material, random_color, random_material
from data_pipelines.synthetic.shapes.furniture import Furniture

_SAMPLES = ((0.25, 0.25), (0.75, 0.75))  # in a pixel
_PROBES = 24  # rays along each side that look for what stands in front
_GREYS = {'tyre': 0.02, 'rim': 0.4, 'trim': 0.05, 'glass': 0.03, 'seat': 0.05, 'lamp': 0.7}  # linear


def photograph_car(car: Furniture, *, seed: Sequence[int]) -> tuple[np.ndarray, np.ndarray, CarPose]:
    """Composes and renders one photo.

    Args:
      car: alike on both sides of the plane z = 0, as the poses mirror it.
      seed: integers that decide everything else.

    Returns:
      photo uint8 [H, W, 3], mask uint8 [H, W] (255 where the car is seen) and pose; the same arguments give the same.
    """
    rng = np.random.default_rng(list(seed))
    width = int(rng.integers(144, 177))
    height = round(width / rng.choice([3 / 2, 4 / 3, 16 / 10]))
    pose = _draw_pose(rng, car.vertices, height / width)
    camera = pose_camera(pose, width=width, height=height)
    target = Item(car.vertices, car.faces, car.face_parts, _materials(rng, car.part_names))
    floor, radius = float(car.vertices[:, 1].min()), float(np.hypot(*car.vertices[:, ::2].T).max())
    shell, turn, bounds = room(rng, camera, floor, radius)
    things = scatter(rng, camera, (), floor=floor, radius=radius, turn=turn, bounds=bounds)
    shift = np.array([pose.u, pose.v]) * width / WIDTH  # the camera's axis meets the photo off its middle
    across, down = np.meshgrid(*((np.arange(_PROBES) + 0.5) / _PROBES * side for side in (width, height)))
    probes = camera.rays(across.ravel() - shift[0], down.ravel() - shift[1])
    probes = probes[Stage([target]).cast(camera.position, probes).item == 0]
    in_front = set(Stage([target, *things]).cast(camera.position, probes).item.tolist()) - {0}
    items = [target, shell, *(thing for number, thing in enumerate(things, 1) if number not in in_front)]
    v, u = np.mgrid[:height, :width]
    directions = np.concatenate([camera.rays(u.ravel() + x - shift[0], v.ravel() + y - shift[1]) for x, y in _SAMPLES])
    light, first = shade(Stage(items), camera, directions, random_lights(rng, camera), rng)
    share = (first == 0).reshape(len(_SAMPLES), height, width).mean(0)
    mask = np.where(share >= 0.5, np.uint8(255), np.uint8(0))
    return expose(light.reshape(len(_SAMPLES), height, width, 3).mean(0), rng), mask, pose


def pose_camera(pose: CarPose, *, width: int, height: int) -> Camera:
    """The camera of a pose, for a car that is alike on both sides, with its axis through the photo's middle (no u, v).

    Mirroring the model at z = 0 undoes the mirror in the annotations' projection.
    """
    mirror = np.diag([1.0, 1.0, -1.0])
    rotation = mirror @ pose_rotation(pose) @ mirror
    focal_length = pose.f / WIDTH * SENSOR_WIDTH
    return Camera(width, height, focal_length, rotation, -rotation.T @ [0.0, 0.0, pose.distance])


def project(points: np.ndarray, pose: CarPose, *, aspect: float) -> np.ndarray:
    """Pixels [N, 2] of model points [N, 3] in a photo `WIDTH` wide and aspect * WIDTH high, as `CarPose` says."""
    seen = points @ pose_rotation(pose).T
    scale = pose.f / (seen[:, 2:] - pose.distance)
    return np.array([WIDTH / 2 + pose.u, aspect * WIDTH / 2 + pose.v]) + scale * seen[:, :2]


def _draw_pose(rng: np.random.Generator, vertices: np.ndarray, aspect: float) -> CarPose:
    """Mostly three quarters from the front or the rear, from about eye level; the car fills 65 to 92 % of the frame."""
    azimuth = rng.choice([0.8, 2.3, 3.9, 5.4]) + rng.normal(0, 0.35)
    elevation, theta = float(np.clip(rng.normal(0.09, 0.06), 0.01, 0.35)), rng.normal(0, 0.01)
    focal, fill = float(rng.choice([346.4101615137755, rng.uniform(280, 900)])), rng.uniform(0.65, 0.92)
    pose = CarPose(float(azimuth % (2 * np.pi)), elevation, float(theta), 1.5, 0.0, 0.0, focal)
    frame = np.array([1.0, aspect]) * WIDTH
    for _ in range(5):  # the projected size is nearly inverse to the distance
        pixels = project(vertices, pose, aspect=aspect)
        extent = (np.ptp(pixels, axis=0) / frame).max()
        pose = replace(pose, distance=float(max(pose.distance * extent / fill, 0.75)))
    pixels = project(vertices, pose, aspect=aspect)
    room_left = np.maximum(frame - np.ptp(pixels, axis=0), 0) / 2
    shift = frame / 2 - (pixels.min(axis=0) + pixels.max(axis=0)) / 2 + rng.uniform(-0.6, 0.6, 2) * room_left
    return replace(pose, u=float(np.round(2 * shift[0]) / 2), v=float(np.round(2 * shift[1]) / 2))


def _materials(rng: np.random.Generator, names: Sequence[str]) -> tuple[Material, ...]:
    """Paint of any colour on the body, greys elsewhere."""
    made = []
    for name in names:
        material = random_material(rng, ('paint',))
        color = random_color(rng) if name == 'body' else np.full(3, _GREYS[name])
        gloss = {'tyre': 0.0, 'seat': 0.0}.get(name, 0.4)
        made.append(replace(material, colors=np.stack([color, 0.9 * color]), gloss=gloss))
    return tuple(made)
