"""Colour spaces, colour transfer and HSV jitter against published values and pixel-by-pixel oracles."""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import references

from jaxret.augmentation import color, color_spaces
from jaxret.errors import ConfigError

spaces = pytest.mark.parametrize('space', color.SPACES)
ratios = pytest.mark.parametrize('ratio', color.RATIOS)


def _images(count=3, height=4, width=5, seed=0):
    rng = np.random.default_rng(seed)
    base = rng.uniform(0.1, 0.9, size=(count, 1, 1, 3))
    return np.clip(base + rng.normal(scale=0.15, size=(count, height, width, 3)), 0, 1).astype(np.float32)


def _transfer(images, permutation, *, space='lab', ratio='style_over_content'):
    """Image i in the colours of image permutation[i]."""
    content = color.color_statistics(images, space=space)
    style = jax.tree.map(lambda rows: rows[permutation], content)
    return color.transfer_color(images, content, style, space=space, ratio=ratio)


def _each(function, pixels):
    return np.array([function(pixel) for pixel in pixels.reshape(-1, 3)]).reshape(pixels.shape).astype(np.float32)


def test_lab_of_published_colours():
    rgb = np.array([[1, 0, 0], [0, 1, 0], [0, 0, 1], [1, 1, 1], [0, 0, 0], [1, 1, 0], [0.5, 0.5, 0.5]], np.float32)
    published = np.array(
        [
            [53.24, 80.09, 67.20],
            [87.73, -86.18, 83.18],
            [32.30, 79.19, -107.86],
            [100.0, 0.0, 0.0],
            [0.0, 0.0, 0.0],
            [97.14, -21.55, 94.48],
            [53.39, 0.0, 0.0],
        ],
        np.float32,
    )
    chex.assert_trees_all_close(jax.jit(color_spaces.rgb_to_lab)(rgb), published, rtol=0, atol=0.011)


@pytest.mark.parametrize('name', color.SPACES)
def test_spaces_agree_with_the_oracles_and_invert(name):
    forward, backward, oracle, inverse = {
        'lab': (color_spaces.rgb_to_lab, color_spaces.lab_to_rgb, references.rgb_to_lab, references.lab_to_rgb),
        'ruderman': (
            color_spaces.rgb_to_ruderman,
            color_spaces.ruderman_to_rgb,
            references.rgb_to_ruderman,
            references.ruderman_to_rgb,
        ),
    }[name]
    pixels = _images(2, 5, 7)
    pixels[0, 0, :3] = [[0, 0, 0], [0.01, 0.002, 0.03], [0.5, 0.5, 0.5]]  # black, the linear toe, a grey
    chex.assert_trees_all_close(jax.jit(forward)(pixels), _each(oracle, pixels), rtol=1e-4, atol=1e-4)
    # The floor of Ruderman's logarithm cannot be undone, so the dark pixels stay out there.
    kept = pixels if name == 'lab' else pixels[1]
    chex.assert_trees_all_close(jax.jit(lambda x: backward(forward(x)))(kept), kept, atol=1e-4)
    points = np.random.default_rng(1).normal(scale=0.2, size=(6, 3))
    if name == 'lab':
        points = 50 * points + np.array([[50.0, 0.0, 0.0]])
    points = points.astype(np.float32)
    chex.assert_trees_all_close(jax.jit(backward)(points), _each(inverse, points), rtol=1e-3, atol=1e-4)


def test_hsv_of_known_colours_and_back():
    rgb = np.array(
        [[1, 0, 0], [1, 1, 0], [0, 1, 0], [0, 1, 1], [0, 0, 1], [1, 0, 1], [0, 0, 0], [0.5] * 3, [0.75, 0.25, 0.25]],
        np.float32,
    )
    hue = np.array([0, 1 / 6, 1 / 3, 1 / 2, 2 / 3, 5 / 6, 0, 0, 0])
    saturation = np.array([1, 1, 1, 1, 1, 1, 0, 0, 2 / 3])
    value = np.array([1, 1, 1, 1, 1, 1, 0, 0.5, 0.75])
    expected = np.stack([hue, saturation, value], axis=1).astype(np.float32)
    chex.assert_trees_all_close(jax.jit(color_spaces.rgb_to_hsv)(rgb), expected, atol=1e-6)
    pixels = np.concatenate([rgb, _images().reshape(-1, 3)])
    back = jax.jit(lambda x: color_spaces.hsv_to_rgb(color_spaces.rgb_to_hsv(x)))(pixels)
    chex.assert_trees_all_close(back, pixels, atol=1e-5)


@spaces
def test_statistics(space):
    images = _images(3, 3, 7)
    images[1] = 0.4  # one colour: the deviation is the floor
    forward = references.rgb_to_lab if space == 'lab' else references.rgb_to_ruderman
    expected = [references.color_statistics(image, forward) for image in images]
    found = jax.jit(functools.partial(color.color_statistics, space=space))(images)
    chex.assert_shape([found.mean, found.std], (3, 3))
    for position, array in enumerate(found):
        wanted = np.array([pair[position] for pair in expected], np.float32)
        chex.assert_trees_all_close(array, wanted, rtol=1e-4, atol=1e-4)
    chex.assert_trees_all_close(found.std[1], jnp.full(3, 1e-3), rtol=1e-6)


