"""Bookshelves and cabinets of random structure, for the sample of scans. Frame as `parts`."""

import numpy as np

from data_pipelines.synthetic.shapes.parts import Assembly


def make_bookshelf(rng: np.random.Generator) -> Assembly:
    """Boards between sides or posts, in one to three columns; open or with a back; on a plinth or on feet."""
    a, board = Assembly(), 0.035
    x, top, z = rng.uniform(0.22, 0.7), rng.uniform(0.8, 2.0), rng.uniform(0.13, 0.22)
    foot = rng.choice([0.0, 0.08, 0.2])
    columns, shelves = int(rng.integers(1, 4)), int(rng.integers(2, 7))
    posts = rng.random() < 0.3
    for side in np.linspace(-x, x, columns + 1):
        low, high = np.clip([side - board / 2, side + board / 2], -x, x)
        if posts:
            for depth in (-z, z - board):
                a.box('side', (low, 0.0, depth), (high, top, depth + board))
        else:
            a.box('side', (low, foot, -z), (high, top, z))
    uneven = rng.random() < 0.4
    edges = np.linspace(-x, x, columns + 1)
    for left, right in zip(edges[:-1], edges[1:], strict=True):
        own = int(rng.integers(2, 7)) if uneven else shelves
        for height in np.linspace(foot, top - board, own + 1):
            a.box('shelf', (left, height, -z), (right, height + board, z))
    if rng.random() < 0.6 and not posts:
        a.box('back', (-x, foot, z - 0.02), (x, top, z))
    if foot and not posts:
        if rng.random() < 0.5:
            a.box('plinth', (-x, 0.0, -z + 0.03), (x, foot, z))
        else:
            _legs(a, x, z, foot)
    return a


def make_cabinet(rng: np.random.Generator) -> Assembly:
    """A closed body with doors or drawers, perhaps a niche, a wider top, legs, or a raised back."""
    a = Assembly()
    x, z = rng.uniform(0.2, 0.8), rng.uniform(0.18, 0.32)
    foot, top = rng.choice([0.0, 0.07, 0.18, 0.3]), rng.uniform(0.6, 1.5)
    niche = rng.choice([0.0, 0.0, 0.25, 0.4]) * (top - foot)
    a.box('body', (-x, foot, -z), (x, top - niche, z))
    if niche:
        for side in (-x, x - 0.04):
            a.box('body', (side, top - niche, -z), (side + 0.04, top, z))
        a.box('body', (-x, top - niche, z - 0.03), (x, top, z))
    if niche or rng.random() < 0.6:
        reach = rng.choice([0.0, 0.04, 0.08])
        a.box('top', (-x - reach, top, -z - reach), (x + reach, top + 0.05, z))
    columns, rows = int(rng.integers(1, 4)), int(rng.integers(1, 5))
    across = np.linspace(-x, x, columns + 1)
    upwards = np.linspace(foot, top - niche, rows + 1)
    for left, right in zip(across[:-1], across[1:], strict=True):
        for low, high in zip(upwards[:-1], upwards[1:], strict=True):
            a.box('front', (left + 0.02, low + 0.02, -z - 0.03), (right - 0.02, high - 0.02, -z))
            middle, height = (left + right) / 2, (low + high) / 2
            a.box('handle', (middle - 0.05, height - 0.015, -z - 0.07), (middle + 0.05, height + 0.015, -z - 0.03))
    if rng.random() < 0.25:
        a.box('back', (-x, top, z - 0.05), (x, top + rng.uniform(0.15, 0.5), z))
    if foot:
        _legs(a, x, z, foot)
    return a


def _legs(a: Assembly, x: float, z: float, height: float) -> None:
    for side in (-x, x - 0.06):
        for depth in (-z, z - 0.06):
            a.box('leg', (side, 0.0, depth), (side + 0.06, height, depth + 0.06))
