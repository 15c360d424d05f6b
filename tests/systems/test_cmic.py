"""CMIC against loop-written oracles: losses, inputs, colour augmentation, statistics, and the published sizes."""

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import references as ref
from small_cmic import DIM, SIZE, VIEWS, random_batch, small_cmic

from jaxret.encoders.heads import image_encoder
from jaxret.encoders.view_pooling import ViewEncoder
from jaxret.systems.cmic import CHOICES
from jaxret.systems.cmic_color import color_sources

BATCH = 6
KEY = jax.random.key(5)
VARIABLES = jax.jit(small_cmic().init)(jax.random.key(0), random_batch(BATCH))


def loss(system, batch, *, variables=VARIABLES, rng=KEY, train=False):
    total, (collections, report) = system.loss(variables, batch, rng=rng, step=jnp.int32(0), train=train)
    return total, collections, report


def embeddings(system, batch):
    return [np.asarray(system.embed(VARIABLES, batch, modality), np.float64) for modality in ('photo', 'views')]


def expected_scores(batch, pooling='attention'):
    """Scores of the system's own embeddings, by loops."""
    queries, views = embeddings(small_cmic(), batch)
    if pooling == 'attention':
        kernel = np.asarray(VARIABLES['params']['attention']['projection']['kernel'], np.float64)
        return ref.attention_scores(queries, ref.similarity_matrix(queries, kernel.T), views)
    return ref.pooled_scores(queries, views, {'mean': np.mean, 'max': max}[pooling])


def expected_losses(
    scores, batch, *, kind='contrastive', reduction='mean', true_shape='included', temperature=0.1, correction=False
):
    """Instance and category loss of a batch from its scores."""
    real, shapes = batch['query_valid'], batch['shape_valid']
    instance = ref.instance_positives(batch['positive'], len(shapes))
    category = ref.category_positives(
        batch['query_category'], batch['shape_category'], batch['positive'], include_true=true_shape == 'included'
    )
    other = batch['query_category'][:, None] != batch['shape_category'][None, :]
    if kind == 'triplet':
        pairs = real[:, None] & shapes[None, :]
        options = {'margin': 0.2, 'reduction': {'mean': 'mean_nonzero', 'sum': 'sum'}[reduction]}
        return (
            ref.triplet(1 - scores, instance & pairs, ~instance & pairs, rule='all', **options),
            ref.triplet(1 - scores, category & pairs, other & pairs, rule='batch_hard', **options),
        )
    logits = scores - temperature * np.log(batch['shape_inclusion'])[None, :] if correction else scores
    kept = {'candidates': ~instance} if true_shape == 'removed' else {}
    by_instance = ref.info_nce(logits, instance, temperature=temperature, valid=shapes)
    by_category = ref.supervised_contrastive(scores, category, temperature=temperature, valid=shapes, **kept)
    counted = [
        bool(r and (c & shapes).any() and (o & shapes).any()) for r, c, o in zip(real, category, other, strict=True)
    ]
    if reduction == 'mean':
        return ref.masked_mean(by_instance, real), ref.masked_mean(by_category, counted)
    return sum(by_instance[real]), sum(by_category[counted])


def assert_losses(system, batch, scores, **options):
    total, _, report = loss(system, batch)
    instance, category = expected_losses(scores, batch, **options)
    np.testing.assert_allclose(report['instance_loss'], instance, rtol=2e-5, atol=1e-6)
    np.testing.assert_allclose(report['category_loss'], category, rtol=2e-5, atol=1e-6)
    np.testing.assert_allclose(total, instance + system.matching.category_weight * category, rtol=2e-5, atol=1e-6)
    return total


# Losses ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize('kind', ['contrastive', 'triplet'])
@pytest.mark.parametrize('reduction', ['mean', 'sum'])
@pytest.mark.parametrize('true_shape', ['included', 'not_positive', 'removed'])
def test_loss_is_the_sum_of_the_oracles(kind, reduction, true_shape):
    system = small_cmic(matching_kind=kind, matching_reduction=reduction, matching_true_shape=true_shape)
    for seed in (0, 1):
        batch = random_batch(BATCH, seed=seed)
        assert_losses(system, batch, expected_scores(batch), kind=kind, reduction=reduction, true_shape=true_shape)


