"""Center losses and the shared-head cross-entropy against loop-written oracles, forward and backward."""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import references
import references_center as oracles

from jaxret.errors import ConfigError
from jaxret.losses import center
from jaxret.losses.classification import cross_modal_cross_entropy

LABELS = np.array([4, 0, 2, 4, 2], np.int32)  # of six classes, three of them absent and two met twice
KEPT = np.array([True, False, True, True, False])
ALL = np.ones(5, bool)
MASKS = (ALL, KEPT, ~ALL)
CENTER_ORACLES = {'mean': oracles.published_center_loss, 'half_sum': oracles.printed_center_loss}


def _normal(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def _assert_equals_oracle(actual, oracle, *arrays):
    """actual: the value and its gradient to every array; the same as of oracle(*arrays)."""
    exact = [array.astype(np.float64) for array in arrays]
    gradients = []
    for k, array in enumerate(exact):

        def along(x, k=k):
            return oracle(*exact[:k], x, *exact[k + 1 :])

        gradients.append(references.numeric_gradient(along, array).astype(np.float32))
    expected = (np.float32(oracle(*exact)), tuple(gradients))
    chex.assert_trees_all_equal_shapes_and_dtypes(actual, expected)
    chex.assert_trees_all_close(actual, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize('reduction', center.REDUCTIONS)
def test_center_loss(reduction):
    features, centers = _normal(3, 5, 7), _normal(6, 7, seed=1)
    loss = functools.partial(center.cross_modal_center_loss, reduction=reduction)
    run = jax.jit(jax.value_and_grad(lambda f, c, v: loss(f, LABELS, c, valid=v), argnums=(0, 1)))
    for valid in MASKS:
        value, gradients = run(features, centers, valid)
        oracle = functools.partial(CENTER_ORACLES[reduction], labels=LABELS, valid=valid)
        _assert_equals_oracle((value, gradients), lambda f, c, o=oracle: o(f, centers=c), features, centers)
        assert not gradients[0][:, ~valid].any()
        present = np.isin(np.arange(6), LABELS[valid])  # absent classes stay where they are
        chex.assert_trees_all_equal(np.any(gradients[1] != 0, axis=1), present)
    np.testing.assert_allclose(loss(features, LABELS, centers), run(features, centers, ALL)[0], rtol=1e-6)


def test_reductions_differ_by_half_the_count_of_features():
    features, centers = _normal(3, 5, 7), _normal(6, 7, seed=1)
    mean = center.cross_modal_center_loss(features, LABELS, centers)
    printed = center.cross_modal_center_loss(features, LABELS, centers, reduction='half_sum')
    np.testing.assert_allclose(printed, mean * 15 / 2, rtol=1e-6)
    twice = np.concatenate([features, features], axis=1)
    again = center.cross_modal_center_loss(twice, np.tile(LABELS, 2), centers)
    np.testing.assert_allclose(again, mean, rtol=1e-6)  # the default does not grow with the batch


def test_modalities_add_up():
    features, centers = _normal(3, 5, 7), _normal(6, 7, seed=1)
    single = [center.cross_modal_center_loss(f[None], LABELS, centers, valid=KEPT) for f in features]
    across = center.cross_modal_center_loss(list(features), LABELS, centers, valid=KEPT)
    np.testing.assert_allclose(np.mean(single), across, rtol=1e-6)


def test_clamp_of_the_mean():
    features = np.zeros((1, 3, 2), np.float32)
    features[0, 1], features[0, 2] = 3e6, 1.0  # squared distances 0, 1.8e13 and 2
    labels, centers = np.zeros(3, int), np.zeros((1, 2), np.float32)

    def call(reduction):
        loss = functools.partial(center.cross_modal_center_loss, reduction=reduction)
        return jax.jit(jax.value_and_grad(loss))(features, labels, centers)

    value, gradient = call('mean')
    np.testing.assert_allclose(value, (1e12 + 2) / 3, rtol=1e-6)
    chex.assert_trees_all_close(gradient[0], jnp.array([[0.0, 0.0], [0.0, 0.0], [2 / 3, 2 / 3]]), rtol=1e-6)
    value, gradient = call('half_sum')
    np.testing.assert_allclose(value, 0.9e13 + 1, rtol=1e-6)
    chex.assert_trees_all_close(gradient, features, rtol=1e-6)
    one = np.ones((1, 1, 2), np.float32)
    on_center = center.cross_modal_center_loss(one, np.zeros(1, int), one[0])
    np.testing.assert_allclose(on_center, 1e-12, rtol=1e-6)


@pytest.mark.parametrize(
    ('noise', 'squared', 'reduction'),
    [('center', False, 'half_sum'), ('center', True, 'half_sum'), ('feature', False, 'mean')],
)
def test_noisy_center_loss(noise, squared, reduction):
    features, centers, key = _normal(3, 5, 7), _normal(6, 7, seed=1), jax.random.key(5)
    drawn = center.gaussian_noise(key, {'center': (6, 7), 'feature': (3, 5, 7)}[noise], sigma=0.7, mean=-0.4)
    options = {'clean_weight': 0.3, 'noisy_weight': 1.7, 'squared': squared, 'reduction': reduction}
    loss = functools.partial(center.noisy_center_loss, key=key, sigma=0.7, mean=-0.4, noise=noise, **options)
    run = jax.jit(jax.value_and_grad(lambda f, c, v: loss(f, LABELS, c, valid=v), argnums=(0, 1)))
    for valid in MASKS:
        value, gradients = run(features, centers, valid)
        oracle = functools.partial(
            oracles.noisy_center_loss, labels=LABELS, noise=np.asarray(drawn, np.float64), valid=valid, **options
        )
        _assert_equals_oracle((value, gradients), lambda f, c, o=oracle: o(f, centers=c), features, centers)
        assert not gradients[0][:, ~valid].any()
        present = np.isin(np.arange(6), LABELS[valid])
        chex.assert_trees_all_equal(np.any(gradients[1] != 0, axis=1), present)


@pytest.mark.parametrize('reduction', center.REDUCTIONS)
def test_squared_without_noise_is_the_center_loss(reduction):
    features, centers = _normal(3, 5, 7), _normal(6, 7, seed=1)
    features[0, 0] = centers[4]
    plain = center.cross_modal_center_loss(features, LABELS, centers, reduction=reduction)
    call = functools.partial(
        center.noisy_center_loss, features, LABELS, centers, key=jax.random.key(0), squared=True, reduction=reduction
    )
    chex.assert_trees_all_close(call(sigma=9.0, noisy_weight=0.0), plain, rtol=1e-6)
    chex.assert_trees_all_close(call(sigma=0.0, clean_weight=0.25, noisy_weight=0.75), plain, rtol=1e-6)


def test_feature_on_its_center():
    """The norm has a kink there; the gradient must be 0 and not NaN, for the clean and the noisy term."""
    centers = _normal(6, 7, seed=1)
    features = jnp.asarray(np.stack([centers[LABELS]] * 3))

    def loss(features, centers, noisy_weight, mean):
        return center.noisy_center_loss(
            features, LABELS, centers, key=jax.random.key(0), sigma=0.0, mean=mean, noisy_weight=noisy_weight
        )

    run = jax.jit(jax.value_and_grad(loss, argnums=(0, 1)))
    value, gradients = run(features, jnp.asarray(centers), 1.0, 0.0)
    assert value == 0
    chex.assert_trees_all_equal(gradients, (jnp.zeros((3, 5, 7)), jnp.zeros((6, 7))))
    value, gradients = run(features, jnp.asarray(centers), 2.0, 3.0)  # only the noisy center is elsewhere
    np.testing.assert_allclose(value, 2 * 3 * np.sqrt(7), rtol=1e-5)
    np.testing.assert_allclose(gradients[0], np.full((3, 5, 7), -2 / np.sqrt(7) / 15), rtol=1e-4)


def test_noise_has_its_mean_and_spread():
    key = jax.random.key(3)
    drawn = np.asarray(center.gaussian_noise(key, (100, 400), sigma=0.5, mean=-2.0))
    np.testing.assert_allclose(drawn.mean(), -2.0, atol=4 * 0.5 / 200)
    np.testing.assert_allclose(drawn.std(), 0.5, rtol=0.02)
    for axis, count in ((0, 400), (1, 100)):  # rows and columns are independent draws
        np.testing.assert_allclose(drawn.mean(axis=axis).std(), 0.5 / np.sqrt(40_000 / count), rtol=0.3)
    chex.assert_trees_all_equal(drawn, np.asarray(center.gaussian_noise(key, (100, 400), sigma=0.5, mean=-2.0)))


def test_noise_is_a_function_of_the_key():
    features, centers = _normal(3, 5, 7), _normal(6, 7, seed=1)
    run = jax.jit(lambda key: center.noisy_center_loss(features, LABELS, centers, key=key, sigma=1.0))
    values = [float(run(jax.random.key(seed))) for seed in (0, 0, 1)]
    assert values[0] == values[1] != values[2]


def test_noise_a_center_is_shared_by_the_features_of_a_class():
    """With features at 0 the distances are those of the noisy centers alone."""
    features, centers = np.zeros((2, 5, 7), np.float32), np.zeros((6, 7), np.float32)
    each = {}
    for noise in center.NOISE_DRAWS:
        call = functools.partial(center.noisy_center_loss, key=jax.random.key(2), sigma=1.0, noise=noise)
        run = jax.jit(lambda valid, call=call: call(features, LABELS, centers, valid=valid))
        each[noise] = [float(run(np.arange(5) == b)) for b in range(5)]
    assert each['center'][0] == each['center'][3]
    assert each['center'][2] == each['center'][4]
    assert len(set(each['center'])) == 3
    assert len(set(each['feature'])) == 5


def test_what_an_invalid_object_holds_does_not_matter():
    features, centers = _normal(3, 5, 7), _normal(6, 7, seed=1)
    padded, labels = features.copy(), LABELS.copy()
    padded[:, 1], padded[:, 4], labels[~KEPT] = np.nan, np.inf, [-1, 99]
    for loss in (
        center.cross_modal_center_loss,
        functools.partial(center.noisy_center_loss, key=jax.random.key(0), sigma=1.0),
        lambda f, y, c, valid: cross_modal_cross_entropy(f, y, valid=valid) + 0.0 * c.sum(),
    ):
        run = jax.jit(jax.value_and_grad(functools.partial(loss, valid=KEPT), argnums=(0, 2)))
        clean = run(features, LABELS, centers)
        chex.assert_tree_all_finite(clean)
        chex.assert_trees_all_equal(run(padded, labels, centers), clean)


def test_label_of_no_class_is_not_taken_for_another():
    features, centers = _normal(3, 5, 6), _normal(6, 6, seed=1)
    run = jax.jit(
        lambda labels: (
            center.cross_modal_center_loss(features, labels, centers),
            center.noisy_center_loss(features, labels, centers, key=jax.random.key(0), sigma=1.0),
            cross_modal_cross_entropy(features, labels),
        )
    )
    chex.assert_tree_all_finite(run(LABELS))
    for label in (-1, 6):
        labels = LABELS.copy()
        labels[2] = label
        assert np.isnan(run(labels)).all()


def test_one_object_of_one_class():
    features, centers, labels = _normal(2, 1, 3), _normal(1, 3, seed=1), np.zeros(1, int)
    run = jax.jit(jax.value_and_grad(center.cross_modal_center_loss, argnums=(0, 2)))
    oracle = functools.partial(oracles.published_center_loss, labels=labels)
    _assert_equals_oracle(run(features, labels, centers), lambda f, c: oracle(f, centers=c), features, centers)


def test_reduced_precision_features_are_summed_in_float32():
    features, centers = _normal(3, 5, 7), _normal(6, 7, seed=1)
    half = jnp.asarray(features, jnp.bfloat16)
    noisy = functools.partial(center.noisy_center_loss, key=jax.random.key(0), sigma=1.0)
    for loss in (center.cross_modal_center_loss, noisy):
        chex.assert_trees_all_equal(loss(half, LABELS, centers), loss(half.astype(jnp.float32), LABELS, centers))


def test_cross_entropy():
    logits = 3 * _normal(3, 5, 6)
    logits[0, 0] = 2.0  # a tie of all classes
    run = jax.jit(jax.value_and_grad(lambda x, valid: cross_modal_cross_entropy(x, LABELS, valid=valid)))
    for valid in MASKS:
        value, gradient = run(logits, valid)
        oracle = functools.partial(oracles.cross_entropy, labels=LABELS, valid=valid)
        _assert_equals_oracle((value, (gradient,)), oracle, logits)
        assert not gradient[:, ~valid].any()
        assert valid.any() or value == 0


def test_cross_entropy_of_extreme_logits():
    logits = jnp.zeros((2, 2, 3)).at[0, 0, 1].set(1e30).at[1, 1, 0].set(-1e4)
    value, gradient = jax.jit(jax.value_and_grad(cross_modal_cross_entropy))(logits, np.array([1, 0]))
    np.testing.assert_allclose(value, (0 + 1e4 + np.log(2) + 2 * np.log(3)) / 2, rtol=1e-6)
    chex.assert_tree_all_finite(gradient)
    parts = sum(cross_modal_cross_entropy(one[None], np.array([1, 0])) for one in logits)
    np.testing.assert_allclose(value, parts, rtol=1e-6)  # a plain sum over modalities


def test_wrong_arguments_are_refused():
    features, centers = _normal(3, 5, 7), _normal(6, 7)
    noisy = functools.partial(center.noisy_center_loss, features, LABELS, centers, key=jax.random.key(0))
    for call, pattern in (
        (lambda: center.cross_modal_center_loss(features, LABELS, centers, reduction='sum'), 'half_sum'),
        (lambda: noisy(sigma=1.0, reduction='sum'), 'half_sum'),
        (lambda: noisy(sigma=1.0, noise='batch'), 'feature'),
        (lambda: noisy(sigma=-1.0), 'sigma is -1.0'),
        (lambda: noisy(sigma=1.0, noisy_weight=float('nan')), 'noisy_weight'),
    ):
        with pytest.raises(ConfigError, match=pattern):
            call()
    for wrong in (
        (features, LABELS[:4], centers),
        (features, LABELS.astype(np.float32), centers),
        (features, LABELS, centers[:, :6]),
        (features.astype(int), LABELS, centers),
        (list(features) + [features[0, :4]], LABELS, centers),
    ):
        with pytest.raises(AssertionError):
            center.cross_modal_center_loss(*wrong)
    with pytest.raises(AssertionError):
        center.cross_modal_center_loss(features, LABELS, centers, valid=np.ones(5, np.float32))
