"""Photos compared with known photos, where these teach how and where they do not."""

import numpy as np
from photo_to_shape.built_in import photo_vectors

from jaxret.search.parts import Parts

PARTS = Parts({'middle': (0, 3), 'class': (3, 5)}, {}, {'middle': 1.0, 'class': 1.0})


def vectors(owner, *, same):
    rng = np.random.default_rng(0)
    views, photos, references = (rng.standard_normal(shape).astype(np.float32) for shape in ((3, 4, 5), (2, 5), (3, 5)))
    if same:
        references[1] = references[0]
    return photo_vectors(PARTS, views, photos, references, np.array(owner))


def test_references_that_teach_nothing_are_compared_as_they_are():
    """One photo of each shape, or the same one twice."""
    for found in (vectors([0, 1, 2], same=True), vectors([0, 0, 1], same=True)):
        assert [one.shape for one in found] == [(2, 5), (3, 5)]
        np.testing.assert_allclose(np.linalg.norm(np.concatenate(found), axis=1), 1, rtol=1e-5)
        np.testing.assert_array_equal(found[1][0], found[1][1])


def test_two_photos_of_a_shape_teach():
    plain, taught = vectors([0, 1, 2], same=False), vectors([0, 0, 1], same=False)
    assert not any(np.array_equal(*pair) for pair in zip(plain, taught, strict=True))
