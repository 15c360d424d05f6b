"""Vision transformers: published sizes, the network cut in two, taps, maps; resampling against loops and libraries.

What they compute is compared with the published code by stored outputs, in tests/pretrained/test_vit_files.py.
"""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.ndimage
import scipy.special
from flax.traverse_util import flatten_dict
from references_encoders import random_variables

from jaxret.encoders.positions import RESAMPLINGS, resample_grid, resampling_matrix
from jaxret.encoders.transformer import ACTIVATIONS
from jaxret.encoders.vit import STATISTICS, VIT_NAMES, VisionTransformer, statistics, vision_transformer
from jaxret.errors import ConfigError

# Parameters of timm's networks without classifier; of Hugging Face's CLIPVisionModelWithProjection for CLIP.
PUBLISHED = {
    'vit_s14': 22_056_192,
    'vit_b14': 86_579_712,
    'vit_l14': 304_367_616,
    'vit_s14_reg': 22_057_344,
    'vit_b14_reg': 86_582_016,
    'vit_l14_reg': 304_370_688,
    'vit_s16': 21_665_664,
    'vit_b16': 85_798_656,
    'vit_l16': 303_301_632,
    'clip_b32': 87_849_216,
    'clip_b16': 86_192_640,
    'clip_l14': 303_966_208,
    'openclip_b32': 87_849_216,
    'openclip_b16': 86_192_640,
    'openclip_l14': 303_966_208,
    'siglip_b16': 92_884_224,
    'siglip_b16_256': 92_930_304,
    'siglip_b16_384': 93_176_064,
    'siglip_l16': 315_956_224,
}
OPTIONS = {
    'dinov2': {'layer_scale': True, 'registers': 2},
    'clip': {'pre_norm': True, 'activation': 'quick_gelu', 'projection': 5},
    'siglip': {'class_token': False, 'pooling': 'attention', 'activation': 'gelu_tanh'},
    'mean': {'pooling': 'mean', 'norm_last': True, 'num_classes': 7},
    'gated': {'activation': 'swiglu'},
}


def tiny(**options):
    fixed = {'patch': 4, 'width': 8, 'blocks': 2, 'heads': 2, 'mlp_width': 12, 'grid': (3, 3)}
    return VisionTransformer(**fixed | options)


def apply(module, variables, x):
    return jax.jit(module.apply)(variables, x)


def images(height=12, width=12, count=2, channels=3):
    return jnp.asarray(np.random.default_rng(1).normal(size=(count, height, width, channels)), jnp.float32)


@pytest.mark.parametrize('name', VIT_NAMES)
def test_parameter_counts_are_the_published_ones(name):
    module = vision_transformer(name)
    inputs = jax.ShapeDtypeStruct((2, 224, 224, 3), jnp.float32)
    found, variables = jax.eval_shape(module.init_with_output, jax.random.key(0), inputs)
    count = sum(int(np.prod(leaf.shape)) for leaf in jax.tree.leaves(variables))
    own_position = module.class_token and not module.registers  # of the class token, a part of that token here
    assert count + own_position * module.width == PUBLISHED[name]
    chex.assert_shape(found, (2, module.projection or module.width))
    assert statistics(name) in STATISTICS.values()


@pytest.mark.parametrize('family', OPTIONS)
def test_the_network_cut_in_two(family):
    module = tiny(**OPTIONS[family])
    x = images()
    variables = random_variables(module, x)
    whole = apply(module, variables, x)
    names = set(flatten_dict(variables['params']))
    for cut in (1, 3):
        start, end = module.clone(last=cut), module.clone(first=cut)
        tokens = apply(start, variables, x)
        assert tokens.shape == (2, 9 + module.class_token + module.registers, 8)
        np.testing.assert_allclose(apply(end, variables, tokens), whole, atol=1e-6)
        halves = [jax.eval_shape(half.init, jax.random.key(0), part) for half, part in ((start, x), (end, tokens))]
        parts = [set(flatten_dict(half['params'])) for half in halves]
        assert parts[0] | parts[1] == names and not parts[0] & parts[1]


@pytest.mark.parametrize('family', ['dinov2', 'siglip', 'mean'])
def test_taps_and_maps(family):
    module = tiny(**OPTIONS[family])
    x = images(12, 20)
    variables = random_variables(module, x)
    features = apply(module, variables, x)
    assert features.dtype == jnp.float32
    before = module.class_token + module.registers
    found = apply(module.clone(taps=(module.depth - 1, 2, 0)), variables, x)
    np.testing.assert_allclose(found[:, : features.shape[1]], features, atol=1e-6)
    for place, segment in enumerate((2, 0)):
        mean = apply(module.clone(last=segment + 1), variables, x)[:, before:].mean(axis=1)
        np.testing.assert_allclose(found[:, features.shape[1] + 8 * place :][:, :8], mean, atol=1e-6)
    maps = apply(module.clone(pooled=False), variables, x)
    chex.assert_shape(maps, (2, 3, 5, 8))
    np.testing.assert_allclose(maps.mean(axis=3), np.mean(variables['params']['norm']['bias']), atol=0.5)
    mean = module.clone(pooling='mean', norm_last=False, projection=None, num_classes=None)
    np.testing.assert_allclose(apply(mean, variables, x), maps.mean(axis=(1, 2)), atol=1e-6)


