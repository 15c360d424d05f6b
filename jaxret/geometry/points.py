"""Points on the surface of a mesh.

Letters: N points, F faces.
"""

import numpy as np

from jaxret.geometry.mesh import Mesh, face_normals


def sample_surface(mesh: Mesh, count: int, *, seed: int) -> np.ndarray:
    """Draws points uniformly by area.

    A face is drawn with probability proportional to its area; inside it p = (1 - sqrt(u)) a + sqrt(u) (1 - v) b +
    sqrt(u) v c with u, v uniform in [0, 1) (Osada et al., "Shape Distributions", 2002, equation 1).

    Args:
      mesh: the mesh; the points are in its units. CMIC's shape metrics use 10,000 points of a mesh whose longest side
        is 1: `normalize_mesh(mesh, mode='cube')` first.
      count: number of points N.
      seed: the same seed gives the same points.

    Returns:
      float32 [N, 3].

    Raises:
      ValueError: if the mesh has no area, or `count` is negative.
    """
    if count < 0:
        raise ValueError(f'count must not be negative, not {count}')
    corners = mesh.vertices[mesh.faces]
    origins, edge_b, edge_c = corners[:, 0], corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    cumulative = np.cumsum(np.linalg.norm(np.cross(edge_b, edge_c), axis=1))
    if not cumulative.size or not cumulative[-1] > 0:
        raise ValueError('the mesh has no surface to draw points from')
    generator = np.random.default_rng(seed)
    # side='right' never lands on a face without area
    faces = np.searchsorted(cumulative, generator.random(count) * cumulative[-1], side='right')
    faces = np.minimum(faces, len(cumulative) - 1)
    root, v = np.sqrt(generator.random((count, 1))), generator.random((count, 1))
    points = origins[faces] + root * (1 - v) * edge_b[faces] + root * v * edge_c[faces]
    return points.astype(np.float32)


def surface_points(corners: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Spreads points evenly by area: a low-discrepancy sequence (Roberts' R3) in place of chance, so fewer points do.

    Args:
      corners: of triangles, [F, 3, 3]; some have an area.
      count: number of points N.

    Returns:
      float64 [N, 3], of which every start is spread evenly too, and the face of each, int64 [N].
    """
    ratio = 1.2207440846057596  # the root of x^4 = x + 1
    sequence = (0.5 + np.arange(1, count + 1)[:, None] / ratio ** np.arange(1, 4)) % 1
    cumulative = np.cumsum(np.linalg.norm(face_normals(corners), axis=1))
    faces = np.searchsorted(cumulative, sequence[:, 0] * cumulative[-1], side='right')
    faces = np.minimum(faces, len(cumulative) - 1)
    root, v = np.sqrt(sequence[:, 1:2]), sequence[:, 2:]
    a, b, c = corners[faces].swapaxes(0, 1)
    return (1 - root) * a + root * (1 - v) * b + root * v * c, faces
