"""CORAL, JGSA and MEDA against slow oracles, on shifted domains, and what must not change their results."""

import numpy as np
import pytest
import references_alignment as oracle
from scipy import linalg

from jaxret.baselines.domain_alignment import coral, jgsa, nearest_labels
from jaxret.baselines.meda import adaptive_weight, domain_distance, geodesic_flow, laplacian, meda
from jaxret.errors import DataError

METHODS = {'coral': coral, 'jgsa': jgsa, 'meda': meda}


def gaussians(seed, *, items=60, classes=4, size=12, shift=1.0, noise=0.7):
    """A labelled source, and the same classes seen through a linear change and an offset, with held-out items."""
    rng = np.random.default_rng(seed)
    centres = rng.standard_normal((classes, size))
    change = linalg.expm(0.45 * shift * (lambda a: a - a.T)(rng.standard_normal((size, size))) / np.sqrt(size))
    change = change * np.exp(0.8 * shift * rng.standard_normal(size))
    offset = 2 * shift * rng.standard_normal(size)

    def draw(count):
        labels = np.arange(count) % classes
        return centres[labels] + noise * rng.standard_normal((count, size)), labels

    (x, labels), (y, hidden), (new_x, new_labels), (new_y, new_hidden) = (draw(n) for n in (items, items, 40, 40))
    return x, labels, y @ change + offset, hidden, new_x, new_labels, new_y @ change + offset, new_hidden


def accuracy(queries, labels, gallery, hidden):
    """How often the nearest source item of a target item has its class."""
    return np.mean(nearest_labels(queries, labels, gallery) == hidden)


@pytest.mark.parametrize('name', METHODS)
def test_shifted_domains_come_together(name):
    gains, after = [], []
    for seed in range(5):
        x, labels, y, hidden, new_x, new_labels, new_y, new_hidden = gaussians(seed)
        fitted = METHODS[name](x, labels, y)
        after.append(accuracy(fitted.source(x), labels, fitted.target(y), hidden))
        gains.append(after[-1] - accuracy(x, labels, y, hidden))
        held_out = accuracy(fitted.source(new_x), new_labels, fitted.target(new_y), new_hidden)
        assert held_out > accuracy(new_x, new_labels, new_y, new_hidden)
    assert min(gains) > 0.1 and np.mean(after) > 0.6, (gains, after)


@pytest.mark.parametrize('name', ['jgsa', 'meda'])
def test_classes_help_beyond_standardising(name):
    better = []
    for seed in range(5):
        x, labels, y, hidden = gaussians(seed, items=120)[:4]
        fitted = METHODS[name](x, labels, y)
        plain = accuracy(oracle.standard(x), labels, oracle.standard(y), hidden)
        better.append(accuracy(fitted.source(x), labels, fitted.target(y), hidden) - plain)
    assert np.mean(better) > 0.02, better


