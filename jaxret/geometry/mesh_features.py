"""What MeshNet reads of a mesh: one vector a face, and each face's three neighbours (Feng et al., AAAI 2019, 3.2).

Letters: N vertices, F faces, M faces after padding.
"""

import numpy as np

from jaxret.geometry.mesh import Mesh, face_normals


def face_features(mesh: Mesh) -> np.ndarray:
    """Centre, corners relative to the centre, and unit normal of every face.

    With corners v_0, v_1, v_2: centre c = (v_0 + v_1 + v_2) / 3, corners v_k - c, normal
    (v_1 - v_0) x (v_2 - v_0) over its length (0 for a face without area).

    Args:
      mesh: the mesh; the values are in its units.

    Returns:
      float32 [F, 15].
    """
    corners = mesh.vertices[mesh.faces]
    centres = corners.mean(axis=1)
    normals = face_normals(corners)
    lengths = np.linalg.norm(normals, axis=1, keepdims=True)
    normals = normals / np.where(lengths > 0, lengths, 1.0)
    relative = (corners - centres[:, None]).reshape(-1, 9)
    return np.concatenate([centres, relative, normals], axis=1).astype(np.float32)


def face_neighbors(faces: np.ndarray) -> np.ndarray:
    """The face across each edge: column k is the edge from corner k to corner k + 1.

    A face without another at an edge is its own neighbour there. Where more than two faces share an edge they form a
    cycle in the order of their indices, so that each is the neighbour of exactly one other.

    Args:
      faces: int [F, 3], vertex indices; vertices at one place must be one vertex.

    Returns:
      int32 [F, 3].
    """
    count = len(faces)
    edges = np.sort(np.stack([faces, np.roll(faces, -1, axis=1)], axis=2).reshape(-1, 2), axis=1)
    _, edge = np.unique(edges, axis=0, return_inverse=True)
    edge = edge.reshape(-1)
    order = np.argsort(edge, kind='stable')  # sides of one edge together, by face
    sorted_edge = edge[order]
    starts = np.flatnonzero(np.diff(sorted_edge, prepend=-1))
    following = np.arange(1, 3 * count + 1)
    following[np.append(starts[1:], 3 * count) - 1] = starts  # the last face of an edge goes on with the first
    neighbors = np.empty(3 * count, np.int32)
    neighbors[order] = order[following] // 3
    return neighbors.reshape(count, 3)


def pad_faces(features: np.ndarray, neighbors: np.ndarray, *, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Repeats faces, with the neighbours of the faces that they repeat, until there are `count`.

    As in MeshNet's public loader, but drawn from a fixed seed and evenly: no face is repeated twice before every face
    was repeated once. The first F rows are the faces themselves, so all neighbours stay valid.

    Args:
      features: [F, 15], F <= count.
      neighbors: [F, 3].
      count: M.

    Returns:
      features [M, 15] and neighbours [M, 3].

    Raises:
      ValueError: there are no faces, or more than `count`.
    """
    present = len(features)
    if not 1 <= present <= count:
        raise ValueError(f'{present} faces cannot be padded to {count}')
    generator = np.random.default_rng(0)
    passes = -(-(count - present) // present)
    repeated = [generator.permutation(present) for _ in range(passes)]
    rows = np.concatenate([np.arange(present), *repeated])[:count]
    return features[rows], neighbors[rows]


def mesh_features(mesh: Mesh, *, max_faces: int) -> tuple[np.ndarray, np.ndarray]:
    """Features and neighbours of a mesh of at most `max_faces` faces (`simplify_mesh`), padded to that number.

    Args:
      mesh: welded, in the frame that the features shall have (usually the unit sphere).
      max_faces: M.

    Returns:
      float32 [M, 15] and int32 [M, 3].
    """
    return pad_faces(face_features(mesh), face_neighbors(mesh.faces), count=max_faces)
