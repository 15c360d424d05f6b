"""What the pictures of the embedding space show, and that they can be drawn from odd input."""

import numpy as np
import pytest

from jaxret.metrics.cross_modal import cross_modal_metrics
from jaxret.reports.embedding_plots import draw_embedding, draw_precision_recall, lay_out

MODALITIES = ('image', 'mesh', 'point')


def make_case(objects=30, classes=3, noise=0.1, seed=0):
    rng = np.random.default_rng(seed)
    labels = np.arange(objects) % classes
    centres = rng.standard_normal((classes, 16))
    return {m: centres[labels] + noise * rng.standard_normal((objects, 16)) for m in MODALITIES}, labels


def picture(figure):
    figure.canvas.draw()
    return np.asarray(figure.canvas.buffer_rgba())[..., :3]


def test_classes_that_lie_apart_lie_apart_in_the_plane():
    embeddings, labels = make_case()
    plane = lay_out(embeddings, labels, iterations=300)
    assert plane.position.shape == (90, 2)
    assert plane.label.tolist() == labels.tolist() * 3
    assert plane.group.tolist() == [0] * 30 + [1] * 30 + [2] * 30
    distance = np.linalg.norm(plane.position[:, None] - plane.position[None, :], axis=-1)
    np.fill_diagonal(distance, np.inf)
    assert (plane.label[distance.argmin(axis=1)] == plane.label).all()
    again = lay_out(embeddings, labels, iterations=300)
    np.testing.assert_array_equal(again.position, plane.position)


def test_too_many_points_are_drawn_by_object():
    embeddings, labels = make_case(objects=100)
    plane = lay_out(embeddings, labels, max_points=61, iterations=250)
    assert len(plane.label) == 60
    assert (plane.label.reshape(3, 20) == plane.label[None, :20]).all()
    other = lay_out(embeddings, labels, max_points=61, seed=1, iterations=250)
    assert other.label.tolist() != plane.label.tolist()


@pytest.mark.parametrize(
    'embeddings',
    [
        {'image': np.ones((1, 4))},
        {m: np.ones((1, 4)) for m in MODALITIES},
        {m: np.ones((20, 4)) for m in MODALITIES},
        {m: np.zeros((20, 4)) for m in MODALITIES},
    ],
)
def test_nothing_to_lay_out(embeddings):
    labels = np.zeros(len(next(iter(embeddings.values()))), int)
    assert draw_embedding(embeddings, labels, ['chair']) is None


def test_one_dimension_and_few_points_can_be_laid_out():
    x = np.arange(-3.0, 3.0)[:, None]
    assert np.isfinite(lay_out({'image': x}, np.zeros(6, int), iterations=250).position).all()


def test_both_panels_of_the_embedding():
    embeddings, labels = make_case()
    figure = draw_embedding(embeddings, labels, ['chair', '$desk', 'sofa_bed'], iterations=250)
    by_class, by_modality = figure.axes
    assert [axes.get_title(loc='left') for axes in figure.axes] == ['t-SNE, by class', 't-SNE, by modality']
    assert [text.get_text() for text in by_class.texts] == ['chair', '$desk', 'sofa_bed']
    assert [text.get_text() for text in by_modality.get_legend().get_texts()] == list(MODALITIES)
    for axes in figure.axes:
        assert sum(len(points.get_offsets()) for points in axes.collections) == 90
    assert picture(figure).std() > 10


def test_many_classes_have_colours_of_their_own():
    embeddings, labels = make_case(objects=70, classes=70)
    figure = draw_embedding(embeddings, labels, [f'class {i}' for i in range(70)], iterations=250)
    colours = {tuple(points.get_facecolor()[0]) for points in figure.axes[0].collections}
    assert len(colours) == 70
    assert [text.get_text() for text in figure.axes[0].texts] == [str(i) for i in range(1, 71)]
    (key,) = figure.legends
    assert [text.get_text() for text in key.get_texts()] == [f'{i + 1}  class {i}' for i in range(70)]
    picture(figure)


def test_precision_recall_shows_every_direction():
    embeddings, labels = make_case(noise=1.0)
    metrics = cross_modal_metrics(embeddings, labels, ['chair', 'desk', 'sofa'])
    figure = draw_precision_recall(metrics)
    assert [axes.get_title(loc='left') for axes in figure.axes] == [f'{m} queries' for m in MODALITIES]
    for query, axes in zip(MODALITIES, figure.axes, strict=True):
        assert len(axes.lines) == 4
        shown = {line.get_label().split(',')[0]: line.get_ydata() for line in axes.lines}
        for gallery in MODALITIES:
            assert list(shown[f'{gallery} gallery']) == metrics['precision_recall'][f'map_{query}_{gallery}']
    assert picture(figure).std() > 5


def test_precision_recall_without_curves():
    assert draw_precision_recall({}) is None
    one = {name: np.ones((1, 3)) for name in ('left_eye', 'right')}
    figure = draw_precision_recall(cross_modal_metrics(one, [0], ['chair']))
    assert [len(axes.lines) for axes in figure.axes] == [2, 2]  # nothing without the query itself