@pytest.mark.parametrize('name', METHODS)
def test_offset_and_scale_of_a_domains_features_do_not_matter(name):
    x, labels, y = gaussians(7)[:3]
    rng = np.random.default_rng(8)
    scale, offset = np.exp(rng.standard_normal((2, 12))), rng.standard_normal((2, 12))
    before = METHODS[name](x, labels, y)
    after = METHODS[name](x * scale[0] + offset[0], labels, y * scale[1] + offset[1])
    for one, two in (
        (before.source(x), after.source(x * scale[0] + offset[0])),
        (before.target(y), after.target(y * scale[1] + offset[1])),
    ):
        np.testing.assert_allclose(one @ one.T, two @ two.T, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize('name', METHODS)
def test_order_of_items_and_names_of_classes_do_not_matter(name):
    x, labels, y = gaussians(9)[:3]
    rng = np.random.default_rng(10)
    first, second = rng.permutation(len(x)), rng.permutation(len(y))
    before = METHODS[name](x, labels, y)
    after = METHODS[name](x[first], np.array([5, 2, 9, 7])[labels[first]], y[second])
    for one, two in ((before.source(x), after.source(x)), (before.target(y), after.target(y))):
        np.testing.assert_allclose(one @ one.T, two @ two.T, rtol=1e-6, atol=1e-7)


def test_coral_gives_the_source_the_covariance_of_the_target():
    x, labels, y = gaussians(11, items=400)[:3]
    fitted = coral(x, labels, y, regularization=1e-9)
    mapped, target = fitted.source(x), fitted.target(y)
    np.testing.assert_allclose(np.cov(mapped, rowvar=False), np.cov(target, rowvar=False), atol=1e-6)
    np.testing.assert_allclose(mapped.mean(axis=0), 0, atol=1e-9)
    np.testing.assert_allclose(target, oracle.standard(y), rtol=1e-9)
    regular = coral(x, labels, y)
    covariances = [np.cov(oracle.standard(part), rowvar=False) + np.eye(12) for part in (x, y)]
    change = linalg.inv(linalg.sqrtm(covariances[0])) @ linalg.sqrtm(covariances[1])
    np.testing.assert_allclose(regular.source(x), oracle.standard(x) @ change, rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize('seed', [12, 13])
def test_jgsa_equals_the_oracle(seed):
    x, labels, y = gaussians(seed, items=25, size=7)[:3]
    labels = labels.copy()
    labels[labels == 3] = 2  # unequal classes
    y = y[:21]
    options = {'divergence': 0.7, 'target_variance': 1.3, 'discrimination': 0.2}
    fitted = jgsa(x, labels, y, dimension=5, iterations=3, **options)
    a, b, source, target = oracle.jgsa(x, labels, y, dimension=5, iterations=3, **options)
    signs = np.sign(np.sum(fitted.source(x) * source, axis=0))
    np.testing.assert_allclose(fitted.source(x) * signs, source, rtol=1e-6, atol=1e-8)
    np.testing.assert_allclose(fitted.target(y) * signs, target, rtol=1e-6, atol=1e-8)
    whole = jgsa(x, labels, y, dimension=50, iterations=1)
    assert whole.source(x).shape == (25, 14)


def test_flow_kernel_equals_its_integral():
    rng = np.random.default_rng(14)
    x, y = rng.standard_normal((30, 9)), rng.standard_normal((25, 9)) @ rng.standard_normal((9, 9))
    flow = geodesic_flow(x, y, 4)
    assert flow.shape == (9, 8)
    np.testing.assert_allclose(flow @ flow.T, oracle.flow_kernel(x, y, 4), atol=1e-6)
    same = geodesic_flow(x, x + 3, 3)  # one subspace: the kernel is the projection on it
    basis = np.linalg.svd(x - x.mean(axis=0))[2][:3]
    np.testing.assert_allclose(same @ same.T, basis.T @ basis, atol=1e-6)
    assert geodesic_flow(x[:3], y, 20).shape == (9, 4)  # three items span a plane


def test_laplacian_equals_the_oracle():
    rng = np.random.default_rng(15)
    z = oracle.unit(rng.standard_normal((23, 3)))
    for neighbors in (1, 4, 40):
        found = laplacian(z, neighbors)
        np.testing.assert_allclose(found, oracle.laplacian(z, min(neighbors, 22)), atol=1e-12)
        assert linalg.eigvalsh(found).min() > -1e-9


@pytest.mark.parametrize('classes', [2, 4])
def test_meda_equals_the_oracle(classes):
    x, labels, y = gaussians(16, items=30, classes=classes, size=10)[:3]
    y = y[:27]
    fitted = meda(x, labels, y, dimension=4, iterations=3, neighbors=5, alignment=3.0, smoothness=0.5, shrinkage=0.2)
    flow = geodesic_flow(oracle.standard(x), oracle.standard(y), 4)
    z, t = oracle.unit(oracle.standard(x) @ flow), oracle.unit(oracle.standard(y) @ flow)
    scores = oracle.meda_scores(
        z, labels, t, classes, adaptive_weight, iterations=3, neighbors=5, alignment=3.0, smoothness=0.5, shrinkage=0.2
    )
    np.testing.assert_allclose(fitted.source(x), scores[:30], rtol=1e-6, atol=1e-8)
    np.testing.assert_allclose(fitted.target(y), scores[30:], rtol=1e-6, atol=1e-8)


def test_a_class_without_target_items_and_a_collapsed_target():
    x, labels, y = gaussians(17)[:3]
    for method in METHODS.values():
        fitted = method(x, labels, y[:2])  # two target items of four classes
        assert np.isfinite(fitted.source(x)).all() and np.isfinite(fitted.target(y)).all()
        fitted = method(x, labels, np.ones_like(y))
        assert np.isfinite(fitted.source(x)).all() and np.isfinite(fitted.target(np.ones_like(y))).all()
        fitted = method(x, np.zeros(len(x), int), y)
        assert np.isfinite(fitted.source(x)).all()


def test_scores_have_a_column_for_every_class_id():
    x, labels, y = gaussians(18)[:3]
    scores = meda(x, np.array([1, 3, 4, 6])[labels], y).target(y)
    assert scores.shape == (60, 7)
    assert np.flatnonzero(np.abs(scores).max(axis=0) == 0).tolist() == [0, 2, 5]


def test_distance_of_domains():
    rng = np.random.default_rng(19)
    x = rng.standard_normal((300, 3))
    assert domain_distance(x, x + 9) == 2
    assert domain_distance(x, x) == 0
    assert domain_distance(x, rng.standard_normal((30, 3))) < 0.5
    labels = np.arange(300) % 2
    # The classes lie apart but the domains as a whole do not: all weight on the classes.
    one, two = x + 9 * labels[:, None], x + 9 * (1 - labels)[:, None]
    assert adaptive_weight(one, labels, two, labels) > 0.9
    assert adaptive_weight(one, labels, one + 50, labels) == pytest.approx(0.5)


@pytest.mark.parametrize('name', METHODS)
def test_more_items_are_sampled_by_the_seed(name):
    x, labels, y = gaussians(20)[:3]
    few = [METHODS[name](x, labels, y, max_items=30, seed=seed).source(x) for seed in (0, 0, 1)]
    np.testing.assert_array_equal(few[0], few[1])
    assert np.abs(few[0] @ few[0].T - few[2] @ few[2].T).max() > 1e-3


@pytest.mark.parametrize(
    ('change', 'found'),
    [
        ({'source': np.zeros((1, 4)), 'source_labels': [0]}, 'source features'),
        ({'target': np.zeros((5, 3))}, 'lengths 4 and 3'),
        ({'target': np.full((5, 4), np.nan)}, 'target features'),
        ({'source_labels': [0, 1]}, 'source labels'),
        ({'source': np.zeros((5, 3000)), 'target': np.zeros((5, 3000))}, 'length 3000'),
    ],
)
def test_bad_input(change, found):
    good = {'source': np.eye(5, 4), 'source_labels': np.arange(5), 'target': np.eye(5, 4)}
    for method in METHODS.values():
        with pytest.raises(DataError, match=found):
            method(**good | change)
