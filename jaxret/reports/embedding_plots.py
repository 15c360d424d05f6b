"""Pictures of a joint embedding space: precision-recall of every direction, and t-SNE by class and by modality."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patheffects import withStroke
from sklearn.manifold import TSNE
from threadpoolctl import threadpool_limits

from jaxret.metrics.average_precision import normalized_rows
from jaxret.reports.figures import MARKERS, new_figure, scatter, style_plane, style_precision_recall
from jaxret.reports.palette import class_colours, cycle

FEW_CLASSES = 20  # more have no room for their names
_LONGEST_NAME = 24  # of a class, in letters
_KEY_COLUMNS = 7  # of the numbers' key
_FEWEST_POINTS = 5  # t-SNE of fewer says nothing


@dataclass(frozen=True)
class Plane:
    """Embeddings of several groups (modalities, domains) laid out in the plane.

    Attributes:
      position: [n, 2] float64.
      label: [n] class ids.
      group: [n] index of the group.
    """

    position: np.ndarray
    label: np.ndarray
    group: np.ndarray

    @property
    def point_size(self) -> float:
        """Of a point, smaller where there are many."""
        return float(np.clip(6000 / len(self.label), 7, 40))


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
    objects = np.arange(len(labels))
    most = max(max_points // max(len(embeddings), 1), 1)
    if len(objects) > most:
        objects = np.sort(np.random.default_rng(seed).choice(len(objects), most, replace=False))
    every = [objects] * len(embeddings)
    return lay_out_rows(embeddings, [labels] * len(embeddings), every, seed=seed, iterations=iterations)


def lay_out_rows(
    embeddings: Mapping[str, np.ndarray],
    labels: Sequence[np.ndarray],
    rows: Sequence[np.ndarray],
    *,
    seed: int,
    iterations: int,
) -> Plane | None:
    """As `lay_out`, of given rows of groups of any sizes: {group: [N, D]}, and for each its class ids [N] and rows."""
    pooled = [normalized_rows(name, x)[own] for (name, x), own in zip(embeddings.items(), rows, strict=True)]
    position = in_plane(np.concatenate(pooled), seed=seed, iterations=iterations)
    if position is None:
        return None
    label = np.concatenate([np.asarray(ids)[own] for ids, own in zip(labels, rows, strict=True)])
    return Plane(position, label, np.repeat(np.arange(len(rows)), [len(own) for own in rows]))


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
    names = [_short(class_names[c]) for c in np.unique(plane.label)]
    many, key_rows = len(names) > FEW_CLASSES, -(-len(names) // _KEY_COLUMNS)
    figure = new_figure(13.0, 6.0 + many * (0.4 + 0.15 * key_rows))
    by_class, by_modality = figure.subplots(1, 2)
    shown = [str(number) for number in range(1, len(names) + 1)] if many else names
    draw_by_class(by_class, plane, shown, font_size=8.5)
    draw_by_group(by_modality, plane, cycle(len(embeddings)), seed=seed)
    style_plane(by_class, 't-SNE, by class')
    style_plane(by_modality, 't-SNE, by modality')
    if many:
        _number_key(figure, names)
    objects = len(plane.label) // len(embeddings)
    legend = by_modality.legend(
        handles=group_handles(list(embeddings), cycle(len(embeddings))),
        frameon=False,
        fontsize=9,
        loc='upper left',
        bbox_to_anchor=(0, -0.01),
        ncols=len(embeddings),
        title=f'{objects} of {len(np.asarray(labels))} objects',
    )
    legend.get_title().set_fontsize(9)
    return figure


def draw_by_class(axes, plane: Plane, names: Sequence[str], *, font_size: float) -> None:
    """Points in the colour of their class and the shape of their group; each class named at one of its points.

    Args:
      axes: to draw on.
      plane: the points.
      names: of the classes that are there, in the order of their ids.
      font_size: of the names.
    """
    for c, colour, name in zip(np.unique(plane.label), class_colours(len(names)), names, strict=True):
        for group in np.unique(plane.group):
            points = plane.position[(plane.label == c) & (plane.group == group)]
            scatter(axes, points, colour, MARKERS[group % len(MARKERS)], plane.point_size)
        mine = plane.position[plane.label == c]
        # At a member: the middle of a class in two parts would be on nobody's ground.
        x, y = mine[np.linalg.norm(mine - np.median(mine, axis=0), axis=1).argmin()]
        outline = [withStroke(linewidth=2, foreground='white', alpha=0.8)]
        look = {'ha': 'center', 'va': 'center', 'color': _dark(colour), 'fontweight': 'bold', 'path_effects': outline}
        axes.text(x, y, name, fontsize=font_size, parse_math=False, **look)


def draw_by_group(axes, plane: Plane, colours: Sequence[str], *, seed: int) -> None:
    """Points in the colour and shape of their group, in random order so that none hides another."""
    order = np.random.default_rng(seed).permutation(len(plane.label))
    for part in np.array_split(order, min(20, len(order))):
        for group, colour in enumerate(colours):
            points = plane.position[part[plane.group[part] == group]]
            scatter(axes, points, colour, MARKERS[group % len(MARKERS)], plane.point_size)


def group_handles(names: Sequence[str], colours: Sequence[str]) -> list[Line2D]:
    """The groups as a legend shows them."""
    return [
        Line2D([], [], marker=MARKERS[group % len(MARKERS)], color=colour, linestyle='none', label=name)
        for group, (name, colour) in enumerate(zip(names, colours, strict=True))
    ]


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
    figure = new_figure(4.0 * len(modalities), 4.5)
    for place, query in enumerate(modalities):
        axes = figure.add_subplot(1, len(modalities), place + 1)
        style_precision_recall(axes, f'{query} queries', 'interpolated precision' if place == 0 else '')
        for number, (gallery, colour) in enumerate(zip(modalities, cycle(len(modalities)), strict=True)):
            name = f'map_{query}_{gallery}'
            own = {'color': colour, 'linewidth': 1.8, 'marker': MARKERS[number % len(MARKERS)], 'markersize': 3.5}
            axes.plot(recall, plain[name], label=f'{gallery} gallery, mAP {metrics[name]:.1%}', **own)
            alone = curves.get(f'{name}_excluding_self', [None])
            if None not in alone:
                label = f'{gallery} without itself, {metrics[f"{name}_excluding_self"]:.1%}'
                axes.plot(recall, alone, color=colour, linewidth=1.2, linestyle='--', label=label)
        axes.legend(frameon=False, fontsize=8, loc='upper left', bbox_to_anchor=(0, -0.17))  # on no curve
    return figure


def _number_key(figure: Figure, names: Sequence[str]) -> None:
    """The classes behind their numbers."""
    labels = [f'{number}  {name}' for number, name in enumerate(names, start=1)]
    key = figure.legend(
        handles=[Line2D([], [], linestyle='none', label=label) for label in labels],
        loc='outside lower center',
        ncols=_KEY_COLUMNS,
        fontsize=8,
        frameon=False,
        handlelength=0,
        handletextpad=0,
    )
    for text, colour in zip(key.get_texts(), class_colours(len(names)), strict=True):
        text.set(color=_dark(colour), parse_math=False)


def _modalities(curves: Mapping[str, Sequence]) -> list[str]:
    """Names in order, from the keys map_<query>_<gallery> of all pairs; a name may hold an underscore."""
    own = [name.removeprefix('map_') for name in curves]
    halves = [name[: len(name) // 2] for name in own]
    return [half for half, name in zip(halves, own, strict=True) if name == f'{half}_{half}']


def _dark(colour: Sequence[float]) -> tuple[float, ...]:
    return tuple(0.55 * channel for channel in colour)


def _short(name: str) -> str:
    return name if len(name) <= _LONGEST_NAME else name[: _LONGEST_NAME - 1] + '\u2026'
