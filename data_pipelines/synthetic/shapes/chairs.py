"""Chairs: a seat on one of ten supports, one of eight backs, and three kinds of arms."""

import numpy as np

from data_pipelines.synthetic.shapes.parts import Assembly, arch, ellipse, others
from data_pipelines.synthetic.shapes.supports import SUPPORTS

OPTIONS = {
    'support': ('straight', 'splayed', 'sled', 'pedestal', 'star', 'cross', 'panels', 'plinth', 'cantilever', 'rocker'),
    'back': ('panel', 'slats', 'ladder', 'oval', 'hoop', 'tall', 'rail', 'wing'),
    'arms': ('none', 'open', 'solid'),
    'seat': ('board', 'round', 'cushion'),
}
WEIGHTS = {'support': 3.0, 'back': 3.0, 'arms': 2.0, 'seat': 1.0}
# A wing back is upholstered, and boards down to the floor replace solid arms.
FORBIDDEN = (
    {'back': ('wing',), 'seat': others(OPTIONS['seat'], 'cushion')},
    {'seat': ('round',), 'arms': ('solid',)},
    {'seat': ('round',), 'support': ('panels', 'plinth')},
    {'support': ('panels',), 'arms': ('solid',)},
)


def build(choice: dict[str, str], rng: np.random.Generator) -> Assembly:
    """Builds one chair from its structural choice; the generator draws only small proportions."""
    a = Assembly()
    x, z = rng.uniform(0.23, 0.26), rng.uniform(0.23, 0.25)
    seat, thickness, leg = rng.uniform(0.42, 0.46), 0.055, rng.uniform(0.05, 0.06)
    _support(a, choice['support'], x, z, seat, leg)
    _seat(a, choice['seat'], x, z, seat, thickness)
    back = Assembly()
    _back(back, choice['back'], x, seat + thickness, leg, rng)
    lean = 3.0 if choice['back'] == 'wing' else rng.uniform(6, 11)
    a.merge(back, lean=lean, pivot=(seat + thickness, 0.0), shift=(0, 0, z - 0.03))
    _arms(a, choice['arms'], x, z, seat + thickness, leg)
    return a


def _support(a: Assembly, kind: str, x: float, z: float, top: float, leg: float) -> None:
    if kind == 'cantilever':
        for i in (-1, 1):
            side = i * (x - 0.025)
            front = -z + 0.03
            bends = [(side, top, z), (side, top - 0.025, front), (side, 0.025, front), (side, 0.025, z)]
            a.path('leg', bends, 0.025)
        a.rod('leg', (-x, 0.025, z), (x, 0.025, z), 0.025)
    elif kind == 'rocker':
        for i in (-1, 1):
            for k in (-1, 1):
                a.box('leg', (i * x, 0.06, k * z * 0.95), (i * (x - leg), top, k * (z * 0.95 - leg)))
            side = i * (x - 0.5 * leg)
            curve = np.linspace(-1, 1, 9)
            a.path('leg', [(side, 0.03 + 0.13 * t * t, 0.04 + 0.42 * t) for t in curve], 0.03)
    else:
        SUPPORTS[kind](a, x, z, top, leg)


def _seat(a: Assembly, kind: str, x: float, z: float, low: float, thickness: float) -> None:
    if kind == 'round':
        a.slab('seat', ellipse(1.08 * x, 1.08 * z), low, low + thickness)
    elif kind == 'board':
        a.box('seat', (-x, low, -z), (x, low + thickness, z))
    else:
        a.box('frame', (-x, low, -z), (x, low + 0.4 * thickness, z))
        a.cushion('cushion', (-x, low + 0.2 * thickness, -z), (x, low + 2.4 * thickness, z))


def _back(a: Assembly, kind: str, x: float, low: float, leg: float, rng: np.random.Generator) -> None:
    """The back stands on z = 0, from height `low` - 0.05 up."""
    base, high, post = low - 0.05, low + rng.uniform(0.42, 0.48), 0.8 * leg
    if kind == 'panel':
        a.box('back', (-x, base, 0), (x, high, 0.035))
    elif kind == 'tall':
        a.slab('back', arch(0.85 * x, base, low + 0.68, low + 0.82), 0, 0.05, axis=2)
    elif kind == 'oval':
        for i in (-1, 1):
            a.box('frame', (i * 0.45 * x, base, 0), (i * 0.45 * x - i * post, low + 0.3, post))
        a.slab('back', ellipse(0.95 * x, 0.19) + [0, low + 0.3], 0, 0.045, axis=2)
    elif kind == 'rail':
        for i in (-1, 1):
            a.box('frame', (i * x, base, 0), (i * (x - post), low + 0.27, post))
        a.cushion('back', (-1.05 * x, low + 0.17, -0.01), (1.05 * x, low + 0.31, 0.06), roundness=0.25)
    elif kind == 'hoop':
        curve = arch(x - 0.02, base, low + 0.22, low + 0.5, sections=11)
        a.path('frame', [(*point, 0.02) for point in curve], 0.026)
        for t in (-0.5, 0.0, 0.5):
            top = low + 0.22 + 0.28 * np.sqrt(1 - t * t)
            a.rod('back', (0.8 * t * x, base, 0.02), (t * x, top, 0.02), 0.016, sections=8)
    elif kind == 'wing':
        a.cushion('back', (-x, base, -0.04), (x, low + 0.68, 0.1), roundness=0.25)
        for i in (-1, 1):
            a.cushion('back', (i * x, low + 0.12, -0.26), (i * (x + 0.07), low + 0.68, 0.1), roundness=0.3)
    else:
        _bars(a, kind, x, base, low, high, post)


def _bars(a: Assembly, kind: str, x: float, base: float, low: float, high: float, post: float) -> None:
    """A back of slats, or of rungs, between two posts."""
    for i in (-1, 1):
        a.box('frame', (i * x, base, 0), (i * (x - post), high + 0.03, post))
    if kind == 'slats':
        a.box('frame', (-x, high - 0.07, 0.005), (x, high, post))
        for t in np.linspace(-0.6, 0.6, 4):
            a.box('back', (t * x - 0.02, base, 0.008), (t * x + 0.02, high, 0.03))
    else:
        for t in (0.32, 0.62, 0.92):
            y = low + t * (high - low)
            a.box('back', (-x, y - 0.04, 0.005), (x, y + 0.035, 0.03))


def _arms(a: Assembly, kind: str, x: float, z: float, low: float, leg: float) -> None:
    for i in (-1, 1):
        if kind == 'open':
            outer, front = i * (x + 0.02), -z + 0.03
            a.box('arm', (outer, low + 0.2, -z), (outer - i * 0.06, low + 0.24, z + 0.03))
            a.box('arm', (outer - i * 0.01, low - 0.05, front), (outer - i * 0.05, low + 0.2, front + 0.8 * leg))
        elif kind == 'solid':
            a.box('arm', (i * (x - 0.01), low - 0.25, -z - 0.01), (i * (x + 0.09), low + 0.2, z + 0.04))
