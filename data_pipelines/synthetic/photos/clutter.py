"""What stands about in a photo: clutter over the floor, and something in front of the object where it is asked for."""

from collections.abc import Sequence

import numpy as np

from data_pipelines.synthetic.photos.camera import Camera
from data_pipelines.synthetic.photos.scene import Item, furniture_item
from data_pipelines.synthetic.photos.textures import HARD, SOFT, random_material
from data_pipelines.synthetic.shapes.furniture import Furniture
from data_pipelines.synthetic.shapes.parts import Assembly


def thing(rng: np.random.Generator, others: Sequence[Furniture]) -> tuple[Assembly | Furniture, float]:
    """Draws one object that stands about: box, shelf, lamp, plant, ball, drum, or a small piece of other furniture.

    Returns:
      The object, standing on y = 0, and its radius about the vertical axis.
    """
    kind = rng.choice(['box', 'shelf', 'lamp', 'plant', 'ball', 'drum', 'furniture'])
    a = Assembly()
    if kind == 'furniture' and len(others):
        shape = others[rng.integers(len(others))]
        return shape, float(np.hypot(*np.abs(shape.vertices[:, ::2]).max(0)))
    if kind == 'shelf':
        x, z, high = rng.uniform(0.15, 0.3), rng.uniform(0.08, 0.15), rng.uniform(0.5, 1.3)
        for side in (-1, 1):
            a.box('side', (side * x, 0, -z), (side * (x - 0.03), high, z))
        for level in np.linspace(0.05, 1, int(rng.integers(3, 6))):
            a.box('board', (-x, level * high - 0.03, -z), (x, level * high, z))
            for left in np.linspace(-0.8 * x, 0.5 * x, 3):
                if rng.random() < 0.6 and level < 1:
                    low = np.array([left, level * high, -z])
                    a.box(f'book {rng.integers(3)}', low, low + [0.08, 0.12, 1.5 * z])
        radius = float(np.hypot(x, z))
    elif kind == 'lamp':
        high, radius = rng.uniform(0.5, 1.1), 0.16
        a.rod('foot', (0, 0, 0), (0, 0.03, 0), 0.11)
        a.rod('pole', (0, 0, 0), (0, high, 0), 0.014)
        a.rod('shade', (0, high - 0.12, 0), (0, high + 0.1, 0), radius, 0.09)
    elif kind == 'plant':
        radius, high = rng.uniform(0.15, 0.25), rng.uniform(0.25, 0.7)
        a.rod('pot', (0, 0, 0), (0, 0.18, 0), 0.08, 0.12)
        for leaf in range(int(rng.integers(5, 10))):
            angle = rng.uniform(0, 2 * np.pi)
            tip = np.array([radius * np.cos(angle), high * rng.uniform(0.6, 1.2), radius * np.sin(angle)])
            a.rod(f'leaf {leaf % 2}', (0, 0.15, 0), tip, 0.012, 0.05, stretch=0.4, sections=8)
            a.cushion(f'leaf {leaf % 2}', tip - 0.07, tip + 0.07, roundness=1.0)
    elif kind == 'ball':
        radius = rng.uniform(0.08, 0.22)
        a.cushion('ball', (-radius, 0, -radius), (radius, 2 * radius, radius), roundness=1.0)
    elif kind == 'drum':
        radius = rng.uniform(0.1, 0.25)
        a.rod('side', (0, 0, 0), (0, rng.uniform(0.1, 0.6), 0), radius, radius * rng.uniform(0.7, 1.2), sections=20)
    else:
        x, z = rng.uniform(0.08, 0.3, 2)
        high = rng.uniform(0.1, 0.8)
        a.box('side', (-x, 0, -z), (x, high, z))
        if rng.random() < 0.5:
            a.box('top', (-0.6 * x, high, -0.6 * z), (0.7 * x, high + rng.uniform(0.05, 0.3), 0.5 * z))
        radius = float(np.hypot(x, z))
    return a, float(radius)


