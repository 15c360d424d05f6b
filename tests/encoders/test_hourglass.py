"""Networks of grids: published sizes, loops, both stems."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import references_voxels as ref
from references_encoders import random_variables

from jaxret.encoders.hourglass import Hourglass, ResidualBlock3D, VoxelEncoder
from jaxret.errors import ConfigError
from jaxret.training.state import count_parameters

GRIDS = jax.ShapeDtypeStruct((2, 32, 32, 32, 1), jnp.float32)
SEPARATION = {'encoder_channels': (16, 32, 64, 128, 512), 'decoders': 2}


def residual(channels):
    return 2 * (27 * channels**2 + 2 * channels)


def encoder(c1, c2, c3, c4, c5):
    """Numbers of the published encoder, layer by layer."""
    count = 343 * c1 + 2 * c1 + 64 * c1 * c1 + residual(c1)
    for before, after in ((c1, c2), (c2, c3), (c3, c4)):
        count += 2 * before + 64 * before * after + residual(after)
    return count + 2 * c4 + 8 * c4 * c5 + 2 * c5


DECODER = (
    8 * 256 * 64
    + residual(64)
    + 64 * 64 * 32
    + 2 * 32
    + residual(32)
    + 64 * 32 * 16
    + 2 * 16
    + residual(16)
    + 64 * 16 * 8
    + 2 * 8
    + residual(8)
    + 64 * 8 * 8
    + 2 * 8
    + 343 * 8
)


@pytest.mark.parametrize(
    ('model', 'expected', 'millions'),
    [
        (Hourglass(**SEPARATION), encoder(16, 32, 64, 128, 512) + 2 * DECODER, 3.62),
        (Hourglass(), encoder(8, 16, 32, 64, 256) + DECODER, 1.21),
        (VoxelEncoder(), encoder(8, 16, 32, 64, 256), 0.60),
    ],
)
def test_parameter_counts_are_the_published_ones(model, expected, millions):
    params = jax.eval_shape(model.init, jax.random.key(0), GRIDS)['params']
    assert count_parameters(params) == expected
    assert round(expected / 1e6, 2) == millions


def test_all_networks_together_have_5_43_million():
    total = encoder(16, 32, 64, 128, 512) + 2 * encoder(8, 16, 32, 64, 256) + 3 * DECODER
    assert round(total / 1e6, 2) == 5.43


def shapes_inside(model, inputs):
    """Shape of every layer's result, by its path."""

    def run(inputs):
        variables = model.init(jax.random.key(0), inputs)
        return model.apply(variables, inputs, capture_intermediates=True, mutable=['intermediates'])[1]

    found = jax.eval_shape(run, inputs)['intermediates']
    return {
        jax.tree_util.keystr(path[:-2], simple=True, separator='/'): leaf.shape[1:]
        for path, leaf in jax.tree_util.tree_leaves_with_path(found)
    }


def test_layer_shapes():
    found = shapes_inside(Hourglass(**SEPARATION), GRIDS)
    sides = (32, 16, 8, 4, 2, 1)
    channels = (16, 16, 32, 64, 128, 512)
    for level, (side, count) in enumerate(zip(sides, channels, strict=True)):
        assert found[f'encoder/conv{level}'] == found[f'encoder/bn{level}'] == (side, side, side, count)
    for part in ('decoder0', 'decoder1'):
        for level, (side, count) in enumerate(zip((2, 4, 8, 16, 32, 32), (64, 32, 16, 8, 8, 1), strict=True)):
            assert found[f'{part}/conv{level}'] == (side, side, side, count)
        assert found[f'{part}/block4/conv2'] == (16, 16, 16, 8)
        assert found[part] == (32, 32, 32)
    assert not any('bias' in path for path in found)


