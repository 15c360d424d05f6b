"""The cross-modal system against loop-written oracles of its own features; gradients, statistics, devices, sizes."""

from functools import cache, partial

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import references_center as ref
from overrides import load_config
from small_cmic import optimizer_config
from small_cross_modal import CLASSES, DIM, random_batch, small_system

from jaxret.augmentation.points import augment_points, jitter_faces, stretch_and_turn_faces
from jaxret.errors import ConfigError
from jaxret.losses.center import gaussian_noise
from jaxret.systems.cross_modal_augmentation import ShapeAugmentation
from jaxret.systems.cross_modal_center import CHOICES, MODALITIES, CrossModalCenter
from jaxret.training.optimizers import make_grouped_optimizer
from jaxret.training.parallel import make_parallel
from jaxret.training.state import count_parameters, create_state
from jaxret.training.step import make_train_step

BATCH = 6
KEY = jax.random.key(5)
INPUTS = {'image': ('image',), 'mesh': ('faces', 'neighbors'), 'point': ('points',)}
BASELINE = {'center': 'center', 'alignment': 'mse'}


@cache
def flat_system(**changes):
    """The system with stand-ins for its encoders; the same object every time, so that it is compiled once."""
    return small_system(flat=True, **changes)


VARIABLES = jax.jit(flat_system().init)(jax.random.key(0), random_batch(BATCH))


@partial(jax.jit, static_argnums=0, static_argnames='train')
def loss(system, batch, *, variables=VARIABLES, rng=KEY, train=False):
    total, (collections, report) = system.loss(variables, batch, rng=rng, step=jnp.int32(0), train=train)
    return total, collections, report


@partial(jax.jit, static_argnums=0, static_argnames='train')
def value_and_gradient(system, params, batch, *, train=False):
    return jax.value_and_grad(
        lambda params: loss(system, batch, variables={**VARIABLES, 'params': params}, train=train)[0]
    )(params)


def apply_mlp(params, x):
    """The two layers in float64."""
    layers = [
        {name: np.asarray(value, np.float64) for name, value in params[key].items()} for key in ('hidden', 'output')
    ]
    x = np.maximum(x @ layers[0]['kernel'] + layers[0]['bias'], 0)
    return x @ layers[1]['kernel'] + layers[1]['bias']


def features_of(system, batch, variables=VARIABLES):
    """[M, B, D] in evaluation mode, float64."""
    scaled = dict(batch, image=batch['image'].astype(np.float32) / 127.5 - 1)
    return np.stack(
        [
            _features(
                system.encoders[name],
                variables['params'][name],
                variables['batch_stats'][name],
                *(scaled[key] for key in INPUTS[name]),
            )
            for name in MODALITIES
        ]
    ).astype(np.float64)


@partial(jax.jit, static_argnums=0)
def _features(encoder, params, statistics, *inputs):
    return encoder.apply({'params': params, 'batch_stats': statistics}, *inputs)


def expected_losses(system, batch, *, variables=VARIABLES, rng=KEY):
    """Label, center and alignment loss, by loops."""
    features, params = features_of(system, batch, variables), variables['params']
    labels, valid = batch['label'], list(batch['valid'])
    centers = np.asarray(params['centers'], np.float64)
    label = ref.cross_entropy(apply_mlp(params['classifier'], features), labels, valid=valid)
    if system.center == 'center':
        oracle = {'mean': ref.published_center_loss, 'half_sum': ref.printed_center_loss}[system.reduction]
        center = oracle(features, labels, centers, valid=valid)
    else:
        shape = centers.shape if system.noise == 'center' else features.shape
        drawn = gaussian_noise(jax.random.split(rng, 3)[2], shape, sigma=system.sigma, mean=system.noise_mean)
        center = ref.noisy_center_loss(
            features,
            labels,
            centers,
            np.asarray(drawn, np.float64),
            clean_weight=system.clean_weight,
            noisy_weight=system.noisy_weight,
            squared=system.squared,
            reduction=system.reduction,
            valid=valid,
        )
    alignment = 0.0
    if system.alignment == 'mse':
        alignment = ref.pairwise_mse(features, valid=valid)
    elif system.alignment == 'simsiam':
        projected = apply_mlp(params['projector'], features)
        alignment = ref.simsiam(apply_mlp(params['predictor'], projected), projected, valid=valid)
    return label, center, alignment


