"""Results as they are printed."""

import numpy as np

from jaxret.index.hits import hits_of
from jaxret.search.exact import Found


def test_a_direction_just_short_of_the_front_is_the_front():
    poses = np.array([[[359.96, 10.0], [359.94, 10.0], [-0.0, 10.0]]])
    found = Found(np.array([[0, 1, 2]]), np.ones((1, 3)), None, np.ones(1), poses)
    hits = hits_of(found, 0, [('a', ''), ('b', ''), ('c', '')], None)
    assert [hit.azimuth for hit in hits] == [0.0, 359.9, 0.0]
