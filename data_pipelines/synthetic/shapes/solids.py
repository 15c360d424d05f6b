"""Twelve classes of parametric solids for the sample in ModelNet's layout, as closed parts.

Extents tell nothing of the class: `make_solid` scales every solid, after it is built, to a width, depth and height that
are drawn from one distribution for all classes, and turns it about the up axis by a random angle. Proportions, counts
and sections vary within each class, and some classes share most of their parts (stool, table, chair; vase, mug, lamp;
star, cross; spring, knot).
"""

import numpy as np

from data_pipelines.synthetic.shapes.parts import Assembly, ellipse, loft


def make_solid(category: str, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """One solid of a class.

    Args:
      category: one of SOLIDS.
      rng: decides everything.

    Returns:
      vertices float64 [N, 3] (+y up) and faces int64 [F, 3], a union of closed surfaces.
    """
    vertices, faces, _, _ = SOLIDS[category](rng).joined()
    low, high = vertices.min(axis=0), vertices.max(axis=0)
    extents = rng.uniform([0.55, 0.6, 0.55], [1.0, 1.3, 1.0])
    vertices = (vertices - (low + high) / 2) / (high - low) * extents
    angle = rng.uniform(0, 2 * np.pi)
    x, y, z = vertices.T
    turned = (np.cos(angle) * x + np.sin(angle) * z, y, np.cos(angle) * z - np.sin(angle) * x)
    return np.stack(turned, axis=1) * rng.uniform(0.5, 40), faces  # files are in arbitrary units


def _revolve(solid: Assembly, label: str, profile: np.ndarray, *, sections: int) -> None:
    """Turns a profile [N, 2] of (radius, height) about the up axis."""
    circle = ellipse(1.0, 1.0, sections=sections)
    rings = [np.stack([r * circle[:, 0], np.full(sections, y), r * circle[:, 1]], axis=1) for r, y in profile]
    solid.add(label, *loft(rings))


def _tube(solid: Assembly, label: str, path: np.ndarray, radius: float, *, closed: bool, sections: int = 8) -> None:
    """Sweeps a circle along a smooth path [N, 3], its frame carried along without twisting."""
    tangents = np.roll(path, -1, axis=0) - np.roll(path, 1, axis=0)
    if not closed:
        tangents[0], tangents[-1] = path[1] - path[0], path[-1] - path[-2]
    tangents /= np.linalg.norm(tangents, axis=1, keepdims=True)
    normal = np.cross(tangents[0], [0.3, 0.9, 0.2])
    angles, rings = 2 * np.pi * np.arange(sections) / sections, []
    for point, tangent in zip(path, tangents, strict=True):
        normal = normal - normal @ tangent * tangent
        normal /= np.linalg.norm(normal)
        across = np.cross(tangent, normal)
        rings.append(point + radius * (np.cos(angles)[:, None] * normal + np.sin(angles)[:, None] * across))
    solid.add(label, *loft(rings, closed=closed))


def _legs(solid: Assembly, rng: np.random.Generator, corners: np.ndarray, height: float, *, splay: float) -> None:
    """A leg below each corner [L, 2], wider apart at the floor by `splay`; round or square."""
    radius, square = rng.uniform(0.035, 0.07), rng.random() < 0.5
    for x, z in corners:
        foot = (x * (1 + splay), 0.0, z * (1 + splay))
        solid.rod('leg', foot, (x, height, z), radius, radius * rng.uniform(1, 1.3), sections=4 if square else 10)


def _corners(half_x: float, half_z: float) -> np.ndarray:
    return np.array([(x, z) for x in (-half_x, half_x) for z in (-half_z, half_z)])


def _chair(rng: np.random.Generator) -> Assembly:
    solid, seat = Assembly(), rng.uniform(0.38, 0.55)
    thickness, lean = rng.uniform(0.04, 0.12), rng.uniform(0, 0.12)
    solid.box('seat', (-0.5, seat, -0.5), (0.5, seat + thickness, 0.5))
    _legs(solid, rng, _corners(0.43, 0.43), seat, splay=rng.uniform(0, 0.12))
    if rng.random() < 0.5:
        solid.box('back', (-0.5, seat, 0.42), (0.5, 1.2, 0.5))
    else:
        slats = rng.integers(2, 5)
        for x in (-0.45, 0.45):
            solid.rod('back', (x, seat, 0.45), (x, 1.2, 0.45 + lean), 0.05)
        for share in (np.arange(slats) + 1) / slats:
            z, y = 0.45 + lean * share, seat + (1.2 - seat) * share
            solid.box('back', (-0.45, y - 0.06, z - 0.03), (0.45, y + 0.02, z + 0.03))
    if rng.random() < 0.3:
        for x in (-0.46, 0.46):
            solid.box('arm', (x - 0.04, seat + 0.2, -0.4), (x + 0.04, seat + 0.26, 0.45))
            solid.box('arm', (x - 0.04, seat, -0.4), (x + 0.04, seat + 0.22, -0.3))
    return solid


def _cross(rng: np.random.Generator) -> Assembly:
    """Bars along the axes."""
    solid, width = Assembly(), rng.uniform(0.13, 0.3, 3)
    offset = rng.uniform(-0.25, 0.25, 3)
    for axis in range(3 if rng.random() < 0.6 else 2):
        low, high = offset - width, offset + width
        low[axis], high[axis] = -1, 1
        solid.box('bar', low, high)
    return solid


def _knot(rng: np.random.Generator) -> Assembly:
    """A torus knot: round the axis p times, through the hole q times."""
    p, q = [(2, 3), (3, 2), (2, 5), (3, 4)][rng.integers(4)]
    angle = np.linspace(0, 2 * np.pi, 28 * max(p, q), endpoint=False)
    around = 1 + rng.uniform(0.3, 0.5) * np.cos(q * angle)
    path = np.stack([around * np.cos(p * angle), 0.6 * np.sin(q * angle), around * np.sin(p * angle)], axis=1)
    solid = Assembly()
    _tube(solid, 'tube', path, rng.uniform(0.08, 0.16), closed=True)
    return solid


def _ladder(rng: np.random.Generator) -> Assembly:
    """Two rails with rungs, or four as a step ladder."""
    solid, rungs = Assembly(), rng.integers(4, 9)
    radius, folding, narrow = rng.uniform(0.035, 0.07), rng.random() < 0.6, rng.uniform(0.6, 1)
    top = np.array([0.5 * narrow, 2.0, 0.06])
    for side in (-1, 1) if folding else (-1,):
        foot = np.array([0.5, 0.0, side * (0.55 if folding else 0.25)])
        head = top * [1, 1, side]
        for x in (-1, 1):
            solid.bar('rail', foot * [x, 1, 1], head * [x, 1, 1], 1.6 * radius)
        if side < 0 or rng.random() < 0.3:
            for share in (np.arange(rungs) + 0.7) / (rungs + 0.4):
                x, y, z = foot + (head - foot) * share
                solid.rod('rung', (-x, y, z), (x, y, z), radius, sections=8)
    return solid


def _lamp(rng: np.random.Generator) -> Assembly:
    solid, low = Assembly(), 1.6 - rng.uniform(0.35, 0.7)
    pole, foot, rim, upper = rng.uniform([0.03, 0.3, 0.55, 0.25], [0.08, 0.6, 0.75, 0.6])
    solid.rod('base', (0, 0, 0), (0, rng.uniform(0.06, 0.2), 0), foot, foot / rng.uniform(1, 3), sections=20)
    solid.rod('pole', (0, 0.05, 0), (0, 1.5, 0), pole)
    shade = [(upper, 1.6), (rim, low)]
    if rng.random() < 0.5:  # hollow, open below
        shade += [(rim - 0.05, low), (upper - 0.05, 1.55)]
    _revolve(solid, 'shade', np.array(shade), sections=int(rng.choice([4, 8, 20])))
    return solid


def _vessel(rng: np.random.Generator, solid: Assembly, radii: np.ndarray, wall: float) -> np.ndarray:
    """A hollow body of revolution of height 1 through some radii; returns the smooth outer profile [N, 2]."""
    heights = np.linspace(0, 1, 13)
    outer = np.interp(heights, np.linspace(0, 1, len(radii)), radii)
    outer = np.convolve(np.pad(outer, 1, mode='edge'), [0.25, 0.5, 0.25], mode='valid')
    floor = rng.uniform(0.05, 0.15)
    inner = [(max(np.interp(y, heights, outer) - wall, 0.02), y) for y in np.linspace(1, floor, 9)]
    profile = np.concatenate([np.stack([outer, heights], axis=1), inner])
    _revolve(solid, 'body', profile, sections=20)
    return np.stack([outer, heights], axis=1)


def _mug(rng: np.random.Generator) -> Assembly:
    """A cup with a handle."""
    solid, base = Assembly(), rng.uniform(0.35, 0.5)
    radii = base * np.array([1, rng.uniform(0.9, 1.2), rng.uniform(0.9, 1.2), rng.uniform(0.9, 1.25)])
    profile = _vessel(rng, solid, radii, rng.uniform(0.04, 0.08))
    low, high = rng.uniform(0.12, 0.3), rng.uniform(0.7, 0.92)
    angle, reach = np.linspace(-np.pi / 2, np.pi / 2, 14), rng.uniform(0.25, 0.45)
    y = (low + high) / 2 + (high - low) / 2 * np.sin(angle)
    x = np.interp(y, profile[:, 1], profile[:, 0]) - 0.03 + reach * np.cos(angle) ** rng.uniform(0.5, 1)
    _tube(solid, 'handle', np.stack([x, y, 0 * x], axis=1), rng.uniform(0.04, 0.075), closed=False)
    return solid


def _spring(rng: np.random.Generator) -> Assembly:
    solid, turns = Assembly(), rng.uniform(2.5, 6)
    angle = np.linspace(0, 2 * np.pi * turns, int(18 * turns))
    radius = 0.5 * np.linspace(1, rng.uniform(0.5, 1), len(angle))
    path = np.stack([radius * np.cos(angle), angle / angle[-1] * rng.uniform(1, 1.6), radius * np.sin(angle)], axis=1)
    _tube(solid, 'wire', path, rng.uniform(0.04, 0.45 / turns), closed=False)
    return solid


def _stairs(rng: np.random.Generator) -> Assembly:
    """Steps, solid down to the floor or open, straight or winding about a pole."""
    solid, steps = Assembly(), int(rng.integers(4, 9))
    winding, open_below = rng.random() < 0.35, rng.random() < 0.4
    if winding:
        solid.rod('pole', (0, 0, 0), (0, 1.3, 0), 0.09)
    for step in range(steps):
        high = (step + 1) / steps
        low = high - 0.7 / steps if open_below or winding else 0.0
        if winding:
            tread = Assembly()
            tread.box('step', (0, low, -0.22), (0.7, high, 0.22))
            solid.merge(tread, turn=360 / 8 * step * 0.9)
        else:
            solid.box('step', (-0.4, low, step / steps), (0.4, high, (step + 1.15) / steps))
    if open_below and not winding:
        for x in (-0.35, 0.35):
            solid.bar('rail', (x, 0, 0.02), (x, 1 - 0.6 / steps, 1), 0.09)
    return solid


def _star(rng: np.random.Generator) -> Assembly:
    """A star-shaped plate, standing or lying."""
    points, inner = int(rng.integers(4, 8)), rng.uniform(0.35, 0.6)
    angle = np.pi / points * np.arange(2 * points) + np.pi / 2
    radius = np.where(np.arange(2 * points) % 2, inner, 1.0)
    outline = np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=1)
    solid = Assembly()
    solid.slab('plate', outline, 0.0, rng.uniform(0.3, 0.6), axis=int(rng.choice([1, 2])))
    return solid


