"""How fast meshes become what networks and metrics take, and metrics are computed, beside the plain ways to do it.

    python experiments/benchmarks/geometry.py                          # bumpy balls of 1k, 5k and 20k faces
    python experiments/benchmarks/geometry.py --shape=table --faces 5000 --work loading rendering --json=out.json
    python experiments/benchmarks/geometry.py --work average_precision --items=10000

Per core: reading an OBJ file, 12 views of 224 x 224, solid grids, simplification to 1,024 faces, surface points, the
modified Hausdorff distance of two clouds, the IoU of two grids; and mean average precision of --items queries and
gallery items. A ball fills the picture and is the worst case of rendering; a table is closer to CAD models. `ratio` is
the peer's processor time over jaxret's, medians of runs that took turns: above 1 jaxret is faster. It is of processor
time, as some peers use further cores. What peers do: trimesh reads files without checking them, casts every ray of
every view (and shades nothing), fills the grid of a mesh without judging gaps, and simplifies with the same library,
without welding first; SciPy measures all pairs of points, in blocks of rows; scikit-learn computes the IoU as the
Jaccard score, and average precision query by query.
"""

import argparse
import sys
import tempfile
import warnings
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

from measuring import find_peer, interleave, make_parser, parse, positive, show, write_json

# isort: split
import numpy as np
import trimesh
from scipy.spatial.distance import cdist

from jaxret.errors import ConfigError
from jaxret.geometry.distances import modified_hausdorff, voxel_iou
from jaxret.geometry.mesh import Mesh, load_mesh, normalize_mesh
from jaxret.geometry.points import sample_surface
from jaxret.geometry.render import ViewRing, camera_axes, render_views
from jaxret.geometry.simplify import simplify_mesh
from jaxret.geometry.voxels import voxelize_solid
from jaxret.metrics.average_precision import average_precision

COLUMNS = (
    ('work', ''),
    ('shape', ''),
    ('faces', ',d'),
    ('size', ''),
    ('milliseconds', '.2f'),
    ('cpu_ms', '.2f'),
    ('per_core_second', '.1f'),
    ('peer', ''),
    ('peer_cpu_ms', '.2f'),
    ('ratio', '.2f'),
)
Case = tuple[str, Callable[[], Any], str, Callable[[], Any] | None]  # size, jaxret's call, peer's name and call


def ball(faces: int) -> trimesh.Trimesh:
    """A bumpy ball of about this many faces."""
    side = max(3, round((faces / 4) ** 0.5))
    mesh = trimesh.creation.uv_sphere(count=[side, side])
    bumps = 1 + 0.05 * np.sin(9 * mesh.vertices).sum(axis=1, keepdims=True)
    return trimesh.Trimesh(mesh.vertices * bumps, mesh.faces, process=False)