def test_true_shape_matters():
    batch = random_batch(BATCH)
    found = {
        name: float(loss(small_cmic(matching_true_shape=name), batch)[2]['category_loss'])
        for name in CHOICES['loss.true_shape']
    }
    assert len(set(found.values())) == 3


@pytest.mark.parametrize('pooling', ['attention', 'mean', 'max'])
def test_view_pooling(pooling):
    batch = random_batch(BATCH)
    system, scores = small_cmic(pooling=pooling), expected_scores(batch, pooling)
    queries, views = embeddings(system, batch)
    found = system.score(VARIABLES, jnp.asarray(queries, jnp.float32), jnp.asarray(views, jnp.float32))
    np.testing.assert_allclose(found, scores, rtol=1e-5, atol=1e-6)
    assert_losses(system, batch, scores)
    made = jax.eval_shape(system.init, jax.random.key(0), batch)
    assert ('attention' in made['params']) == (pooling == 'attention')


@pytest.mark.parametrize('kind', ['contrastive', 'triplet'])
def test_sampling_correction_changes_the_instance_loss_only(kind):
    batch = random_batch(BATCH)
    batch['shape_inclusion'] = np.array([1.0, 0.5, 0.3, 0.02, 0.9, 0.3], np.float32)
    system = small_cmic(matching_sampling_correction=True, matching_kind=kind)
    total = assert_losses(system, batch, expected_scores(batch), kind=kind, correction=True)
    same = loss(small_cmic(matching_kind=kind), batch)[0]
    assert (abs(total - same) < 1e-6) == (kind == 'triplet')
    # One chance for all is no correction; neither is what a padded column says.
    batch['shape_inclusion'] = np.full(BATCH, 0.3, np.float32)
    np.testing.assert_allclose(loss(system, batch)[0], same, rtol=1e-5)


def test_jitted_gradient_is_that_of_the_oracle():
    """Parameters of the attention, the last layer: loss of the fixed embeddings, by central differences."""
    batch = random_batch(BATCH, seed=3)
    queries, views = embeddings(small_cmic(), batch)
    kernel = np.asarray(VARIABLES['params']['attention']['projection']['kernel'], np.float64)

    def slow(kernel):
        scores = ref.attention_scores(queries, ref.similarity_matrix(queries, kernel.T), views)
        instance, category = expected_losses(scores, batch)
        return instance + 0.2 * category

    @jax.jit
    def fast(attention):
        params = {**VARIABLES['params'], 'attention': attention}
        return loss(small_cmic(), batch, variables={**VARIABLES, 'params': params})[0]

    value, gradient = jax.value_and_grad(fast)(VARIABLES['params']['attention'])
    np.testing.assert_allclose(value, slow(kernel), rtol=2e-5)
    np.testing.assert_allclose(
        gradient['projection']['kernel'], ref.numeric_gradient(slow, kernel, step=1e-5), rtol=1e-3, atol=1e-6
    )


def test_batch_top1_counts_the_photos_whose_shape_scores_best():
    for seed in range(5):
        batch = random_batch(BATCH, seed=seed)
        batch['query_valid'], batch['shape_valid'] = np.arange(BATCH) != 1, np.arange(BATCH) != 4
        scores = expected_scores(batch)
        scores[:, 4] = -np.inf
        hits = scores.argmax(axis=1) == batch['positive']
        np.testing.assert_allclose(loss(small_cmic(), batch)[2]['batch_top1'], hits[batch['query_valid']].mean())


@pytest.mark.parametrize('kind,correction', [('contrastive', True), ('triplet', False)])
def test_padding_has_no_part_in_the_loss(kind, correction):
    batch = random_batch(BATCH, seed=2)
    batch['positive'] = np.array([0, 1, 1, 3, 2, 5], np.int32)  # the padded photos point at real and padded shapes
    batch['query_category'] = batch['shape_category'][batch['positive']]
    batch['query_valid'], batch['shape_valid'] = np.arange(BATCH) < 4, np.arange(BATCH) < 4
    batch['shape_inclusion'] = np.array([0.5, 0.25, 0.5, 0.1, 0.0, 0.0], np.float32)
    system = small_cmic(matching_kind=kind, matching_sampling_correction=correction)
    other = {name: value.copy() for name, value in batch.items()}
    for name in ('image', 'mask', 'views'):
        other[name][4:] = 255 - other[name][4:]
    other['query_category'][4:], other['shape_category'][4:], other['positive'][4:] = 0, 2, -1
    # Oracle of the real part alone.
    real = {name: value[:4] for name, value in batch.items()}
    instance, category = expected_losses(expected_scores(batch)[:4, :4], real, kind=kind, correction=correction)
    gradient = jax.jit(
        jax.value_and_grad(lambda params, batch: loss(system, batch, variables={**VARIABLES, 'params': params})[0])
    )
    found = [gradient(VARIABLES['params'], b) for b in (batch, other)]
    np.testing.assert_allclose(found[0][0], instance + 0.2 * category, rtol=2e-5)
    chex.assert_tree_all_finite(found)
    chex.assert_trees_all_close(*found, rtol=1e-5, atol=1e-6)


