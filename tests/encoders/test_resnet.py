"""ResNets against torchvision's parameter counts, names and arithmetic of shapes, and against numpy loops."""

import chex
import flax.traverse_util
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding, PartitionSpec
from references_encoders import batch_norm, convolve, max_pool, output_length, random_variables, residual_block

from jaxret.encoders.resnet import RESNET_NAMES, BasicBlock, BottleneckBlock, ResNet, resnet
from jaxret.errors import ConfigError

STAGE_SIZES = {'resnet18': (2, 2, 2, 2), 'resnet34': (3, 4, 6, 3), 'resnet50': (3, 4, 6, 3)}


def shapes_of(model, height=224, width=224, channels=3):
    images = jax.ShapeDtypeStruct((2, height, width, channels), jnp.float32)
    return jax.eval_shape(model.init, jax.random.key(0), images), images


def parameter_count(variables):
    return sum(int(np.prod(leaf.shape)) for leaf in jax.tree.leaves(variables['params']))


def small_net(**overrides):
    attributes = {'stage_sizes': (1, 1), 'block': 'basic', 'width': 4, 'stem': 'small'}
    return ResNet(**{**attributes, **overrides})


@pytest.mark.parametrize(
    ('name', 'count'), [('resnet18', 11_689_512), ('resnet34', 21_797_672), ('resnet50', 25_557_032)]
)
def test_parameter_counts_and_names_are_torchvisions(name, count):
    variables, images = shapes_of(resnet(name, num_classes=1000))
    assert parameter_count(variables) == count

    convolutions = 3 if name == 'resnet50' else 2
    names = {'conv1', 'bn1', 'fc'}
    for stage, size in enumerate(STAGE_SIZES[name], start=1):
        for block in range(size):
            names |= {f'layer{stage}_{block}/{kind}{i + 1}' for kind in ('conv', 'bn') for i in range(convolutions)}
        if stage > 1 or name == 'resnet50':
            names |= {f'layer{stage}_0/downsample_conv', f'layer{stage}_0/downsample_bn'}
    flat = flax.traverse_util.flatten_dict(variables['params'], sep='/')
    assert {key.rsplit('/', 1)[0] for key in flat} == names
    assert not [key for key in flat if 'conv' in key and not key.endswith('/kernel')]
    statistics = flax.traverse_util.flatten_dict(variables['batch_stats'], sep='/')
    assert {key.rsplit('/', 1)[0] for key in statistics} == {name for name in names if 'bn' in name}
    chex.assert_shape(flat['conv1/kernel'], (7, 7, 3, 64))
    chex.assert_shape(jax.eval_shape(resnet(name, num_classes=1000).apply, variables, images), (2, 1000))


@pytest.mark.parametrize('channels', [1, 4])
def test_other_input_channels_change_only_the_first_convolution(channels):
    variables, _ = shapes_of(resnet('resnet18', num_classes=1000), channels=channels)
    assert parameter_count(variables) == 11_689_512 + 7 * 7 * 64 * (channels - 3)
    chex.assert_shape(variables['params']['conv1']['kernel'], (7, 7, channels, 64))


@pytest.mark.parametrize('name', ['resnet18', 'resnet50'])
@pytest.mark.parametrize(('height', 'width'), [(224, 224), (97, 65)])
def test_stage_outputs_have_torchvisions_shapes(name, height, width):
    model = resnet(name)
    variables, images = shapes_of(model, height, width)

    def run(variables, images):
        return model.apply(variables, images, capture_intermediates=True, mutable=['intermediates'])

    features, state = jax.eval_shape(run, variables, images)
    state = state['intermediates']
    expansion = 4 if name == 'resnet50' else 1
    chex.assert_shape(features, (2, 512 * expansion))

    height, width = (output_length(n, 7, 2, 3) for n in (height, width))
    chex.assert_shape(state['conv1']['__call__'][0], (2, height, width, 64))
    height, width = (output_length(n, 3, 2, 1) for n in (height, width))
    for stage, size in enumerate(STAGE_SIZES[name]):
        if stage > 0:
            height, width = (output_length(n, 3, 2, 1) for n in (height, width))
        for block in range(size):
            out = state[f'layer{stage + 1}_{block}']['__call__'][0]
            chex.assert_shape(out, (2, height, width, 64 * 2**stage * expansion))


