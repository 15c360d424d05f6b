"""Tables: seven outlines of the top, twelve supports, and what is added below or above."""

import numpy as np

from data_pipelines.synthetic.shapes.parts import Assembly, ellipse, others
from data_pipelines.synthetic.shapes.supports import SUPPORTS

OPTIONS = {
    'top': ('rectangle', 'square', 'round', 'oval', 'hexagon', 'narrow'),
    'support': ('straight', 'splayed', 'sled', 'pedestal', 'star', 'cross', 'panels', 'trestle', 'drum', 'hairpin',
                'twin', 'cabinet'),
    'extra': ('none', 'shelf', 'apron', 'drawers', 'stretcher', 'hutch', 'rim'),
    'height': ('dining', 'low', 'bar'),
}  # fmt: skip
WEIGHTS = {'top': 2.0, 'support': 3.0, 'extra': 2.0, 'height': 2.0}
_HALF = {
    'rectangle': (0.7, 0.4),
    'square': (0.48, 0.48),
    'round': (0.5, 0.5),
    'oval': (0.75, 0.42),
    'hexagon': (0.52, 0.52),
    'narrow': (0.72, 0.22),
}
_CENTRAL = ('pedestal', 'star', 'drum')
_FOUR = ('straight', 'splayed', 'sled', 'cross', 'panels', 'hairpin')
# Tables that could not stand, and extras that their support has no room for.
FORBIDDEN = (
    {'support': _CENTRAL, 'top': ('rectangle', 'narrow', 'oval')},
    {'support': ('twin', 'trestle', 'cabinet'), 'top': ('square', 'round', 'hexagon')},
    {'support': ('cabinet',), 'top': others(OPTIONS['top'], 'rectangle')},
    {'support': ('cabinet',), 'height': ('low', 'bar')},
    {'extra': ('shelf', 'stretcher'), 'support': others(OPTIONS['support'], *_FOUR)},
    {'extra': ('drawers', 'hutch', 'apron'), 'top': ('round', 'oval', 'hexagon')},
    {'extra': ('drawers', 'apron'), 'support': others(OPTIONS['support'], 'straight', 'panels', 'cabinet', 'hairpin')},
    {'extra': ('hutch',), 'height': ('low', 'bar')},
    {'height': ('bar',), 'top': ('rectangle', 'oval')},
    {'height': ('bar',), 'support': ('drum', 'twin', 'trestle')},
)


def build(choice: dict[str, str], rng: np.random.Generator) -> Assembly:
    """Builds one table from its structural choice; the generator draws only small proportions."""
    a = Assembly()
    half = np.array(_HALF[choice['top']]) * rng.uniform(0.95, 1.05, 2)
    if choice['height'] == 'bar':
        half *= 0.62
    top = {'dining': 0.72, 'low': 0.38, 'bar': 1.05}[choice['height']] * rng.uniform(0.97, 1.03)
    slab, leg = rng.uniform(0.04, 0.055), rng.uniform(0.065, 0.08)
    x, z = half
    if choice['top'] in ('round', 'hexagon'):
        z = x
    _top(a, choice['top'], x, z, top, slab)
    reach = 0.94 if choice['top'] in ('rectangle', 'square', 'narrow') else 0.68
    if choice['support'] == 'cabinet':
        a.box('base', (0.25 * x, 0, -0.9 * z), (0.94 * x, top, 0.9 * z))
        for level in range(3):
            low = 0.06 + level * (top - 0.08) / 3
            a.box('drawer', (0.29 * x, low, -0.95 * z), (0.9 * x, low + (top - 0.2) / 3, -0.85 * z))
        a.box('panel', (-0.94 * x, 0, -0.9 * z), (-0.94 * x + leg, top, 0.9 * z))
    else:
        SUPPORTS[choice['support']](a, reach * x, reach * z, top, leg)
    _extra(a, choice['extra'], reach * x, reach * z, top, slab, leg, choice['top'])
    return a


def _top(a: Assembly, kind: str, x: float, z: float, top: float, slab: float) -> None:
    if kind in ('rectangle', 'square', 'narrow'):
        a.box('top', (-x, top, -z), (x, top + slab, z))
    else:
        sections = 6 if kind == 'hexagon' else 36
        a.slab('top', ellipse(x, z, sections=sections), top, top + slab)


def _extra(a: Assembly, kind: str, x: float, z: float, top: float, slab: float, leg: float, outline: str) -> None:
    if kind == 'shelf':
        a.box('shelf', (-x, 0.3 * top, -z), (x, 0.3 * top + 0.8 * slab, z))
    elif kind == 'apron':
        a.box('apron', (-0.97 * x, top - 0.14, -0.95 * z), (0.97 * x, top, 0.95 * z))
    elif kind == 'drawers':
        low = top - min(0.24, 0.5 * top)
        a.box('base', (-0.97 * x, low, -0.92 * z), (0.97 * x, top, 0.92 * z))
        for i in (-1, 1):
            a.box('drawer', (i * 0.06 * x, low + 0.03, -z - 0.01), (i * 0.9 * x, top - 0.03, -0.9 * z))
            a.cushion('knob', (i * 0.48 * x - 0.03, low + 0.09, -z - 0.05), (i * 0.48 * x + 0.03, low + 0.15, -z))
    elif kind == 'stretcher':
        for i in (-1, 1):
            a.box('leg', (i * x, 0.22 * top, -z), (i * (x - 0.7 * leg), 0.22 * top + 0.7 * leg, z))
        a.box('leg', (-x, 0.22 * top, -0.4 * leg), (x, 0.22 * top + 0.7 * leg, 0.4 * leg))
    elif kind == 'hutch':
        low = top + slab
        for i in (-1, 0, 1):
            a.box('shelf', (i * 0.98 * x - 0.025, low, 0.3 * z), (i * 0.98 * x + 0.025, low + 0.42, z))
        for level in (0.2, 0.42):
            a.box('shelf', (-x, low + level - 0.02, 0.3 * z), (x, low + level + 0.02, z))
    elif kind == 'rim':
        low, high = top + slab, top + slab + 0.07
        if outline in ('rectangle', 'square', 'narrow'):
            x, z = x / 0.94, z / 0.94
            for i in (-1, 1):
                a.box('apron', (i * x, low, -z), (i * (x - 0.04), high, z))
                a.box('apron', (-x, low, i * z), (x, high, i * (z - 0.04)))
        else:
            sections = 6 if outline == 'hexagon' else 28
            ring = ellipse(x / 0.68 - 0.03, z / 0.68 - 0.03, sections=sections)
            a.path('apron', [(u, low + 0.02, v) for u, v in ring], 0.035, closed=True)