def awkward_batches():
    plain = random_batch(4)
    same = {name: np.repeat(value[:1], 4, axis=0) for name, value in plain.items()}
    same['positive'] = np.zeros(4, np.int32)
    yield 'every photo and every shape the same', same
    one_category = plain | {'query_category': np.zeros(4, np.int32), 'shape_category': np.zeros(4, np.int32)}
    yield 'one category', one_category
    own = np.arange(4, dtype=np.int32)
    yield 'no two of a category', plain | {'positive': own, 'query_category': own, 'shape_category': own}
    yield 'one shape', plain | {'shape_valid': np.arange(4) == 0, 'positive': np.zeros(4, np.int32)}
    yield 'nothing valid', plain | {'shape_valid': np.zeros(4, bool), 'query_valid': np.zeros(4, bool)}
    flat = {name: np.full_like(plain[name], value) for name, value in (('image', 0), ('mask', 0), ('views', 255))}
    yield 'black photos, empty masks, white views', plain | flat


@pytest.mark.parametrize(
    'encoders,changes',
    [
        ('real', {}),
        ('flat', {'matching_true_shape': 'removed', 'color_mode': 'ruderman'}),
        ('flat', {'matching_kind': 'triplet', 'color_mode': 'hsv'}),
    ],
)
def test_everything_stays_finite(encoders, changes):
    system = small_cmic(**changes) if encoders == 'real' else recording_cmic(**changes)
    variables = VARIABLES if encoders == 'real' else system.init(jax.random.key(0), random_batch(4))

    @jax.jit
    def gradient(params, batch):
        def of(params):
            total, collections, report = loss(system, batch, variables={**variables, 'params': params}, train=True)
            return total, (collections, report)

        return jax.value_and_grad(of, has_aux=True)(params)

    for name, batch in awkward_batches():
        (total, (collections, report)), gradients = gradient(variables['params'], batch)
        chex.assert_tree_all_finite((total, collections, report, gradients))
        if name == 'one category' or name == 'nothing valid':
            assert report['category_loss'] == 0, name
        if name == 'nothing valid':
            assert total == 0 and all(not np.any(g) for g in jax.tree.leaves(gradients))
        if name == 'one shape' and not changes:
            np.testing.assert_allclose(total, 0, atol=1e-6)


def test_batch_of_one():
    total, _, report = jax.jit(lambda batch: loss(small_cmic(), batch, train=True))(random_batch(1))
    np.testing.assert_allclose([total, report['batch_top1']], [0, 1], atol=1e-6)


# Inputs ---------------------------------------------------------------------------------------------------------------


class Recorder(nn.Module):
    """Embeds nothing, but keeps its input among the batch statistics and returns it flat."""

    @nn.compact
    def __call__(self, images, *, train=False):
        seen = self.variable('batch_stats', 'seen', lambda: jnp.zeros_like(images))
        if train:
            seen.value = images
        flat = images.reshape(len(images), -1)[:, :DIM]
        return flat * self.param('scale', nn.initializers.ones, (1, 1))


def seen_by_encoders(system, batch, *, rng=KEY):
    """Inputs of the two encoders in training."""
    collections = loss(system, batch, variables=system.init(jax.random.key(0), batch), rng=rng, train=True)[1]
    found = collections['batch_stats']
    return np.asarray(found['query']['seen']), np.asarray(found['view']['encoder']['seen'])


def recording_cmic(**changes):
    return small_cmic(query_encoder=Recorder(), view_encoder=ViewEncoder(Recorder()), **changes)


