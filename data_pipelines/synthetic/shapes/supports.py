"""What furniture stands on: legs, frames, columns and plinths shared by the four categories.

Each function adds to an assembly a support that carries a rectangle of half sizes (x, z) at height `top`; `size` is
the thickness of its members.
"""

from collections.abc import Callable

import numpy as np

from data_pipelines.synthetic.shapes.parts import Assembly

CORNERS = ((-1, -1), (-1, 1), (1, -1), (1, 1))


def straight(a: Assembly, x: float, z: float, top: float, size: float) -> None:
    """Four square legs at the corners."""
    for i, k in CORNERS:
        a.box('leg', (i * x, 0, k * z), (i * (x - size), top, k * (z - size)))


def splayed(a: Assembly, x: float, z: float, top: float, size: float) -> None:
    """Four round tapered legs that spread outward."""
    spread = min(0.25 * top, 0.12)
    for i, k in CORNERS:
        foot = (i * (x + spread - 0.5 * size), 0, k * (z + spread - 0.5 * size))
        a.rod('leg', (i * 0.72 * x, top, k * 0.72 * z), foot, 0.7 * size, 0.36 * size)


def sled(a: Assembly, x: float, z: float, top: float, size: float) -> None:
    """A closed loop on either side that rests on its runner."""
    for i in (-1, 1):
        inner = i * (x - size)
        a.box('leg', (i * x, 0, -z), (inner, size, z))
        for k in (-1, 1):
            a.box('leg', (i * x, 0, k * z), (inner, top, k * (z - size)))


def pedestal(a: Assembly, x: float, z: float, top: float, size: float) -> None:
    """A column on a round foot."""
    radius = 0.78 * min(x, z)
    a.rod('leg', (0, 0, 0), (0, 0.06 * top + 0.02, 0), radius, 0.9 * radius, sections=24)
    a.rod('leg', (0, 0, 0), (0, 0.3 * top, 0), 0.45 * radius, 0.9 * size)
    a.rod('leg', (0, 0.2 * top, 0), (0, top, 0), 0.9 * size)


def star(a: Assembly, x: float, z: float, top: float, size: float) -> None:
    """A column on five radial feet with balls at their ends."""
    reach = 1.05 * max(min(x, z), 0.55 * max(x, z))
    a.rod('leg', (0, 0.1 * top, 0), (0, top, 0), 0.75 * size)
    for foot in range(5):
        angle = 2 * np.pi * (foot + 0.25) / 5
        tip = np.array([reach * np.cos(angle), size, reach * np.sin(angle)])
        a.rod('leg', (0, 0.28 * top, 0), tip, 0.55 * size)
        a.cushion('leg', tip - size * np.array([0.9, 1, 0.9]), tip + 0.6 * size, roundness=1.0)


def cross(a: Assembly, x: float, z: float, top: float, size: float) -> None:
    """Two X frames, one on either side, joined by a bar."""
    for i in (-1, 1):
        for k in (-1, 1):
            a.bar('leg', (i * (x - 0.5 * size), 0, -k * z), (i * (x - 0.5 * size), top, k * z), size)
    a.rod('leg', (-x + 0.5 * size, 0.5 * top, 0), (x - 0.5 * size, 0.5 * top, 0), 0.35 * size)


def panels(a: Assembly, x: float, z: float, top: float, size: float) -> None:
    """A solid board on either side."""
    for i in (-1, 1):
        a.box('panel', (i * x, 0, -z), (i * (x - 0.7 * size), top, z))


def plinth(a: Assembly, x: float, z: float, top: float, size: float) -> None:
    """A solid block down to the floor, set back at the bottom."""
    toe = min(0.25 * top, 0.06)
    a.box('base', (-x + size, 0, -z + size), (x - size, toe, z - size))
    a.box('base', (-x, toe, -z), (x, top, z))


def trestle(a: Assembly, x: float, z: float, top: float, size: float) -> None:
    """An A frame near either end and a beam between them."""
    for i in (-1, 1):
        for k in (-1, 1):
            a.bar('leg', (i * 0.75 * x, top, k * 0.15 * z), (i * 0.75 * x, 0, k * 0.95 * z), size)
    a.box('leg', (-0.75 * x, 0.42 * top, -0.4 * size), (0.75 * x, 0.42 * top + size, 0.4 * size))


def drum(a: Assembly, x: float, z: float, top: float, size: float) -> None:
    """A wide solid drum, narrowed at the waist."""
    radius = 0.62 * min(x, z)
    a.rod('base', (0, 0, 0), (0, 0.5 * top, 0), radius, 0.6 * radius, sections=24)
    a.rod('base', (0, 0.5 * top, 0), (0, top, 0), 0.6 * radius, radius, sections=24)


def hairpin(a: Assembly, x: float, z: float, top: float, size: float) -> None:
    """A V of two thin rods under each corner."""
    for i, k in CORNERS:
        foot = (i * (x - 0.3 * size), 0, k * (z - 0.3 * size))
        for offset in ((1.0, 0.45), (0.45, 1.0)):
            a.rod('leg', (i * x * offset[0] - i * 0.3 * size, top, k * z * offset[1]), foot, 0.24 * size, sections=8)


def twin(a: Assembly, x: float, z: float, top: float, size: float) -> None:
    """Two columns, each on a cross-wise foot."""
    for i in (-1, 1):
        a.rod('leg', (i * 0.6 * x, 0.03, 0), (i * 0.6 * x, top, 0), 0.9 * size)
        a.box('leg', (i * 0.6 * x - size, 0, -0.9 * z), (i * 0.6 * x + size, 0.9 * size, 0.9 * z))
        a.box('leg', (i * 0.6 * x - size, top - 0.7 * size, -0.7 * z), (i * 0.6 * x + size, top, 0.7 * z))


SUPPORTS: dict[str, Callable[[Assembly, float, float, float, float], None]] = {
    support.__name__: support
    for support in (straight, splayed, sled, pedestal, star, cross, panels, plinth, trestle, drum, hairpin, twin)
}
