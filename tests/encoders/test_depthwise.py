"""Depthwise convolutions in the form that is fastest on CPUs: values and gradients are those of XLA's."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from jaxret.encoders.depthwise import depthwise_convolve2d

AXES = {'dimension_numbers': ('NHWC', 'HWIO', 'NHWC')}


@pytest.mark.parametrize('channels', [1, 6])
@pytest.mark.parametrize(
    'size,kernel,stride,padding',
    [
        ((7, 10), 3, 1, [(1, 1), (1, 1)]),
        ((8, 9), 3, 2, [(0, 1), (1, 1)]),
        ((9, 8), 3, 2, [(1, 1), (0, 1)]),
        ((6, 7), 5, 1, [(2, 2), (2, 2)]),
        ((10, 13), 5, 2, [(1, 2), (2, 2)]),
        ((11, 12), 5, 2, [(2, 2), (1, 2)]),
        ((2, 3), 5, 1, [(2, 2), (2, 2)]),
        ((1, 1), 5, 2, [(2, 2), (2, 2)]),
        ((2, 1), 3, 2, [(0, 1), (1, 1)]),
        ((8, 8), 3, 1, [(0, 0), (0, 0)]),
        ((9, 7), 4, 3, [(2, 1), (0, 2)]),
        ((3, 19), 3, 1, [(1, 1), (1, 1)]),
        ((3, 31), 5, 2, [(2, 2), (2, 2)]),
    ],
)
def test_values_and_gradients_are_those_of_lax(size, kernel, stride, padding, channels):
    rng = np.random.default_rng(0)
    options = ((stride, stride), padding)
    with jax.enable_x64(True):
        x, weights = rng.normal(size=(3, *size, channels)), rng.normal(size=(kernel, kernel, 1, channels))
        plain = partial(lax.conv_general_dilated, feature_group_count=channels)
        factors = rng.normal(size=jax.eval_shape(lambda: plain(x, weights, *options, **AXES)).shape)

        def total(function, x, weights):
            return jnp.sum(factors * function(x, weights, *options, **AXES))

        found, expected = (
            jax.jit(jax.value_and_grad(partial(total, function), argnums=(0, 1)))(x, weights)
            for function in (partial(depthwise_convolve2d, feature_group_count=channels), plain)
        )
    jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-11, atol=1e-11), found, expected)


@pytest.mark.parametrize('dtype', [jnp.bfloat16, jnp.float16])
def test_half_precision_stays(dtype):
    rng = np.random.default_rng(0)
    x, weights = (jnp.asarray(rng.normal(size=size), dtype) for size in ((2, 6, 6, 4), (3, 3, 1, 4)))
    options = {'feature_group_count': 4, **AXES}
    arguments = ((2, 2), [(0, 1)] * 2)
    found = depthwise_convolve2d(x, weights, *arguments, **options)
    assert found.dtype == dtype
    expected = lax.conv_general_dilated(x.astype(np.float32), weights.astype(np.float32), *arguments, **options)
    np.testing.assert_allclose(found.astype(np.float32), expected, rtol=0.05, atol=0.05)
