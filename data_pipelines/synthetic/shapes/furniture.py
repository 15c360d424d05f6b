"""Which shapes exist: a grid of structural choices a category, and the most different ones picked from it."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import product
from pathlib import Path

import numpy as np

from data_pipelines.synthetic.photos.textures import random_color
from data_pipelines.synthetic.shapes import beds, chairs, sofas, tables
from jaxret.errors import ConfigError

CATEGORIES = ('bed', 'chair', 'sofa', 'table')
MAX_SHAPES = 24  # a category; beyond this the choices left differ too little from those already taken
_BUILDERS = {'bed': beds, 'chair': chairs, 'sofa': sofas, 'table': tables}


@dataclass(frozen=True)
class Furniture:
    """One shape; frame: +y up, +x leftward and +z inward when the front is seen, as Pix3D's models.

    Attributes:
      category: one of CATEGORIES.
      name: folder name, unique in the category ('chair_03_sled_slats_open_board').
      structure: the choice made for each structural option.
      vertices: [N, 3], bounding-box centre at 0 and longest side 1.
      faces: [F, 3] int64, closed parts with outward faces.
      face_parts: [F] index into part_names.
      part_names: labels such as 'leg', 'seat', 'cushion', by which photos choose materials.
    """

    category: str
    name: str
    structure: dict[str, str]
    vertices: np.ndarray
    faces: np.ndarray
    face_parts: np.ndarray
    part_names: tuple[str, ...]


def _has(choice: dict[str, str], combination: dict[str, tuple[str, ...]]) -> bool:
    return all(choice[key] in values for key, values in combination.items())


def choose_structures(category: str, count: int, *, seed: int) -> list[dict[str, str]]:
    """Picks structures one by one, each as far as possible from those already picked.

    Distance is the summed weight of the options in which two structures differ; among the farthest the one whose
    choices were used least is taken, and the seed breaks what ties remain.

    Args:
      category: one of CATEGORIES.
      count: how many, at most MAX_SHAPES.
      seed: decides the first pick and the ties.

    Returns:
      `count` different structures.

    Raises:
      ConfigError: an unknown category, or a count outside 1 .. MAX_SHAPES.
    """
    if category not in _BUILDERS:
        raise ConfigError(f'sample category {category!r} is unknown; use one of {", ".join(CATEGORIES)}')
    if not 1 <= count <= MAX_SHAPES:
        raise ConfigError(f'the sample has 1 to {MAX_SHAPES} shapes a category, not {count}')
    builder = _BUILDERS[category]
    keys = tuple(builder.OPTIONS)
    grid = [dict(zip(keys, values, strict=True)) for values in product(*builder.OPTIONS.values())]
    grid = [choice for choice in grid if not any(_has(choice, combination) for combination in builder.FORBIDDEN)]
    codes = np.array([[builder.OPTIONS[key].index(choice[key]) for key in keys] for choice in grid])
    weights = np.array([builder.WEIGHTS[key] for key in keys])
    rng = np.random.default_rng([seed, CATEGORIES.index(category), 0])
    tie = rng.random(len(grid))
    picked = [int(np.argmax(tie))]
    while len(picked) < count:
        differs = codes[:, None, :] != codes[None, picked, :]  # [grid, picked, options]
        distance = (differs * weights).sum(-1)
        nearest, spread = distance.min(1), distance.mean(1)
        picked.append(int(np.lexsort((tie, spread, nearest))[-1]))
    return [grid[i] for i in picked]


@lru_cache(maxsize=8)
def make_furniture(category: str, count: int, *, seed: int) -> tuple[Furniture, ...]:
    """Builds the shapes of one category.

    Args:
      category: one of CATEGORIES.
      count: how many shapes, 1 .. MAX_SHAPES.
      seed: the same seed gives the same meshes; another seed gives other structures and proportions.

    Returns:
      `count` shapes, structurally different from one another.

    Raises:
      ConfigError: as choose_structures.
    """
    shapes = []
    for index, structure in enumerate(choose_structures(category, count, seed=seed)):
        rng = np.random.default_rng([seed, CATEGORIES.index(category), 1, index])
        vertices, faces, parts, names = _BUILDERS[category].build(structure, rng).joined()
        low, high = vertices.min(0), vertices.max(0)
        vertices = (vertices - (low + high) / 2) / (high - low).max()
        words = [value for value in structure.values() if value != 'none']
        name = f'{category}_{index:02d}_' + '_'.join(words)
        shapes.append(Furniture(category, name, structure, vertices, faces, parts, names))
    return tuple(shapes)


def write_obj(path: Path, furniture: Furniture, *, colors: np.ndarray | None = None) -> None:
    """Writes a Wavefront OBJ with 6 decimals, one group a part.

    Args:
      path: of the file.
      furniture: what to write.
      colors: sRGB of every part [P, 3] in [0, 1], which become materials in a file beside it; None for none.
    """
    lines = [f'# {furniture.name}: synthetic {furniture.category}, +y up']
    if colors is not None:
        lines.append(f'mtllib {path.stem}.mtl')
        materials = [
            f'newmtl {part}\nKd {red:.3f} {green:.3f} {blue:.3f}\n'
            for part, (red, green, blue) in zip(furniture.part_names, colors, strict=True)
        ]
        path.with_suffix('.mtl').write_text(''.join(materials), encoding='ascii')
    lines += [f'v {x:.6f} {y:.6f} {z:.6f}' for x, y, z in furniture.vertices]
    for index, part in enumerate(furniture.part_names):
        lines += [f'g {part}', *([] if colors is None else [f'usemtl {part}'])]
        lines += [f'f {a} {b} {c}' for a, b, c in furniture.faces[furniture.face_parts == index] + 1]
    path.write_text('\n'.join(lines) + '\n', encoding='ascii')


def write_off(path: Path, vertices: np.ndarray, faces: np.ndarray) -> None:
    """Writes an OFF file of a shape with +y up, turned to +z up, with 6 digits."""
    x, y, z = vertices.T
    lines = ['OFF', f'{len(vertices)} {len(faces)} 0']
    lines += [f'{a:.6g} {b:.6g} {c:.6g}' for a, b, c in np.stack([x, -z, y], axis=1)]
    lines += [f'3 {a} {b} {c}' for a, b, c in faces]
    path.write_text('\n'.join(lines) + '\n', encoding='ascii')


def part_colors(furniture: Furniture, *, seed: Sequence[int]) -> np.ndarray:
    """Colours that tell nothing of the shape: one a shape, varied a little from part to part; sRGB [P, 3]."""
    rng = np.random.default_rng(list(seed))
    varied = random_color(rng) * rng.uniform(0.5, 1.2, (len(furniture.part_names), 1))
    return np.clip(varied, 0, 1) ** (1 / 2.2)
