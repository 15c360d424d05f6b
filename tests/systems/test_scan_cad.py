"""Scan-CAD against loop-written oracles of its own embeddings and logits; padding, devices, sizes, config."""

import dataclasses
from functools import cache, partial

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import references_metric_learning as ref
from references import euclidean_distances
from small_cmic import optimizer_config
from small_scan_cad import CELLS, DIM, POOL, FlatEncoder, flat_system, random_batch, small_config

from jaxret.augmentation_grids import augment_grids
from jaxret.errors import ConfigError
from jaxret.losses import negatives
from jaxret.systems.scan_cad import ScanCad
from jaxret.systems.scan_cad_config import ABOVE_ZERO, CHOICES, ZERO_OR_ABOVE
from jaxret.training.optimizers import make_grouped_optimizer
from jaxret.training.parallel import make_parallel
from jaxret.training.state import count_parameters, create_state
from jaxret.training.step import make_train_step

PAIRS = 8
KEY = jax.random.key(5)
VARIABLES = jax.device_get(jax.jit(flat_system().init)(jax.random.key(0), random_batch(PAIRS)))
STILL = {'augmentation__rotations': 1, 'augmentation__flip': 0.0, 'augmentation__jitter': 0}
PARTS = ('foreground', 'background', 'completion', 'metric')


@cache
def cached_system(**changes):
    """The same object every time, so that it is compiled once."""
    return flat_system(**changes)


@partial(jax.jit, static_argnums=0, static_argnames='train')
def loss(system, batch, *, variables=VARIABLES, rng=KEY, train=False):
    total, (collections, report) = system.loss(variables, batch, rng=rng, step=jnp.int32(0), train=train)
    return total, collections, report


@partial(jax.jit, static_argnums=0, static_argnames='train')
def value_and_gradient(system, batch, *, variables=VARIABLES, train=False):
    """((loss, report), gradient of the loss)."""
    def of_params(params):
        total, _, report = loss(system, batch, variables={**variables, 'params': params}, train=train)
        return total, report

    return jax.value_and_grad(of_params, has_aux=True)(variables['params'])


def sigmoid(x):
    return 1 / (1 + np.exp(-np.asarray(x, np.float64)))


def network(system, name, grids):
    """A stand-in's result in evaluation mode."""
    own = {kind: VARIABLES[kind][name] for kind in ('params', 'batch_stats')}
    return jax.jit(system.networks[name].apply)(own, jnp.asarray(grids, jnp.float32)[..., None])


def forward(system, scan):
    """Logits, and the embeddings of scans, float64, by the published order."""
    first = sigmoid(scan) if system.input_sigmoid else scan
    foreground, background = network(system, 'separation', first)
    (completion,) = network(system, 'completion', sigmoid(foreground))
    return (foreground, background, completion), embedded(system, sigmoid(completion))


def embedded(system, grids):
    z = np.asarray(network(system, 'embedding', grids), np.float64)
    return z / np.linalg.norm(z, axis=-1, keepdims=True) if system.normalize else z


