"""Results of a search, with what an index knows of the shapes."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from jaxret.preprocessing.inputs import ShapeInputs
from jaxret.search.exact import Found


@dataclass(frozen=True)
class Hit:
    """One result.

    Attributes:
      rank: from 1.
      id: of the shape.
      category: of the shape; '' where it has none.
      score: higher is closer: a similarity, or a negative distance (scan-CAD).
      view: where views are compared one by one, number of the one that fits best (CMIC: that the attention chose), from
        0; else None.
      azimuth: of that view's camera in degrees; 0 looks at the front (+z), 90 at the right side (+x); else None. Of the
        built-in model, from where the photo was taken, refined between the cameras of views, or of silhouettes where
        the photo has one.
      elevation: of that camera in degrees above the horizon; else None.
      references: how many known photos of the shape the index has.
      chance: of the first: that it is the right one; None for others, and where that is not known (`fitting`).
      present: of the first: chance that the right one is in the index at all; None likewise.
      distance: of a mesh query, where the model was laid on it (`aligned`): largest distance of a point of one surface
        to the other, as a share of the query's longest side; else None, and likewise
      mean_distance: their mean distance,
      scale: by which the model was scaled to lie on the query,
      mirrored: whether it is a mirror image.
      copy_of: id of the first shape of the index whose file has the same content; '' for that one, and without others.
    """

    rank: int
    id: str
    category: str
    score: float
    view: int | None
    azimuth: float | None
    elevation: float | None = None
    references: int = 0
    chance: float | None = None
    present: float | None = None
    distance: float | None = None
    mean_distance: float | None = None
    scale: float | None = None
    mirrored: bool | None = None
    copy_of: str = ''


def hits_of(
    found: Found,
    query: int,
    names: Sequence[tuple[str, str]],
    inputs: ShapeInputs,
    references: np.ndarray | None = None,
) -> list[Hit]:
    """What was found for one query, best first.

    Args:
      found: of a gallery.
      query: which of its queries.
      names: id and category of the gallery's shapes.
      inputs: what was made of their files.
      references: how many each of them has; None for none.
    """
    hits = []
    for place, (index, score) in enumerate(zip(found.indices[query], found.scores[query], strict=True)):
        view = None if found.views is None else int(found.views[query, place])
        if found.poses is not None:
            azimuth, elevation = (round(float(angle), 1) for angle in found.poses[query, place])
            pose = azimuth % 360, elevation  # 359.96 is rounded to 360
        else:
            pose = (None, None) if view is None else (inputs.azimuth(view), inputs.elevation(view))
        known = 0 if references is None else int(references[index])
        hits.append(Hit(place + 1, *names[index], float(score), view, *pose, references=known))
    return hits
