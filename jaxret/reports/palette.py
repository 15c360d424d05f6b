"""The one list of colours of plots, sheets and pages: calm, and told apart with every kind of colour vision.

What a colour says, a sign, a line or a word beside it says too.
"""

import matplotlib
import matplotlib.colors

INK, MUTED, LINE, SOFT, PAPER = '#1c2128', '#5f6b7a', '#d9dee5', '#f5f7f9', '#ffffff'
BLUE, ORANGE, GREY = '#1e6caa', '#b86728', '#787f88'
COLOURS = (BLUE, ORANGE, '#731a6d', '#4fb0d8', GREY, '#3c3c3c')
HIT, MISS = '#00705a', '#b5481f'
# {CSS variable of the pages: (on light ground, on dark ground)}
PAGE = {
    'ink': (INK, '#e3e7ec'),
    'muted': (MUTED, '#9aa5b3'),
    'line': (LINE, '#3a414b'),
    'soft': (SOFT, '#21262d'),
    'paper': (PAPER, '#16191e'),
    'shade': ('#aab3be', '#000000'),
    'hit': (HIT, '#4fb89f'),
    'miss': (MISS, '#e8895c'),
    'blue': (BLUE, '#6ea8dc'),
    'orange': (ORANGE, '#dd9658'),
    'deep': ('#0d2f57', '#dcebf9'),
    'warning': ('#fff4d6', '#3d3320'),
    'warning-edge': ('#dcae3a', '#a3822f'),
}


def cycle(count: int) -> list[str]:
    """That many colours, again from the first where there are more than `COLOURS`."""
    return [COLOURS[i % len(COLOURS)] for i in range(count)]


def class_colours(count: int) -> list[tuple[float, ...]]:
    """RGB of that many classes: `COLOURS` where these suffice, else steps of one that brightens evenly."""
    if count <= len(COLOURS):
        return [matplotlib.colors.to_rgb(colour) for colour in COLOURS[:count]]
    scale = matplotlib.colormaps['viridis']
    return [scale(0.88 * i / (count - 1))[:3] for i in range(count)]
