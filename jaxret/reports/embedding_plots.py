"""Pictures of a joint embedding space: precision-recall of every direction, and t-SNE by class and by modality."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import matplotlib
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patheffects import withStroke
from sklearn.manifold import TSNE
from threadpoolctl import threadpool_limits

from jaxret.metrics.average_precision import normalized_rows
from jaxret.reports.curves import _cycle, _style

_MARKERS = 'o^sDvP*X'
_FEW_CLASSES = 20  # more are named by number
_LONGEST_NAME = 24  # of a class, in letters
_KEY_COLUMNS = 7  # of the numbers' key
_FEWEST_POINTS = 5  # t-SNE of fewer says nothing


@dataclass(frozen=True)
class Plane:
    """Embeddings laid out in the plane.

    Attributes:
      position: [n, 2] float64.
      label: [n] class ids.
      modality: [n] index of the modality.
    """

    position: np.ndarray
    label: np.ndarray
    modality: np.ndarray


def lay_out(
    embeddings: Mapping[str, np.ndarray],
    labels: np.ndarray,
    *,
    max_points: int = 2000,
    seed: int = 0,
    iterations: int = 1000,
) -> Plane | None:
    """t-SNE of the normalised embeddings of all modalities together.

    Where there are too many, objects are drawn at random and shown in all modalities. The same seed gives the same
    picture.

    Args:
      embeddings: {modality: [N, D]}.
      labels: [N] class ids.
      max_points: most points of all modalities together.
      seed: of the drawn objects and of t-SNE.
      iterations: of t-SNE, at least 250.

    Returns:
      The plane, or None if there are fewer than five points or all embeddings are the same.

    Source: van der Maaten and Hinton, J. Mach. Learn. Res. 9 (2008) 2579.
    """
    labels = np.asarray(labels)
    objects = np.arange(len(labels))
    most = max(max_points // max(len(embeddings), 1), 1)
    if len(objects) > most:
        objects = np.sort(np.random.default_rng(seed).choice(len(objects), most, replace=False))
    pooled = np.concatenate([normalized_rows(name, x)[objects] for name, x in embeddings.items()])
    position = in_plane(pooled, seed=seed, iterations=iterations)
    if position is None:
        return None
    return Plane(
        position, np.tile(labels[objects], len(embeddings)), np.repeat(np.arange(len(embeddings)), len(objects))
    )


def in_plane(points: np.ndarray, *, seed: int = 0, iterations: int = 1000) -> np.ndarray | None:
    """t-SNE of points [n, D]: [n, 2] float64, or None if there are fewer than five or all are the same."""
    if len(points) < _FEWEST_POINTS or np.ptp(points, axis=0).max() < 1e-9:
        return None
    # Two coordinates of largest spread to start from; t-SNE's own start needs as many dimensions as it draws.
    start = np.random.default_rng(seed).normal(scale=1e-4, size=(len(points), 2))
    left, size, _ = np.linalg.svd(points - points.mean(axis=0), full_matrices=False)
    start[:, : min(2, len(size))] += 1e-4 * (left * size)[:, :2] / (left[:, 0] * size[0]).std()
    tsne = TSNE(init=start, random_state=seed, perplexity=min(30.0, (len(points) - 1) / 3), max_iter=iterations)
    # One thread: sums are then always in the same order, and threads do not wait for each other on a busy machine.
    with threadpool_limits(1):
        return tsne.fit_transform(points).astype(np.float64)


def draw_embedding(
    embeddings: Mapping[str, np.ndarray],
    labels: np.ndarray,
    class_names: Sequence[str],
    *,
    max_points: int = 2000,
    seed: int = 0,
    iterations: int = 1000,
) -> Figure | None:
    """The same t-SNE twice: coloured by class (named, or numbered where there are many, at its middle) and by modality.

    Args:
      class_names: name of every class id.
      embeddings, labels, max_points, seed, iterations: as `lay_out`.

    Returns:
      The figure, or None if there is nothing to draw.
    """
    plane = lay_out(embeddings, labels, max_points=max_points, seed=seed, iterations=iterations)
    if plane is None:
        return None
    present = np.unique(plane.label)
    colours = _class_colours(len(present))
    names = [_short(class_names[c]) for c in present]
    many, key_rows = len(present) > _FEW_CLASSES, -(-len(present) // _KEY_COLUMNS)
    figure = Figure(figsize=(13.0, 6.0 + many * (0.4 + 0.15 * key_rows)), layout='constrained', dpi=110)
    FigureCanvasAgg(figure)
    size = float(np.clip(6000 / len(plane.label), 7, 40))
    by_class, by_modality = figure.subplots(1, 2)
    for number, (c, colour, name) in enumerate(zip(present, colours, names, strict=True), start=1):
        for m in range(len(embeddings)):
            points = plane.position[(plane.label == c) & (plane.modality == m)]
            _scatter(by_class, points, colour, _MARKERS[m % len(_MARKERS)], size)
        mine = plane.position[plane.label == c]
        # At a member: the middle of a class in two parts would be on nobody's ground.
        x, y = mine[np.linalg.norm(mine - np.median(mine, axis=0), axis=1).argmin()]
        by_class.text(
            x,
            y,
            str(number) if many else name,
            fontsize=8.5,
            ha='center',
            va='center',
            parse_math=False,
            color=_dark(colour),
            fontweight='bold',
            path_effects=[withStroke(linewidth=2, foreground='white', alpha=0.8)],
        )
    if many:
        handles = [
            Line2D([], [], linestyle='none', label=f'{number}  {name}') for number, name in enumerate(names, start=1)
        ]
        key = figure.legend(
            handles=handles,
            loc='outside lower center',
            ncols=_KEY_COLUMNS,
            fontsize=8,
            frameon=False,
            handlelength=0,
            handletextpad=0,
        )
        for text, colour in zip(key.get_texts(), colours, strict=True):
            text.set(color=_dark(colour), parse_math=False)
    shapes = []
    order = np.random.default_rng(seed).permutation(len(plane.label))  # so that no modality hides another
    tints = np.array(_cycle(len(embeddings)))
    for m, name in enumerate(embeddings):
        shapes.append(Line2D([], [], marker=_MARKERS[m % len(_MARKERS)], color=tints[m], linestyle='none', label=name))
    for part in np.array_split(order, min(20, len(order))):
        for m in range(len(embeddings)):
            mine = part[plane.modality[part] == m]
            _scatter(by_modality, plane.position[mine], tints[m], _MARKERS[m % len(_MARKERS)], size)
    objects = len(plane.label) // len(embeddings)
    for axes, title in ((by_class, 't-SNE, by class'), (by_modality, 't-SNE, by modality')):
        _style(axes, title, '', '')
        axes.set_xticks([])
        axes.set_yticks([])
        axes.spines[['top', 'right', 'bottom', 'left']].set_visible(False)
    legend = by_modality.legend(
        handles=shapes,
        frameon=False,
        fontsize=9,
        loc='upper left',
        bbox_to_anchor=(0, -0.01),
        ncols=len(shapes),
        title=f'{objects} of {len(np.asarray(labels))} objects',
    )
    legend.get_title().set_fontsize(9)
    return figure


def draw_precision_recall(metrics: Mapping) -> Figure | None:
    """Precision against recall of all directions: one panel a query modality, one line a gallery modality.

    Args:
      metrics: result of `cross_modal_metrics`.

    Returns:
      The figure, or None if no direction has a curve.
    """
    curves = dict(metrics.get('precision_recall', {}))
    recall = curves.pop('recall', None)
    plain = {name: curve for name, curve in curves.items() if not name.endswith('_excluding_self')}
    if not plain or any(value is None for curve in plain.values() for value in curve):
        return None
    modalities = _modalities(plain)
    figure = Figure(figsize=(4.0 * len(modalities), 4.5), layout='constrained', dpi=110)
    FigureCanvasAgg(figure)
    for place, query in enumerate(modalities):
        axes = figure.add_subplot(1, len(modalities), place + 1)
        _style(axes, f'{query} queries', 'recall', 'interpolated precision' if place == 0 else '')
        for number, (gallery, colour) in enumerate(zip(modalities, _cycle(len(modalities)), strict=True)):
            name = f'map_{query}_{gallery}'
            axes.plot(
                recall,
                plain[name],
                color=colour,
                linewidth=1.8,
                marker=_MARKERS[number % len(_MARKERS)],
                markersize=3.5,
                label=f'{gallery} gallery, mAP {metrics[name]:.1%}',
            )
            alone = curves.get(f'{name}_excluding_self', [None])
            if None not in alone:
                axes.plot(
                    recall,
                    alone,
                    color=colour,
                    linewidth=1.2,
                    linestyle='--',
                    label=f'{gallery} without itself, {metrics[f"{name}_excluding_self"]:.1%}',
                )
        axes.set_xlim(-0.02, 1.02)
        axes.set_ylim(0, 1.03)
        axes.legend(frameon=False, fontsize=8, loc='upper left', bbox_to_anchor=(0, -0.17))  # on no curve
    return figure


def _modalities(curves: Mapping[str, Sequence]) -> list[str]:
    """Names in order, from the keys map_<query>_<gallery> of all pairs; a name may hold an underscore."""
    own = [name.removeprefix('map_') for name in curves]
    halves = [name[: len(name) // 2] for name in own]
    return [half for half, name in zip(halves, own, strict=True) if name == f'{half}_{half}']


def _class_colours(count: int) -> list:
    """Colours told apart as far as `count` allows: the hue wheel, in two shades."""
    wheel = matplotlib.colormaps['hsv']
    return [tuple(np.array(wheel(i / max(count, 1))[:3]) * (0.85, 0.55)[i % 2]) for i in range(count)]


def _dark(colour: Sequence[float]) -> tuple[float, ...]:
    return tuple(0.55 * channel for channel in colour)


def _short(name: str) -> str:
    return name if len(name) <= _LONGEST_NAME else name[: _LONGEST_NAME - 1] + '\u2026'


def _scatter(axes, points: np.ndarray, colour, marker: str, size: float) -> None:
    axes.scatter(points[:, 0], points[:, 1], s=size, color=[colour], marker=marker, linewidths=0, alpha=0.75)
