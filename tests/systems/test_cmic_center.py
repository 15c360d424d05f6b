"""Cross-modal center loss in CMIC's encoders, shapes pooled without a query, and shapes as a query sees them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import references as ref
import references_center as center_ref
from overrides import load_config
from small_cmic import DIM, random_batch, small_cmic

from jaxret.errors import ConfigError
from jaxret.systems.cmic import CMIC, pool_views
from jaxret.systems.cmic_center import ShapeCenters

CLASSES, BATCH = 7, 5
KEY = jax.random.key(3)
CENTERS = ShapeCenters(CLASSES, DIM, label_weight=0.7, center_weight=3.0, alignment_weight=0.4)


def features(seed=0):
    rng = np.random.default_rng(seed)
    photos, shapes = (np.asarray(ref.l2_normalize(rng.normal(size=(BATCH, DIM))), np.float32) for _ in range(2))
    return photos, shapes, rng.integers(CLASSES, size=BATCH).astype(np.int32), np.array([1, 1, 0, 1, 1], bool)


def params_of(seed=1):
    rng = np.random.default_rng(seed)
    return jax.tree.map(lambda x: jnp.asarray(rng.normal(size=x.shape, scale=0.5), jnp.float32), CENTERS.init(KEY))


def expected(params, photos, shapes, labels, valid):
    both = np.stack([photos, shapes]).astype(np.float64)
    head = jax.tree.map(lambda x: np.asarray(x, np.float64), params['classifier'])
    hidden = np.maximum(both @ head['hidden']['kernel'] + head['hidden']['bias'], 0)
    logits = hidden @ head['output']['kernel'] + head['output']['bias']
    losses = [
        center_ref.cross_entropy(logits, labels, valid=valid),
        center_ref.published_center_loss(both, labels, np.asarray(params['centers'], np.float64), valid=valid),
        center_ref.pairwise_mse(both, valid=valid),
    ]
    return losses, 0.7 * losses[0] + 3.0 * losses[1] + 0.4 * losses[2]


def test_losses_are_those_of_the_oracles_and_padding_has_no_part():
    params, (photos, shapes, labels, valid) = params_of(), features()
    compute = jax.jit(CENTERS.losses)
    total, report = compute(params, photos, shapes, labels, valid)
    losses, expected_total = expected(params, photos, shapes, labels, valid)
    np.testing.assert_allclose([report[f'{name}_loss'] for name in ('label', 'center', 'alignment')], losses, rtol=1e-5)
    np.testing.assert_allclose(total, expected_total, rtol=1e-5)
    photos[2], labels[2] = 99.0, 0
    assert compute(params, photos, shapes, labels, valid)[0] == total
    nothing = np.zeros(BATCH, bool)
    value, gradient = jax.jit(jax.value_and_grad(lambda p: CENTERS.losses(p, photos, shapes, labels, nothing)[0]))(
        params
    )
    assert value == 0 and all((x == 0).all() for x in jax.tree.leaves(gradient))


def test_gradients_are_numeric_ones():
    params, (photos, shapes, labels, valid) = params_of(), features()
    found = jax.jit(jax.grad(lambda p, f: CENTERS.losses(p, *f, labels, valid)[0], argnums=(0, 1)))(
        params, (photos, shapes)
    )

    def with_centers(centers):
        return expected({**params, 'centers': centers}, photos, shapes, labels, valid)[1]

    numeric = ref.numeric_gradient(with_centers, np.asarray(params['centers'], np.float64))
    np.testing.assert_allclose(found[0]['centers'], numeric, atol=2e-5)
    numeric = ref.numeric_gradient(lambda x: expected(params, x, shapes, labels, valid)[1], photos.astype(np.float64))
    np.testing.assert_allclose(found[1][0], numeric, atol=2e-5)


def test_system_draws_each_photo_and_its_own_shape_to_the_center_of_that_shape():
    system = small_cmic(matching_kind='center', pooling='unit_mean', centers=CENTERS)
    batch = random_batch(BATCH) | {'shape_index': np.array([6, 1, 4, 0, 3], np.int32)}
    batch['query_valid'][1] = False
    variables = jax.jit(system.init)(jax.random.key(0), batch)
    assert set(variables['params']) == {'query', 'view', 'centers', 'classifier'}
    assert variables['params']['centers'].shape == (CLASSES, DIM)

    def compute(params):
        return system.loss({**variables, 'params': params}, batch, rng=KEY, step=jnp.int32(0), train=False)

    (total, (_, report)), gradient = jax.jit(jax.value_and_grad(compute, has_aux=True))(variables['params'])
    embed = jax.jit(system.embed, static_argnums=2)
    photos, views = (np.asarray(embed(variables, batch, name), np.float64) for name in ('photo', 'views'))
    pooled = np.array([ref.l2_normalize([np.mean(shape, axis=0)])[0] for shape in views])
    labels = batch['shape_index'][batch['positive']]
    losses, expected_total = expected(
        variables['params'], photos, pooled[batch['positive']], labels, batch['query_valid']
    )
    np.testing.assert_allclose(total, expected_total, rtol=1e-5)
    assert set(report) == {'label_loss', 'center_loss', 'alignment_loss', 'batch_top1'}
    np.testing.assert_allclose(report['center_loss'], losses[1], rtol=1e-5)
    best = (photos @ pooled.T).argmax(axis=1) == batch['positive']
    np.testing.assert_allclose(report['batch_top1'], best[batch['query_valid']].mean(), rtol=1e-6)
    assert all(np.isfinite(x).all() for x in jax.tree.leaves(gradient))
    moved = np.abs(gradient['centers']).max(axis=1) > 0
    assert set(np.flatnonzero(moved)) == set(labels[batch['query_valid']])


@pytest.mark.parametrize('pooling', ['attention', 'mean', 'max', 'unit_mean'])
def test_merged_shapes_have_the_scores_as_dot_products(pooling):
    system, rng = small_cmic(pooling=pooling), np.random.default_rng(2)
    queries, views = (np.asarray(rng.normal(size=shape), np.float32) for shape in ((3, DIM), (BATCH, 4, DIM)))
    variables = {'params': {'attention': {'projection': {'kernel': rng.normal(size=(DIM, DIM)).astype(np.float32)}}}}
    merged = np.asarray(system.merge(variables, queries, views), np.float64)
    assert merged.shape == (3, BATCH, DIM)
    scores = system.score(variables, queries, views)
    np.testing.assert_allclose(np.einsum('qd,qgd->qg', queries, merged), scores, rtol=1e-4, atol=1e-4)
    if pooling == 'attention':
        kernel = np.asarray(variables['params']['attention']['projection']['kernel'], np.float64)
        weights = [
            [ref.attention_weights([q @ kernel], [shape])[0][0] for shape in np.asarray(views, np.float64)]
            for q in np.asarray(queries, np.float64)
        ]
        np.testing.assert_allclose(merged, np.einsum('qgv,gvd->qgd', weights, views), atol=1e-5)
    else:
        np.testing.assert_array_equal(merged[0], merged[2])


def test_pools_without_a_query():
    views = np.random.default_rng(0).normal(size=(4, 3, 5)).astype(np.float32)
    queries = np.random.default_rng(1).normal(size=(2, 5)).astype(np.float32)
    for pooling, function, unit in (('mean', np.mean, False), ('max', max, False), ('unit_mean', np.mean, True)):
        expected_scores = ref.pooled_scores(queries, views, function, normalize=unit)
        np.testing.assert_allclose(queries @ np.asarray(pool_views(views, pooling)).T, expected_scores, rtol=1e-5)


def test_config_of_the_center_loss():
    config, _ = load_config('pix3d.py:center')
    system = CMIC.from_config(config, shapes=11)
    assert (system.centers.classes, system.centers.dim, system.centers.center_weight) == (11, 128, 10.0)
    shapes = jax.eval_shape(system.init, jax.random.key(0), random_batch(2))
    assert shapes['params']['centers'].shape == (11, 128) and 'attention' not in shapes['params']
    without = CMIC.from_config(config)  # enough to embed and score
    with pytest.raises(ValueError, match='a center a shape'):
        jax.eval_shape(without.init, jax.random.key(0), random_batch(2))
    config.model.pooling = 'attention'
    with pytest.raises(ConfigError, match="config.model.pooling: 'attention', but loss.kind 'center' needs"):
        CMIC.from_config(config, shapes=11)
