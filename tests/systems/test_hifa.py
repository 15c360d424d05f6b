"""HIFA's system against loop-written oracles of its own embeddings; gradients, padding, state, devices."""

from functools import cache, partial

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import references_adaptation as oracles
from references_center import cross_entropy
from small_cmic import optimizer_config
from small_hifa import CLASSES, DIM, EVERYTHING, NOTHING, STEPS, VIEWS, random_batch, small_hifa

from jaxret.losses import alignment
from jaxret.losses.discrepancy import KERNEL_FACTORS, LABEL_SIGMA
from jaxret.systems.hifa import pictures
from jaxret.training.optimizers import make_optimizer, make_schedule
from jaxret.training.parallel import make_parallel
from jaxret.training.state import create_state
from jaxret.training.step import make_train_step

KEY, PHOTOS, SHAPES, STEP = jax.random.key(5), 7, 5, 3
RAMP = 2 / (1 + np.exp(-10 * STEP / STEPS)) - 1
# Of every loss each form, of the map both, of pooling both.
VARIANTS = {
    'hifa': {},
    'everything': EVERYTHING | {'local': True},
    'mstn': {'mutual_information': 'jsd', 'norm': 'stepwise', 'centroid': 'running_mstn', 'centroid_reduction': 'mean',
             'mmd': 'linear', 'hidden': ()},
    'conv': {'mutual_information': 'dv', 'norm': 'none', 'centroid': 'none', 'mmd': 'multi_kernel',
             'view_pooling': 'conv'},
}


@cache
def system_of(**changes):
    """The same object for the same changes, so that it is compiled once."""
    return small_hifa(**changes)


@cache
def variables_of(system):
    """Random parameters (numpy's, which need no compilation) and the collections before the first step."""
    rng = np.random.default_rng(0)

    def draw(path, leaf):
        scale = 1 / np.sqrt(np.prod(leaf.shape[:-1])) if path[-1].key == 'kernel' else 0.1
        return jnp.asarray(rng.normal(size=leaf.shape) * scale, leaf.dtype)

    variables = dict(jax.eval_shape(system.init, jax.random.key(0), random_batch(1, 1)))
    params = jax.tree_util.tree_map_with_path(draw, variables.pop('params'))
    return {'params': params, **jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), variables)}


def run(system, variables, batch, *, step=STEP, rng=KEY, train=True):
    """((loss, (collections, report)), gradients) as numpy arrays, on which checks need no compilation."""
    return jax.device_get(_run(system, variables, batch, step=step, rng=rng, train=train))


@partial(jax.jit, static_argnums=0, static_argnames='train')
def _run(system, variables, batch, *, step, rng, train):
    rest = {name: value for name, value in variables.items() if name != 'params'}

    def loss(params):
        return system.loss({'params': params, **rest}, batch, rng=rng, step=jnp.int32(step), train=train)

    return jax.value_and_grad(loss, has_aux=True)(variables['params'])


def encoded(system, variables, batch):
    """The encoder's maps and embeddings of valid rows in evaluation mode, float64."""
    own = {'params': {name: variables['params'][name] for name in ('backbone', 'embedding')}}
    found = jax.jit(system.encoder.apply)(own, pictures(batch['photo']), pictures(batch['views']))
    return {name: np.asarray(value, np.float64) for name, value in found._asdict().items()}


def classify(variables, x):
    for layer in variables['params']['classifier'].values():
        x = x @ np.asarray(layer['kernel'], np.float64) + np.asarray(layer['bias'], np.float64)[None]
    return x


def norm(tree):
    return np.sqrt(sum(np.square(leaf, dtype=np.float64).sum() for leaf in jax.tree.leaves(tree)))


def all_finite(tree):
    return all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(tree))