def table(faces: int) -> trimesh.Trimesh:
    """A table of five boxes, cut into about this many faces."""
    boxes = [trimesh.creation.box((1.6, 0.08, 0.9))]
    for x in (-0.7, 0.7):
        for z in (-0.35, 0.35):
            boxes.append(trimesh.creation.box((0.08, 0.8, 0.08)))
            boxes[-1].apply_translation((x, -0.44, z))
    mesh = trimesh.util.concatenate(boxes)
    while len(mesh.faces) < faces:
        # the largest faces first, so that the count can be met
        count = min(len(mesh.faces), max(1, (faces - len(mesh.faces)) // 3))
        mesh = mesh.subdivide(np.argsort(mesh.area_faces)[-count:])
    return mesh


SHAPES = {'ball': ball, 'table': table}


def loading(mesh: Mesh, peer: trimesh.Trimesh, sizes: argparse.Namespace) -> Case:
    """An OBJ file."""
    folder = tempfile.TemporaryDirectory()
    path = Path(folder.name) / 'shape.obj'
    peer.export(path)

    def load() -> Mesh:
        return load_mesh(path)

    weakref.finalize(load, folder.cleanup)
    return f'{path.stat().st_size // 1024:,} KiB', load, 'trimesh', lambda: trimesh.load_mesh(path)


def rendering(mesh: Mesh, peer: trimesh.Trimesh, sizes: argparse.Namespace) -> Case:
    """All views of a ring."""
    ring = ViewRing(size=sizes.image_size)
    unit = normalize_mesh(mesh, mode='sphere')
    across = ((np.arange(ring.size) + 0.5) / ring.size * 2 - 1) * np.tan(np.radians(ring.field_of_view) / 2)
    x, y = np.meshgrid(across, -across)
    rays = [
        (
            np.broadcast_to(axes[2] * ring.distance, (x.size, 3)),
            np.stack([x, y, -np.ones_like(x)], axis=-1).reshape(-1, 3) @ axes,
        )
        for axes in camera_axes(ring)
    ]

    def plainly() -> None:
        scene = trimesh.Trimesh(unit.vertices, unit.faces, process=False)
        for origins, directions in rays:
            scene.ray.intersects_first(origins, directions)

    return f'{ring.views} x {ring.size}\u00b2', lambda: render_views(mesh, ring), 'trimesh', plainly


def voxelisation(mesh: Mesh, peer: trimesh.Trimesh, sizes: argparse.Namespace) -> Case:
    """A solid grid."""
    pitch = max(peer.extents) / sizes.resolution
    return (
        f'{sizes.resolution}\u00b3',
        lambda: voxelize_solid(mesh, resolution=sizes.resolution),
        'trimesh',
        lambda: peer.voxelized(pitch).fill(),
    )


def simplification(mesh: Mesh, peer: trimesh.Trimesh, sizes: argparse.Namespace) -> Case:
    """Fewer faces, for MeshNet."""
    count = min(1024, len(mesh.faces) // 2)
    return (
        f'to {count:,}',
        lambda: simplify_mesh(mesh, max_faces=count),
        'trimesh',
        lambda: peer.simplify_quadric_decimation(face_count=count),
    )


def sampling(mesh: Mesh, peer: trimesh.Trimesh, sizes: argparse.Namespace) -> Case:
    """Points on the surface; the peer forgets areas that it computed before."""

    def anew() -> None:
        peer._cache.clear()
        trimesh.sample.sample_surface(peer, sizes.points, seed=0)

    return f'{sizes.points:,} points', lambda: sample_surface(mesh, sizes.points, seed=0), 'trimesh', anew


def hausdorff(mesh: Mesh, peer: trimesh.Trimesh, sizes: argparse.Namespace) -> Case:
    """Distance of two clouds of the same surface."""
    x, y = (sample_surface(mesh, sizes.points, seed=seed) for seed in (0, 1))

    def all_pairs() -> float:
        near_x, near_y = [], np.full(len(y), np.inf)
        for start in range(0, len(x), 1000):
            far = cdist(x[start : start + 1000], y)
            near_x.append(far.min(axis=1))
            near_y = np.minimum(near_y, far.min(axis=0))
        return (np.concatenate(near_x).sum() + near_y.sum()) / (len(x) + len(y))

    if not np.isclose(all_pairs(), modified_hausdorff(x, y)):
        raise AssertionError('the distances differ')
    return f'{sizes.points:,} points', lambda: modified_hausdorff(x, y), 'scipy', all_pairs


def iou(mesh: Mesh, peer: trimesh.Trimesh, sizes: argparse.Namespace) -> Case:
    """Overlap of a solid with itself, moved by a voxel."""
    a = voxelize_solid(mesh, resolution=sizes.resolution)
    b = np.roll(a, 1, axis=0)
    metrics, missing = find_peer('sklearn.metrics')
    jaccard = None if metrics is None else lambda: metrics.jaccard_score(a.ravel(), b.ravel())
    return f'{sizes.resolution}\u00b3', lambda: voxel_iou(a, b), missing or 'scikit-learn', jaccard


def mean_average_precision(mesh: Mesh, peer: trimesh.Trimesh, sizes: argparse.Namespace) -> Case:
    """Of random embeddings of 40 classes."""
    rng = np.random.default_rng(0)
    queries, gallery = rng.standard_normal((2, sizes.items, 512), np.float32)
    labels, gallery_labels = rng.integers(40, size=(2, sizes.items))
    unit = gallery / np.linalg.norm(gallery, axis=1, keepdims=True)
    metrics, missing = find_peer('sklearn.metrics')

    def one_by_one() -> float:
        pairs = zip(queries, labels, strict=True)
        return float(np.mean([metrics.average_precision_score(gallery_labels == own, unit @ x) for x, own in pairs]))

    def ours() -> float:
        return average_precision(queries, gallery, labels, gallery_labels).mean

    return f'{sizes.items:,} x {sizes.items:,}', ours, missing or 'scikit-learn', None if missing else one_by_one


WORK = {
    'loading': loading,
    'rendering': rendering,
    'voxelisation': voxelisation,
    'simplification': simplification,
    'sampling': sampling,
    'hausdorff': hausdorff,
    'iou': iou,
    'average_precision': mean_average_precision,
}
OF_FACES = WORK.keys() - {'average_precision'}  # what takes longer for more faces


def measure(work: str, faces: int, sizes: argparse.Namespace) -> dict[str, Any]:
    """One row of the table."""
    peer = SHAPES[sizes.shape](faces)
    mesh = Mesh(np.asarray(peer.vertices, np.float64), np.asarray(peer.faces, np.int64))
    size, ours, name, theirs = WORK[work](mesh, peer, sizes)
    calls = {'jaxret': ours} | ({} if theirs is None else {'peer': theirs})
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')  # trimesh's own
        times = interleave(calls, repeats=sizes.repeats)
    seconds = times['jaxret']['cpu_seconds']
    row = {
        'work': work,
        'shape': sizes.shape,
        'faces': len(mesh.faces),
        'size': size,
        'milliseconds': 1e3 * times['jaxret']['seconds'],
        'cpu_ms': 1e3 * seconds,
        'per_core_second': 1 / seconds,
        'peer': name,
    }
    if theirs is not None:
        row |= {'peer_cpu_ms': 1e3 * times['peer']['cpu_seconds'], 'ratio': times['peer']['cpu_seconds'] / seconds}
    return row


def main(arguments: list[str] | None = None) -> int:
    """Measures, prints a table."""
    parser = make_parser(__doc__, repeats=5)
    parser.add_argument('--shape', choices=tuple(SHAPES), default='ball', help='a ball fills the picture, a table not')
    parser.add_argument('--faces', type=positive, nargs='+', default=[1_000, 5_000, 20_000])
    parser.add_argument('--work', nargs='+', choices=tuple(WORK), default=tuple(WORK))
    parser.add_argument('--image_size', type=positive, default=224)
    parser.add_argument('--resolution', type=positive, default=128, help='voxels along each side')
    parser.add_argument('--points', type=positive, default=10_000)
    parser.add_argument('--items', type=positive, default=1_000, help='queries, and as many gallery items')
    known, _, cores = parse(parser, arguments)
    try:
        ViewRing(size=known.image_size)
    except ConfigError as error:
        parser.error(f'argument --image_size: {error.message}')
    rows = [
        measure(work, faces, known)
        for work in known.work
        for faces in (known.faces if work in OF_FACES else known.faces[:1])
    ]
    title = f'meshes ({known.shape}), {cores} cores'
    show(title, COLUMNS, rows)
    write_json(known.json, title=title, arguments=known, rows=rows, cores=cores)
    return 0


if __name__ == '__main__':
    sys.exit(main())
