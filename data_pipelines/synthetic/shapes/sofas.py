"""Sofas: six plans, five kinds of arms, six backs and four bases."""

import numpy as np

from data_pipelines.synthetic.shapes.parts import Assembly, others
from data_pipelines.synthetic.shapes.supports import SUPPORTS

OPTIONS = {
    'plan': ('two', 'three', 'corner', 'chaise', 'u', 'curved'),
    'arms': ('none', 'box', 'rolled', 'open', 'high'),
    'back': ('cushions', 'panel', 'low', 'camel', 'rails', 'partial'),
    'base': ('straight', 'splayed', 'plinth', 'sled'),
}
WEIGHTS = {'plan': 3.0, 'arms': 2.0, 'back': 2.0, 'base': 1.5}
_SEATS = {'two': 2, 'three': 3, 'corner': 3, 'chaise': 3, 'u': 3, 'curved': 3}
# A curved sofa stands on posts or a plinth and has a simple back; a partial back needs a straight plan.
FORBIDDEN = (
    {'plan': ('curved',), 'back': others(OPTIONS['back'], 'panel', 'low', 'cushions')},
    {'plan': ('curved',), 'base': others(OPTIONS['base'], 'straight', 'plinth')},
    {'plan': ('curved',), 'arms': others(OPTIONS['arms'], 'none', 'box')},
    {'plan': ('corner', 'u'), 'back': ('camel', 'partial')},
    {'plan': ('corner', 'u'), 'base': ('sled',)},
    {'back': ('partial',), 'arms': ('none', 'high')},
)


def build(choice: dict[str, str], rng: np.random.Generator) -> Assembly:
    """Builds one sofa from its structural choice; the generator draws only small proportions."""
    a = Assembly()
    seats, width, depth = _SEATS[choice['plan']], rng.uniform(0.58, 0.64), rng.uniform(0.74, 0.82)
    legs = 0.06 if choice['base'] == 'plinth' else rng.uniform(0.17, 0.2)
    deck = max(legs + 0.12, 0.26)
    if choice['plan'] == 'curved':
        _curved(a, choice, deck, legs, depth)
        return a
    x, z = 0.5 * seats * width, 0.5 * depth
    if choice['base'] == 'plinth':
        a.box('frame', (-x, 0, -z), (x, deck, z))
    else:
        SUPPORTS[choice['base']](a, x - 0.03, z - 0.03, legs, 0.075)
        a.box('frame', (-x, legs - 0.01, -z), (x, deck, z))
    for i in range(seats):
        low = -x + i * width
        a.cushion('cushion', (low + 0.005, deck - 0.03, -z - 0.01), (low + width - 0.005, deck + 0.17, z - 0.14))
    _wings(a, choice, x, z, width, deck, legs)
    _back(a, choice['back'], x, z, seats, deck + 0.1)
    _arms(a, choice, x, z, deck)
    return a


def _wings(a: Assembly, choice: dict[str, str], x: float, z: float, width: float, deck: float, legs: float) -> None:
    """The part of a corner, chaise or U plan that comes forward (always at +x when there is one only)."""
    sides = {'corner': (1,), 'chaise': (1,), 'u': (-1, 1)}.get(choice['plan'], ())
    reach = {'corner': 1.3, 'chaise': 0.8, 'u': 0.75}.get(choice['plan'], 0.0)
    for side in sides:
        inner, outer = side * (x - width), side * x
        low = 0.0 if choice['base'] == 'plinth' else legs - 0.01
        a.box('frame', (inner, low, -z - reach), (outer, deck, -z))
        a.cushion('cushion', (inner, deck - 0.03, -z - reach - 0.01), (outer, deck + 0.17, -z))
        if low:
            for end in (inner, outer - side * 0.075):
                a.box('leg', (end, 0, -z - reach + 0.02), (end + side * 0.075, legs, -z - reach + 0.095))
        if choice['plan'] != 'chaise':
            a.box('back', (outer, low, -z - reach), (outer + side * 0.15, deck + 0.42, z))