# Losses ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    'changes',
    [
        {},
        BASELINE,
        {'noise': 'feature', 'squared': True},
        {'reduction': 'half_sum', 'alignment': 'none'},
        {'center': 'center', 'reduction': 'half_sum'},
    ],
)
@pytest.mark.parametrize('padded', [False, True])
def test_loss_is_the_weighted_sum_of_the_oracles(changes, padded):
    system = flat_system(**changes)
    batch = random_batch(BATCH, seed=1)
    if padded:  # what padding holds does not matter
        batch['valid'][4:], batch['label'][4:], batch['points'][4:] = False, -7, np.nan
    total, _, report = loss(system, batch)
    found = [report[name] for name in ('label_loss', 'center_loss', 'alignment_loss')]
    expected = expected_losses(system, batch)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(total, np.dot([1.0, 0.5, 0.7], expected), rtol=1e-4)


def test_label_accuracy_counts_every_modality_of_valid_objects():
    batch = random_batch(BATCH, seed=3)
    batch['valid'][:2] = False
    logits = apply_mlp(VARIABLES['params']['classifier'], features_of(flat_system(), batch))
    hits = logits.argmax(axis=-1) == batch['label'][None]
    np.testing.assert_allclose(loss(flat_system(), batch)[2]['label_accuracy'], hits[:, 2:].mean(), rtol=1e-6)


@pytest.mark.parametrize('changes', [{}, BASELINE])
def test_awkward_batches_stay_finite(changes):
    system, plain = flat_system(**changes), random_batch(4)
    gradient = partial(value_and_gradient, system, train=not changes)  # with augmentation once: it compiles slowly
    same = {name: np.repeat(value[:1], 4, axis=0) for name, value in plain.items()}
    nothing = plain | {'valid': np.zeros(4, bool)}
    for batch in (same, nothing, plain | {'faces': np.zeros_like(plain['faces'])}):
        chex.assert_tree_all_finite(gradient(VARIABLES['params'], batch))
    value, gradients = gradient(VARIABLES['params'], nothing)
    assert value == 0 and optax.tree.norm(gradients) == 0
    assert loss(system, nothing)[2]['label_accuracy'] == 0


# Gradients ------------------------------------------------------------------------------------------------------------


def gradients_of(system, batch, params=VARIABLES['params']):
    return value_and_gradient(system, params, batch)[1]


@pytest.mark.parametrize('changes', [{}, BASELINE])
def test_centers_get_the_gradient_of_the_center_loss_alone(changes):
    batch = random_batch(BATCH)
    without = gradients_of(flat_system(center_weight=0.0, **changes), batch)
    assert not np.any(without['centers'])
    alone = gradients_of(flat_system(label_weight=0.0, alignment_weight=0.0, **changes), batch)
    everything = gradients_of(flat_system(**changes), batch)
    np.testing.assert_allclose(alone['centers'], everything['centers'], rtol=1e-6)
    for name in MODALITIES:
        assert optax.tree.norm(alone[name]) > 0 and optax.tree.norm(without[name]) > 0
    assert optax.tree.norm(alone['classifier']) == 0


def test_gradient_of_the_plain_center_loss_is_the_formula():
    batch = random_batch(BATCH, seed=4)
    system = flat_system(**BASELINE, label_weight=0.0, alignment_weight=0.0)
    features, centers = features_of(system, batch), np.asarray(VARIABLES['params']['centers'], np.float64)
    expected = np.zeros_like(centers)
    for modality in features:
        for feature, label in zip(modality, batch['label'], strict=True):
            expected[label] += 0.5 * 2 * (centers[label] - feature) / features[..., 0].size
    np.testing.assert_allclose(gradients_of(system, batch)['centers'], expected, rtol=1e-4, atol=1e-6)


def test_no_gradient_reaches_the_targets_of_simsiam():
    """With predictions that do not depend on the projection, only the targets do, and they are constants."""
    system = flat_system(label_weight=0.0, center_weight=0.0)
    batch = random_batch(BATCH)
    params = dict(VARIABLES['params'])
    params['predictor'] = jax.tree.map(lambda x: jnp.zeros_like(x) if x.ndim == 2 else x, params['predictor'])
    found = gradients_of(system, batch, params)
    assert optax.tree.norm(found['predictor']) > 0
    for name in ('projector', *MODALITIES):
        assert optax.tree.norm(found[name]) == 0
    through = gradients_of(system, batch)
    assert all(optax.tree.norm(through[name]) > 0 for name in ('projector', *MODALITIES))


