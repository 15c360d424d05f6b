"""The comparators: published layers of the 3D CNN, points of the surface against loops."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import references_voxels as ref
from references_encoders import random_variables

from jaxret.encoders.pointnet import PointNet
from jaxret.encoders.voxel_baselines import OccupancyPointNet, VoxelCNN, surface_points
from jaxret.training.state import count_parameters

RNG = np.random.default_rng(0)
BLOB = RNG.random((3, 6, 6, 6)) < 0.4


def test_cnn_has_the_published_layers():
    grids = jax.ShapeDtypeStruct((2, 32, 32, 32, 1), jnp.float32)
    variables = jax.eval_shape(VoxelCNN().init, jax.random.key(0), grids)
    layers = [
        (216, 1, 48),
        (1, 48, 48),
        (1, 48, 48),
        (125, 48, 96),
        (1, 96, 96),
        (1, 96, 96),
        (27, 96, 512),
        (1, 512, 512),
        (1, 512, 512),
    ]
    trunk = sum(cells * before * after + 2 * after for cells, before, after in layers)
    assert count_parameters(variables['params']) == trunk + (4096 + 1) * 512 + (512 + 1) * 256
    assert jax.eval_shape(VoxelCNN().apply, variables, grids).shape == (2, 256)


def test_cnn_equals_loops():
    grids = (RNG.random((2, 32, 32, 32, 1)) < 0.1).astype(np.float32)
    model = VoxelCNN(dim=3, width=0.04)
    variables = random_variables(model, grids)
    params, stats, x = variables['params'], variables['batch_stats'], grids
    for block in (1, 2, 3):
        for layer, stride in ((1, 2), (2, 1), (3, 1)):
            name = f'{block}_{layer}'
            x = ref.convolve3d(x, params[f'conv{name}']['kernel'], stride, 0)
            x = np.maximum(ref.batch_norm(x, params[f'bn{name}'], stats[f'bn{name}']), 0)
    head = params['head']
    x = np.maximum(x.reshape(2, -1) @ head['hidden']['kernel'] + head['hidden']['bias'], 0)
    expected = x @ head['output']['kernel'] + head['output']['bias']
    np.testing.assert_allclose(jax.jit(model.apply)(variables, grids), expected, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize('count', [7, 500])
def test_surface_points_are_evenly_spaced_surface_cells(count):
    found = np.asarray(jax.jit(surface_points, static_argnums=1)(BLOB, count))
    for points, grid in zip(found, BLOB, strict=True):
        cells = ref.surface_cells(grid)
        assert 7 < len(cells) < min(500, grid.sum() + 1)
        wanted = [cells[int((number + 0.5) * len(cells) / count)] for number in range(count)]
        np.testing.assert_allclose(points, [[(2 * i + 1) / 6 - 1 for i in cell] for cell in wanted], rtol=1e-6)


def test_surface_is_hollow_and_an_empty_grid_gives_the_origin():
    grids = np.zeros((2, 5, 5, 5), bool)
    grids[0] = True
    found = np.asarray(jax.jit(surface_points, static_argnums=1)(grids, 98))  # the outside of a full grid
    assert len(np.unique(found[0], axis=0)) == 98 and np.abs(found[0]).max(axis=1).min() > 0.7
    assert not found[1].any()


def test_pointnet_sees_the_surface():
    grids = BLOB[..., None].astype(np.float32)
    model = OccupancyPointNet(points=20, dim=4, width=0.05)
    variables = random_variables(model, grids)
    inner = {name: value['pointnet'] for name, value in variables.items()}
    points = jax.jit(surface_points, static_argnums=1)(BLOB, 20)
    expected = jax.jit(PointNet(dim=4, width=0.05).apply)(inner, points)
    np.testing.assert_allclose(jax.jit(model.apply)(variables, grids), expected, rtol=1e-5, atol=1e-6)
    assert expected.shape == (3, 4)
