"""What a photo shows: items with materials, and the room around them (floor, walls, rug, pictures)."""

from dataclasses import dataclass

import numpy as np

from data_pipelines.synthetic.photos.camera import Camera
from data_pipelines.synthetic.photos.textures import FLOOR, HARD, SOFT, WALL, Material, random_material
from data_pipelines.synthetic.shapes.furniture import Furniture
from data_pipelines.synthetic.shapes.parts import Assembly

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
        'floor': random_material(rng, FLOOR),
        'ceiling': random_material(rng, ('paint',)),
        'wall': walls[0],
        'other wall': walls[int(rng.random() < 0.3)],
        'skirting': random_material(rng, ('paint', 'wood')),
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