def thing_item(rng: np.random.Generator, made: Assembly | Furniture, place: Sequence[float], floor: float) -> Item:
    """Stands an object at (x, z) on the floor, turned at random, in random materials."""
    turn = float(rng.uniform(0, 2 * np.pi))
    if isinstance(made, Furniture):
        shift = (float(place[0]), floor - float(made.vertices[:, 1].min()), float(place[1]))
        return furniture_item(made, rng, turn=turn, shift=shift)
    vertices, faces, parts, names = made.joined()
    materials = tuple(random_material(rng, HARD + SOFT) for _ in names)
    return Item(vertices, faces, parts, materials, turn=turn, shift=(float(place[0]), floor, float(place[1])))


def scatter(
    rng: np.random.Generator,
    camera: Camera,
    others: Sequence[Furniture],
    *,
    floor: float,
    radius: float,
    turn: float,
    bounds: np.ndarray,
) -> list[Item]:
    """Scatters things over the floor: inside the walls, clear of the object, of one another and of the camera."""
    taken = [(0.0, 0.0, radius), (camera.position[0], camera.position[2], 0.6)]
    cosine, sine = np.cos(turn), np.sin(turn)
    items = []
    for _ in range(int(rng.integers(3, 9))):
        made, size = thing(rng, others)
        for _attempt in range(12):
            along = rng.uniform(bounds[0] + size, np.maximum(bounds[1] - size, bounds[0] + size + 1e-6))
            place = np.array([cosine * along[0] + sine * along[1], -sine * along[0] + cosine * along[1]])
            ahead = place @ camera.rotation[2, ::2] - camera.position[::2] @ camera.rotation[2, ::2]
            if ahead > 0.6 and all(np.hypot(place[0] - x, place[1] - z) > size + gap for x, z, gap in taken):
                taken.append((*place, size))
                items.append(thing_item(rng, made, place, floor))
                break
    return items


def occluder(rng: np.random.Generator, camera: Camera, target: np.ndarray, size: float, floor: float) -> Item:
    """Puts a box, a board on legs, a column or a plant on the floor between the camera and a point of the object.

    Args:
      rng: source of all choices.
      camera: of the photo.
      target: [3] the point to hide.
      size: width of the thing.
      floor: height y of the floor.

    Returns:
      The thing; it reaches above the line of sight to the target by half its width.
    """
    near = rng.uniform(0.35, 0.6)  # 0 at the target, 1 at the camera
    point = target + near * (camera.position - target)
    high = max(point[1] - floor + 0.5 * size, 0.05)
    a = Assembly()
    kind = rng.choice(['box', 'board', 'column', 'plant'])
    half = 0.5 * size
    if kind == 'box':
        a.box('side', (-half, 0, -0.7 * half), (half, high, 0.7 * half))
    elif kind == 'board':
        a.box('top', (-half, max(high - size, 0.4 * high), -0.02), (half, high, 0.02))
        for side in (-1, 1):
            a.box('side', (side * half, 0, -0.02), (side * (half - 0.03), high, 0.02))
    elif kind == 'column':
        a.rod('side', (0, 0, 0), (0, high, 0), half, 0.7 * half, sections=20)
    else:
        a.rod('pot', (0, 0, 0), (0, 0.4 * high, 0), 0.5 * half, 0.75 * half)
        for leaf in range(7):
            angle = rng.uniform(0, 2 * np.pi)
            tip = np.array([half * np.cos(angle), high * rng.uniform(0.6, 1.0), half * np.sin(angle)])
            a.rod(f'leaf {leaf % 2}', (0, 0.38 * high, 0), tip, 0.06 * half, 0.12 * half, sections=8)
            reach = half * np.array([0.45, 0.3, 0.45])
            a.cushion(f'leaf {leaf % 2}', tip - reach, tip + reach, roundness=1.0)
    return thing_item(rng, a, (point[0], point[2]), floor)