def expected_parts(system, batch, *, rng=KEY):
    """The four losses and the active share, by loops."""
    valid, metric = batch['valid'], system.metric
    logits, scans = forward(system, batch['scan'])
    targets = batch['mask'] > 0, (batch['scan'] > 0) & ~(batch['mask'] > 0), batch['cad'] > 0
    parts = [np.mean(np.where(target[valid], -system.occupied_weight * np.log(sigmoid(logit[valid])),
                              -np.log(sigmoid(-logit[valid])))) for logit, target in zip(logits, targets, strict=True)]
    if metric.finetune != 'none':
        return *parts, *expected_pools(system, batch, scans)
    cads = embedded(system, batch['cad'])
    distances = euclidean_distances(scans, cads, squared=metric.squared)
    between = euclidean_distances(cads, cads, squared=metric.squared)
    positive = np.diagonal(distances)
    other, same = ref.kinds(batch['category'], batch['instance'], valid)
    _, negative_key, second_key = jax.random.split(rng, 3)
    margins = np.where(ref.mask_of(same, distances.shape), metric.margin_same_class, metric.margin_negative)
    relative = metric.metric != 'contrastive'
    if metric.negatives in ('random', 'adaptive', 'same_class'):
        candidates = ref.mask_of({'random': other, 'same_class': same}.get(metric.negatives, [
            (i, j) for i in range(len(valid)) for j in range(len(valid))
            if (i, j) in (same if any(pair[0] == i for pair in same) else other)]), distances.shape)
        chosen = ref.pairs_of(negatives.choose_random(negative_key, candidates))
    else:
        chosen = list(ref.fitting(metric.negatives, distances, positive, other, same, margin=metric.margin_negative,
                                  margin_same_class=metric.margin_same_class, relative=relative))
    options = {'reduction': metric.reduction}
    if metric.metric == 'contrastive':
        own = [(int(i), int(i)) for i in np.flatnonzero(valid)]
        value = (ref.pull(distances, own, margin=metric.margin_positive, **options)
                 + ref.push(distances, chosen, margins, **options))
    elif metric.metric == 'triplet':
        value = ref.triplet(distances, positive, chosen, margins, **options)
    else:
        mask = ref.mask_of(chosen, distances.shape)
        second = ref.pairs_of(negatives.second_negatives(second_key, batch['category'], mask, valid))
        value = ref.quadruplet(distances, positive, between, chosen, second, margins, metric.margin_second, **options)
    if metric.repulsion:
        value += ref.push(between, chosen, margins, **options)
    active = [distances[i, j] < margins[i, j] + (positive[i] if relative else 0) for i, j in chosen]
    return *parts, value, np.mean(active) if active else 0.0


def expected_pools(system, batch, scans):
    metric, pull, push = system.metric, [], []
    pools = embedded(system, batch['pool'].reshape(-1, *(CELLS,) * 3)).reshape(*batch['rank'].shape, -1)
    distances = np.array([euclidean_distances(scan[None], pool, squared=metric.squared)[0]
                          for scan, pool in zip(scans, pools, strict=True)])
    for i in np.flatnonzero(batch['valid']):
        there = np.flatnonzero(batch['pool_valid'][i])
        ranked = [j for j in there if batch['rank'][i, j] > 0]
        push += [(i, j) for j in there if ranked and batch['rank'][i, j] == 0]
        pull += [(i, min(ranked, key=lambda j: distances[i, j]))] if ranked and metric.easy_positive else [
            (i, j) for j in ranked]
    margins = np.full(distances.shape, metric.margin_negative)
    value = ref.push(distances, push, margins, reduction=metric.reduction)
    if metric.finetune == 'push_pull':
        value += ref.pull(distances, pull, margin=metric.margin_positive, reduction=metric.reduction)
    return value, np.mean([distances[pair] < metric.margin_negative for pair in push])


# Losses ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize('changes', [
    {'loss__margin_negative': 5.0, 'loss__margin_positive': 0.5},
    {'loss__negatives': 'adaptive', 'loss__squared': True},
    {'loss__negatives': 'all', 'loss__reduction': 'mean_nonzero', 'loss__margin_negative': 4.0},
    {'loss__negatives': 'same_class', 'loss__margin_same_class': 3.0, 'model__normalize': True},
    {'loss__negatives': 'hardest', 'loss__repulsion': True, 'loss__margin_negative': 4.0},
    {'loss__metric': 'triplet', 'loss__negatives': 'semi_hard', 'loss__margin_negative': 3.0},
    {'loss__metric': 'triplet', 'model__input_sigmoid': True, 'loss__occupied_weight': 3.0},
    {'loss__metric': 'quadruplet', 'loss__margin_second': 2.0, 'loss__repulsion': True},
    {'loss__finetune': 'push', 'loss__margin_negative': 3.0},
    {'loss__finetune': 'push_pull', 'loss__margin_negative': 9.0, 'loss__squared': True},
    {'loss__finetune': 'push_pull', 'loss__margin_negative': 3.0, 'loss__easy_positive': True}])
@pytest.mark.parametrize('padded', [False, True])
def test_loss_is_the_weighted_sum_of_the_oracles(changes, padded):
    system = cached_system(**changes)
    batch = random_batch(PAIRS, seed=1, pool='loss__finetune' in changes)
    if padded:  # what padding holds does not matter
        batch['valid'][5:], batch['category'][5:], batch['scan'][5:] = False, -7, 1
    total, _, report = loss(system, batch)
    expected = expected_parts(system, batch)
    found = [report[f'{name}_loss'] for name in PARTS] + [report['active_share']]
    np.testing.assert_allclose(found, expected, rtol=2e-4, atol=1e-5)
    assert expected[3] > 0 and expected[4] > 0
    np.testing.assert_allclose(total, np.dot([1.0, 0.5, 0.25, 2.0], expected[:4]), rtol=2e-4)


