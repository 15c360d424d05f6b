"""Shapes of boxes whose up axis is known, for tests."""

import numpy as np

from jaxret.geometry.mesh import Mesh

FACES = np.array(
    [[0, 2, 1], [0, 3, 2], [4, 5, 6], [4, 6, 7], [0, 1, 5], [0, 5, 4], [1, 2, 6], [1, 6, 5], [2, 3, 7], [2, 7, 6]]
    + [[3, 0, 4], [3, 4, 7]]
)


def boxes(*corners):
    """Boxes [low, high], +y up."""
    vertices, faces = [], []
    for low, high in corners:
        x, y, z = np.stack([low, high]).T
        faces.append(FACES + 8 * len(vertices))
        vertices.append([[x[a], y[c], z[b]] for c in (0, 1) for a, b in ((0, 0), (1, 0), (1, 1), (0, 1))])
    return Mesh(np.concatenate(vertices).astype(float), np.concatenate(faces))


LEGS = [((x, 0, z), (x + 0.1, 0.9, z + 0.1)) for x in (0, 1.1) for z in (0, 1.1)]
TABLE = boxes(*LEGS, ((0, 0.9, 0), (1.2, 1, 1.2)))
CHAIR = boxes(*LEGS, ((0, 0.9, 0), (1.2, 1, 1.2)), ((0, 1, 0), (1.2, 2, 0.1)))
CUBE = boxes(((0, 0, 0), (1, 1, 1)))


def as_z_up(mesh, *, scale=1.0, shift=0.0):
    x, y, z = mesh.vertices.T
    return Mesh(np.stack([x, -z, y], axis=1) * scale + shift, mesh.faces)


def write_obj(path, mesh):
    """A mesh as it is."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [f'v {x} {y} {z}' for x, y, z in mesh.vertices] + [f'f {a} {b} {c}' for a, b, c in mesh.faces + 1]
    path.write_text('\n'.join(lines) + '\n')
