"""The room of a photo: floor, walls, rug, pictures, clutter, and something in front where the photo asks for it."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from data_pipelines.sample.camera import Camera
from data_pipelines.sample.furniture import Furniture
from data_pipelines.sample.parts import Assembly
from data_pipelines.sample.textures import FLOOR, HARD, SOFT, WALL, Material, random_material

SOFT_PARTS = ('cushion', 'mattress', 'blanket', 'pillow')
_UPHOLSTERED = ('back', 'seat', 'arm', 'headboard', 'frame', 'base')


@dataclass(frozen=True)
class Item:
    """One thing in the room.

    Attributes:
      vertices: [N, 3] in its own frame, the frame that its textures follow.
      faces: [F, 3].
      face_parts: [F] index into materials.
      materials: one a part.
      turn: radians about +y.
      shift: [3], added after the turn.
      casts_shadow: the walls and the floor do not.
    """

    vertices: np.ndarray
    faces: np.ndarray
    face_parts: np.ndarray
    materials: tuple[Material, ...]
    turn: float = 0.0
    shift: tuple[float, float, float] = (0.0, 0.0, 0.0)
    casts_shadow: bool = True

    @property
    def rotation(self) -> np.ndarray:
        """[3, 3] of the turn."""
        cosine, sine = np.cos(self.turn), np.sin(self.turn)
        return np.array([[cosine, 0, sine], [0, 1, 0], [-sine, 0, cosine]])

    @property
    def placed(self) -> np.ndarray:
        """[N, 3] vertices in the room."""
        return self.vertices @ self.rotation.T + np.array(self.shift)


def furniture_item(shape: Furniture, rng: np.random.Generator, **pose) -> Item:
    """Gives each part of a shape a material: cloth for the soft ones, one or two hard ones for the others."""
    hard = [random_material(rng, HARD), random_material(rng, HARD)]
    soft = [random_material(rng, SOFT), random_material(rng, SOFT), random_material(rng, SOFT)]
    upholstered = shape.category == 'sofa' or rng.random() < 0.35
    materials = []
    for name in shape.part_names:
        if name in SOFT_PARTS:
            materials.append(soft[SOFT_PARTS.index(name) % 3])
        elif upholstered and name in _UPHOLSTERED:
            materials.append(soft[0])
        else:
            materials.append(hard[0] if name in ('leg', 'frame', 'post', 'base') else hard[rng.integers(2)])
    return Item(shape.vertices, shape.faces, shape.face_parts, tuple(materials), **pose)


def room(rng: np.random.Generator, camera: Camera, floor: float, radius: float) -> tuple[Item, float, np.ndarray]:
    """Builds a box of floor, walls and ceiling round the camera and the object, with a rug and wall pictures.

    Args:
      rng: source of all choices.
      camera: must end up inside.
      floor: height y of the floor.
      radius: of the object around the vertical axis.

    Returns:
      The room, its turn in radians, and its bounds [2, 2]: lowest and highest (x, z) in the turned frame.
    """
    turn = float(rng.uniform(0, 2 * np.pi))
    cosine, sine = np.cos(turn), np.sin(turn)
    x, _, z = camera.position
    seen = np.array([cosine * x - sine * z, sine * x + cosine * z])  # the camera in the room's frame
    low = np.minimum(seen - 0.5, -radius) - rng.uniform(0.05, 1.3, 2)
    high = np.maximum(seen + 0.5, radius) + rng.uniform(0.05, 1.3, 2)
    top = max(floor + rng.uniform(1.6, 2.6), camera.position[1] + 0.4)
    shell = Assembly()
    walls = [random_material(rng, WALL), random_material(rng, WALL)]
    thick = 0.1
    shell.box('floor', (low[0] - 1, floor - thick, low[1] - 1), (high[0] + 1, floor, high[1] + 1))
    shell.box('ceiling', (low[0] - 1, top, low[1] - 1), (high[0] + 1, top + thick, high[1] + 1))
    for axis in (0, 1):
        for side, at in ((-1, low[axis]), (1, high[axis])):
            first, second = np.array([low[0], floor, low[1]]) - 1, np.array([high[0], top, high[1]]) + 1
            first[2 * axis], second[2 * axis] = at, at + side * thick
            shell.box('wall' if side < 0 else 'other wall', first, second)
            skirting = side * 0.02
            first, second = first.copy(), second.copy()
            first[2 * axis], second[2 * axis], second[1] = at - skirting, at, floor + 0.07
            shell.box('skirting', first, second)
            for _ in range(rng.integers(0, 4)):
                _picture(shell, rng, axis, at, side, low, high, floor, top)
    if rng.random() < 0.45:
        half = radius * rng.uniform(0.7, 1.6, 2)
        shell.box('rug', (-half[0], floor - 0.01, -half[1]), (half[0], floor + 0.003, half[1]))
    palette = {
        'floor': random_material(rng, FLOOR), 'ceiling': random_material(rng, ('paint',)), 'wall': walls[0],
        'other wall': walls[int(rng.random() < 0.3)], 'skirting': random_material(rng, ('paint', 'wood')),
        'rug': random_material(rng, SOFT),
    }
    vertices, faces, parts, names = shell.joined()
    materials = tuple(palette.get(name) or random_material(rng, SOFT + WALL) for name in names)
    item = Item(vertices, faces, parts, materials, turn=turn, casts_shadow=False)
    return item, turn, np.stack([low, high])


def _picture(
    shell: Assembly,
    rng: np.random.Generator,
    axis: int,
    at: float,
    side: int,
    low: np.ndarray,
    high: np.ndarray,
    floor: float,
    top: float,
) -> None:
    """Hangs a picture, window or door as a thin framed box on one wall."""
    along = 1 - axis
    size = rng.uniform(0.15, 0.7, 2)
    centre = rng.uniform(low[along], high[along])
    base = rng.uniform(floor + 0.1, max(top - size[1], floor + 0.2))
    number = len(shell.labels)
    for grow, depth, label in ((0.03, 0.015, 'picture frame'), (0.0, 0.022, 'picture')):
        first, second = np.zeros(3), np.zeros(3)
        first[2 * axis], second[2 * axis] = at - side * depth, at
        first[2 * along], second[2 * along] = centre - size[0] / 2 - grow, centre + size[0] / 2 + grow
        first[1], second[1] = base - grow, base + size[1] + grow
        shell.box(f'{label} {number}', first, second)


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


def clutter(
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
            a.cushion(f'leaf {leaf % 2}', tip - 0.45 * half, tip + 0.45 * half, roundness=1.0)
    return thing_item(rng, a, (point[0], point[2]), floor)
