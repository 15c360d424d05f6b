"""The gallery as one photo sees it, in the plane: figure 4 of CMIC (Lin et al., ICCV 2021).

Letters: G gallery shapes, D embedding.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure

from jaxret.reports.embedding_plots import in_plane
from jaxret.reports.figures import new_figure, scatter, style_plane
from jaxret.reports.palette import INK, LINE, class_colours

_COLUMNS = 2
_RING = {'marker': 'o', 'markerfacecolor': 'none', 'markeredgecolor': INK, 'linestyle': 'none'}
_STAR = {'marker': '*', 'color': INK, 'linestyle': 'none'}


@dataclass(frozen=True, eq=False)
class QueryPlane:
    """One photo among the shapes.

    Attributes:
      title: of the panel.
      query: [D], the photo's embedding.
      shapes: [G, D], the shapes' embeddings merged for this photo.
      category: [G] category ids.
      true_shape: index of the photo's own shape; -1 where it is not in the gallery.
    """

    title: str
    query: np.ndarray
    shapes: np.ndarray
    category: np.ndarray
    true_shape: int


def draw_category_planes(
    planes: Sequence[QueryPlane], category_names: Sequence[str], *, seed: int = 0, iterations: int = 1000
) -> Figure | None:
    """t-SNE of the shapes and the photo together, a panel a photo; a category has one colour in all panels.

    Args:
      planes: the photos.
      category_names: name of every category id.
      seed: of t-SNE.
      iterations: of t-SNE, at least 250.

    Returns:
      The figure, or None if there is nothing to draw.

    Source: CMIC (ICCV 2021), figure 4; van der Maaten and Hinton, J. Mach. Learn. Res. 9 (2008) 2579.
    """
    placed = [
        (plane, in_plane(np.concatenate([plane.shapes, plane.query[None]]), seed=seed, iterations=iterations))
        for plane in planes
    ]
    placed = [(plane, position) for plane, position in placed if position is not None]
    if not placed:
        return None
    present = sorted(set(np.concatenate([plane.category for plane, _ in placed]).tolist()))
    colours = dict(zip(present, class_colours(len(present)), strict=True))
    columns = min(_COLUMNS, len(placed))
    rows = -(-len(placed) // columns)
    figure = new_figure(5.2 * columns, 4.6 * rows + 0.5)
    for number, (plane, position) in enumerate(placed, start=1):
        axes = figure.add_subplot(rows, columns, number)
        style_plane(axes, '')
        axes.set_title(plane.title, fontsize=10, loc='left', parse_math=False)
        axes.spines[:].set(visible=True, color=LINE)
        for c in np.unique(plane.category).tolist():
            scatter(axes, position[:-1][np.asarray(plane.category) == c], colours[c], 'o', 30)
        if plane.true_shape >= 0:
            axes.plot(*position[[plane.true_shape]].T, markersize=11, **_RING)
        axes.plot(*position[-1:].T, markersize=15, markeredgecolor='white', **_STAR)
    handles = [axes.scatter([], [], s=30, color=[colours[c]], label=category_names[c]) for c in present]
    handles += axes.plot([], [], markersize=11, label='photo', **_STAR)
    handles += axes.plot([], [], markersize=9, label='true shape', **_RING)
    legend = figure.legend(
        handles=handles, loc='outside lower center', ncols=min(7, len(handles)), frameon=False, fontsize=9
    )
    for text in legend.get_texts():
        text.set_parse_math(False)
    return figure
