"""MeshNet: published size, its parts and the whole against loops, and what must not change its embeddings."""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from references_points import Network, check_gradients, variables_for

from jaxret.encoders.meshnet import FaceKernelCorrelation, FaceRotateConvolution, MeshConvolution, MeshNet

BATCH, FACES = 4, 10


def random_meshes():
    rng = np.random.default_rng(0)
    faces = rng.normal(size=(BATCH, FACES, 15)).astype(np.float32)
    faces[..., 12:] /= np.linalg.norm(faces[..., 12:], axis=-1, keepdims=True)
    faces[0, 0, 12:] = 0  # a face without area
    neighbors = rng.integers(0, FACES, (BATCH, FACES, 3)).astype(np.int32)
    neighbors[:, 3] = 3  # a face without neighbours
    return faces, neighbors


MESHES = random_meshes()


def small_net(**overrides):
    return MeshNet(**{'dim': 6, 'kernels': 48, 'width': 0.0625, **overrides})


def test_parameter_count_by_layers_and_the_papers_rounded_one():
    faces = jax.ShapeDtypeStruct((2, 1024, 15), jnp.float32)
    neighbors = jax.ShapeDtypeStruct((2, 1024, 3), jnp.int32)
    model = MeshNet()
    variables = jax.eval_shape(model.init, jax.random.key(0), faces, neighbors)
    count = sum(int(np.prod(leaf.shape)) for leaf in jax.tree.leaves(variables['params']))
    layers = [(3, 64), (64, 64)]  # spatial descriptor
    layers += [(6, 32), (32, 32), (32, 64), (64, 64)]  # face rotate convolution
    layers += [(131, 131), (131, 131)]  # structural descriptor
    layers += [(64 + 131, 256), (2 * 131, 131), (131, 256)]  # mesh convolution 1
    layers += [(256 + 256, 512), (2 * 256, 256), (256, 512)]  # mesh convolution 2
    layers += [(512 + 512, 1024), (256 + 512 + 1024, 1024)]  # fusion, concatenation
    correlation = 2 * 64 * 4 + 2 * 64  # angles, batch norm
    trunk = correlation + sum(inputs * outputs + 3 * outputs for inputs, outputs in layers)  # bias and batch norm
    assert count == trunk + 1024 * 512 + 2 * 512 == 4_111_231
    classifier = (1024 * 512 + 512) + (512 * 256 + 256) + (256 * 40 + 40)
    assert round((trunk + classifier) / 1e6, 2) == 4.25  # the paper's table of sizes
    chex.assert_shape(jax.eval_shape(model.apply, variables, faces, neighbors), (2, 512))
    chex.assert_shape(variables['params']['correlate']['alpha'], (64, 4))


