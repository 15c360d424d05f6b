"""What `growth.py` measures: calls of growing size, with the memory that each needs."""

import tempfile
import tracemalloc
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from measuring import MIB, Usage, compiled_memory

# isort: split
import jax
import numpy as np
from geometry import ball
from growth_indexes import duplicates, fitting, indexing, opening
from loss_cases import CASES, PLAIN_FORMS, VIEWS, random_arrays
from overrides import load_config
from random_galleries import embeddings
from random_steps import RandomStep, random_variables

from jaxret.encoders.dgcnn import DGCNN
from jaxret.encoders.pointnet import PointNet
from jaxret.geometry.distances import modified_hausdorff
from jaxret.geometry.mesh import Mesh, load_mesh
from jaxret.geometry.render import ViewRing, render_views
from jaxret.search.bounds import prepare
from jaxret.search.exact import search
from jaxret.search.gallery import SearchGallery

Case = tuple[Callable[[], Any], float]  # a call, and the MiB that it needs


@dataclass(frozen=True)
class Curve:
    """How one thing grows.

    Attributes:
      name: of the curve.
      axis: what grows.
      sizes: that are measured by default.
      make: size -> call and memory.
      reason: why it grows faster than its size; '' where it should not.
    """

    name: str
    axis: str
    sizes: tuple[int, ...]
    make: Callable[[int], Case]
    reason: str = ''


def searching(shapes: int, *, method: str) -> Case:
    """One query in a gallery of 12 x 16 numbers a shape: embeddings, and growth in the first search."""
    gallery, queries, projected = embeddings(shapes, VIEWS, 16, 1, 2.0, 0)
    searched = SearchGallery(gallery, 'attention')
    if method == 'pruned':
        prepare(searched)

    def call() -> Any:
        return search(searched, queries, 10, projected=projected, method=method)

    jax.block_until_ready(jax.numpy.zeros(1))  # JAX's own memory is there before
    with Usage() as first:
        call()
    return call, gallery.nbytes / MIB + first.peak_mib


def losing(batch: int, *, blocked: bool) -> Case:
    """InfoNCE of attention scores of 12 views, forward and backward."""
    case = 'attention_info_nce'
    arrays, labels = random_arrays(batch)
    arrays = {name: arrays[name] for name in ('queries', 'kernel', 'views')}
    return _compiled(jax.value_and_grad(CASES[case] if blocked else PLAIN_FORMS[case][1]), arrays, labels)


def training(size: int, *, views: bool) -> Case:
    """CMIC's train step, small preset: of so many photos and shapes, or of eight with so many views."""
    config, _ = load_config('pix3d.py:small')
    config.batch_size = 8 if views else size
    config.data.views_per_step = size if views else config.data.views_per_step
    step = RandomStep(config)
    return step, sum(step.memory.values())


def points(count: int, *, network: type) -> Case:
    """A point network of a quarter of its width, four clouds."""
    encoder, clouds = network(dim=256, width=0.25), np.random.default_rng(0).uniform(-1, 1, (4, count, 3))
    clouds = clouds.astype(np.float32)
    variables = random_variables(jax.eval_shape(encoder.init, jax.random.key(0), clouds))
    return _compiled(encoder.apply, variables, clouds)


def hausdorff(count: int) -> Case:
    """Modified Hausdorff distance of two clouds."""
    x, y = np.random.default_rng(0).uniform(-1, 1, (2, count, 3))
    return _traced(partial(modified_hausdorff, x, y))


def rendering(size: int, *, views: bool) -> Case:
    """A bumpy ball at 224 x 224: of so many faces in 12 views, or of 5,000 faces in so many views."""
    shape = ball(5_000 if views else size)
    mesh = Mesh(np.asarray(shape.vertices, np.float64), np.asarray(shape.faces, np.int64))
    return _traced(partial(render_views, mesh, ViewRing(views=size) if views else ViewRing()))


def loading(faces: int) -> Case:
    """An OBJ file of a bumpy ball."""
    folder = tempfile.TemporaryDirectory()
    path = Path(folder.name) / 'ball.obj'
    ball(faces).export(path)

    def call() -> Mesh:
        return load_mesh(path)

    weakref.finalize(call, folder.cleanup)
    return _traced(call)


_TREE = 'a tree of N points is searched N times in about log N steps'
CURVES = (
    Curve('search, brute force', 'gallery', tuple(10**n for n in range(2, 7)), partial(searching, method='brute')),
    Curve('search, pruned', 'gallery', tuple(10**n for n in range(2, 7)), partial(searching, method='pruned')),
    Curve('indexing: shards and table', 'gallery', (1_000, 10_000, 100_000), indexing),
    Curve('opening: read and checked', 'gallery', (1_000, 10_000, 100_000), opening),
    Curve('duplicates: pairs to compare', 'gallery', (1_000, 10_000, 100_000, 1_000_000), duplicates, _TREE),
    Curve('fit of 100 photos', 'gallery', (1_000, 10_000, 100_000), fitting),
    Curve(
        'InfoNCE, direct',
        'batch',
        (64, 128, 256, 512, 1024, 2048),
        partial(losing, blocked=False),
        'every query is compared with every shape, and all scores are kept',
    ),
    Curve(
        'InfoNCE, in blocks',
        'batch',
        (64, 128, 256, 512, 1024, 2048, 4096),
        partial(losing, blocked=True),
        'every query is compared with every shape; only the scores of a block are kept',
    ),
    Curve('train step', 'batch', (8, 16, 32, 64), partial(training, views=False)),
    Curve('train step', 'views', (3, 6, 12, 24), partial(training, views=True)),
    Curve('rendering', 'views', (3, 6, 12, 24, 48), partial(rendering, views=True)),
    Curve('PointNet', 'points', (256, 512, 1024, 2048, 4096), partial(points, network=PointNet)),
    Curve(
        'DGCNN',
        'points',
        (256, 512, 1024, 2048, 4096),
        partial(points, network=DGCNN),
        'the nearest neighbours of a point are sought among all points, in each of four layers',
    ),
    Curve('Hausdorff distance', 'points', (1_000, 4_000, 16_000, 64_000), hausdorff, _TREE),
    Curve('rendering', 'faces', (1_000, 4_000, 16_000, 64_000, 256_000), partial(rendering, views=False)),
    Curve('loading', 'faces', (1_000, 4_000, 16_000, 64_000, 256_000), loading),
)


def _compiled(function: Callable[..., Any], *arguments: Any) -> Case:
    """A program, and what it holds with its arguments."""
    compiled = jax.jit(function).lower(*arguments).compile()
    placed = jax.device_put(arguments)
    return lambda: jax.block_until_ready(compiled(*placed)), sum(compiled_memory(compiled).values())


def _traced(call: Callable[[], Any]) -> Case:
    """A call, and the largest size of Python's and NumPy's memory in it; that of C++ libraries does not count."""
    call()
    tracemalloc.start()
    call()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return call, peak / MIB
