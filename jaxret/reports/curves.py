"""The figures of the report: training curves and accuracy per category, drawn without a display."""

import re
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator, PercentFormatter

_BLUE, _ORANGE, _GREEN, _PURPLE, _GREY = '#1f5fa8', '#d1701c', '#2b8a5b', '#7a4fa3', '#6b7582'
_COLOURS = (_BLUE, _ORANGE, _GREEN, _PURPLE, _GREY)
_FRACTIONS = (
    'Validation accuracy',
    'Held-out mAP',
    'Label accuracy in training',
    'Held-out source accuracy',
    'Largest pseudo-class',
)  # titles of panels from 0 to 1
# Panel title -> which keys of metrics.jsonl it shows, y label.
_PANELS = (
    ('Loss', re.compile(r'(.*_)?loss'), 'loss'),
    (
        'Validation accuracy',
        re.compile(r'val_(((category|exact|instance)_)?top\d+(_macro)?|ranking_quality)'),
        'accuracy',
    ),
    ('Held-out mAP', re.compile(r'val_mean_map(_excluding_self)?'), 'mean mAP'),
    ('Label accuracy in training', re.compile(r'label_accuracy'), 'accuracy'),
    ('Held-out source accuracy', re.compile(r'val_source_accuracy'), 'accuracy'),
    ('Largest pseudo-class', re.compile(r'(val_)?pseudo_largest_share'), 'share of the target'),
    ('Learning rate', re.compile(r'learning_rate|lr'), 'learning rate'),
    ('Gradient norm', re.compile(r'grad(ient)?_norm'), 'norm'),
    ('Speed', re.compile(r'examples_per_sec(ond)?'), 'examples/s'),
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
    panels = [
        (title, {key: series[key] for key in series if keys.fullmatch(key)}, label) for title, keys, label in _PANELS
    ]
    panels = [panel for panel in panels if panel[1]]
    if not panels:
        return None
    columns = min(2 if len(panels) <= 4 else 3, len(panels))
    rows = -(-len(panels) // columns)
    figure = Figure(figsize=((5.6 if columns < 3 else 4.0) * columns, 3.0 * rows), layout='constrained', dpi=110)
    FigureCanvasAgg(figure)
    last_step = max(steps[-1] for _, lines, _ in panels for steps, _ in lines.values())
    for place, (title, lines, label) in enumerate(panels):
        axes = figure.add_subplot(rows, columns, place + 1)
        _style(axes, title, 'step', label)
        axes.set_xlim(0, max(last_step, 1) * 1.02)
        axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
        for colour, (name, (steps, values)) in zip(_cycle(len(lines)), lines.items(), strict=True):
            _line(axes, steps, values, name, colour, smooth=title in ('Loss', 'Gradient norm'))
        if title == 'Validation accuracy':
            for name, value in (reference or {}).items():
                axes.axhline(value, color=_GREY, linewidth=1, linestyle=':', label=f'{name} {value:.1%}')
        if title in _FRACTIONS:
            axes.set_ylim(0, 1)
            axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
        elif title != 'Loss':
            axes.set_ylim(bottom=0)
            axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f'{value:g}'))
        if len(axes.get_legend_handles_labels()[0]) > 1:
            axes.legend(frameon=False, fontsize=8)
    return figure


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
    rows['all queries'] = metrics
    place = np.arange(len(rows))[::-1]
    figure = Figure(figsize=(3.8 * len(names), 1.25 + 0.34 * len(rows)), layout='constrained', dpi=110)
    FigureCanvasAgg(figure)
    for column, (key, title) in enumerate(names.items()):
        axes = figure.add_subplot(1, len(names), column + 1)
        _style(axes, title, '', '')
        axes.grid(False, axis='y')
        for y, row in zip(place, rows.values(), strict=True):
            axes.plot([row[f'{key}_low'], row[f'{key}_high']], [y, y], color=_BLUE, linewidth=2, alpha=0.45)
        for values, marker, colour, label in (
            ([row[key] for row in rows.values()], 'o', _BLUE, 'measured, 95 % interval'),
            ([row[f'{key}_chance'] for row in rows.values()], '|', _GREY, 'chance'),
            ([row[f'{key}_prior'] for row in rows.values()], 'D', _ORANGE, 'prior'),
        ):
            known = [value is not None for value in values]
            if any(known):
                points = [value for value in values if value is not None]
                size = {'o': 6, '|': 11, 'D': 4.5}[marker]
                axes.plot(points, place[known], marker, color=colour, markersize=size, label=label, linestyle='none')
        ticks = [f'{name}  (n={row["queries"]})' if column == 0 else '' for name, row in rows.items()]
        axes.set_yticks(place, ticks, parse_math=False)
        axes.set_ylim(-0.6, len(rows) - 0.4)
        axes.axhline(0.5, color='#c5ccd5', linewidth=1)
        axes.set_xlim(-0.02, 1.02)
        axes.xaxis.set_major_formatter(PercentFormatter(1, decimals=0))
        if column == 0:
            handles, labels = axes.get_legend_handles_labels()
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


def _cycle(count: int) -> list[str]:
    return [_COLOURS[i % len(_COLOURS)] for i in range(count)]


def _style(axes, title: str, x: str, y: str) -> None:
    axes.set_title(title, fontsize=10.5, loc='left', fontweight='bold', color='#1c2128')
    axes.set_xlabel(x, fontsize=9)
    axes.set_ylabel(y, fontsize=9)
    axes.tick_params(labelsize=8.5)
    axes.grid(True, color='#e6e9ee', linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[['top', 'right']].set_visible(False)
