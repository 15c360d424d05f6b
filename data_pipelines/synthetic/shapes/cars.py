"""Cars: eight bodies, each in eight variants of nose, roof and wheels, with proportions of their own.

Frame: as ShapeNet's version 1, the front at +x, +y up, both sides alike; built in metres, returned with the centre of
the bounding box at 0 and its diagonal 1.
"""

from itertools import product

import numpy as np

from data_pipelines.synthetic.shapes.furniture import Furniture
from data_pipelines.synthetic.shapes.parts import Assembly, loft
from jaxret.errors import ConfigError

# Along the length from -0.5 (rear) to 0.5: ends of the cabin below and of the roof; then metres: height of the roof,
# height of the belt line, clearance, length.
_BODIES = {
    'sedan': (-0.33, 0.17, -0.20, 0.05, 1.43, 0.92, 0.18, 4.7),
    'suv': (-0.48, 0.19, -0.42, 0.08, 1.78, 1.08, 0.30, 4.6),
    'coupe': (-0.40, 0.14, -0.13, 0.02, 1.28, 0.88, 0.14, 4.4),
    'van': (-0.49, 0.38, -0.47, 0.22, 2.05, 1.10, 0.20, 4.9),
    'hatchback': (-0.48, 0.22, -0.36, 0.08, 1.48, 0.93, 0.17, 3.9),
    'pickup': (-0.06, 0.19, -0.04, 0.09, 1.80, 1.05, 0.32, 5.3),
    'wagon': (-0.48, 0.17, -0.43, 0.05, 1.47, 0.92, 0.17, 4.9),
    'roadster': (-0.10, 0.10, 0.0, 0.0, 1.20, 0.86, 0.14, 4.1),
}
_VARIANTS = tuple(product(('blunt', 'wedge'), ('plain', 'spoiler'), ('small', 'large')))
MAX_CARS = len(_BODIES) * len(_VARIANTS)


def make_car(index: int, *, seed: int) -> Furniture:
    """One car.

    Args:
      index: which; bodies take turns, then their variants.
      seed: another seed, other proportions and another order of the variants.

    Returns:
      the car, with structure {body, nose, roof, wheels}.

    Raises:
      ConfigError: an index outside 0 .. MAX_CARS - 1.
    """
    if not 0 <= index < MAX_CARS:
        raise ConfigError(f'the sample has 1 to {MAX_CARS} cars, not {index + 1}')
    row, column = divmod(index, len(_BODIES))
    body = list(_BODIES)[column]
    order = np.random.default_rng([seed, column]).permutation(len(_VARIANTS))
    nose, roof, wheels = _VARIANTS[order[row]]
    assembly = _build(body, nose, roof, wheels, np.random.default_rng([seed, column, row]))
    vertices, faces, parts, names = assembly.joined()
    low, high = vertices.min(axis=0), vertices.max(axis=0)
    vertices = (vertices - (low + high) / 2) / np.linalg.norm(high - low)
    structure = {'body': body, 'nose': nose, 'roof': roof, 'wheels': wheels}
    return Furniture('car', f'car_{index:02d}_{body}_{nose}_{roof}_{wheels}', structure, vertices, faces, parts, names)