def test_patches_are_those_of_a_convolution_and_leave_out_what_is_left_over():
    module = tiny(last=1, class_token=False)
    x = images(14, 15)
    variables = random_variables(module, x)
    variables['params']['positions'] *= 0
    kernel = variables['params']['patches']['kernel']
    expected = jax.lax.conv_general_dilated(x, kernel, (4, 4), 'VALID', dimension_numbers=('NHWC', 'HWIO', 'NHWC'))
    expected += variables['params']['patches']['bias'][None, None, None]
    np.testing.assert_allclose(apply(module, variables, x), expected.reshape(2, 9, 8), atol=1e-5)


def test_bfloat16_and_gradients():
    module = tiny(**OPTIONS['dinov2'])
    x = images()
    variables = random_variables(module, x)
    half = module.clone(dtype=jnp.bfloat16)
    assert apply(half.clone(last=2), variables, x).dtype == jnp.bfloat16
    found = apply(half, variables, x)
    assert found.dtype == jnp.float32
    np.testing.assert_allclose(found, apply(module, variables, x), atol=0.1)
    gradients = jax.jit(jax.grad(lambda v: (module.apply(v, x, train=True) ** 2).sum()))(variables)
    assert all(np.all(np.isfinite(leaf)) and np.any(leaf != 0) for leaf in jax.tree.leaves(gradients))


@pytest.mark.parametrize(
    ('options', 'inputs', 'message'),
    [
        ({'first': 4}, (2, 9, 8), 'segments 4 to 4 of a network of 4'),
        ({'last': 5}, (2, 12, 12, 3), 'segments 0 to 5'),
        ({'taps': (1,), 'last': 3}, (2, 12, 12, 3), 'gives a map'),
        ({'taps': (1,), 'pooled': False}, (2, 12, 12, 3), 'gives a map'),
        ({'taps': (1, 2), 'first': 2}, (2, 10, 8), 'taps .1. of a network that has segments 2 to 3'),
        ({}, (2, 3, 12, 3), '3 x 12 pixels are smaller than a patch'),
        ({'first': 2, 'pooled': False}, (2, 7, 8), '6 patches are no square'),
    ],
)
def test_what_cannot_be(options, inputs, message):
    with pytest.raises(ConfigError, match=message):
        jax.eval_shape(tiny(**options).init, jax.random.key(0), jax.ShapeDtypeStruct(inputs, jnp.float32))


def test_unknown_names():
    with pytest.raises(ConfigError, match="unknown vision transformer 'vit_x'; use one of: vit_s14, "):
        vision_transformer('vit_x')


def cubic(x, a):
    x = abs(x)
    if x <= 1:
        return (a + 2) * x**3 - (a + 3) * x**2 + 1
    return a * x**3 - 5 * a * x**2 + 8 * a * x - 4 * a if x < 2 else 0.0


@pytest.mark.parametrize(('old', 'new'), [(5, 3), (3, 7), (37, 16), (4, 9), (2, 1)])
def test_resampling_of_positions(old, new):
    expected = {kind: np.zeros((new, old)) for kind in RESAMPLINGS}
    for i in range(new):
        for kind, scale in (('bicubic', old / new), ('bicubic_offset', old / (new + 0.1))):
            at = (i + 0.5) * scale - 0.5
            for j in range(int(np.floor(at)) - 1, int(np.floor(at)) + 3):
                expected[kind][i, min(max(j, 0), old - 1)] += cubic(at - j, -0.75)
    unit = jnp.eye(old)
    expected['bicubic_antialias'] = jax.image.resize(unit, (new, old), 'cubic')
    expected['bilinear_corners'] = scipy.ndimage.zoom(np.eye(old), (new / old, 1), order=1)
    for kind, weights in expected.items():
        np.testing.assert_allclose(resampling_matrix(old, new, kind), weights, atol=3e-6, err_msg=kind)


@pytest.mark.parametrize('kind', RESAMPLINGS)
def test_resampled_grids(kind):
    grid = np.random.default_rng(0).normal(size=(5, 4, 3)).astype(np.float32)
    if kind != 'bicubic_offset':
        np.testing.assert_allclose(resample_grid(grid, (5, 4), kind), grid, atol=1e-6)
    rows, columns = resampling_matrix(5, 3, kind), resampling_matrix(4, 6, kind)
    np.testing.assert_allclose(
        resample_grid(grid, (3, 6), kind), np.einsum('Hh,hwd,Ww->HWd', rows, grid, columns), atol=1e-5
    )
    np.testing.assert_allclose(resample_grid(np.ones_like(grid), (7, 2), kind), 1, atol=1e-5)


def test_activations():
    x = np.linspace(-3, 3, 12, dtype=np.float32)
    sigmoid = 1 / (1 + np.exp(-x.astype(np.float64)))
    np.testing.assert_allclose(ACTIVATIONS['quick_gelu'](x), x / (1 + np.exp(-1.702 * x)), atol=1e-6)
    np.testing.assert_allclose(ACTIVATIONS['swiglu'](x), (x * sigmoid)[:6] * x[6:], atol=1e-6)
    exact = x * np.array([scipy.special.ndtr(float(value)) for value in x])
    np.testing.assert_allclose(ACTIVATIONS['gelu'](x), exact, atol=1e-6)
    tanh = 0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)))
    np.testing.assert_allclose(ACTIVATIONS['gelu_tanh'](x), tanh, atol=1e-6)
