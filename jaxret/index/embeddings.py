"""The embeddings of an index, from its shards to one array."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from jaxret.errors import DataError, Problem
from jaxret.index.shards import SHARDS, ShapeRow, read_embeddings
from jaxret.search.blocks import aligned_empty


def gather_embeddings(folder: Path, rows: Sequence[ShapeRow]) -> np.ndarray:
    """Embeddings of all rows of an index, in their order.

    Raises:
      DataError: a shard is missing or damaged, or there are no rows.
    """
    places: dict[str, list[int]] = {}
    for place, row in enumerate(rows):
        places.setdefault(row.shard, []).append(place)
    embeddings = None
    for shard, wanted in places.items():
        stored = read_embeddings(folder / SHARDS / shard)
        numbers = [rows[place].row for place in wanted]
        if not 0 <= min(numbers) <= max(numbers) < len(stored):
            raise DataError(
                Problem(
                    str(folder / SHARDS / shard),
                    'holds fewer shapes than the table names',
                    'run `jaxret index --rebuild`',
                )
            )
        if embeddings is None:
            embeddings = aligned_empty((len(rows), *stored.shape[1:]), stored.dtype)
        embeddings[wanted] = stored[numbers]
    if embeddings is None:
        raise DataError(Problem(str(folder), 'the index holds no shapes', 'index a folder with models'))
    return embeddings