def test_without_a_metric_loss_the_rest_stays():
    total, _, report = loss(cached_system(loss__metric='none'), random_batch(PAIRS, seed=1))
    parts = [float(report[f'{name}_loss']) for name in PARTS]
    assert parts[3] == 0 and report['active_share'] == 0
    np.testing.assert_allclose(total, np.dot([1.0, 0.5, 0.25, 2.0], parts), rtol=1e-6)


@pytest.mark.parametrize('changes', [
    {}, {'loss__metric': 'triplet', 'loss__negatives': 'hardest'}, {'loss__metric': 'quadruplet'},
    {'loss__finetune': 'push_pull'}])
def test_awkward_batches_are_finite(changes):
    system, pool = cached_system(**changes, **STILL), 'loss__finetune' in changes
    plain = random_batch(4, pool=pool)
    nothing = plain | {'valid': np.zeros(4, bool)}
    same = {name: np.repeat(value[:1], 4, axis=0) for name, value in plain.items()}  # one class, one CAD model
    empty = plain | {'scan': np.zeros_like(plain['scan']), 'mask': np.zeros_like(plain['mask'])}
    unranked = plain | {'rank': np.zeros_like(plain['rank'])} if pool else plain
    train = not changes  # with augmentation and batch statistics once: it compiles slowly
    found = {name: value_and_gradient(system, batch, train=train) for name, batch in {
        'nothing': nothing, 'same': same, 'empty': empty, 'unranked': unranked}.items()}
    chex.assert_tree_all_finite(found)
    assert not any(np.any(leaf) for leaf in jax.tree.leaves(found['nothing']))
    if pool:
        assert found['unranked'][0][1]['metric_loss'] == 0
    elif system.metric.metric != 'contrastive':
        assert found['same'][0][1]['metric_loss'] == 0


def test_one_class_leaves_only_the_pull():
    batch = random_batch(PAIRS, seed=1)
    one = batch | {'category': np.zeros(PAIRS, np.int32)}
    system = cached_system(loss__margin_negative=5.0, loss__margin_positive=0.5)
    found = loss(system, one)[2]
    pairs = [(i, i) for i in range(PAIRS)]
    distances = euclidean_distances(forward(system, batch['scan'])[1], embedded(system, batch['cad']))
    np.testing.assert_allclose(found['metric_loss'], ref.pull(distances, pairs, margin=0.5), rtol=1e-4)
    assert found['active_share'] == 0


def test_all_networks_are_trained_together():
    system, batch = cached_system(loss__margin_negative=5.0), random_batch(PAIRS, seed=2)

    @jax.jit
    def parts(params):
        report = loss(system, batch, variables={**VARIABLES, 'params': params})[2]
        return [report[f'{name}_loss'] for name in PARTS]

    for part, found in zip(PARTS, jax.jit(jax.jacrev(parts))(VARIABLES['params']), strict=True):
        reached = {name for name, leaves in found.items() if optax.tree.norm(leaves) > 0}
        assert reached == {'metric': {'separation', 'completion', 'embedding'}, 'completion': {
            'separation', 'completion'}}.get(part, {'separation'})


def test_gradient_is_that_of_finite_differences():
    system, batch = cached_system(loss__margin_negative=5.0), random_batch(PAIRS, seed=3)
    _, found = value_and_gradient(system, batch)
    rng = np.random.default_rng(0)
    for name, params in VARIABLES['params'].items():
        way = jax.tree.map(lambda leaf: rng.normal(size=leaf.shape).astype(np.float32) * 1e-3, params)
        ends = []
        for sign in (1, -1):
            moved = jax.tree.map(lambda leaf, step, sign=sign: leaf + sign * step, params, way)
            variables = {**VARIABLES, 'params': {**VARIABLES['params'], name: moved}}
            ends.append(float(value_and_gradient(system, batch, variables=variables)[0][0]))
        np.testing.assert_allclose((ends[0] - ends[1]) / 2, optax.tree.vdot(way, found[name]), rtol=0.02, atol=2e-6)