def check_against_loops(model, inputs, train, forward):
    variables = variables_for(model, *inputs)
    out, state = jax.jit(lambda v: model.apply(v, *inputs, train=train, mutable=['batch_stats']))(variables)
    oracle = Network(variables, train)
    expected = forward(oracle)
    chex.assert_trees_all_close(out, jax.tree.map(np.float32, expected), rtol=1e-4, atol=1e-5)
    chex.assert_trees_all_close(state['batch_stats'], oracle.new, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize('train', [False, True])
def test_parts_equal_loops(train):
    faces, neighbors = MESHES
    rotate, correlate = FaceRotateConvolution(3, 5), FaceKernelCorrelation(7)
    corners, normals = faces[..., 3:12], faces[..., 12:]
    check_against_loops(rotate, (corners,), train, lambda o: o.rotate_convolution(corners))
    check_against_loops(correlate, (normals, neighbors), train, lambda o: o.kernel_correlation(normals, neighbors))
    inputs = (faces[..., :4], faces[..., 4:9], neighbors)
    check_against_loops(MeshConvolution(6, 3), inputs, train, lambda o: o.mesh_convolution(*inputs))


@pytest.fixture(scope='module')
def variables():
    return variables_for(small_net(), *MESHES)


@pytest.fixture(scope='module')
def run(variables):
    def forward(faces, neighbors, train=False, **overrides):
        return small_net(**overrides).apply(variables, faces, neighbors, train=train, mutable=['batch_stats'])

    return jax.jit(forward, static_argnames=('train', 'dtype'))


@pytest.mark.parametrize('train', [False, True])
def test_forward_equals_loops(run, variables, train):
    out, state = run(*MESHES, train=train)
    chex.assert_type(out, jnp.float32)
    oracle = Network(variables, train)
    np.testing.assert_allclose(out, oracle.meshnet(*MESHES), rtol=1e-4, atol=1e-5)
    chex.assert_trees_all_close(state['batch_stats'], oracle.new, rtol=1e-4, atol=1e-5)


def test_kernels_start_as_directions_over_the_sphere():
    init = jax.jit(FaceKernelCorrelation(500).init)
    params = init(jax.random.key(0), *(jnp.asarray(x[..., -3:]) for x in MESHES))['params']
    for name, limit in (('alpha', np.pi), ('beta', 2 * np.pi)):
        assert 0 <= float(params[name].min()) < 0.02 * limit
        assert 0.98 * limit < float(params[name].max()) <= limit


@pytest.mark.parametrize('train', [False, True])
def test_order_of_faces_neighbors_and_corners_does_not_matter(run, train):
    faces, neighbors = MESHES
    run = functools.partial(run, train=train)
    expected = run(faces, neighbors)
    assert float(jnp.ptp(expected[0], axis=0).max()) > 0.1

    rng = np.random.default_rng(1)
    order = rng.permuted(np.tile(np.arange(FACES), (BATCH, 1)), axis=1)
    position = np.argsort(order, axis=1)  # where each old face went
    moved = np.take_along_axis(faces, order[:, :, None], axis=1)
    relabelled = np.take_along_axis(neighbors, order[:, :, None], axis=1)
    relabelled = np.stack([p[n] for p, n in zip(position, relabelled, strict=True)])
    chex.assert_trees_all_close(run(moved, relabelled), expected, rtol=1e-5, atol=1e-5)
    assert not np.allclose(run(moved, neighbors)[0], expected[0], rtol=1e-3)  # relabelling is needed

    swapped = rng.permuted(neighbors, axis=2)
    chex.assert_trees_all_close(run(faces, swapped), expected, rtol=1e-5, atol=1e-5)

    turned = faces.copy()
    for b, f in np.ndindex(BATCH, FACES):  # every face on its own
        turned[b, f, 3:12] = np.roll(faces[b, f, 3:12], 3 * rng.integers(3))
    chex.assert_trees_all_close(run(turned, neighbors), expected, rtol=1e-5, atol=1e-5)


def test_repeated_faces_change_nothing_outside_training(run):
    faces, neighbors = MESHES
    repeat = np.r_[np.arange(FACES), [1, 4, 4]]
    chex.assert_trees_all_close(
        run(faces[:, repeat], neighbors[:, repeat]), run(faces, neighbors), rtol=1e-5, atol=1e-6
    )


def test_gradients_are_slopes_and_reach_all_parameters_but_biases_before_batch_norm():
    gradients = check_gradients(small_net(), *MESHES)
    for path, leaf in jax.tree_util.tree_leaves_with_path(gradients):
        before_norm = path[-1].key == 'bias' and path[-2].key != 'bn'
        assert (np.abs(leaf).max() < 1e-5) == before_norm, path


def test_batch_norm_is_synchronised_and_bfloat16_is_close(run, variables):
    expected = run(*MESHES, train=True)
    model = small_net(axis_name='data')
    spread = jax.vmap(lambda f, n: model.apply(variables, f, n, train=True, mutable=['batch_stats']), axis_name='data')
    out, state = jax.jit(spread)(*(x.reshape(2, 2, *x.shape[1:]) for x in MESHES))
    first = jax.tree.map(lambda leaf: leaf[0], state)
    chex.assert_trees_all_close((out.reshape(BATCH, -1), first), expected, rtol=1e-4, atol=1e-5)

    half = run(*MESHES, train=False, dtype=jnp.bfloat16)
    chex.assert_type(jax.tree.leaves(half), jnp.float32)
    full = run(*MESHES, train=False)
    chex.assert_trees_all_close(half, full, rtol=0.1, atol=0.1)
    assert not np.allclose(half[0], full[0], rtol=1e-5)


def test_bad_shapes_are_refused_and_bad_indices_show(run):
    faces, neighbors = MESHES
    for bad in ((faces[..., :12], neighbors), (faces, neighbors[:, :-1]), (faces, neighbors.astype(np.float32))):
        with pytest.raises(AssertionError):
            run(*bad)
    wrong = neighbors.copy()
    wrong[1, 2, 0] = FACES
    out, _ = run(faces, wrong)
    assert np.isnan(out[1]).all() and np.isfinite(out[0]).all()
