"""Procedural materials: wood grain, weave, stripes, checks, dots and bricks as functions of surface position."""

import colorsys
from dataclasses import dataclass

import numpy as np

HARD = ('wood', 'wood', 'wood', 'paint', 'paint', 'metal', 'marble')
SOFT = ('fabric', 'fabric', 'paint', 'stripes', 'checks', 'plaid', 'dots', 'marble')
WALL = ('paint', 'paint', 'paint', 'stripes', 'bricks', 'marble', 'planks', 'dots', 'gradient')
FLOOR = ('planks', 'planks', 'tiles', 'checks', 'fabric', 'marble', 'paint', 'wood')


@dataclass(frozen=True)
class Material:
    """A pattern with two colours.

    Attributes:
      pattern: a key of _PATTERNS.
      colors: [2, 3] linear RGB.
      scale: pattern repeats in one unit of length.
      angle: turn of the pattern in the surface, radians.
      gloss: strength of the highlight.
      shininess: its exponent.
      lattice: [64, 64] random values in 0 .. 1, the source of the pattern's noise.
    """

    pattern: str
    colors: np.ndarray
    scale: float
    angle: float
    gloss: float
    shininess: float
    lattice: np.ndarray


def random_color(rng: np.random.Generator) -> np.ndarray:
    """Draws a linear RGB colour: any hue, mostly muted, from nearly black to nearly white."""
    hue, sat, value = rng.random(), 0.9 * rng.beta(1.2, 2.4), rng.uniform(0.12, 0.95)
    return np.array(colorsys.hsv_to_rgb(hue, sat, value)) ** 2.2


def random_material(rng: np.random.Generator, patterns: tuple[str, ...]) -> Material:
    """Draws a material among `patterns` (repeats weigh)."""
    pattern = patterns[rng.integers(len(patterns))]
    if pattern in ('wood', 'planks'):  # browns, from bleached to nearly black
        hue, sat, value = rng.uniform(0.04, 0.11), rng.uniform(0.2, 0.7), rng.uniform(0.2, 0.9)
        first = np.array(colorsys.hsv_to_rgb(hue, sat, value)) ** 2.2
        second = first * rng.uniform(0.35, 0.7)
    elif pattern == 'metal':
        first = np.full(3, rng.uniform(0.05, 0.5)) * rng.uniform(0.9, 1.1, 3)
        second = first * 0.8
    else:
        first = random_color(rng)
        second = random_color(rng) if rng.random() < 0.6 else first * rng.uniform(0.3, 0.75)
        if pattern in ('paint', 'fabric'):
            second = first * rng.uniform(0.6, 0.95)
    gloss = {'metal': rng.uniform(0.5, 1.2), 'fabric': 0.0}.get(pattern, rng.choice([0.0, 0.1, 0.4]))
    return Material(
        pattern=pattern,
        colors=np.stack([first, second]),
        scale=float(np.exp(rng.uniform(np.log(4.0), np.log(14.0)))),
        angle=float(rng.choice([0.0, 0.5 * np.pi, 0.25 * np.pi, rng.uniform(0, np.pi)], p=[0.4, 0.35, 0.1, 0.15])),
        gloss=float(gloss),
        shininess=float(rng.uniform(10, 70)),
        lattice=rng.random((64, 64), dtype=np.float32),
    )


def albedo(material: Material, points: np.ndarray, normals: np.ndarray) -> np.ndarray:
    """Evaluates a material at surface points.

    Args:
      material: what the surface is made of.
      points: [N, 3] in the object's own frame.
      normals: [N, 3]; the pattern lies in the coordinate plane that faces them most.

    Returns:
      [N, 3] linear RGB.
    """
    axis = np.abs(normals).argmax(1)
    u = np.where(axis == 0, points[:, 2], points[:, 0])
    v = np.where(axis == 1, points[:, 2], points[:, 1])
    cosine, sine = np.cos(material.angle), np.sin(material.angle)
    u, v = material.scale * (cosine * u + sine * v), material.scale * (cosine * v - sine * u)
    mix = _PATTERNS[material.pattern](u, v, material.lattice).astype(points.dtype)[:, None]
    first, second = material.colors.astype(points.dtype)
    return first * (1 - mix) + second * mix