def _back(a: Assembly, kind: str, x: float, z: float, seats: int, low: float) -> None:
    width = 2 * x / seats
    if kind == 'cushions':
        a.box('back', (-x, low - 0.15, z - 0.06), (x, low + 0.28, z))
        for i in range(seats):
            left = -x + i * width
            a.cushion('pillow', (left + 0.01, low, z - 0.24), (left + width - 0.01, low + 0.46, z - 0.04))
    elif kind == 'panel':
        a.cushion('back', (-x, low - 0.12, z - 0.17), (x, low + 0.52, z), roundness=0.15)
    elif kind == 'low':
        a.box('back', (-x, low - 0.12, z - 0.2), (x, low + 0.2, z))
    elif kind == 'camel':
        t = np.linspace(1, -1, 25)
        height = low + 0.24 + 0.34 * np.cos(0.5 * np.pi * t) ** 2
        outline = np.concatenate([[[x, low - 0.12]], np.stack([x * t, height], 1), [[-x, low - 0.12]]])
        a.slab('back', outline, z - 0.14, z, axis=2)
    elif kind == 'rails':
        count = 2 * seats + 1
        for i in range(count):
            left = -x + (2 * x - 0.06) * i / (count - 1)
            a.box('frame', (left, low - 0.15, z - 0.06), (left + 0.06, low + 0.4, z))
        a.box('frame', (-x, low + 0.36, z - 0.07), (x, low + 0.44, z))
    else:  # a partial back slopes down from one end to nothing at the other
        points = [(x, -0.12), (x, 0.5), (0.3 * x, 0.48), (-0.9 * x, 0.02), (-x, -0.12)]
        outline = np.array(points) + [0.0, low]
        a.slab('back', outline, z - 0.14, z, axis=2)


def _arms(a: Assembly, choice: dict[str, str], x: float, z: float, deck: float) -> None:
    kind, plan = choice['arms'], choice['plan']
    sides = {'corner': (-1,), 'u': ()}.get(plan, (-1, 1))
    if choice['back'] == 'partial':
        sides = (1,)
    front = -z
    for i in sides:
        if kind == 'box':
            a.box('arm', (i * x, 0.04, front), (i * (x + 0.2), deck + 0.34, z))
        elif kind == 'high':
            a.box('arm', (i * x, 0.04, front), (i * (x + 0.1), deck + 0.6, z))
        elif kind == 'rolled':
            a.box('arm', (i * x, 0.06, front), (i * (x + 0.12), deck + 0.26, z))
            axis, high = i * (x + 0.08), deck + 0.28
            a.rod('arm', (axis, high, front - 0.02), (axis, high, z), 0.125, sections=20)
        elif kind == 'open':
            a.box('frame', (i * x, deck + 0.27, front), (i * (x + 0.09), deck + 0.33, z))
            for end in (front, z - 0.08):
                a.box('frame', (i * (x + 0.01), 0, end), (i * (x + 0.08), deck + 0.28, end + 0.08))


def _curved(a: Assembly, choice: dict[str, str], deck: float, legs: float, depth: float) -> None:
    """Wedge-like segments side by side on an arc that opens to the front."""
    segments, radius, span = 7, 1.15, 150.0
    step = span / segments
    half = np.tan(np.deg2rad(0.5 * step)) * (radius + 0.5 * depth)
    inner = half * (radius - 0.5 * depth) / (radius + 0.5 * depth)
    high = deck + (0.28 if choice['back'] == 'low' else 0.55)
    for i in range(segments):
        part = Assembly()
        wedge = np.array([(-inner, -0.5 * depth), (inner, -0.5 * depth), (half, 0.5 * depth), (-half, 0.5 * depth)])
        part.slab('frame', wedge, 0.0 if choice['base'] == 'plinth' else legs - 0.01, deck)
        part.slab('cushion', wedge * [0.97, 1.0] - [0, 0.02], deck, deck + 0.13)
        rear = wedge * [1.0, 1.0]
        rear[:2] = [(-0.92 * half, 0.5 * depth - 0.16), (0.92 * half, 0.5 * depth - 0.16)]
        part.slab('back', rear, deck, high)
        if choice['back'] == 'cushions':
            low = (-0.85 * half, deck + 0.1, 0.5 * depth - 0.32)
            part.cushion('pillow', low, (0.85 * half, high, 0.5 * depth - 0.1))
        if choice['base'] != 'plinth' and i % 2 == 0:
            for z in (-0.4 * depth, 0.4 * depth):
                part.box('leg', (-0.04, 0, z - 0.04), (0.04, legs, z + 0.04))
        if choice['arms'] == 'box' and i in (0, segments - 1):
            side = (1 if i == 0 else -1) * inner
            part.box('arm', (side, 0.05, -0.5 * depth), (1.5 * side, deck + 0.33, 0.5 * depth))
        turn = -0.5 * span + (i + 0.5) * step
        angle = np.deg2rad(turn)
        a.merge(part, turn=turn, shift=(radius * np.sin(angle), 0, radius * np.cos(angle)))
