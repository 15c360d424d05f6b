"""Beds: eight headboards, four foot ends, four bases, and what stands above or beside the mattress."""

import numpy as np

from data_pipelines.synthetic.shapes.parts import Assembly, arch, ellipse, others
from data_pipelines.synthetic.shapes.supports import SUPPORTS

OPTIONS = {
    'head': ('none', 'panel', 'slats', 'arch', 'bookcase', 'wings', 'bars', 'disc'),
    'foot': ('none', 'panel', 'slats', 'bench'),
    'base': ('straight', 'plinth', 'drawers', 'splayed'),
    'above': ('none', 'posts', 'canopy', 'bunk', 'tester'),
    'side': ('none', 'crib', 'daybed'),
    'width': ('double', 'single'),
}
WEIGHTS = {'head': 2.0, 'foot': 1.5, 'base': 1.0, 'above': 2.5, 'side': 2.0, 'width': 1.0}
# One dominant feature a bed: rails and daybed backs only without anything above, bunks only single.
FORBIDDEN = (
    {'side': ('crib', 'daybed'), 'above': others(OPTIONS['above'], 'none')},
    {'side': ('crib', 'daybed'), 'width': ('double',)},
    {'side': ('crib',), 'head': others(OPTIONS['head'], 'slats')},
    {'side': ('crib',), 'foot': others(OPTIONS['foot'], 'slats')},
    {'above': ('bunk', 'tester'), 'head': others(OPTIONS['head'], 'none', 'panel', 'slats')},
    {'above': ('bunk',), 'width': ('double',)},
    {'above': ('bunk',), 'foot': ('bench',)},
    {'base': ('splayed',), 'above': others(OPTIONS['above'], 'none')},
    {'base': ('splayed',), 'foot': ('panel', 'slats')},
    {'above': ('posts', 'canopy'), 'head': ('bookcase', 'wings', 'disc')},
)


def build(choice: dict[str, str], rng: np.random.Generator) -> Assembly:
    """Builds one bed from its structural choice; the generator draws only small proportions."""
    a = Assembly()
    x = (0.78 if choice['width'] == 'double' else 0.48) * rng.uniform(0.97, 1.03)
    z = rng.uniform(0.98, 1.04)
    low = 0.06 if choice['base'] in ('plinth', 'drawers') else rng.uniform(0.2, 0.26)
    deck = low + 0.14 if choice['base'] in ('straight', 'splayed') else 0.34
    _base(a, choice['base'], x, z, low, deck)
    _bedding(a, x, z, deck)
    _end(a, choice['head'], x, z, deck)
    if choice['foot'] == 'bench':
        a.box('frame', (-0.85 * x, 0.3, -z - 0.42), (0.85 * x, 0.38, -z - 0.06))
        a.cushion('cushion', (-0.85 * x, 0.35, -z - 0.42), (0.85 * x, 0.49, -z - 0.06))
        for i in (-1, 1):
            a.box('leg', (i * 0.85 * x, 0, -z - 0.42), (i * (0.85 * x - 0.08), 0.3, -z - 0.06))
    elif choice['foot'] != 'none':
        foot = Assembly()
        _end(foot, choice['foot'], x, z, deck - 0.25)
        a.merge(foot, turn=180.0)
    _above(a, choice['above'], x, z, deck, choice['head'])
    _side(a, choice['side'], x, z, deck)
    return a


def _base(a: Assembly, kind: str, x: float, z: float, low: float, deck: float) -> None:
    if kind in ('straight', 'splayed'):
        SUPPORTS[kind](a, x, z, low, 0.1)
        a.box('frame', (-x, low - 0.01, -z), (x, deck, z))
        return
    SUPPORTS['plinth'](a, x, z, deck, 0.06)
    if kind == 'drawers':
        for i in (-1, 1):
            for k in (-0.5, 0.5):
                a.box('drawer', (i * x, 0.09, (k - 0.42) * z), (i * (x + 0.05), deck - 0.05, (k + 0.42) * z))
                a.box('knob', (i * x, 0.2, k * z - 0.09), (i * (x + 0.09), 0.24, k * z + 0.09))


def _bedding(a: Assembly, x: float, z: float, deck: float) -> None:
    inset = 0.03
    a.cushion('mattress', (-x + inset, deck - 0.04, -z + inset), (x - inset, deck + 0.22, z - inset), roundness=0.18)
    a.cushion('blanket', (-x, deck - 0.06, -z), (x, deck + 0.25, 0.3 * z), roundness=0.15)
    pillows = 2 if x > 0.6 else 1
    width = 2 * (x - 0.08) / pillows
    for i in range(pillows):
        left, right = -x + 0.11 + i * width, -x + 0.05 + (i + 1) * width
        a.cushion('pillow', (left, deck + 0.16, z - 0.5), (right, deck + 0.36, z - 0.1), roundness=0.5)


def _end(a: Assembly, kind: str, x: float, z: float, deck: float) -> None:
    """A headboard, or seen from the other side a foot board, at +z."""
    thick = 0.07
    if kind == 'panel':
        a.box('headboard', (-x, 0, z), (x, deck + 0.62, z + thick))
    elif kind == 'arch':
        a.slab('headboard', arch(x, 0, deck + 0.4, deck + 1.0), z, z + thick, axis=2)
    elif kind == 'disc':
        a.slab('headboard', ellipse(1.08 * x, 0.75) + [0, deck + 0.25], z, z + thick, axis=2)
    elif kind in _HEADBOARDS:
        _HEADBOARDS[kind](a, x, z, deck)
    elif kind == 'wings':
        a.cushion('headboard', (-x, 0.05, z), (x, deck + 1.0, z + 0.14), roundness=0.12)
        for i in (-1, 1):
            a.cushion('headboard', (i * x, 0.05, z - 0.35), (i * (x + 0.12), deck + 1.0, z + 0.14), roundness=0.15)


