"""A model laid on a query: how far their surfaces lie apart, and a picture of where. For worker processes; no JAX.

Letters: M points, S size in pixels.
"""

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import trimesh

from jaxret.errors import refused
from jaxret.geometry.mesh import Mesh
from jaxret.geometry.registration import Alignment, align
from jaxret.geometry.render import render_colored
from jaxret.geometry.surfaces import Surface
from jaxret.preprocessing.shapes import THUMBNAIL, file_surface

MOST_SHOWN = 0.05  # distance, as a share of the longest side, from which on the colour stays the same
_NEAR, _FAR = np.array([0.90, 0.90, 0.90]), np.array([0.84, 0.37, 0.0])  # grey to vermilion, ever darker
_PIECES = 48  # along the longest side, each of one colour


@dataclass(frozen=True, eq=False)
class LaidShape:
    """How a model lies on a query.

    Attributes:
      distance: largest distance of a point of one surface to the other, as a share of the query's longest side.
      mean: mean distance, likewise.
      scale: by which the model's size is multiplied.
      mirrored: whether it is a mirror image.
      picture: the query, each place coloured by its distance to the model (`distance_color`), uint8 [S, S, 3]; None
        where none was asked for.
    """

    distance: float
    mean: float
    scale: float
    mirrored: bool
    picture: np.ndarray | None = None


def lay_shape(item: tuple[Path, Path], *, up_axis: str, pictures: bool) -> LaidShape:
    """Lays a model on a query; see `registration.align`.

    Args:
      item: files of the query and of the model.
      up_axis: axis that points up in the query's picture.
      pictures: also make the picture.

    Raises:
      DataError: one of the files cannot be used.
    """
    query, model = item
    fixed = _surface(query)
    try:
        moving = file_surface(model, up_axis='y')
        found = align(moving, fixed)
        picture = _picture(file_surface(query, up_axis='y'), moving, found, up_axis) if pictures else None
    except ValueError as error:  # of a mesh without area
        raise refused(str(model), str(error), 'export the mesh again') from error
    return LaidShape(found.distance, found.mean, found.scale, found.mirrored, picture)


def distance_color(distances: np.ndarray) -> np.ndarray:
    """Colours [M, 3] in [0, 1] of distances [M], shares of the longest side: grey at 0, vermilion from `MOST_SHOWN`."""
    share = np.clip(distances / MOST_SHOWN, 0, 1)[:, None]
    return (1 - share) * _NEAR + share * _FAR


@lru_cache(maxsize=1)
def _surface(query: Path) -> Surface:
    """Of a query, which every process reads once."""
    try:
        return Surface(file_surface(query, up_axis='y'))
    except ValueError as error:
        raise refused(str(query), str(error), 'export the mesh again') from error


def _picture(query: Mesh, model: Mesh, found: Alignment, up_axis: str) -> np.ndarray:
    longest = np.ptp(query.vertices, axis=0).max()
    vertices, faces = trimesh.remesh.subdivide_to_size(query.vertices, query.faces, longest / _PIECES, max_iter=20)
    other = Surface(Mesh(found.apply(model.vertices), model.faces))
    middles = (vertices[faces].mean(axis=1) - other.centre) / other.radius
    distances = np.linalg.norm(other.places(middles)[0] - middles, axis=1) * other.radius / longest
    if up_axis == 'z':
        vertices = np.stack([vertices[:, 0], vertices[:, 2], -vertices[:, 1]], axis=1)
    return render_colored(Mesh(vertices, faces), THUMBNAIL, distance_color(distances))[0]
