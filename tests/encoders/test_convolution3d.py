"""Both forms of 3D convolutions against loops, forward and backward, at every kernel, stride and padding in use."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import references_voxels as ref

from jaxret.encoders.convolution3d import Convolution3D, convolve3d, transposed_convolve3d
from jaxret.errors import ConfigError

# cells, kernel, stride, padding, channels in and out
PLAIN = [
    (8, 7, 1, 3, 1, 3),
    (8, 7, 1, 3, 3, 1),
    (5, 3, 1, 1, 2, 2),
    (2, 3, 1, 1, 2, 3),
    (6, 4, 2, 1, 2, 3),
    (4, 4, 2, 1, 2, 3),
    (2, 2, 1, 0, 3, 2),
    (9, 6, 2, 0, 1, 2),
    (10, 5, 2, 0, 3, 2),
    (5, 3, 2, 0, 2, 2),
    (3, 1, 1, 0, 2, 3),
]
TRANSPOSED = [(1, 2, 1, 0, 3, 2), (2, 4, 2, 1, 3, 2), (5, 4, 2, 1, 2, 1), (7, 7, 1, 3, 3, 1), (3, 3, 2, 1, 2, 2)]


def close(found, expected):
    """Within 1e-5 of the largest entry."""
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5 * np.abs(expected).max())


def random_case(case, *, seed=0):
    cells, size, _, _, channels, features = case
    rng = np.random.default_rng(seed)
    return (
        rng.normal(size=(2, cells, cells, cells, channels)).astype(np.float32),
        rng.normal(size=(size,) * 3 + (channels, features)).astype(np.float32),
        rng,
    )


def value_and_gradients(function, case, form, x, kernel, gradient):
    def run(x, kernel, gradient):
        y, back = jax.vjp(lambda x, kernel: function(x, kernel, stride=case[2], padding=case[3], form=form), x, kernel)
        return y, *back(gradient)

    return jax.jit(run)(x, kernel, gradient)


@pytest.mark.parametrize('case', PLAIN)
def test_convolution_is_the_loop_in_both_forms(case):
    x, kernel, rng = random_case(case)
    _, size, stride, padding, *_ = case
    expected = ref.convolve3d(x, kernel, stride, padding)
    gradient = rng.normal(size=expected.shape).astype(np.float32)
    back = ref.transposed_convolve3d(gradient, kernel.swapaxes(3, 4), stride, padding)
    slack = x.shape[1] - back.shape[1]  # cells that the last stride does not reach
    back = np.pad(back, [(0, 0), *[(0, slack)] * 3, (0, 0)])
    wanted = expected, back, ref.kernel_gradient(x, gradient, size, stride, padding)
    for form in ('direct', 'slabs'):
        for found, value in zip(value_and_gradients(convolve3d, case, form, x, kernel, gradient), wanted, strict=True):
            close(found, value)


@pytest.mark.parametrize('case', TRANSPOSED)
def test_transposed_convolution_is_the_loop_in_both_forms(case):
    x, kernel, rng = random_case(case)
    _, size, stride, padding, *_ = case
    expected = ref.transposed_convolve3d(x, kernel, stride, padding)
    gradient = rng.normal(size=expected.shape).astype(np.float32)
    back = ref.convolve3d(gradient, kernel.swapaxes(3, 4), stride, padding)
    wanted = expected, back, ref.kernel_gradient(gradient, x, size, stride, padding).swapaxes(3, 4)
    for form in ('direct', 'slabs'):
        for found, value in zip(
            value_and_gradients(transposed_convolve3d, case, form, x, kernel, gradient), wanted, strict=True
        ):
            close(found, value)


def test_auto_has_no_3d_convolution_on_cpus():
    x, kernel = jnp.ones((1, 6, 6, 6, 1)), jnp.ones((4, 4, 4, 1, 1))

    def ranks(form):
        text = str(jax.make_jaxpr(lambda x: convolve3d(x, kernel, stride=2, padding=1, form=form))(x))
        return 'window_strides=(2, 2, 2)' in text, 'window_strides=(2, 2)' in text

    assert ranks('auto') == ranks('slabs') == (False, True)
    assert ranks('direct') == (True, False)


@pytest.mark.parametrize('transposed', [False, True])
def test_layer_has_one_kernel_whatever_the_form(transposed):
    x = np.random.default_rng(0).normal(size=(2, 5, 5, 5, 24)).astype(np.float32)
    layers = [Convolution3D(8, 4, 2, 1, transposed, form) for form in ('direct', 'slabs')]
    variables = jax.jit(layers[0].init)(jax.random.key(0), x)
    chex.assert_trees_all_equal(variables, jax.jit(layers[1].init)(jax.random.key(0), x))
    kernel = np.asarray(variables['params']['kernel'])
    assert kernel.shape == (4, 4, 4, 24, 8) and kernel.dtype == np.float32
    assert kernel.std() == pytest.approx(np.sqrt(2 / (64 * (24 if transposed else 8))), rel=0.03)
    outs = [jax.jit(layer.apply)(variables, x) for layer in layers]
    close(outs[1], np.asarray(outs[0]))
    half = jax.jit(Convolution3D(8, 4, 2, 1, transposed, 'slabs', jnp.bfloat16).apply)(variables, x)
    chex.assert_type(half, jnp.bfloat16)
    np.testing.assert_allclose(half.astype(np.float32), outs[0], atol=0.03 * np.abs(outs[0]).max())


def test_wrong_arguments_are_refused():
    x = jnp.ones((1, 4, 4, 4, 2))
    with pytest.raises(ConfigError, match='fast'):
        convolve3d(x, jnp.ones((3, 3, 3, 2, 1)), form='fast')
    with pytest.raises(AssertionError):
        convolve3d(x, jnp.ones((3, 3, 3, 1, 1)))
    with pytest.raises(AssertionError):
        transposed_convolve3d(x[:, :3], jnp.ones((3, 3, 3, 2, 1)))
