"""Training curves and accuracies by category."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from jaxret.reports.figures import name_rows, new_figure, percent_axis, plot_known, style_axes
from jaxret.reports.palette import BLUE, GREY, LINE, ORANGE, cycle
from jaxret.reports.tables import metric_name

VALIDATION = 'Validation accuracy'


@dataclass(frozen=True)
class _Panel:
    """What one panel shows of metrics.jsonl: the keys that match, from 0 to 1 or not, smoothed where long or not."""

    title: str
    keys: str
    label: str
    fraction: bool = False
    smooth: bool = False


_PANELS = (
    _Panel('Loss', r'(.*_)?loss', 'loss', smooth=True),
    _Panel(
        VALIDATION, r'val_(((category|exact|instance)_)?top\d+(_macro)?|ranking_quality)', 'accuracy', fraction=True
    ),
    _Panel('Held-out mAP', r'val_mean_map(_excluding_self)?', 'mean mAP', fraction=True),
    _Panel('Label accuracy in training', r'label_accuracy', 'accuracy', fraction=True),
    _Panel('Held-out source accuracy', r'val_source_accuracy', 'accuracy', fraction=True),
    _Panel('Largest pseudo-class', r'(val_)?pseudo_largest_share', 'share of the target', fraction=True),
    _Panel('Learning rate', r'learning_rate|lr', 'learning rate'),
    _Panel('Gradient norm', r'grad(ient)?_norm', 'norm', smooth=True),
    _Panel('Speed', r'examples_per_sec(ond)?', 'examples/s'),
)


def draw_curves(history: Sequence[Mapping], *, reference: Mapping[str, float] | None = None) -> Figure | None:
    """Small multiples of what training logged, against the step.

    Args:
      history: lines of metrics.jsonl, each with 'step' and some scalars; lines may have different keys, and values that
        are not finite numbers are left out.
      reference: {label: accuracy} of horizontal lines in the validation panel, for instance its chance level.

    Returns:
      The figure, or None if there is nothing to draw.
    """
    series = _series(history)
    found = {panel: {key: own for key, own in series.items() if re.fullmatch(panel.keys, key)} for panel in _PANELS}
    panels = [(panel, lines) for panel, lines in found.items() if lines]
    if not panels:
        return None
    columns = min(2 if len(panels) <= 4 else 3, len(panels))
    rows = -(-len(panels) // columns)
    figure = new_figure((5.6 if columns < 3 else 4.0) * columns, 3.0 * rows)
    last_step = max(steps[-1] for _, lines in panels for steps, _ in lines.values())
    for place, (panel, lines) in enumerate(panels, start=1):
        axes = figure.add_subplot(rows, columns, place)
        axes.set_xlim(0, max(last_step, 1) * 1.02)
        axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
        _draw_panel(axes, panel, lines, (reference or {}) if panel.title == VALIDATION else {})
    return figure


def _draw_panel(
    axes, panel: _Panel, lines: Mapping[str, tuple[np.ndarray, np.ndarray]], reference: Mapping[str, float]
) -> None:
    style_axes(axes, panel.title, 'step', panel.label)
    for colour, (name, (steps, values)) in zip(cycle(len(lines)), lines.items(), strict=True):
        _line(axes, steps, values, metric_name(name), colour, smooth=panel.smooth)
    for name, value in reference.items():
        axes.axhline(value, color=GREY, linewidth=1, linestyle=':', label=f'{name} {value:.1%}')
    if panel.fraction:
        axes.set_ylim(0, 1)
        percent_axis(axes.yaxis)
    elif panel.title != 'Loss':
        axes.set_ylim(bottom=0)
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f'{value:g}'))
    if len(axes.get_legend_handles_labels()[0]) > 1:
        axes.legend(frameon=False, fontsize=8)


def draw_categories(metrics: Mapping, names: Mapping[str, str]) -> Figure | None:
    """Accuracy of every category with its interval, beside chance and prior.

    Args:
      metrics: result of `retrieval_metrics`.
      names: {key of an accuracy: its title}, one panel each.

    Returns:
      The figure, or None without categories.
    """
    rows = dict(metrics.get('per_category', {}))
    if not rows or not names:
        return None
    if len(rows) > 1:
        rows['all queries'] = metrics
    figure = new_figure(3.8 * len(names), 1.25 + 0.34 * len(rows))
    for column, (key, title) in enumerate(names.items()):
        axes = figure.add_subplot(1, len(names), column + 1)
        style_axes(axes, title)
        places = name_rows(axes, [f'{name}  (n={row["queries"]})' if column == 0 else '' for name, row in rows.items()])
        for y, row in zip(places, rows.values(), strict=True):
            axes.plot([row[f'{key}_low'], row[f'{key}_high']], [y, y], color=BLUE, linewidth=2, alpha=0.45)
        for suffix, marker, size, colour, label in (
            ('', 'o', 6, BLUE, 'measured, 95 % interval'),
            ('_chance', '|', 11, GREY, 'chance'),
            ('_prior', 'D', 4.5, ORANGE, 'prior'),
        ):
            style = {'marker': marker, 'markersize': size, 'color': colour, 'label': label, 'linestyle': 'none'}
            plot_known(axes, zip([row[f'{key}{suffix}'] for row in rows.values()], places, strict=True), **style)
        axes.axhline(0.5, color=LINE, linewidth=1)
        axes.set_xlim(-0.02, 1.02)
        percent_axis(axes.xaxis)
    handles, labels = figure.axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc='outside lower center', ncols=3, frameon=False, fontsize=8)
    return figure


def _series(history: Sequence[Mapping]) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """{key: (steps, values)} of the finite numbers, in the order of the steps."""
    collected: dict[str, dict[float, float]] = {}
    for line in history:
        for key, value in line.items():
            if key != 'step' and 'step' in line and isinstance(value, int | float | np.number) and np.isfinite(value):
                collected.setdefault(key, {})[float(line['step'])] = float(value)
    return {
        key: (np.array(sorted(points)), np.array([points[step] for step in sorted(points)]))
        for key, points in collected.items()
    }


def _line(axes, steps: np.ndarray, values: np.ndarray, name: str, colour: str, *, smooth: bool) -> None:
    """A curve; long noisy ones as a pale line under their moving average."""
    if smooth and len(values) >= 40:
        width = max(5, len(values) // 40)
        padded = np.pad(values, (width // 2, width - 1 - width // 2), mode='edge')
        axes.plot(steps, values, color=colour, linewidth=0.7, alpha=0.3)
        axes.plot(steps, np.convolve(padded, np.ones(width) / width, 'valid'), color=colour, linewidth=1.8, label=name)
    else:
        axes.plot(steps, values, color=colour, linewidth=1.8, label=name, marker='o' if len(values) < 40 else '', ms=3)
