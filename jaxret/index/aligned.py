"""Results of a search with a mesh, laid on it: how far their surfaces lie apart, and the nearest first.

also = [index.alike(read_signature(Path('part.stl'))[1])]
hits = index.search(model.embed_meshes(['part.stl']), also=also)[0]
laid = aligned_hits(index, hits, 'part.stl', also=also[0])
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np

from jaxret.errors import DataError, Problem
from jaxret.index.hits import Hit
from jaxret.index.shapes import Shapes
from jaxret.preprocessing.laid_shapes import lay_shape
from jaxret.workers import map_parallel, reading_memory

FEWEST, MOST = 10, 20  # results that are laid on a query, whatever is asked for
_SECONDS = 60.0  # for each


@dataclass(frozen=True, eq=False)
class AlignedHits:
    """Results laid on a query.

    Attributes:
      hits: those that could be laid by their mean distance, then the others in their order.
      pictures: of them by id where they were asked for (`laid_shapes.LaidShape.picture`).
      problems: why others could not be laid.
    """

    hits: list[Hit]
    pictures: dict[str, np.ndarray]
    problems: list[Problem]


def aligned_hits(
    shapes: Shapes,
    hits: Sequence[Hit],
    query: str | Path,
    *,
    also: Sequence[str] = (),
    up_axis: str = 'y',
    pictures: bool = False,
    processes: int | None = None,
    seconds: float = _SECONDS,
    progress: bool = False,
) -> AlignedHits:
    """Reads files of hits again, of the first `MOST` and of `also`, and lays each on the query, however it stands.

    Args:
      shapes: the index.
      hits: of a search with the query, best first.
      query: a mesh file.
      also: ids of further hits that are laid on it.
      up_axis: axis that points up in it, for pictures.
      pictures: also make pictures of where they differ.
      processes: that read and lay; None takes one a core. Each model costs only itself.
      seconds: for each model.
      progress: show a progress bar.
    """
    near = [number for number, hit in enumerate(hits) if number < MOST or hit.id in also]
    items = [(Path(query), shapes.model_path(hits[number].id)) for number in near]
    function = partial(lay_shape, up_axis=up_axis, pictures=pictures)
    limits = {'timeout': seconds, 'memory': reading_memory(processes), 'serial_below': 1}
    limits['progress'] = 'Laying models on the query' if progress else None
    results = {near[place]: one for place, one in map_parallel(function, items, processes=processes, **limits)}
    problems = [problem for one in results.values() if isinstance(one, DataError) for problem in one.problems]
    done = {number: one for number, one in results.items() if not isinstance(one, DataError)}
    order = sorted(done, key=lambda number: (round(done[number].mean, 6), done[number].mirrored, number))
    order += [number for number in range(len(hits)) if number not in done]
    ranked = [
        replace(hits[number], rank=rank, **_measured(done.get(number))) for rank, number in enumerate(order, start=1)
    ]
    drawn = {hits[number].id: one.picture for number, one in done.items() if one.picture is not None}
    return AlignedHits(ranked, drawn, problems)


def _measured(laid) -> dict:
    """Fields of a `Hit`."""
    if laid is None:
        return {}
    names = {'distance': laid.distance, 'mean_distance': laid.mean, 'scale': laid.scale, 'mirrored': laid.mirrored}
    return {name: value if isinstance(value, bool) else float(f'{value:.6g}') for name, value in names.items()}