def _slats(a: Assembly, x: float, z: float, deck: float) -> None:
    for i in (-1, 1):
        a.box('frame', (i * x, 0, z), (i * (x - 0.08), deck + 0.68, z + 0.07))
    a.box('frame', (-x, deck + 0.56, z), (x, deck + 0.66, z + 0.07))
    a.box('frame', (-x, deck + 0.02, z), (x, deck + 0.1, z + 0.07))
    count = 7 if x > 0.6 else 5
    for t in np.linspace(-1, 1, count + 2)[1:-1]:
        a.box('headboard', (t * x - 0.035, deck, z + 0.02), (t * x + 0.035, deck + 0.6, z + 0.05))


def _bars(a: Assembly, x: float, z: float, deck: float) -> None:
    for i in (-1, 1):
        a.rod('frame', (i * x, 0, z + 0.04), (i * x, deck + 0.85, z + 0.04), 0.045)
        low = (i * x - 0.08, deck + 0.82, z - 0.04)
        a.cushion('knob', low, (i * x + 0.08, deck + 0.98, z + 0.12), roundness=1.0)
    for level in (0.3, 0.52, 0.74):
        a.rod('headboard', (-x, deck + level, z + 0.04), (x, deck + level, z + 0.04), 0.03)


def _bookcase(a: Assembly, x: float, z: float, deck: float) -> None:
    a.box('headboard', (-x, 0, z + 0.3), (x, deck + 0.85, z + 0.34))
    for t in (-1, -0.34, 0.34, 1):
        a.box('headboard', (t * (x - 0.025) - 0.025, 0, z), (t * (x - 0.025) + 0.025, deck + 0.85, z + 0.32))
    for level in (0.42, 0.85):
        a.box('shelf', (-x, deck + level - 0.05, z), (x, deck + level, z + 0.32))


_HEADBOARDS = {'slats': _slats, 'bars': _bars, 'bookcase': _bookcase}


def _above(a: Assembly, kind: str, x: float, z: float, deck: float, head: str) -> None:
    if kind in ('posts', 'canopy'):
        high = 1.5 if kind == 'canopy' else 1.25
        for i in (-1, 1):
            for k in (-1, 1):
                a.rod('post', (i * x, 0, k * (z + 0.03)), (i * x, high, k * (z + 0.03)), 0.055, 0.04)
        if kind == 'canopy':
            for i in (-1, 1):
                a.box('post', (i * x - 0.04, high - 0.06, -z), (i * x + 0.04, high + 0.03, z))
                a.box('post', (-x, high - 0.06, i * (z + 0.03) - 0.04), (x, high + 0.03, i * (z + 0.03) + 0.04))
        else:
            for i, k in ((-1, -1), (-1, 1), (1, -1), (1, 1)):
                low = (i * x - 0.08, high - 0.02, k * (z + 0.03) - 0.08)
                a.cushion('knob', low, (i * x + 0.08, high + 0.15, k * (z + 0.03) + 0.08), roundness=1.0)
    elif kind == 'bunk':
        upper = deck + 0.95
        for i in (-1, 1):
            for k in (-1, 1):
                a.box('post', (i * x, 0, k * z), (i * (x + 0.08), upper + 0.5, k * (z + 0.08)))
        a.box('frame', (-x, upper, -z), (x, upper + 0.1, z))
        a.cushion('mattress', (-x + 0.03, upper + 0.06, -z), (x - 0.03, upper + 0.26, z), roundness=0.18)
        for i in (-1, 1):
            a.box('frame', (i * x, upper + 0.36, -z), (i * (x + 0.05), upper + 0.44, z))
            a.box('frame', (-x, upper + 0.36, i * z), (x, upper + 0.44, i * (z + 0.05)))
        for step in range(5):
            y = 0.25 + 0.22 * step
            a.rod('post', (x + 0.04, y, -z), (x + 0.04, y, -z + 0.42), 0.025, sections=8)
        a.box('post', (x, 0, -z + 0.4), (x + 0.08, upper + 0.4, -z + 0.46))
    elif kind == 'tester':  # a half canopy over the pillows
        for i in (-1, 1):
            a.box('post', (i * x, 0, z), (i * (x - 0.09), 1.55, z + 0.09))
        a.box('post', (-x - 0.03, 1.5, 0.3 * z), (x + 0.03, 1.6, z + 0.09))


def _side(a: Assembly, kind: str, x: float, z: float, deck: float) -> None:
    if kind == 'crib':
        for i in (-1, 1):
            a.box('frame', (i * x, deck + 0.56, -z), (i * (x + 0.05), deck + 0.66, z))
            for t in np.linspace(-0.9, 0.9, 9):
                a.box('rail', (i * x, deck - 0.05, t * z - 0.03), (i * (x + 0.04), deck + 0.6, t * z + 0.03))
    elif kind == 'daybed':
        a.box('headboard', (x, 0, -z), (x + 0.07, deck + 0.66, z))
        for k in (-0.64, 0.0, 0.64):
            low, high = (x - 0.2, deck + 0.18, (k - 0.3) * z), (x - 0.02, deck + 0.62, (k + 0.3) * z)
            a.cushion('pillow', low, high, roundness=0.4)