def _build(body: str, nose: str, roof: str, wheels: str, rng: np.random.Generator) -> Assembly:
    rear, front, roof_rear, roof_front, top, belt, low, length = _BODIES[body]
    length, top, belt = length * rng.uniform(0.94, 1.06), top * rng.uniform(0.96, 1.04), belt * rng.uniform(0.97, 1.03)
    half = rng.uniform(0.84, 0.94) * (1.06 if body in ('van', 'pickup', 'suv') else 1.0)
    x = lambda share: share * length  # noqa: E731
    a = Assembly()
    deck = belt * (0.72 if body == 'pickup' else 0.97)
    snout = (0.62 if nose == 'wedge' else 0.86) * belt
    outline = [(-0.5, low + 0.1), (-0.48, low), (0.47, low), (0.5, low + 0.12), (0.5, snout), (front, belt),
               (rear, belt), (rear - 0.01, deck), (-0.5, deck)]  # fmt: skip
    a.slab('body', np.array([(x(along), high) for along, high in outline]), -half, half, axis=2)
    if body == 'pickup':
        for side in (-1, 1):
            a.box('body', (x(-0.5), deck, side * half), (x(rear), belt, side * (half - 0.08)))
        a.box('body', (x(-0.5), deck, -half), (x(-0.5) + 0.08, belt, half))
    if body == 'roadster':
        a.merge(_cabin('glass', x(0.09), x(0.13), x(0.05), x(0.07), belt, top, half))
        for side in (-1, 1):
            a.cushion('seat', (x(-0.1), belt - 0.1, side * 0.45 - 0.25), (x(-0.03), top - 0.08, side * 0.45 + 0.25))
    else:
        a.merge(_cabin('glass', x(rear), x(front), x(roof_rear), x(roof_front), belt - 0.02, top - 0.05, half))
        inset = 0.88 * half - 0.14 * (top - belt)
        a.box('body', (x(roof_rear), top - 0.07, -inset), (x(roof_front), top, inset))
        pillar = x((roof_rear + roof_front) / 2)
        a.box('body', (pillar - 0.05, belt - 0.02, -0.9 * half), (pillar + 0.05, top - 0.2, 0.9 * half))
    if roof == 'spoiler':
        low_spoiler = body in ('sedan', 'coupe', 'roadster', 'pickup')
        _spoiler(a, x(-0.5), belt + 0.25 if low_spoiler else top + 0.06, belt, half)
    for along in (-0.5, 0.5):
        _lights(a, x(along), low, snout, half)
    radius = (0.31 if wheels == 'small' else 0.38) * (1.12 if low > 0.25 else 1.0)
    for along in (-0.31 + rng.uniform(-0.02, 0.02), 0.31 + rng.uniform(-0.02, 0.02)):
        _wheels(a, x(along), radius, half)
    return a


def _spoiler(a: Assembly, rear: float, height: float, belt: float, half: float) -> None:
    a.box('body', (rear, height, -0.8 * half), (rear + 0.3, height + 0.05, 0.8 * half))
    for side in (-0.6, 0.6):
        a.box('trim', (rear + 0.1, belt - 0.1, side * half - 0.03), (rear + 0.2, height, side * half + 0.03))


def _lights(a: Assembly, x: float, low: float, snout: float, half: float) -> None:
    """A bumper and two lamps at one end."""
    a.box('trim', (x - 0.06, low + 0.12, -0.95 * half), (x + 0.06, low + 0.26, 0.95 * half))
    for side in (-0.72, 0.72):
        middle = side * half
        a.box('lamp', (x - 0.03, snout - 0.2, middle - 0.15), (x + 0.03, snout - 0.07, middle + 0.15))


def _wheels(a: Assembly, x: float, radius: float, half: float) -> None:
    """The two wheels of an axle."""
    for side in (-1, 1):
        ends = [(x, radius, side * (half + reach)) for reach in (-0.22, 0.03)]
        a.rod('tyre', ends[0], ends[1], radius, sections=20)
        a.rod('rim', ends[0], (x, radius, side * (half + 0.05)), 0.62 * radius, sections=12)


def _cabin(
    label: str, rear: float, front: float, roof_rear: float, roof_front: float, low: float, high: float, half: float
) -> Assembly:
    """A body between two rectangles: (rear, front) at `low`, (roof_rear, roof_front) at `high`, narrower above."""
    rings = []
    for back, ahead, level, side in (
        (rear, front, low, 0.93 * half),
        (roof_rear, roof_front, high, 0.93 * half - 0.2 * (high - low)),
    ):
        rings.append(np.array([(back, level, -side), (ahead, level, -side), (ahead, level, side), (back, level, side)]))
    a = Assembly()
    a.add(label, *loft(rings))
    return a
