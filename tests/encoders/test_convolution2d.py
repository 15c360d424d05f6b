"""2D convolutions with gradients in the order of axes that XLA's fast kernel for CPUs takes."""

import re

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from jaxret.encoders.convolution2d import convolve2d
from jaxret.encoders.layers import convolution

AXES = {'dimension_numbers': ('NHWC', 'HWIO', 'NHWC')}


def value_and_gradients(function, x, kernel, weights, stride, padding):
    def total(x, kernel):
        return jnp.sum(weights * function(x, kernel, (stride, stride), [(padding, padding)] * 2, **AXES))
    return jax.value_and_grad(total, argnums=(0, 1))(x, kernel)


@pytest.mark.parametrize('size,kernel,stride', [((7, 10), 1, 1), ((7, 10), 1, 2), ((6, 5), 3, 1), ((9, 8), 3, 2),
                                                ((11, 12), 5, 2), ((13, 10), 7, 4), ((5, 6), 5, 4), ((2, 2), 3, 1),
                                                ((1, 1), 3, 1), ((4, 3), 3, 2), ((2, 1), 3, 2), ((1, 1), 1, 1)])
def test_gradients_are_those_of_lax(size, kernel, stride):
    rng = np.random.default_rng(0)
    padding = (kernel - 1) // 2
    with jax.enable_x64(True):
        channels, features = (16 if kernel == 3 else 2, 16) if size[0] > 6 else (2, 4)  # 16 are padded
        x, weights = rng.normal(size=(5, *size, channels)), rng.normal(size=(kernel, kernel, channels, features))
        shape = lax.conv_general_dilated(x, weights, (stride, stride), [(padding, padding)] * 2, **AXES).shape
        arguments = (x, weights, rng.normal(size=shape), stride, padding)
        found, expected = (value_and_gradients(f, *arguments) for f in (convolve2d, lax.conv_general_dilated))
    for one, other in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize('batch,size,kernel,stride,product', [
    (4, (2, 2), 3, 1, True), (4, (4, 4), 3, 2, True), (4, (4, 4), 3, 1, False), (4, (3, 3), 3, 1, False),
    (4, (5, 5), 3, 2, False), (4, (1, 1), 1, 1, False), (3, (2, 2), 3, 1, False)])
def test_tiny_maps_are_multiplied(batch, size, kernel, stride, product):
    padding = [((kernel - 1) // 2,) * 2] * 2
    text = str(jax.make_jaxpr(lambda x, weights: convolve2d(x, weights, (stride, stride), padding, **AXES))(
        jnp.zeros((batch, *size, 3)), jnp.zeros((kernel, kernel, 3, 4))))
    assert ('conv_general_dilated' in text) != product and ('dot_general' in text) == product


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
            return convolution(3, 3, stride=2, name='second')(jnp.sin(convolution(4, 5, name='first')(x)))

    params = Two().init(jax.random.key(0), jnp.zeros((1, 8, 8, 2)))

    def loss(params, x):
        return jnp.sum(lax.map(lambda one: jnp.sum(jnp.sin(Two().apply(params, one))), x))

    text = jax.jit(jax.grad(loss)).lower(params, jnp.zeros((3, 2, 8, 8, 2))).compile().as_text()
    orders = re.findall(r' convolution\(.*dim_labels=(\S+?)[,\s]', text)
    assert 'while(' in text and len(orders) >= 5 and set(orders) == {'b01f_01io->b01f'}
