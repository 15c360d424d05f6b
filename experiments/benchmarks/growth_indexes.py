"""What `growth.py` measures of an index: of random embeddings and signatures, as no models are read or rendered."""

import tempfile
import tracemalloc
import weakref
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from measuring import MIB

# isort: split
import numpy as np

from jaxret.geometry.mesh import Mesh
from jaxret.geometry.render import ViewRing
from jaxret.geometry.signatures import Signatures, signature
from jaxret.index.build import commit
from jaxret.index.files import Source
from jaxret.index.fitting import fit_references
from jaxret.index.index import Index
from jaxret.index.like_shapes import candidate_pairs
from jaxret.index.shards import SHARD_SHAPES, ShapeRow, Shard, write_shard
from jaxret.preprocessing.shapes import ShapeInputs
from jaxret.search.gallery import SearchGallery
from jaxret.search.parts import Parts
from jaxret.search.references import Fusion, mean_of_best

VIEWS, WIDTH = 12, 16
REFERENCES = 100
CLASS = WIDTH // 2
PARTS = Parts({'late': (0, CLASS), 'class': (CLASS, WIDTH)}, {'mixed': {'late': 1.0, 'class': 0.5}}, {'late': 1.0})
Case = tuple[Callable[[], Any], float]  # as in growth_curves.py


def random_model() -> SimpleNamespace:
    """What an index takes of a model."""
    ring = ViewRing(views=VIEWS)
    return SimpleNamespace(
        system='cmic', similarity='attention', fingerprint='0' * 64, step=0, workdir='random', query_kinds=['photo'],
        shape_inputs=ShapeInputs('views', ring=ring, view_ids=tuple(range(VIEWS)), side=ring.size),
        projection=np.eye(WIDTH, dtype=np.float32), parts=None, fusion=Fusion(),
    )  # fmt: skip


def write_index(folder: Path, shapes: int, width: int = WIDTH) -> None:
    """An index of so many shapes, as `jaxret index` writes it; thumbnails are of 1 kB."""
    rng, model, rows = np.random.default_rng(0), random_model(), []
    model.projection = np.eye(width, dtype=np.float32)
    for start in range(0, shapes, SHARD_SHAPES):
        names = [
            f'category{number % 50}/{number:07d}/model.obj'
            for number in range(start, min(start + SHARD_SHAPES, shapes))
        ]
        views = rng.standard_normal((len(names), VIEWS, width), np.float32)
        views /= np.linalg.norm(views, axis=-1, keepdims=True)
        shard = write_shard(folder, Shard(views, [b'0' * 1024] * len(names), names), key='key')
        rows += [
            ShapeRow(name, name.partition('/')[0], 0, f'{start + row:064x}', [4096, 1], shard, row, 'y', 'given')
            for row, name in enumerate(names)
        ]
    commit(folder, model, [Source('/models', 'y', '')], rows, failed=0)


def indexing(shapes: int) -> Case:
    """Shards, table and manifest; what indexing does beside reading, rendering and embedding."""

    def call() -> None:
        with tempfile.TemporaryDirectory() as folder:
            write_index(Path(folder), shapes)

    return call, _traced(call)


def opening(shapes: int) -> Case:
    """An index opened, read and checked."""
    folder = tempfile.TemporaryDirectory()
    write_index(Path(folder.name), shapes)

    def call() -> None:
        with Index.open(folder.name) as index:
            _ = index.gallery, index.ids

    weakref.finalize(call, folder.cleanup)
    return call, _traced(call)


def duplicates(shapes: int) -> Case:
    """The pairs of shapes that are compared closely, one in ten shapes being like another."""
    rng = np.random.default_rng(0)
    triangle = signature(Mesh(np.eye(3), np.arange(3)[None]))
    width = Signatures.of(triangle[None]).shapes.shape[1]
    shape = 20 * rng.standard_normal((shapes, 6)) @ rng.standard_normal((6, width)) / np.sqrt(6)  # features depend
    copies = rng.choice(shapes, shapes // 10, replace=False)
    shape[copies] = shape[rng.integers(shapes, size=len(copies))] + rng.uniform(-0.4, 0.4, (len(copies), width))
    signatures = Signatures([], np.ones(shapes), np.ones(shapes, int), shape)

    def call() -> list:
        return candidate_pairs(signatures, range(shapes))

    return call, _traced(call)


def fitting(shapes: int) -> Case:
    """`jaxret fit` of 100 photos of 50 shapes, in a gallery of so many."""
    rng = np.random.default_rng(0)
    gallery = SearchGallery(rng.standard_normal((shapes, VIEWS, WIDTH), np.float32), 'best_views')
    owner = np.arange(REFERENCES) % (REFERENCES // 2)
    photos = gallery.embeddings[owner, 0] + 0.5 * rng.standard_normal((REFERENCES, WIDTH), np.float32)
    comparison = SimpleNamespace(
        parts=PARTS,
        gallery=gallery,
        centre=np.zeros(WIDTH, np.float32),
        view_scores=lambda photos, centre: mean_of_best(gallery.products(PARTS.view_queries(photos, None, centre))),
        outlined=lambda photos: np.zeros(len(photos), bool),
    )

    def call() -> Any:
        return fit_references(comparison, photos, owner, Fusion())

    return call, _traced(call)


def _traced(call: Callable[[], Any]) -> float:
    """The largest size of Python's and NumPy's memory in a call."""
    tracemalloc.start()
    call()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak / MIB
