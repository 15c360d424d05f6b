"""FPFH of grids, where Open3D is installed, and the error where it is not."""

import sys

import numpy as np
import pytest

from jaxret.baselines import descriptors
from jaxret.baselines.descriptors import FPFH_BINS, fpfh_descriptors, overlap_descriptors
from jaxret.errors import ConfigError, DataError


@pytest.fixture
def open3d():
    try:
        return descriptors.open3d()
    except ConfigError as error:
        pytest.skip(str(error))


def make_grids():
    """A box, the box turned by a quarter about y, a rod, nothing."""
    grids = np.zeros((4, 16, 16, 16), np.uint8)
    grids[0, 3:13, 5:9, 4:8] = 1
    grids[1] = np.rot90(grids[0], axes=(0, 2))
    grids[2, 2:14, 7:8, 7:8] = 1
    return grids


def test_without_open3d_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, 'open3d', None)  # what an import then raises is a ModuleNotFoundError
    with pytest.raises(ConfigError, match=r"pip install 'jaxret\[descriptors\]'"):
        fpfh_descriptors(make_grids())


def test_a_missing_library_of_the_system_is_named(monkeypatch, tmp_path):
    (tmp_path / 'open3d.py').write_text("raise ImportError('libusb-1.0.so.0: cannot open shared object file')\n")
    monkeypatch.delitem(sys.modules, 'open3d', raising=False)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ConfigError, match='libusb-1.0.so.0.*apt-get install'):
        fpfh_descriptors(make_grids())


def test_arrays_of_another_shape_are_refused():
    with pytest.raises(DataError, match='occupancy'):
        fpfh_descriptors(np.zeros((4, 16, 16)))


def test_a_descriptor_tells_shapes_apart_but_not_how_they_are_turned(open3d):
    result = fpfh_descriptors(make_grids(), progress=False)
    assert result.shape == (4, FPFH_BINS)
    np.testing.assert_allclose(result[:3].sum(axis=1), 1)
    assert not result[3].any()
    turned, other = (np.linalg.norm(result[0] - result[i]) for i in (1, 2))
    assert turned < 0.05 * other


def test_it_is_the_mean_of_open3ds_histograms(open3d):
    grid = make_grids()[:1]
    points = np.argwhere(grid[0]).astype(float)
    cloud = open3d.geometry.PointCloud(open3d.utility.Vector3dVector(points))
    cloud.estimate_normals(open3d.geometry.KDTreeSearchParamHybrid(3.0, 200))
    away = points - points.mean(axis=0)
    normals = np.asarray(cloud.normals)
    normals = normals * np.sign(np.sum(normals * away, axis=1, keepdims=True))
    assert np.all(np.sum(normals * away, axis=1) > 0)
    cloud.normals = open3d.utility.Vector3dVector(normals)
    found = open3d.pipelines.registration.compute_fpfh_feature(cloud, open3d.geometry.KDTreeSearchParamHybrid(8.0, 200))
    mean = np.mean([column / column.sum() for column in np.asarray(found.data).T], axis=0)
    np.testing.assert_allclose(fpfh_descriptors(grid, progress=False)[0], mean, rtol=1e-4, atol=1e-6)


def test_distances_of_cells_are_those_of_their_overlap():
    grids = np.random.default_rng(0).integers(0, 2, (3, 4, 4, 4)) * 7
    grids = np.concatenate([grids, np.zeros((1, 4, 4, 4), int)])
    found = overlap_descriptors(grids)
    for i in range(3):
        for j in range(3):
            a, b = {*zip(*np.nonzero(grids[i]), strict=True)}, {*zip(*np.nonzero(grids[j]), strict=True)}
            overlap = len(a & b) / np.sqrt(len(a) * len(b))
            assert np.sum((found[i] - found[j]) ** 2) == pytest.approx(2 - 2 * overlap, abs=1e-6)
    assert found.dtype == np.float32 and not found[3].any()
    with pytest.raises(DataError, match='shape'):
        overlap_descriptors(grids[0])
