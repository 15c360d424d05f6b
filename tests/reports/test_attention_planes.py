"""The gallery around a photo in the plane."""

import numpy as np

from jaxret.reports.attention_planes import QueryPlane, draw_category_planes

NAMES = ('bed', 'a $sofa$', 'chair')


def make_plane(title, *, shapes=45, true_shape=4, seed=0):
    rng = np.random.default_rng(seed)
    category = np.arange(shapes) % 3
    centres = 5 * rng.standard_normal((3, 8))
    return QueryPlane(
        title, centres[true_shape % 3], centres[category] + 0.1 * rng.standard_normal((shapes, 8)), category, true_shape
    )


def test_every_shape_once_in_the_colour_of_its_category_and_the_photo_beside_its_own():
    figure = draw_category_planes([make_plane('x$y$'), make_plane('b', true_shape=-1, seed=1)], NAMES, iterations=300)
    first, second = figure.axes
    assert first.get_title(loc='left') == 'x$y$'
    groups = [np.asarray(points.get_offsets()) for points in first.collections]
    assert [len(points) for points in groups] == [15, 15, 15]
    colours = [points.get_facecolor()[0].tolist() for points in first.collections]
    assert len({tuple(colour) for colour in colours}) == 3
    ring, star = (line.get_xydata()[0] for line in first.get_lines())
    np.testing.assert_array_equal(ring, groups[1][1])  # shape 4, the second of category 1
    nearest = min(range(3), key=lambda c: np.linalg.norm(groups[c] - star, axis=1).min())
    assert nearest == 1
    drawn = [line for line in second.get_lines() if len(line.get_xydata())]
    assert [line.get_marker() for line in drawn] == ['*']  # no true shape in this gallery
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == [*NAMES, 'photo', 'true shape']
    figure.canvas.draw()


def test_nothing_to_draw():
    assert draw_category_planes([], NAMES) is None
    assert draw_category_planes([make_plane('few', shapes=3, true_shape=0)], NAMES) is None