@pytest.mark.parametrize('train', [False, True])
@pytest.mark.parametrize(
    ('block', 'kernels', 'strides', 'channels'),
    [
        (BasicBlock(3, stride=2), (3, 3), (2, 1), 2),
        (BasicBlock(3), (3, 3), (1, 1), 3),
        (BottleneckBlock(2, stride=2), (1, 3, 1), (1, 2, 1), 3),
        (BottleneckBlock(1), (1, 3, 1), (1, 1, 1), 4),
    ],
    ids=['basic-strided', 'basic-identity', 'bottleneck-strided', 'bottleneck-identity'],
)
def test_blocks_equal_loops(block, kernels, strides, channels, train):
    x = np.random.default_rng(1).normal(size=(2, 7, 6, channels)).astype(np.float32)
    variables = random_variables(block, x)
    run = jax.jit(lambda v, x: block.apply(v, x, train=train, mutable=['batch_stats']))
    out, state = run(variables, x)
    expected, statistics = residual_block(
        x, variables['params'], variables['batch_stats'], kernels=kernels, strides=strides, train=train
    )
    assert ('downsample_conv' in variables['params']) == (strides != (1,) * len(strides))
    np.testing.assert_allclose(out, expected, rtol=1e-4, atol=1e-5)
    chex.assert_trees_all_close(state['batch_stats'], statistics, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize('train', [False, True])
@pytest.mark.parametrize(('stem', 'kernel', 'stride'), [('imagenet', 7, 2), ('small', 5, 2), ('coarse', 7, 4)])
def test_stem_equals_loops(stem, kernel, stride, train):
    model = ResNet(stage_sizes=(), block='basic', width=2, stem=stem)
    x = np.random.default_rng(2).normal(size=(2, 14, 11, 3)).astype(np.float32)
    variables = random_variables(model, x)
    out, state = jax.jit(lambda v, x: model.apply(v, x, train=train, mutable=['batch_stats']))(variables, x)
    y = convolve(x, variables['params']['conv1']['kernel'], stride, kernel // 2)
    y, statistics = batch_norm(y, variables['params']['bn1'], variables['batch_stats']['bn1'], train)
    y = np.maximum(y, 0)
    if stem == 'imagenet':
        y = max_pool(y, 3, 2, 1)
    np.testing.assert_allclose(out, y.mean(axis=(1, 2)), rtol=1e-4, atol=1e-5)
    chex.assert_trees_all_close(state['batch_stats']['bn1'], statistics, rtol=1e-5, atol=1e-6)


def test_initial_convolutions_have_the_variance_of_he_fan_out():
    variables = jax.jit(BasicBlock(64, stride=2).init)(jax.random.key(0), jnp.zeros((1, 4, 4, 32)))
    kernel = variables['params']['conv1']['kernel']
    np.testing.assert_allclose(kernel.std(), np.sqrt(2 / (64 * 9)), rtol=0.02)
    assert abs(float(kernel.mean())) < 2e-3


def test_bfloat16_keeps_float32_parameters_and_statistics():
    x = np.random.default_rng(4).normal(size=(8, 24, 20, 4)).astype(np.float32)
    full, half = small_net(), small_net(dtype=jnp.bfloat16)
    variables = random_variables(half, x)
    chex.assert_trees_all_equal_shapes_and_dtypes(variables, random_variables(full, x))
    chex.assert_type(jax.tree.leaves(variables), jnp.float32)

    def loss(params, model):
        out, state = model.apply({**variables, 'params': params}, x, train=True, mutable=['batch_stats'])
        return jnp.mean(out**2), (out, state['batch_stats'])

    gradients, result = jax.jit(lambda p: jax.grad(loss, has_aux=True)(p, half))(variables['params'])
    _, expected = jax.jit(lambda p: loss(p, full))(variables['params'])
    chex.assert_type(jax.tree.leaves((result, gradients)), jnp.float32)
    chex.assert_tree_all_finite(gradients)
    assert all(float(jnp.abs(leaf).max()) > 0 for leaf in jax.tree.leaves(gradients))
    # a bfloat16 rounding is off by up to 0.4 %, and there are some ten in a row
    chex.assert_trees_all_close(result, expected, rtol=0.03, atol=0.03)
    assert not np.allclose(result[0], expected[0], rtol=1e-5)  # it did compute in bfloat16


def training_step(variables, images, axis_name=None):
    """Loss, new statistics and gradients, averaged over the mapped axis where there is one."""

    def loss(params):
        model = small_net(width=3, axis_name=axis_name)
        out, state = model.apply({**variables, 'params': params}, images, train=True, mutable=['batch_stats'])
        return jnp.mean(jnp.sum(jnp.sin(out), axis=1)), state

    (value, state), gradients = jax.value_and_grad(loss, has_aux=True)(variables['params'])
    if axis_name is not None:
        value, gradients = jax.lax.pmean((value, gradients), axis_name)
    return value, state, gradients


@pytest.fixture(scope='module')
def one_batch():
    images = np.random.default_rng(3).normal(size=(16, 12, 12, 1)).astype(np.float32)
    images *= np.linspace(0.5, 2, 16, dtype=np.float32)[:, None, None, None]  # shards differ in statistics
    variables = random_variables(small_net(width=3), images)
    return variables, images, jax.jit(training_step)(variables, images)


@pytest.mark.parametrize('how', ['vmap', 'pmap'])
def test_synchronised_batch_norm_equals_one_batch(one_batch, how):
    variables, images, expected = one_batch
    spread = jax.pmap if how == 'pmap' else jax.vmap
    mapped = spread(lambda v, x: training_step(v, x, axis_name='data'), in_axes=(None, 0), axis_name='data')
    split = images.reshape(8, 2, *images.shape[1:])
    stacked = (mapped if how == 'pmap' else jax.jit(mapped))(variables, split)
    first, last = (jax.tree.map(lambda leaf, i=i: leaf[i], stacked) for i in (0, -1))
    chex.assert_trees_all_close(first, last, rtol=1e-6)
    chex.assert_trees_all_close(first, expected, rtol=1e-5, atol=1e-6)


def test_batch_sharded_under_jit_equals_one_batch(one_batch):
    variables, images, expected = one_batch
    mesh = jax.make_mesh((8,), ('data',), axis_types=(AxisType.Auto,))
    sharded = jax.device_put(images, NamedSharding(mesh, PartitionSpec('data')))
    result = jax.jit(training_step)(variables, sharded)
    chex.assert_trees_all_close(result, expected, rtol=1e-5, atol=1e-6)


def test_small_network_and_eval_mode():
    model = resnet('resnet_small')
    variables, images = shapes_of(model, 64, 64, 1)
    chex.assert_shape(jax.eval_shape(model.apply, variables, images), (2, 128))
    assert parameter_count(variables) < 400_000

    model = small_net()
    x = jax.random.normal(jax.random.key(0), (3, 16, 16, 1))
    variables = random_variables(model, x)
    together, state = model.apply(variables, x, mutable=['batch_stats'])
    run = jax.jit(model.apply)
    alone = jnp.concatenate([run(variables, x[i : i + 1]) for i in range(3)])
    chex.assert_trees_all_close(together, alone, rtol=1e-5, atol=1e-6)
    chex.assert_trees_all_equal(state['batch_stats'], variables['batch_stats'])


def test_unknown_names_are_refused_with_the_valid_ones():
    with pytest.raises(ConfigError, match='resnet51.*resnet18, resnet34, resnet50, resnet_small'):
        resnet('resnet51')
    images = jnp.zeros((1, 8, 8, 3))
    with pytest.raises(ConfigError, match='basic, bottleneck'):
        small_net(block='wide').init(jax.random.key(0), images)
    with pytest.raises(ConfigError, match='imagenet, small, coarse'):
        small_net(stem='big').init(jax.random.key(0), images)
    assert set(STAGE_SIZES) < set(RESNET_NAMES)


def test_images_of_other_rank_or_type_are_refused():
    model = small_net()
    for images in (jnp.zeros((8, 8, 3)), jnp.zeros((1, 8, 8, 3), jnp.uint8)):
        with pytest.raises(AssertionError):
            model.init(jax.random.key(0), images)