@ratios
@spaces
def test_transfer(space, ratio):
    images, permutation = _images(4, 3, 5, seed=2), np.array([2, 1, 3, 0])
    expected = references.color_transfer(images, permutation, space=space, ratio=ratio)
    actual = jax.jit(functools.partial(_transfer, space=space, ratio=ratio))(images, permutation)
    chex.assert_shape(actual, images.shape)
    chex.assert_type(actual, jnp.float32)
    chex.assert_trees_all_close(actual, expected.astype(np.float32), atol=2e-4)
    # The statistics of the other image are all that is needed of it.
    content = color.color_statistics(images, space=space)
    style = jax.tree.map(lambda rows: rows[permutation], content)
    parts = jax.jit(functools.partial(color.transfer_color, space=space, ratio=ratio))(
        images[:2], *jax.tree.map(lambda rows: rows[:2], (content, style))
    )
    chex.assert_trees_all_close(parts, expected[:2].astype(np.float32), atol=2e-4)


@spaces
def test_transfer_gives_the_statistics_of_the_style(space):
    rng = np.random.default_rng(3)
    images = (np.array([0.4, 0.6])[:, None, None, None] + rng.normal(scale=0.03, size=(2, 8, 9, 3))).astype(np.float32)
    moved = _transfer(images, jnp.array([1, 0]), space=space)
    forward = references.rgb_to_lab if space == 'lab' else references.rgb_to_ruderman
    for i in range(2):
        chex.assert_trees_all_close(
            references.color_statistics(np.asarray(moved[i]), forward),
            references.color_statistics(images[1 - i], forward),
            rtol=1e-3,
            atol=1e-3,
        )


@ratios
@spaces
def test_transfer_of_plain_and_extreme_images_is_finite(space, ratio):
    images = np.zeros((6, 8, 8, 3), np.float32)
    images[1] = 1.0
    images[2] = [0.2, 0.4, 0.6]
    images[3] = np.random.default_rng(4).integers(0, 2, size=(8, 8, 3))  # pixels at the corners of the cube
    images[4, 0, 0] = 1.0  # one bright pixel on black
    images[5] = _images(1, 8, 8)[0]
    function = jax.jit(functools.partial(_transfer, space=space, ratio=ratio))
    for roll in range(6):
        actual = function(images, (np.arange(6) + roll) % 6)
        chex.assert_tree_all_finite(actual)
        assert actual.min() >= 0
        assert actual.max() <= 1
        if roll == 0:
            at_least = 0.01 if space == 'ruderman' else 1e-3  # black is lifted to the floor of the logarithm
            chex.assert_trees_all_close(actual, images, atol=at_least)
    plain = np.asarray(function(images[1:3], np.array([1, 0])))
    chex.assert_trees_all_close(plain, images[[2, 1]], atol=2e-3)


def test_augmentations_carry_no_gradient():
    images, key = _images(2), jax.random.key(0)
    for function in (
        lambda x: _transfer(x, jnp.array([1, 0])),
        lambda x: _transfer(x, jnp.array([1, 0]), space='ruderman'),
        lambda x: color.shift_hsv(x, color.random_hsv_shift(key, 2, probability=1.0)),
        lambda x: color.color_statistics(x).std,
    ):
        gradient = jax.grad(lambda x, f=function: jnp.sum(f(x)))(jnp.asarray(images))
        chex.assert_trees_all_equal(gradient, jnp.zeros_like(images))


def test_hsv_shift():
    images = _images(4, 3, 5, seed=5)
    images[0, 0, :3] = [[0, 0, 0], [0.5, 0.5, 0.5], [1, 1, 1]]
    shift = color.HsvShift(
        np.array([0.0, 0.25, -0.4, 0.9], np.float32),
        np.array([1.0, 0.5, 1.5, 3.0], np.float32),
        np.array([1.0, 1.25, 0.5, 0.0], np.float32),
    )
    actual = jax.jit(color.shift_hsv)(images, shift)
    chex.assert_trees_all_close(actual, references.shift_hsv(images, *shift).astype(np.float32), atol=1e-5)
    chex.assert_trees_all_close(actual[0], images[0], atol=1e-6)


def test_hsv_draws_are_a_function_of_the_key():
    first, again, second = (color.random_hsv_shift(jax.random.key(seed), 16) for seed in (1, 1, 2))
    chex.assert_trees_all_equal(first, again)
    assert not np.allclose(first.hue, second.hue)


def test_hsv_draws_keep_their_ranges():
    shift = color.random_hsv_shift(jax.random.key(3), 4000, hue=0.1, saturation=1.5, value=0.25, probability=0.5)
    assert np.all(np.abs(shift.hue) <= 0.1)
    assert shift.saturation.min() == 0
    assert shift.saturation.max() <= 2.5
    assert np.all(np.abs(shift.value - 1) <= 0.25 + 1e-6)
    untouched = (shift.hue == 0) & (shift.saturation == 1) & (shift.value == 1)
    assert 0.45 < float(jnp.mean(untouched)) < 0.55
    assert abs(np.corrcoef(shift.hue[~untouched], shift.value[~untouched])[0, 1]) < 0.1
    never = color.random_hsv_shift(jax.random.key(3), 8, probability=0.0)
    chex.assert_trees_all_equal(never, color.HsvShift(jnp.zeros(8), jnp.ones(8), jnp.ones(8)))


def test_wrong_arguments_are_refused():
    images, permutation = jnp.zeros((2, 3, 3, 3)), jnp.array([1, 0])
    with pytest.raises(ConfigError, match='oklab'):
        _transfer(images, permutation, space='oklab')
    with pytest.raises(ConfigError, match='both'):
        _transfer(images, permutation, ratio='both')
    with pytest.raises(AssertionError):
        _transfer(images, jnp.array([0]))  # statistics of another number of images
    with pytest.raises(AssertionError):
        color.color_statistics(jnp.zeros((2, 3, 3, 3), jnp.uint8))
    with pytest.raises(AssertionError):
        color.shift_hsv(jnp.zeros((2, 3, 3, 4)), color.random_hsv_shift(jax.random.key(0), 2))
