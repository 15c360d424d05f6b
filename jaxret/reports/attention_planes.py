"""The gallery as one photo sees it, in the plane: figure 4 of CMIC (Lin et al., ICCV 2021).

Letters: G gallery shapes, D embedding.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from jaxret.reports.curves import _style
from jaxret.reports.embedding_plots import _class_colours, _scatter, in_plane

_COLUMNS = 2
_HIGHLIGHT = '#1c2128'


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
    colours = dict(zip(present, _class_colours(len(present)), strict=True))
    columns = min(_COLUMNS, len(placed))
    rows = -(-len(placed) // columns)
    figure = Figure(figsize=(5.2 * columns, 4.6 * rows + 0.5), layout='constrained', dpi=110)
    FigureCanvasAgg(figure)
    for number, (plane, position) in enumerate(placed, start=1):
        axes = figure.add_subplot(rows, columns, number)
        _style(axes, '', '', '')
        axes.set_title(plane.title, fontsize=10, loc='left', parse_math=False)
        axes.set(xticks=[], yticks=[])
        axes.spines[:].set(visible=True, color='#d9dee5')
        for c in present:
            points = position[:-1][np.asarray(plane.category) == c]
            if len(points):
                _scatter(axes, points, colours[c], 'o', 30)
        if plane.true_shape >= 0:
            x, y = position[plane.true_shape]
            axes.plot([x], [y], 'o', markersize=11, markerfacecolor='none', markeredgecolor=_HIGHLIGHT)
        axes.plot(*position[-1], '*', markersize=15, color=_HIGHLIGHT, markeredgecolor='white')
    handles = [axes.scatter([], [], s=30, color=[colours[c]], label=category_names[c]) for c in present]
    handles += [
        *axes.plot([], [], '*', markersize=11, color=_HIGHLIGHT, linestyle='none', label='photo'),
        *axes.plot(
            [],
            [],
            'o',
            markersize=9,
            markerfacecolor='none',
            markeredgecolor=_HIGHLIGHT,
            linestyle='none',
            label='true shape',
        ),
    ]
    legend = figure.legend(
        handles=handles, loc='outside lower center', ncols=min(7, len(handles)), frameon=False, fontsize=9
    )
    for text in legend.get_texts():
        text.set_parse_math(False)
    return figure
