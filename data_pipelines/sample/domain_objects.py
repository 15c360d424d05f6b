"""The objects of the sample in MI3DOR's layout: eight classes of furniture and solids, each a row of different objects.

What stands about in the photos' rooms (boxes, shelves, lamps, plants, balls, drums) is of none of these classes.
"""

import dataclasses

import numpy as np

from data_pipelines.sample.furniture import CATEGORIES as FURNITURE
from data_pipelines.sample.furniture import MAX_SHAPES, Furniture, make_furniture
from data_pipelines.sample.solids import SOLIDS

CLASSES = ('chair', 'ladder', 'mug', 'sofa', 'spring', 'stairs', 'star', 'table')
_STRETCH = 0.2  # of the logarithm of width, height and depth


def make_object(category: str, index: int, *, seed: int) -> Furniture:
    """One object of a class.

    Furniture takes its structure from a row of `MAX_SHAPES` different ones, a new row after each; solids draw theirs.
    All are stretched a little along each axis and turned about the up axis by any angle.

    Args:
      category: one of CLASSES.
      index: which object.
      seed: another seed, other objects.

    Returns:
      the object, +y up, its bounding box's centre at 0 and longest side 1.
    """
    rng = np.random.default_rng([seed, CLASSES.index(category), index])
    if category in FURNITURE:
        row, place = divmod(index, MAX_SHAPES)
        shape = make_furniture(category, MAX_SHAPES, seed=seed + 7919 * row)[place]
    else:
        vertices, faces, parts, names = SOLIDS[category](rng).joined()
        shape = Furniture(category, f'{category}_{index:04d}', {}, vertices, faces, parts, names)
    vertices = shape.vertices * np.exp(rng.normal(0, _STRETCH, 3))
    angle = rng.uniform(0, 2 * np.pi)
    x, y, z = vertices.T
    turned = (np.cos(angle) * x + np.sin(angle) * z, y, np.cos(angle) * z - np.sin(angle) * x)
    vertices = np.stack(turned, axis=1)
    low, high = vertices.min(axis=0), vertices.max(axis=0)
    return dataclasses.replace(shape, vertices=(vertices - (low + high) / 2) / (high - low).max())
