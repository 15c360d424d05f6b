"""Which gradients of HIFA's losses reach which networks; the warm-up; dropout and state in training alone."""

import chex
import jax
import numpy as np
import pytest
from hifa_runs import PHOTOS, RAMP, SHAPES, norm, run, system_of, variables_of
from small_hifa import NOTHING, STEPS, random_batch

from jaxret.losses import alignment
from jaxret.systems.hifa_inputs import make_towers, pictures


def only(**changes):
    """The system with a single loss."""
    return system_of(**(NOTHING | {'label_weight': 0.0} | changes))


def norms(gradients):
    return {name: norm(tree) for name, tree in gradients.items()}


def test_source_only_ignores_the_shapes():
    """Their pixels are in no gradient and in no statistics of batch norm."""
    system, batch = system_of(backbone='resnet', **NOTHING), random_batch(PHOTOS, SHAPES)
    variables = variables_of(system)
    assert set(variables['params']) == {'backbone', 'embedding', 'classifier'}
    assert set(variables) == {'params', 'batch_stats'}
    (total, (collections, _)), gradients = run(system, variables, batch)
    other = random_batch(1, SHAPES, seed=7)['views']
    (other_total, (other_collections, _)), others = run(system, variables, batch | {'views': other})
    assert total == other_total and min(norms(gradients).values()) > 0
    chex.assert_trees_all_equal((gradients, collections), (others, other_collections))
    assert norm(jax.tree.map(np.subtract, collections, {'batch_stats': variables['batch_stats']})) > 0


def test_warm_up_has_labels_alone_and_the_ramp_counts_from_its_end():
    batch, system = random_batch(PHOTOS, SHAPES), system_of(warmup=0.5)
    variables = variables_of(system)
    (total, (_, report)), gradients = run(system, variables, batch, step=STEPS // 2 - 1)
    assert total == report['label_loss'] and report['norm_loss'] > 0 and report['ramp'] == 0
    labels = run(
        system_of(**NOTHING),
        {'params': {name: variables['params'][name] for name in ('backbone', 'embedding', 'classifier')}},
        batch,
    )[1]
    chex.assert_trees_all_close({name: gradients[name] for name in labels}, labels, rtol=1e-4, atol=1e-6)
    assert norms(gradients)['discriminator'] == 0
    (total, (_, report)), gradients = run(system, variables, batch, step=STEPS // 2 + STEPS // 4)
    progress = (STEPS // 2 + STEPS // 4 - 0.5 * STEPS) / (0.5 * STEPS)
    assert report['ramp'] == pytest.approx(2 / (1 + np.exp(-10 * progress)) - 1, rel=1e-5)
    assert total > report['label_loss'] and norms(gradients)['discriminator'] > 0


def test_the_reversal_has_a_ramp_of_its_own_length():
    batch, step = random_batch(PHOTOS, SHAPES), STEPS // 2 + 1
    system = only(adversarial='revgrad', warmup=0.5)
    variables, found = variables_of(system), []
    for scheduled in (system, only(adversarial='revgrad', warmup=0.5, adversarial_ramp=2)):
        ((total, (_, report)), gradients) = run(scheduled, variables, batch, step=step)
        found.append(
            (
                total,
                report['ramp'],
                norms(gradients)['domain'],
                norms(run(scheduled, variables, batch, step=STEPS)[1])['backbone'],
            )
        )
    assert found[0] == found[1]  # of the losses' weights nothing changes, and both ramps end at 1
    label = run(only(), {'params': {k: v for k, v in variables['params'].items() if k != 'domain'}}, batch)[1]
    reversed_parts = [
        jax.tree.map(np.subtract, run(scheduled, variables, batch, step=step)[1]['embedding'], label['embedding'])
        for scheduled in (system, only(adversarial='revgrad', warmup=0.5, adversarial_ramp=2))
    ]
    whole, own = np.tanh(5 * 1 / 5), np.tanh(5 * 1 / 2)
    chex.assert_trees_all_close(
        reversed_parts[1], jax.tree.map(lambda x: x * own / whole, reversed_parts[0]), rtol=1e-3, atol=1e-6
    )


def test_gradient_is_reversed_for_the_encoder_and_not_for_the_domain_classifier():
    system, batch = only(adversarial='revgrad', adversarial_weight=0.6), random_batch(PHOTOS, SHAPES)
    variables = variables_of(system)

    def plain(params):
        own = {'params': {name: params[name] for name in ('backbone', 'embedding')}}
        found = system.encoder.apply(own, *(pictures(batch[name], tower) for name, tower in make_towers().items()))
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
    system, batch = only(centroid='running'), random_batch(24, 16)
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


def lively():
    """Dropout in backbone and domain classifier, and a state."""
    return system_of(dropout=0.5, **NOTHING | {'adversarial': 'revgrad', 'centroid': 'running'})


def test_dropout_is_a_function_of_the_key():
    system, batch = lively(), random_batch(PHOTOS, SHAPES)
    variables = variables_of(system)
    first, again = (run(system, variables, batch) for _ in range(2))
    chex.assert_trees_all_equal(first, again)
    other = run(system, variables, batch, rng=jax.random.key(6))[0][1][1]
    for name in ('label_loss', 'adversarial_loss'):
        assert other[name] != first[0][1][1][name]


def test_evaluation_moves_nothing():
    system, batch = lively(), random_batch(PHOTOS, SHAPES)
    variables = variables_of(system)
    (value, (kept, _)), _ = run(system, variables, batch, train=False)
    chex.assert_trees_all_equal(kept, {'centroids': variables['centroids']})
    assert value == run(system, variables, batch, train=False, rng=jax.random.key(6))[0][0]  # no dropout
    (_, (moved, _)), _ = run(system, variables, batch)
    assert np.any(moved['centroids']['photo']['mean'])
