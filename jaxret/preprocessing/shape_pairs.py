"""What worker processes do to find equal shapes: read a file's signature, and compare two files closely. No JAX."""

import functools
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.spatial import cKDTree

from jaxret.errors import DataError, Problem
from jaxret.geometry.measures import enclosed_volume, is_inside_out
from jaxret.geometry.registration import Alignment, align
from jaxret.geometry.signatures import signature
from jaxret.geometry.surfaces import Surface
from jaxret.preprocessing.shapes import file_checksum, file_surface

# Classes of evidence, the strongest first.
BYTES, MESH, SHAPE, MIRRORED, NEAR = CLASSES = ('same bytes', 'same mesh', 'same shape', 'mirrored', 'near')
_NEAR = 0.005  # mean distance up to which shapes are near, as a share of the longest side
_STILL = 1e-5  # as shares of the longest side: what text formats round away


@dataclass(frozen=True)
class Likeness:
    """How a shape is like a reference.

    Attributes:
      kind: one of `CLASSES`.
      distance: the largest of one surface's points from the other, as a share of the longest side; mean: their mean.
      factor: how many times as large as the reference, by the numbers in the files.
      mirrored: whether it is a mirror image (also of one that is near).
      millimetres: longest sides of the reference and the shape; None where a file does not say its unit.
    """

    kind: str
    distance: float = 0.0
    mean: float = 0.0
    factor: float = 1.0
    mirrored: bool = False
    millimetres: tuple[float, float] | None = None


def read_signature(path: Path) -> tuple[str, np.ndarray]:
    """Checksum and signature of a model file. Raises DataError: it cannot be used."""
    try:
        return file_checksum(path), signature(file_surface(path, up_axis='y'))
    except ValueError as error:
        raise DataError(Problem(str(path), str(error), 'export the mesh again, or take it out')) from error


@dataclass(frozen=True)
class Traits:
    """What decides which of several equal files to keep.

    Attributes:
      closed: whether its surface encloses a volume and its triangles agree on which side is the outer one.
      inside_out: whether that is the wrong side.
      side: longest side, by the numbers in the file; radius: root mean square one, which no turn changes.
      millimetres: of their unit; None where the file does not say.
    """

    closed: bool
    inside_out: bool
    side: float
    radius: float
    millimetres: float | None


def read_traits(path: Path) -> Traits:
    """Of a model file. Raises DataError: it cannot be used."""
    mesh = file_surface(path, up_axis='y')
    side = float(np.ptp(mesh.vertices, axis=0).max())
    return Traits(
        enclosed_volume(mesh)[1] is not None, is_inside_out(mesh), side, Surface(mesh).radius, mesh.millimetres
    )


def compare_files(pair: tuple[Path, Path]) -> Likeness | None:
    """How the second of two model files is like the first; None where it is not.

    Raises:
      DataError: a file cannot be used.
    """
    (fixed, unit), (moving, other_unit) = map(_read, pair)
    found = align(moving, fixed, most=_NEAR)
    if found is None or (not found.same and found.mean > _NEAR):
        return None
    kind = NEAR if not found.same else MIRRORED if found.mirrored else SHAPE
    if kind == SHAPE and _unmoved(moving, fixed, found):
        kind = MESH
    sides = [surface.side * surface.radius for surface in (fixed, moving)]
    millimetres = None
    if unit is not None and other_unit is not None:
        millimetres = sides[0] * unit, sides[1] * other_unit
    return Likeness(kind, found.distance, found.mean, 1 / found.scale, found.mirrored, millimetres)


@functools.lru_cache(maxsize=8)
def _read(path: Path) -> tuple[Surface, float | None]:
    mesh = file_surface(path, up_axis='y')
    return Surface(mesh), mesh.millimetres


def _unmoved(moving: Surface, fixed: Surface, found: Alignment) -> bool:
    """Whether two surfaces have the same corners at the same places, and as many faces."""
    if len(moving.faces) != len(fixed.faces) or len(moving.vertices) != len(fixed.vertices):
        return False
    own, other = (surface.vertices * surface.radius + surface.centre for surface in (moving, fixed))
    most = _STILL * fixed.side * fixed.radius
    near = np.abs(found.apply(own) - own).max() < 10 * most
    return bool(near and (cKDTree(own).query(other)[0] < most).all() and (cKDTree(other).query(own)[0] < most).all())
