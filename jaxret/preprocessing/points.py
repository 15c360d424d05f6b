"""From a point cloud to what a system embeds. No JAX. Letters: P points of the cloud, N points that the system takes.

.ply   vertices, whatever faces there are
.xyz   one point a line, three numbers first; more columns are ignored
.npy   an array [P, 3] or [P, 3 or more]; object arrays, which could run code, are refused
"""

import io
from pathlib import Path

import numpy as np

from jaxret.errors import refused
from jaxret.files import check_regular
from jaxret.geometry.formats import UnusableMesh
from jaxret.geometry.ply import ply_points
from jaxret.preprocessing.photo_files import read_bytes

POINT_SUFFIXES = ('.ply', '.xyz', '.npy')
_FEWEST = 8
_EXPORT_AGAIN = 'export the points again'


def point_arrays(cloud: str | Path | np.ndarray, *, count: int, up_axis: str = 'y') -> dict[str, np.ndarray]:
    """Points in the unit sphere, as training had them: bounding-box centre at 0, farthest point at radius 1.

    Args:
      cloud: a file, or an array [P, 3].
      count: N; of more points a random choice, always the same; of fewer, all and some of them again.
      up_axis: axis that points up, 'y' or 'z'.

    Returns:
      {'points': float32 [N, 3]}.

    Raises:
      DataError: no cloud of at least 8 finite points at different places.
    """
    where = 'points' if isinstance(cloud, np.ndarray) else str(cloud)
    points = cloud if isinstance(cloud, np.ndarray) else read_points(Path(cloud))
    if points.ndim != 2 or points.shape[1] < 3 or points.dtype.kind not in 'fiu':
        raise refused(where, f'an array {points.dtype} {list(points.shape)}', 'give numbers [points, 3]')
    points = points[:, :3].astype(np.float64)
    if len(points) < _FEWEST:
        raise refused(where, f'{len(points)} points', f'give {_FEWEST} or more')
    if not np.isfinite(points).all():
        raise refused(where, f'{int((~np.isfinite(points).all(axis=1)).sum())} points are not finite', _EXPORT_AGAIN)
    if up_axis == 'z':
        points = np.stack([points[:, 0], points[:, 2], -points[:, 1]], axis=1)
    points = points - (points.min(axis=0) + points.max(axis=0)) / 2
    radius = np.linalg.norm(points, axis=1).max()
    if not 0 < radius < np.inf:
        raise refused(where, 'all points lie at one place', _EXPORT_AGAIN)
    generator = np.random.default_rng(0)
    order = generator.permutation(len(points))
    if len(points) < count:
        order = np.concatenate([order, generator.integers(len(points), size=count - len(points))])
    return {'points': (points[order[:count]] / radius).astype(np.float32)}


def read_points(path: Path) -> np.ndarray:
    """The points of a file, [P, 3 or more].

    Raises:
      DataError: missing, damaged, or of another kind.
    """
    suffix = path.suffix.lower()
    if suffix not in POINT_SUFFIXES:
        raise refused(str(path), f'unknown kind {path.suffix!r}', f'use one of {" ".join(POINT_SUFFIXES)}')
    data = read_bytes(path)
    try:
        if suffix == '.npy':
            return np.lib.format.read_array(io.BytesIO(data), allow_pickle=False)
        if suffix == '.xyz':
            return np.loadtxt(io.StringIO(data.decode()), usecols=(0, 1, 2), ndmin=2)
        return ply_points(data)
    except UnusableMesh as error:
        raise refused(str(path), str(error), _EXPORT_AGAIN) from None
    except Exception as error:  # NumPy lets out many types on damaged files
        reason = ' '.join(str(error).split())[:200]
        raise refused(
            str(path), f'not a readable {suffix[1:]} file ({type(error).__name__}: {reason})', _EXPORT_AGAIN
        ) from error


def has_faces(path: Path) -> bool:
    """Whether a .ply file is a mesh: its header names at least one face or triangle strip."""
    try:
        check_regular(path)
        with path.open('rb') as stream:
            header = stream.read(64 * 1024).partition(b'end_header')[0]
    except OSError:
        return False
    words = [line.split() for line in header.splitlines()]
    counts = [line[-1] for line in words if line[:2] in ([b'element', b'face'], [b'element', b'tristrips'])]
    return any(count != b'0' for count in counts)