def test_coarse_networks_have_nothing_at_the_full_grid_but_their_ends():
    found = shapes_inside(Hourglass(stem='coarse'), GRIDS)
    assert {path for path, shape in found.items() if shape[0] == 32} == {'decoder0', 'decoder0/conv4', '__call__'}
    assert found['encoder/conv1'] == (16, 16, 16, 8) and found['decoder0/conv4'] == (32, 32, 32, 1)
    assert 'encoder/bn0' not in found and 'decoder0/bn4' not in found


def test_skips_join_every_size_of_the_grid_in_both_stems():
    for stem, at_32 in (('fine', (8, 8)), ('coarse', (1, 1))):
        params = jax.eval_shape(Hourglass(stem=stem, skip=True).init, jax.random.key(0), GRIDS)['params']['decoder0']
        kernels = {name: leaf['kernel'].shape for name, leaf in params.items() if name.startswith('skip')}
        assert kernels == {
            f'skip{side}': (1, 1, 1, *channels)
            for side, channels in ((2, (64, 64)), (4, (32, 32)), (8, (16, 16)), (16, (8, 8)), (32, at_32))
        }


@pytest.mark.parametrize('skip', [False, True])
def test_encoder_and_decoder_equal_the_written_down_network(skip):
    """The published order of layers, with few channels, in evaluation mode; and what `skip` adds to it."""
    grids = (np.random.default_rng(0).random((2, 32, 32, 32, 1)) < 0.1).astype(np.float32)
    model = Hourglass(encoder_channels=(2, 1, 3, 2, 4), decoder_channels=(3, 2, 1, 2, 2), decoders=2, skip=skip)
    variables = random_variables(model, grids)
    found = jax.jit(model.apply)(variables, grids)
    expected = ref.VoxelNetwork(variables).hourglass(grids, 2, skip)
    assert len(found) == 2
    for logits, wanted in zip(found, expected, strict=True):
        chex.assert_shape(logits, (2, 32, 32, 32))
        np.testing.assert_allclose(logits, wanted, rtol=0, atol=1e-4 * np.abs(wanted).max())
    assert np.abs(expected[0] - expected[1]).max() > 0.1 * np.abs(expected[0]).max()  # each has its part


def test_residual_block_in_training_leaves_padding_out():
    x = np.random.default_rng(1).normal(size=(3, 4, 4, 4, 2)).astype(np.float32)
    model = ResidualBlock3D()
    variables = random_variables(model, x)

    @jax.jit
    def run(x, valid):
        return model.apply(variables, x, train=True, valid=valid, mutable=['batch_stats'])

    out, state = run(x, np.array([True, True, False]))
    alone, alone_state = run(np.concatenate([x[:2], 7 * x[:1]]), np.array([True, True, False]))
    np.testing.assert_allclose(out[:2], alone[:2], rtol=1e-5, atol=1e-5)
    chex.assert_trees_all_close(state, alone_state, rtol=1e-5)
    assert not np.allclose(out[:2], run(x, np.ones(3, bool))[0][:2], rtol=1e-3)


def test_bfloat16_is_close_and_logits_are_float32():
    x = np.random.default_rng(2).normal(size=(4, 4, 4, 4, 3)).astype(np.float32)
    variables = random_variables(ResidualBlock3D(), x)
    full = jax.jit(ResidualBlock3D().apply)(variables, x)
    half = jax.jit(ResidualBlock3D(dtype=jnp.bfloat16).apply)(variables, jnp.bfloat16(x))
    chex.assert_type(half, jnp.bfloat16)
    assert 0 < np.abs(full - half.astype(np.float32)).max() < 0.05 * np.abs(full).max()
    model = Hourglass(dtype=jnp.bfloat16)
    (logits,), variables = jax.eval_shape(model.init_with_output, jax.random.key(0), GRIDS)
    chex.assert_type([logits, *jax.tree.leaves(variables)], jnp.float32)


def test_unknown_stem_is_refused():
    with pytest.raises(ConfigError, match='wide'):
        jax.eval_shape(VoxelEncoder(stem='wide').init, jax.random.key(0), GRIDS)
