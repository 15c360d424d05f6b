"""What the figures of the reports share: empty figures without a display, and the look of axes."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from jaxret.reports.palette import INK, LINE

MARKERS = 'o^sDvP*X'


def new_figure(width: float, height: float) -> Figure:
    """An empty figure, in inches, that lays itself out and can be saved."""
    figure = Figure(figsize=(width, height), layout='constrained', dpi=110)
    FigureCanvasAgg(figure)
    return figure


def style_axes(axes, title: str, x: str = '', y: str = '') -> None:
    """Title, labels and a quiet grid."""
    axes.set_title(title, fontsize=10.5, loc='left', fontweight='bold', color=INK)
    axes.set_xlabel(x, fontsize=9)
    axes.set_ylabel(y, fontsize=9)
    axes.tick_params(labelsize=8.5)
    axes.grid(True, color=LINE, alpha=0.7, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[['top', 'right']].set_visible(False)


def style_plane(axes, title: str) -> None:
    """Axes whose coordinates mean nothing."""
    style_axes(axes, title)
    axes.set(xticks=[], yticks=[])
    axes.spines[['top', 'right', 'bottom', 'left']].set_visible(False)


def style_precision_recall(axes, title: str, label: str) -> None:
    """Axes of precision against recall."""
    style_axes(axes, title, 'recall', label)
    axes.set_xlim(-0.02, 1.02)
    axes.set_ylim(0, 1.03)


def percent_axis(axis) -> None:
    """Labels fractions as percent."""
    axis.set_major_formatter(PercentFormatter(1, decimals=0))


def name_rows(axes, names: Sequence[str]) -> np.ndarray:
    """Names the lines of a panel, the first at the top, and gives their heights."""
    places = np.arange(len(names))[::-1]
    axes.grid(False, axis='y')
    axes.set_yticks(places, names, parse_math=False)
    axes.set_ylim(-0.6, len(names) - 0.4)
    return places


def plot_known(axes, points: Iterable[tuple[float | None, float | None]], **style: Any) -> None:
    """Plots the points whose two coordinates are known; nothing without any."""
    known = [point for point in points if None not in point]
    if known:
        axes.plot(*zip(*known, strict=True), **style)


def scatter(axes, points: np.ndarray, colour, marker: str, size: float) -> None:
    """Points [n, 2] of one colour."""
    axes.scatter(points[:, 0], points[:, 1], s=size, color=[colour], marker=marker, linewidths=0, alpha=0.75)
