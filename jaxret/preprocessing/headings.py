"""Meshes, clouds and scans as queries, whose heading about the vertical is not known. No JAX.

Letters: T headings, V views, S size in pixels, P points of a cloud.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np

from jaxret.errors import refused
from jaxret.geometry.grid_meshes import PLACEMENTS, mesh_from_points
from jaxret.geometry.grid_turns import turned_grids
from jaxret.geometry.mesh import Mesh
from jaxret.geometry.simplify import simplify_mesh
from jaxret.geometry.up_axis import AUTO, FIRM, guess_file_axis, guess_of_points, stated_axis
from jaxret.preprocessing.inputs import RESOLUTION, ShapeInputs
from jaxret.preprocessing.points import point_arrays
from jaxret.preprocessing.shapes import arrays_of_mesh, file_surface, shape_arrays

_CLOUD_POINTS = 20_000  # of a cloud whose surface is looked for
Arrays = Mapping[str, np.ndarray]
Shape = str | Path | np.ndarray


def query_shape_arrays(shape: Shape, *, kind: str, inputs: ShapeInputs, up_axis: str) -> Arrays:
    """What a system takes of a shape that is asked with.

    Args:
      shape: a file; of a cloud also an array [P, 3].
      kind: 'mesh', 'points' or 'scan'.
      inputs: with headings or without (`ShapeInputs.headings`).
      up_axis: axis that points up in it.

    Returns:
      as `shape_arrays`; with headings each array has them as first axis.

    Raises:
      DataError: the shape cannot be used.
    """
    standing = replace(inputs, headings=None)
    first = _standing(shape, kind, standing, up_axis)
    if inputs.headings is None:
        return first
    if kind == 'scan' and inputs.representation == 'grid':  # its cells as they are: its surface is not all that it saw
        middle = RESOLUTION / 2 + PLACEMENTS[inputs.placement]
        return {'grid': np.stack([turned_grids(first['grid'], a, middle=middle) for a in inputs.heading_angles])}
    turned = _turning(shape, kind, standing, up_axis)
    rows = [first, *(turned(_about_vertical(angle)) for angle in inputs.heading_angles[1:])]
    return {name: np.stack([row[name] for row in rows]) for name in first}


def query_up_axis(shape: Shape, *, kind: str, up_axis: str | None, inputs: ShapeInputs) -> str:
    """The axis that points up in a shape that is asked with, 'y' or 'z'.

    Args:
      shape, kind: as for `query_shape_arrays`.
      up_axis: of shapes whose format does not say; `AUTO` guesses it of the shape.
      inputs: its axis holds where `up_axis` is None, or nothing tells.

    Raises:
      DataError: a shape that is guessed cannot be used.
    """
    stated = 'y' if kind == 'scan' else None if kind == 'points' else stated_axis(Path(shape))
    if stated or up_axis != AUTO:
        return stated or up_axis or inputs.up_axis
    points = point_arrays(shape, count=_CLOUD_POINTS)['points'] if kind == 'points' else None
    axis, certainty = guess_file_axis(Path(shape)) if points is None else guess_of_points(points)
    return axis if certainty >= FIRM else inputs.up_axis


def query_surface(shape: Shape, *, kind: str, up_axis: str) -> Mesh:
    """The surface of a mesh, a cloud or a scan, y up. Raises DataError where it cannot be used."""
    if kind != 'points':
        return file_surface(Path(shape), up_axis=up_axis)
    points = point_arrays(shape, count=_CLOUD_POINTS, up_axis=up_axis)['points']
    try:
        return mesh_from_points(points)
    except ValueError as error:
        raise refused(_name(shape), str(error), 'export the points again') from error


def _standing(shape: Shape, kind: str, inputs: ShapeInputs, up_axis: str) -> Arrays:
    """Of the shape as it stands."""
    if kind != 'points':
        return shape_arrays(Path(shape), inputs=inputs, up_axis=up_axis)
    if inputs.representation == 'points':
        return point_arrays(shape, count=inputs.points, up_axis=up_axis)
    surface = query_surface(shape, kind=kind, up_axis=up_axis)
    return arrays_of_mesh(surface, inputs=inputs, path=Path(_name(shape)))


def _turning(shape: Shape, kind: str, inputs: ShapeInputs, up_axis: str) -> Callable[[np.ndarray], Arrays]:
    """A function of a rotation [3, 3] that makes the arrays of the shape turned by it."""
    if kind == 'points' and inputs.representation == 'points':
        points = point_arrays(shape, count=inputs.points, up_axis=up_axis)['points']
        return lambda rotation: point_arrays(points @ rotation.T, count=inputs.points)
    mesh = query_surface(shape, kind=kind, up_axis=up_axis)
    path = Path(_name(shape))
    if inputs.representation == 'faces':
        mesh = simplify_mesh(mesh, max_faces=inputs.faces)
    return lambda rotation: arrays_of_mesh(Mesh(mesh.vertices @ rotation.T, mesh.faces), inputs=inputs, path=path)


def _about_vertical(degrees: float) -> np.ndarray:
    """Rotation [3, 3] about +y."""
    cos, sin = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    return np.array([[cos, 0, sin], [0, 1, 0], [-sin, 0, cos]])


def _name(shape: Shape) -> str:
    return 'points' if isinstance(shape, np.ndarray) else str(shape)