def tiny_batch(side=4):
    batch = random_batch(8)
    return batch | {
        'image': batch['image'][:, :side, :side],
        'mask': batch['mask'][:, :side, :side],
        'views': batch['views'][:, :, :side, :side],
    }


@pytest.mark.parametrize('mode', ['channel', 'multiply', 'both', 'black', 'white', 'none'])
def test_mask_and_ranges_of_the_inputs(mode):
    batch = tiny_batch()
    photos, views = seen_by_encoders(recording_cmic(mask=mode, color_mode='none'), batch)
    plain, mask = batch['image'] / 127.5 - 1, batch['mask'] / 255
    expected = {
        'channel': np.concatenate([plain, mask], axis=-1),
        'multiply': plain * mask,
        'both': np.concatenate([plain * mask, mask], axis=-1),
        'black': batch['image'] * mask / 127.5 - 1,
        'white': (batch['image'] * mask + 255 * (1 - mask)) / 127.5 - 1,
        'none': plain,
    }[mode]
    np.testing.assert_allclose(photos, expected, atol=1e-6)
    np.testing.assert_allclose(views.reshape(batch['views'].shape), batch['views'] / 127.5 - 1, atol=1e-6)
    made = jax.eval_shape(small_cmic(mask=mode).init, jax.random.key(0), random_batch(2))['params']
    assert made['query']['backbone']['conv1']['kernel'].shape[2] == (4 if mode in ('channel', 'both') else 3)
    assert made['view']['encoder']['backbone']['conv1']['kernel'].shape[2] == 1


@pytest.mark.parametrize('space', ['lab', 'ruderman'])
@pytest.mark.parametrize('ratio', ['style_over_content', 'content_over_style'])
def test_colours_come_from_a_permutation_of_the_batch(space, ratio):
    batch = tiny_batch()
    system = recording_cmic(color_mode=space, color_ratio=ratio)
    photos, _ = seen_by_encoders(system, batch)
    images = batch['image'] / 255
    every = [ref.color_transfer(images, np.full(8, style), space=space, ratio=ratio) for style in range(8)]
    found = (photos[..., :3] + 1) / 2
    styles = [int(np.argmin([np.abs(found[i] - every[style][i]).max() for style in range(8)])) for i in range(8)]
    assert sorted(styles) == list(range(8)) and all(style != i for i, style in enumerate(styles))
    for i, style in enumerate(styles):
        np.testing.assert_allclose(found[i], every[style][i], atol=2e-3)
    np.testing.assert_allclose(photos[..., 3:], batch['mask'] / 255, atol=1e-6)  # the mask keeps its values


@pytest.mark.parametrize('mode', ['lab', 'hsv'])
def test_share_of_photos_whose_colours_change(mode):
    batch = tiny_batch()
    images = jnp.asarray(batch['image'], jnp.float32) / 255
    for probability in (0.0, 0.5, 1.0):
        system = small_cmic(color_mode=mode, color_probability=probability)
        moved = jax.jit(jax.vmap(lambda key, system=system: system.color(images, key, None)))(jax.random.split(KEY, 40))
        changed = np.abs(np.asarray(moved) - np.asarray(images)).max(axis=(2, 3, 4)) > 1e-3
        assert abs(changed.mean() - probability) <= 4 * np.sqrt(probability * (1 - probability) / 320)
        assert len(set(changed.sum(axis=1))) > (2 if 0 < probability < 1 else 0)  # drawn photo by photo


@pytest.mark.parametrize('total', [1, 2, 5])
def test_whose_colours_a_photo_takes(total):
    counts = {source: np.zeros((total, total)) for source in ('other', 'permutation')}
    for source, count in counts.items():
        draw = jax.jit(jax.vmap(lambda key, source=source: color_sources(key, total, source)))
        for row in np.asarray(draw(jax.random.split(KEY, 400))):
            assert sorted(row) == list(range(total))  # each photo lends its colours once
            for photo, style in enumerate(row):
                count[photo, style] += 1 / 400
    others = (1 - np.eye(total)) / max(1, total - 1) if total > 1 else np.ones((1, 1))
    np.testing.assert_allclose(counts['other'], others, atol=0.1)
    np.testing.assert_allclose(counts['permutation'], np.full((total, total), 1 / total), atol=0.1)
    assert total == 1 or not np.any(np.diagonal(counts['other']))


