"""HIFA's losses against loop-written oracles of its own embeddings; padding, order, awkward batches, learning."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hifa_runs import (
    PHOTOS,
    RAMP,
    SHAPES,
    VARIANTS,
    batch_centroids,
    centroids_of,
    classify,
    domain_logits,
    encoded,
    expected_parts,
    norm,
    run,
    softmax,
    system_of,
    variables_of,
)
from small_hifa import CLASSES, STEPS, random_batch


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
    logits = [domain_logits(variables, x) for x in (photos, shapes)]
    expected = {
        'label_accuracy': (classify(variables, photos).argmax(axis=1) == batch['label'][2:]).mean(),
        'ramp': RAMP,
        'photo_norm': np.linalg.norm(photos, axis=1).mean(),
        'shape_norm': np.linalg.norm(shapes, axis=1).mean(),
        'pseudo_classes': (counts > 0).sum(),
        'pseudo_largest_share': counts.max() / counts.sum(),
        'pseudo_confidence': softmax(classify(variables, shapes)).max(axis=1).mean(),
        'domain_accuracy': ((logits[0] > 0).mean() + (logits[1] <= 0).mean()) / 2,
    }
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
        for batch in (
            same,
            plain | {'label': np.full(PHOTOS, 2, np.int32)},
            plain | {'valid': np.arange(PHOTOS) < 1},
            plain | {'shape_valid': np.arange(SHAPES) < 1},
        ):
            chex.assert_tree_all_finite(run(system, variables, batch))
        nothing = plain | {'valid': np.zeros(PHOTOS, bool), 'shape_valid': np.zeros(SHAPES, bool)}
        (total, (collections, _)), gradients = run(system, variables, nothing, train=True)
        assert total == 0 and norm(gradients) == 0
        chex.assert_trees_all_close(collections, {key: variables[key] for key in collections})


@pytest.mark.parametrize('centroid', ['batch', 'running', 'running_mstn'])
def test_doubtful_pseudo_labels_do_not_count_in_centroids(centroid):
    """As if those shapes were not there; other losses see them."""
    batch, plain = random_batch(PHOTOS, SHAPES), system_of(centroid=centroid)
    variables = variables_of(plain)
    confidence = np.sort(softmax(classify(variables, encoded(plain, variables, batch)['shapes'])).max(axis=1))
    least = float(confidence[1:3].mean())
    (total, (collections, report)), gradients = run(
        system_of(centroid=centroid, pseudo_confidence=least), variables, batch
    )
    kept = softmax(classify(variables, encoded(plain, variables, batch)['shapes'])).max(axis=1) >= least
    assert kept.sum() == SHAPES - 2
    (_, (without, fewer)), _ = run(plain, variables, batch | {'shape_valid': kept})
    np.testing.assert_allclose(report['centroid_loss'], fewer['centroid_loss'], rtol=1e-5)
    chex.assert_trees_all_close(collections.get('centroids'), without.get('centroids'), rtol=1e-5, atol=1e-6)
    assert report['norm_loss'] != fewer['norm_loss'] and np.isfinite(total)
    chex.assert_tree_all_finite(gradients)


def test_collapsed_pseudo_labels_are_reported():
    system, batch = system_of(), random_batch(PHOTOS, SHAPES)
    variables = jax.tree.map(lambda x: x, variables_of(system))
    variables['params']['classifier']['layer2']['bias'] += jnp.array([0.0, 0.0, 0.0, 1e4])
    batch['label'] = batch['label'] % 3  # no photo of the class that every shape seems to be
    (total, (_, report)), gradients = run(system, variables, batch)
    assert report['pseudo_classes'] == 1 and report['pseudo_largest_share'] == 1
    assert report['centroid_loss'] == 0 and np.isfinite(total)
    chex.assert_tree_all_finite(gradients)


def test_a_tiny_batch_is_learnt():
    system, batch = system_of(), random_batch(PHOTOS, SHAPES)  # compiled before
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
