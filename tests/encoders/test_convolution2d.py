"""2D convolutions in the form that is fastest on CPUs."""

import re
from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from jaxret.encoders import convolution2d
from jaxret.encoders.convolution2d import convolve2d
from jaxret.encoders.layers import convolution

AXES = {'dimension_numbers': ('NHWC', 'HWIO', 'NHWC')}


def value_and_gradients(function, x, kernel, weights, stride, padding):
    def total(x, kernel):
        return jnp.sum(weights * function(x, kernel, (stride, stride), [(padding, padding)] * 2, **AXES))

    return jax.jit(jax.value_and_grad(total, argnums=(0, 1)))(x, kernel)


@pytest.mark.parametrize(
    'size,kernel,stride,channels,features',
    [
        ((7, 10), 1, 1, 2, 4),
        ((7, 10), 1, 2, 2, 4),
        ((6, 5), 3, 1, 2, 4),
        ((9, 8), 3, 2, 2, 4),
        ((11, 12), 5, 2, 2, 4),
        ((13, 10), 7, 4, 2, 4),
        ((5, 6), 5, 4, 2, 4),
        ((1, 1), 1, 1, 2, 4),
        ((9, 8), 3, 1, 16, 16),
        ((9, 8), 3, 2, 16, 16),
        ((11, 12), 5, 2, 5, 3),  # empty channels out
        ((9, 8), 3, 1, 3, 17),
        ((13, 10), 7, 4, 3, 20),
        ((9, 8), 3, 1, 18, 5),
        ((9, 8), 3, 1, 6, 17),
        ((9, 8), 3, 1, 3, 64),  # or in
        ((2, 2), 3, 1, 17, 4),
        ((2, 2), 3, 1, 16, 4),
        ((1, 1), 3, 1, 5, 4),
        ((4, 3), 3, 2, 17, 3),
        ((2, 1), 3, 2, 6, 4),
        ((2, 3), 5, 1, 30, 2),
    ],
)  # few cells
def test_values_and_gradients_are_those_of_lax(size, kernel, stride, channels, features):
    rng = np.random.default_rng(0)
    padding = (kernel - 1) // 2
    with jax.enable_x64(True):
        x, weights = rng.normal(size=(5, *size, channels)), rng.normal(size=(kernel, kernel, channels, features))
        shape = lax.conv_general_dilated(x, weights, (stride, stride), [(padding, padding)] * 2, **AXES).shape
        arguments = (x, weights, rng.normal(size=shape), stride, padding)
        found, expected = (value_and_gradients(f, *arguments) for f in (convolve2d, lax.conv_general_dilated))
    for one, other in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize('pictures', [1, 2])  # of five; one is left
def test_gradients_of_some_pictures_at_a_time(pictures, monkeypatch):
    for of, name, value in (
        (convolution2d, '_CACHED', 0),
        (convolution2d, '_PICTURES', pictures),
        (jax, 'device_count', lambda: 1),
    ):
        monkeypatch.setattr(of, name, value)
    x, w = jnp.zeros((5, 9, 8, 3)), jnp.zeros((3, 3, 3, 4))
    gradient = jax.jit(jax.grad(lambda w: convolve2d(x, w, (1, 1), [(1, 1)] * 2, **AXES).sum()))
    assert 'while' in gradient.lower(w).as_text()
    test_values_and_gradients_are_those_of_lax((9, 8), 3, 2, 5, 6)


def test_gradients_in_bfloat16_lose_no_pictures(monkeypatch):
    monkeypatch.setattr(jax, 'device_count', lambda: 1)
    x, kernel = jnp.ones((1024, 16, 16, 4), jnp.bfloat16), jnp.ones((3, 3, 4, 8), jnp.bfloat16)
    gradient = jax.jit(jax.grad(lambda kernel: convolve2d(x, kernel, (1, 1), [(1, 1)] * 2, **AXES).sum()))(kernel)
    assert gradient.dtype == jnp.bfloat16 and float(gradient[1, 1, 0, 0]) == 1024 * 16 * 16


def test_exported_gradients_leave_the_batch_open(monkeypatch):
    monkeypatch.setattr(jax, 'device_count', lambda: 1)
    x = jax.ShapeDtypeStruct(jax.export.symbolic_shape('n, 8, 8, 4'), jnp.float32)
    gradient = jax.grad(lambda kernel, x: convolve2d(x, kernel, (1, 1), [(1, 1)] * 2, **AXES).sum())
    found = jax.export.export(jax.jit(gradient))(jax.ShapeDtypeStruct((3, 3, 4, 8), jnp.float32), x)
    assert found.out_avals[0].shape == (3, 3, 4, 8)


def test_rows_and_columns_have_their_own_stride_and_padding():
    rng = np.random.default_rng(0)
    options = ((2, 1), [(1, 0), (0, 2)])

    def total(convolve, x, weights):
        return jnp.sum(jnp.sin(convolve(x, weights, *options, **AXES)))

    with jax.enable_x64(True):
        for channels in (2, 80):  # convolved; multiplied
            x, weights = rng.normal(size=(2, 5, 6, channels)), rng.normal(size=(2, 3, channels, 4))
            expected = lax.conv_general_dilated(x, weights, *options, **AXES)
            np.testing.assert_allclose(convolve2d(x, weights, *options, **AXES), expected, rtol=1e-11, atol=1e-11)
            found, expected = (
                jax.jit(jax.grad(partial(total, f), argnums=(0, 1)))(x, weights)
                for f in (convolve2d, lax.conv_general_dilated)
            )
            for one, other in zip(found, expected, strict=True):
                np.testing.assert_allclose(one, other, rtol=1e-11, atol=1e-11)


