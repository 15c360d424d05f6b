"""Descriptors of occupancy grids without learning, to compare embeddings with: the cells themselves, and FPFH.

FPFH goes through Open3D, which is the optional extra `descriptors`. SHOT, the other hand-made descriptor that the
papers compare with, is absent: Open3D has none. Letters: N grids, R cells a side.
"""

from functools import partial
from types import ModuleType

import numpy as np

from jaxret.errors import ConfigError, refused
from jaxret.workers import map_parallel

FPFH_BINS = 33


def overlap_descriptors(grids: np.ndarray) -> np.ndarray:
    """The occupied cells as a vector of length 1: distances fall as the overlap |A and B| / sqrt(|A| |B|) rises.

    What scans that stand where their CAD models stand can be told by without any learning.

    Args:
      grids: uint8 or bool [N, R, R, R], not 0 is occupied.

    Returns:
      float32 [N, R^3]; 0 for an empty grid.

    Raises:
      DataError: an array of another shape.
    """
    grids = np.asarray(grids)
    if grids.ndim != 4:
        raise refused('grids', f'shape {grids.shape}', 'give occupancy [N, R, R, R]')
    cells = (grids != 0).reshape(len(grids), -1).astype(np.float32)
    return cells / np.sqrt(np.maximum(cells.sum(axis=1, keepdims=True), 1))


def fpfh_descriptors(
    grids: np.ndarray,
    *,
    normal_radius: float = 3.0,
    radius: float = 8.0,
    max_neighbors: int = 200,
    processes: int = 1,
    progress: bool = True,
) -> np.ndarray:
    """One Fast Point Feature Histogram a grid: the mean of those of all its occupied cells.

    FPFH is a descriptor of a point's surroundings: three angles between its normal and those of its neighbours, each in
    11 bins. The papers do not say how they make one descriptor of an object from it; here it is the mean over the
    centres of the occupied cells, which no rotation changes. Normals are fitted to the neighbouring centres and point
    away from the middle of all centres, since occupancy does not tell inside from outside.

    Args:
      grids: uint8 or bool [N, R, R, R], not 0 is occupied.
      normal_radius: of the cells to which a normal is fitted, in cells.
      radius: of a point's surroundings, in cells.
      max_neighbors: nearest cells of those that are used.
      processes: that share the work.
      progress: show a progress bar.

    Returns:
      float64 [N, 33], sums 1; 0 for an empty grid.

    Raises:
      ConfigError: Open3D is not installed, or cannot be loaded.
      DataError: an array of another shape.

    Source: Rusu, Blodow and Beetz, "Fast Point Feature Histograms (FPFH) for 3D Registration", ICRA 2009.
    """
    grids = np.asarray(grids)
    if grids.ndim != 4:
        raise refused('grids', f'shape {grids.shape}', 'give occupancy [N, R, R, R]')
    open3d()
    describe = partial(_fpfh, normal_radius=normal_radius, radius=radius, max_neighbors=max_neighbors)
    # Packed to one bit a cell: what goes to another process is small.
    items = [(np.packbits(grid != 0), grid.shape) for grid in grids]
    result = np.zeros((len(grids), FPFH_BINS))
    for index, descriptor in map_parallel(
        describe, items, processes=processes, serial_below=200, raises=True, progress='FPFH' if progress else None
    ):
        result[index] = descriptor
    return result


def open3d() -> ModuleType:
    """The optional library.

    Raises:
      ConfigError: it is not installed, or a library of the system that it needs is not.
    """
    try:
        import open3d as library
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"FPFH needs Open3D, which is not installed ({error}); pip install 'jaxret[descriptors]'"
        ) from error
    except ImportError as error:  # of the system
        raise ConfigError(
            f'FPFH needs Open3D, which cannot be loaded ({error}); install the system libraries that it '
            f'names: on Debian, apt-get install libusb-1.0-0 libgl1 libegl1 libx11-6'
        ) from error
    return library


def _fpfh(
    item: tuple[np.ndarray, tuple[int, ...]], *, normal_radius: float, radius: float, max_neighbors: int
) -> np.ndarray:
    packed, shape = item
    points = np.argwhere(np.unpackbits(packed, count=int(np.prod(shape))).reshape(shape)).astype(np.float64)
    if not len(points):
        return np.zeros(FPFH_BINS)
    library = open3d()
    cloud = library.geometry.PointCloud(library.utility.Vector3dVector(points))
    cloud.estimate_normals(library.geometry.KDTreeSearchParamHybrid(normal_radius, max_neighbors))
    cloud.orient_normals_towards_camera_location(points.mean(axis=0))
    cloud.normals = library.utility.Vector3dVector(-np.asarray(cloud.normals))
    features = library.pipelines.registration.compute_fpfh_feature(
        cloud, library.geometry.KDTreeSearchParamHybrid(radius, max_neighbors)
    )
    histogram = np.asarray(features.data).mean(axis=1)  # [33, points] -> [33]
    return histogram / max(histogram.sum(), 1e-12)