# Training mode --------------------------------------------------------------------------------------------------------


def test_batch_statistics_move_in_training_only():
    system, batch = flat_system(), random_batch(BATCH)
    _, kept, _ = loss(system, batch)
    chex.assert_trees_all_equal(kept['batch_stats'], VARIABLES['batch_stats'])
    _, moved, _ = loss(system, batch, train=True)
    kernel = np.asarray(VARIABLES['params']['image']['FeatureHead_0']['linear']['kernel'], np.float64)
    values = (batch['image'].reshape(BATCH, -1) / 127.5 - 1) @ kernel
    found = moved['batch_stats']['image']['FeatureHead_0']['bn']
    np.testing.assert_allclose(found['mean'], 0.1 * values.mean(axis=0), rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(found['var'], 0.9 + 0.1 * values.var(axis=0), rtol=1e-4)


def test_points_and_faces_are_changed_in_training_each_object_with_its_own_key():
    seen = {}

    class Recorder:
        def __init__(self, name):
            self.name = name

        def apply(self, variables, *inputs, train, mutable=()):
            seen[self.name] = inputs[0]
            features = jnp.ones((inputs[0].shape[0], DIM))
            return (features, {'batch_stats': {}}) if mutable else features

    system = small_system(encoders={name: Recorder(name) for name in MODALITIES})
    batch = random_batch(BATCH)

    @partial(jax.jit, static_argnums=1)
    def run(key, train=True):
        loss.__wrapped__(system, batch, rng=key, train=train)
        return dict(seen)

    np.testing.assert_array_equal(run(KEY, False)['point'], batch['points'])
    found = run(KEY)
    for name, inputs, change, key in (('point', 'points', augment_points, 0), ('mesh', 'faces', jitter_faces, 1)):
        keys = jax.random.split(jax.random.split(KEY, 3)[key], BATCH)
        changed = jax.jit(change)
        expected = [changed(own, batch[inputs][row : row + 1])[0] for row, own in enumerate(keys)]
        np.testing.assert_allclose(found[name], np.stack(expected), rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(found['point'], run(KEY)['point'])
    assert np.abs(found['point'] - run(jax.random.key(6))['point']).max() > 0.01


def test_meshes_are_stretched_and_turned_like_points_where_the_config_says_so():
    batch = random_batch(2)
    changed = jax.jit(ShapeAugmentation(turn=30.0, meshes='stretch'), static_argnums=3)(batch, KEY, KEY, None)
    for row, own in enumerate(jax.random.split(KEY, 2)):
        points = augment_points(own, batch['points'][row : row + 1], degrees=30.0)[0]
        jittered = jitter_faces(own, batch['faces'][row : row + 1])
        faces = stretch_and_turn_faces(jax.random.fold_in(own, 1), jittered, degrees=30.0)[0]
        np.testing.assert_allclose(changed['points'][row], points, rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(changed['faces'][row], faces, rtol=1e-5, atol=1e-6)


def mixed_system(*, axis_name=None):
    """With the system's own image branch; the other encoders compile slowly, their own tests cover `axis_name`."""
    image = small_system(axis_name=axis_name).encoders['image']
    stand_ins = small_system(axis_name=axis_name, flat=True).encoders
    return small_system(encoders={**stand_ins, 'image': image})


def train(mode, devices, variables, *, steps=2, batch_size=8):
    """State after some steps, and the metrics of every step."""
    parallel = make_parallel(mode, devices=devices, divided={'batch_size': batch_size})
    config = optimizer_config(learning_rate=0.02)
    optimizer, schedule = make_grouped_optimizer(config, steps, {'centers': optimizer_config(learning_rate=0.1)})
    system = mixed_system(axis_name=parallel.axis_name)
    step = parallel.compile(make_train_step(system, optimizer, learning_rate=schedule, axis_name=parallel.axis_name))
    state, history = parallel.place_state(create_state(variables, optimizer, seed=3, average=False)), []
    for i in range(steps):
        batch = random_batch(batch_size, seed=i)
        batch['valid'][-3:] = i > 0
        state, metrics = step(state, parallel.place_batch(batch))
        history.append(jax.device_get(parallel.single(metrics)))
    return jax.device_get(parallel.single(state)), history


def test_devices_do_not_change_the_numbers():
    start = jax.device_get(jax.jit(mixed_system().init)(jax.random.key(1), random_batch(8)))
    state, history = train('jit', 1, start)
    assert not np.allclose(history[0]['loss'], history[1]['loss'])
    for mode in ('jit', 'pmap'):
        other, other_history = train(mode, 8, start)
        chex.assert_trees_all_close(history, other_history, rtol=1e-5, atol=1e-6)
        # Plain SGD: the way travelled is the sum of the gradients.
        way, other_way = (jax.tree.map(np.subtract, moved.params, start['params']) for moved in (state, other))
        assert optax.tree.norm(jax.tree.map(np.subtract, way, other_way)) < 1e-5 * optax.tree.norm(way)
        chex.assert_trees_all_close(state.collections, other.collections, rtol=1e-5, atol=1e-6)


# From the config ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize('preset', ['paper', 'paper_clf'])
def test_the_paper_presets_trace_at_full_size(preset):
    config, _ = load_config(f'modelnet40.py:{preset}')
    system = CrossModalCenter.from_config(config, classes=40)
    objects, views, side = config.batch_size, config.data.views_per_step, config.data.image_size
    shapes = {
        'image': ((objects, views, side, side, 1), np.uint8),
        'points': ((objects, 1024, 3), np.float32),
        'faces': ((objects, 1024, 15), np.float32),
        'neighbors': ((objects, 1024, 3), np.int32),
        'label': ((objects,), np.int32),
        'valid': ((objects,), bool),
    }
    batch = {name: jax.ShapeDtypeStruct(*shape) for name, shape in shapes.items()}
    variables = jax.eval_shape(system.init, jax.random.key(0), batch)
    params = variables['params']
    assert params['centers'].shape == (40, 512)
    assert params['classifier']['hidden']['kernel'].shape == (512, 256)
    assert ('projector' in params) == (preset == 'paper')
    assert all(params[name]['head']['linear']['kernel'].shape[-1] == 512 for name in MODALITIES)
    # ResNet-18 of one channel without classifier, and its head: linear 512 x 512 and batch norm.
    assert count_parameters(params['image']) == 11_176_512 - 6272 + 512 * 512 + 2 * 512
    total, (_, report) = jax.eval_shape(
        lambda v, b: system.loss(v, b, rng=jax.random.key(0), step=jnp.int32(0), train=True), variables, batch
    )
    assert total.shape == () and {value.shape for value in report.values()} == {()}


def test_every_encoder_of_a_config_is_told_the_device_axis():
    for point_encoder in ('dgcnn', 'pointnet'):
        config, _ = load_config('modelnet40.py:smoke')
        config.model.point_encoder = point_encoder
        encoders = CrossModalCenter.from_config(config, classes=CLASSES, axis_name='data').encoders
        assert tuple(encoders) == MODALITIES
        assert {encoder.axis_name for encoder in (*encoders.values(), encoders['image'].trunk)} == {'data'}


@pytest.mark.parametrize(
    'key,value',
    [(key, 'other') for key in CHOICES]
    + [
        ('loss.sigma', -0.1),
        ('loss.center_weight', -1.0),
        ('shape_augmentation.turn', -1.0),
        ('model.embedding_dim', 0),
        ('model.neighbors', 0),
    ],
)
def test_bad_values_are_named(key, value):
    config, _ = load_config('modelnet40.py:smoke')
    group, name = key.split('.')
    config[group][name] = value
    with pytest.raises(ConfigError, match=f'config.{key}: '):
        CrossModalCenter.from_config(config, classes=CLASSES)


def test_embeddings_have_length_one_and_score_is_their_cosine():
    system, batch = flat_system(), random_batch(BATCH)
    features = features_of(system, batch)
    unit = features / np.maximum(np.linalg.norm(features, axis=-1, keepdims=True), 1e-12)
    found = [system.embed(VARIABLES, {key: batch[key] for key in INPUTS[name]}, name) for name in MODALITIES]
    np.testing.assert_allclose(found, unit, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(system.score(VARIABLES, found[0], found[2]), unit[0] @ unit[2].T, rtol=1e-4, atol=1e-6)
    with pytest.raises(ValueError, match='image, mesh, point'):
        system.embed(VARIABLES, batch, 'sound')
