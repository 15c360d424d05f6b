"""A signature of a mesh: numbers that are the same however it is turned, moved, scaled, mirrored or triangulated.

Letters: F faces, N points, S numbers of a signature.
"""

import hashlib
from dataclasses import dataclass

import numpy as np

from jaxret.geometry.mesh import Mesh, face_normals
from jaxret.geometry.points import surface_points
from jaxret.geometry.surfaces import Surface

_DIGEST = 16  # numbers below 2^16, exact in float32
_POINTS, _PAIRED = 4096, 512  # whose distances from the centroid, and from each other, are compared
_RADII, _PAIRS = np.linspace(0.03, 0.97, 12), np.linspace(0.02, 0.98, 20)  # quantiles
_FIXED = _DIGEST + 2  # with the radius and how many faces
_SHAPE = 13 + len(_RADII) + len(_PAIRS)
LENGTH = _FIXED + _SHAPE  # S
# By how much shapes may differ that are compared closely: of the numbers from moments, and of quantiles.
_TOLERANCES = np.concatenate(
    [[0.06, 0.03], np.full(6, 0.021), np.full(5, 0.03), np.full(len(_RADII) + len(_PAIRS), 0.08)]
)


@dataclass(frozen=True, eq=False)
class Signatures:
    """Signatures of N meshes, by their parts.

    Attributes:
      digests: of each the SHA-256 of its triangles as `same_triangles` takes them, as bytes.
      radii: root mean square distance of the area from its centroid, in the mesh's units, [N].
      faces: how many, [N].
      shapes: float64 [N, D]; two shapes that may be alike differ by at most 1 in each column.
    """

    digests: list[bytes]
    radii: np.ndarray
    faces: np.ndarray
    shapes: np.ndarray

    @classmethod
    def of(cls, signatures: np.ndarray) -> 'Signatures':
        """Of float32 [N, S]."""
        signatures = np.asarray(signatures)
        digests = [row.tobytes() for row in signatures[:, :_DIGEST].astype('<u2')]
        shapes = signatures[:, _FIXED:].astype(np.float64) / _TOLERANCES
        return cls(digests, signatures[:, _DIGEST], signatures[:, _DIGEST + 1], shapes)


def signature(mesh: Mesh) -> np.ndarray:
    """What tells quickly which meshes may be alike.

    The digest of its triangles; the root mean square radius; how many faces; logarithms of the area and of the largest
    distance from its centroid, and invariants of its second to fourth moments (exact: no points are drawn); quantiles
    of the distances of surface points from the centroid and from each other (Osada et al., 2002, D2), over the radius.

    Args:
      mesh: any checked mesh.

    Returns:
      float32 [S], S = `LENGTH`.

    Raises:
      ValueError: no face has an area.
    """
    surface = Surface(mesh)
    digest = np.frombuffer(hashlib.sha256(same_triangles(mesh)).digest(), '<u2')
    corners = surface.corners
    areas = np.linalg.norm(face_normals(corners), axis=1)
    points, _ = surface_points(corners, _POINTS)
    radii = np.linalg.norm(points, axis=1)
    one, other = np.triu_indices(_PAIRED, 1)
    pairs = np.linalg.norm(points[one] - points[other], axis=1)
    largest = np.linalg.norm(surface.vertices, axis=1).max()
    exact = [np.log(areas.sum()), np.log(largest), *_moments(corners, areas / areas.sum())]
    shape = [*exact, *np.quantile(radii, _RADII), *np.quantile(pairs, _PAIRS)]
    return np.array([*digest, surface.radius, len(surface.faces), *shape], np.float32)


def same_triangles(mesh: Mesh) -> bytes:
    """The corners of all triangles as float32, in an order that neither faces, corners nor formats change.

    Triangles that collapse at that precision, and second ones at one place, are left out.
    """
    corners = (mesh.vertices.astype(np.float32) + np.float32(0))[mesh.faces]  # -0 becomes 0
    order = np.lexsort(corners.transpose(2, 0, 1)[::-1], axis=-1)
    corners = np.take_along_axis(corners, order[..., None], axis=1)
    repeated = (corners[:, 1:] == corners[:, :-1]).all(axis=2).any(axis=1)
    rows = corners[~repeated].reshape(-1, 9)
    rows = rows[np.lexsort(rows.T[::-1])]
    kept = np.append(True, (rows[1:] != rows[:-1]).any(axis=1)) if len(rows) else np.zeros(0, bool)
    return np.ascontiguousarray(rows[kept], '<f4').tobytes()


def _moments(corners: np.ndarray, weights: np.ndarray) -> list[float]:
    """Of the second to fourth moments of the area, exactly, what turns and mirrors leave as it is: 11 numbers."""
    at = np.einsum('qc,fci->fqi', _PLACES, corners).reshape(-1, 3)
    weights = np.outer(weights, _WEIGHTS).ravel()
    second = (at * weights[:, None]).T @ at
    products = (at[:, :, None] * at[:, None]).reshape(-1, 9)
    third = ((at * weights[:, None]).T @ products).reshape(3, 3, 3)
    fourth = ((products * weights[:, None]).T @ products).reshape(3, 3, 3, 3)
    lean, spread = np.einsum('ijj->i', third), np.einsum('ijkk->ij', fourth)
    numbers = [
        lean @ lean,
        (third**2).sum(),
        lean @ second @ lean,
        np.einsum('ijk,ijl,kl->', third, third, second),
        (fourth**2).sum(),
    ]
    roots = [np.sqrt(np.linalg.eigvalsh(matrix).clip(0)) for matrix in (second, spread)]
    return [*np.concatenate(roots), *np.sqrt(np.maximum(numbers, 0))]


# Six places in a triangle, by their shares of its corners, and weights: exact to the fourth degree (Dunavant, 1985).
_PLACES = np.array(
    [
        np.roll([1 - 2 * share, share, share], place)
        for share in (0.44594849091596489, 0.09157621350977073)
        for place in range(3)
    ]
)
_WEIGHTS = np.repeat([0.22338158967801147, 0.10995174365532187], 3)
