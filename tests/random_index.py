"""An index of random embeddings, without models."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from small_index import PlainModel

import jaxret
from jaxret.index.build import commit
from jaxret.index.files import Source
from jaxret.index.shards import ShapeRow, Shard, write_shard
from jaxret.search.parts import Parts
from jaxret.search.similarity import VIEW_KINDS

VIEWS, WIDTH = 3, 8  # views as `small_index.PlainModel` has
CATEGORIES = ('a "quoted" \\ chair', 'Stühle', '', "it's a table")


def random_index(
    folder: Path,
    similarity: str,
    *,
    shapes: int = 60,
    repeated: int = 1,
    seed: int = 0,
    parts: Parts | None = None,
    facts: Sequence[dict] = (),
) -> jaxret.Index:
    """An index in two shards; of `repeated` shapes one after the other all have one embedding."""
    rng = np.random.default_rng(seed)
    embeddings = rng.normal(size=(shapes, VIEWS, WIDTH)).astype(np.float32).repeat(repeated, axis=0)[:shapes]
    if similarity == 'attention':
        embeddings /= np.linalg.norm(embeddings, axis=-1, keepdims=True)
    if similarity == 'best_views':  # as the built-in model stores them
        embeddings = embeddings.astype(np.float16)
    if similarity not in VIEW_KINDS:
        embeddings = embeddings[:, 0]
    projection = rng.normal(size=(WIDTH, WIDTH)).astype(np.float32) if similarity == 'attention' else None
    rows = []
    for part in np.array_split(np.arange(shapes), 2):
        own = [facts[number] for number in part] if facts else ()
        content = Shard(embeddings[part], [b'picture'] * len(part), list(map(str, part)), facts=own)
        shard = write_shard(folder, content, key='key')
        rows += [
            ShapeRow(f'{number:03d} chair.obj', CATEGORIES[number % 4], 0, 'checksum', [1, 2], shard, row)
            for row, number in enumerate(part)
        ]
    model = PlainModel(similarity=similarity, projection=projection, parts=parts)
    commit(folder, model, [Source('/models', 'y', '')], rows, failed=0)
    return jaxret.Index.open(folder)


def random_queries(index: jaxret.Index, count: int, *, seed: int = 9) -> np.ndarray:
    """float32 [Q, D], near to some of the shapes; of length 1 where the shapes are."""
    rng = np.random.default_rng(seed)
    rows = index.gallery.embeddings.reshape(-1, index.gallery.width)
    queries = rows[rng.integers(len(rows), size=count)] + 0.5 * rng.normal(size=(count, index.gallery.width))
    return (queries / np.linalg.norm(queries, axis=1, keepdims=True)).astype(np.float32)