def test_hsv_keeps_grey_and_changes_each_photo_by_itself():
    batch = tiny_batch()
    batch['image'] = np.repeat(np.repeat(batch['image'][:1], 8, axis=0)[..., :1], 3, axis=3)
    photos, _ = seen_by_encoders(recording_cmic(color_mode='hsv'), batch)
    np.testing.assert_allclose(photos[..., 0], photos[..., 2], atol=1e-5)
    assert len({photo.tobytes() for photo in photos}) == 8


def test_colours_depend_on_the_key_alone_and_only_in_training():
    batch = tiny_batch()
    system = recording_cmic()
    first, again, other = (seen_by_encoders(system, batch, rng=jax.random.key(k))[0] for k in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert np.abs(first - other).max() > 0.01
    train = jax.jit(lambda key: loss(small_cmic(), random_batch(BATCH), rng=key, train=True)[0])
    losses = [float(train(jax.random.key(k))) for k in (1, 1, 2)]
    assert losses[0] == losses[1] != losses[2]
    evaluated = [float(loss(small_cmic(), random_batch(BATCH), rng=jax.random.key(k))[0]) for k in (1, 2)]
    assert evaluated[0] == evaluated[1]


def test_embeddings_are_of_the_photos_own_colours():
    batch = random_batch(3)
    expected = [small_cmic(color_mode='none').embed(VARIABLES, batch, modality) for modality in ('photo', 'views')]
    for mode in ('lab', 'ruderman', 'hsv'):
        for modality, values in zip(('photo', 'views'), expected, strict=True):
            np.testing.assert_array_equal(small_cmic(color_mode=mode).embed(VARIABLES, batch, modality), values)
    chex.assert_shape(expected, [(3, DIM), (3, VIEWS, DIM)])
    for values in expected:
        np.testing.assert_allclose(np.linalg.norm(values, axis=-1), 1, rtol=1e-5)
    with pytest.raises(ValueError, match="'photo' and 'views', not 'mesh'"):
        small_cmic().embed(VARIABLES, batch, 'mesh')


@pytest.mark.parametrize('mode', ['lab', 'ruderman', 'hsv'])
def test_no_gradient_through_the_colours(mode):
    images = jnp.asarray(tiny_batch()['image'], jnp.float32) / 255
    gradient = jax.grad(lambda x: jnp.sum(small_cmic(color_mode=mode).color(x, KEY, None) ** 2))(images)
    assert not np.any(gradient)


# Variables ------------------------------------------------------------------------------------------------------------


def test_batch_statistics_move_in_training_only():
    batch = random_batch(BATCH)
    for train in (False, True):
        _, collections, _ = loss(small_cmic(), batch, train=train)
        chex.assert_trees_all_equal_shapes_and_dtypes(collections, {'batch_stats': VARIABLES['batch_stats']})
        before, after = jax.tree.leaves(VARIABLES['batch_stats']), jax.tree.leaves(collections['batch_stats'])
        assert all(bool(np.any(a != b)) == train for a, b in zip(before, after, strict=True))


def test_bfloat16_keeps_float32_variables_and_near_embeddings():
    def encoder():
        return image_encoder('resnet_small', DIM, width=4, stage_sizes=(1,), dtype=jnp.bfloat16)

    batch = random_batch(BATCH)
    system = small_cmic(query_encoder=encoder(), view_encoder=ViewEncoder(encoder()))
    chex.assert_trees_all_equal(jax.jit(system.init)(jax.random.key(0), batch), VARIABLES)
    total, collections, report = loss(system, batch, train=True)
    assert {x.dtype for x in jax.tree.leaves((VARIABLES, collections, total, report))} == {jnp.dtype('float32')}
    chex.assert_trees_all_close(collections, loss(small_cmic(), batch, train=True)[1], rtol=0.05, atol=0.02)
    for modality in ('photo', 'views'):
        half, full = system.embed(VARIABLES, batch, modality), small_cmic().embed(VARIABLES, batch, modality)
        assert half.dtype == jnp.float32 and not np.array_equal(half, full)
        assert np.sum(half * full, axis=-1).min() > 0.999  # cosine


def test_sizes_that_do_not_belong_together_are_refused():
    batch = random_batch(4)
    batch['mask'] = np.zeros((4, SIZE // 2, SIZE, 1), np.uint8)
    with pytest.raises((ValueError, TypeError)):
        loss(small_cmic(), batch)
