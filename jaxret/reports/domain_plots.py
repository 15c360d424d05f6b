"""Pictures of two domains in one space: t-SNE by class and by domain, before and after, and precision-recall curves."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patheffects import withStroke

from jaxret.metrics.average_precision import normalized_rows
from jaxret.reports.curves import _BLUE, _GREY, _ORANGE, _style
from jaxret.reports.embedding_plots import _FEW_CLASSES, _class_colours, _scatter, in_plane

PHOTO, SHAPE = '#c2281d', '#1f5fa8'  # red and blue, as in the paper's figure 3
_MARKERS = 'o^'  # photos, shapes


@dataclass(frozen=True)
class DomainPlane:
    """Photos and shapes laid out in the plane.

    Attributes:
      position: [n, 2] float64, photos first.
      label: [n] class ids.
      is_shape: [n] bool.
    """

    position: np.ndarray
    label: np.ndarray
    is_shape: np.ndarray


def lay_out_domains(
    photos: np.ndarray,
    shapes: np.ndarray,
    photo_labels: np.ndarray,
    shape_labels: np.ndarray,
    *,
    max_points: int = 2000,
    seed: int = 0,
    iterations: int = 1000,
) -> DomainPlane | None:
    """t-SNE of the normalised embeddings of photos and shapes together.

    Of more than half of `max_points` photos, or shapes, that many are drawn at random by the seed. The same seed gives
    the same picture.

    Args:
      photos: [N, D].
      shapes: [M, D].
      photo_labels, shape_labels: [N], [M] class ids.
      max_points: most points together.
      seed: of the draw and of t-SNE.
      iterations: of t-SNE, at least 250.

    Returns:
      The plane, or None if there are fewer than five points or all embeddings are the same.

    Source: van der Maaten and Hinton, J. Mach. Learn. Res. 9 (2008) 2579.
    """
    rng = np.random.default_rng(seed)
    kept = [np.sort(rng.permutation(len(x))[: max(max_points // 2, 1)]) for x in (photos, shapes)]
    pooled = [
        normalized_rows(name, x)[rows]
        for name, x, rows in zip(('photos', 'shapes'), (photos, shapes), kept, strict=True)
    ]
    position = in_plane(np.concatenate(pooled), seed=seed, iterations=iterations)
    if position is None:
        return None
    labels = [np.asarray(own)[rows] for own, rows in zip((photo_labels, shape_labels), kept, strict=True)]
    return DomainPlane(position, np.concatenate(labels), np.repeat([False, True], [len(rows) for rows in kept]))


def draw_domains(
    stages: Mapping[str, tuple[np.ndarray, np.ndarray]],
    photo_labels: np.ndarray,
    shape_labels: np.ndarray,
    class_names: Sequence[str],
    *,
    max_points: int = 2000,
    seed: int = 0,
    iterations: int = 1000,
) -> Figure | None:
    """One row a stage (before, after): t-SNE by domain, as in figure 3 of the paper, and the same points by class.

    Args:
      stages: {title: (photos [N, D], shapes [M, D])} of the same photos and shapes.
      photo_labels, shape_labels: [N], [M] class ids.
      class_names: name of every class id.
      max_points, seed, iterations: as `lay_out_domains`.

    Returns:
      The figure, or None if no stage can be drawn.
    """
    planes = {
        title: lay_out_domains(
            *pair, photo_labels, shape_labels, max_points=max_points, seed=seed, iterations=iterations
        )
        for title, pair in stages.items()
    }
    planes = {title: plane for title, plane in planes.items() if plane is not None}
    if not planes:
        return None
    figure = Figure(figsize=(13.0, 5.6 * len(planes) + 0.4), layout='constrained', dpi=110)
    FigureCanvasAgg(figure)
    for row, (title, plane) in zip(figure.subplots(len(planes), 2, squeeze=False), planes.items(), strict=True):
        size = float(np.clip(6000 / len(plane.label), 7, 40))
        _draw_by_domain(row[0], plane, size, seed)
        _draw_by_class(row[1], plane, size, class_names)
        for axes, kind in zip(row, ('domain', 'class'), strict=True):
            _style(axes, f'{title}: by {kind}', '', '')
            axes.set_xticks([])
            axes.set_yticks([])
            axes.spines[['top', 'right', 'bottom', 'left']].set_visible(False)
    counts = [
        (len(np.asarray(own)), int(np.count_nonzero(plane.is_shape == kind)))
        for own, kind in ((photo_labels, False), (shape_labels, True))
    ]
    handles = [
        Line2D([], [], marker=marker, color=colour, linestyle='none', label=f'{shown} of {there} {name}')
        for (there, shown), marker, colour, name in zip(
            counts, _MARKERS, (PHOTO, SHAPE), ('photos', 'shapes'), strict=True
        )
    ]
    figure.legend(handles=handles, frameon=False, fontsize=9, loc='outside lower left', ncols=2)
    return figure


def draw_pooled_curves(metrics: Mapping) -> Figure | None:
    """Precision against recall of photos to shapes: pooled (official) and the mean interpolated one (standard).

    Args:
      metrics: result of `benchmark_metrics`.

    Returns:
      The figure, or None if no query counts.
    """
    curves = metrics.get('precision_recall', {})
    if not curves or metrics.get('auc') is None:
        return None
    figure = Figure(figsize=(9.0, 3.9), layout='constrained', dpi=110)
    FigureCanvasAgg(figure)
    panels = (
        ('official', 'auc', 'official: pooled over queries', 'precision', 'area', _BLUE),
        ('standard', 'standard_auc', 'standard: mean over queries', 'interpolated precision', 'mAP', _ORANGE),
    )
    for place, (mode, key, title, label, area, colour) in enumerate(panels):
        axes = figure.add_subplot(1, 2, place + 1)
        _style(axes, title, 'recall', label)
        axes.plot(
            curves[mode]['recall'],
            curves[mode]['precision'],
            color=colour,
            linewidth=1.8,
            label=f'{area} {metrics[key]:.3f}',
        )
        axes.axhline(
            metrics['ft_chance'],
            color=_GREY,
            linewidth=1,
            linestyle=':',
            label=f'random order, {metrics["ft_chance"]:.3f}',
        )
        axes.set_xlim(-0.02, 1.02)
        axes.set_ylim(0, 1.03)
        axes.legend(frameon=False, fontsize=8, loc='upper right')
    return figure


def _draw_by_domain(axes, plane: DomainPlane, size: float, seed: int) -> None:
    order = np.random.default_rng(seed).permutation(len(plane.label))  # so that neither domain hides the other
    for part in np.array_split(order, min(20, len(order))):
        for kind, marker, colour in ((False, _MARKERS[0], PHOTO), (True, _MARKERS[1], SHAPE)):
            _scatter(axes, plane.position[part[plane.is_shape[part] == kind]], colour, marker, size)


def _draw_by_class(axes, plane: DomainPlane, size: float, class_names: Sequence[str]) -> None:
    present = np.unique(plane.label)
    for c, colour in zip(present, _class_colours(len(present)), strict=True):
        for kind, marker in zip((False, True), _MARKERS, strict=True):
            _scatter(axes, plane.position[(plane.label == c) & (plane.is_shape == kind)], colour, marker, size)
        mine = plane.position[plane.label == c]
        # At a member: the middle of a class in two parts would be on nobody's ground.
        x, y = mine[np.linalg.norm(mine - np.median(mine, axis=0), axis=1).argmin()]
        axes.text(
            x,
            y,
            class_names[c],
            fontsize=8.5 if len(present) <= _FEW_CLASSES else 6.5,
            ha='center',
            va='center',
            color=tuple(0.55 * channel for channel in colour),
            parse_math=False,
            fontweight='bold',
            path_effects=[withStroke(linewidth=2, foreground='white', alpha=0.8)],
        )
