"""A box of 2 x 1 x 3 and what its surface must measure, for tests of mesh files of every form."""

import numpy as np
import pytest

from jaxret.errors import DataError
from jaxret.geometry.mesh import load_mesh

BOX = np.array([(x, y, z) for x in (0, 2) for y in (0, 1) for z in (0, 3)], float)
SIDES = [(0, 1, 3, 2), (4, 6, 7, 5), (0, 4, 5, 1), (2, 3, 7, 6), (0, 2, 6, 4), (1, 5, 7, 3)]  # outwards
TRIANGLES = [triangle for a, b, c, d in SIDES for triangle in ((a, b, c), (a, c, d))]
U = np.array([(0, 0), (3, 0), (3, 3), (2, 3), (2, 1), (1, 1), (1, 3), (0, 3)], float)  # of area 7


def measures(mesh):
    """Area, signed volume (positive where the sides face outwards) and extents of a mesh."""
    a, b, c = np.moveaxis(mesh.vertices[mesh.faces], 1, 0)
    area = np.linalg.norm(np.cross(b - a, c - a), axis=1).sum() / 2
    return area, (np.cross(b, c) * a).sum() / 6, np.ptp(mesh.vertices, axis=0)


def loaded(path, data):
    """The mesh in a file of that content."""
    path.write_bytes(data.encode() if isinstance(data, str) else data)
    return load_mesh(path)


def check_box(mesh, extents=(2, 1, 3)):
    area, volume, found = measures(mesh)
    x, y, z = extents
    assert len(mesh.faces) == 12
    np.testing.assert_allclose([area, volume, *found], [2 * (x * y + y * z + x * z), x * y * z, *extents], rtol=1e-4)


def refusal(path, data):
    """The one problem with a file of that content."""
    with pytest.raises(DataError) as caught:
        loaded(path, data)
    (problem,) = caught.value.problems
    assert problem.where == str(path) and problem.action
    return problem.found