def _stool(rng: np.random.Generator) -> Assembly:
    """A round seat on three to five splayed legs, most with a ring between them."""
    solid, legs, splay = Assembly(), int(rng.integers(3, 6)), rng.uniform(0.1, 0.5)
    seat = rng.uniform(0.08, 0.2)
    solid.rod('seat', (0, 1 - seat, 0), (0, 1, 0), rng.uniform(0.42, 0.5), 0.48, sections=20)
    _legs(solid, rng, 0.33 * ellipse(1, 1, sections=legs), 1 - seat / 2, splay=splay)
    if rng.random() < 0.7:
        level = rng.uniform(0.2, 0.5)
        around = 0.33 * (1 + splay * (1 - level)) * ellipse(1, 1, sections=24)
        path = np.stack([around[:, 0], np.full(24, level), around[:, 1]], axis=1)
        _tube(solid, 'ring', path, 0.03, closed=True, sections=6)
    return solid


def _table(rng: np.random.Generator) -> Assembly:
    """A rectangular or round top on four legs, a pedestal or two panels."""
    solid, thickness, support = Assembly(), rng.uniform(0.05, 0.12), rng.integers(4)
    outline = ellipse(0.7, 0.7) if rng.random() < 0.35 else np.array([(1, 1), (-1, 1), (-1, -1), (1, -1)]) * 0.7
    solid.slab('top', outline, 1 - thickness, 1.0)
    if support == 0:
        solid.rod('pedestal', (0, 0, 0), (0, 0.08, 0), 0.4, sections=20)
        solid.rod('pedestal', (0, 0, 0), (0, 1 - thickness / 2, 0), rng.uniform(0.07, 0.16))
    elif support == 1:
        for x in (-0.4, 0.4):
            solid.box('panel', (x - 0.05, 0, -0.4), (x + 0.05, 1 - thickness / 2, 0.4))
    else:
        _legs(solid, rng, _corners(0.47, 0.47), 1 - thickness / 2, splay=rng.uniform(0, 0.15))
    if rng.random() < 0.3:
        solid.box('shelf', (-0.45, 0.25, -0.45), (0.45, 0.3, 0.45))
    return solid


def _vase(rng: np.random.Generator) -> Assembly:
    """A hollow body of revolution without a handle."""
    solid = Assembly()
    _vessel(rng, solid, rng.uniform([0.2, 0.3, 0.3, 0.1, 0.15], [0.4, 0.55, 0.55, 0.35, 0.45]), 0.05)
    return solid


SOLIDS = {
    'chair': _chair,
    'cross': _cross,
    'knot': _knot,
    'ladder': _ladder,
    'lamp': _lamp,
    'mug': _mug,
    'spring': _spring,
    'stairs': _stairs,
    'star': _star,
    'stool': _stool,
    'table': _table,
    'vase': _vase,
}