def softmax(x):
    e = np.exp(x - x.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


def expected_parts(system, variables, batch, histories):
    """Every loss by loops; histories: centroids (means, present) of the batches so far, by domain."""
    weighting, found = system.weighting, encoded(system, variables, batch)
    photos, shapes = found['photos'], found['shapes']
    valid, other = list(batch['valid']), list(batch['shape_valid'])
    rows = oracles.rows_of(photos, valid), oracles.rows_of(shapes, other)
    logits = [classify(variables, x) for x in (photos, shapes)]
    parts = {'label': cross_entropy(logits[0][None], batch['label'], reduction='sum', valid=valid)}
    if weighting.mutual_information != 'none':
        oracle = {'bce': oracles.binary_cross_entropy, 'jsd': oracles.jensen_shannon}.get(
            weighting.mutual_information, oracles.donsker_varadhan)
        views = len(found['views']) // len(other)
        owners = [i // views for i in range(len(found['views']))]
        parts['mutual_information'] = sum(
            np.mean([oracle(cell, owner, kept) for cell in pair_scores(system, variables, maps, x)])
            for maps, x, owner, kept in ((found['photo_maps'], photos, range(len(valid)), valid),
                                         (found['view_maps'], found['views'], owners, [other[o] for o in owners])))
    if weighting.norm == 'fixed':
        parts['norm'] = sum(oracles.fixed_norm(x, v, weighting.norm_radius)
                            for x, v in ((photos, valid), (shapes, other)))
    elif weighting.norm == 'stepwise':
        parts['norm'] = 2 * weighting.norm_step**2
    if weighting.centroid != 'none':
        means, seen = zip(*(centroids_of(weighting, history) for history in histories), strict=True)
        counted = [weighting.centroid == 'running_mstn' or (a and b) for a, b in zip(*seen, strict=True)]
        parts['centroid'] = oracles.centroid_distance(*means, counted, reduction=weighting.centroid_reduction)
    if weighting.adversarial != 'none':
        parts['adversarial'] = oracles.adversarial(*(domain_logits(system, variables, x) for x in (photos, shapes)),
                                                   valid, other)
    if weighting.mmd == 'linear':
        parts['mmd'] = oracles.linear_mmd(*rows)
    elif weighting.mmd == 'multi_kernel':
        parts['mmd'] = oracles.multi_kernel_mmd(*rows, KERNEL_FACTORS, width=oracles.width_of(rows[0] + rows[1]))
    elif weighting.mmd == 'jan':
        labels = [oracles.rows_of(softmax(x), v) for x, v in zip(logits, (valid, other), strict=True)]
        pairs = [list(zip(x, p, strict=True)) for x, p in zip(rows, labels, strict=True)]
        parts['mmd'] = oracles.joint_mmd(*pairs, KERNEL_FACTORS, LABEL_SIGMA, width=oracles.width_of(rows[0] + rows[1]))
    if weighting.coral_weight:
        parts['coral'] = oracles.coral(*rows)
    return parts


def batch_centroids(system, variables, batch):
    """Centroids of photos by label and of shapes by pseudo-label."""
    found = encoded(system, variables, batch)
    pseudo = classify(variables, found['shapes']).argmax(axis=1)
    return (oracles.centroids(found['photos'], batch['label'], CLASSES, batch['valid']),
            oracles.centroids(found['shapes'], pseudo, CLASSES, batch['shape_valid']))


def centroids_of(weighting, history):
    if weighting.centroid == 'batch':
        return history[-1]
    return oracles.running_centroids(history, CLASSES, DIM, momentum=weighting.centroid_momentum,
                                     masked=weighting.centroid == 'running')


def pair_scores(system, variables, maps, embeddings):
    own = {'params': variables['params']['discriminator']}
    return np.asarray(jax.jit(system.discriminator.apply)(own, maps.astype(np.float32), embeddings.astype(np.float32)))


def domain_logits(system, variables, x):
    return np.asarray(jax.jit(system.domain.apply)({'params': variables['params']['domain']}, x.astype(np.float32)))


# Losses ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize('name', VARIANTS)
def test_loss_is_the_weighted_sum_of_the_oracles(name):
    system = system_of(**VARIANTS[name])
    variables, weighting = variables_of(system), system.weighting
    first, second = random_batch(PHOTOS, SHAPES, seed=1), random_batch(PHOTOS, SHAPES, seed=2)
    second['valid'][-2:], second['shape_valid'][1:3], second['label'][-2:] = False, False, -7
    (_, (collections, _)), _ = run(system, variables, first)
    assert set(collections) == set(variables) - {'params'}
    after = {'params': variables['params'], **collections}
    (total, (collections, report)), _ = run(system, after, second)
    histories = list(zip(*(batch_centroids(system, variables, batch) for batch in (first, second)), strict=True))
    expected = expected_parts(system, variables, second, histories)
    assert {key for key in report if key.endswith('_loss')} == {f'{key}_loss' for key in expected}
    for key, value in expected.items():
        np.testing.assert_allclose(report[f'{key}_loss'], value, rtol=2e-4, atol=1e-5, err_msg=key)
    for domain, history in zip(('photo', 'shape'), histories, strict=True):
        if weighting.centroid.startswith('running'):
            means, seen = centroids_of(weighting, history)
            np.testing.assert_allclose(collections['centroids'][domain]['mean'], means, rtol=1e-4, atol=1e-5)
            np.testing.assert_array_equal(collections['centroids'][domain]['seen'] > 0, seen)
    weights = {key: getattr(weighting, f'{key}_weight') for key in expected}
    if 'centroid' in weights:
        weights['centroid'] *= RAMP
    np.testing.assert_allclose(total, sum(weights[key] * expected[key] for key in expected), rtol=2e-4)


def test_report():
    system, batch = system_of(**VARIANTS['everything']), random_batch(PHOTOS, SHAPES, seed=1)
    batch['valid'][:2], batch['shape_valid'][0] = False, False
    variables = variables_of(system)
    report = run(system, variables, batch)[0][1][1]
    found = encoded(system, variables, batch)
    photos, shapes = found['photos'][2:], found['shapes'][1:]
    pseudo = classify(variables, shapes).argmax(axis=1)
    counts = np.bincount(pseudo, minlength=CLASSES)
    logits = [domain_logits(system, variables, x) for x in (photos, shapes)]
    expected = {
        'label_accuracy': (classify(variables, photos).argmax(axis=1) == batch['label'][2:]).mean(), 'ramp': RAMP,
        'photo_norm': np.linalg.norm(photos, axis=1).mean(), 'shape_norm': np.linalg.norm(shapes, axis=1).mean(),
        'pseudo_classes': (counts > 0).sum(), 'pseudo_largest_share': counts.max() / counts.sum(),
        'domain_accuracy': ((logits[0] > 0).mean() + (logits[1] <= 0).mean()) / 2}
    chex.assert_trees_all_close({key: report[key] for key in expected}, jax.tree.map(np.float32, expected), rtol=1e-4)
    chex.assert_type(jax.tree.leaves(report), jnp.float32)
    np.testing.assert_allclose(run(system, variables, batch, step=10 * STEPS)[0][1][1]['ramp'], np.tanh(5), rtol=1e-6)


@pytest.mark.parametrize('name', ['everything', 'conv'])
def test_padding_changes_nothing(name):
    """What rows that do not count hold; that the others' numbers are right the oracles say."""
    system, found = system_of(**VARIANTS[name]), []
    for seed in (8, 9):
        batch, other = random_batch(PHOTOS, SHAPES), random_batch(PHOTOS, SHAPES, seed=seed)
        batch['valid'][3:5], batch['shape_valid'][0], batch['label'][3:5] = False, False, -seed
        batch['photo'][3:5], batch['views'][0] = other['photo'][3:5], other['views'][0]
        found.append(run(system, variables_of(system), batch))
    chex.assert_trees_all_close(*found, rtol=1e-5, atol=1e-6)


def test_evaluation_moves_nothing():
    system, batch = system_of(dropout=0.5, **NOTHING | {'centroid': 'running'}), random_batch(2, 3)
    variables = variables_of(system)
    (value, (kept, _)), _ = run(system, variables, batch, train=False)
    chex.assert_trees_all_equal(kept, {'centroids': variables['centroids']})
    assert value == run(system, variables, batch, train=False, rng=jax.random.key(6))[0][0]  # no dropout
    (_, (moved, _)), _ = run(system, variables, batch)
    assert np.any(moved['centroids']['photo']['mean'])


def test_order_of_shapes_and_views_does_not_matter():
    system, batch = system_of(**VARIANTS['everything']), random_batch(PHOTOS, SHAPES)
    variables, order = variables_of(system), np.random.default_rng(0).permutation(SHAPES)
    plain = run(system, variables, batch)
    for views in (batch['views'][order], batch['views'][:, ::-1]):
        moved = run(system, variables, batch | {'views': views})
        chex.assert_trees_all_close(moved, plain, rtol=1e-4, atol=1e-5)
    # The labels of the photos do matter.
    assert run(system, variables, batch | {'label': np.roll(batch['label'], 1)})[0][0] != plain[0][0]


def test_awkward_batches_stay_finite():
    for name in VARIANTS:
        system = system_of(**VARIANTS[name])
        variables, plain = variables_of(system), random_batch(PHOTOS, SHAPES)
        same = {key: np.repeat(value[:1], len(value), axis=0) for key, value in plain.items()}
        for batch in (same, plain | {'label': np.full(PHOTOS, 2, np.int32)}, plain | {'valid': np.arange(PHOTOS) < 1},
                      plain | {'shape_valid': np.arange(SHAPES) < 1}):
            assert all_finite(run(system, variables, batch))
        nothing = plain | {'valid': np.zeros(PHOTOS, bool), 'shape_valid': np.zeros(SHAPES, bool)}
        (total, (collections, _)), gradients = run(system, variables, nothing, train=True)
        assert total == 0 and norm(gradients) == 0
        chex.assert_trees_all_close(collections, {key: variables[key] for key in collections})


def test_collapsed_pseudo_labels_are_reported():
    system, batch = system_of(), random_batch(PHOTOS, SHAPES)
    variables = jax.tree.map(lambda x: x, variables_of(system))
    variables['params']['classifier']['layer2']['bias'] += jnp.array([0.0, 0.0, 0.0, 1e4])
    batch['label'] = batch['label'] % 3  # no photo of the class that every shape seems to be
    (total, (_, report)), gradients = run(system, variables, batch)
    assert report['pseudo_classes'] == 1 and report['pseudo_largest_share'] == 1
    assert report['centroid_loss'] == 0 and np.isfinite(total)
    assert all_finite(gradients)


# Gradients ------------------------------------------------------------------------------------------------------------


def only(**changes):
    """The system with a single loss."""
    return system_of(**(NOTHING | {'label_weight': 0.0} | changes))


def norms(gradients):
    return {name: norm(tree) for name, tree in gradients.items()}


def test_source_only_ignores_the_shapes():
    system, batch = system_of(**NOTHING), random_batch(PHOTOS, SHAPES)
    variables = variables_of(system)
    assert set(variables['params']) == {'backbone', 'embedding', 'classifier'} and set(variables) == {'params'}
    (total, _), gradients = run(system, variables, batch)
    (other, _), others = run(system, variables, batch | {'views': random_batch(1, SHAPES, seed=7)['views']})
    assert total == other and min(norms(gradients).values()) > 0
    chex.assert_trees_all_close(gradients, others, rtol=1e-5, atol=1e-7)


def test_warm_up_has_labels_alone_and_the_ramp_counts_from_its_end():
    batch, system = random_batch(PHOTOS, SHAPES), system_of(warmup=0.5)
    variables = variables_of(system)
    (total, (_, report)), gradients = run(system, variables, batch, step=STEPS // 2 - 1)
    assert total == report['label_loss'] and report['norm_loss'] > 0 and report['ramp'] == 0
    labels = run(system_of(**NOTHING), {'params': {name: variables['params'][name] for name in (
        'backbone', 'embedding', 'classifier')}}, batch)[1]
    chex.assert_trees_all_close({name: gradients[name] for name in labels}, labels, rtol=1e-4, atol=1e-6)
    assert norms(gradients)['discriminator'] == 0
    (total, (_, report)), gradients = run(system, variables, batch, step=STEPS // 2 + STEPS // 4)
    progress = (STEPS // 2 + STEPS // 4 - 0.5 * STEPS) / (0.5 * STEPS)
    assert report['ramp'] == pytest.approx(2 / (1 + np.exp(-10 * progress)) - 1, rel=1e-5)
    assert total > report['label_loss'] and norms(gradients)['discriminator'] > 0


def test_gradient_is_reversed_for_the_encoder_and_not_for_the_domain_classifier():
    system, batch = only(adversarial='revgrad', adversarial_weight=0.6), random_batch(PHOTOS, SHAPES)
    variables = variables_of(system)

    def plain(params):
        own = {'params': {name: params[name] for name in ('backbone', 'embedding')}}
        found = system.encoder.apply(own, pictures(batch['photo']), pictures(batch['views']))
        logits = [system.domain.apply({'params': params['domain']}, x) for x in (found.photos, found.shapes)]
        return 0.6 * alignment.adversarial_loss(*logits)

    expected = jax.device_get(jax.jit(jax.grad(plain))(variables['params']))
    _, gradients = run(system, variables, batch)
    chex.assert_trees_all_close(gradients['domain'], expected['domain'], rtol=1e-4, atol=1e-7)
    for name in ('backbone', 'embedding'):
        assert norm(expected[name]) > 1e-4
        reversed_ = jax.tree.map(lambda x: -RAMP * x, expected[name])
        chex.assert_trees_all_close(gradients[name], reversed_, rtol=1e-3, atol=1e-6)
    start = norms(run(system, variables, batch, step=0)[1])
    assert start['domain'] > 0 and start['backbone'] == start['embedding'] == 0


def test_pseudo_labels_have_no_gradient():
    batch = random_batch(24, 16)
    for kind in ('batch', 'running'):
        system = only(centroid=kind)
        (total, _), gradients = run(system, variables_of(system), batch)
        found = norms(gradients)
        assert total > 0 and found['classifier'] == 0 and found['backbone'] > 0 and found['embedding'] > 0
        assert norms(run(system, variables_of(system), batch, step=0)[1])['backbone'] == 0  # the ramp starts at 0


def test_mutual_information_trains_discriminator_and_encoder():
    for kind in ('bce', 'dv_unbiased'):
        system = only(mutual_information=kind)
        (_, (collections, _)), gradients = run(system, variables_of(system), random_batch(PHOTOS, SHAPES))
        found = norms(gradients)
        assert found['classifier'] == 0 and min(found[name] for name in ('discriminator', 'backbone', 'embedding')) > 0
        assert ('mutual_information' in collections) == (kind == 'dv_unbiased')


def test_other_views_of_a_shape_are_no_negatives():
    """With one shape there is nothing to tell its views from, so the shapes add nothing."""
    system, batch = only(mutual_information='bce'), random_batch(PHOTOS, SHAPES)
    variables = variables_of(system)
    alone = run(system, variables, batch | {'shape_valid': np.arange(SHAPES) == 1})[0][0]
    nothing = run(system, variables, batch | {'shape_valid': np.zeros(SHAPES, bool)})[0][0]
    assert alone == nothing > 0


# Training mode --------------------------------------------------------------------------------------------------------


def test_dropout_is_a_function_of_the_key():
    system = system_of(dropout=0.5, **NOTHING | {'adversarial': 'revgrad'})
    batch, variables = random_batch(PHOTOS, SHAPES), variables_of(system)
    first, again = (run(system, variables, batch) for _ in range(2))
    chex.assert_trees_all_equal(first, again)
    other = run(system, variables, batch, rng=jax.random.key(6))[0][1][1]
    for name in ('label_loss', 'adversarial_loss'):
        assert other[name] != first[0][1][1][name]


def test_a_tiny_batch_is_learnt():
    system, batch = system_of(), random_batch(6, 4)
    variables, optimizer = variables_of(system), optax.adam(1e-2)
    state, history, update = optimizer.init(variables['params']), [], jax.jit(optimizer.update)
    for _ in range(60):
        (_, (_, report)), gradients = run(system, variables, batch)
        updates, state = update(gradients, state)
        variables = {'params': jax.tree.map(np.add, variables['params'], updates)}
        history.append(report)
    for name, share in (('label_loss', 0.1), ('norm_loss', 0.1), ('mutual_information_loss', 0.5)):
        assert history[-1][name] < share * history[0][name], name
    assert history[-1]['label_accuracy'] == 1


def train(mode, devices, variables, *, steps=2, **changes):
    """State after some steps, and the metrics of every step."""
    parallel = make_parallel(mode, devices=devices, batch_size=8)
    schedule = make_schedule(optimizer_config(learning_rate=0.02), steps)
    optimizer = make_optimizer(optimizer_config(), schedule)
    system = small_hifa(axis_name=parallel.axis_name, **changes)
    step = parallel.compile(make_train_step(system, optimizer, learning_rate=schedule,
                                            axis_name=parallel.axis_name))
    state, history = parallel.place_state(create_state(variables, optimizer, seed=3, average=False)), []
    for i in range(steps):
        batch = random_batch(16, 8, seed=i)
        if 'backbone' not in changes:  # padding in two devices' shares
            batch['valid'][-3:], batch['shape_valid'][:3] = i > 0, i > 0
        state, metrics = step(state, parallel.place_batch(batch))
        history.append(jax.device_get(parallel.single(metrics)))
    return jax.device_get(parallel.single(state)), history


@pytest.mark.parametrize('changes', [
    EVERYTHING | {'dropout': 0.5, 'mmd': 'none', 'coral_weight': 0.0},
    {'backbone': 'resnet', 'view_pooling': 'conv', 'centroid': 'running_mstn'}], ids=['state', 'batch norm'])
def test_devices_do_not_change_the_numbers(changes):
    start = jax.device_get(variables_of(system_of(**changes)))
    state, history = train('jit', 1, start, **changes)
    assert not np.allclose(history[0]['loss'], history[1]['loss'])
    for mode in ('jit', 'pmap'):
        other, other_history = train(mode, 8, start, **changes)
        chex.assert_trees_all_close(history, other_history, rtol=1e-4, atol=1e-5)
        # Plain SGD: the way travelled is the sum of the gradients.
        way, other_way = (jax.tree.map(np.subtract, moved.params, start['params']) for moved in (state, other))
        assert norm(jax.tree.map(np.subtract, way, other_way)) < 1e-4 * norm(way)
        chex.assert_trees_all_close(state.collections, other.collections, rtol=1e-4, atol=1e-5)


# Retrieval ------------------------------------------------------------------------------------------------------------


def test_embeddings_are_raw_and_score_is_their_cosine():
    system, batch = system_of(dropout=0.5), random_batch(PHOTOS, SHAPES)
    variables = variables_of(system)
    found = encoded(system, variables, batch)
    embed = jax.jit(system.embed, static_argnums=2)
    photos, shapes = embed(variables, batch, 'photo'), embed(variables, batch, 'shape')
    chex.assert_trees_all_close((photos, shapes), (np.float32(found['photos']), np.float32(found['shapes'])), rtol=1e-4)
    colored = {'views': np.repeat(batch['views'], 3, axis=-1)}
    chex.assert_trees_all_close(embed(variables, colored, 'shape'), shapes, rtol=1e-5)
    probabilities = system.predict(variables, photos)
    np.testing.assert_allclose(probabilities, softmax(classify(variables, found['photos'])), rtol=1e-4)
    unit = [x / np.linalg.norm(x, axis=1, keepdims=True) for x in (found['photos'], found['shapes'])]
    np.testing.assert_allclose(system.score(variables, photos, shapes), unit[0] @ unit[1].T, rtol=1e-4, atol=1e-6)
    with pytest.raises(ValueError, match='photo, shape'):
        system.embed(variables, batch, 'views')


def test_pictures_have_imagenets_mean_and_spread():
    image = np.random.default_rng(0).integers(256, size=(2, VIEWS, 4, 4, 1), dtype=np.uint8)
    expected = (image / 255 - np.array([0.485, 0.456, 0.406])) / np.array([0.229, 0.224, 0.225])
    np.testing.assert_allclose(pictures(image), expected, rtol=1e-5, atol=1e-6)
    colors = np.random.default_rng(1).integers(256, size=(2, 4, 4, 3), dtype=np.uint8)
    expected = (colors / 255 - np.array([0.485, 0.456, 0.406])) / np.array([0.229, 0.224, 0.225])
    np.testing.assert_allclose(pictures(colors), expected, rtol=1e-5, atol=1e-6)
