"""Pictures of two domains in one space: t-SNE by class and by domain, before and after, and precision-recall curves."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure

from jaxret.reports.embedding_plots import FEW_CLASSES, Plane, draw_by_class, draw_by_group, group_handles, lay_out_rows
from jaxret.reports.figures import new_figure, style_plane, style_precision_recall
from jaxret.reports.palette import BLUE, GREY, ORANGE

COLOURS = (ORANGE, BLUE)  # of photos, of shapes


def lay_out_domains(
    photos: np.ndarray,
    shapes: np.ndarray,
    photo_labels: np.ndarray,
    shape_labels: np.ndarray,
    *,
    max_points: int = 2000,
    seed: int = 0,
    iterations: int = 1000,
) -> Plane | None:
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
    rows = [np.sort(rng.permutation(len(x))[: max(max_points // 2, 1)]) for x in (photos, shapes)]
    domains = {'photos': photos, 'shapes': shapes}
    return lay_out_rows(domains, [photo_labels, shape_labels], rows, seed=seed, iterations=iterations)


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
    options = {'max_points': max_points, 'seed': seed, 'iterations': iterations}
    planes = {title: lay_out_domains(*pair, photo_labels, shape_labels, **options) for title, pair in stages.items()}
    planes = {title: plane for title, plane in planes.items() if plane is not None}
    if not planes:
        return None
    figure = new_figure(13.0, 5.6 * len(planes) + 0.4)
    for row, (title, plane) in zip(figure.subplots(len(planes), 2, squeeze=False), planes.items(), strict=True):
        names = [class_names[c] for c in np.unique(plane.label)]
        draw_by_group(row[0], plane, COLOURS, seed=seed)
        draw_by_class(row[1], plane, names, font_size=8.5 if len(names) <= FEW_CLASSES else 6.5)
        for axes, kind in zip(row, ('domain', 'class'), strict=True):
            style_plane(axes, f'{title}: by {kind}')
    labels = [
        f'{np.count_nonzero(plane.group == group)} of {len(own)} {name}'
        for group, (own, name) in enumerate(((photo_labels, 'photos'), (shape_labels, 'shapes')))
    ]
    handles = group_handles(labels, COLOURS)
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
    figure = new_figure(9.0, 3.9)
    panels = (
        ('official', 'auc', 'official: pooled over queries', 'precision', 'area', BLUE),
        ('standard', 'standard_auc', 'standard: mean over queries', 'interpolated precision', 'mAP', ORANGE),
    )
    chance = metrics['ft_chance']
    for place, (mode, key, title, label, area, colour) in enumerate(panels, start=1):
        axes = figure.add_subplot(1, 2, place)
        style_precision_recall(axes, title, label)
        curve = curves[mode]
        measured = f'{area} {metrics[key]:.3f}'
        axes.plot(curve['recall'], curve['precision'], color=colour, linewidth=1.8, label=measured)
        axes.axhline(chance, color=GREY, linewidth=1, linestyle=':', label=f'random order, {chance:.3f}')
        axes.legend(frameon=False, fontsize=8, loc='upper right')
    return figure