def noise(u: np.ndarray, v: np.ndarray, lattice: np.ndarray) -> np.ndarray:
    """Bilinear value noise in 0 .. 1 over a lattice that repeats."""
    size = len(lattice)
    i, j = np.floor(u), np.floor(v)
    s, t = u - i, v - j
    i, j = i.astype(np.int64) % size, j.astype(np.int64) % size
    right, below = (i + 1) % size, (j + 1) % size
    upper = lattice[i, j] * (1 - s) + lattice[right, j] * s
    lower = lattice[i, below] * (1 - s) + lattice[right, below] * s
    return upper * (1 - t) + lower * t


def _paint(u, v, lattice):
    return 0.3 * noise(0.4 * u, 0.4 * v, lattice)


def _metal(u, v, lattice):
    return noise(0.2 * u, 8.0 * v, lattice)


def _wood(u, v, lattice):
    grain = noise(0.15 * u, 2.5 * v, lattice)
    fine = noise(0.6 * u, 9.0 * v, lattice)
    return np.clip(0.5 + 0.45 * np.sin(9.0 * grain + 1.5 * v) * grain + 0.4 * (fine - 0.5), 0, 1)


def _marble(u, v, lattice):
    cloud = noise(0.35 * u, 0.35 * v, lattice) + 0.5 * noise(0.9 * u, 0.9 * v, lattice)
    return np.clip(3.0 * (cloud - 0.75) + 0.5, 0, 1)


def _fabric(u, v, lattice):
    return 0.55 * noise(6.0 * u, 6.0 * v, lattice) + 0.45 * noise(0.5 * u, 0.5 * v, lattice)


def _stripes(u, v, lattice):
    return (np.floor(u) % 2).astype(float)


def _checks(u, v, lattice):
    return ((np.floor(u) + np.floor(v)) % 2).astype(float)


def _plaid(u, v, lattice):
    return 0.5 * (np.floor(u) % 2) + 0.5 * (np.floor(v) % 2)


def _dots(u, v, lattice):
    return ((u % 1 - 0.5) ** 2 + (v % 1 - 0.5) ** 2 < 0.09).astype(float)


def _bricks(u, v, lattice):
    row = np.floor(v)
    shifted = 0.5 * u + 0.5 * (row % 2)
    joint = (v % 1 < 0.12) | (shifted % 1 < 0.06)
    return np.where(joint, 1.0, 0.45 * noise(np.floor(shifted) + 0.01, row + 0.01, lattice))


def _tiles(u, v, lattice):
    joint = (0.5 * u % 1 < 0.05) | (0.5 * v % 1 < 0.05)
    return np.where(joint, 1.0, 0.35 * noise(np.floor(0.5 * u), np.floor(0.5 * v), lattice))


def _planks(u, v, lattice):
    row = np.floor(v)
    board = np.floor(0.2 * u + 7.3 * lattice[0, row.astype(np.int64) % 64])
    tone = noise(board * 5.0, row, lattice)
    joint = v % 1 < 0.06
    return np.where(joint, 1.0, 0.7 * tone + 0.3 * noise(0.4 * u, 6.0 * v, lattice))


def _gradient(u, v, lattice):
    return np.clip(0.5 + 0.05 * v + 0.02 * u, 0, 1)


_PATTERNS = {
    'paint': _paint,
    'metal': _metal,
    'wood': _wood,
    'marble': _marble,
    'fabric': _fabric,
    'stripes': _stripes,
    'checks': _checks,
    'plaid': _plaid,
    'dots': _dots,
    'bricks': _bricks,
    'tiles': _tiles,
    'planks': _planks,
    'gradient': _gradient,
}