def forms(size, kernel, stride, channels):
    """Which operations compute a convolution, and its gradients."""
    padding = [((kernel - 1) // 2,) * 2] * 2
    x, weights = jnp.zeros((4, *size, channels)), jnp.zeros((kernel, kernel, channels, 4))

    def convolve(x, weights):
        return convolve2d(x, weights, (stride, stride), padding, **AXES)

    def backward(x, weights):
        return jax.vjp(convolve, x, weights)[1](jnp.ones(jax.eval_shape(convolve, x, weights).shape))

    found = []
    for function in (convolve, backward):
        text = jax.jit(function).lower(x, weights).as_text()
        found.append((text.count('stablehlo.convolution'), text.count('stablehlo.dot_general')))
    return found


def test_the_form_follows_the_shape():
    convolved, multiplied = [(1, 0), (2, 0)], [(0, 1), (0, 2)]
    assert forms((8, 8), 3, 1, 3) == convolved
    assert forms((8, 8), 1, 1, 3) == multiplied
    assert forms((8, 8), 1, 2, 3) == multiplied
    assert forms((2, 2), 3, 1, 17) == [(0, 1), (1, 1)]  # a result of 4 cells
    assert forms((2, 2), 3, 1, 16) == convolved
    assert forms((4, 4), 3, 2, 17) == [(0, 1), (1, 1)]
    assert forms((8, 8), 5, 2, 3) == convolved
    assert forms((8, 8), 3, 2, 3) == convolved
    assert forms((8, 8), 7, 4, 3) == convolved


@pytest.mark.parametrize(
    'shape,kernel,stride,padding',
    [
        ((0, 4, 4, 3), (1, 1, 3, 2), 1, 0),
        ((0, 2, 2, 20), (3, 3, 20, 2), 1, 1),
        ((2, 2, 2, 3), (3, 3, 3, 2), 1, 0),
        ((2, 1, 2, 3), (4, 4, 3, 2), 1, 0),
        ((2, 4, 4, 3), (1, 1, 3, 0), 1, 0),
        ((2, 5, 5, 3), (1, 1, 3, 2), 1, -1),
        ((2, 6, 6, 90), (3, 3, 90, 2), 2, -1),
    ],
)
def test_what_is_empty_or_cut_is_as_in_lax(shape, kernel, stride, padding):
    rng = np.random.default_rng(0)
    x, weights = (rng.normal(size=size).astype(np.float32) for size in (shape, kernel))
    options = ((stride, stride), [(padding, padding)] * 2)
    expected = lax.conv_general_dilated(x, weights, *options, **AXES)
    np.testing.assert_allclose(convolve2d(x, weights, *options, **AXES), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    'shape,kernel,dtype',
    [
        ((2, 4, 4, 6), (1, 1, 3, 4), np.float32),
        ((2, 2, 2, 32), (3, 3, 64, 4), np.float32),
        ((2, 4, 4, 3), (1, 1, 3, 4), np.float16),
    ],
)
def test_channels_and_types_that_do_not_match_are_refused(shape, kernel, dtype):
    with pytest.raises((TypeError, ValueError)):
        convolve2d(jnp.zeros(shape), jnp.zeros(kernel, dtype), (1, 1), [(0, 0)] * 2, **AXES)


def test_patches_are_not_kept_for_the_gradients():
    x, weights = jnp.zeros((64, 4, 4, 128)), jnp.zeros((3, 3, 128, 128))

    def memory(layers):
        def loss(x, weights):
            for _ in range(layers):
                x = jnp.sin(convolve2d(x, weights, (1, 1), [(1, 1)] * 2, **AXES))
            return jnp.sum(x)

        return jax.jit(jax.grad(loss, argnums=(0, 1))).lower(x, weights).compile().memory_analysis().temp_size_in_bytes

    assert memory(6) - memory(3) < 3 * 4 * x.nbytes  # of each layer the map, its sine, ..; patches are nine maps


def test_other_convolutions_keep_their_own_gradients():
    rng = np.random.default_rng(0)
    x, kernel = (rng.normal(size=shape).astype(np.float32) for shape in ((2, 9, 9, 4), (3, 3, 2, 4)))
    options = {**AXES, 'feature_group_count': 2, 'rhs_dilation': (2, 2)}
    found = convolve2d(x, kernel, (1, 1), [(1, 1)] * 2, **options)
    np.testing.assert_array_equal(found, lax.conv_general_dilated(x, kernel, (1, 1), [(1, 1)] * 2, **options))


def test_layers_keep_the_fast_order_inside_loops():
    class Two(nn.Module):
        @nn.compact
        def __call__(self, x):
            return convolution(3, 5, stride=2, name='second')(jnp.sin(convolution(4, 5, name='first')(x)))

    params = Two().init(jax.random.key(0), jnp.zeros((1, 16, 16, 2)))

    def loss(params, x):
        return jnp.sum(lax.map(lambda one: jnp.sum(jnp.sin(Two().apply(params, one))), x))

    text = jax.jit(jax.grad(loss)).lower(params, jnp.zeros((3, 2, 16, 16, 2))).compile().as_text()
    orders = re.findall(r' convolution\(.*dim_labels=(\S+?)[,\s]', text)
    assert 'while(' in text and len(orders) >= 5 and set(orders) == {'b01f_01io->b01f'}