# Training mode --------------------------------------------------------------------------------------------------------


def test_grids_of_an_object_are_augmented_alike_each_object_with_its_own_key():
    seen = {}

    class Recorder(FlatEncoder):
        def apply(self, variables, grids, **options):
            seen['grids'] = grids
            out = jnp.ones((grids.shape[0], DIM))
            return (out, {'batch_stats': {}}) if options['train'] else out

    system = flat_system(model__variant='pointnet', loss__finetune='push_pull')
    system = dataclasses.replace(system, networks={'embedding': Recorder()})
    batch = random_batch(4, pool=True)
    loss.__wrapped__(system, batch, train=True)
    keys = jax.random.split(jax.random.split(KEY, 3)[0], 4)
    grids = {name: batch[name] for name in ('scan', 'mask', 'cad', 'pool')}
    change = jax.jit(augment_grids)
    expected = [change(key, {name: value[i:i + 1] for name, value in grids.items()}) for i, key in enumerate(keys)]
    np.testing.assert_array_equal(seen['grids'][:4, ..., 0], np.concatenate([one['scan'] for one in expected]))
    np.testing.assert_array_equal(seen['grids'][4:, ..., 0].reshape(4, POOL, *(CELLS,) * 3),
                                  np.concatenate([one['pool'] for one in expected]))
    loss.__wrapped__(system, batch)
    np.testing.assert_array_equal(seen['grids'][:4, ..., 0], batch['scan'])


def train(mode, devices, variables, *, steps=2, batch_size=8, spoil=False, **changes):
    """State after some steps, and the metrics of every step; `spoil` changes what padded rows hold."""
    parallel = make_parallel(mode, devices=devices, batch_size=batch_size)
    optimizer, schedule = make_grouped_optimizer(optimizer_config(learning_rate=0.02), steps, {})
    system = flat_system(axis_name=parallel.axis_name, loss__negatives='adaptive', **changes)
    step = parallel.compile(make_train_step(system, optimizer, learning_rate=schedule,
                                            axis_name=parallel.axis_name))
    state, history = parallel.place_state(create_state(variables, optimizer, seed=3, average=False)), []
    for i in range(steps):
        batch = random_batch(batch_size, seed=i, pool=bool(changes))
        batch['valid'][-3:] = i > 0
        if spoil and i == 0:
            batch['scan'][-3:], batch['category'][-3:], batch['instance'][-3:] = 1, 0, 7
        state, metrics = step(state, parallel.place_batch(batch))
        history.append(jax.device_get(parallel.single(metrics)))
    return jax.device_get(parallel.single(state)), history


@pytest.mark.parametrize('changes', [{}, {'loss__finetune': 'push_pull'}])
def test_devices_and_padding_do_not_change_the_numbers(changes):
    state, history = train('jit', 1, VARIABLES, **changes)
    assert not np.allclose(history[0]['loss'], history[1]['loss'])
    for mode in ('pmap',) if changes else ('jit', 'pmap'):
        other, other_history = train(mode, 8, VARIABLES, spoil=mode == 'pmap', **changes)
        chex.assert_trees_all_close(history, other_history, rtol=1e-5, atol=1e-6)
        # Plain SGD: the way travelled is the sum of the gradients.
        way, other_way = (jax.tree.map(np.subtract, moved.params, VARIABLES['params']) for moved in (state, other))
        assert optax.tree.norm(jax.tree.map(np.subtract, way, other_way)) < 1e-5 * optax.tree.norm(way)
        chex.assert_trees_all_close(state.collections, other.collections, rtol=1e-5, atol=1e-6)


def test_a_tiny_batch_is_learned():
    """Real networks: the 3D CNN of a few channels finds the CAD model of each of four scans."""
    config = small_config(model__variant='cnn3d', model__width=0.05, loss__negatives='all', loss__margin_negative=2.0,
                          loss__margin_same_class=2.0, **STILL)
    system, batch = ScanCad.from_config(config), random_batch(4, seed=14)
    assert len(set(batch['instance'])) == 4
    optimizer = optax.adam(1e-2)
    state = create_state(jax.jit(system.init)(jax.random.key(0), batch), optimizer, seed=0, average=False)
    step = jax.jit(make_train_step(system, optimizer, learning_rate=lambda step: 0.0))
    losses = []
    for _ in range(30):
        state, metrics = step(state, batch)
        losses.append(float(metrics['metric_loss']))
    assert losses[-1] < 0.2 * losses[0]
    scans, cads = (jax.jit(system.embed, static_argnums=2)(state.variables, batch, name) for name in ('scan', 'cad'))
    assert list(np.argmax(system.score(state.variables, scans, cads), axis=1)) == [0, 1, 2, 3]


