"""Scan-CAD from its config: published sizes, bad values; embeddings, segmentation and scores against oracles."""

from functools import partial

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import references_scan_cad as oracle
from overrides import load_config
from references import euclidean_distances
from small_scan_cad import flat_system, flat_variables, random_batch, small_config

from jaxret.errors import ConfigError
from jaxret.systems.scan_cad import ScanCad
from jaxret.systems.scan_cad_config import CHOICES, RANGES
from jaxret.training.state import count_parameters


@pytest.mark.parametrize(
    'variant,millions',
    [
        ('hourglass', {'separation': 3.62, 'completion': 1.21, 'embedding': 0.60}),
        ('cnn3d', {'embedding': 4.69}),
        ('pointnet', {'embedding': 0.41}),
    ],
)
def test_published_sizes_trace(variant, millions):
    config = small_config(
        model__variant=variant,
        model__stem='fine',
        model__width=1.0,
        model__embedding_dim=256,
        model__points=1024,
        model__dtype='bfloat16',
    )
    system = ScanCad.from_config(config)
    batch = jax.eval_shape(lambda: jax.tree.map(jnp.asarray, random_batch(16)))
    variables = jax.eval_shape(system.init, jax.random.key(5), batch)
    found = {name: round(count_parameters(params) / 1e6, 2) for name, params in variables['params'].items()}
    assert found == millions
    if variant == 'hourglass':
        assert round(count_parameters(variables['params']) / 1e6, 2) == 5.43
    total, (state, report) = jax.eval_shape(
        lambda v, b: system.loss(v, b, rng=jax.random.key(5), step=jnp.int32(0), train=True), variables, batch
    )
    assert total.shape == () and {value.shape for value in report.values()} == {()}
    chex.assert_trees_all_equal_shapes_and_dtypes(state['batch_stats'], variables['batch_stats'])
    embeddings = jax.eval_shape(partial(system.embed, modality='scan'), variables, batch)
    assert embeddings.shape == (16, 256)
    chex.assert_type([total, *report.values(), embeddings], jnp.float32)
    assert ('completion_loss' in report) == (variant == 'hourglass')


def test_only_hourglasses_get_the_skips_and_only_the_small_preset_has_them():
    for skip in (False, True):
        networks = ScanCad.from_config(small_config(model__skip=skip)).networks
        assert {name: getattr(network, 'skip', None) for name, network in networks.items()} == {
            'separation': skip,
            'completion': skip,
            'embedding': None,
        }
    presets = {preset: load_config(f'scan_cad.py:{preset}')[0].model.skip for preset in ('small', 'paper')}
    assert presets == {'small': True, 'paper': False}


@pytest.mark.parametrize('variant', [name for name in CHOICES['model.variant'] if name != 'cells'])  # has none
def test_every_network_is_told_the_device_axis(variant):
    system = ScanCad.from_config(small_config(model__variant=variant), axis_name='data')
    assert {network.axis_name for network in system.networks.values()} == {'data'}


@pytest.mark.parametrize(
    'key,value',
    [(key, 'other') for key in CHOICES]
    + [
        *((key, 0) for key in RANGES['above 0']),
        *((key, -0.5) for key in RANGES['0 or above']),
        ('augmentation.flip', 1.5),
        ('loss.margin_negative', float('nan')),
    ],
)
def test_bad_values_are_named(key, value):
    config = small_config()
    group, name = key.split('.')
    with config.ignore_type():
        config[group][name] = value
    with pytest.raises(ConfigError, match=f'config.{key}: '):
        ScanCad.from_config(config)


@pytest.mark.parametrize(
    'changes,named',
    [
        ({'model__variant': 'cnn3d', 'loss__metric': 'none'}, 'loss.metric'),
        ({'loss__metric': 'quadruplet', 'loss__negatives': 'all'}, 'loss.negatives'),
        ({'loss__repulsion': True, 'loss__finetune': 'push'}, 'loss.repulsion'),
        ({'loss__metric': 'triplet', 'loss__finetune': 'push'}, 'loss.finetune'),
    ],
)
def test_values_that_do_not_go_together_are_named(changes, named):
    with pytest.raises(ConfigError, match=f'config.{named}: '):
        ScanCad.from_config(small_config(**changes))


@pytest.mark.parametrize('normalize', [False, True])
def test_embeddings_segmentation_and_scores(normalize):
    system, batch, variables = flat_system(model__normalize=normalize), random_batch(8), flat_variables()
    logits, scans = oracle.forward(system, variables, batch['scan'])
    cads = oracle.embedded(system, variables, batch['cad'])
    embed = jax.jit(system.embed, static_argnums=2)
    found = [embed(variables, {name: batch[name]}, name) for name in ('scan', 'cad')]
    np.testing.assert_allclose(found[0], scans, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(found[1], cads, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(system.score(variables, *found), -euclidean_distances(scans, cads), rtol=1e-4, atol=1e-4)
    if normalize:
        return
    foreground, completion = jax.jit(system.segment_and_complete)(variables, batch['scan'])
    np.testing.assert_allclose(foreground, oracle.sigmoid(logits[0]), rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(completion, oracle.sigmoid(logits[2]), rtol=1e-4, atol=1e-6)
    with pytest.raises(ValueError, match="'scan' and 'cad'"):
        system.embed(variables, batch, 'photo')
    with pytest.raises(ValueError, match='hourglass'):
        flat_system(model__variant='cnn3d').segment_and_complete(variables, batch['scan'])