# From the config ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize('variant,millions', [('hourglass', 5.43), ('cnn3d', 4.69), ('pointnet', 0.41)])
def test_published_sizes_trace(variant, millions):
    config = small_config(model__variant=variant, model__stem='fine', model__width=1.0, model__embedding_dim=256,
                          model__points=1024, model__dtype='bfloat16')
    system = ScanCad.from_config(config, axis_name=None)
    batch = jax.eval_shape(lambda: jax.tree.map(jnp.asarray, random_batch(128)))
    variables = jax.eval_shape(system.init, KEY, batch)
    assert round(count_parameters(variables['params']) / 1e6, 2) == millions
    total, (state, report) = jax.eval_shape(
        lambda v, b: system.loss(v, b, rng=KEY, step=jnp.int32(0), train=True), variables, batch)
    assert total.shape == () and {value.shape for value in report.values()} == {()}
    chex.assert_trees_all_equal_shapes_and_dtypes(state['batch_stats'], variables['batch_stats'])
    embeddings = jax.eval_shape(partial(system.embed, modality='scan'), variables, batch)
    assert embeddings.shape == (128, 256)
    chex.assert_type([total, *report.values(), embeddings], jnp.float32)
    assert ('completion_loss' in report) == (variant == 'hourglass')


@pytest.mark.parametrize('variant', CHOICES['model.variant'])
def test_every_network_is_told_the_device_axis(variant):
    system = ScanCad.from_config(small_config(model__variant=variant), axis_name='data')
    assert {network.axis_name for network in system.networks.values()} == {'data'}


@pytest.mark.parametrize('key,value', [(key, 'other') for key in CHOICES] + [
    *((key, 0) for key in ABOVE_ZERO), *((key, -0.5) for key in ZERO_OR_ABOVE), ('augmentation.flip', 1.5),
    ('loss.margin_negative', float('nan'))])
def test_bad_values_are_named(key, value):
    config = small_config()
    group, name = key.split('.')
    with config.ignore_type():
        config[group][name] = value
    with pytest.raises(ConfigError, match=f'config.{key}: '):
        ScanCad.from_config(config)


@pytest.mark.parametrize('changes,named', [
    ({'model__variant': 'cnn3d', 'loss__metric': 'none'}, 'loss.metric'),
    ({'loss__metric': 'quadruplet', 'loss__negatives': 'all'}, 'loss.negatives'),
    ({'loss__metric': 'triplet', 'loss__finetune': 'push'}, 'loss.finetune')])
def test_values_that_do_not_go_together_are_named(changes, named):
    with pytest.raises(ConfigError, match=f'config.{named}: '):
        ScanCad.from_config(small_config(**changes))


# Embeddings -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize('normalize', [False, True])
def test_embeddings_segmentation_and_scores(normalize):
    system, batch = cached_system(model__normalize=normalize), random_batch(PAIRS)
    logits, scans = forward(system, batch['scan'])
    cads = embedded(system, batch['cad'])
    embed = jax.jit(system.embed, static_argnums=2)
    found = [embed(VARIABLES, {name: batch[name]}, name) for name in ('scan', 'cad')]
    np.testing.assert_allclose(found[0], scans, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(found[1], cads, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(system.score(VARIABLES, *found), -euclidean_distances(scans, cads), rtol=1e-4, atol=1e-4)
    foreground, completion = jax.jit(system.segment_and_complete)(VARIABLES, batch['scan'])
    np.testing.assert_allclose(foreground, sigmoid(logits[0]), rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(completion, sigmoid(logits[2]), rtol=1e-4, atol=1e-6)
    with pytest.raises(ValueError, match="'scan' and 'cad'"):
        system.embed(VARIABLES, batch, 'photo')
    with pytest.raises(ValueError, match='hourglass'):
        cached_system(model__variant='cnn3d').segment_and_complete(VARIABLES, batch['scan'])
